"""The minimax problem of two Gaussian classes: what the convex and the fast solver share."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.linear import ClassRisks, LinearClassifier
from linfair.norms import Threat
from linfair.solvers._erm import feature_threat
from linfair.solvers._rank import null_space
from linfair.solvers._smooth import nearest_shift, shift_of
from linfair.solvers.solution import Solution, Status

CERTAIN = 40.0
"""Standard deviations beyond which a Gaussian risk is 0 in floating point."""
RESOLVED = 1e-6
"""A gap this small, relative to one plus the value, counts as solved; the gap itself is always reported."""


def pair_of(model: ClassGaussians, threat: Threat) -> tuple[Threat, np.ndarray, float]:
    """The threat in feature space, ``Delta = mu_+ - mu_-`` and ``ebar = eps_+ + eps_-`` of a two-class model."""
    if model.n_classes != 2:
        raise ValueError(f"model must have 2 classes, got {model.n_classes}; use model.pair(i, j) or max_min_margin")
    threat = feature_threat(threat, model.dim)
    return threat, model.means[1] - model.means[0], float(threat.radii(2).sum())


def bridged(threat: Threat, delta: np.ndarray, ebar: float) -> tuple[bool, np.ndarray]:
    """Whether the attack can move the means onto each other (kappa* <= 0), and ``Delta - Proj(Delta)``."""
    shift = nearest_shift(threat, delta, ebar)
    rest = delta - ebar * shift_of(threat, shift)
    scale = max(float(np.linalg.norm(delta)), ebar)
    return bool(np.linalg.norm(rest) <= 1e-9 * scale), rest


def zero_risk_direction(covs: np.ndarray, delta: np.ndarray, threat: Threat) -> np.ndarray | None:
    """A direction in which neither class varies and the robust margin is positive, if there is one."""
    basis = null_space(covs.sum(0))
    if basis.shape[1] == 0:
        return None
    ebar = float(threat.radii(2).sum())
    stuck, rest = bridged(inside(threat, basis), delta @ basis, ebar)
    if stuck or np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(np.abs(basis).T @ np.abs(delta)):
        return None  # rounding
    w = basis @ rest
    spread = np.sqrt(np.maximum(np.einsum("i,kij,j->k", w, covs, w), 0.0)).sum()
    return w if w @ delta - ebar * threat.dual_norm(w) > CERTAIN * spread else None


def inside(threat: Threat, basis: np.ndarray) -> Threat:
    """The threat in the coordinates of a subspace with orthonormal ``basis`` [d, k]."""
    lift = basis if threat.lift is None else threat.lift @ basis
    return feature_threat(Threat(threat.norm, threat.eps, lift), basis.shape[1])


def unseparable(method: str) -> Solution:
    """kappa* <= 0: a fair coin, with risk 1/2 in both classes, is minimax."""
    half = np.full(2, np.log(0.5))
    info = {"kappa_low": 0.0, "kappa_high": 0.0}
    return Solution(None, ClassRisks(half, half, half), 0.5, 0.0, Status.NOT_ROBUSTLY_SEPARABLE, method, info)


def zero_risk(model: ClassGaussians, threat: Threat, w: np.ndarray, method: str) -> Solution:
    """kappa* = inf: singular covariances leave a direction without spread."""
    classifier = balanced(model, threat, w)
    nothing = np.full(2, -np.inf)
    info = {"kappa_low": np.inf, "kappa_high": np.inf}
    risks = ClassRisks(nothing, nothing, nothing)
    return Solution(classifier, risks, 0.0, 0.0, Status.ROBUSTLY_SEPARABLE, method, info)


def balanced(model: ClassGaussians, threat: Threat, w: np.ndarray) -> LinearClassifier:
    """The direction w, scaled to length 1, with the threshold that gives both classes one standardized margin."""
    w = w / np.linalg.norm(w)
    norm = float(threat.dual_norm(w))
    minus, plus = np.array([-1.0, 1.0]) * (model.means @ w) - threat.radii(2) * norm
    sds = model.sds(w)
    share = sds[0] / sds.sum() if sds.sum() > 0.0 else 0.5
    share = np.clip(share, 1e-10, 1.0 - 1e-10)  # a class without spread must not lie on the boundary
    return LinearClassifier(w, np.array(minus - share * (minus + plus)))


def bracketed(
    model: ClassGaussians, threat: Threat, w: np.ndarray, low: float, high: float, method: str, **info: object
) -> Solution:
    """The minimax classifier of direction w with its bracket of kappa*."""
    classifier = balanced(model, threat, w)
    gap = max(high - low, 0.0)
    status = Status.OPTIMAL if gap <= RESOLVED * (1.0 + low) else Status.INACCURATE
    risks = classifier.class_risks(model, threat)
    return Solution(
        classifier, risks, float(ndtr(-low)), gap, status, method, {"kappa_low": low, "kappa_high": high, **info}
    )
