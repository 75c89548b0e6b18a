"""The command line of the deep experiments and the data it names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from _data_options import DataOptions, load
from _harness import UsageError
from linfair.data import Dataset


@dataclass(frozen=True)
class DeepOptions(DataOptions):
    """Options of the deep experiments."""

    data: str | None = None
    """Which data set, if --data-dir holds several: cifar10, cifar100, stl10."""
    download: bool = False
    """Fetch the official archive of --data into --data-dir first."""
    exact_dir: Path | None = None
    """Folder of test images with their original pixels, measured beside those of a copy."""
    work: Path | None = None
    """Folder of checkpoints and unfinished measurements [runs]."""
    minutes: float | None = None
    """Stop cleanly after so long; the same command goes on later. 0 gathers what is there. At least 3 for AutoAttack,
    a component of which is not begun in the last two minutes."""
    jobs: int = 1
    """Processes that share the runs."""
    only: tuple[str, ...] = ()
    """Only runs of these methods."""
    partial: bool = False
    """Write and draw the record of the runs that are finished, even if others are not."""


def dataset(options: DeepOptions) -> Dataset:
    """Digits, or the data set in --data-dir."""
    from linfair.data.catalogue import load_images

    return load(options, partial(load_images, name=options.data, download=options.download))


def exact_images(options: DeepOptions, data: Dataset) -> Dataset | None:
    """The data set in --exact-dir. Raises UsageError where networks for `data` cannot be tested on it."""
    if options.exact_dir is None:
        return None
    copy = {"unverified": True, "data_label": "exact", "download": False}
    exact = dataset(dataclasses.replace(options, data_dir=options.exact_dir, **copy))
    ours, theirs = ((*d.test_images.shape[1:], d.n_classes) for d in (data, exact))
    if ours != theirs:
        raise UsageError(
            f"--exact-dir must hold {ours[:-1]} images of {ours[-1]} classes as {data.label} does, "
            f"got {theirs[:-1]} of {theirs[-1]} in '{options.exact_dir}'; pass the --data-dir that they belong to, "
            "or drop --exact-dir"
        )
    return exact


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
