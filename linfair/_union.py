"""Log-probability that a Gaussian vector has a component at or below zero: one minus its orthant probability."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp, roots_legendre
from scipy.stats import multivariate_normal, qmc

from linfair._numeric import log_sum_exp

POINTS, REPLICATES = 2**11, 8
"""Sobol points in one randomised replicate, and replicates: their spread is the error of the integral."""


def log_union(mean: np.ndarray, cov: np.ndarray) -> tuple[float, float, float]:
    """``log P(min_j m_j <= 0)``, m ~ N(mean [J], cov [J, J]), with its lower and upper bound.

    Bounds: ``max_j Phi(-z_j) <= P <= min(1, sum_j Phi(-z_j))``, ``z_j = mean_j / sd_j``. Exact for J = 1, for rank one
    (an interval) and for J = 2 (bivariate normal); otherwise :func:`_integrate`, used only where its error is below
    the width of the bounds. A component with zero variance is certain.
    """
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))  # a singular covariance may round below 0
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, mean / sd, np.where(mean > 0, np.inf, -np.inf))
    logs = log_ndtr(-z)
    lower, upper = float(logs.max()), min(log_sum_exp(logs), 0.0)
    if upper <= lower or lower == 0.0:
        return lower, lower, max(lower, upper)
    live = np.isfinite(z)
    z, root = z[live], _root(cov[np.ix_(live, live)] / np.outer(sd[live], sd[live]))
    if root.shape[1] == 1:
        value = _line(z * np.sign(root[:, 0]), root[:, 0] > 0)
    elif len(z) == 2:
        value = _pair(z, float(root[0] @ root[1]))
    else:
        value, error = _integrate(z, root)
        if error >= np.expm1(upper - lower) * np.exp(lower - value):
            value = upper
    return float(np.clip(value, lower, upper)), lower, upper


def _root(correlation: np.ndarray) -> np.ndarray:
    """``A [J, rank]`` with A A' = correlation, without the directions in which nothing varies."""
    values, vectors = np.linalg.eigh(correlation)
    kept = values > 1e-10 * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    return root / np.linalg.norm(root, axis=1, keepdims=True)


def _line(z: np.ndarray, rising: np.ndarray) -> float:
    """Rank one: m_j = z_j +- t, t ~ N(0,1), all positive on an interval of t; the union is its two disjoint tails."""
    left = (-z[rising]).max(initial=-np.inf)  # t must exceed it
    right = (-z[~rising]).min(initial=np.inf)  # t must stay below it
    return 0.0 if left >= right else float(np.logaddexp(log_ndtr(left), log_ndtr(-right)))


def _pair(z: np.ndarray, rho: float) -> float:
    """Two events, ``P(A) + P(B) - P(A) P(B | A)`` with A the rarer one.

    The bivariate distribution function is accurate to 1e-15 absolutely, so deep in the tails ``P(B | A)`` is integrated
    over the truncated normal instead: ``int_0^1 Phi((-z_B - rho t(U)) / sqrt(1 - rho^2)) dU``.
    """
    b, a = np.sort(z)
    log_a, log_b = log_ndtr(-a), log_ndtr(-b)
    if log_a > np.log(1e-8):
        pair = multivariate_normal([0.0, 0.0], [[1.0, rho], [rho, 1.0]])  # pyright: ignore[reportArgumentType]
        given = pair.cdf([-a, -b]) / np.exp(log_a)
    else:
        nodes, weights = roots_legendre(512)
        t = ndtri_exp(np.log((nodes + 1.0) / 2.0) + log_a)
        given = weights @ ndtr((-b - rho * t) / np.sqrt(1.0 - rho**2)) / 2.0
    return float(log_b + np.log1p(np.exp(log_a - log_b) * (1.0 - min(given, 1.0))))


@cache
def _uniforms(dim: int) -> np.ndarray:
    """Scrambled Sobol points [REPLICATES * POINTS, dim]: always the same ones, so that a risk is a function."""
    points = np.concatenate([qmc.Sobol(dim, rng=s).random(POINTS) for s in range(REPLICATES)])
    return np.clip(points, 1e-16, 1.0 - 1e-16)


def _integrate(z: np.ndarray, root: np.ndarray) -> tuple[float, float]:
    """(log P, relative error): the events in order of decreasing probability, each counted where it is the first.

    ``P = p_1 + sum_{j>1} p_j P(m_i > 0 for all i < j | m_j <= 0)``: nothing cancels, so the relative error does not
    grow in the tails. Each conditional probability is integrated by separation of variables (Genz 1992), with rows
    that add no new direction as indicators, so singular covariances work.
    """
    order = np.argsort(z, kind="stable")
    z, root = z[order], root[order]
    logs = log_ndtr(-z)
    shares = [np.ones(REPLICATES)] + [_first(z, root, j, logs[j]) for j in range(1, len(z))]
    total = np.exp(logs - logs[0]) @ np.array(shares)
    mean = float(total.mean())
    return float(logs[0] + np.log(mean)), float(total.std(ddof=1) / np.sqrt(REPLICATES)) / mean


def _first(z: np.ndarray, root: np.ndarray, j: int, log_p: float) -> np.ndarray:
    """``P(m_i > 0 for all i < j | m_j <= 0)``, one estimate a replicate."""
    rows = [j, *range(j)]
    lower = np.asarray(np.linalg.qr(root[rows].T, mode="r")).T  # row k uses the first k+1 directions only
    u = _uniforms(lower.shape[1])
    g = np.zeros_like(u)
    g[:, 0] = ndtri_exp(np.log(u[:, 0]) + log_p) * np.sign(lower[0, 0])  # given that row 0 is at most -z_j
    inside = np.ones(len(u))
    for k, i in enumerate(rows[1:], start=1):
        known = z[i] + g[:, :k] @ lower[k, :k]
        own = lower[k, k] if k < lower.shape[1] else 0.0
        if abs(own) > 1e-8:
            chance = ndtr(known / abs(own))
            inside *= chance
            g[:, k] = -ndtri(np.maximum(u[:, k] * chance, 1e-300)) * np.sign(own)
        else:
            inside *= known > 0
            if k < lower.shape[1]:
                g[:, k] = ndtri(u[:, k])  # a direction that only later rows see
    return inside.reshape(REPLICATES, POINTS).mean(1)
