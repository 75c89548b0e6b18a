"""The minimax problem of two Gaussian classes: what the convex and the fast solver share."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri_exp

from linfair.gaussian import ClassGaussians
from linfair.linear import ClassRisks, LinearClassifier
from linfair.norms import Threat
from linfair.solvers._erm import feature_threat
from linfair.solvers._rank import null_space, scaled_root
from linfair.solvers._smooth import nearest_shift, shift_of
from linfair.solvers.solution import Solution, Status

CERTAIN = 40.0
"""Standard deviations beyond which a Gaussian risk is 0 in floating point."""
RESOLVED = 1e-6
"""A gap this small, relative to one plus the value, counts as solved; the gap itself is always reported."""
MEET = 1e-9
"""Means this near, relative to their distance, may have met; whether they have is for their spread to say."""
SHARE = 1e-10
"""Of the distance between the classes, in front of the boundary and behind it at least."""
EPS = float(np.finfo(float).eps)


def pair_of(model: ClassGaussians, threat: Threat) -> tuple[Threat, np.ndarray, float]:
    """The threat in feature space, ``Delta = mu_+ - mu_-`` and ``ebar = eps_+ + eps_-`` of a two-class model."""
    if model.n_classes != 2:
        raise ValueError(f"model must have 2 classes, got {model.n_classes}; use model.pair(i, j) or max_min_margin")
    threat = feature_threat(threat, model.dim)
    return threat, model.means[1] - model.means[0], float(threat.radii(2).sum())


def bridged(threat: Threat, delta: np.ndarray, ebar: float, total: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether the attack can move the means onto each other (kappa* <= 0), and ``r = Delta - Proj(Delta)``.

    Up to rounding: where r is small, they have met if its gain ``r.Delta - ebar ||r||_*`` is rounding, or if
    ``kappa* <= sqrt(r' (Sigma_- + Sigma_+)^+ r)``, with ``total = Sigma_- + Sigma_+``, resolves nothing.
    """
    shift = nearest_shift(threat, delta, ebar)
    rest = delta - ebar * shift_of(threat, shift)
    scale, length = max(float(np.linalg.norm(delta)), ebar), float(np.linalg.norm(rest))
    if length > MEET * scale:
        return False, rest
    gain = float(rest @ delta - ebar * threat.dual_norm(rest))
    return gain <= 16.0 * EPS * scale * length or _reach(total, rest) <= RESOLVED, rest


def _reach(total: np.ndarray, rest: np.ndarray) -> float:
    """``sqrt(rest' total^+ rest)``; inf where rest leaves the range of ``total``."""
    root = scaled_root(total)
    along = np.linalg.lstsq(root, rest, rcond=None)[0]
    inside = np.linalg.norm(rest - root @ along) <= RESOLVED * np.linalg.norm(rest)
    return float(np.linalg.norm(along)) if inside else np.inf


def zero_risk_direction(covs: np.ndarray, delta: np.ndarray, threat: Threat) -> np.ndarray | None:
    """A direction in which neither class varies and the robust margin is positive, if there is one."""
    basis = null_space(covs.sum(0))
    if basis.shape[1] == 0:
        return None
    ebar, k = float(threat.radii(2).sum()), basis.shape[1]
    features = np.count_nonzero(basis) == k  # some of the features, up to signs: no rounding, and no lift
    part = Threat(threat.norm, threat.eps) if features and threat.lift is None else inside(threat, basis)
    stuck, rest = bridged(part, delta @ basis, ebar, np.zeros((k, k)))
    rounding = 0.0 if features else MEET * float(np.linalg.norm(np.abs(basis).T @ np.abs(delta)))
    if stuck or np.linalg.norm(rest) <= rounding:
        return None
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
    actual = classifier.class_risks(model, threat)
    if (worst := float(actual.value.max())) > 0.0:  # the threshold has no digits between the classes
        return Solution(classifier, actual, worst, np.inf, Status.INACCURATE, method, info)
    risks = ClassRisks(nothing, nothing, nothing)
    return Solution(classifier, risks, 0.0, 0.0, Status.ROBUSTLY_SEPARABLE, method, info)


def rounding_of(model: ClassGaussians, threat: Threat, w: np.ndarray) -> float:
    """What rounding may take from a margin ``s_y (w.mu_y + b) - eps_y ||w||_*`` or add to it, b being between the
    classes."""
    terms = np.abs(model.means) @ np.abs(w) + threat.radii(2) * threat.dual_norm(w)
    return (model.dim + 4) * EPS * float(terms.max())


def with_share(model: ClassGaussians, threat: Threat, w: np.ndarray, share: float) -> LinearClassifier:
    """Direction w [d]; in front of the threshold, class "-" has a share of the distance ``w.Delta - ebar ||w||_*``.

    A share outside [0, 1] gives one class up; none is on the boundary, not even one without spread.
    """
    w = w / np.linalg.norm(w)
    minus, plus = np.array([-1.0, 1.0]) * (model.means @ w) - threat.radii(2) * threat.dual_norm(w)
    if 0.0 <= share <= 1.0:
        rounding = rounding_of(model, threat, w)
        least = min(max(SHARE, rounding / max(minus + plus, rounding, np.finfo(float).tiny)), 0.5)
        share = min(max(share, least), 1.0 - least)
    return LinearClassifier(w, np.array(minus - share * (minus + plus)))


def balanced(model: ClassGaussians, threat: Threat, w: np.ndarray) -> LinearClassifier:
    """The direction w, scaled to length 1, with the threshold that gives both classes one standardized margin."""
    sds = model.sds(w / np.linalg.norm(w))
    return with_share(model, threat, w, float(sds[0] / sds.sum()) if sds.sum() > 0.0 else 0.5)


def bracketed(
    model: ClassGaussians, threat: Threat, w: np.ndarray, low: float, high: float, method: str, **info: object
) -> Solution:
    """The minimax classifier of direction w with its bracket of kappa*; the gap is that of the classifier, whose
    threshold may have too few digits for the margin ``low`` that w has."""
    if low == np.inf:
        return zero_risk(model, threat, w, method)
    classifier = balanced(model, threat, w)
    risks = classifier.class_risks(model, threat)
    worst, reached = float(ndtr(-low)), low
    if (own := -float(ndtri_exp(risks.log_value.max()))) < low - MEET * (1.0 + low):
        worst, reached = float(risks.value.max()), own
    gap = max(high - reached, 0.0)
    status = Status.OPTIMAL if gap <= RESOLVED * (1.0 + low) else Status.INACCURATE
    return Solution(classifier, risks, worst, gap, status, method, {"kappa_low": low, "kappa_high": high, **info})
