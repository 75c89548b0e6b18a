"""Budgets as users write them: 0.03, "8/255", one a sample, one a class."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from linfair.norms import get_norm


@dataclass(frozen=True, eq=False)
class PerClass:
    """One budget a class: a sample of class y gets ``values[y]``.

    Args:
        values: [C], in pixel units (the units of x): numbers or a tensor on any device.
    """

    values: Tensor | Sequence[float]

    def of(self, y: Tensor, x: Tensor) -> Tensor:
        """``values[y]`` [N] in the dtype of x on its device. A label without a budget raises IndexError on the CPU."""
        table = torch.as_tensor(self.values, dtype=x.dtype, device=x.device)
        if table.dim() != 1:
            raise ValueError(f"PerClass needs values of shape (C,), got {tuple(table.shape)}; pass one number a class")
        return table.index_select(0, y)


def parse_budget(value: float | str, name: str = "eps") -> float:
    """A radius or a step in pixel units, from a number or from text as "8/255" or "0.03".

    Raises:
        TypeError: neither a number nor text.
        ValueError: text that is no number or ratio; a negative or NaN budget.
    """
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise TypeError(f"{name} must be a number or text, got {type(value).__name__}; pass 0.03 or '8/255'")
    try:
        parts = [float(part) for part in value.split("/")] if isinstance(value, str) else [float(value)]
        number = parts[0] if len(parts) == 1 else parts[0] / parts[1] if len(parts) == 2 else math.nan
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{name} must be a number or a ratio, got {value!r}; pass 0.03 or '8/255'")
    if number < 0:
        raise ValueError(f"{name} must be >= 0, got {value}; pass a radius in pixel units")
    return number


def parse_radius(value: float | str, norm: str, name: str = "eps") -> float:
    """As :func:`parse_budget`; ValueError, too, for one that reaches every image in linf, as 8 for 8/255 does."""
    radius = parse_budget(value, name)
    if get_norm(norm).name == "linf" and radius > 1:
        raise ValueError(f"{name} must be at most 1 in linf, as pixels are, got {value}; did you mean {value}/255?")
    return radius


def per_sample(name: str, value: float | str | Tensor | PerClass, y: Tensor, x: Tensor) -> float | Tensor:
    """A budget as the op takes it: a number, or a tensor [N] or []."""
    if isinstance(value, PerClass):
        return value.of(y, x)
    return value if isinstance(value, Tensor) else parse_budget(value, name)
