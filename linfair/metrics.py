"""Class-wise metrics. Class vectors have the classes on the last axis; accuracies are fractions in [0, 1].

Every class is divided by its own count. A minimum over noisy classes is biased downwards, so the worst class comes with
its index and, by :func:`bootstrap`, with an interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_count, as_fraction, as_labels, as_positive


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence limits and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


class WorstClass(NamedTuple):
    """The class with the lowest accuracy (the first of equals)."""

    index: int
    value: float


def class_accuracy(labels: ArrayLike, correct: ArrayLike, n_classes: int | None = None) -> np.ndarray:
    """Accuracy of every class [C] from labels [n] and flags [n] that say whether each sample was right.

    Raises:
        ValueError: flags that are not 0/1, lengths that differ, a class without samples.
    """
    rate, _ = _class_rates(labels, correct, n_classes)
    return rate


def class_risk(labels: ArrayLike, correct: ArrayLike, n_classes: int | None = None) -> np.ndarray:
    """``1 - accuracy`` of every class [C]."""
    return 1.0 - class_accuracy(labels, correct, n_classes)


def worst_class(accuracy: ArrayLike) -> WorstClass:
    """Index and accuracy of the worst class of one class vector [C]."""
    vector = _class_vector(as_array("accuracy", accuracy, ndim=1))
    index = int(vector.argmin())
    return WorstClass(index, float(vector[index]))


def bottom_k(accuracy: ArrayLike, k: int = 3) -> np.ndarray:
    """Mean of the k lowest class accuracies."""
    vector = _class_vector(accuracy)
    if as_count("k", k) > vector.shape[-1]:
        raise ValueError(f"k must lie in 1..{vector.shape[-1]} (the number of classes), got {k}; average fewer classes")
    return np.sort(vector, axis=-1)[..., :k].mean(-1)


def disparity(accuracy: ArrayLike) -> np.ndarray:
    """Largest minus smallest class accuracy; the same for risks."""
    return np.ptp(_class_vector(accuracy), axis=-1)


def nsd(accuracy: ArrayLike) -> np.ndarray:
    """Normalized standard deviation: population sd over classes divided by their mean; lower is fairer.

    NaN where every class is at 0: the ratio has no limit there.
    """
    vector = _class_vector(accuracy)
    mean = vector.mean(-1)
    return vector.std(-1) / np.where(mean == 0.0, np.nan, mean)


def rho(average: float, worst: float, base_average: float, base_worst: float) -> float:
    """Relative gain of the worst class minus relative loss of the average against a baseline, in the setting of DAFA.

    ``rho = (worst - worst_0) / worst_0 - (avg_0 - avg) / avg_0``; higher is better, 0 for the baseline itself.
    """
    for name, value in (("base_average", base_average), ("base_worst", base_worst)):
        if not value > 0:
            raise ValueError(f"{name} must be > 0, got {value}; rho is relative to the baseline, pick another one")
    return (worst - base_worst) / base_worst - (base_average - average) / base_average


def nrr(clean: ArrayLike, robust: ArrayLike) -> np.ndarray:
    """Harmonic mean of clean and robust accuracy, ``2 c r / (c + r)``; 0, its limit, where both are 0."""
    c, r = as_positive("clean", clean, strict=False), as_positive("robust", robust, strict=False)
    return 2.0 * c * r / np.where(c + r == 0.0, 1.0, c + r)


def bootstrap(
    labels: ArrayLike,
    correct: ArrayLike,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    *,
    n_boot: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of ``statistic(class accuracies)``, resampling images within their class.

    Resampling n_k flags with mean a_k is drawing a Binomial(n_k, a_k) count, so no flag is copied.

    Args:
        statistic: maps class accuracies [..., C] to [...]: :func:`disparity`, :func:`nsd`, ``lambda a: a.min(-1)``, ...
    """
    rate, counts = _class_rates(labels, correct, None)
    draws = statistic(rng.binomial(counts, rate, (as_count("n_boot", n_boot), len(counts))) / counts)
    return _interval(float(statistic(rate)), draws, level, int(counts.sum()))


def paired_accuracies(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, rng: np.random.Generator, *, n_boot: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Class accuracies of two classifiers on the same images, as measured and resampled: a paired bootstrap.

    Images are resampled within their class, the same ones for both, so what makes an image hard for both cancels in a
    difference. For n images of a class that is drawing Multinomial(n; both right, only A, only B, neither).

    Args:
        labels: [n], every class 0..C-1.
        a, b: flags [n] that say whether A and B were right.

    Returns:
        Accuracies of A and of B, each [1 + n_boot, C]; row 0 is measured, the others are resamples.

    Raises:
        ValueError: flags that are not 0/1, lengths that differ, a class without samples.
    """
    _, n = _class_rates(labels, a, None)
    _class_rates(labels, b, None)
    right_a, right_b = (np.asarray(flags, dtype=bool) for flags in (a, b))
    outcome = np.where(right_a, np.where(right_b, 0, 1), np.where(right_b, 2, 3))
    counts = np.bincount(4 * np.asarray(labels, dtype=np.int64) + outcome, minlength=4 * len(n)).reshape(-1, 4)
    drawn = [rng.multinomial(m, c / m, as_count("n_boot", n_boot)) for m, c in zip(n, counts, strict=True)]
    both = np.concatenate([counts[None], np.stack(drawn, axis=1)])
    return (both[..., 0] + both[..., 1]) / n, (both[..., 0] + both[..., 2]) / n


def rank_correlation(
    x: ArrayLike, y: ArrayLike, rng: np.random.Generator, *, n_boot: int = 2000, level: float = 0.95
) -> Interval:
    """Spearman's rank correlation (ties share their mean rank), with a percentile interval over resampled (x_i, y_i).

    NaN where x or y is constant.
    """
    a, b = as_array("x", x, ndim=1), as_array("y", y, ndim=1)
    if len(a) != len(b) or len(a) < 3:
        raise ValueError(
            f"x and y must have one length of at least 3, got {len(a)} and {len(b)}; pass matching vectors"
        )
    pick = rng.integers(len(a), size=(as_count("n_boot", n_boot), len(a)))
    return _interval(float(spearman(a, b)), spearman(a[pick], b[pick]), level, len(a))


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of the last axes of x and y, [...]; NaN where one of them is constant."""
    from scipy.stats import rankdata

    r, s = (rankdata(v, axis=-1) - (v.shape[-1] + 1) / 2 for v in (x, y))
    with np.errstate(invalid="ignore"):
        return (r * s).sum(-1) / np.sqrt((r**2).sum(-1) * (s**2).sum(-1))


def proportion(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """A share ``successes / n`` with its Wilson interval."""
    from scipy.special import ndtri

    if not 0 <= successes <= as_count("n", n):
        raise ValueError(f"successes must lie in 0..{n}, got {successes}; count successes among the n trials")
    z = float(ndtri(0.5 + as_fraction("level", level) / 2.0))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Interval(share, float(max(centre - half, 0.0)), float(min(centre + half, 1.0)), n)


def _class_vector(accuracy: ArrayLike) -> np.ndarray:
    """Finite accuracies or risks with at least one class on the last axis."""
    vector = as_array("accuracy", accuracy)
    if vector.ndim == 0 or vector.shape[-1] == 0:
        raise ValueError(f"accuracy must hold at least one class, got shape {vector.shape}; pass one value a class")
    return vector


def _class_rates(labels: ArrayLike, correct: ArrayLike, n_classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    flags = as_array("correct", correct, ndim=1)
    if not np.isin(flags, (0.0, 1.0)).all():
        raise ValueError("correct must hold flags, got values other than 0 and 1; compare predictions with labels")
    classes = as_labels("labels", labels, len(flags), n_classes)
    counts = np.bincount(classes, minlength=n_classes or 0)
    if counts.min() == 0:
        raise ValueError(
            f"labels must hold every class 0..{len(counts) - 1}, got none of class {counts.argmin()}; drop it"
        )
    return np.bincount(classes, flags, len(counts)) / counts, counts


def _interval(value: float, draws: np.ndarray, level: float, n: int) -> Interval:
    tail = (1.0 - as_fraction("level", level)) / 2.0
    kept = draws[np.isfinite(draws)]
    low, high = np.quantile(kept, [tail, 1.0 - tail]) if len(kept) else (np.nan, np.nan)
    return Interval(value, float(low), float(high), n)
