"""Memory: which samples are dense rows, in which order of elements, and whether two tensors share memory.

A sample is dense if its elements fill one block without gaps. Its order is the tuple of its dimensions of more than
one element from the outermost in memory to the innermost: (1, 2, 3) is NCHW, (2, 3, 1) is NHWC.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

Order = tuple[int, ...]
_PATIENCE: Any = 100_000  # numpy's unit of work for telling whether two strided blocks meet


@lru_cache(maxsize=1024)
def natural_order(shape: tuple[int, ...]) -> Order:
    """The order of a contiguous tensor."""
    return tuple(i for i in range(1, len(shape)) if shape[i] != 1)


@lru_cache(maxsize=1024)
def dense_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> Order | None:
    """The order of dense samples, None where they are not dense."""
    order = tuple(sorted(natural_order(shape), key=lambda i: -strides[i]))
    expected = 1
    for i in reversed(order):
        if strides[i] != expected:
            return None
        expected *= shape[i]
    return order


@lru_cache(maxsize=1024)
def full_order(ndim: int, order: Order) -> Order:
    """The permutation that puts every dimension in place; those of one element stand right behind the samples."""
    return (0, *(i for i in range(1, ndim) if i not in order), *order)


def rows(t: Tensor, order: Order, dim: int) -> tuple[Tensor, int]:
    """(tensor, stride between samples) with the samples of t dense in ``order``: t itself if it is so, else a copy."""
    shape = t.shape
    if dense_order(shape, t.stride()) == order:
        return t, t.stride(0) if shape[0] > 1 else dim
    return t.permute(full_order(len(shape), order)).contiguous(), dim


def back(t: Tensor, order: Order, like: Tensor) -> Tensor:
    """The rows t, samples dense in ``order``, as a tensor of the shape of ``like``."""
    full = full_order(like.dim(), order)
    inverse = sorted(range(len(full)), key=full.__getitem__)
    return t.view([like.shape[i] for i in full]).permute(inverse)


@lru_cache(maxsize=1024)
def overlaps_itself(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements may share memory: each dimension must step over all that the finer ones cover."""
    covered = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride < covered:
                return True
            covered += (size - 1) * stride
    return False


def same_place(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape are the same elements in the same memory."""
    if a.data_ptr() != b.data_ptr() or a.dtype != b.dtype:
        return False
    return all(s == t or size == 1 for s, t, size in zip(a.stride(), b.stride(), a.shape, strict=True))


def extent(t: Tensor) -> int:
    """Bytes from the first element to the end of the last."""
    return t.nbytes if t.is_contiguous() else _span(t.shape, t.stride()) * t.element_size()


@lru_cache(maxsize=1024)
def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if all(shape) else 0


def share_memory(a: Tensor, b: Tensor) -> bool:
    """Whether a and b, of one device, have a byte in common. Where that is too hard to tell, they have."""
    try:
        return np.shares_memory(np.asarray(_Memory(a)), np.asarray(_Memory(b)), max_work=_PATIENCE)
    except np.exceptions.TooHardError:
        return True


class _Memory:
    """The bytes of a tensor as numpy addresses them; they are never read, so that any device will do."""

    def __init__(self, t: Tensor) -> None:
        size = t.element_size()
        self.__array_interface__: dict[str, Any] = {
            "data": (t.data_ptr(), True),
            "shape": (*t.shape, size),
            "strides": (*(stride * size for stride in t.stride()), 1),
            "typestr": "|u1",
            "version": 3,
        }
