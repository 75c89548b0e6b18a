"""Roots and null spaces of covariances, the same in whatever units the features are measured."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky

VARIES = 1e-12
"""Eigenvalues below this share of the largest, in units of the features' own sds, are rounding."""


def scale_of(cov: np.ndarray) -> np.ndarray:
    """The sds of the features [d], 1 for one that does not vary."""
    sds = np.sqrt(np.maximum(np.diag(cov), 0.0))
    return np.where(sds > 0.0, sds, 1.0)


def factor_of(scaled: np.ndarray) -> np.ndarray | None:
    """The lower Cholesky factor of a matrix in units of its features' sds; None where it is singular or nearly so."""
    try:
        lower = cholesky(scaled, lower=True)
    except LinAlgError:
        return None
    return lower if np.diag(lower).min() > 1e-5 else None


def scaled_root(cov: np.ndarray) -> np.ndarray:
    """``R`` [d, k] with ``R R' = cov`` [d, d], k its rank: a Cholesky factor, or eigenvectors where that is not d."""
    scale = scale_of(cov)
    scaled = cov / np.outer(scale, scale)
    if (lower := factor_of(scaled)) is not None:
        return scale[:, None] * lower
    values, vectors = np.linalg.eigh(scaled)
    kept = values > VARIES * max(float(values[-1]), 0.0)
    return scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])


def null_space(cov: np.ndarray) -> np.ndarray:
    """An orthonormal basis [d, k] of the directions in which a covariance does not vary."""
    scale = scale_of(cov)
    scaled = cov / np.outer(scale, scale)
    if factor_of(scaled) is not None:
        return np.zeros((len(cov), 0))
    values, vectors = np.linalg.eigh(scaled)
    basis = vectors[:, values <= VARIES * max(float(values[-1]), 0.0)] / scale[:, None]
    return np.linalg.qr(basis / np.linalg.norm(basis, axis=0))[0]
