"""Checks of tensors: that they belong together, that nothing is read while it is overwritten, and their values.

Attributes are always looked at, and are known of fake tensors too. Values are looked at where no device has to be
waited for. Every message is one line: the argument, what was expected, what came, what to do.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor
from torch.autograd import forward_ad

from linfair.ops._layout import extent, overlaps_itself, same_place, share_memory
from linfair.ops.reference import Budget, like


def check_tensors(
    named: str,
    out: Tensor | None,
    x: Tensor,
    x0: Tensor,
    grad: Tensor | None,
    eps: Budget,
    step: Budget,
    lo: Budget,
    hi: Budget,
    top_q: int | None,
) -> None:
    """Refuses tensors that do not belong together; ``named`` is what the user calls x."""
    shape, dtype, on_cpu = x.shape, x.dtype, x.is_cpu
    device = None if on_cpu else x.device
    check_samples(named, x)
    wants = x.requires_grad or x0.requires_grad
    # what is plainly right is let through here, at a few flags each; the rest is looked at more closely
    placed = x0.is_cpu if on_cpu else x0.device == device
    if not (placed and x0.dtype is dtype and x0.shape == shape and x0.layout is torch.strided):
        _check_like("x0", x0, named, x)
    if grad is not None:
        wants = wants or grad.requires_grad
        placed = grad.is_cpu if on_cpu else grad.device == device
        if not (placed and grad.dtype is dtype and grad.shape == shape and grad.layout is torch.strided):
            _check_like("grad", grad, named, x)
    if out is not None:
        if out is x0:  # found here in a graph that is traced too, where memory is not known
            raise _overlap("x0", False)
        if out is not x:
            wants = wants or out.requires_grad
            _check_like("out", out, named, x)
    if isinstance(eps, Tensor):
        wants = wants or eps.requires_grad
        placed = eps.is_cpu if on_cpu else eps.device == device
        if not (placed and eps.dtype is dtype and eps.dim() == 1 and eps.numel() == shape[0]):
            _check_budget("eps", eps, x)
    if isinstance(step, Tensor):
        wants = wants or step.requires_grad
        placed = step.is_cpu if on_cpu else step.device == device
        if not (placed and step.dtype is dtype and step.dim() == 1 and step.numel() == shape[0]):
            _check_budget("step", step, x)
    if isinstance(lo, Tensor):
        wants = wants or lo.requires_grad
        _check_bound("lo", lo, x)
    if isinstance(hi, Tensor):
        wants = wants or hi.requires_grad
        _check_bound("hi", hi, x)
    if top_q is not None and not 1 <= top_q <= shape[1:].numel():
        raise ValueError(
            f"top_q must lie in 1..D = 1..{shape[1:].numel()}, got {top_q}; it counts the entries of a sample that move"
        )
    if (wants and torch.is_grad_enabled()) or _in_forward_mode():
        refuse_gradients({named: x, "x0": x0, "grad": grad, "eps": eps, "step": step, "lo": lo, "hi": hi, "out": out})


def _in_forward_mode() -> bool:
    return getattr(forward_ad, "_current_level", -1) >= 0  # torch has no public name for it, and may drop this one


def refuse_gradients(tensors: dict[str, Budget | None]) -> None:
    """Refuses a tensor with a gradient or tangent: the op is not differentiable and would cut the graph in silence."""
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            continue
        if value.requires_grad and torch.is_grad_enabled():
            remedy = "write under torch.no_grad()" if name == "out" else f"pass {name}.detach()"
            raise ValueError(f"{name} must not require grad while gradients are recorded, got requires_grad; {remedy}")
        if _in_forward_mode() and forward_ad.unpack_dual(value).tangent is not None:
            raise ValueError(f"{name} must not carry a forward gradient, got a tangent; pass {name}.detach()")


def check_samples(name: str, x: Tensor) -> None:
    """Refuses what is not float32 or float64 [N, ...], dense."""
    if x.dtype is not torch.float32 and x.dtype is not torch.float64:
        raise TypeError(f"{name} must be float32 or float64, got {short(x.dtype)}; convert it, and x0 with it")
    if not x.dim():
        raise ValueError(f"{name} must have shape (N, ...), got (); add a dimension for the samples")
    if x.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {short(x.layout)}; pass {name}.to_dense()")


def _check_like(name: str, value: Tensor, named: str, x: Tensor) -> None:
    """Refuses a tensor of another shape, type, device or layout than x."""
    if value.shape != x.shape:
        wanted, got = tuple(x.shape), tuple(value.shape)
        raise ValueError(f"{name} must have the shape of {named}, {wanted}, got {got}; reshape it")
    if value.dtype is not x.dtype:
        half = name == "grad" and x.dtype is torch.float32
        if not half or value.dtype is not torch.bfloat16:
            wanted, got = short(x.dtype) + " or bfloat16" * half, short(value.dtype)
            raise TypeError(f"{name} must be {wanted} as {named} is, got {got}; pass {name}.to({named}.dtype)")
    if value.device != x.device:
        raise ValueError(f"{name} must be on {x.device} as {named} is, got {value.device}; move it")
    if value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {short(value.layout)}; pass {name}.to_dense()")


def _check_budget(name: str, value: Tensor, x: Tensor) -> None:
    """Refuses budgets that are not floating [N] or [] on the device of x."""
    check_kind(name, value, x)
    if value.dim() and value.shape != x.shape[:1]:
        remedy = f"pass {name}[labels], or call pgd_step_classwise" if value.dim() == 1 else "one number a sample"
        raise ValueError(f"{name} must have shape (N,) = ({x.shape[0]},), got {tuple(value.shape)}; {remedy}")


def _check_bound(name: str, value: Tensor, x: Tensor) -> None:
    """Refuses bounds that are not floating, of one sample's shape, on the device of x."""
    check_kind(name, value, x)
    if value.shape != x.shape[1:]:
        wanted, got = tuple(x.shape[1:]), tuple(value.shape)
        remedy = f"pass {name}.expand(x.shape[1:]), or a number"
        raise ValueError(f"{name} must have the shape of one sample, {wanted}, got {got}; {remedy}")


def check_kind(name: str, value: Tensor, x: Tensor) -> None:
    """Refuses what is not floating or not on the device of x."""
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating, got {short(value.dtype)}; pass {name}.to(x.dtype)")
    if value.device != x.device:
        raise ValueError(f"{name} must be on {x.device} as x is, got {value.device}; pass {name}.to(x.device)")


def check_generator(generator: torch.Generator | None, x0: Tensor) -> None:
    """Refuses what is no generator for the device of x0."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or None, got {type(generator).__name__}; pass torch.Generator()"
        )
    if generator.device.type != x0.device.type:
        raise ValueError(
            f"generator must be on {x0.device} as x0 is, got {generator.device}; pass torch.Generator(x0.device)"
        )


def short(thing: torch.dtype | torch.layout) -> str:
    return str(thing).removeprefix("torch.")


# --- memory ----------------------------------------------------------------------------------------------------------


def check_overlap(
    named: str,
    out: Tensor,
    x: Tensor,
    x0: Tensor,
    grad: Tensor | None,
    eps: Budget,
    step: Budget,
    lo: Budget,
    hi: Budget,
) -> None:
    """Refuses an ``out`` that shares memory with itself or with what is read; x and grad may be out itself."""
    if not out.is_contiguous() and overlaps_itself(out.shape, out.stride()):
        raise ValueError(
            f"out must not overlap itself, got strides {out.stride()} for shape {tuple(out.shape)}; pass out.clone()"
        )
    start = out.data_ptr()
    stop = start + extent(out)
    for value in (x, x0, grad, eps, step, lo, hi):
        if isinstance(value, Tensor):
            first = value.data_ptr()
            if first < stop and (first >= start or first + extent(value) > start) and (value is not out or x0 is out):
                named_values = {named: x, "x0": x0, "grad": grad, "eps": eps, "step": step, "lo": lo, "hi": hi}
                _refuse_overlap(out, named, named_values)


def _refuse_overlap(out: Tensor, named: str, read: dict[str, Budget | None]) -> None:
    """Says which of the tensors that are read shares memory with ``out`` without being it; nothing if none does."""
    for name, value in read.items():
        if isinstance(value, Tensor) and share_memory(out, value):
            replaced = name in (named, "grad")
            if not (replaced and same_place(out, value)):
                raise _overlap(name, replaced)


def _overlap(name: str, replaced: bool) -> ValueError:
    remedy = f"pass out={name}" if replaced else f"pass {name}.clone()"
    return ValueError(f"out must not share memory with {name}, got an overlap; {remedy} or out=None")


# --- values: on the CPU, and elsewhere with LINFAIR_CHECK=1 ----------------------------------------------------------


def values_known(x: Tensor) -> bool:
    """Whether values may be looked at: at once on the CPU, by waiting elsewhere, never while a graph is traced.

    A subclass of Tensor may have none, as torch's fake tensors.
    """
    asked = x.is_cpu or (os.environ.get("LINFAIR_CHECK") == "1" and not x.is_meta)
    return asked and not torch.compiler.is_compiling() and type(x) in (Tensor, torch.nn.Parameter)


def check_values(x: Tensor, eps: Budget, step: Budget, lo: Budget, hi: Budget) -> None:
    """Refuses eps < 0, step < 0 or infinite, lo > hi, and NaN in any of them, as they are in the dtype of x."""
    check_budget_values("eps", eps, x)
    check_budget_values("step", step, x, finite=True)
    check_box_values(lo, hi, x)


def bad_budget(name: str, number: float, finite: bool, where: str = "") -> str:
    remedy = "it is a radius" if name.startswith("eps") else "it is a length, and descend=True turns the step round"
    return f"{name} must be >= 0{' and finite' * finite}, got {number:g}{where}; {remedy} in the units of x"


def check_budget_values(name: str, value: Budget, x: Tensor, finite: bool = False, what: str = "sample") -> None:
    values = like(value, x).reshape(-1)
    if not len(values):
        return
    least, most = values.aminmax()  # NaN if there is one
    if not least.item() >= 0 or (finite and most.item() == math.inf):
        i = int((~(values >= 0) | (finite & values.isinf())).nonzero()[0])
        where = f" for {what} {i}" if isinstance(value, Tensor) and value.dim() else ""
        raise ValueError(bad_budget(name, values[i].item(), finite, where))


def check_box_values(lo: Budget, hi: Budget, x: Tensor) -> None:
    low, high = torch.broadcast_tensors(like(lo, x), like(hi, x))
    wrong = ~(low <= high)
    if wrong.any():
        place = tuple(wrong.nonzero()[0].tolist())
        where = f" at {list(place)}" if place else ""
        a, b = low[place].item(), high[place].item()
        raise ValueError(
            f"lo must be <= hi, got lo = {a:g} and hi = {b:g}{where}; swap them, or pass None for no bound"
        )
