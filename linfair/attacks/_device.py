"""Devices: whether one is here, and how torch says that it has no memory left."""

from __future__ import annotations

import torch

NAMES = ("DefaultCPUAllocator", "STATUS_ALLOC_FAILED")
"""In errors that have no class of their own: on the CPU, and in cuBLAS and cuDNN."""


def no_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(name in str(error) for name in NAMES))


def usable_device(device: str | torch.device) -> torch.device:
    """A device that is here. Raises ValueError."""
    try:
        place = torch.device(device)
        torch.empty(0, device=place).cpu()  # "meta" makes tensors and gives none back
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"device must be usable here, got '{device}' ({reason}); pass cpu") from error
    return place
