"""Empirical risk minimisation of the 0-1 loss itself: exact over all thresholds of a score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_binary_data, as_labels, as_positive
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat, as_threat


def threshold_erm(scores: ArrayLike, y: ArrayLike, weights: ArrayLike = (1.0, 1.0)) -> float:
    """The t that minimises ``sum_i W_{y_i} [x_i misclassified by x > t -> class 1]``, exactly, in O(n log n).

    Attacked scores (class 0 moved up by its budget, class 1 down) make it adversarial training; mixed scores, mixup.
    The answer is the middle of the first best interval; -inf or inf when a constant classifier is best.

    Args:
        scores: [n]; y: labels 0/1 [n], both present; weights: loss weights (W_0, W_1) of the classes.
    """
    x = as_array("scores", scores, ndim=1)
    labels = as_labels("y", y, len(x), 2)
    if labels.min() == labels.max():
        raise ValueError(f"y must hold both classes 0 and 1, got only class {labels[0]}; pass samples of two classes")
    w = as_positive("weights", as_array("weights", weights, shape=(2,)))
    order = np.argsort(x, kind="stable")
    step = np.where(labels == 1, w[1], -w[0])[order]  # passing a sample: a "+" becomes wrong, a "-" becomes right
    risk = np.concatenate([[0.0], np.cumsum(step)])
    x = np.concatenate([[-np.inf], x[order], [np.inf]])
    risk[1:-1][x[1:-2] == x[2:-1]] = np.inf  # no threshold separates equal scores
    k = int(risk.argmin())
    low, high = x[k], x[k + 1]
    if np.isinf(low) or np.isinf(high):
        return float(low if np.isinf(low) else high)
    middle = low + (high - low) / 2.0
    return float(middle if middle < high else low)  # rounding must not cross the upper sample


def robust_threshold_erm(
    X: ArrayLike, y: ArrayLike, w: ArrayLike, threat: Threat = NATURAL, weights: ArrayLike = (1.0, 1.0)
) -> LinearClassifier:
    """Adversarial training of the threshold along fixed weights w [d]: :func:`threshold_erm` under the exact attack.

    Args:
        X: [n, d]; y: labels 0/1 [n], both present; w: [d]; weights: loss weights (W_0, W_1) of the classes.
    """
    direction, threat = as_array("w", w, ndim=1), as_threat(threat)
    data, labels = as_binary_data(as_array("X", X, shape=(None, len(direction))), y)
    reach = threat.radii(2) * threat.dual_norm(direction) * np.array([1.0, -1.0])
    scores = data @ direction + reach[labels]
    t = threshold_erm(scores, labels, weights)
    if np.isinf(t):
        return LinearClassifier(np.zeros_like(direction), -np.sign(t))
    return LinearClassifier(direction, -t)
