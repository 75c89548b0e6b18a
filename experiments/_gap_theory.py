"""Rates and bounds for finite samples, two isotropic classes with equal priors and sds 1 and K, under an l2 attack.

Each function gives its curves as {name: (scale, power)}, to be read as ``scale n^power``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr, roots_hermitenorm

from linfair.solvers.surrogates import minimise

Power = dict[str, tuple[float, float]]
CHERNOFF = 0.26355964
"""Variance of ``argmax_x B(x) - x^2``, B a two-sided Brownian motion: Chernoff's distribution."""
NORMS = ("no attack", "l2", "linf")


def density(z: float) -> float:
    return float(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))


def fixed(z: float, delta: float) -> Power:
    """Estimates of the risk ``R = Phi(-z)`` of one classifier from n samples of a class.

    Error rate: binomial sd. Plug-in ``Phi(-mean/sd)``: sd by the delta method, ``phi(z) sqrt((1 + z^2 / 2) / n)``.
    Any threshold: ``sqrt(log(2 / delta) / (2 n))`` bounds all thresholds' errors at once with probability 1 - delta.
    """
    risk = float(ndtr(-z))
    return {
        "any threshold": (float(np.sqrt(np.log(2 / delta) / 2)), -0.5),
        "error rate": (float(np.sqrt(risk * (1 - risk))), -0.5),
        "plug-in": (density(z) * float(np.sqrt(1 + z * z / 2)), -0.5),
    }


def threshold(u: float, v: float, K: float) -> Power:
    """ERM of the threshold, with robust margins u, v at the best one: ``t^ - t* ~ (4 f / (n J''^2))^(1/3) Z``.

    J'' is the curvature of the average risk there, f the density of attacked scores, Z of Chernoff's distribution. The
    excess risk is ``J''/2 E(t^ - t*)^2``. Both are asymptotic.
    """
    bend = u * density(u) / 2 + v * density(v) / (2 * K**2)
    scores = density(u) / 2 + density(v) / (2 * K)
    scale = (4 * scores / bend**2) ** (1 / 3) * float(np.sqrt(CHERNOFF))
    return {"threshold": (scale, -1 / 3), "excess risk": (bend / 2 * scale**2, -2 / 3)}


def spread(tau0: float, K: float, d: int) -> float:
    """``sqrt(E ||x||^2)`` for class means at -tau0/2 and tau0/2."""
    return float(np.sqrt(d * (1 + K**2) / 2 + tau0**2 / 4))


def complexity(tau0: float, K: float, d: int, eps: float) -> Power:
    """``sqrt(n)`` times the bound on the robust Rademacher complexity of ``{||w||_2 <= 1}``.

    It is ``sqrt(E||x||^2) + eps d^max(0, 1/q - 1/2) / 2``, q the dual exponent: 2 under l2 and 1 under linf.
    """
    attack = (0.0, eps / 2, eps * float(np.sqrt(d)) / 2)
    return {norm: (spread(tau0, K, d) + more, 0.0) for norm, more in zip(NORMS, attack, strict=True)}


def logistic_optimum(tau0: float, K: float, eps: float) -> tuple[float, float]:
    """(||w||, b) of the population minimiser of the robust logistic loss, w along the first axis."""
    best = minimise(tau0 - 2 * eps, K, loss="logistic")
    rho = float(best.rho_sigma)
    return rho, rho * (tau0 / 2 - eps - float(best.u))


def erm(tau0: float, K: float, d: int, eps: float) -> Power:
    """Robust logistic ERM: mean generalisation gap ``tr(H^-1 V) / n``, mean excess loss half of it, asymptotically.

    H is the Hessian of the loss at its population minimiser, V the covariance of its gradient. Along w the parameters
    are ||w|| and b; the other d - 1 directions are alike and independent of these.
    The bound is ``2 (W sqrt(E||x||^2) + W eps / 2 + B) / sqrt(n)``, for ||w|| <= W, |b| <= B as at the minimiser.
    """
    rho, b = logistic_optimum(tau0, K, eps)
    nodes, weights = roots_hermitenorm(200)
    weights = weights / weights.sum() / 2
    H, V, H_side, V_side = np.zeros((2, 2)), np.zeros((2, 2)), 0.0, 0.0
    for sign, sd in ((-1, 1.0), (1, K)):
        x = sign * tau0 / 2 + sd * nodes
        slope = expit(eps * rho - sign * (rho * x + b))
        rows = np.stack([sign * x - eps, np.full_like(x, sign)])
        H += (weights * slope * (1 - slope) * rows) @ rows.T
        V += (weights * slope**2 * rows) @ rows.T
        H_side += float(weights @ (slope * (1 - slope) * sd**2 + slope * eps / rho))
        V_side += float(weights @ slope**2 * sd**2)
    trace = float(np.trace(np.linalg.solve(H, V))) + (d - 1) * V_side / H_side
    return {
        "bound": (2 * (rho * (spread(tau0, K, d) + eps / 2) + abs(b)), -0.5),
        "generalisation gap": (trace, -1.0),
        "excess loss": (trace / 2, -1.0),
    }
