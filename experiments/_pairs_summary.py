"""What the records of real_pairs say: rank correlations, signs and sizes of disparities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from scipy.stats import binom

from linfair import metrics, runs

METHODS = ("natural", "robust", "mixup", "minimax")
SHOWN = 2
"""Which radius of each geometry stands for all in the figure's middle column and in the first table."""


class Pairs:
    """Rows of one geometry, radius and method as columns: ``pairs["K"]``. Disparities D are hard minus easy.

    Left out, as the theory says nothing there: pairs whose gap the attack closes (no kappa* > 0), constant classifiers.
    """

    def __init__(self, rows: Sequence[runs.Row]):
        self.rows = [r for r in rows if r["kappa"] is not None and not r["constant"]]
        self.eps, self.geometry = rows[0]["eps"], rows[0]["geometry"]
        self.names = [{str(r["minus"]), str(r["plus"])} for r in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: str) -> np.ndarray:
        return np.array([np.nan if r[key] is None else r[key] for r in self.rows], float)

    def both(self, kind: str) -> np.ndarray:
        """Class risks of a kind ("analytic", "train", "test", "se"), [2 pairs]."""
        return np.concatenate([self[f"{kind}_minus"], self[f"{kind}_plus"]])

    def D(self, kind: str) -> np.ndarray:
        """Disparity ``R_+ - R_-`` of a kind ("analytic", "test", "short")."""
        return self[f"{kind}_plus"] - self[f"{kind}_minus"]

    @property
    def D_se(self) -> np.ndarray:
        return np.hypot(self["se_minus"], self["se_plus"])

    def rms(self, bars: float) -> tuple[float, float, float, float]:
        """Root mean square disparity: analytic; measured, with limits at ``bars`` standard errors of its square.

        ``D^2 - se^2`` is free of the binomial noise on average, so its mean over pairs estimates the true mean square.
        """
        squares = self.D("test") ** 2 - self.D_se**2
        half = bars * squares.std(ddof=1) / np.sqrt(len(squares))
        size, low, high = np.sqrt(np.maximum(squares.mean() + np.array([0.0, -half, half]), 0.0))
        return float(np.sqrt((self.D("analytic") ** 2).mean())), float(size), float(low), float(high)


def grouped(rows: Sequence[runs.Row]) -> dict[tuple[str, str], dict[str, Pairs]]:
    """{(geometry, eps): {method: Pairs}} in the order of the record."""
    out: dict[tuple[str, str], dict[str, Pairs]] = {}
    order = {(r["geometry"], r["radius"]): None for r in rows}
    for geometry, radius in sorted(order):
        own = [r for r in rows if (r["geometry"], r["radius"]) == (geometry, radius)]
        by_method = sorted(own, key=lambda r: METHODS.index(r["method"]))
        out[geometry, str(own[0]["eps"])] = {
            m: Pairs(list(g)) for m, g in groupby(by_method, key=lambda r: r["method"])
        }
    return out


# --- statistics ------------------------------------------------------------------------------------------------------


def rho(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho; NaN for fewer than three pairs."""
    return float(metrics.spearman(x, y)) if len(x) >= 3 else np.nan


def rank(x: np.ndarray, y: np.ndarray) -> metrics.Interval:
    """Spearman's rho with a 95% bootstrap interval over pairs; NaN for fewer than three."""
    if len(x) < 3:
        return metrics.Interval(np.nan, np.nan, np.nan, len(x))
    return metrics.rank_correlation(x, y, np.random.default_rng(0))


def jackknife(pairs: Pairs, x: np.ndarray, y: np.ndarray) -> float:
    """Standard error of Spearman's rho by leaving out one class at a time: pairs that share a class are dependent."""
    classes = sorted(set().union(*pairs.names))
    kept = [np.array([c not in names for names in pairs.names]) for c in classes]
    values = np.array([rho(x[k], y[k]) for k in kept if k.sum() >= 3])
    m = len(values)
    return float(np.sqrt((m - 1) / m * ((values - values.mean()) ** 2).sum())) if m > 1 else np.nan


def simulated(pairs: Pairs, minus: np.ndarray, plus: np.ndarray, n_sim: int = 400) -> np.ndarray:
    """Disparities [n_sim, pairs] of fresh binomial counts: these class risks, as many images as were held out."""
    rng = np.random.default_rng(0)
    drawn = [
        rng.binomial(pairs[f"n_{side}"].astype(int), risk, (n_sim, len(pairs))) / pairs[f"n_{side}"]
        for side, risk in (("minus", minus), ("plus", plus))
    ]
    return drawn[1] - drawn[0]


def expected_rank(x: np.ndarray, draws: np.ndarray) -> float:
    """Median rho between x and each row: what a correlation would be, noise included, were the rows' law the truth."""
    return float(np.nanmedian(metrics.spearman(x[None], draws)))


def if_exact(pairs: Pairs) -> np.ndarray:
    """Simulated disparities under the analytic risks."""
    return simulated(pairs, pairs["analytic_minus"], pairs["analytic_plus"])


def if_fair(pairs: Pairs) -> np.ndarray:
    """Simulated disparities when both classes of a pair have its mean held-out risk."""
    mean = (pairs["test_minus"] + pairs["test_plus"]) / 2.0
    return simulated(pairs, mean, mean)


def same_sign(x: np.ndarray, y: np.ndarray) -> metrics.Interval | None:
    """Share of pairs in which both have one sign; measured ties (y = 0) are left out."""
    told = (y != 0) & (np.abs(x) > 1e-9)
    return metrics.proportion(int(np.sum(x[told] * y[told] > 0)), int(told.sum())) if told.any() else None


def inside(pairs: Pairs) -> float:
    """Share of held-out error counts within the central 95% of Binomial(n, analytic risk): 0.95 or more if exact."""
    n, p = pairs.both("n"), pairs.both("analytic")
    count = np.rint(n * pairs.both("test"))
    return float(np.mean((count >= binom.ppf(0.025, n, p)) & (count <= binom.ppf(0.975, n, p))))


def changes(pairs: Pairs, robust: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """(analytic, held-out) change of D against the robust classifier, over the pairs both have."""
    base = {frozenset(n): d for n, d in zip(robust.names, robust.D("analytic"), strict=True)}
    kept = [i for i, names in enumerate(pairs.names) if frozenset(names) in base]
    before = np.array([base[frozenset(pairs.names[i])] for i in kept])
    return pairs.D("analytic")[kept] - before, pairs["change"][kept]
