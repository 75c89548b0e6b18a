"""Gaussian classes: ``x | y ~ N(mu_y, Sigma_y)`` with priors pi_y."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_count, as_covariance, as_labels, as_positive, as_priors
from linfair.mixing import Law, laws_of

Counts = int | Sequence[int]
Covariance = Literal["full", "diagonal", "scalar"]


@dataclass(frozen=True, eq=False, init=False)
class ClassGaussians:
    """C Gaussian classes in d dimensions.

    Args:
        means: mu [C, d].
        covs: variances, as one number for all classes, [C] (``sigma_y^2 I``), [C, d] (diagonals) or [C, d, d] (full).
        priors: pi [C], positive, summing to 1; None for equal.

    Raises:
        ValueError: fewer than two classes, shapes that do not fit, a covariance that is not positive semi-definite,
            priors that do not sum to 1, NaN or infinity.
    """

    means: np.ndarray
    covs: np.ndarray
    priors: np.ndarray

    def __init__(self, means: ArrayLike, covs: ArrayLike, priors: ArrayLike | None = None) -> None:
        means = as_array("means", means, ndim=2)
        n_classes, dim = means.shape
        if dim == 0:
            raise ValueError(
                f"means must have at least 1 feature, got shape {means.shape}; pass an array of shape (C, d)"
            )
        if n_classes < 2:
            raise ValueError(f"means must hold at least 2 classes, got {n_classes}; pass an array of shape (C, d)")
        covs = as_array("covs", covs)
        if covs.ndim == 0:
            covs = np.full(n_classes, float(covs))
        if covs.ndim == 3:
            as_array("covs", covs, shape=(n_classes, dim, dim))
            covs = np.stack([as_covariance(f"covs[{k}]", cov, dim) for k, cov in enumerate(covs)])
        else:
            as_positive("covs", as_array("covs", covs, shape=(n_classes, dim)[: covs.ndim]), strict=False)
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covs", covs)
        object.__setattr__(self, "priors", as_priors(priors, n_classes))

    @classmethod
    def two_class(cls, delta: ArrayLike, sd_minus: float = 1.0, K: float = 1.0, r: float = 1.0) -> ClassGaussians:
        """Two isotropic classes: ``mu_+ - mu_- = delta`` [d], centred at 0, ``sd_+ = K sd_-``, ``r = pi_+ / pi_-``."""
        half = as_array("delta", delta, ndim=1) / 2
        sd, ratio, odds = (float(as_positive(n, v)) for n, v in (("sd_minus", sd_minus), ("K", K), ("r", r)))
        return cls(np.stack([-half, half]), np.array([sd**2, (ratio * sd) ** 2]), np.array([1.0, odds]) / (1.0 + odds))

    @classmethod
    def xu(cls, d: int, eta: float, sigma: float = 1.0, K: float = 2.0, r: float = 1.0) -> ClassGaussians:
        """The model in the setting of Xu et al. 2021: means ``-+ eta (1, ..., 1)``, sd ratio K."""
        return cls.two_class(np.full(as_count("d", d), 2.0 * eta), sigma, K, r)

    @classmethod
    def fit(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        covariance: Covariance = "full",
        *,
        shrinkage: float | Literal["ledoit-wolf"] = 0.0,
    ) -> ClassGaussians:
        """Class means, covariances (divisor n_y) and frequencies of labelled samples.

        Args:
            X: samples [n, d]; y: labels in 0..C-1, every class with at least two samples.
            covariance: "full", "diagonal" or "scalar" (mean variance).
            shrinkage: share of ``tr(S)/d I`` in a full covariance, or "ledoit-wolf" to estimate it class by class.
        """
        data = as_array("X", X, ndim=2)
        labels = as_labels("y", y, len(data))
        counts = np.bincount(labels)
        if counts.min() < 2:
            k = int(counts.argmin())
            raise ValueError(
                f"y must hold at least 2 samples of every class, got {counts[k]} of class {k}; drop the class"
            )
        groups = [data[labels == k] for k in range(len(counts))]
        return cls(
            np.stack([g.mean(0) for g in groups]),
            np.stack([_covariance(g, covariance, shrinkage) for g in groups]),
            counts / counts.sum(),
        )

    @property
    def n_classes(self) -> int:
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def isotropic(self) -> bool:
        """True when every covariance was given as ``sigma_y^2 I``."""
        return self.covs.ndim == 1

    def full_covs(self) -> np.ndarray:
        """Sigma [C, d, d]."""
        if self.covs.ndim == 3:
            return self.covs
        return np.stack([np.eye(self.dim) * cov for cov in self.covs])

    def bilinear(self, A: np.ndarray, k: int) -> np.ndarray:
        """``A Sigma_k A'`` for rows A [m, d], as [m, m]."""
        cov = self.covs[k]
        return (A @ cov if cov.ndim == 2 else A * cov) @ A.T

    def sds(self, w: np.ndarray) -> np.ndarray:
        """Standard deviation of ``w.x`` in each class, ``sqrt(w' Sigma_y w)`` [C]."""
        return np.sqrt([max(float(self.bilinear(w[None], k)[0, 0]), 0.0) for k in range(self.n_classes)])

    def scaled(self, c: ArrayLike) -> ClassGaussians:
        """The classes with covariances ``c_y Sigma_y``: what mixing with fixed weights turns them into."""
        factor = np.broadcast_to(as_positive("c", c, strict=False), (self.n_classes,))
        return ClassGaussians(self.means, self.covs * factor.reshape(-1, *[1] * (self.covs.ndim - 1)), self.priors)

    def pair(self, minus: int, plus: int) -> ClassGaussians:
        """The two-class problem of class ``minus`` (index 0) against class ``plus`` (index 1)."""
        own = [minus, plus]
        if minus == plus or not all(0 <= k < self.n_classes for k in own):
            raise ValueError(f"the pair must be two classes in 0..{self.n_classes - 1}, got {own}; pick two")
        return ClassGaussians(self.means[own], self.covs[own], self.priors[own] / self.priors[own].sum())

    @cached_property
    def _roots(self) -> list[np.ndarray]:
        """Square roots A_y with ``A_y A_y' = Sigma_y``; by eigenvectors, so singular covariances work."""
        if self.covs.ndim < 3:
            return [np.sqrt(cov) for cov in self.covs]
        pairs = [np.linalg.eigh(cov) for cov in self.covs]
        return [vectors * np.sqrt(np.maximum(values, 0.0)) for values, vectors in pairs]

    def sample(self, n: Counts, rng: np.random.Generator | int) -> tuple[np.ndarray, np.ndarray]:
        """``X [n, d]`` and labels: n samples by the priors, or exactly ``n[y]`` of each class, class after class.

        ``rng``: a generator, which moves on, or a seed.
        """
        return self.sample_mixed(n, None, rng)

    def sample_mixed(
        self, n: Counts, mix: Law | Sequence[Law] | None, rng: np.random.Generator | int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Same-class mixes ``sum_i lambda_i x_i`` of fresh samples; n as in :meth:`sample`, one law or one a class.

        Given its weights a mix is drawn from ``N(mu_y, c Sigma_y)`` directly, which is its exact law.
        """
        rng = np.random.default_rng(rng)
        counts = self._counts(n, rng)
        labels = np.repeat(np.arange(self.n_classes), counts)
        blocks = []
        for count, law, mean, root in zip(counts, laws_of(mix, self.n_classes), self.means, self._roots, strict=True):
            noise = rng.standard_normal((count, self.dim))
            noise = noise @ root.T if root.ndim == 2 else noise * root
            blocks.append(mean + np.sqrt(law.sample_c(count, rng))[:, None] * noise)
        return np.concatenate(blocks), labels

    def _counts(self, n: Counts, rng: np.random.Generator) -> np.ndarray:
        if np.ndim(n) == 0:
            return rng.multinomial(as_count("n", n), self.priors)  # pyright: ignore[reportArgumentType]
        counts = np.asarray(n)
        whole = counts.dtype.kind in "iu" or (counts.dtype.kind == "f" and (counts == np.floor(counts)).all())
        if counts.shape != (self.n_classes,) or not whole or counts.min() < 0 or counts.sum() == 0:
            raise ValueError(
                f"n must be a number or one count a class ({self.n_classes}), got {n}; pass samples to draw"
            )
        return counts.astype(int)


def _covariance(group: np.ndarray, kind: Covariance, shrinkage: float | str) -> np.ndarray:
    if kind != "full" and shrinkage != 0.0:
        raise ValueError(f'shrinkage must be 0 for a "{kind}" covariance, got {shrinkage!r}; it applies to "full" only')
    if kind == "scalar":
        return np.array(group.var(0).mean())
    if kind == "diagonal":
        return group.var(0)
    if kind != "full":
        raise ValueError(f'covariance must be "full", "diagonal" or "scalar", got {kind!r}; pick one')
    if shrinkage == "ledoit-wolf":
        from sklearn.covariance import ledoit_wolf

        return ledoit_wolf(group)[0]
    if isinstance(shrinkage, str) or not 0.0 <= shrinkage <= 1.0:
        raise ValueError(f'shrinkage must lie in [0, 1] or be "ledoit-wolf", got {shrinkage!r}; pass a share')
    cov = np.atleast_2d(np.cov(group.T, bias=True))
    return (1.0 - shrinkage) * cov + shrinkage * np.trace(cov) / len(cov) * np.eye(len(cov))
