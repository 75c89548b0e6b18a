"""One process at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows; there one process must do
    fcntl = None

LOCK = "lock"


class Busy(Exception):
    """Another process is at it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for one process at a time. Raises Busy. The lock ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy from None
        yield
    finally:
        os.close(handle)
