"""Which implementation runs: the native extension where there is one, the pure torch reference elsewhere."""

from __future__ import annotations

from functools import cache
from types import ModuleType, TracebackType

import torch

from linfair._native import BackendUnavailable, load, status

CHOICES = ("auto", "native", "reference")
choice = "auto"


def backend(device: str | torch.device = "cpu") -> str:
    """ "native" or "reference": what a call on tensors of ``device`` runs now.

    Raises:
        BackendUnavailable: a call would raise it too: "native" is chosen and cannot run there, or an extension is
            installed and does not load.
    """
    return "reference" if native_for(choice, torch.device(device).type) is None else "native"


class use_backend:
    """Chooses the implementation for the process; as a context manager, until the block ends.

    ::

        use_backend("reference")            # from here on
        with use_backend("native"):         # here only
            pgd_step(...)

    One object may be entered again, inside its own block too.

    Args:
        name: "auto" (native where it was built - on CUDA tensors, built with CUDA - else the reference), "native"
            (nothing else will do) or "reference" (pure torch).

    Raises:
        ValueError: another name.
        BackendUnavailable: "native" without a usable extension; a call on a device it was not built for raises it too.
    """

    def __init__(self, name: str) -> None:
        if name not in CHOICES:
            raise ValueError(f"backend must be one of {', '.join(CHOICES)}, got {name!r}; pick one of them")
        if name == "native":
            load()
        self._name, self._entered = name, False
        self._before = [_choose(name)]

    def __enter__(self) -> None:
        before = _choose(self._name)
        if self._entered:  # what it found the first time, it found when it was made
            self._before.append(before)
        self._entered = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _choose(self._before.pop())


def _choose(name: str) -> str:
    """Makes ``name`` the choice and returns what it was."""
    global choice
    before, choice = choice, name
    return before


@cache
def native_for(choice: str, kind: str) -> ModuleType | None:
    """The extension if it runs on devices of this kind ("cpu", "cuda", ...), None if the reference does."""
    if choice == "reference":
        return None
    if kind not in ("cpu", "cuda"):
        if choice == "native":
            raise BackendUnavailable(
                f'the native backend runs on cpu and cuda, got {kind} tensors; call use_backend("auto")'
            )
        return None
    cuda = kind == "cuda"
    if choice == "auto" and status(cuda)[0] == "reference":
        return None
    return load(cuda)
