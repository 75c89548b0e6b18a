"""What one deep run is: a method, a seed and a recipe; what is measured on it; and its identity.

A run is known by the hash of what determines its weights. Its record grows: a measurement asked for later is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from linfair import runs
from linfair.data import Dataset, stratified_subset

TAUGHT = ("ard", "rslad", "absld")
TEACHER = "trades"
"""Distillation learns from the run of this method with the same seed."""
FAILURES = (RuntimeError, MemoryError, ArithmeticError, ValueError, ImportError)
"""What a run may fail with; it does not stop the others."""


def in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True)
class Training:
    """The same for every method. Radii are text in pixel units."""

    model: str = "small_cnn"
    width: int | None = None
    epochs: int = 12
    batch_size: int = 256
    lr: float = 0.2
    ema: float = 0.999
    eps: str = "8/255"
    step: str = "4/255"
    steps: int = 3
    augment: bool = True
    precision: str = "bfloat16"
    channels_last: bool = True
    validation: float = 0.05
    validation_steps: int = 10


@dataclass(frozen=True)
class Testing:
    """What is measured on the test images."""

    attacks: tuple[tuple[str, int], ...] = (("clean", 0), ("pgd20", 0), ("apgd", 500))
    """Of every run: an attack and on how many images, equally many a class; 0 for all."""
    more: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    """Of one seed of some methods, or of the "best" one on validation: attack, images, methods."""
    matrices: int = 0
    """Images for the mean softmax and the confusion under PGD-20; 0 for all."""
    search: str = "bfloat16"
    """Precision in which attacks search; a break counts in float32 only."""
    chunk: int = 500
    chunk_cuda: int = 2500
    """Images at a time, between two looks at the clock."""


@dataclass(frozen=True)
class Recipe:
    """How runs on one data set are trained and tested."""

    train: Training
    test: Testing


@dataclass(frozen=True)
class Measure:
    """An attack on the test images.

    Args:
        attack: a name of :data:`linfair.attacks.ATTACKS`, or "matrices".
        n: images, equally many a class; 0 for all.
        eps: radius in place of the run's.
        own: every class at the radius it was trained at, W_y eps.
        data: "test", or "exact" for the test images with their original pixels.
        search: precision of the search in place of the recipe's.
        optional: measured while the weights are at hand, and not worth training them again.
    """

    attack: str
    n: int = 0
    eps: str | None = None
    own: bool = False
    data: str = "test"
    search: str | None = None
    optional: bool = False

    def met_by(self, found: dict[str, Any] | None) -> bool:
        """Whether a measurement on record is on as many images, or on more."""
        return found is not None and (found["asked"] == 0 or 0 < self.n <= found["asked"])

    @property
    def key(self) -> str:
        """Its name in a record, and what its columns begin with."""
        parts = [self.data if self.data != "test" else "", self.attack, "own" if self.own else ""]
        return "_".join(filter(None, [*parts, self.eps and f"eps{self.eps}", self.search])).replace("/", "of")


@dataclass(frozen=True)
class Run:
    """A training run; what is None or empty is as the recipe and the method have it."""

    method: str
    seed: int = 0
    options: tuple[tuple[str, Any], ...] = ()
    eps: str | None = None
    classes: tuple[int, ...] = field(default=())
    """Only these classes, renamed 0, 1, ..."""
    epochs: int | None = None

    @property
    def name(self) -> str:
        """Unique among the runs of one recipe, and fit for a file name."""
        tags = [f"{k}_{v}" for k, v in self.options]
        tags += [f"eps{self.eps}"] if self.eps else []
        tags += ["classes" + "_".join(map(str, self.classes))] if self.classes else []
        tags += [f"epochs{self.epochs}"] if self.epochs else []
        return "-".join([self.method, *tags, f"s{self.seed}"]).replace("/", "of")

    @property
    def teacher(self) -> Run | None:
        return dataclasses.replace(self, method=TEACHER, options=()) if self.method in TAUGHT else None

    def training(self, recipe: Training) -> Training:
        """The recipe of this run; the attack's step keeps its share of the radius."""
        if self.epochs is not None:
            recipe = dataclasses.replace(recipe, epochs=self.epochs)
        if self.eps is None:
            return recipe
        step = Fraction(recipe.step) * Fraction(self.eps) / Fraction(recipe.eps)
        return dataclasses.replace(recipe, eps=self.eps, step=str(step))

    def identity(self, recipe: Training, fingerprint: str) -> str:
        """sha256 of all that determines the weights, save the code, the device and its rounding."""
        key: dict[str, Any] = {"run": runs.plain(self), "training": self.training(recipe)}
        del key["run"]["epochs"]  # it is in the training
        if self.teacher:
            key["teacher"] = self.teacher.identity(recipe, fingerprint)
        return runs.config_hash("deep run", runs.plain(key), fingerprint)


def stratified(labels: np.ndarray, n: int, n_classes: int) -> np.ndarray:
    """Indices of at most n images, equally many a class and the same every time; all images where n is 0."""
    if not 0 < n < len(labels):
        return np.arange(len(labels))
    each = min(max(n // n_classes, 1), int(np.bincount(labels, minlength=n_classes).min()))
    return np.sort(stratified_subset(labels, each * n_classes, 0))


def restrict(data: Dataset, classes: Sequence[int]) -> Dataset:
    """Only these classes, renamed 0, 1, ... in this order."""
    lookup = np.full(data.n_classes, -1)
    lookup[list(classes)] = np.arange(len(classes))
    return _pick(
        data,
        np.flatnonzero(lookup[data.train_labels] >= 0),
        np.flatnonzero(lookup[data.test_labels] >= 0),
        lookup,
        tuple(data.class_names[k] for k in classes),
    )


def shrink(data: Dataset, n: int) -> Dataset:
    """About n training images and a quarter as many to test on, equally many a class: for trials."""
    train = stratified(data.train_labels, n, data.n_classes)
    test = stratified(data.test_labels, max(n // 4, data.n_classes), data.n_classes)
    return _pick(data, train, test, np.arange(data.n_classes), data.class_names)


def _pick(data: Dataset, train: np.ndarray, test: np.ndarray, lookup: np.ndarray, names: tuple[str, ...]) -> Dataset:
    return dataclasses.replace(
        data,
        train_images=data.train_images[train],
        train_labels=lookup[data.train_labels[train]],
        test_images=data.test_images[test],
        test_labels=lookup[data.test_labels[test]],
        class_names=names,
    )
