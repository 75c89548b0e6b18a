"""Elementwise work on large grids in blocks that stay in cache, which halves the memory traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_positive

BLOCK = 16384
"""Elements a block: 128 KiB an array of float64. Smaller ones pay numpy's call overhead, larger ones leave cache."""


def blockwise(
    function: Callable[..., tuple[np.ndarray, ...]],
    arguments: Mapping[str, ArrayLike],
    dtypes: tuple[type, ...],
    positive: tuple[str, ...] = (),
) -> tuple[np.ndarray, ...]:
    """Apply an elementwise ``function`` to broadcast, finite arguments, block by block; one output array a dtype.

    Arguments of size one stay scalars, so that what depends on them alone is computed once a block. Values are checked
    block by block too: a pass of its own over a large grid would cost as much as the arithmetic.

    Raises:
        ValueError: arguments that do not broadcast, NaN or infinity, or a value <= 0 of an argument named ``positive``.
    """
    arrays = {name: np.asarray(value, float) for name, value in arguments.items()}
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"arguments must broadcast to one shape, got {shapes}; align their axes") from None
    flat = {n: a.reshape(()) if a.size == 1 else np.broadcast_to(a, shape).reshape(-1) for n, a in arrays.items()}
    size = int(np.prod(shape))
    outputs = [np.empty(size, dtype) for dtype in dtypes]
    with np.errstate(all="ignore"):  # branches that do not apply to an element are computed and discarded
        for start in range(0, size, BLOCK):
            block = {name: a if a.ndim == 0 else a[start : start + BLOCK] for name, a in flat.items()}
            for name, a in block.items():
                low, high = a.min(), a.max()
                if not (low > (0.0 if name in positive else -np.inf) and high < np.inf):
                    (as_positive if name in positive else as_array)(name, a)  # says what is wrong
            for output, result in zip(outputs, function(*block.values()), strict=True):
                output[start : start + BLOCK] = result
    return tuple(output.reshape(shape)[()] for output in outputs)
