"""The command line of scripts that read a real data set, and the one error line for what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from _harness import Options, UsageError
from linfair.data import DataError, Dataset


@dataclass(frozen=True)
class DataOptions(Options):
    """Options of a script that reads a real data set."""

    unverified: bool = False
    """Accept a copy of CIFAR-10 whose files cannot be checked against published sums."""
    data_label: str | None = None
    """What results call such a copy, e.g. "CIFAR-10 (JPEG copy)"."""


def load(options: DataOptions, read: Callable[..., Dataset]) -> Dataset:
    """``read(data_dir, unverified=..., label=...)``. Raises UsageError for flags without a folder and unusable data."""
    if options.data_dir is None and (options.unverified or options.data_label):
        flag = "--unverified" if options.unverified else "--data-label"
        raise UsageError(f"{flag} is for a copy of CIFAR-10, got no --data-dir; pass its folder or drop {flag}")
    try:
        return read(options.data_dir, unverified=options.unverified, label=options.data_label)
    except DataError as error:
        raise UsageError(str(error)) from None
