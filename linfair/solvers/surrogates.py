"""Population minimisers of robust surrogate losses on two isotropic Gaussian classes.

Every nonincreasing loss has the direction of ``closed_form.direction``; what is left is the scale rho = ||w||_2 and the
threshold, given as the robust margins u, v with ``u + K v = tau``. The training margin of class "-" is then
``N(rho sigma u, c_- (rho sigma)^2)`` and that of class "+" ``N(rho sigma K v, c_+ (rho sigma K)^2)``. Mixing moves
the boundary of the 0-1, hinge and logistic losses; for equal priors the exponential and squared losses do not respond.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtri, ndtri_exp

from linfair._check import AssumptionError, as_array, as_positive
from linfair._numeric import find_root
from linfair.solvers._blocks import blockwise
from linfair.solvers._expected import TwoClasses, hazard
from linfair.solvers.closed_form import threshold

Loss = Literal["hinge", "logistic", "exponential", "squared"]


class Margins(NamedTuple):
    """Robust margins of the two classes and the scale ``rho_sigma = ||w||_2 sigma_-`` of the minimiser."""

    u: np.ndarray
    v: np.ndarray
    rho_sigma: np.ndarray


def hazard_excess(t: ArrayLike) -> np.ndarray:
    """``haz(t) - t`` with the normal hazard ``haz(t) = phi(t) / Phi(-t)``; a continued fraction above t = 20."""
    return hazard(as_array("t", t))[1]


def inverse_hazard(y: ArrayLike) -> np.ndarray:
    """The t with ``haz(t) = y``, y > 0, by Newton on log haz, whose derivative is ``haz(t) - t``."""
    (t,) = blockwise(lambda y: (_inverse_hazard(y),), {"y": y}, (float,), positive=("y",))
    return t


def _inverse_hazard(y: np.ndarray) -> np.ndarray:
    low = -np.sqrt(np.maximum(-2.0 * np.log(np.minimum(y, 0.35) * np.sqrt(2.0 * np.pi)), 0.0))
    t = np.where(y < 0.35, low, y - 1.0 / (y + 0.5))
    for _ in range(6):
        value, excess = hazard(t)
        t = t - np.log(value / y) / excess
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
        h = (K + 1.0) * root * hazard(t)[1] / 2.0
        return h + root * t, h / K + root * t, 1.0 / h

    return Margins(*blockwise(solve, {"tau": tau, "K": K, "c": c}, (float,) * 3, positive=("tau", "K", "c")))


def exponential(tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0, c: ArrayLike = 1.0) -> Margins:
    """Robust exponential loss, tau > 0: for equal priors c drops out of u and v, so mixing moves no boundary.

    ``u = tau (K^2 + 3) / (4 (K^2 + 1)) - c (K^2 + 1) log(r) / (2 tau)``, ``v = (tau - u) / K``.
    """

    def solve(tau, K, r, c):
        q = K * K + 1.0
        u = tau * (K * K + 3.0) / (4.0 * q) - c * q * np.log(r) / (2.0 * tau)
        return u, (tau - u) / K, tau / (c * q)

    arguments = {"tau": tau, "K": K, "r": r, "c": c}
    return Margins(*blockwise(solve, arguments, (float,) * 3, positive=("tau", "K", "r", "c")))


def squared(tau: ArrayLike, K: ArrayLike) -> Margins:
    """Squared loss ``(1 - margin)^2``, no attack, equal priors: ``u = tau / 2``, the midpoint, whatever c.

    The scale does depend on mixing; it is given for c = 1: ``rho sigma = tau / 2 / (tau^2 / 4 + (1 + K^2) / 2)``.
    """

    def solve(tau, K):
        return tau / 2.0, tau / (2.0 * K), (tau / 2.0) / (tau * tau / 4.0 + (1.0 + K * K) / 2.0)

    return Margins(*blockwise(solve, {"tau": tau, "K": K}, (float,) * 3, positive=("tau", "K")))


def minimise(
    tau: float, K: float, r: float = 1.0, *, loss: Loss = "logistic", c_minus: float = 1.0, c_plus: float = 1.0
) -> Margins:
    """The population minimiser of any of the losses, numerically, for any priors and fixed mixing.

    With ``s = rho sigma`` and ``q = s u`` the two margins have means q and ``s tau - q``: a convex problem in (s, q),
    closed for the exponential and squared losses, a scalar root for the hinge loss, Newton's method for the logistic.
    Errors for tau in 1e-4..300, K in 1..50, c in 1/400..1: |du| and K |dv| below 1e-9 (tau + |u|), s to 1e-6 of itself.

    The hinge loss with unequal priors and a small tau is least at w = 0, the constant classifier of the likelier
    class: ``rho_sigma = 0``, and u and v are infinite with opposite signs.

    Raises:
        AssumptionError: tau <= 0, where w = 0 is optimal for a robust margin loss.
        ValueError: an unknown loss.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}; pick one")
    for name, value in (("K", K), ("r", r), ("c_minus", c_minus), ("c_plus", c_plus)):
        as_positive(name, as_array(name, value, ndim=0))
    if as_array("tau", tau, ndim=0) <= 0:
        raise AssumptionError(
            f"the surrogate minimiser needs tau > 0, got {tau:g}; the classes are not robustly separable"
        )
    a, k = float(np.sqrt(c_minus)), float(K * np.sqrt(c_plus))
    solvers = {"hinge": _any_hinge, "exponential": _any_exponential, "squared": _any_squared, "logistic": _any_logistic}
    s, u = solvers[loss](float(tau), float(r), a, k)
    return Margins(np.asarray(u), np.asarray((tau - u) / K), np.asarray(s))


def _any_hinge(tau: float, r: float, a: float, k: float) -> tuple[float, float]:
    """(s, u): ``tau = a haz(z_-) + k haz(z_+)`` with ``Phi(-z_-) = r Phi(-z_+)``, a rising function of either z."""
    if r > 1.0:  # the other class is class -
        s, u = _any_hinge(tau, 1.0 / r, k, a)
        return s, tau - u

    def parts(z: float) -> tuple[np.ndarray, np.ndarray]:
        other = -ndtri_exp(min(log_ndtr(-z) - np.log(r), -1e-300))  # at the lowest z it is minus infinity
        return hazard(np.array([z, other]))

    lowest = float(-ndtri(r)) if r < 1.0 else -38.0
    weights = np.array([a, k])
    if r < 1.0 and a * float(hazard(np.asarray(lowest))[0]) >= tau:
        return 0.0, np.inf
    top = lowest + 1.0
    while weights @ parts(top)[0] < tau:
        top += 2.0 * abs(top) + 1.0
    z = find_root(lambda z: float(np.log(weights @ parts(z)[0] / tau)), lowest, top)
    h = float(weights @ parts(z)[1]) / 2.0
    return 1.0 / h, h + a * z


def _any_exponential(tau: float, r: float, a: float, k: float) -> tuple[float, float]:
    s = tau / (a * a + k * k)
    return s, tau / 2.0 + (a * a - k * k) * s / 4.0 - float(np.log(r)) / (2.0 * s)


def _any_squared(tau: float, r: float, a: float, k: float) -> tuple[float, float]:
    s = 2.0 * r * tau / ((1.0 + r) * (a * a + r * k * k) + r * tau * tau)
    return s, (1.0 - r) / ((1.0 + r) * s) + r * tau / (1.0 + r)


def _any_logistic(tau: float, r: float, a: float, k: float) -> tuple[float, float]:
    if r > 1.0:  # the rarer class second: its loss may be lost beside the other's, not the other way round
        s, u = _any_logistic(tau, 1.0 / r, k, a)
        return s, tau - u
    cut = float(np.nan_to_num(threshold(tau, k / a, r, c_minus=a * a, c_plus=a * a)[0], nan=tau * a / (a + k)))
    exact = [solve(tau, r, a, k) for solve in (_any_squared, _any_exponential, _any_hinge)]
    starts = [x for x in exact if x[0] > 0.0]
    starts += [(s, cut) for s, _ in starts] + [(tau / (a * k), cut)]
    return TwoClasses(tau, r, a, k).minimum(starts)
