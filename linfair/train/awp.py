"""Adversarial weight perturbation: the gradient of a step is taken where the weights are a little worse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def _nonzero(value: Tensor) -> Tensor:
    """A divisor: 1 in place of 0."""
    return torch.where(value > 0, value, 1.0)


@contextmanager
def perturbed(model: nn.Module, gamma: float) -> Iterator[None]:
    """The model with weights that ascend the loss whose gradients lie in ``.grad``; on leaving, the old weights.

    Layer by layer, for the parameters with more than one dimension: ``w + gamma ||w|| g / ||g||``, 0/0 := 0. Inside,
    ``.grad`` is empty and batch norm records nothing: its statistics are those of the weights that stay.

    Source: Wu, Xia & Wang 2020 (arXiv:2004.05884). Their release records the statistics at the perturbed weights.
    """
    moved = [(p, p.detach().clone(), p.grad) for p in model.parameters() if p.ndim > 1 and p.grad is not None]
    norms = [m for m in model.modules() if isinstance(m, NORMS)]
    momenta = [m.momentum for m in norms]
    with torch.no_grad():
        for p, old, grad in moved:
            unit = grad / _nonzero(grad.abs().amax())  # first, or the squares of a small gradient vanish
            p.addcmul_(unit, gamma * old.norm() / _nonzero(unit.norm()))
    for p in model.parameters():
        p.grad = None
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        with torch.no_grad():
            for p, old, _ in moved:
                p.copy_(old)
