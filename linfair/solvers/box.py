"""Linear classifiers under an l_inf attack that keeps features in a box and may have a radius of its own per column.

Tabular data have both: a share of 0/1 columns that may not move, ages that cannot be negative. An attacked sample lies
between ``L = max(x - eps, lo)`` and ``H = min(x + eps, hi)`` column by column, so the worst score is exact:

    min_{L <= x' <= H} w.x' + b = L.w_+ - H.w_- + b,      w_+ = max(w, 0), w_- = max(-w, 0),

and adversarial training stays a convex problem: logistic regression with nonnegative weights (w_+, w_-) on the two
attacked copies of every column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, expit

from linfair._check import as_array, as_binary_data, as_positive
from linfair.linear import LinearClassifier
from linfair.solvers.solution import Solution, Status

METHOD = "projected Newton"
MAX_STEPS = 200


def score_range(
    classifier: LinearClassifier,
    X: ArrayLike,
    eps: ArrayLike,
    *,
    lo: ArrayLike | None = None,
    hi: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest score that the attack can give each sample, ([n], [n]).

    Args:
        classifier: binary, w [d].
        X: samples [n, d] within the box.
        eps: radius, >= 0, one or one a column [d]; 0 where a column may not move.
        lo, hi: the box, a number or one a column [d]; None for none.

    Raises:
        ValueError: samples outside the box, an empty box, a negative radius, a classifier of several classes.
    """
    w = classifier.w
    if w.ndim != 1:
        raise ValueError(f"classifier must be binary, got {classifier.n_classes} classes; attack its pairs")
    data = as_array("X", X, shape=(None, len(w)))
    low, high = attacked_range(data, eps, lo, hi)
    rising, falling = np.maximum(w, 0.0), np.maximum(-w, 0.0)
    clean = classifier.scores(data)  # rounding must not put a sample out of its own reach
    down, up = low @ rising - high @ falling + classifier.b, high @ rising - low @ falling + classifier.b
    return np.minimum(down, clean), np.maximum(up, clean)


def attacked_range(
    X: np.ndarray, eps: ArrayLike, lo: ArrayLike | None, hi: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value that the attack can give each feature, ([n, d], [n, d]); as :func:`score_range`."""
    d = X.shape[1]
    radius = np.broadcast_to(as_positive("eps", _a_column("eps", eps, d), strict=False), d)
    floor = -np.inf if lo is None else _a_column("lo", lo, d)
    ceiling = np.inf if hi is None else _a_column("hi", hi, d)
    empty = np.broadcast_to(np.greater(floor, ceiling), d)
    if empty.any():
        j = int(empty.argmax())
        low, high = (np.broadcast_to(bound, d)[j] for bound in (floor, ceiling))
        raise ValueError(f"the box must not be empty, got lo = {low:g} > hi = {high:g} in column {j}; swap them?")
    outside = (floor > X) | (ceiling < X)
    if outside.any():
        i, j = np.argwhere(outside)[0].tolist()
        raise ValueError(f"X must lie in the box, got {X[i, j]:g} in row {i}, column {j}; widen lo and hi or clip X")
    return np.maximum(X - radius, floor), np.minimum(X + radius, ceiling)


def _a_column(name: str, value: ArrayLike, d: int) -> np.ndarray:
    """One finite number, or one a column [d]."""
    array = as_array(name, value)
    return array if array.ndim == 0 else as_array(name, array, shape=(d,))


def robust_logistic(
    X: ArrayLike,
    y: ArrayLike,
    eps: ArrayLike,
    *,
    ridge: float,
    lo: ArrayLike | None = None,
    hi: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    tol: float = 1e-9,
) -> Solution:
    """Robust logistic regression, ``min (1/n) sum weights_i log(1 + exp(-m_i)) + ridge/2 ||w||_2^2``.

    ``m_i = min_{x'} s_i (w.x' + b)`` over the attacked samples x', s_i = -+1 for label 0, 1: adversarial training to
    convergence. Newton's method over w_+, w_- >= 0; columns that may not move have one free weight.

    Args:
        X: samples [n, d] within the box; y: labels 0/1 [n], both present.
        eps, lo, hi: as in :func:`score_range`.
        ridge: > 0, so that there is one minimiser.
        weights: positive sample weights [n]; None for ones.
        tol: the gap to reach, > 0, relative to ``1 + objective``.

    Returns:
        Objective and certified gap, from the dual point ``alpha_i = sigmoid(-m_i)`` scaled to sum to 0 with the signs;
        OPTIMAL, CONSTANT_OPTIMAL (w = 0) or INACCURATE. ``info`` holds ``lower_bound`` and ``iterations``.
    """
    data, labels = as_binary_data(X, y)
    ridge = float(as_positive("ridge", as_array("ridge", ridge, ndim=0)))
    tol = float(as_positive("tol", as_array("tol", tol, ndim=0)))
    shares = np.ones(len(data)) if weights is None else as_array("weights", weights, shape=(len(data),))
    problem = _Problem.build(data, labels, attacked_range(data, eps, lo, hi), as_positive("weights", shares), ridge)
    x, steps = problem.start(), 0
    value, m = problem.value(x)
    bound = problem.bound(m)
    while value - bound > tol * (1.0 + value) and steps < MAX_STEPS:
        moved = problem.step(x, value, m)
        if moved is None:
            break
        (x, value, m), steps = moved, steps + 1
        bound = max(bound, problem.bound(m))
    w = problem.weights(x)
    gap = max(value - bound, 0.0)
    status = Status.OPTIMAL if w.any() else Status.CONSTANT_OPTIMAL
    if gap > tol * (1.0 + value):
        status = Status.INACCURATE
    info = {"lower_bound": bound, "iterations": steps}
    return Solution(LinearClassifier(w, x[-1]), None, value, gap, status, METHOD, info)


@dataclass(frozen=True, eq=False)
class _Problem:
    """``min sum c_i log(1 + exp(-m_i)) + ridge/2 ||w||^2`` with ``m = Z x``, ``x = (free, w_+, w_-, b)``.

    Attributes:
        Z: rows [n, f + 2 k + 1]: signed features of the f columns that cannot move, the worst ones of the k others for
        a positive and for a negative weight, the sign.
        signs: s [n]; shares: c [n]; moving: bool [d].
    """

    Z: np.ndarray
    signs: np.ndarray
    shares: np.ndarray
    moving: np.ndarray
    ridge: float

    @classmethod
    def build(
        cls, X: np.ndarray, y: np.ndarray, attacked: tuple[np.ndarray, np.ndarray], weights: np.ndarray, ridge: float
    ) -> _Problem:
        low, high = attacked
        moving = np.any(low < high, axis=0)
        signs = 2.0 * y - 1.0
        s, plus = signs[:, None], (y == 1)[:, None]
        low, high = low[:, moving], high[:, moving]
        Z = np.hstack([s * X[:, ~moving], np.where(plus, low, -high), np.where(plus, -high, low), s])
        return cls(Z, signs, weights / len(X), moving, ridge)

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where the free weights, w_+ and w_- are in x."""
        k = int(self.moving.sum())
        f = len(self.moving) - k
        return slice(0, f), slice(f, f + k), slice(f + k, f + 2 * k)

    def start(self) -> np.ndarray:
        """w = 0 with its best b."""
        x = np.zeros(self.Z.shape[1])
        x[-1] = np.log(self.shares[self.signs > 0].sum() / self.shares[self.signs < 0].sum())
        return x

    def weights(self, x: np.ndarray) -> np.ndarray:
        free, up, down = self.parts
        w = np.empty(len(self.moving))
        w[~self.moving], w[self.moving] = x[free], x[up] - x[down]
        return w

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Objective and margins [n]."""
        m, w = self.Z @ x, self.weights(x)
        return float(self.shares @ np.logaddexp(0.0, -m) + self.ridge / 2.0 * (w @ w)), m

    def bound(self, m: np.ndarray) -> float:
        """Dual value at ``alpha = sigmoid(-m)``, the heavier label scaled down until ``sum c_i alpha_i s_i = 0``.

        ``sum c_i H(alpha_i) - (1 / 2 ridge) (sum over free columns g_j^2 + sum over others max(g_j+, g_j-, 0)^2)`` with
        the binary entropy H and ``g = Z' (c alpha)``: ``g_j+ + g_j- <= 0``, so the better of two signs decides.
        """
        alpha, plus = expit(-m), self.signs > 0
        mass = self.shares * alpha
        total = mass[~plus].sum(), mass[plus].sum()
        alpha = alpha * np.where(plus, min(1.0, total[0] / total[1]), min(1.0, total[1] / total[0]))
        g = (self.shares * alpha) @ self.Z
        free, up, down = self.parts
        pull = float(g[free] @ g[free]) + float(np.sum(np.maximum(np.maximum(g[up], g[down]), 0.0) ** 2))
        return float(self.shares @ (entr(alpha) + entr(1.0 - alpha))) - pull / (2.0 * self.ridge)

    def step(self, x: np.ndarray, value: float, m: np.ndarray) -> tuple[np.ndarray, float, np.ndarray] | None:
        """One Newton step on the weights that are not held at 0, projected, with backtracking; None where it stalls."""
        free, up, down = self.parts
        w, alpha = self.weights(x), expit(-m)
        gradient = -((self.shares * alpha) @ self.Z)
        gradient[free] += self.ridge * w[~self.moving]
        gradient[up] += self.ridge * w[self.moving]
        gradient[down] -= self.ridge * w[self.moving]
        bounded = np.zeros(len(x), bool)
        bounded[up] = bounded[down] = True
        held = bounded & (x <= 0.0) & (gradient >= 0.0)
        own = np.flatnonzero(~held)
        rows = np.sqrt(self.shares * alpha * (1.0 - alpha))[:, None] * self.Z[:, own]
        hessian = np.zeros((len(x), len(x)))
        hessian[np.ix_(own, own)] = rows.T @ rows
        for a, b, sign in ((free, free, 1.0), (up, up, 1.0), (down, down, 1.0), (up, down, -1.0), (down, up, -1.0)):
            hessian[a, b] += sign * self.ridge * np.eye(a.stop - a.start)
        hessian = hessian[np.ix_(own, own)]
        hessian[np.diag_indices_from(hessian)] += 1e-12 * np.trace(hessian) / len(own)
        direction = np.zeros_like(x)
        direction[own] = -np.linalg.solve(hessian, gradient[own])
        for size in 0.5 ** np.arange(40):
            trial = x + size * direction
            trial[bounded] = np.maximum(trial[bounded], 0.0)
            both = np.minimum(trial[up], trial[down])  # taking it off both leaves w and can only raise margins
            trial[up] -= both
            trial[down] -= both
            found, margins = self.value(trial)
            if found <= value - 1e-4 * max(float(gradient @ (x - trial)), 0.0) and found < value:
                return trial, found, margins
        return None
