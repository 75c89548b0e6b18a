"""Argument checks. Every message says what was expected, what came and what to do about it, in one line."""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import ArrayLike

PSD_TOLERANCE = 1e-10
"""An eigenvalue above ``-PSD_TOLERANCE * largest`` counts as zero: rounding, not an invalid covariance."""


class AssumptionError(ValueError):
    """A theorem was called outside its hypotheses; the message names the hypothesis that failed."""


def as_array(
    name: str, value: ArrayLike, *, ndim: int | None = None, shape: tuple[int | None, ...] | None = None
) -> np.ndarray:
    """``value`` as a finite float64 array; ``shape`` may hold None for a free length."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be an array of real numbers, got {type(value).__name__}; pass numbers of one shape"
        ) from None
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {array.shape}; reshape it first")
    if shape is not None:
        wrong_rank = array.ndim != len(shape)
        if wrong_rank or any(s is not None and s != n for s, n in zip(shape, array.shape, strict=True)):
            want = "(" + ", ".join("*" if s is None else str(s) for s in shape) + ")"
            raise ValueError(f"{name} must have shape {want}, got {array.shape}; check the order of the axes")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(np.atleast_1d(array)))[0].tolist()
        raise ValueError(f"{name} must be finite, got NaN or infinity at index {bad}; clean the data first")
    return array


def as_positive(name: str, value: ArrayLike, *, strict: bool = True) -> np.ndarray:
    """A finite array with every entry > 0 (``strict``) or >= 0."""
    array = as_array(name, value)
    if not ((array > 0) if strict else (array >= 0)).all():
        raise ValueError(f"{name} must be {'>' if strict else '>='} 0, got {array.min():g}; check its sign and units")
    return array


def as_count(name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value).is_integer():
        raise TypeError(f"{name} must be a whole number, got {value!r}; pass an int")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}; ask for more")
    return int(value)


def as_fraction(name: str, value: float) -> float:
    """A number strictly between 0 and 1."""
    number = float(as_array(name, value, ndim=0))
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}; pass a fraction")
    return number


def as_share(name: str, value: float) -> float:
    """A number in [0, 1], ends included."""
    number = float(as_array(name, value, shape=()))
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}; it is a weight or a share")
    return number


def as_priors(priors: ArrayLike | None, n_classes: int) -> np.ndarray:
    """Class priors: positive, one a class, summing to 1. None means equal."""
    if priors is None:
        return np.full(n_classes, 1.0 / n_classes)
    array = as_positive("priors", as_array("priors", priors, shape=(n_classes,)))
    if abs(array.sum() - 1.0) > 1e-9:
        raise ValueError(f"priors must sum to 1, got {array.sum():.6g}; divide them by their sum")
    return array / array.sum()


def as_covariance(name: str, value: ArrayLike, dim: int) -> np.ndarray:
    """A symmetric positive semi-definite ``[dim, dim]`` matrix; eigenvalues a rounding below zero are accepted."""
    matrix = as_array(name, value, shape=(dim, dim))
    scale = max(float(np.abs(matrix).max()), np.finfo(float).tiny)
    if np.abs(matrix - matrix.T).max() > 1e-8 * scale:
        raise ValueError(
            f"{name} must be symmetric, got an asymmetry of {np.abs(matrix - matrix.T).max():.3g}; use (S + S.T) / 2"
        )
    matrix = (matrix + matrix.T) / 2
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest < -PSD_TOLERANCE * scale * dim:
        raise ValueError(
            f"{name} must be positive semi-definite, got a smallest eigenvalue of {smallest:.3g}; add shrinkage"
        )
    return matrix


def as_labels(name: str, value: ArrayLike, n: int, n_classes: int | None = None) -> np.ndarray:
    """Integer labels in ``0..n_classes-1``, one for each of the ``n`` samples."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        raise ValueError(f"{name} must be one label a sample, got lists of different lengths; flatten it") from None
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have shape ({n},), one label a sample, got {array.shape}; check X and y belong together"
        )
    if n == 0:
        raise ValueError(f"{name} must not be empty, got n = 0; pass at least one sample")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold integers, got {array.dtype}; encode the classes as 0, 1, ...")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.rint(array)) & (abs(array) < 2**53)).all():
        raise TypeError(f"{name} must hold integers, got fractions or NaN; encode the classes as 0, 1, ...")
    whole = array.astype(np.int64)
    if whole.min() < 0 or (n_classes is not None and whole.max() >= n_classes):
        top = "C-1" if n_classes is None else str(n_classes - 1)
        raise ValueError(
            f"{name} must lie in 0..{top}, got {whole.min()}..{whole.max()}; encode the classes as 0, 1, ..."
        )
    return whole


def as_binary_data(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Samples ``X [n, d]`` with labels 0/1, both present."""
    data = as_array("X", X, ndim=2)
    labels = as_labels("y", y, len(data), 2)
    if labels.min() == labels.max():
        raise ValueError(f"y must hold both classes 0 and 1, got only class {labels[0]}; pass samples of two classes")
    return data, labels
