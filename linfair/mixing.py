"""Laws of same-class mixing: ``x~ = sum_i lambda_i x_i`` with all x_i of one class and weights that sum to 1.

For Gaussian classes only ``c = sum_i lambda_i^2`` matters: given the weights, ``x~ ~ N(mu_y, c Sigma_y)``. So a law
knows how to draw weights (for samples) and how to integrate over c (for exact risks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_count, as_labels, as_positive, as_share
from linfair._quadrature import Nodes, beta_nodes, dirichlet_nodes

CONCENTRATED = 1e4
"""Dirichlet laws above this are refused: :class:`UniformMix` is what they tend to."""


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
        return beta_nodes(float(self.a))

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
        return beta_nodes(float(self.a)) if self.m == 2 else dirichlet_nodes(self.m, float(self.a))

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
