"""Two classes of a data set as a binary problem: features, fitted Gaussians, classifiers measured and predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr

from linfair.data import Dataset, folds
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import fast
from linfair.solvers.closed_form import optimum

Row = dict[str, Any]
SIDES = ("minus", "plus")


@dataclass(frozen=True, eq=False)
class Split:
    """Features [n, d] of a training and a held-out part; ``basis`` [pixels, d] where they are principal components."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    basis: np.ndarray | None


def splits(data: Dataset, n_folds: int, dim: int | None) -> Iterator[Split]:
    """Small data (digits): cross-fitting, every image held out once. CIFAR-10: its official split."""
    for fold in range(n_folds if data.name == "digits" else 1):
        yield _split(data, fold, n_folds, dim)


@lru_cache(maxsize=32)
def _split(data: Dataset, fold: int, n_folds: int, dim: int | None) -> Split:
    """Centred pixels (``dim`` None) or their leading principal components; mean and basis of the training part."""
    (A, s), (B, t) = data.train(), data.test()
    if data.name == "digits":
        X, y = data.pooled()
        held_out = folds(y, n_folds, np.random.default_rng(0)) == fold
        (A, s), (B, t) = (X[~held_out], y[~held_out]), (X[held_out], y[held_out])
    mean = A.mean(0)
    A -= mean
    B -= mean
    if dim is None:
        return Split(A, s, B, t, None)
    basis = np.linalg.eigh(A.T @ A)[1][:, : -dim - 1 : -1].copy()
    return Split(A @ basis, s, B @ basis, t, basis)


@dataclass(frozen=True, eq=False)
class Pair:
    """A binary problem: 1 = "+", the class predicted to be the hard one."""

    X: np.ndarray
    y: np.ndarray
    held_X: np.ndarray
    held_y: np.ndarray
    model: ClassGaussians
    swapped: bool
    log_K: float


def binary(part: Split, a: int, b: int) -> Pair:
    """Classes a and b; "+" is the one with the larger sd along ``w = (Sigma_a + Sigma_b)^-1 (mu_b - mu_a)``.

    Only the training part decides, and Gaussians are fitted to it with Ledoit-Wolf shrinkage.
    """
    own, held = np.isin(part.train_labels, (a, b)), np.isin(part.test_labels, (a, b))
    X, y = part.train[own], (part.train_labels[own] == b).astype(int)
    held_y = (part.test_labels[held] == b).astype(int)
    model = ClassGaussians.fit(X, y, shrinkage="ledoit-wolf")
    sd = model.sds(np.linalg.solve(model.covs.sum(0), model.means[1] - model.means[0]))
    swapped = bool(sd[0] > sd[1])
    if swapped:
        y, held_y, model = 1 - y, 1 - held_y, model.pair(1, 0)
    return Pair(X, y, part.test[held], held_y, model, swapped, float(abs(np.log(sd[1] / sd[0]))))


def erm(X: np.ndarray, y: np.ndarray, threat: Threat, ridge: float) -> LinearClassifier:
    """Robust logistic ERM."""
    return fast.robust_erm(X, y, threat, ridge=ridge).classifier


@dataclass(frozen=True, eq=False)
class Measured:
    """What classifiers of one kind do on one split, averaged over the classifiers (mixing seeds)."""

    analytic: np.ndarray
    """Risks [2] on the fitted Gaussians."""
    skewed: np.ndarray
    """The same with the skewness of the training scores, to first order."""
    train: np.ndarray
    """Error rates [2] on the training images."""
    wrong: np.ndarray
    """Error of every held-out image [n]."""
    held_y: np.ndarray
    constant: float
    """Share of classifiers with w = 0."""
    kappa: float
    """Minimax margin kappa* of the fitted Gaussians at this radius; NaN where it is not positive."""
    short: np.ndarray
    """Risks [2] from kappa*, K and r alone; NaN where this short theory says nothing."""


def measure(
    pair: Pair, threat: Threat, fitted: Sequence[LinearClassifier], short: np.ndarray, kappa: float
) -> Measured:
    """Analytic, training and held-out class risks under the exact linear attack."""
    return Measured(
        np.mean([f.class_risks(pair.model, threat).value for f in fitted], axis=0),
        np.mean([skewed_risks(pair, threat, f) for f in fitted], axis=0),
        np.mean([f.class_errors(pair.X, pair.y, threat).rate for f in fitted], axis=0),
        np.mean([f.robust_margins(pair.held_X, pair.held_y, threat) <= 0 for f in fitted], axis=0),
        pair.held_y,
        float(np.mean([not f.w.any() for f in fitted])),
        kappa,
        short,
    )


def skewed_risks(pair: Pair, threat: Threat, classifier: LinearClassifier) -> np.ndarray:
    """``Phi(-z_y) - gamma_y / 6 (z_y^2 - 1) phi(z_y)`` [2]: Edgeworth's first term, gamma_y the margins' skewness."""
    if not classifier.w.any():
        return classifier.class_risks(pair.model, threat).value
    z = classifier.margins(pair.model, threat)
    margins = classifier.robust_margins(pair.X, pair.y, threat)
    centred = [m - m.mean() for m in (margins[pair.y == side] for side in (0, 1))]
    gamma = np.array([(m**3).mean() / (m**2).mean() ** 1.5 for m in centred])
    return np.clip(ndtr(-z) - gamma / 6.0 * (z**2 - 1.0) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), 0.0, 1.0)


def short_theory(pair: Pair, fair: LinearClassifier | None, threat: Threat) -> tuple[float, dict[str, np.ndarray]]:
    """kappa*, and class risks from three numbers: kappa*, K = sd_+/sd_- at the minimax-fair w, and r = pi_+/pi_-.

    Along that w the average-risk optimum is the isotropic one with ``tau = (1 + K) kappa*``; mixing by 1/2 has c = 1/2.
    """
    if fair is None:
        return np.nan, {}
    kappa = float(fair.margins(pair.model, threat).min())
    sd, prior = pair.model.sds(fair.w), pair.model.priors
    K, r = sd[1] / sd[0], prior[1] / prior[0]
    found = {"minimax": np.full(2, float(fair.class_risks(pair.model, threat).value.max()))}
    for method, c in (("robust", 1.0), ("mixup", 0.5)):
        best = optimum((1.0 + K) * kappa, K, r, c_minus=c, c_plus=c)
        found[method] = np.array([float(best.risk_minus), float(best.risk_plus)])
    return kappa, found


def pooled(parts: Sequence[Measured], robust: Sequence[Measured]) -> Row:
    """One row of a table from the folds of a pair; ``change`` compares with the robust classifier, image by image."""
    y = np.concatenate([p.held_y for p in parts])
    wrong = np.concatenate([p.wrong for p in parts])
    change = wrong - np.concatenate([p.wrong for p in robust])
    row: Row = {"kappa": np.mean([p.kappa for p in parts]), "constant": np.mean([p.constant for p in parts])}
    for side, name in enumerate(SIDES):
        own = y == side
        n = int(own.sum())
        row[f"n_{name}"] = n
        row[f"test_{name}"] = wrong[own].mean()
        row[f"se_{name}"] = wrong[own].std() / np.sqrt(n)
        for key in ("analytic", "skewed", "train", "short"):
            row[f"{key}_{name}"] = np.mean([getattr(p, key)[side] for p in parts])
    row["change"] = change[y == 1].mean() - change[y == 0].mean()
    row["change_se"] = np.hypot(*(change[y == side].std() / np.sqrt(np.sum(y == side)) for side in (0, 1)))
    return {k: v if isinstance(v, int) else None if np.isnan(v) else round(float(v), 6) for k, v in row.items()}
