"""Data: what a set of images is, how the ones used here are read and how they are split. Numpy only.

:func:`linfair.data.catalogue.load_images` is the one door to images, :func:`linfair.data.tabular.load_tables` to tables
with a protected group; nothing is downloaded unless it is asked to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from linfair._check import as_count, as_fraction, as_labels


class DataError(ValueError):
    """Data that cannot be used: missing, damaged, unsafe or unverified. One line with the remedy."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in a training and a test part.

    Args:
        train_images, test_images: whole numbers ``0..levels`` as uint8, [n, channels, height, width].
        train_labels, test_labels: class indices [n]; what reads them checks that they are below C.
        class_names: one name a class.
        name: short name, as in file names ("digits", "cifar10").
        label: what figures and records call the data.
        verified: True when the bytes are known to be the published ones.
        suffix: what the data set adds to the file names of a result.
        levels: the largest pixel value; :meth:`train` and :meth:`test` divide by it.

    Raises:
        DataError: images of another shape or type or beyond ``levels``, labels that do not fit them.
    """

    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    name: str
    label: str
    verified: bool
    suffix: str
    levels: int = 255
    fingerprint: str = field(init=False)
    """First 12 hex digits of the sha256 of all images and labels in their order."""

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = (f"{part}_{what}" for what in ("images", "labels"))
            _check_images(images, getattr(self, images), self.levels)
            try:
                found = as_labels(labels, getattr(self, labels), len(getattr(self, images)))
            except (ValueError, TypeError) as error:
                raise DataError(str(error)) from None
            object.__setattr__(self, labels, found)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"test_images must have the shape of train_images, {self.train_images.shape[1:]} an image, "
                f"got {self.test_images.shape[1:]}; crop or resize them"
            )
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        object.__setattr__(self, "fingerprint", fingerprint(parts))

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """Training pixels in [0, 1] as float64 [n, pixels], and their labels."""
        return self._flat(self.train_images), self.train_labels

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Test pixels in [0, 1] as float64 [n, pixels], and their labels."""
        return self._flat(self.test_images), self.test_labels

    def pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """Both parts together, training part first: for cross-fitting on small data."""
        (a, s), (b, t) = self.train(), self.test()
        return np.concatenate([a, b]), np.concatenate([s, t])

    def _flat(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1) / self.levels


def _check_images(name: str, images: np.ndarray, levels: int) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise DataError(f"{name} must be a numpy array of uint8 in 0..levels, got {got}; scale, round and convert it")
    if images.ndim != 4:
        raise DataError(f"{name} must have shape [n, channels, height, width], got {images.shape}; reshape it")
    if not 1 <= levels <= 255 or (levels < 255 and images.max(initial=0) > levels):
        largest = int(images.max(initial=0))
        raise DataError(f"levels must lie in 1..255 and bound {name}, got {levels} and {largest}; pass the scale's end")


def fingerprint(arrays: Iterable[np.ndarray]) -> str:
    """First 12 hex digits of the sha256 of shapes and contents; labels count as int64, images as uint8."""
    digest = hashlib.sha256()
    for array in arrays:
        fixed = np.ascontiguousarray(array, np.uint8 if array.ndim > 1 else "<i8")
        digest.update(str(fixed.shape).encode())
        digest.update(fixed.tobytes())
    return digest.hexdigest()[:12]


def slug(label: str) -> str:
    """A label as part of a file name: "CIFAR-10 (JPEG copy)" -> "cifar10-jpeg-copy"."""
    return (
        re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-").replace("cifar-10", "cifar10").replace("stl-10", "stl10")
    )


def load_digits(seed: int = 0) -> Dataset:
    """The embedded data set: 1,797 handwritten digits of 8 x 8 pixels in 17 grey levels, bundled with scikit-learn.

    Split once, by class: a fifth of every class (rounded) is the test part, drawn with ``default_rng(seed)``.
    """
    from sklearn import datasets

    bundle = datasets.load_digits()
    images = bundle.images.astype(np.uint8)[:, None]  # pyright: ignore[reportAttributeAccessIssue]
    labels = bundle.target.astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]
    held_out = folds(labels, 5, np.random.default_rng(seed)) == 0
    return Dataset(
        images[~held_out],
        labels[~held_out],
        images[held_out],
        labels[held_out],
        class_names=tuple(str(k) for k in range(10)),
        name="digits",
        label="digits",
        verified=True,
        suffix="-digits",
        levels=16,
    )


def folds(labels: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """A fold 0..k-1 for every sample; within each class the folds differ in size by at most one."""
    counts = np.bincount(labels)
    if k < 2 or counts[counts > 0].min() < k:
        raise ValueError(f"k must lie in 2..{counts[counts > 0].min()} (the smallest class), got {k}; use fewer folds")
    fold = np.empty(len(labels), np.int64)
    for label in np.flatnonzero(counts):
        own = rng.permutation(np.flatnonzero(labels == label))
        fold[own] = np.arange(len(own)) % k
    return fold


def stratified_split(labels: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of a training and a validation part: of every class, round(fraction n_c) samples are held out.

    Args:
        labels: class indices [n].
        fraction: of each class, 0 < fraction < 1.
        seed: the same seed gives the same split; a class's part depends on that class only.

    Raises:
        ValueError: a fraction outside (0, 1), or a class that would be empty on one side.
    """
    fraction = as_fraction("fraction", fraction)
    labels = as_labels("labels", labels, len(labels))
    held_out = np.zeros(len(labels), bool)
    for label, own in _shuffled_classes(labels, seed):
        n = round(fraction * len(own))
        if not 0 < n < len(own):
            remedy = "add samples of it" if len(own) < 2 else f"choose a {'larger' if n == 0 else 'smaller'} one"
            raise ValueError(
                f"fraction must leave every class on both sides, got {fraction} of the {len(own)} samples of class "
                f"{label}; {remedy}"
            )
        held_out[own[:n]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def stratified_subset(labels: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Sorted indices of n samples, equally many of each class that occurs.

    A larger subset of the same seed contains a smaller one.

    Raises:
        ValueError: n is no multiple of the number of classes, or more than the smallest class can give.
    """
    labels = as_labels("labels", labels, len(labels))
    classes = list(_shuffled_classes(labels, seed))
    each, rest = divmod(as_count("n", n), len(classes))
    smallest = min(len(own) for _, own in classes)
    if rest or each > smallest:
        raise ValueError(
            f"n must be a multiple of the {len(classes)} classes and at most {smallest * len(classes)}, got {n}; "
            f"try {min(max(each, 1), smallest) * len(classes)}"
        )
    return np.sort(np.concatenate([own[:each] for _, own in classes]))


def missing_classes(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """The classes without a sample, as "3 (cat), 5 (dog)"; empty if there are none."""
    counts = np.bincount(labels, minlength=len(class_names))
    return ", ".join(f"{k} ({name})" for k, name in enumerate(class_names) if counts[k] == 0)


def _shuffled_classes(labels: np.ndarray, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Every class that occurs, with the indices of its samples in an order fixed by seed and class."""
    for label in np.unique(labels):
        yield int(label), np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
