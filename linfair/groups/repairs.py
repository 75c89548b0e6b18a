"""Repairs of group fairness outside training: weights before it, thresholds after it. Without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_count, as_labels, as_positive
from linfair.groups.metrics import Reach, cell_counts, check_objective

TIE = 1e-12
"""Costs this close are equal: sums of shares in another order."""


def reweigh(y: ArrayLike, a: ArrayLike) -> np.ndarray:
    """Weights [n] under which label and group are independent: w = P(a) P(y) / P(a, y) (Kamiran & Calders 2012).

    Their mean is 1, and the weighted shares of the labels and of the groups stay what they were.

    Raises:
        ValueError: a cell (a, y) without samples, which no weight can fill.
    """
    joint = cell_counts(y, a) / np.size(y)
    return (joint.sum(1)[:, None] * joint.sum(0) / joint)[np.asarray(a, np.int64), np.asarray(y, np.int64)]


def group_thresholds(
    reach: Reach,
    y: ArrayLike,
    a: ArrayLike,
    *,
    gamma: float = 1.0,
    objective: str = "EOd",
    attacked: bool = False,
    cuts: int = 400,
) -> tuple[float, float]:
    """Thresholds (t_0, t_1), prediction 1[s > t_a], of the lowest error + gamma gap on the given samples.

    The gap is DI or EOd of the predictions. With ``attacked``, the error is that under the attack on accuracy and the
    gap the largest that any attack attains (``worst_DI``, ``worst_EOd`` of :func:`linfair.groups.metrics.attacked`).

    A group's candidates are 0 and up to ``cuts`` places between neighbours among its m sorted scores (clean ones; down
    and up ones together where attacked): below all, above all, and evenly spread in rank. With cuts > m that is every
    rule there is, and the pair is optimal; else it is the best pair of candidates. Of equals (to 1e-12) the pair with
    the smallest |t_0| + |t_1| is taken. All pairs are compared, from the rates of each group alone.

    Args:
        reach: scores of the n samples; ``reach.shifted(np.asarray(thresholds)[a])`` applies what is found.
        y, a: [n], labels and groups, 0 or 1, every cell with samples.
        gamma: weight of the gap, >= 0.
        cuts: at least 2.
    """
    if not isinstance(reach, Reach):
        got = type(reach).__name__
        raise TypeError(f"reach must be a Reach, got {got}; pass reach(model, ...) or Reach(scores, scores, scores)")
    y, a = as_labels("y", y, len(reach.clean), 2), as_labels("a", a, len(reach.clean), 2)
    weight = float(as_positive("gamma", as_array("gamma", gamma, ndim=0), strict=False))
    check_objective(objective)
    counts = cell_counts(y, a)
    low, high = (reach.down, reach.up) if attacked else (reach.clean, reach.clean)
    t, down, up = [], [], []
    for group in (0, 1):
        inside = a == group
        t.append(_candidates(np.concatenate([low[inside], high[inside]]) if attacked else low[inside], cuts))
        down.append([_rates(low[inside & (y == label)], t[-1]) for label in (0, 1)])
        up.append([_rates(high[inside & (y == label)], t[-1]) for label in (0, 1)])
    errors = [(c[0] * u[0] + c[1] * (1 - d[1])) / len(y) for c, u, d in zip(counts, up, down, strict=True)]
    if objective == "DI":
        down, up = ([[(c @ r) / c.sum()] for c, r in zip(counts, side, strict=True)] for side in (down, up))
    gap = sum(
        np.maximum(u1 - d0[:, None], u0[:, None] - d1)  # group 1 up and group 0 down, or the reverse
        for d0, d1, u0, u1 in zip(*down, *up, strict=True)
    )
    cost = errors[0][:, None] + errors[1] + weight * gap
    change = np.where(cost <= cost.min() + TIE, np.abs(t[0])[:, None] + np.abs(t[1]), np.inf)
    first, second = np.unravel_index(change.argmin(), change.shape)
    return float(t[0][first]), float(t[1][second])


def _candidates(scores: np.ndarray, cuts: int) -> np.ndarray:
    """0, and ``cuts`` places between neighbours among the scores, ends included."""
    as_count("cuts", cuts, least=2)
    s = np.sort(scores)
    between = np.concatenate([s[:1] - 1.0, (s[:-1] + s[1:]) / 2, s[-1:] + 1.0])
    places = np.unique(np.linspace(0, len(s), min(cuts, len(s) + 1)).round().astype(int))
    return np.unique(np.append(between[places], 0.0))


def _rates(scores: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Share of the scores above each threshold, [len(t)]."""
    return 1.0 - np.searchsorted(np.sort(scores), t, side="right") / len(scores)
