"""Population minimisers of robust surrogate losses on two isotropic Gaussian classes.

Every nonincreasing loss has the direction of ``closed_form.direction``; what is left is the scale rho = ||w||_2 and the
threshold, given as the robust margins u, v with ``u + K v = tau``. The training margin of class "-" is then
``N(rho sigma u, c_- (rho sigma)^2)`` and that of class "+" ``N(rho sigma K v, c_+ (rho sigma K)^2)``. The loss
decides whether mixing
helps: the 0-1, hinge and logistic losses respond, the exponential and squared losses do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import erfcx, ndtr, roots_hermitenorm

from linfair._check import AssumptionError
from linfair.solvers._blocks import blockwise
from linfair.solvers.closed_form import threshold

Loss = Literal["hinge", "logistic", "exponential", "squared"]


class Margins(NamedTuple):
    """Robust margins of the two classes and the scale ``rho_sigma = ||w||_2 sigma_-`` of the minimiser."""

    u: np.ndarray
    v: np.ndarray
    rho_sigma: np.ndarray


def hazard_excess(t: np.ndarray) -> np.ndarray:
    """``haz(t) - t`` with the normal hazard ``haz(t) = phi(t) / Phi(-t)``; a continued fraction above t = 20."""
    safe = np.minimum(t, 20.0)
    excess = np.sqrt(2.0 / np.pi) / erfcx(safe / np.sqrt(2.0)) - safe
    if np.max(t) <= 20.0:
        return excess
    tail = t
    for k in range(6, 0, -1):  # 1 / (t + 2 / (t + 3 / (t + ...)))
        tail = t + (k + 1) / tail
    return np.where(t > 20.0, 1.0 / tail, excess)


def inverse_hazard(y: ArrayLike) -> np.ndarray:
    """The t with ``haz(t) = y``, y > 0, by Newton on log haz, whose derivative is ``haz(t) - t``."""
    (t,) = blockwise(lambda y: (_inverse_hazard(y),), {"y": y}, (float,), positive=("y",))
    return t


def _inverse_hazard(y: np.ndarray) -> np.ndarray:
    low = -np.sqrt(np.maximum(-2.0 * np.log(np.minimum(y, 0.35) * np.sqrt(2.0 * np.pi)), 0.0))
    t = np.where(y < 0.35, low, y - 1.0 / (y + 0.5))
    for _ in range(8):
        excess = hazard_excess(t)
        t = t - np.log((t + excess) / y) / excess
    return t


def hinge(tau: ArrayLike, K: ArrayLike, c: ArrayLike = 1.0) -> Margins:
    """Robust hinge loss, equal priors, tau > 0, both classes mixed by c, elementwise.

    ``t = haz^{-1}(a / sqrt(c))``, ``h = (K + 1) sqrt(c) (haz(t) - t) / 2``: ``u = h + sqrt(c) t``, ``v = h / K +
    sqrt(c) t``,
    ``rho sigma = 1 / h``, a = tau / (K + 1). The margins meet as c -> 0 at the rate ``u - v ~ c (K - 1/K) / (2 a)``.
    """

    def solve(tau, K, c):
        root = np.sqrt(c)
        t = _inverse_hazard(tau / (K + 1.0) / root)
        h = (K + 1.0) * root * hazard_excess(t) / 2.0
        return h + root * t, h / K + root * t, 1.0 / h

    return Margins(*blockwise(solve, {"tau": tau, "K": K, "c": c}, (float,) * 3, positive=("tau", "K", "c")))


def exponential(tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0, c: ArrayLike = 1.0) -> Margins:
    """Robust exponential loss, tau > 0: for equal priors c drops out, so mixing has no effect on the classifier's
    boundary.

    ``u = tau (K^2 + 3) / (4 (K^2 + 1)) - c (K^2 + 1) log(r) / (2 tau)``, ``v = (tau - u) / K``.
    """

    def solve(tau, K, r, c):
        q = K * K + 1.0
        u = tau * (K * K + 3.0) / (4.0 * q) - c * q * np.log(r) / (2.0 * tau)
        return u, (tau - u) / K, tau / (c * q)

    arguments = {"tau": tau, "K": K, "r": r, "c": c}
    return Margins(*blockwise(solve, arguments, (float,) * 3, positive=("tau", "K", "r", "c")))


def squared(tau: ArrayLike, K: ArrayLike) -> Margins:
    """Squared loss ``(1 - margin)^2``, no attack, equal priors: the boundary is the midpoint ``u = tau / 2``,
    whatever c.

    The scale does depend on mixing; it is given for c = 1: ``rho sigma = tau / 2 / (tau^2 / 4 + (1 + K^2) / 2)``.
    """

    def solve(tau, K):
        return tau / 2.0, tau / (2.0 * K), (tau / 2.0) / (tau * tau / 4.0 + (1.0 + K * K) / 2.0)

    return Margins(*blockwise(solve, {"tau": tau, "K": K}, (float,) * 3, positive=("K",)))


def _hinge_mean(mean: float, sd: float) -> float:
    z = (1.0 - mean) / sd
    return (1.0 - mean) * float(ndtr(z)) + sd * float(np.exp(-z * z / 2.0)) / np.sqrt(2.0 * np.pi)


def _quadrature(loss: Callable[[np.ndarray], np.ndarray]) -> Callable[[float, float], float]:
    x, p = roots_hermitenorm(120)
    p = p / p.sum()
    return lambda mean, sd: float(p @ loss(mean + sd * x))


EXPECTED: dict[str, Callable[[float, float], float]] = {
    "hinge": _hinge_mean,
    "logistic": _quadrature(lambda m: np.logaddexp(0.0, -m)),
    "exponential": lambda mean, sd: float(np.exp(min(-mean + sd * sd / 2.0, 700.0))),
    "squared": lambda mean, sd: (1.0 - mean) ** 2 + sd * sd,
}
"""Expected loss of a margin ``N(mean, sd^2)``."""


def minimise(
    tau: float, K: float, r: float = 1.0, *, loss: Loss = "logistic", c_minus: float = 1.0, c_plus: float = 1.0
) -> Margins:
    """The population minimiser of any of the losses, numerically, with margins to about 1e-8: a convex problem in (s,
    q).

    With ``s = rho sigma`` and ``q = s u`` the two margins have means q and ``s tau - q``; priors ratio r and any
    fixed mixing.

    Raises:
        AssumptionError: tau <= 0, where w = 0 is optimal for a robust margin loss.
        ValueError: an unknown loss.
    """
    if loss not in EXPECTED:
        raise ValueError(f"loss must be one of {', '.join(EXPECTED)}, got {loss!r}; pick one")
    if tau <= 0:
        raise AssumptionError(
            f"the surrogate minimiser needs tau > 0, got {tau:g}; the classes are not robustly separable"
        )
    expected = EXPECTED[loss]

    def objective(x: np.ndarray) -> float:
        s, q = float(np.exp(x[0])), float(x[1])
        low = expected(s * q, s * np.sqrt(c_minus))
        return (low + r * expected(s * (tau - q), s * K * np.sqrt(c_plus))) / (1.0 + r)

    start = float(np.nan_to_num(threshold(tau, K, r, c_minus=c_minus, c_plus=c_plus)[0], nan=tau / (K + 1.0)))
    options = {"xatol": 1e-11, "fatol": 1e-16, "maxiter": 4000}
    starts = ([np.log(s), start] for s in (0.3, 1.0, 3.0, 10.0))
    best = min((minimize(objective, x, method="Nelder-Mead", options=options) for x in starts), key=lambda f: f.fun)
    u = float(best.x[1])
    return Margins(np.float64(u), np.float64((tau - u) / K), np.exp(best.x[0]))
