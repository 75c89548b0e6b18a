"""What all data sets in files share: finding the folder, reading, verifying, checking and naming."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfair.data import DataError, Dataset, fingerprint, missing_classes, slug

Part = tuple[np.ndarray, np.ndarray]
"""Images uint8 [n, c, h, w] and labels int64 [n]."""

PLAIN = ("", "cifar", "cifar10", "cifar100", "stl", "stl10", "digits")
"""What no unverified copy may be called."""


@dataclass(frozen=True)
class Source:
    """A published data set.

    Args:
        key: short name, as in file names and ``load_images(name=...)``.
        title: what verified data are called.
        shape: of an image, (c, h, w).
        folders: official folder -> the files in it.
        page: where the archive is.
    """

    key: str
    title: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    folders: Mapping[str, tuple[str, ...]]
    page: str

    def find(self, data_dir: Path) -> tuple[Path, str] | None:
        """The folder that holds the files, and which of the official folders it is; None if there is none."""
        for name, files in self.folders.items():
            for folder in (data_dir, data_dir / name):
                if any((folder / file).is_file() for file in files):
                    return folder, name
        return None

    def locate(self, data_dir: str | Path) -> tuple[Path, str]:
        """As :meth:`find`, or DataError."""
        if not Path(data_dir).is_dir():
            raise DataError(
                f"data_dir must be an existing folder, got '{data_dir}'; extract the archive of {self.page}"
            )
        found = self.find(Path(data_dir))
        if found is None:
            names = " or ".join(self.folders)
            raise DataError(f"data_dir must hold {names}, got '{data_dir}' without; extract the archive of {self.page}")
        return found

    def part(self, path: Path, pixels: np.ndarray, labels: np.ndarray, first: int = 0) -> Part:
        """Pixels [n, ...] and labels ``first..first+C-1`` as read from ``path``, checked, in the form of a Dataset."""
        last = first + len(self.class_names) - 1
        if len(pixels) == 0 or len(labels) != len(pixels):
            raise DataError(
                f"{path} must hold a label for every image, got {len(labels)} for {len(pixels)}; copy the file again"
            )
        if labels.min() < first or labels.max() > last:
            raise DataError(
                f"{path} must hold labels {first}..{last}, got {labels.min()}..{labels.max()}; is it {self.title}?"
            )
        return np.ascontiguousarray(pixels.reshape(-1, *self.shape)), labels.astype(np.int64) - first

    def dataset(self, train: Part, test: Part, verified: bool, label: str | None) -> Dataset:
        """The data set under a name that says whether it is the published one."""
        for which, (_, labels) in (("training", train), ("test", test)):
            if missing := missing_classes(labels, self.class_names):
                raise DataError(
                    f"the {which} part must hold every class, got no image of {missing}; extract the whole archive"
                )
        arrays = (*train, *test)
        if verified:
            suffix = "" if self.key == "cifar10" else f"-{self.key}"
            return Dataset(*arrays, self.class_names, self.key, self.title, True, suffix)
        mark = fingerprint(arrays)
        name = f"{self.title} (unverified copy {mark})" if label is None else label
        if slug(name) in PLAIN:
            example = f"--data-label '{self.title} (JPEG copy)'"
            raise DataError(f"label must say which copy it is, got {label!r}; e.g. {example}")
        title = f"{name}, data {mark}" if label else name
        suffix = f"-{self.key}-{slug(name).removeprefix(f'{self.key}-')}"
        return Dataset(*arrays, self.class_names, self.key, title, False, suffix)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path} must be a readable file, got {reason}; extract the archive again") from None


def is_official(path: Path, blob: bytes, md5: str, unverified: bool) -> bool:
    """Whether the checksum is the published one; DataError if not and that was not allowed."""
    received = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    if received != md5 and not unverified:
        raise DataError(f"{path} must have MD5 {md5}, got {received}; extract the archive again or pass --unverified")
    return received == md5


def records(path: Path, blob: bytes, size: int) -> np.ndarray:
    """The file as uint8 [n, size]; DataError unless it is a whole number of records."""
    if not blob or len(blob) % size:
        raise DataError(
            f"{path} must be a whole number of {size}-byte records, got {len(blob)} bytes; copy the file again"
        )
    return np.frombuffer(blob, np.uint8).reshape(-1, size)


def joined(parts: Iterable[Part]) -> Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
