"""Three exact cures for two isotropic classes: reweight, re-margin, mix the easy class. Each ends at the equaliser.

All move the trained threshold to ``u = v = a = tau / (K + 1)``, where both class risks are ``Phi(-a)``, the least
worst-class risk. What training returns is that point only while it is the *global* optimum of its own training problem,
so every answer carries that flag. Notation as in ``solvers.closed_form``; Lam = log(K / r).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from linfair.solvers._blocks import blockwise
from linfair.solvers.closed_form import constant_risk, threshold
from linfair.solvers.solution import Status


@dataclass(frozen=True, eq=False)
class Equaliser:
    """A cure on a grid of problems.

    ``value``: the setting that equalises; ``risk``: the common robust class risk it leads to (both NaN where none
    exists); ``feasible``: whether the setting exists; ``interior_optimal``: whether training with it returns the
    equaliser rather than a constant classifier.
    """

    value: np.ndarray
    risk: np.ndarray
    feasible: np.ndarray
    interior_optimal: np.ndarray


def reweight(tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0) -> Equaliser:
    """Class weights in the loss: ``value = W_+ / W_- = K / r`` makes the stationary point the equaliser at every tau
    > 0.

    The reweighted problem has prior ratio K, and returns that point iff ``Phi(-a) <= 1 / (1 + max(K, 1/K))``, for K >
    1 that is ``tau >= (K + 1) Phi^{-1}(K / (K + 1))``.
    """

    def solve(tau, K, r):
        risk = ndtr(-tau / (K + 1.0))
        feasible = (tau > 0.0) & (K > 0.0)
        return K / r + 0.0 * tau, risk, feasible, feasible & (risk <= constant_risk(K, K))

    return _equaliser(solve, tau, K, r)


def remargin(tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0) -> Equaliser:
    """A larger training radius for class "+": ``value = a - sqrt(a^2 - 2 Lam)``, extra radius in sds of class "+".

    In the units of x the extra radius is ``value * sigma_+ / g``, ``g = ||w||_* / ||w||_2`` (g = 1 for l2). Feasible
    iff ``a^2 >= 2 Lam``; negative for r > K, a smaller radius, which must have that much to give up. It holds while
    the larger radius does not turn the direction: always for l2, and for equal ``|delta_j|`` under linf.
    """

    def solve(tau, K, r):
        a, Lam = tau / (K + 1.0), np.log(K / r)
        extra = 2.0 * Lam / (a + np.sqrt(a * a - 2.0 * Lam))  # a - sqrt(...) without its cancellation
        feasible = (tau > 0.0) & (a * a >= 2.0 * Lam)
        training = (ndtr(-a) + r * ndtr(extra - a)) / (1.0 + r)
        return extra, ndtr(-a), feasible, feasible & (training <= constant_risk(K, r))

    return _equaliser(solve, tau, K, r)


def mix_easy(tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0) -> Equaliser:
    """Same-class mixing of class "-" only: ``value = c_- = 1/y``, ``y = -W_{-1}(-a^2 exp(-a^2) (r/K)^2) / a^2``.

    Here class "-" is the easy one (r <= K); a two-way mix reaches ``c_- >= 1/2`` only, with weight
    :func:`two_way_lambda`.
    """

    def solve(tau, K, r):
        a2, Lam = (tau / (K + 1.0)) ** 2, np.log(K / r)
        feasible = (tau > 0.0) & (Lam >= 0.0)
        c = np.where(Lam == 0.0, 1.0, a2 / _minus_w(a2 - np.log(a2) + 2.0 * Lam))
        a = np.sqrt(a2)
        training = (ndtr(-a / np.sqrt(c)) + r * ndtr(-a)) / (1.0 + r)
        return c, ndtr(-a), feasible, feasible & (training <= constant_risk(K / np.sqrt(c), r))

    return _equaliser(solve, tau, K, r)


def two_way_lambda(c: ArrayLike) -> np.ndarray:
    """The larger weight of a two-way mix with ``lam^2 + (1 - lam)^2 = c``; NaN for c outside [1/2, 1]."""
    c = np.asarray(c, float)
    with np.errstate(invalid="ignore"):
        return np.where((c >= 0.5) & (c <= 1.0), (1.0 + np.sqrt(2.0 * c - 1.0)) / 2.0, np.nan)[()]


def lambert_w_minus1(s: ArrayLike) -> np.ndarray:
    """``W_{-1}(-exp(-s))`` for s >= 1, the lower real branch of ``w exp(w) = x``, without forming an x that underflows.

    Relative error below 1e-14 away from the branch point s = 1, where it grows like the square root of rounding.
    """
    (value,) = blockwise(lambda s: (-_minus_w(s),), {"s": s}, (float,))
    return value


def _minus_w(s: np.ndarray) -> np.ndarray:
    """The root t >= 1 of ``t - log t = s``, a convex function: Newton from above stays above and converges."""
    d = np.sqrt(2.0 * (s - 1.0))
    t = 1.0 + d + d * d / 3.0  # the series at the branch point overestimates everywhere
    t = np.where(s > 3.0, s + np.log(s) * (1.0 + 1.0 / (s - 1.0)), t)
    for _ in range(4):
        t = np.where(t > 1.0, t * (np.log(t) + s - 1.0) / (t - 1.0), t)
    return t


def _equaliser(solve, tau: ArrayLike, K: ArrayLike, r: ArrayLike) -> Equaliser:
    def masked(tau, K, r):
        value, risk, feasible, interior = solve(tau, K, r)
        return np.where(feasible, value, np.nan), np.where(feasible, risk, np.nan), feasible, interior

    arguments = {"tau": tau, "K": K, "r": r}
    return Equaliser(*blockwise(masked, arguments, (float, float, bool, bool), positive=("K", "r")))


class Constrained(NamedTuple):
    """Margins of the constrained optimum on a grid of problems, and :class:`Status` codes."""

    u: np.ndarray
    v: np.ndarray
    status: np.ndarray


def fairness_constrained(tau: ArrayLike, K: ArrayLike, r: ArrayLike, delta: ArrayLike) -> Constrained:
    """Margins of least average risk subject to ``|R_+ - R_-| <= delta``, elementwise.

    On ``u + K v = tau`` the disparity ``Phi(-v) - Phi(-u)`` rises with u, so the fair thresholds are an interval around
    the equaliser ``a = tau / (K + 1)``; the optimum is the unconstrained one if it lies inside, otherwise the better
    end, ``|D(u)| = delta``. Constant classifiers have |D| = 1 and are never fair enough. Status OPTIMAL, or
    NOT_ROBUSTLY_SEPARABLE for tau <= 0, where a fair coin has less risk than any fair hyperplane.
    """
    if not ((np.asarray(delta) >= 0.0) & (np.asarray(delta) < 1.0)).all():
        raise ValueError(f"delta must lie in [0, 1), got {delta}; it bounds |R_+ - R_-|")
    arguments = {"tau": tau, "K": K, "r": r, "delta": delta}
    return Constrained(*blockwise(_constrained, arguments, (float, float, np.int8), positive=("K", "r")))


def _constrained(tau, K, r, delta):
    def fair_end(bound):
        """The u with D(u) = bound, by bisection: D is monotone and flat in its tails, where Newton would leave."""
        low, high = (tau / (K + 1.0) + side * 40.0 * (K + 1.0) + 0.0 * (r + bound) for side in (-1.0, 1.0))
        for _ in range(80):
            middle = (low + high) / 2.0
            below = ndtr(-(tau - middle) / K) - ndtr(-middle) < bound
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2.0

    def risk(u):
        return ndtr(-u) + r * ndtr(-(tau - u) / K)

    low, high = fair_end(-delta), fair_end(delta)
    free = threshold(tau, K, r)[0]
    end = np.where(risk(low) < risk(high), low, high)
    inside = (free >= low) & (free <= high) & (risk(free) <= risk(end))
    u = np.where(delta == 0.0, tau / (K + 1.0), np.where(inside, free, end))
    return u, (tau - u) / K, np.where(tau > 0.0, Status.OPTIMAL, Status.NOT_ROBUSTLY_SEPARABLE)
