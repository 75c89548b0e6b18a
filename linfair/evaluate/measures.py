"""What an attack's flags say about the classes, every number with its 95 % interval.

``average`` is the mean over the classes, with as many images of each the share of all images; the other measures are
those of :mod:`linfair.metrics`. Their intervals are percentiles over 2,000 resamples of the images within their class;
the interval of one class is Wilson's, which does not close at 0 and 100 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linfair import metrics

LEVEL = 0.95
N_BOOT = 2000

Statistic = Callable[[np.ndarray], np.ndarray]


STATISTICS: dict[str, Statistic] = {
    "average": lambda a: a.mean(-1),
    "worst": lambda a: a.min(-1),
    "bottom_3": lambda a: metrics.bottom_k(a, min(3, a.shape[-1])),
    "disparity": metrics.disparity,
    "nsd": metrics.nsd,
}
"""The measures by name, each from class accuracies [..., C] to [...]."""


def measure(labels: np.ndarray, correct: np.ndarray, names: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """All measures of flags [n] with labels [n] in 0..C-1 as JSON types; None for a value that is not defined.

    Returns:
        ``{"average": {"value", "low", "high"}, "worst": {..., "index", "class"}, "bottom_3", "disparity", "nsd",
        "classes": [{"name", "n", "value", "low", "high"}, ...]}``, accuracies as fractions.

    Raises:
        ValueError: a class without images.
    """
    accuracy = metrics.class_accuracy(labels, correct, len(names))
    counts = np.bincount(labels, minlength=len(names))
    found: dict[str, Any] = {}
    for name, statistic in STATISTICS.items():
        rng = np.random.default_rng(seed)
        found[name] = _limits(metrics.bootstrap(labels, correct, statistic, rng, n_boot=N_BOOT, level=LEVEL))
    worst = metrics.worst_class(accuracy)
    found["worst"] |= {"index": worst.index, "class": names[worst.index]}
    right = np.bincount(labels, correct, len(names)).astype(int)
    found["classes"] = [
        {"name": name, "n": int(n), **_limits(metrics.proportion(int(k), int(n), level=LEVEL))}
        for name, k, n in zip(names, right, counts, strict=True)
    ]
    return found


def _limits(interval: metrics.Interval) -> dict[str, float | None]:
    return {key: as_json(getattr(interval, key)) for key in ("value", "low", "high")}


def as_json(value: float) -> float | None:
    """A number as JSON knows it: NaN and infinity are None."""
    return float(value) if np.isfinite(value) else None
