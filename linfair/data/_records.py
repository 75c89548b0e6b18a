"""Comma-separated files: finding them, reading them, and their rows by column with the line each came from."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linfair.data import DataError
from linfair.data._files import read


@dataclass(frozen=True)
class Records:
    """Rows of text files, and the file and line each came from."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    places: list[tuple[Path, int]]

    def __add__(self, other: Records) -> Records:
        return Records(self.columns, self.rows + other.rows, self.places + other.places)

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, keep: Iterable[bool]) -> Records:
        """The rows for which ``keep`` is true."""
        kept = [i for i, wanted in enumerate(keep) if wanted]
        return Records(self.columns, [self.rows[i] for i in kept], [self.places[i] for i in kept])

    def text(self, column: str) -> list[str]:
        index = self.columns.index(column)
        return [row[index] for row in self.rows]

    def numbers(self, column: str) -> np.ndarray:
        """A column of finite numbers [n]; DataError says in which line one is not."""
        values = np.empty(len(self))
        for i, text in enumerate(self.text(column)):
            try:
                values[i] = float(text)
            except ValueError:
                values[i] = math.nan
            if not math.isfinite(values[i]):
                raise DataError(f"{self._place(i)} must hold a number as {column}, got {text!r}; copy the file again")
        return values

    def codes(self, column: str, codes: Mapping[str, int]) -> np.ndarray:
        """A column whose texts stand for whole numbers [n]; DataError says in which line another text stands."""
        texts = self.text(column)
        for i, text in enumerate(texts):
            if text not in codes:
                known = " or ".join(codes)
                raise DataError(f"{self._place(i)} must hold {known} as {column}, got {text!r}; copy the file again")
        return np.array([codes[text] for text in texts], np.int64)

    def _place(self, i: int) -> str:
        path, line = self.places[i]
        return f"{path} line {line}"

    def features(self, numeric: Sequence[str], categories: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Numeric columns as they are, then a 0/1 column for each value of each category in sorted order."""
        blocks, names = [self.numbers(column) for column in numeric], list(numeric)
        for column in categories:
            values, index = np.unique(self.text(column), return_inverse=True)
            blocks += [(index == k).astype(float) for k in range(len(values))]
            names += [f"{column}={value}" for value in values]
        return np.stack(blocks, axis=1), tuple(names)


def parse(path: Path, blob: bytes, columns: Sequence[str] | None = None) -> Records:
    """The rows of a comma-separated file; its first row names the columns unless they are given.

    Blank lines and lines that begin with ``|`` are left out.

    Raises:
        DataError: no text, no row, or a line with another number of columns.
    """
    try:
        reader = csv.reader(io.StringIO(blob.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        lines = [(reader.line_num, row) for row in reader if any(row) and not row[0].startswith("|")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must be comma-separated text, got {error}; copy the file again") from None
    if columns is None and lines:
        columns = lines.pop(0)[1]
    if columns is None or not lines:
        raise DataError(f"{path} must hold rows of data, got none; copy the file again")
    for number, row in lines:
        if len(row) != len(columns):
            raise DataError(
                f"{path} line {number} must have {len(columns)} columns, got {len(row)}; copy the file again"
            )
    return Records(tuple(columns), [row for _, row in lines], [(path, number) for number, _ in lines])


def find(data_dir: str | Path, folder: str, files: Sequence[str]) -> Path | None:
    """``data_dir`` or its subfolder, whichever holds one of the files; None if neither does."""
    places = (Path(data_dir), Path(data_dir) / folder)
    return next((place for place in places if any((place / file).is_file() for file in files)), None)


def blobs(data_dir: str | Path, folder: str, files: Sequence[str], page: str) -> dict[Path, bytes]:
    """The contents of the files, which lie in ``data_dir`` or its subfolder; DataError if one is missing."""
    if not Path(data_dir).is_dir():
        raise DataError(f"data_dir must be an existing folder, got '{data_dir}'; put the files of {page} there")
    place = find(data_dir, folder, files)
    if place is None:
        raise DataError(
            f"data_dir must hold {' and '.join(files)}, got '{data_dir}' without; put the files of {page} there"
        )
    return {place / file: read(place / file) for file in files}
