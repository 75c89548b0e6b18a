"""Independent numerics for the tests: plain formulas, optimisation and quadrature; nothing here imports linfair."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

Phi, phi = norm.cdf, norm.pdf


def training_risk(u, tau, K, r, c_minus: ArrayLike = 1.0, c_plus: ArrayLike = 1.0):
    """Average 0-1 risk of the two mixed classes when class - keeps the margin u of the total tau = u + K v."""
    v = (tau - u) / K
    return (Phi(-u / np.sqrt(c_minus)) + r * Phi(-v / np.sqrt(c_plus))) / (1.0 + r)


def best_threshold(tau, K, r, c_minus=1.0, c_plus=1.0, *, risk=training_risk):
    """Global minimum of a training risk over the threshold: (u, value); |u| huge stands for a constant classifier."""
    span = 40.0 + 5.0 * abs(tau) * max(1.0, 1.0 / K)
    grid = np.linspace(-span * (1 + K), span * (1 + K), 40001)
    best = grid[np.argmin(risk(grid, tau, K, r, c_minus, c_plus))]
    step = grid[1] - grid[0]
    found = minimize_scalar(
        lambda u: risk(u, tau, K, r, c_minus, c_plus),
        bounds=(best - 2 * step, best + 2 * step),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(found.x), float(found.fun)  # pyright: ignore[reportAttributeAccessIssue]


def mixed_density(x, c, p):
    """Density at x of N(0, c) with c random: nodes c, weights p."""
    return float(np.sum(p / np.sqrt(c) * phi(x / np.sqrt(c))))


def random_mix_root(tau, K, r, c, p):
    """Stationary threshold under a random c: r p(v) = K p(u), between the equaliser and the unmixed optimum side."""

    def gap(u):
        return np.log(r * mixed_density((tau - u) / K, c, p)) - np.log(K * mixed_density(u, c, p))

    a = tau / (K + 1)
    return brentq(gap, a, 3 * a + 3, xtol=1e-14)


def beta_nodes(a, n=400):
    """Nodes of c = lam^2 + (1 - lam)^2, lam ~ Beta(a, a), by Gauss-Legendre on lam <= 1/2 (in s = lam^a when a < 1)."""
    x, w = np.polynomial.legendre.leggauss(n)
    if a < 1:
        top = 0.5**a
        s, w = top * (x + 1) / 2, w * top / 2
        lam = s ** (1 / a)
        p = w * (1 - lam) ** (a - 1)
    else:
        lam, w = (x + 1) / 4, w / 4
        p = w * (lam * (1 - lam)) ** (a - 1)
    return lam**2 + (1 - lam) ** 2, p / p.sum()
