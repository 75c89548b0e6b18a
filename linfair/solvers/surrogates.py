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
from scipy.special import erfcx, roots_hermitenorm, roots_legendre

from linfair._check import AssumptionError, as_array
from linfair._numeric import log_sum_exp
from linfair.solvers._blocks import blockwise
from linfair.solvers.closed_form import threshold

Loss = Literal["hinge", "logistic", "exponential", "squared"]


class Margins(NamedTuple):
    """Robust margins of the two classes and the scale ``rho_sigma = ||w||_2 sigma_-`` of the minimiser."""

    u: np.ndarray
    v: np.ndarray
    rho_sigma: np.ndarray


def hazard_excess(t: ArrayLike) -> np.ndarray:
    """``haz(t) - t`` with the normal hazard ``haz(t) = phi(t) / Phi(-t)``; a continued fraction above t = 20."""
    return _hazard(as_array("t", t))[1]


def _hazard(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hazard and its excess over t, each without cancellation."""
    hazard = np.sqrt(2.0 / np.pi) / erfcx(np.minimum(t, 20.0) / np.sqrt(2.0))
    if np.max(t) <= 20.0:
        return hazard, hazard - t
    tail = t
    for k in range(6, 0, -1):  # 1 / (t + 2 / (t + 3 / (t + ...)))
        tail = t + (k + 1) / tail
    return np.where(t > 20.0, t + 1.0 / tail, hazard), np.where(t > 20.0, 1.0 / tail, hazard - t)


def inverse_hazard(y: ArrayLike) -> np.ndarray:
    """The t with ``haz(t) = y``, y > 0, by Newton on log haz, whose derivative is ``haz(t) - t``."""
    (t,) = blockwise(lambda y: (_inverse_hazard(y),), {"y": y}, (float,), positive=("y",))
    return t


def _inverse_hazard(y: np.ndarray) -> np.ndarray:
    low = -np.sqrt(np.maximum(-2.0 * np.log(np.minimum(y, 0.35) * np.sqrt(2.0 * np.pi)), 0.0))
    t = np.where(y < 0.35, low, y - 1.0 / (y + 0.5))
    for _ in range(6):
        hazard, excess = _hazard(t)
        t = t - np.log(hazard / y) / excess
    return t


def hinge(tau: ArrayLike, K: ArrayLike, c: ArrayLike = 1.0) -> Margins:
    """Robust hinge loss, equal priors, tau > 0, both classes mixed by c, elementwise.

    ``t = haz^{-1}(a / sqrt(c))``, ``h = (K + 1) sqrt(c) (haz(t) - t) / 2``: ``u = h + sqrt(c) t``,
    ``v = h / K + sqrt(c) t``, ``rho sigma = 1 / h``, a = tau / (K + 1). The margins meet as c -> 0 at the rate
    ``u - v ~ c (K - 1/K) / (2 a)``.
    """

    def solve(tau, K, c):
        root = np.sqrt(c)
        t = _inverse_hazard(tau / (K + 1.0) / root)
        h = (K + 1.0) * root * _hazard(t)[1] / 2.0
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

    return Margins(*blockwise(solve, {"tau": tau, "K": K}, (float,) * 3, positive=("tau", "K")))


def _log_shortfall(z: float) -> float:
    """``log E max(0, x - z)`` for x ~ N(0, 1), also where it underflows: ``phi(z) (haz(z) - z) / haz(z)``."""
    if z < -10.0:  # Phi(-z) is 1 to rounding, and the hazard below would underflow
        return float(np.log(np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi) - z))
    hazard, excess = _hazard(np.asarray(z))
    return float(-z * z / 2.0 - np.log(2.0 * np.pi) / 2.0 + np.log(excess) - np.log(hazard))


_T, _T_WEIGHT = roots_legendre(400)
_T, _LOG_T = 20.0 * (_T + 1.0), np.log(20.0 * _T_WEIGHT)
_LOG_T = _LOG_T + np.log(np.log1p(np.exp(-_T)))
_X, _X_WEIGHT = roots_hermitenorm(120)
_LOG_X = np.log(_X_WEIGHT / _X_WEIGHT.sum())


def _log_logistic(mean: float, sd: float) -> float:
    """``log E log(1 + exp(-m))``: Gauss-Hermite for narrow margins. For wide ones in two parts, ``max(0, -m)`` and
    ``log(1 + exp(-|m|))``, the second integrated over its own width.
    """
    if sd < 1.0:
        m = mean + sd * _X
        return log_sum_exp(_LOG_X + np.where(m > 30.0, -m, np.log(np.logaddexp(0.0, -np.minimum(m, 30.0)))))
    density = np.logaddexp(-(((_T - mean) / sd) ** 2) / 2.0, -(((_T + mean) / sd) ** 2) / 2.0)
    near_zero = log_sum_exp(_LOG_T + density) - np.log(sd * np.sqrt(2.0 * np.pi))
    return float(np.logaddexp(np.log(sd) + _log_shortfall(mean / sd), near_zero))


LOG_EXPECTED: dict[str, Callable[[float, float], float]] = {
    "hinge": lambda mean, sd: float(np.log(sd)) + _log_shortfall((mean - 1.0) / sd),
    "logistic": _log_logistic,
    "exponential": lambda mean, sd: -mean + sd * sd / 2.0,
    "squared": lambda mean, sd: float(np.log((1.0 - mean) ** 2 + sd * sd)),
}
"""Log of the expected loss of a margin ``N(mean, sd^2)``: well separated classes have losses that underflow."""


def minimise(
    tau: float, K: float, r: float = 1.0, *, loss: Loss = "logistic", c_minus: float = 1.0, c_plus: float = 1.0
) -> Margins:
    """The population minimiser of any of the losses, numerically; margins are right to about 1e-7.

    With ``s = rho sigma`` and ``q = s u`` the two margins have means q and ``s tau - q``: a convex problem in (s, q).
    Any priors and fixed mixing.

    Raises:
        AssumptionError: tau <= 0, where w = 0 is optimal for a robust margin loss.
        ValueError: an unknown loss.
    """
    if loss not in LOG_EXPECTED:
        raise ValueError(f"loss must be one of {', '.join(LOG_EXPECTED)}, got {loss!r}; pick one")
    if tau <= 0:
        raise AssumptionError(
            f"the surrogate minimiser needs tau > 0, got {tau:g}; the classes are not robustly separable"
        )
    expected = LOG_EXPECTED[loss]

    def objective(x: np.ndarray) -> float:
        s = float(np.exp(np.clip(x[0], -40.0, 40.0)))  # a line search may try anything
        q = float(x[1])
        low = expected(s * q, s * np.sqrt(c_minus))
        return float(np.logaddexp(low, np.log(r) + expected(s * (tau - q), s * K * np.sqrt(c_plus))))

    u = float(np.nan_to_num(threshold(tau, K, r, c_minus=c_minus, c_plus=c_plus)[0], nan=tau / (K + 1.0)))
    starts = [[np.log(s), u] for s in (1.0, tau / (K * max(c_minus, c_plus)))]
    rough = min((minimize(objective, x, method="BFGS") for x in starts), key=lambda found: found.fun)
    simplex = rough.x + np.array([[0.0, 0.0], [1e-4, 0.0], [0.0, 1e-4]])  # finite differences stop BFGS at about 1e-6
    options = {"initial_simplex": simplex, "xatol": 1e-11, "fatol": 1e-15, "maxiter": 2000}
    best = minimize(objective, rough.x, method="Nelder-Mead", options=options)
    u = float(best.x[1])
    return Margins(np.asarray(u), np.asarray((tau - u) / K), np.exp(best.x[0]))
