"""The python and the binary layout that CIFAR-10 and CIFAR-100 share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfair.data import DataError, Dataset
from linfair.data._files import Source, is_official, joined, read, records
from linfair.data._pickle import read_pickle

PIXELS = 3072


@dataclass(frozen=True)
class Layout:
    """How one of the two is stored.

    Args:
        md5: file of the python layout -> its checksum; the last file is the test part.
        md5_binary: the same for the binary layout, whose files have an ending more.
        label_field: key of the labels in the python layout.
        label_bytes: bytes before the pixels of a record in the binary layout; the last is the label.
    """

    source: Source
    md5: Mapping[str, str]
    md5_binary: Mapping[str, str]
    label_field: str
    label_bytes: int

    def load(self, data_dir: str | Path, unverified: bool, label: str | None) -> Dataset:
        folder, name = self.source.locate(data_dir)
        binary = name != next(iter(self.source.folders))
        parts, official = [], []
        for file, md5 in (self.md5_binary if binary else self.md5).items():
            path = folder / (f"{file}.bin" if binary else file)
            blob = read(path)
            official.append(is_official(path, blob, md5, unverified))
            arrays = self._binary(path, blob) if binary else self._python(path, blob)
            parts.append(self.source.part(path, *arrays))
        return self.source.dataset(joined(parts[:-1]), parts[-1], all(official), label)

    def _binary(self, path: Path, blob: bytes) -> tuple[np.ndarray, np.ndarray]:
        table = records(path, blob, self.label_bytes + PIXELS)
        return table[:, self.label_bytes :], table[:, self.label_bytes - 1]

    def _python(self, path: Path, blob: bytes) -> tuple[np.ndarray, np.ndarray]:
        fields = read_pickle(path, blob)
        data, labels = fields.get("data"), fields.get(self.label_field)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
            got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
            raise DataError(f"{path} must hold data as uint8 (n, {PIXELS}), got {got}; extract the archive again")
        if not isinstance(labels, list) or not all(type(k) is int for k in labels):
            got = type(labels).__name__
            raise DataError(
                f"{path} must hold {self.label_field} as a list of ints, got {got}; extract the archive again"
            )
        return data, np.asarray(labels)


def files(names: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files of the python and of the binary layout."""
    return tuple(names), tuple(f"{name}.bin" for name in names)
