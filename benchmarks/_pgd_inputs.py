"""What the arms of bench_pgd_step.py work on: images, iterates on the sphere of their ball, gradients, budgets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IMAGE = (3, 32, 32)
CLASSES = 10
EPS = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
"""Radii as CIFAR-10 is attacked in the literature; class y gets (0.5 + y / 9) of it."""
STEP = 0.25
"""Step sizes in units of the radius."""
L2_CACHE_SETS = 256 * 2**20
"""Bytes that the sets of a device together cover, several times its L2 cache: no call finds its inputs there."""


@dataclass
class Inputs:
    """One batch of n images [n, 3, 32, 32], float32, box [0, 1]."""

    x: Tensor
    """The iterate; in-place arms overwrite it."""
    master: Tensor
    """Fresh values of x."""
    x0: Tensor
    grad: Tensor
    eps: Tensor
    """[n]"""
    step: Tensor
    """[n]"""
    labels: Tensor
    lo: Tensor
    """max(x0 - eps, 0): what an attack may compute once and use in every step."""
    hi: Tensor
    """min(x0 + eps, 1)"""
    scratch: Tensor

    @property
    def eps_(self) -> Tensor:
        """eps as [n, 1, 1, 1]."""
        return self.eps.view(-1, 1, 1, 1)

    @property
    def step_(self) -> Tensor:
        """step as [n, 1, 1, 1]."""
        return self.step.view(-1, 1, 1, 1)


def length(d: Tensor, norm: str) -> Tensor:
    """The norm of each sample, [n, 1, 1, 1]."""
    p = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    return torch.linalg.vector_norm(d, p, dim=(1, 2, 3), keepdim=True)


def inputs(n: int, norm: str, device: str, seed: int) -> Inputs:
    """Iterates as an attack makes them: on the sphere, with a gradient that leads half outwards, half along it.

    The step then ends about 1.15 eps from x0, so every projection has work to do; a sixth of the pixels of x0 sits on
    a face of the box.
    """
    random = torch.Generator().manual_seed(seed)
    x0 = (torch.rand((n, *IMAGE), generator=random) * 1.2 - 0.1).clamp_(0, 1)
    labels = torch.arange(n) % CLASSES
    eps = EPS[norm] * (0.5 + labels / (CLASSES - 1))
    d = torch.randn((n, *IMAGE), generator=random)
    if norm == "linf":
        d.clamp_(-1, 1)
    outward = d / length(d, "l2")
    d *= eps.view(-1, 1, 1, 1) / length(d, norm)
    master = (x0 + d).clamp_(0, 1)
    grad = torch.randn((n, *IMAGE), generator=random)
    grad = (outward + 1.7 * grad / length(grad, "l2")) * 1e-3
    moved = [t.to(device) for t in (master, x0, grad, eps, STEP * eps, labels)]
    master, x0, grad, eps, step, labels = moved
    few = master[:1]  # only linf looks at these three, and memory is dear
    lo, hi, scratch = (torch.empty_like(master if norm == "linf" else few) for _ in range(3))
    if norm == "linf":
        lo, hi = (x0 - eps.view(-1, 1, 1, 1)).clamp_(min=0), (x0 + eps.view(-1, 1, 1, 1)).clamp_(max=1)
    return Inputs(master.clone(), master, x0, grad, eps, step, labels, lo, hi, scratch)


def input_sets(n: int, norm: str, device: str) -> list[Inputs]:
    """One set on a CPU, where an attack's arrays stay in cache too; on a device enough sets to outgrow its L2 cache."""
    bytes_each = 4 * n * IMAGE[0] * IMAGE[1] * IMAGE[2] * 4
    count = 1 if device == "cpu" else max(1, -(-L2_CACHE_SETS // bytes_each))
    return [inputs(n, norm, device, seed) for seed in range(count)]
