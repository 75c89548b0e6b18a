"""Certificates: bounds on an optimum from dual points, whoever found them.

A dual point is repaired to exact feasibility by a small weighted least-squares correction and then evaluated. A bound
is valid up to rounding however poor the point is; how tight it is measures the point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.special import entr

from linfair._check import as_array
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers._erm import Erm, Loss, feature_threat
from linfair.solvers._rank import VARIES, factor_of, scale_of, scaled_root
from linfair.solvers._smooth import into_ball, nearest_shift, pull_back, room, shift_of, solve_psd, solve_range

FEASIBLE = 1e-12
"""A constraint residual this small, relative to its terms, is rounding."""

REPAIRS = 8
"""Corrections of a dual point; two suffice near an optimum."""


def erm_lower_bound(
    X: ArrayLike,
    y: ArrayLike,
    threat: Threat,
    alpha: ArrayLike,
    zeta: ArrayLike | None = None,
    *,
    loss: Loss = "logistic",
    ridge: float = 0.0,
    weights: ArrayLike | None = None,
) -> float:
    """A lower bound of robust ERM from any dual point.

    With ``c_i = weights_i / n``, ``g = sum c_i alpha_i s_i x_i`` and ``s = sum c_i alpha_i eps_i`` the dual is

        max  -sum c_i l*(-alpha_i) - dist_2(g, s B)^2 / (2 ridge)   s.t.  sum c_i alpha_i s_i = 0,

    B the unit p-ball (its image ``{P' zeta : ||zeta||_p <= 1}`` under a lift), and g in s B when the ridge is 0.
    ``-l*(-a)`` is the entropy ``-a log a - (1-a) log(1-a)`` (logistic) or a (hinge), for a in [0, 1]. Near an optimum
    (w, b) the point is ``alpha_i = -l'(m_i)`` and zeta in the subdifferential of ``||.||_*`` at w.

    Args:
        X: samples [n, d]; y: labels 0/1 [n].
        alpha: [n], clipped to [0, 1] and then repaired.
        zeta: [d] (or [p] under a lift), scaled into the unit p-ball; None for the best one.
        weights: positive sample weights [n]; None for ones.

    Returns:
        The bound; 0, which is always valid, when the point cannot be repaired.
    """
    erm = Erm.build(X, y, threat, loss, ridge, weights)
    point = as_array("alpha", alpha, shape=(len(erm.X),))
    if zeta is not None:
        zeta = as_array("zeta", zeta, shape=(erm.X.shape[1] if threat.lift is None else len(threat.lift),))
        if erm.threat.lift is None and threat.lift is not None:
            zeta = zeta @ threat.lift
    return dual_bound(erm.standardised()[0], point, zeta)


def dual_bound(erm: Erm, alpha: np.ndarray, zeta: np.ndarray | None = None, w: np.ndarray | None = None) -> float:
    """:func:`erm_lower_bound` for a problem already built (standardised, for accuracy).

    The correction moves alpha and, inside the ball, zeta: ``alpha - D r.lam``, ``zeta + T P lam`` with D = alpha (1 -
    alpha) and T the room of zeta, which keeps both in their domains. With a ridge nothing but ``sum c_i alpha_i s_i =
    0`` must hold; a given w then aims at ``g - s P' zeta = ridge w``, where the bound is best.
    """
    alpha = np.clip(alpha, 0.0, 1.0)
    if zeta is None:
        _, g, reach = erm.moments(erm.shares * alpha)
        zeta = nearest_shift(erm.threat, g, reach)
    point = _DualPoint(erm, alpha, zeta, w)
    for _ in range(REPAIRS):
        if point.feasible(FEASIBLE / 10.0, aimed=True):
            break
        point.repair()
    if not point.feasible(FEASIBLE):
        return 0.0
    gain = entr(point.alpha) + entr(1.0 - point.alpha) if erm.loss == "logistic" else point.alpha
    bound = float(erm.shares @ gain)
    if erm.ridge > 0.0:
        _, g, reach = erm.moments(erm.shares * point.alpha)
        bound -= _distance(erm.threat, g, reach, point.shift) ** 2 / (2.0 * erm.ridge)
    return max(bound, 0.0)


class _DualPoint:
    """(alpha, zeta) on its way to feasibility."""

    def __init__(self, erm: Erm, alpha: np.ndarray, zeta: np.ndarray, w: np.ndarray | None) -> None:
        self.erm, self.alpha = erm, alpha
        self.target = (
            None if erm.ridge > 0.0 and w is None else erm.ridge * (np.zeros(erm.X.shape[1]) if w is None else w)
        )
        self.move_to(zeta)

    def move_to(self, zeta: np.ndarray) -> None:
        self.zeta = into_ball(self.erm.threat, zeta)
        self.shift = shift_of(self.erm.threat, self.zeta)

    def residual(self) -> np.ndarray:
        """``g - s P' zeta - target`` and ``sum c_i alpha_i s_i``, [d+1]."""
        total, g, reach = self.erm.moments(self.erm.shares * self.alpha)
        goal = reach * self.shift + self.target if self.target is not None else g
        return np.append(g - goal, total)

    def feasible(self, accuracy: float, *, aimed: bool = False) -> bool:
        """Every constraint holds; ``aimed``: with a ridge also the equation that is best though it need not hold."""
        residual = np.abs(self.residual())
        weight = self.erm.shares * self.alpha
        if self.erm.ridge == 0.0 or (aimed and self.target is not None):
            size = weight @ np.abs(self.erm.X) + float(weight @ self.erm.radii)
            if (residual[:-1] > accuracy * size.max()).any():
                return False
        return bool(residual[-1] <= accuracy * weight.sum())

    def repair(self) -> None:
        erm = self.erm
        spread = self.alpha * (1.0 - self.alpha)
        system = erm.gram(erm.shares * spread, self.shift)
        reach = float((erm.shares * self.alpha) @ erm.radii)
        push, diagonal, rank_one = 0.0, *room(erm.threat.norm, self.zeta)
        d = erm.X.shape[1]
        if self.target is None:
            step = np.append(np.zeros(d), self.residual()[-1] / max(system[-1, -1], np.finfo(float).tiny))
        else:
            if reach > 0.0:
                push = 1e6 * float(np.trace(system)) / max(reach, 1e-8)
                system[:d, :d] += reach * push * pull_back(erm.threat, diagonal, rank_one)
            system[:d, :d] += erm.ridge * np.eye(d)
            step = solve_psd(system, self.residual())
        moved = self.alpha - spread * erm.rows_times(step, self.shift)
        u = step[:d] if erm.threat.lift is None else erm.threat.lift @ step[:d]
        self.alpha = np.clip(moved, self.alpha * 1e-3, 1.0 - (1.0 - self.alpha) * 1e-3)  # near the edge, never onto it
        self.move_to(self.zeta + push * (diagonal * u - rank_one * (rank_one @ u)))


def _distance(threat: Threat, g: np.ndarray, reach: float, v: np.ndarray) -> float:
    """``dist_2(g, reach B)``; under a lift an upper bound of it, the distance to one point of the set."""
    nearest = reach * v if threat.lift is not None else threat.ball.project(g, reach)
    return float(np.linalg.norm(g - nearest))


def margin_bracket(
    erm: Erm, w: np.ndarray, b: float, alpha: np.ndarray, zeta: np.ndarray | None = None
) -> tuple[float, float]:
    """Bounds of the largest robust margin ``max_{||w||_2 <= 1} min_i s_i (w.x_i + b) - eps_i ||w||_*``.

    Below: the classifier (w, b). Above: half the l2 distance, less what the attack can bridge, between two points of
    the class hulls, ``dist_2(sum_+ alpha_i x_i - sum_- alpha_i x_i, s B) / 2`` for weights alpha that sum to 1 in
    each class.
    """
    low = float(erm.margins(w, b).min() / np.linalg.norm(w))
    alpha = np.maximum(alpha, 0.0)
    for own in (erm.signs < 0, erm.signs > 0):
        alpha = np.where(own, alpha / max(float(alpha[own].sum()), np.finfo(float).tiny), alpha)
    _, g, reach = erm.moments(alpha)
    if zeta is None:
        zeta = nearest_shift(erm.threat, g, reach)
    shift = shift_of(erm.threat, into_ball(erm.threat, zeta))
    return low, _distance(erm.threat, g, reach, shift) / 2.0


def kappa_bracket(
    model: ClassGaussians,
    threat: Threat,
    w: ArrayLike,
    dual: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None,
) -> tuple[float, float]:
    """Bounds of the minimax margin kappa* of two classes from a direction w [d].

        kappa* = max_w (w.Delta - ebar ||w||_*) / (sd_+(w) + sd_-(w))
               = min {k : Delta = Sigma_+^{1/2} s + Sigma_-^{1/2} t + z,  ||s||, ||t|| <= k,  ||z||_p <= ebar}.

    The dual point is ``s = R_+' p_+``, ``t = R_-' p_-`` with roots ``Sigma_y = R_y R_y'``. The correction of its
    residual is orthogonal to s and t, which makes the bound second-order accurate in the error of w.

    Args:
        model: two classes. threat: its total radius ``ebar = eps_+ + eps_-`` is what counts.
        dual: ``(p_-, p_+, zeta)``, zeta [d] (or [p] under a lift) or None; None for the point that w suggests.

    Returns:
        ``(low, high)``: high is inf when no correction reaches feasibility; low is inf when w has no spread.
    """
    threat = feature_threat(threat, model.dim)
    ebar = float(threat.radii(2).sum())
    direction = as_array("w", w, shape=(model.dim,))
    delta = model.means[1] - model.means[0]
    low, gain = kappa_low(model, threat, direction)
    if gain <= 0.0 or not np.isfinite(low):
        low = max(low, 0.0)
        if dual is None:
            zeta = nearest_shift(threat, delta, ebar)
            dual = (np.zeros(model.dim), np.zeros(model.dim), zeta)
    covs = model.full_covs()
    if dual is None:
        tiny = np.finfo(float).tiny
        minus, plus = (low * direction / max(sd, tiny) for sd in model.sds(direction))
        zeta = None
    else:
        minus, plus, zeta = dual
    if zeta is None:
        zeta = nearest_shift(threat, delta - covs[0] @ minus - covs[1] @ plus, ebar)
    touch = _Touch(covs, delta, ebar, threat, minus, plus, zeta)
    for tangential in (True, True, False, False):
        touch.repair(tangential=tangential)
    return low, max(low, touch.length() + touch.price())


def kappa_low(model: ClassGaussians, threat: Threat, w: np.ndarray) -> tuple[float, float]:
    """``kappa(w) = gain / (sd_+ + sd_-)`` and ``gain = w.Delta - ebar ||w||_*``; kappa is +-inf without spread."""
    gain = float(w @ (model.means[1] - model.means[0]) - threat.radii(2).sum() * threat.dual_norm(w))
    spread = float(model.sds(w).sum())
    return (gain / spread if spread > 0.0 else np.inf if gain > 0.0 else -np.inf), gain


class _Touch:
    """A touching point of the two spread ellipsoids and the ball: ``Delta = R_- t + R_+ s + ebar P' zeta``, with roots
    ``Sigma_y = R_y R_y'``.
    """

    def __init__(
        self,
        covs: np.ndarray,
        delta: np.ndarray,
        ebar: float,
        threat: Threat,
        minus: np.ndarray,
        plus: np.ndarray,
        zeta: np.ndarray,
    ) -> None:
        self.roots = [scaled_root(cov) for cov in covs]
        self.delta, self.ebar, self.threat = delta, ebar, threat
        self.points = [root.T @ p for root, p in zip(self.roots, (minus, plus), strict=True)]
        self.zeta = into_ball(threat, zeta)

    def residual(self) -> np.ndarray:
        reached = sum(root @ s for root, s in zip(self.roots, self.points, strict=True))
        return self.delta - reached - self.ebar * shift_of(self.threat, self.zeta)

    def price(self) -> float:
        """What s and t grow by at most when they absorb what is left of the residual and its rounding; inf if they
        cannot."""
        total = self.total()
        scale = scale_of(total)
        terms = np.abs(self.delta) + self.ebar * np.abs(shift_of(self.threat, self.zeta))
        terms = terms + sum(np.abs(root) @ np.abs(s) for root, s in zip(self.roots, self.points, strict=True))
        scaled, rest, size = (
            total / np.outer(scale, scale),
            self.residual() / scale,
            float(np.linalg.norm(terms / scale)),
        )
        lower = factor_of(scaled)
        if lower is not None:
            rounding = np.finfo(float).eps * size / float(np.diag(lower).min())
            return float(np.linalg.norm(solve_triangular(lower, rest, lower=True))) + rounding
        values, vectors = np.linalg.eigh(scaled)
        kept, along = values > VARIES * max(float(values[-1]), 0.0), vectors.T @ rest
        if np.linalg.norm(along[~kept]) > 10.0 * FEASIBLE * size:
            return np.inf
        if not kept.any():
            return 0.0
        rounding = np.finfo(float).eps * size / np.sqrt(float(values[kept].min()))
        return float(np.linalg.norm(along[kept] / np.sqrt(values[kept])) + rounding)

    def total(self) -> np.ndarray:
        """``Sigma_- + Sigma_+``."""
        minus, plus = self.roots
        return minus @ minus.T + plus @ plus.T

    def length(self) -> float:
        """``max(||s||, ||t||)``."""
        return max(float(np.linalg.norm(s)) for s in self.points)

    def repair(self, *, tangential: bool) -> None:
        """The least correction of the residual; a tangential one keeps both lengths and lets zeta move in its ball."""
        residual = self.residual()
        size = sum(float(np.sum(root**2)) for root in self.roots)
        if not tangential:
            step = solve_range(self.total(), residual)
            self.points = [s + root.T @ step for root, s in zip(self.roots, self.points, strict=True)]
            return
        normals = [s / length if (length := float(np.linalg.norm(s))) > 1e-200 else s for s in self.points]
        minus, plus = tangents = [root - np.outer(root @ n, n) for root, n in zip(self.roots, normals, strict=True)]
        system = minus @ minus.T + plus @ plus.T
        goal = self.delta - self.ebar * shift_of(self.threat, self.zeta)
        if (length := float(np.linalg.norm(goal))) > 0.0:
            # the tangents leave one common direction free; the residual of a near-optimum is orthogonal to it
            system = system + size * np.outer(goal / length, goal / length)
        diagonal, rank_one = room(self.threat.norm, self.zeta)
        push = 1e6 * size / max(self.ebar, 1e-8 * float(np.linalg.norm(self.delta)), np.finfo(float).tiny)
        if self.ebar > 0.0:
            system = system + self.ebar * push * pull_back(self.threat, diagonal, rank_one)
        step = solve_range(system, residual)
        self.points = [s + tangent.T @ step for s, tangent in zip(self.points, tangents, strict=True)]
        if self.ebar > 0.0:
            u = step if self.threat.lift is None else self.threat.lift @ step
            self.zeta = into_ball(self.threat, self.zeta + push * (diagonal * u - rank_one * (rank_one @ u)))
