"""A model lent to an attack comes back as it was: modes, buffers, which parameters require gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MODES = ("eval", "train")


@contextmanager
def lent(model: Any, mode: str = "eval") -> Iterator[None]:
    """The model in ``mode`` with parameters that require no gradient; afterwards, or after an error, as before.

    Buffers are put back where ``mode`` is "train": the statistics of batch norm do not see the attack. ``.grad`` is
    not touched by who differentiates by the images alone. A callable that is no module is left alone.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}; pick one of them")
    if not isinstance(model, nn.Module):
        yield
        return
    flags = [(module, module.training) for module in model.modules()]
    learned = [p for p in model.parameters() if p.requires_grad and p.is_leaf]
    kept = _buffers(model) if mode == "train" else []
    try:
        model.train(mode == "train")
        for p in learned:
            p.requires_grad_(False)
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for p in learned:
            p.requires_grad_(True)
        _restore(kept)


def _buffers(model: nn.Module) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """(module, name, buffer, its values) of every buffer."""
    return [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]


def _restore(kept: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for module, name, buffer, values in kept:
            buffer.copy_(values)
            if getattr(module, name) is not buffer:  # a module may bind a new tensor instead of writing in place
                setattr(module, name, buffer)
