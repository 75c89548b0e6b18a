"""The command line of the deep experiments and the data it names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _harness import Options, UsageError
from linfair.data import DataError, Dataset


@dataclass(frozen=True)
class DeepOptions(Options):
    """Options of the deep experiments."""

    unverified: bool = False
    """Accept a copy of CIFAR-10 whose files cannot be checked against published sums."""
    data_label: str | None = None
    """What results call such a copy, e.g. "CIFAR-10 (JPEG copy)"."""
    exact_dir: Path | None = None
    """Folder of test images with their original pixels, measured beside those of a copy."""
    work: Path | None = None
    """Folder of checkpoints and unfinished measurements [runs]."""
    minutes: float | None = None
    """Stop cleanly after so long; the same command goes on later. 0 gathers what is there."""
    jobs: int = 1
    """Processes that share the runs."""
    only: tuple[str, ...] = ()
    """Only runs of these methods."""
    partial: bool = False
    """Write and draw the record of the runs that are finished, even if others are not."""


def dataset(options: DeepOptions) -> Dataset:
    """Digits, or the data set in --data-dir."""
    from linfair.data.catalogue import load_images

    if options.data_dir is None and (options.unverified or options.data_label):
        flag = "--unverified" if options.unverified else "--data-label"
        raise UsageError(f"{flag} is for a copy of CIFAR-10, got no --data-dir; pass its folder or drop {flag}")
    try:
        return load_images(options.data_dir, unverified=options.unverified, label=options.data_label)
    except DataError as error:
        raise UsageError(str(error)) from None


def exact_images(options: DeepOptions) -> tuple[np.ndarray, np.ndarray] | None:
    """Test images [n, ...] in [0, 1] and labels [n] of --exact-dir."""
    if options.exact_dir is None:
        return None
    data = dataset(dataclasses.replace(options, data_dir=options.exact_dir, unverified=True, data_label="exact"))
    return (data.test_images / data.levels).astype(np.float32), data.test_labels.astype(np.int64)


def check(options: DeepOptions) -> None:
    """Raises UsageError for options that cannot be."""
    if options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {options.jobs}; drop it for one process")
    if options.minutes is not None and not options.minutes >= 0:
        raise UsageError(f"--minutes must be >= 0, got {options.minutes}; drop it for no limit")
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda needs a CUDA device, got none; check the driver or drop --device")
