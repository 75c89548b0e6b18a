"""How torch says that a device has no memory left."""

from __future__ import annotations

import torch

NAMES = ("DefaultCPUAllocator", "STATUS_ALLOC_FAILED")
"""In errors that have no class of their own: on the CPU, and in cuBLAS and cuDNN."""


def no_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(name in str(error) for name in NAMES))
