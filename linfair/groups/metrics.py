"""Group fairness of a binary classifier, clean and attacked, in fractions. Without torch.

For one sample every notion of group fairness, and accuracy too, only wants the score pushed up or down. The lowest and
the highest score that a budget allows therefore give every attacked metric, each at its own worst (:class:`Reach`).

Gaps are signed, the rate of group 1 minus that of group 0, until a metric takes their absolute values. A metric is hard
on predictions 0/1 and relaxed on probabilities. Sources: Chai & Wang 2023 (arXiv:2304.00061); Hardt et al. 2016 (EOp,
EOd).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from linfair._check import as_array, as_labels

OBJECTIVES = ("DI", "EOd")
CELLS = ("a = 0, y = 0", "a = 0, y = 1", "a = 1, y = 0", "a = 1, y = 1")


def group_rates(values: ArrayLike, y: ArrayLike, a: ArrayLike) -> np.ndarray:
    """Mean of ``values`` in every cell, [2, 2], the group first: ``rates[a, y]``.

    Args:
        values: [n] in [0, 1], predictions or probabilities of label 1.
        y, a: [n], labels and groups, 0 or 1.

    Raises:
        ValueError: values outside [0, 1], lengths that differ, a cell without samples.
    """
    v = _values(values)
    y, a = as_labels("y", y, len(v), 2), as_labels("a", a, len(v), 2)
    return _means(v, 2 * a + y, CELLS).reshape(2, 2)


def cell_counts(y: ArrayLike, a: ArrayLike) -> np.ndarray:
    """Number of samples in every cell, ``counts[a, y]``; a cell without any raises ValueError."""
    y = as_labels("y", y, np.size(y), 2)
    return _counts(2 * as_labels("a", a, len(y), 2) + y, CELLS).reshape(2, 2)


def di(values: ArrayLike, a: ArrayLike) -> float:
    """|mean over group 1 - mean over group 0|, the demographic parity gap, in [0, 1]."""
    return float(abs(_parity_gap(_values(values), a)))


def eop(values: ArrayLike, y: ArrayLike, a: ArrayLike) -> float:
    """The gap of equal opportunity, that of the means at y = 1, in [0, 1]."""
    return float(_label_gaps(values, y, a)[1])


def eod(values: ArrayLike, y: ArrayLike, a: ArrayLike) -> float:
    """The gap of equalised odds, the sum over y = 0, 1 of the gaps at y, in [0, 2]."""
    return float(_label_gaps(values, y, a).sum())


def fairness_direction(values: ArrayLike, y: ArrayLike, a: ArrayLike, objective: str = "DI") -> np.ndarray:
    """Where the attack on fairness pushes every score to widen the gap that is there: [n] of +1 and -1.

    sign(gap) (2a - 1): the favoured group up, the other down. For "EOd" each label has the sign of its own gap. A gap
    of exactly 0 counts as positive.
    """
    v = _values(values)
    groups = as_labels("a", a, len(v), 2)
    if check_objective(objective) == "DI":
        sign = np.where(_parity_gap(v, groups) >= 0, 1, -1)
    else:
        rates = group_rates(v, y, groups)
        sign = np.where(rates[1] >= rates[0], 1, -1)[np.asarray(y, np.int64)]
    return sign * (2 * groups - 1)


@dataclass(frozen=True, eq=False)
class Reach:
    """Scores [n]: of the samples as they are, and the lowest and the highest that the attack brings each to."""

    clean: np.ndarray = field(repr=False)
    down: np.ndarray = field(repr=False)
    up: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        n = len(as_array("clean", self.clean, ndim=1))
        for name in ("clean", "down", "up"):
            object.__setattr__(self, name, as_array(name, getattr(self, name), shape=(n,)))
        if not ((self.down <= self.clean) & (self.clean <= self.up)).all():
            raise ValueError("scores must satisfy down <= clean <= up, got others; a sample reaches its own score")

    def shifted(self, offsets: ArrayLike) -> Reach:
        """Scores minus thresholds: a number, or [n]; with one a group, ``np.asarray(thresholds)[a]``."""
        t = as_array("offsets", offsets)
        if t.shape not in ((), self.clean.shape):
            raise ValueError(f"offsets must be a number or have shape {self.clean.shape}, got {t.shape}; try t[a]")
        return Reach(self.clean - t, self.down - t, self.up - t)

    def pushed(self, direction: ArrayLike) -> np.ndarray:
        """Scores [n] after the attack that pushes every sample in its direction, +1 (up) or -1 (down)."""
        way = as_array("direction", direction, shape=self.clean.shape)
        if not (np.abs(way) == 1).all():
            raise ValueError("direction must hold +1 and -1 only, got other numbers; pass the sign")
        return np.where(way > 0, self.up, self.down)

    def accuracy_attack(self, y: ArrayLike) -> np.ndarray:
        """Scores [n] after the attack on accuracy: y = 1 down, y = 0 up."""
        return self.pushed(1 - 2 * as_labels("y", y, len(self.clean), 2))


def attacked(reach: Reach, y: ArrayLike, a: ArrayLike) -> dict[str, float]:
    """Accuracy and gaps of a classifier, clean and attacked.

    ===========================================  ==================================================================
    accuracy, DI, EOd                            clean, of predictions
    soft_DI, soft_EOd                            clean, relaxed: of g
    robust_accuracy                              under the attack on accuracy
    di_attack_accuracy, di_attack_DI, \\_EOd      of predictions, under the attack that widens the clean relaxed DI
    fairness_robustness                          share of the predictions that this attack leaves as they are
    worst_DI, worst_EOd, worst_soft_DI, \\_EOd    the largest that any attack attains: DI over the two orientations,
                                                 EOd over those of each label
    worst_di_attack_accuracy                     the lower of the two orientations of the attack on DI
    ===========================================  ==================================================================

    The orientation ``+``: group 1 up and group 0 down; the other is its reverse. |gap| is largest at one of the two,
    for every attack gives a gap between theirs.

    Args:
        reach: scores of the n samples.
        y, a: [n], labels and groups, 0 or 1, every cell with samples.
    """
    y, a = as_labels("y", y, len(reach.clean), 2), as_labels("a", a, len(reach.clean), 2)
    soft = expit(reach.clean)
    hard, published = reach.clean > 0, reach.pushed(fairness_direction(soft, y, a)) > 0
    both = [reach.pushed(sign * (2 * a - 1)) for sign in (1, -1)]
    ends, soft_ends = [scores > 0 for scores in both], [expit(scores) for scores in both]
    return {
        "accuracy": float((hard == y).mean()),
        "DI": di(hard, a),
        "EOd": eod(hard, y, a),
        "soft_DI": di(soft, a),
        "soft_EOd": eod(soft, y, a),
        "robust_accuracy": float(((reach.accuracy_attack(y) > 0) == y).mean()),
        "di_attack_accuracy": float((published == y).mean()),
        "di_attack_DI": di(published, a),
        "di_attack_EOd": eod(published, y, a),
        "fairness_robustness": float((published == hard).mean()),
        "worst_DI": max(di(end, a) for end in ends),
        "worst_EOd": _worst_eod(ends, y, a),
        "worst_soft_DI": max(di(end, a) for end in soft_ends),
        "worst_soft_EOd": _worst_eod(soft_ends, y, a),
        "worst_di_attack_accuracy": float(min((end == y).mean() for end in ends)),
    }


def check_objective(objective: str) -> str:
    """The objective of an attack on fairness, if it is one."""
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}; pick one of them")
    return objective


def _worst_eod(ends: list[np.ndarray], y: np.ndarray, a: np.ndarray) -> float:
    return float(np.max([_label_gaps(end, y, a) for end in ends], axis=0).sum())


def _label_gaps(values: ArrayLike, y: ArrayLike, a: ArrayLike) -> np.ndarray:
    """|gap| at y = 0 and y = 1, [2]."""
    rates = group_rates(values, y, a)
    return np.abs(rates[1] - rates[0])


def _parity_gap(values: np.ndarray, a: ArrayLike) -> float:
    low, high = _means(values, as_labels("a", a, len(values), 2), ("a = 0", "a = 1"))
    return high - low


def _values(values: ArrayLike) -> np.ndarray:
    v = as_array("values", values, ndim=1)
    if len(v) and not (v.min() >= 0 and v.max() <= 1):
        raise ValueError(f"values must lie in [0, 1], got {v.min():g}..{v.max():g}; pass predictions or probabilities")
    return v


def _means(values: np.ndarray, cell: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.bincount(cell, values, len(names)) / _counts(cell, names)


def _counts(cell: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    counts = np.bincount(cell, minlength=len(names))
    if counts.min() == 0:
        raise ValueError(f"every cell needs samples, got none with {names[counts.argmin()]}; its rate is unknown")
    return counts
