"""Tables with a protected group: what one is, and what their loaders share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from linfair._check import as_array, as_labels
from linfair.data import DataError, stratified_split

TEST_SHARE = 0.3
"""Of every cell (group, label), where the source has no test part of its own."""


@dataclass(frozen=True, eq=False)
class Table:
    """Features, a binary label and a binary protected attribute, in a training and a test part.

    Args:
        train_x, test_x: features [n, d], float64. Continuous columns have mean 0 and sd 1 on the training part, columns
            of a category are 0 or 1, one for each of its values. The protected attribute is not a feature.
        train_y, test_y: label 0 or 1 [n], int64.
        train_a, test_a: group 0 or 1 [n], int64.
        columns: d names, such as "age" and "workclass=Private".
        continuous: which columns are not of a category [d]; an attack may move these only, or relax the others too.
        groups: names of a = 0 and a = 1.
        outcomes: names of y = 0 and y = 1.
        protected: name of the protected attribute.
        name: short name, as in file names ("adult-sex").
        label: what figures and records call the data.
        verified: True when the bytes are known to be the published ones.
        suffix: what the data set adds to the file names of a result.

    Raises:
        DataError: a part without a row of some group with some label.
        ValueError: shapes that do not fit, features that are not finite, labels or groups other than 0 and 1.
    """

    train_x: np.ndarray = field(repr=False)
    train_y: np.ndarray = field(repr=False)
    train_a: np.ndarray = field(repr=False)
    test_x: np.ndarray = field(repr=False)
    test_y: np.ndarray = field(repr=False)
    test_a: np.ndarray = field(repr=False)
    columns: tuple[str, ...] = field(repr=False)
    continuous: np.ndarray = field(repr=False)
    groups: tuple[str, str]
    outcomes: tuple[str, str]
    protected: str
    name: str
    label: str
    verified: bool
    suffix: str
    lo: np.ndarray = field(init=False, repr=False)
    """Smallest value of every column over both parts, in the units of x [d]; 0 for a column of a category."""
    hi: np.ndarray = field(init=False, repr=False)
    """Largest value of every column over both parts, in the units of x [d]; 1 for a column of a category."""
    fingerprint: str = field(init=False)
    """First 12 hex digits of the sha256 of features, labels, groups and kinds of columns in their order."""

    def __post_init__(self) -> None:
        continuous = as_labels("continuous", self.continuous, len(self.columns), 2).astype(bool)
        found = {"continuous": continuous}
        for part, title in (("train", "training"), ("test", "test")):
            x = as_array(f"{part}_x", getattr(self, f"{part}_x"), shape=(None, len(self.columns)))
            y, a = (as_labels(f"{part}_{k}", getattr(self, f"{part}_{k}"), len(x), 2) for k in "ya")
            require_cells(f"the {title} part", cells(y, a), self.groups, self.outcomes)
            flags = ((x == 0) | (x == 1)).all(0) | continuous
            if not flags.all():
                column = self.columns[int(flags.argmin())]
                raise ValueError(f"{part}_x must be 0 or 1 in {column}, got other values; mark it as continuous")
            found |= {f"{part}_x": x, f"{part}_y": y, f"{part}_a": a}
        both = found["train_x"], found["test_x"]
        found["lo"] = np.where(continuous, np.minimum(*(x.min(0) for x in both)), 0.0)
        found["hi"] = np.where(continuous, np.maximum(*(x.max(0) for x in both)), 1.0)
        for name, value in found.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "fingerprint", _fingerprint((*self.train(), *self.test(), self.continuous)))

    def train(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x [n, d], y [n] and a [n] of the training part."""
        return self.train_x, self.train_y, self.train_a

    def test(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x [n, d], y [n] and a [n] of the test part."""
        return self.test_x, self.test_y, self.test_a

    @property
    def counts(self) -> np.ndarray:
        """Rows of both parts in every cell [a, y]; ``counts[:, 1] / counts.sum(1)`` are the base rates."""
        return cells(self.train_y, self.train_a) + cells(self.test_y, self.test_a)


def cells(y: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Rows in every cell [a, y]."""
    return np.bincount(2 * a + y, minlength=4).reshape(2, 2)


def require_cells(
    where: str, counts: np.ndarray, groups: tuple[str, str], outcomes: tuple[str, str], least: int = 1
) -> None:
    """DataError unless every cell [a, y] has ``least`` rows."""
    a, y = np.unravel_index(int(counts.argmin()), (2, 2))
    if counts[a, y] < least:
        raise DataError(
            f"{where} must hold at least {least} row(s) of every group and outcome, got {counts[a, y]} of "
            f"({groups[a]}, {outcomes[y]}); use the whole file"
        )


def selected(protected: str, choices: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """The groups of a protected attribute; DataError if it is none of the choices."""
    if protected not in choices:
        raise DataError(f"protected must be one of {', '.join(choices)}, got {protected!r}; choose one of them")
    return choices[protected]


def split(y: np.ndarray, a: np.ndarray, seed: int) -> np.ndarray:
    """Which rows are the test part [n]: round(0.3 n_c) of every cell, fixed by the seed."""
    held_out = np.zeros(len(y), bool)
    held_out[stratified_split(2 * a + y, TEST_SHARE, seed)[1]] = True
    return held_out


def standardised(x: np.ndarray, continuous: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Continuous columns minus the mean and over the sd of the training rows; a constant one becomes 0."""
    mean, sd = x[train].mean(0), x[train].std(0)
    scale = np.where(continuous & (sd > 0), sd, 1.0)
    return (x - np.where(continuous, mean, 0.0)) / scale


def parts(x: np.ndarray, y: np.ndarray, a: np.ndarray, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """The six arrays of a Table by name."""
    rows = {"train": ~held_out, "test": held_out}
    return {f"{part}_{k}": v[rows[part]] for part in rows for k, v in (("x", x), ("y", y), ("a", a))}


def _fingerprint(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        fixed = np.ascontiguousarray(array, "<f8" if array.dtype.kind == "f" else "<i8")
        digest.update(str(fixed.shape).encode())
        digest.update(fixed.tobytes())
    return digest.hexdigest()[:12]
