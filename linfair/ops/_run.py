"""One call of the op, arguments in order: the checks, the backend, and for the native one pointers and strides."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from linfair.ops import _backend, reference
from linfair.ops._layout import Order, back, dense_order, full_order, natural_order, rows
from linfair.ops._tensors import check_overlap, check_tensors, check_values, values_known
from linfair.ops.reference import Budget, like

NATIVE_NORMS = {"linf": 0, "l2": 1, "l1": 2}
_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}


def run(
    named: str,
    out: Tensor | None,
    x: Tensor,
    x0: Tensor,
    grad: Tensor | None,
    eps: Budget,
    step: Budget,
    norm: str,
    lo: Budget,
    hi: Budget,
    exact: bool,
    descend: bool = False,
    top_q: int | None = None,
) -> Tensor:
    """The step from x, or its projection if grad is None, into ``out`` or a new tensor; ``named`` is x to the user."""
    check_tensors(named, out, x, x0, grad, eps, step, lo, hi, top_q)
    result = torch.empty_like(x) if out is None else out
    if not x.numel():
        return result
    on_cpu = x.is_cpu
    kind = "cpu" if on_cpu else x.device.type
    native = _backend.native_for(_backend.choice, kind) if norm in NATIVE_NORMS else None
    plain = (
        x.is_contiguous() and x0.is_contiguous() and result.is_contiguous() and (grad is None or grad.is_contiguous())
    )
    if out is not None and not (native and plain):  # of plain rows, linfair._C sees it for itself
        check_overlap(named, out, x, x0, grad, eps, step, lo, hi)
    if not (native and on_cpu) and values_known(x):
        check_values(x, eps, step, lo, hi)
    if native is None:
        options = {"lo": lo, "hi": hi, "descend": descend, "exact": exact, "top_q": top_q, "out": result}
        reference.pgd_step(x, x0, grad, eps, step, norm, **options)
        return result
    if not _run_native(native, plain, result, x, x0, grad, eps, step, norm, lo, hi, exact, descend, top_q):
        check_overlap(named, result, x, x0, grad, eps, step, lo, hi)
        check_values(x, eps, step, lo, hi)
        raise ValueError("out, eps, step or the box are invalid, got what linfair._C refuses; check signs and overlaps")
    if out is not None:
        increment_version(out)  # torch does not see what is written through a pointer
    return result


def _run_native(
    native: ModuleType,
    plain: bool,
    out: Tensor,
    x: Tensor,
    x0: Tensor,
    grad: Tensor | None,
    eps: Budget,
    step: Budget,
    norm: str,
    lo: Budget,
    hi: Budget,
    exact: bool,
    descend: bool,
    top_q: int | None,
) -> bool:
    """One call of linfair._C; false if it refuses values or memory. No tensor is copied if samples are laid out alike:
    ``plain`` says that all are contiguous.

    The tensors made here are referenced until the call returns; on CUDA the allocator keeps their memory in the order
    of the stream.
    """
    shape, dtype = x.shape, x.dtype
    n = shape[0]
    dim = x.numel() // n
    order, target = None, out
    x_stride = x0_stride = grad_stride = out_stride = dim
    if not plain:
        order = dense_order(shape, x.stride())
        if order is None:
            order = natural_order(shape)
        x, x_stride = rows(x, order, dim)
        x0, x0_stride = rows(x0, order, dim)
        if grad is not None:
            grad, grad_stride = rows(grad, order, dim)
        if dense_order(shape, out.stride()) == order:
            out_stride = out.stride(0) if n > 1 else dim
        else:
            target = torch.empty((n, dim), dtype=dtype, device=out.device)
    if x.is_cpu:
        device, queue = -1, torch.get_num_threads()
    else:
        device = x.get_device()
        queue = torch.cuda.current_stream(device).cuda_stream
    eps, eps_at, eps_stride, eps_value = _budget(eps, dtype)
    step, step_at, step_stride, step_value = _budget(step, dtype)
    low = high = None
    if isinstance(lo, Tensor) or isinstance(hi, Tensor):
        low, high = _bound(lo, order, x, dim), _bound(hi, order, x, dim)
    done = native.pgd_step(
        device,
        queue,
        NATIVE_NORMS[norm],
        _TYPES[dtype],
        _TYPES[dtype if grad is None else grad.dtype],
        n,
        dim,
        x.data_ptr(),
        x_stride,
        x0.data_ptr(),
        x0_stride,
        0 if grad is None else grad.data_ptr(),
        grad_stride,
        target.data_ptr(),
        out_stride,
        eps_at,
        eps_stride,
        eps_value,
        step_at,
        step_stride,
        step_value,
        0 if low is None else low.data_ptr(),
        0 if high is None else high.data_ptr(),
        0.0 if isinstance(lo, Tensor) else lo,
        0.0 if isinstance(hi, Tensor) else hi,
        descend,
        exact,
        top_q or 0,
    )
    if done and order is not None and target is not out:
        out.copy_(back(target, order, out))
    return done


def _budget(value: Budget, dtype: torch.dtype) -> tuple[Budget, int, int, float]:
    """(what owns the memory, its address, stride, number): one a sample (1) or one for all (0), or no memory."""
    if not isinstance(value, Tensor):
        return value, 0, 0, value
    if value.dtype is not dtype:
        value = value.to(dtype)
    if not value.is_contiguous():
        value = value.contiguous()
    return value, value.data_ptr(), value.dim(), 0.0


def _bound(value: Budget, order: Order | None, x: Tensor, dim: int) -> Tensor:
    """One side of the box as [dim] numbers in the dtype of x and the element order of its samples."""
    value = like(value, x)
    if not value.dim():
        value = value.expand(dim)
    elif order is not None:
        value = value.permute([i - 1 for i in full_order(value.dim() + 1, order)[1:]])
    return value.contiguous()
