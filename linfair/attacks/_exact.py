"""float32 that means float32, for as long as something is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Convolutions and matrix products of float32 without TF32 or bfloat16, and cuDNN that does not time algorithms.

    On CUDA torch rounds the inputs of convolutions to TF32 (10 bits of mantissa) unless told otherwise, which can turn
    a prediction; and cuDNN with ``benchmark`` times its algorithms anew for every batch size, of which an attack that
    drops broken images has one at each step. All settings are afterwards what they were, whichever of torch's two ways
    of setting them was used.
    """
    backends: Any = torch.backends
    cudnn, cpu = backends.cudnn, backends.mkldnn
    places = [cudnn.conv, cudnn.rnn, backends.cuda.matmul, cpu.conv, cpu.matmul]
    kept = [place.fp32_precision for place in places]
    benchmark, tf32, level = cudnn.benchmark, _read(lambda: cudnn.allow_tf32), _read(torch.get_float32_matmul_precision)
    try:
        cudnn.benchmark = False
        _old_settings(None if tf32 is None else False, level and "highest")  # both ways must agree to be readable
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        cudnn.benchmark = benchmark
        _old_settings(tf32, level)
        for place, precision in zip(places, kept, strict=True):
            place.fp32_precision = precision


def _read(setting: Callable[[], Any]) -> Any:
    """An older setting; None where the newer ones say what it cannot express, and torch refuses to read it."""
    try:
        return setting()
    except RuntimeError:
        return None


def _old_settings(tf32: bool | None, level: str | None) -> None:
    if tf32 is not None:
        torch.backends.cudnn.allow_tf32 = tf32
    if level is not None:
        torch.set_float32_matmul_precision(level)
