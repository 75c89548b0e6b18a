"""Arguments as the user writes them, put in the form of the op: numbers or tensors, names, flags, budgets of classes.

Every message is one line: the argument, what was expected, what came, what to do.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from linfair.norms import NORMS, Norm, get_norm
from linfair.ops._tensors import bad_budget, check_budget_values, check_kind, refuse_gradients, short, values_known
from linfair.ops.reference import Budget

# --- Python arguments, before the op ---------------------------------------------------------------------------------


def norm_name(norm: str | float | Norm) -> str:
    """The canonical name of a norm."""
    return norm if type(norm) is str and norm in NORMS else get_norm(norm).name


def require_tensors(**values: Any) -> None:
    """Refuses what is no tensor."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}; pass torch.as_tensor({name})")


def budget(name: str, value: Budget, x: Tensor, finite: bool = False) -> tuple[Tensor | None, float]:
    """A budget as the op takes it: (tensor, 0), or (None, number >= 0)."""
    if isinstance(value, Tensor):
        return value, 0.0
    number = value if type(value) is float else _number(name, value, "a number or a tensor of one a sample")
    if not number >= 0 or (finite and number == math.inf):
        raise ValueError(bad_budget(name, number, finite))
    if is_compiling():  # a number would be built into the graph, and every other one compiled again
        return torch.ones((), dtype=x.dtype, device=x.device) * number, 0.0
    return None, number


def box(lo: Tensor | float | None, hi: Tensor | float | None) -> tuple[Tensor | None, Tensor | None, float, float]:
    """The box as the op takes it: (tensor or None, tensor or None, number, number); no bound is an infinite one."""
    if type(lo) is float and type(hi) is float and lo <= hi:
        return None, None, lo, hi
    low, lo_value = _bound("lo", lo, -math.inf)
    high, hi_value = _bound("hi", hi, math.inf)
    if lo_value > hi_value and low is None and high is None:
        raise ValueError(f"lo must be <= hi, got lo = {lo_value:g} and hi = {hi_value:g}; swap them?")
    return low, high, lo_value, hi_value


def _bound(name: str, value: Tensor | float | None, none: float) -> tuple[Tensor | None, float]:
    if value is None:
        return None, none
    if isinstance(value, Tensor):
        return value, 0.0
    number = value if type(value) is float else _number(name, value, "a number, None or a tensor of one sample's shape")
    if number != number:
        raise ValueError(f"{name} must not be NaN, got nan; pass None for no bound")
    return None, number


def require_flags(**values: bool) -> None:
    """Refuses what is neither True nor False: "no" is true."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}; pass a bool")


def require_count(top_q: int, norm: str) -> None:
    """Refuses a top_q that is no int, or that goes with another norm than l1."""
    if norm != "l1":
        raise ValueError(f"top_q must be None for norm {norm}, got {top_q!r}; it belongs to the sparse step of l1")
    if isinstance(top_q, bool) or not isinstance(top_q, numbers.Integral):
        raise TypeError(f"top_q must be a whole number, got {top_q!r}; pass how many entries move, or None for all")


def _number(name: str, value: Any, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        got = repr(value) if isinstance(value, bool) else type(value).__name__
        raise TypeError(f"{name} must be {expected}, got {got}; pass a float or a tensor")
    return float(value)


# --- one budget a class ----------------------------------------------------------------------------------------------


def check_labels(labels: Tensor, x: Tensor) -> None:
    """Refuses labels that are not integers [N] on the device of x."""
    require_tensors(labels=labels)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise TypeError(f"labels must hold integers, got {short(labels.dtype)}; pass labels.long()")
    if labels.shape != x.shape[:1]:
        raise ValueError(f"labels must have shape (N,) = {tuple(x.shape[:1])}, got {tuple(labels.shape)}; one a sample")
    if labels.device != x.device:
        raise ValueError(f"labels must be on {x.device} as x is, got {labels.device}; pass labels.to(x.device)")


def class_budget(name: str, value: Any, x: Tensor, finite: bool = False) -> Budget:
    """Budgets [C] in the dtype of x on its device, or one number for all classes."""
    if isinstance(value, numbers.Real):
        number = _number(name, value, "one number a class, or a float for all")
        each, number = budget(name, number, x, finite)
        return number if each is None else each
    if isinstance(value, Tensor):
        check_kind(name, value, x)
        if value.requires_grad and torch.is_grad_enabled():
            refuse_gradients({name: value})
        table = value
    else:
        try:
            table = torch.as_tensor(value, dtype=x.dtype)
        except (TypeError, ValueError, RuntimeError):
            got = type(value).__name__
            raise TypeError(f"{name} must be one number a class, got {got}; pass a tensor or floats") from None
    if table.dim() != 1:
        raise ValueError(
            f"{name} must have shape (C,), got {tuple(table.shape)}; one number a class, or a float for all"
        )
    if values_known(table):  # all classes, for one that is absent here comes in another batch
        check_budget_values(name, table, table, finite, "class")
    return table.to(x.device)


def of_class(tables: dict[str, Budget], labels: Tensor) -> list[Budget]:
    """The budgets of the samples, ``table[labels]``; one for all stays so."""
    sizes = {name: len(table) for name, table in tables.items() if isinstance(table, Tensor) and table.dim()}
    if len(set(sizes.values())) > 1:
        (first, a), (second, b) = sizes.items()
        raise ValueError(
            f"{second} must have one number a class as {first} has, {a}, got {b}; pass both for all classes"
        )
    index = labels if labels.dtype in (torch.int32, torch.int64) else labels.long()
    if sizes and not index.is_cpu and values_known(index):  # there index_select would end the process
        check_label_values(index, next(iter(sizes.values())))
    try:
        return [t.index_select(0, index) if isinstance(t, Tensor) and t.dim() else t for t in tables.values()]
    except IndexError:
        check_label_values(index, next(iter(sizes.values())))
        raise


def check_label_values(labels: Tensor, classes: int) -> None:
    """Refuses labels that are none of the classes."""
    if labels.numel():
        least, most = (label.item() for label in labels.aminmax())
        if least < 0 or most >= classes:
            raise ValueError(
                f"labels must lie in 0..{classes - 1}, one of {classes} classes, got {least if least < 0 else most}; "
                "pass budgets for every class"
            )
