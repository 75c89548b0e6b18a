"""Direct solvers: the optima of :mod:`linfair.solvers.convex` without a modelling layer, each with a certified gap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_positive
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers._descent import Logistic, follow_erm
from linfair.solvers._erm import Erm, Loss, Units
from linfair.solvers._pair import RESOLVED, bracketed, bridged, pair_of, unseparable, zero_risk, zero_risk_direction
from linfair.solvers._smooth import Path, kinks, smooth_dual_norm
from linfair.solvers.certificates import dual_bound, kappa_bracket, margin_bracket
from linfair.solvers.solution import Solution, Status


def robust_erm(
    X: ArrayLike,
    y: ArrayLike,
    threat: Threat,
    loss: Loss = "logistic",
    *,
    ridge: float = 0.0,
    tol: float = 1e-9,
    weights: ArrayLike | None = None,
) -> Solution:
    """Robust logistic regression, ``min (1/n) sum weights_i log(1 + exp(-m_i)) + ridge/2 ||w||_2^2``.

    ``m_i = s_i (w.x_i + b) - eps_{y_i} ||w||_*`` is the exact worst-case margin, so this is adversarial training to
    convergence; on same-class mixes it is adversarial training with mixup. Newton's method on a smoothed dual norm
    (after a few L-BFGS steps when the norm is smooth), with the smoothing lowered until the dual bound closes.

    Args:
        X: samples [n, d]; y: labels 0/1 [n], both classes present.
        threat: norm, radius (one, or one a class) and lift.
        loss: "logistic"; the hinge loss is in :mod:`linfair.solvers.convex`.
        ridge: weight of the l2 penalty, >= 0.
        tol: the gap to reach, > 0, relative to ``1 + objective``.
        weights: positive sample weights [n]; None for ones.

    Returns:
        Objective and certified gap; OPTIMAL, CONSTANT_OPTIMAL (w = 0), INACCURATE, or ROBUSTLY_SEPARABLE: without a
        ridge the infimum 0 is then approached along the maximum-margin classifier, which is returned (smallest margin
        1) with its certified margin in ``info["margin_low"]``, ``info["margin_high"]``. ``info`` also holds
        ``lower_bound`` and ``iterations``.
    """
    erm = Erm.build(X, y, threat, loss, ridge, weights)
    tol = float(as_positive("tol", as_array("tol", tol, ndim=0)))
    if loss != "logistic":
        raise ValueError('loss must be "logistic" here, got "hinge"; use linfair.solvers.convex.robust_erm')
    constant = erm.constant()
    if constant is not None:
        b, alpha = constant
        return _constant(erm, b, dual_bound(erm, alpha), 0)
    plain, units = erm.standardised()
    x, zeta, bound, steps, separable = follow_erm(plain, tol)
    if separable:
        return _hard_margin(plain, units, x, steps)
    w, b = x[:-1], float(x[-1])
    value = plain.objective(w, b)
    flat = plain.best_constant()
    if plain.objective(np.zeros_like(w), flat) <= value + tol * (1.0 + value):
        bound = max(bound, dual_bound(plain, plain.alpha(np.zeros_like(w), flat), zeta, np.zeros_like(w)))
        return _constant(erm, flat, bound, steps)
    gap = max(value - bound, 0.0)
    status = Status.OPTIMAL if gap <= tol * (1.0 + value) else Status.INACCURATE
    info = {"lower_bound": bound, "iterations": steps}
    return Solution(units.classifier(w, b), None, value, gap, status, METHOD, info)


METHOD = "L-BFGS where smooth, Newton on a smoothed norm"


def _constant(erm: Erm, b: float, bound: float, steps: int) -> Solution:
    w = np.zeros(erm.X.shape[1])
    value = erm.objective(w, b)
    info = {"lower_bound": bound, "iterations": steps}
    gap = max(value - bound, 0.0)
    return Solution(LinearClassifier(w, np.array(b)), None, value, gap, Status.CONSTANT_OPTIMAL, METHOD, info)


class _Barrier(Logistic):
    """``||w||^2 / 2 - nu sum log(m_i - 1)``: the maximum margin, by an interior path."""

    def __init__(self, erm: Erm, mu: float, nu: float) -> None:
        super().__init__(replace(erm, ridge=1.0), mu)
        self.nu = nu

    def loss(self, m: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if m.min() <= 1.0:
            return np.inf, m, m
        a = self.nu / (m - 1.0)
        return -self.nu * float(np.log(m - 1.0).sum()), a, a / (m - 1.0)


def _hard_margin(erm: Erm, units: Units, x: np.ndarray, steps: int) -> Solution:
    """The maximum-margin classifier from a robustly separating start, scaled to a smallest margin of 1."""
    w, b = x[:-1], float(x[-1])
    x = x * (2.0 / float(erm.margins(w, b).min()))
    n, size = erm.X.shape[0], kinks(erm.threat, erm.X.shape[1])
    price = max(float(erm.radii.mean()), 1e-8)
    low, high, best = 0.0, np.inf, x
    path = Path(x)
    scale = float(x[:-1] @ x[:-1])
    for accuracy in 10.0 ** -np.arange(0.0, 13.0, 0.5):
        budget = accuracy * scale  # what the barrier costs, and about what smoothing does
        oracle = _Barrier(erm, accuracy * np.sqrt(scale) / (price * size), budget / n)
        x = path.follow(oracle, accuracy, 1e-3 * oracle.nu, grow=True)
        w, b = x[:-1], float(x[-1])
        norm = smooth_dual_norm(erm.threat, w, oracle.mu)
        alpha = oracle.nu / (erm.signs * (erm.X @ w + b) - erm.radii * norm.value - 1.0)
        here_low, here_high = margin_bracket(erm, w, b, alpha, norm.zeta)
        high = min(high, here_high)
        if here_low > low:
            low, best = here_low, x
        if high - low <= 1e-9 * high:
            break
    x = best / float(erm.margins(best[:-1], float(best[-1])).min())
    margins = {"margin_low": units.scale * low, "margin_high": units.scale * high}
    info = {"lower_bound": 0.0, "iterations": steps + path.steps, **margins}
    method = "maximum margin, interior Newton"
    return Solution(units.classifier(x[:-1], float(x[-1])), None, 0.0, 0.0, Status.ROBUSTLY_SEPARABLE, method, info)


def minimax_fair(model: ClassGaussians, threat: Threat) -> Solution:
    """The linear classifier whose worst class risk is smallest; see :func:`linfair.solvers.convex.minimax_fair`.

    Newton's method on ``(sd_+(w) + sd_-(w))^2 / 2 - (w.Delta - ebar ||w||_*)``: its minimum is ``-kappa*^2 / 2``, at
    the minimax direction, whose scale it fixes. Any norm, any lift, covariances of any rank; the rare singular case
    that it cannot certify is handed to the convex program.
    """
    threat, delta, ebar = pair_of(model, threat)
    covs = model.full_covs()
    stuck, rest = bridged(threat, delta, ebar, covs.sum(0))
    if stuck:
        return unseparable("projection of Delta")
    free = zero_risk_direction(covs, delta, threat)
    if free is not None:
        return zero_risk(model, threat, free, "projection of Delta")
    if not covs.any():  # a lift, and a distance in the rounding of its projection
        other = _by_cones(model, threat)
        undecided = other.maybe_classifier is None
        return bracketed(model, threat, rest, 0.0, np.inf, "projection of Delta") if undecided else other
    spread = float(model.sds(rest).sum())
    w = rest * (float(rest @ rest) / spread**2) if spread > 0.0 else rest
    scale = float(rest @ rest) / max(spread, 1e-6 * float(np.sqrt(covs.max())))  # at most kappa*
    kinked = threat.norm != "l2" and ebar > 0.0
    low, high, best = -np.inf, np.inf, w
    path = Path(w)
    for accuracy in 10.0 ** (-np.arange(1.0, 15.0) if kinked else -np.array([4.0, 9.0, 14.0])):
        oracle = _Minimax(covs, delta, ebar, threat, accuracy * scale**2)
        w = path.follow(oracle, accuracy, 1e-4 * accuracy * scale**2)
        if accuracy > 1e-8:
            continue
        below, above = kappa_bracket(model, threat, w, oracle.dual(w))
        high = min(high, above)
        if below > low:
            low, best = below, w
        if high - low <= 1e-11 * (1.0 + low):
            break
    found = bracketed(model, threat, best, low, high, "Newton", iterations=path.steps)
    if found.status != Status.INACCURATE or high - low <= RESOLVED * (1.0 + low):
        return found
    other = _by_cones(model, threat)
    return other if other.status == Status.OPTIMAL or other.info["kappa_low"] > low else found


def _by_cones(model: ClassGaussians, threat: Threat) -> Solution:
    from linfair.solvers import convex

    return convex.minimax_fair(model, threat)


class _Minimax:
    """The objective of :func:`minimax_fair` with norm and standard deviations smoothed to cost about ``budget``."""

    def __init__(self, covs: np.ndarray, delta: np.ndarray, ebar: float, threat: Threat, budget: float) -> None:
        self.covs, self.delta, self.ebar, self.threat = covs, delta, ebar, threat
        self.floor = budget  # of the variances
        price = max(ebar, 1e-8 * float(np.linalg.norm(delta)))  # a tiny attack needs no huge smoothing
        self.mu = budget / (price * kinks(threat, len(delta)))

    def __call__(self, w: np.ndarray, value_only: bool) -> tuple[float, np.ndarray, np.ndarray]:
        rows = self.covs @ w
        sds = self._sds(w, rows)
        total = float(sds.sum())
        value = total**2 / 2.0 - float(w @ self.delta)
        norm = smooth_dual_norm(self.threat, w, self.mu) if self.ebar > 0.0 else None
        if norm is not None:
            value += self.ebar * norm.value
        if value_only:
            return value, w, w
        slopes = rows / sds[:, None]
        slope = slopes.sum(0)
        gradient = total * slope - self.delta
        shares = total / sds
        hessian = np.outer(slope, slope) + np.tensordot(shares, self.covs, 1) - (slopes.T * shares) @ slopes
        if norm is not None:
            gradient += self.ebar * norm.gradient
            hessian += self.ebar * norm.hessian()
        return value, gradient, hessian

    def dual(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The dual point of a minimiser: ``p_y = (sd_+ + sd_-) w / sd_y`` and the smoothed zeta."""
        sds = self._sds(w, self.covs @ w)
        minus, plus = (sds.sum() * w / sd for sd in sds)
        return minus, plus, smooth_dual_norm(self.threat, w, self.mu).zeta if self.ebar > 0.0 else None

    def _sds(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(rows @ w, 0.0) + self.floor**2)
