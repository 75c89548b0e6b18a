"""Quadratures of ``c = sum_i lambda_i^2`` for random mixing weights: values c [k] and the logs of their weights [k]."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
from scipy.special import betaln, logsumexp, roots_jacobi, roots_legendre

NARROW = 5e-3
"""Below this ratio of sd to mean of c a Dirichlet law is too narrow for quadrature by its largest weight."""
Nodes = tuple[np.ndarray, np.ndarray]
"""Quadrature of the law of c: values and weights, or the logs of these."""


@cache
def beta_nodes(a: float, n: int = 400) -> Nodes:
    """Quadrature in t, ``|2 lambda - 1| = tanh t``, whose density is ``sech(t)^(2a)``; ``c = 1 - sech(t)^2 / 2``.

    Gauss-Legendre in asinh(t sqrt(2a + 1)): fine where the law has its sds, and out to c = 1 in double precision, where
    the risks of far classes have their weight. Moments of c are exact to 1e-13.
    """
    s, p = roots_legendre(n)
    width, far = 1.0 / np.sqrt(2.0 * a + 1.0), 20.0 + 20.0 / a
    u = (s + 1.0) / 2.0 * np.arcsinh(far / width)
    t = width * np.sinh(u)
    log_sech = np.log(2.0) - t - np.log1p(np.exp(-2.0 * t))
    log_p = np.log(p) + np.log(np.cosh(u)) + 2.0 * a * log_sech
    return 1.0 - np.exp(2.0 * log_sech) / 2.0, log_p - logsumexp(log_p)


def dirichlet_nodes(m: int, a: float) -> Nodes:
    """c of m > 2 weights by the Dirichlet(a, ..., a) law; its sd over its mean, squared, is
    ``2 (m-1) a / ((a+1) (m a + 2) (m a + 3))``."""
    relative = 2.0 * (m - 1) * a / ((a + 1.0) * (m * a + 2.0) * (m * a + 3.0))
    return _narrow_nodes(m, a) if relative < NARROW**2 else _wide_nodes(m, a)


@cache
def _wide_nodes(m: int, a: float, n: int = 768, replicates: int = 4096, bins: int = 4000) -> Nodes:
    """Stratified on the largest weight x, which governs the tail of c and which plain sampling would miss.

    ``E f(c) = m int beta(x; a, (m-1) a) E[f(x^2 + (1-x)^2 c'); x is the largest] dx`` with c' of the other m - 1
    weights, here a fixed sample of them. Gauss-Legendre in log x; above x = 1/2 Gauss-Jacobi if the density may blow
    up at 1.
    """
    rest = np.random.default_rng(0).dirichlet(np.full(m - 1, a), max(16, min(replicates, 4 * 10**7 // m)))
    rest_c, rest_top = (rest**2).sum(1), rest.max(1)
    rest_c *= (a + 1.0) / ((m - 1) * a + 1.0) / rest_c.mean()  # its mean is known exactly
    power = (m - 1) * a - 1.0  # the density is x^(a-1) (1-x)^power
    split = 0.5 if power < 20.0 else 1.0  # a steep power needs no care at 1, and would overflow the Jacobi weights
    s, low = roots_legendre(n)
    span = np.log(m * split)
    x = np.exp(-np.log(m) + span * (s + 1.0) / 2.0)
    log_p = np.log(low * span / 2.0) + a * np.log(x) + power * np.log1p(-x)
    if split < 1.0:
        t, high = roots_jacobi(n // 4, power, 0.0)
        top = (3.0 + t) / 4.0
        log_p = np.append(log_p, np.log(high) - (power + 1.0) * np.log(4.0) + (a - 1.0) * np.log(top))
        x = np.append(x, top)
    x = x[:, None]
    largest = (1.0 - x) * rest_top <= x
    c = (x**2 + (1.0 - x) ** 2 * rest_c)[largest]
    log_p = np.broadcast_to(log_p[:, None], largest.shape)[largest]
    order = np.argsort(c)
    c, log_p = c[order], log_p[order]
    starts = np.flatnonzero(np.diff(np.floor(bins * np.log(c) / np.log(m)), prepend=-np.inf))
    peak = np.maximum.reduceat(log_p, starts)  # far tails underflow any common scale, so each bin has its own
    p = np.exp(log_p - np.repeat(peak, np.diff(starts, append=len(c))))
    weight = np.add.reduceat(p, starts)
    c, log_p = np.add.reduceat(p * c, starts) / weight, peak + np.log(weight)
    log_p -= logsumexp(log_p)
    p, centred = np.exp(log_p), c - (a + 1.0) / (m * a + 1.0)
    body = np.clip(centred, None, 4.0 * np.sqrt(p @ centred**2))
    body -= p @ body
    return c, log_p + np.log1p(-(p @ centred) / (p @ (centred * body)) * body)  # makes E c exact, and leaves the tail


@cache
def _narrow_nodes(m: int, a: float, n: int = 16, steps: int = 4000) -> Nodes:
    """Body: Gauss quadrature of a shifted gamma law with the exact mean, variance and third moment of c, which is what
    c tends to as a grows (chi^2 with m - 1 degrees of freedom). Tail: one large weight x, the others at their mean.

    ``c = E c + theta (g - k)``, ``g ~ Gamma(k)``: the nodes are the eigenvalues of the Jacobi matrix of its Laguerre
    polynomials. Beyond the last, ``m beta(x; a, (m-1) a)`` at ``c = x^2 + (1-x)^2 E c'``, in equal steps of log x.
    """
    mean, variance, third = _dirichlet_moments(m, a)
    theta, k = third / (2.0 * variance), 4.0 * variance**3 / third**2
    i = np.arange(1.0, n)
    centred, vectors = np.linalg.eigh(np.diag(2.0 * np.arange(n)) + np.diag(np.sqrt(i * (i + k - 1.0)), -1))
    body = mean + theta * centred
    log_x, step = np.linspace(-np.log(m), 0.0, steps, endpoint=False, retstep=True)
    x, others = np.exp(log_x), (m - 1) * a
    log_p = a * log_x + (others - 1.0) * np.log1p(-x) - betaln(a, others) + np.log(m * step)
    tail = x**2 + (1.0 - x) ** 2 * (a + 1.0) / (others + 1.0)
    far = tail > body[-1]
    return np.append(body, tail[far]), np.append(2.0 * np.log(np.abs(vectors[0])), log_p[far])


def _dirichlet_moments(m: int, a: float) -> tuple[float, float, float]:
    """Mean, variance and third central moment of c, in fractions: the moments of a narrow law cancel."""

    def rising(base: Fraction, length: int) -> Fraction:
        return prod((base + j for j in range(length)), start=Fraction(1))

    exact = Fraction(a)
    two, four, six = (m * rising(exact, j) for j in (2, 4, 6))
    pairs, triples = Fraction(m - 1, m), Fraction((m - 1) * (m - 2), m * m)
    mean, second, third = (
        moment / rising(m * exact, j)
        for j, moment in ((2, two), (4, four + pairs * two**2), (6, six + 3 * pairs * four * two + triples * two**3))
    )
    variance = second - mean**2
    return float(mean), float(variance), float(third - 3 * mean * variance - mean**3)
