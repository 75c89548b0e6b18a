"""Uniform random starts in each ball (Barthe et al. 2005 for l1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from linfair.norms import Norm
from linfair.ops import _args, _tensors
from linfair.ops.reference import like, step_l2


def random_start(
    x0: Tensor,
    eps: Tensor | float,
    norm: str | float | Norm = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A point drawn uniformly from the ball of radius eps around x0, one a sample, then clipped to the box.

    z = clip(x0 + eps r), with r uniform in the unit ball of dimension D: P(||r|| <= t) = t^D, and
        l_inf  r_i uniform in [-1, 1)
        l2     r = U^(1/D) n / ||n||_2, n standard normal, U uniform in [0, 1)
        l1     r_i = +-E_i / sum_{j=0..D} E_j, E_0, ..., E_D exponential (Barthe et al. 2005)

    Drawn in the dtype of x0 on its device. The numbers depend on the generator and on the logical place of an element,
    not on the memory layout. Plain torch on every backend.

    Args:
        x0: [N, ...], float32 or float64: the centres, in the box; where one is not, the box wins.
        eps: radius in the units of x0, finite: a number, or a tensor [] or [N].
        norm: "linf", "l2" or "l1" (aliases as in :func:`linfair.norms.get_norm`).
        lo, hi: the box: a number, None (no bound) or a tensor of one sample's shape.
        generator: of the kind of device of x0; None is torch's own.

    Returns:
        A new tensor like x0. A NaN in x0 stays one, in its element.

    Raises:
        TypeError, ValueError: as :func:`linfair.ops.pgd_step`; values are checked on the CPU, elsewhere with
            LINFAIR_CHECK=1.
    """
    name = _args.norm_name(norm)
    _args.require_tensors(x0=x0)
    radius, number = _args.budget("eps", eps, x0, finite=True)
    low, high, lo_value, hi_value = _args.box(lo, hi)
    radius = number if radius is None else radius
    low, high = lo_value if low is None else low, hi_value if high is None else high
    _tensors.check_tensors("x0", None, x0, x0, None, radius, 0.0, low, high, None)
    _tensors.check_generator(generator, x0)
    if _tensors.values_known(x0):
        _tensors.check_budget_values("eps", radius, x0, finite=True)
        _tensors.check_box_values(low, high, x0)
    if not x0.numel():
        return torch.empty_like(x0)
    rows = (x0.shape[0], math.prod(x0.shape[1:]))
    r = _UNIT_BALLS[name](torch.empty(rows, dtype=x0.dtype, device=x0.device), generator).reshape(x0.shape)
    e = like(radius, x0).clamp(min=0).reshape(-1, *[1] * (x0.dim() - 1))
    z = x0 + e * r
    z = torch.minimum(torch.maximum(z, like(low, x0)), like(high, x0))
    return torch.empty_like(x0).copy_(z)


def _linf(r: Tensor, generator: torch.Generator | None) -> Tensor:
    return r.uniform_(-1, 1, generator=generator)


def _l2(r: Tensor, generator: torch.Generator | None) -> Tensor:
    radius = torch.empty_like(r[:, :1]).uniform_(generator=generator) ** (1 / r.shape[1])
    return step_l2(torch.zeros_like(r), r.normal_(generator=generator), radius)


def _l1(r: Tensor, generator: torch.Generator | None) -> Tensor:
    rest = torch.empty_like(r[:, :1]).exponential_(generator=generator)
    negative = torch.empty_like(r).uniform_(generator=generator) < 0.5
    r.exponential_(generator=generator)
    r = r / (r.sum(1, keepdim=True) + rest)
    return torch.where(negative, -r, r)


_UNIT_BALLS = {"linf": _linf, "l2": _l2, "l1": _l1}
