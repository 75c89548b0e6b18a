"""Laws of same-class mixing: ``x~ = sum_i lambda_i x_i`` with all x_i of one class and weights that sum to 1.

For Gaussian classes only ``c = sum_i lambda_i^2`` matters: given the weights, ``x~ ~ N(mu_y, c Sigma_y)``. So a law
knows how to draw weights (for samples) and how to integrate over c (for exact risks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, logsumexp, roots_jacobi, roots_legendre

from linfair._check import as_array, as_count, as_labels, as_positive, as_share

CONCENTRATED = 1e4
"""Dirichlet laws above this are refused: :class:`UniformMix` is what they tend to."""
NARROW = 5e-3
"""Below this ratio of sd to mean of c a Dirichlet law is too narrow for quadrature by its largest weight."""
Nodes = tuple[np.ndarray, np.ndarray]
"""Quadrature of the law of c: values and weights."""


class Law(ABC):
    """A law of the mixing weights. A subclass gives ``m``, ``mean_c``, :meth:`log_nodes` and :meth:`sample`."""

    m: int
    """Number of samples in one mix."""
    mean_c: float
    """``E sum_i lambda_i^2``: the factor by which mixing shrinks the class covariance."""

    @abstractmethod
    def log_nodes(self) -> Nodes:
        """Quadrature of the law of c as (c, log p): the far tail of an m-way law underflows p, and can still decide."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Weights [n, m], rows summing to 1."""

    def nodes(self) -> Nodes:
        """Quadrature ``E f(c) = sum_i p_i f(c_i)``, as (c, p)."""
        c, log_p = self.log_nodes()
        return c, np.exp(log_p)

    def sample_c(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``sum_i lambda_i^2`` of n draws [n], without holding all weights at once."""
        c, rows = np.empty(n), max(1, 10**7 // self.m)
        for k in range(0, n, rows):
            c[k : k + rows] = (self.sample(min(rows, n - k), rng) ** 2).sum(1)
        return c


class _Fixed(Law):
    """A law with one value of c."""

    def log_nodes(self) -> Nodes:
        return np.array([self.mean_c]), np.zeros(1)

    def sample_c(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.full(n, self.mean_c)


@dataclass(frozen=True)
class NoMix(_Fixed):
    """The sample itself: m = 1, c = 1."""

    m: int = 1
    mean_c: float = 1.0

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.ones((n, 1))


@dataclass(frozen=True)
class FixedLambda(_Fixed):
    """Two samples with weights lam and 1 - lam; ``c = lam^2 + (1 - lam)^2`` in [1/2, 1]."""

    lam: float = 0.5
    m: int = 2

    def __post_init__(self) -> None:
        as_share("lam", self.lam)

    @property
    def mean_c(self) -> float:
        return self.lam**2 + (1.0 - self.lam) ** 2

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.tile([self.lam, 1.0 - self.lam], (n, 1))


@dataclass(frozen=True)
class UniformMix(_Fixed):
    """The mean of m samples: ``c = 1/m``. ``m -> inf`` collapses a class to its mean."""

    m: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "m", as_count("m", self.m))

    @property
    def mean_c(self) -> float:
        return 1.0 / self.m

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.full((n, self.m), 1.0 / self.m)


@dataclass(frozen=True)
class BetaLambda(Law):
    """Two samples, ``lambda ~ Beta(a, a)``: ``c = (1 + (2 lambda - 1)^2) / 2``, ``E c = (a + 1) / (2a + 1)``."""

    a: float = 1.0
    m: int = 2

    def __post_init__(self) -> None:
        as_positive("a", as_array("a", self.a, shape=()))

    @property
    def mean_c(self) -> float:
        return (self.a + 1.0) / (2.0 * self.a + 1.0)

    def log_nodes(self) -> Nodes:
        return _beta_nodes(float(self.a))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        lam = rng.beta(self.a, self.a, n)
        return np.stack([lam, 1.0 - lam], axis=1)


@dataclass(frozen=True)
class DirichletMix(Law):
    """m samples with weights ``Dirichlet(a, ..., a)``: ``E c = (a + 1)/(m a + 1)``; m = 2 is :class:`BetaLambda`."""

    m: int = 2
    a: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "m", as_count("m", self.m, least=2))
        as_positive("a", as_array("a", self.a, shape=()))

    @property
    def mean_c(self) -> float:
        return (self.a + 1.0) / (self.m * self.a + 1.0)

    def log_nodes(self) -> Nodes:
        if self.m > 2 and self.a > CONCENTRATED:
            raise ValueError(
                f"a must be at most {CONCENTRATED:g} for risks under m > 2, got {self.a:g}; "
                f"UniformMix({self.m}) is what it tends to"
            )
        if self.m == 2:
            return _beta_nodes(float(self.a))
        variance = 2.0 * (self.m - 1) * self.a / ((self.a + 1.0) * (self.m * self.a + 2.0) * (self.m * self.a + 3.0))
        return (_narrow_nodes if variance < NARROW**2 else _dirichlet_nodes)(self.m, float(self.a))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.dirichlet(np.full(self.m, self.a), n)


@dataclass(frozen=True)
class WithOriginal(Law):
    """Augmentation: with probability ``share`` the sample itself, otherwise a mix by ``law``."""

    law: Law
    share: float = 0.5

    def __post_init__(self) -> None:
        as_share("share", self.share)
        laws_of(self.law, 1)

    @property
    def m(self) -> int:
        return self.law.m

    @property
    def mean_c(self) -> float:
        return self.share + (1.0 - self.share) * self.law.mean_c

    def log_nodes(self) -> Nodes:
        c, log_p = self.law.log_nodes()
        with np.errstate(divide="ignore"):
            return np.append(c, 1.0), np.append(log_p + np.log1p(-self.share), np.log(self.share))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        weights = self.law.sample(n, rng)
        weights[rng.random(n) < self.share] = np.eye(1, weights.shape[1])
        return weights

    def sample_c(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(n) < self.share, 1.0, self.law.sample_c(n, rng))


def laws_of(mix: Law | Sequence[Law] | None, n_classes: int) -> list[Law]:
    """One law a class from one law for all, a list of laws, or None (no mixing)."""
    if mix is None:
        return [NoMix()] * n_classes
    if isinstance(mix, Law):
        return [mix] * n_classes
    laws = list(mix) if isinstance(mix, Sequence) else []
    if len(laws) != n_classes or not all(isinstance(law, Law) for law in laws):
        raise ValueError(
            f"mix must be one law or {n_classes} laws, one a class, got {mix!r}; use FixedLambda, NoMix, ..."
        )
    return laws


def mix_within_class(
    X: ArrayLike, y: ArrayLike, mix: Law | Sequence[Law] | None, rng: np.random.Generator, *, copies: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Same-class mixes of a finite sample: each sample is mixed with partners drawn from its class.

    Partners are drawn with replacement, so with n_y samples in a class a uniform m-way mix has
    ``E c = 1/m + (m - 1)/(m n_y)`` instead of 1/m.

    Args:
        X: samples [n, d]; y: labels [n].
        mix: one law, or one a class.
        copies: independent mixes of every sample.

    Returns:
        ``X~ [copies * n, d]`` and its labels.
    """
    data = as_array("X", X, ndim=2)
    labels = as_labels("y", y, len(data))
    as_count("copies", copies)
    laws = laws_of(mix, int(labels.max()) + 1)
    mixed = np.empty((copies, *data.shape))
    for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        for copy in range(copies):
            weights = laws[k].sample(len(own), rng)
            total = weights[:, :1] * data[own]
            for j in range(1, weights.shape[1]):
                total += weights[:, j : j + 1] * data[rng.choice(own, len(own))]
            mixed[copy, own] = total
    return mixed.reshape(-1, data.shape[1]), np.tile(labels, copies)


@cache
def _beta_nodes(a: float, n: int = 400) -> Nodes:
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


@cache
def _dirichlet_nodes(m: int, a: float, n: int = 768, replicates: int = 4096, bins: int = 4000) -> Nodes:
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
