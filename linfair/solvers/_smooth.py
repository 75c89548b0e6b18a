"""Smoothed dual norms, and the damped Newton method that follows them to the kink.

The dual norm is ``||u||_* = max_{||zeta||_p <= 1} u.zeta``, ``u = P w`` under a lift. Smoothing at level mu keeps the
maximiser zeta strictly inside the ball; whatever mu is, zeta is then a feasible dual point, so a smoothed optimum
carries its own certificate: its error is at most ``mu * kinks`` times the price of the norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from linfair.norms import Threat

Oracle = Callable[[np.ndarray, bool], tuple[float, np.ndarray, np.ndarray]]
"""``f(x, value_only)``: value, gradient, Hessian; the last two are not read when ``value_only``."""


@dataclass(frozen=True)
class Smoothed:
    """A smoothed dual norm at w: value, ``zeta`` [p] in the unit p-ball, gradient ``P' zeta`` [d], Hessian [d, d]."""

    value: float
    zeta: np.ndarray
    gradient: np.ndarray
    hessian: Callable[[], np.ndarray]


def kinks(threat: Threat, dim: int) -> float:
    """``||w||_* - w.P'zeta <= mu * kinks`` for the smoothed maximiser zeta."""
    size = dim if threat.lift is None else len(threat.lift)
    return {"linf": size, "l2": 1, "l1": float(np.log(2 * size))}[threat.norm]


def smooth_dual_norm(threat: Threat, w: np.ndarray, mu: float) -> Smoothed:
    """The dual norm of w [d] smoothed at level mu > 0."""
    lift = threat.lift
    u = w if lift is None else lift @ w
    value, zeta, diagonal, rank_one = {"linf": _smooth_l1, "l2": _smooth_l2, "l1": _smooth_max}[threat.norm](u, mu)

    return Smoothed(value, zeta, zeta if lift is None else zeta @ lift, lambda: pull_back(threat, diagonal, rank_one))


def pull_back(threat: Threat, diagonal: np.ndarray, rank_one: np.ndarray) -> np.ndarray:
    """``P' (diag - rank_one rank_one') P`` [d, d]: a form on shifts as a form on features."""
    if threat.lift is None:
        return np.diag(diagonal) - np.outer(rank_one, rank_one)
    half = threat.lift * np.sqrt(diagonal)[:, None]
    row = rank_one @ threat.lift
    return half.T @ half - np.outer(row, row)


Parts = tuple[float, np.ndarray, np.ndarray, np.ndarray]
"""Value, zeta, and the Hessian as a diagonal minus a rank-one term."""


def _smooth_l1(u: np.ndarray, mu: float) -> Parts:
    """``sum sqrt(u_j^2 + mu^2)``."""
    root = np.hypot(u, mu)
    return float(root.sum()), u / root, mu**2 / root**3, np.zeros_like(u)


def _smooth_l2(u: np.ndarray, mu: float) -> Parts:
    """``sqrt(||u||^2 + mu^2)``."""
    root = float(np.sqrt(u @ u + mu**2))
    zeta = u / root
    return root, zeta, np.full_like(u, 1.0 / root), zeta / np.sqrt(root)


def _smooth_max(u: np.ndarray, mu: float) -> Parts:
    """``mu log sum_j exp(u_j / mu) + exp(-u_j / mu)``."""
    top = float(np.abs(u).max())
    plus, minus = np.exp((u - top) / mu), np.exp((-u - top) / mu)
    total = float(plus.sum() + minus.sum())
    zeta = (plus - minus) / total
    return top + mu * float(np.log(total)), zeta, (plus + minus) / (total * mu), zeta / np.sqrt(mu)


def into_ball(threat: Threat, zeta: np.ndarray) -> np.ndarray:
    """zeta brought back into the unit p-ball."""
    return np.clip(zeta, -1.0, 1.0) if threat.norm == "linf" else zeta / max(1.0, float(threat.ball.of(zeta)))


def shift_of(threat: Threat, zeta: np.ndarray) -> np.ndarray:
    """``P' zeta`` [d]."""
    return zeta if threat.lift is None else zeta @ threat.lift


def room(norm: str, zeta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where zeta may move inside the unit p-ball: a semi-definite form, as a diagonal minus a rank-one term."""
    none = np.zeros_like(zeta)
    if norm == "linf":
        return (1.0 - zeta**2) ** 2, none
    slack = max(0.0, 1.0 - float(zeta @ zeta if norm == "l2" else np.abs(zeta).sum()))
    if norm == "l2":
        return np.full_like(zeta, slack), none
    along = zeta * np.abs(zeta)  # l1: shifts that trade size between the entries that have some
    return zeta**2 + slack, along / max(float(np.linalg.norm(zeta)), np.finfo(float).tiny)


def nearest_shift(threat: Threat, v: np.ndarray, radius: float) -> np.ndarray:
    """``zeta`` [p] with ``||zeta||_p <= 1`` that brings ``radius P' zeta`` nearest to v [d] (in l2).

    Without a lift this is the projection onto the ball; under a lift it is solved in its dual,
    ``min_w ||w||^2 / 2 - (w.v - radius ||P w||_*)``, whose minimiser is the residual ``w = v - radius P' zeta``.
    """
    if radius == 0.0:
        return np.zeros(len(v) if threat.lift is None else len(threat.lift))
    if threat.lift is None:
        return threat.ball.project(v, radius) / radius
    if threat.norm == "l2":
        return threat.lift @ threat.ball.project(v, radius) / radius
    scale = max(float(np.linalg.norm(v)), np.finfo(float).tiny)
    w, size = v / scale, kinks(threat, len(v))
    zeta = np.zeros(len(threat.lift))
    for accuracy in 10.0 ** -np.arange(1.0, 15.0):
        mu = accuracy * scale / (max(radius, 1e-8 * scale) * size)

        def oracle(w: np.ndarray, value_only: bool, mu: float = mu) -> tuple[float, np.ndarray, np.ndarray]:
            norm = smooth_dual_norm(threat, w, mu)
            value = 0.5 * float(w @ w) - (float(w @ v) - radius * norm.value) / scale
            if value_only:
                return value, w, w
            gradient = w - (v - radius * norm.gradient) / scale
            return value, gradient, np.eye(len(w)) + radius / scale * norm.hessian()

        w = newton(oracle, w, tol=accuracy**2 / 100.0, max_iter=60)[0]
        zeta = smooth_dual_norm(threat, w, mu).zeta
    for _ in range(2):  # v may lie inside the set: then reach it exactly
        rest = v - radius * shift_of(threat, zeta)
        diagonal, rank_one = room(threat.norm, zeta)
        u = threat.lift @ solve_psd(radius * pull_back(threat, diagonal, rank_one), rest)
        moved = into_ball(threat, zeta + diagonal * u - rank_one * (rank_one @ u))
        if np.linalg.norm(v - radius * shift_of(threat, moved)) < np.linalg.norm(rest):
            zeta = moved
    return zeta


def newton(
    oracle: Oracle,
    x: np.ndarray,
    *,
    tol: float,
    max_iter: int = 100,
    stop: Callable[[np.ndarray], bool] | None = None,
) -> tuple[np.ndarray, int, bool]:
    """Damped Newton minimisation of a convex function until half the squared decrement is at most ``tol``.

    Returns:
        The minimiser, the number of steps, and whether ``stop(x)`` ended it.
    """
    for step in range(max_iter):
        if stop is not None and stop(x):
            return x, step, True
        value, gradient, hessian = oracle(x, False)
        direction = -solve_psd(hessian, gradient)
        slope = float(gradient @ direction)
        if -slope / 2.0 <= max(tol, 1e-17 * abs(value)):
            return x, step, False
        size, noise = 1.0, 4e-16 * abs(value)
        while not oracle(x + size * direction, True)[0] <= value + 1e-4 * size * slope + noise:  # a NaN backtracks
            size /= 2.0
            if size < 1e-10:
                return x, step, False
        x = x + size * direction
    return x, max_iter, stop is not None and stop(x)


class Path:
    """Minimisers along a falling level (of smoothing, of a barrier), started from the line through the last two."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.steps, self.stopped = x, 0, False
        self._level = self._last = np.inf
        self._before = x

    def follow(
        self,
        oracle: Oracle,
        level: float,
        tol: float,
        stop: Callable[[np.ndarray], bool] | None = None,
        *,
        grow: bool = False,
    ) -> np.ndarray:
        """The next oracle's minimiser, at a lower level; ``grow`` doubles a start until its value is finite."""
        start, last = self.x, self.x
        value = oracle(start, True)[0]
        ahead = self.x + (self.x - self._before) * self._slope(level)
        if oracle(ahead, True)[0] < value:
            start = ahead
        elif grow:
            while not np.isfinite(oracle(start, True)[0]):
                start = 2.0 * start
        self.x, used, self.stopped = newton(oracle, start, tol=tol, max_iter=60, stop=stop)
        self.steps += used
        self._before, self._last, self._level = last, self._level, level
        return self.x

    def _slope(self, level: float) -> float:
        return (self._level - level) / (self._last - self._level) if np.isfinite(self._last) else 0.0


def solve_psd(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """``matrix x = rhs`` for a positive semi-definite matrix, lifted just enough to have a Cholesky factor."""
    diagonal = np.diag(matrix)
    largest = float(diagonal.max())
    if not largest > 0.0:
        return np.zeros_like(rhs)
    scale = np.sqrt(np.maximum(diagonal, 1e-30 * largest))
    scaled = matrix / np.outer(scale, scale)
    jitter = 0.0
    while True:
        try:
            factor = cho_factor(scaled + jitter * np.eye(len(scaled)), check_finite=False)
        except LinAlgError:
            jitter = max(1e-15, 10.0 * jitter)
        else:
            return cho_solve(factor, rhs / scale, check_finite=False) / scale


def solve_range(matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Least-norm ``matrix x = rhs`` within the numerical range of a positive semi-definite matrix."""
    largest = float(np.diag(matrix).max())
    if not largest > 0.0:
        return np.zeros_like(rhs)
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-30 * largest))
    scaled = matrix / np.outer(scale, scale)
    try:
        factor = cho_factor(scaled, check_finite=False)
    except LinAlgError:
        factor = None
    if factor is not None and np.diag(factor[0]).min() > 1e-5:
        return cho_solve(factor, rhs / scale, check_finite=False) / scale
    values, vectors = np.linalg.eigh(scaled)
    kept = values > 1e-11 * values[-1]
    return vectors[:, kept] @ ((vectors[:, kept].T @ (rhs / scale)) / values[kept]) / scale
