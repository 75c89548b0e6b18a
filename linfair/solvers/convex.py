"""Convex programs in cvxpy, solver named: the reference that the direct solvers are checked against.

cvxpy is imported when a program is solved. Its verdict is not taken on trust: every answer carries a gap computed here,
from a dual point repaired to feasibility, and the status follows that gap. A solver that fails is a status too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from linfair._check import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers._cvxpy import bound_dual_norm, root_of, solved, zeta_of
from linfair.solvers._erm import Erm, Loss, Units, feature_threat
from linfair.solvers._pair import RESOLVED, bracketed, bridged, pair_of, unseparable, zero_risk, zero_risk_direction
from linfair.solvers._pairwise import PairwiseProgram, meeting_pair, pairwise_bracket, without_spread
from linfair.solvers._rank import scale_of
from linfair.solvers.certificates import dual_bound, kappa_bracket, kappa_low, margin_bracket
from linfair.solvers.solution import Solution, Status


def robust_erm(
    X: ArrayLike,
    y: ArrayLike,
    threat: Threat,
    loss: Loss = "logistic",
    *,
    ridge: float = 0.0,
    solver: str = "CLARABEL",
    weights: ArrayLike | None = None,
) -> Solution:
    """Robust empirical risk minimisation, ``min (1/n) sum weights_i l(m_i) + ridge/2 ||w||_2^2``.

    ``m_i = s_i (w.x_i + b) - eps_{y_i} ||w||_*`` is the exact worst-case margin, so the problem is convex for every
    convex nonincreasing loss: a linear (linf, l1) or second-order cone (l2) program for the hinge loss
    ``max(0, 1 - m)``, an exponential cone program for the logistic loss ``log(1 + exp(-m))``. On same-class mixes
    (:func:`linfair.mixing.mix_within_class`) it is adversarial training with mixup.

    Args:
        X: samples [n, d]; y: labels 0/1 [n], both classes present.
        threat: norm, radius (one, or one a class) and lift.
        loss: "logistic" or "hinge".
        ridge: weight of the l2 penalty, >= 0.
        solver: the cvxpy solver by name.
        weights: positive sample weights [n]; None for ones.

    Returns:
        Objective and certified gap; OPTIMAL, CONSTANT_OPTIMAL (w = 0), INACCURATE, or, for the logistic loss without a
        ridge, ROBUSTLY_SEPARABLE: the infimum 0 is not attained, and the maximum-margin classifier (the limit of the
        ridge path, smallest margin 1) is returned, with its margin between ``info["margin_low"]`` and
        ``info["margin_high"]``. The hinge loss has a minimiser there, of value 0.
    """
    erm = Erm.build(X, y, threat, loss, ridge, weights)
    plain, units = erm.standardised()
    method = f"cvxpy, {solver}"
    point = _solve_erm(plain, solver, hard=False)
    attained = loss == "hinge" or ridge > 0.0
    if not attained and (point is None or plain.separated(point[0], point[1])):
        limit = _solve_erm(plain, solver, hard=True)
        if limit is not None and plain.separated(limit[0], limit[1]):
            return _max_margin(plain, units, limit, f"maximum margin, {method}")
    if point is None:
        return Solution(None, None, np.inf, np.inf, Status.INACCURATE, method, {"lower_bound": 0.0})
    w, b, alpha, zeta = point
    value, bound = plain.objective(w, b), _bound(plain, alpha, zeta, w)
    flat = plain.best_constant()
    status = Status.OPTIMAL
    if plain.objective(np.zeros_like(w), flat) <= value + RESOLVED * (1.0 + value):
        w, b, status = np.zeros_like(w), flat, Status.CONSTANT_OPTIMAL
        if loss == "logistic":
            alpha = plain.alpha(w, b)
        value, bound = plain.objective(w, b), max(bound, _bound(plain, alpha, zeta, w))
    gap = max(value - bound, 0.0)
    if gap > RESOLVED * (1.0 + value):
        status = Status.INACCURATE
    return Solution(units.classifier(w, b), None, value, gap, status, method, {"lower_bound": bound})


def _bound(erm: Erm, alpha: np.ndarray, zeta: np.ndarray | None, w: np.ndarray) -> float:
    """The best of three dual points: zeta from the solver's multipliers, from w, and the one nearest to feasibility."""
    own = erm.threat.ball.dual_maximiser(w if erm.threat.lift is None else erm.threat.lift @ w)
    return max(dual_bound(erm, alpha, z, w) for z in (zeta, own, None))


def _max_margin(erm: Erm, units: Units, point: Point, method: str) -> Solution:
    w, b, alpha, zeta = point
    low, high = margin_bracket(erm, w, b, alpha, zeta)
    scale = 1.0 / float(erm.margins(w, b).min())
    info = {"lower_bound": 0.0, "margin_low": units.scale * low, "margin_high": units.scale * high}
    return Solution(units.classifier(scale * w, scale * b), None, 0.0, 0.0, Status.ROBUSTLY_SEPARABLE, method, info)


Point = tuple[np.ndarray, float, np.ndarray, np.ndarray | None]
"""w, b, dual weights alpha [n] and zeta."""


def _solve_erm(erm: Erm, solver: str, *, hard: bool) -> Point | None:
    """One program: the loss, or ``min ||w||^2 / 2`` with all margins at least 1 (``hard``)."""
    import cvxpy as cp

    n, d = erm.X.shape
    w, b = cp.Variable(d), cp.Variable()
    size, link, constraints = bound_dual_norm(erm.threat, w, bool(erm.radii.any()))
    margins = cp.multiply(erm.signs, erm.X @ w + b) - erm.radii * size
    if hard:
        constraints.append(margins >= 1.0)
        objective = cp.sum_squares(w) / 2.0
    elif erm.loss == "logistic":
        objective = erm.shares @ cp.logistic(-margins)
    else:
        slack = cp.Variable(n, nonneg=True)
        constraints.append(slack >= 1.0 - margins)
        objective = erm.shares @ slack
    if not hard and erm.ridge > 0.0:
        objective = objective + erm.ridge / 2.0 * cp.sum_squares(w)
    if not solved(cp.Problem(cp.Minimize(objective), constraints), solver) or w.value is None or b.value is None:
        return None
    weights, offset = np.asarray(w.value), float(b.value)
    if not hard and erm.loss == "logistic":
        alpha = erm.alpha(weights, offset)
    else:
        alpha = np.asarray(constraints[-1].dual_value) / (1.0 if hard else erm.shares)
    price = float((alpha if hard else alpha * erm.shares) @ erm.radii)
    return weights, offset, alpha, zeta_of(erm.threat, link, price)


def minimax_fair(model: ClassGaussians, threat: Threat, *, solver: str = "CLARABEL") -> Solution:
    """The linear classifier whose worst robust class risk is smallest, for two Gaussian classes.

        1/kappa* = min_w sd_+(w) + sd_-(w)   s.t.  w.Delta - ebar ||w||_* >= 1,   ebar = eps_+ + eps_-,
        b = kappa* sd_+(w) + eps_+ ||w||_* - w.mu_+,

    a second-order cone program; both robust risks are then ``Phi(-kappa*)``, the objective. It is the minimax
    probability machine (Lanckriet et al. 2002) with a robust margin. Priors do not matter.

    Args:
        model: two classes, any covariances, singular ones included.
        threat: norm, radii and lift; only ebar decides the direction.
        solver: the cvxpy solver by name.

    Returns:
        ``info["kappa_low"] <= kappa* <= info["kappa_high"]``, certified by a primal and a repaired dual point, and
        ``gap = kappa_high - kappa_low`` (which bounds the gap of the risk, as Phi has slope below 1), more where the
        rounding of b takes from the classifier's margins; the objective counts that, too. The classifier has
        ``||w||_2 = 1``. OPTIMAL; INACCURATE; NOT_ROBUSTLY_SEPARABLE when kappa* <= 0: then no classifier is returned, a
        fair coin has the best worst risk 1/2, and ``risks`` are its risks; ROBUSTLY_SEPARABLE when singular covariances
        allow risk 0 (kappa* = inf).
    """
    import cvxpy as cp

    threat, delta, ebar = pair_of(model, threat)
    method = f"SOCP, cvxpy, {solver}"
    covs = model.full_covs()
    if bridged(threat, delta, ebar, covs.sum(0))[0]:
        return unseparable(method)
    free = zero_risk_direction(covs, delta, threat)
    if free is not None:
        return zero_risk(model, threat, free, method)
    far, wide = float(np.linalg.norm(delta)), float(np.sqrt(np.trace(covs.sum(0)) / (2 * model.dim))) or 1.0
    roots = [root_of(cov) / wide for cov in covs]
    w = cp.Variable(model.dim)
    spreads = [cp.Variable(model.dim) for _ in roots]
    links = [v == root @ w for v, root in zip(spreads, roots, strict=True)]
    size, link, constraints = bound_dual_norm(threat, w, ebar > 0.0)
    constraints += [*links, w @ (delta / far) - ebar / far * size >= 1.0]
    problem = cp.Problem(cp.Minimize(cp.norm(spreads[0]) + cp.norm(spreads[1])), constraints)
    if not solved(problem, solver) or w.value is None:
        info = {"kappa_low": 0.0, "kappa_high": np.inf}
        return Solution(None, None, 0.5, np.inf, Status.INACCURATE, method, info)
    best = np.asarray(w.value)
    kappa, sds = kappa_low(model, threat, best)[0], model.sds(best)
    points = []
    for sd, root, row in zip(sds, roots, links, strict=True):
        if sd > 1e-6 * sds.sum():
            points.append(kappa * best / sd)
        else:  # at the kink of this sd the multiplier knows the point, w does not
            unit = -np.asarray(row.dual_value)
            points.append(kappa * np.linalg.lstsq(root * wide, unit, rcond=1e-9)[0])
    zeta = zeta_of(threat, link, ebar / far * float(constraints[-1].dual_value))
    low, high = kappa_bracket(model, threat, best, (points[0], points[1], zeta))
    return bracketed(model, threat, best, low, high, method)


def common_covariance_kappa(model: ClassGaussians, threat: Threat, *, solver: str = "CLARABEL") -> float:
    """kappa* of two classes with one covariance, a projection: ``min_{||z||_p <= ebar} ||Delta - z||_{Sigma^-1} / 2``.

    Solved as ``min ||s|| / 2`` over ``Delta = Sigma^{1/2} s + z``, so Sigma may be singular: inf when no z bridges what
    it leaves. It is at least 0, and 0 when the attack bridges the means.

    Raises:
        AssumptionError: the two covariances differ.
        ArithmeticError: the solver gave up.
    """
    import cvxpy as cp

    threat, delta, ebar = pair_of(model, threat)
    covs = model.full_covs()
    units = scale_of(covs[0] + covs[1])
    if (np.abs(covs[0] - covs[1]) / np.outer(units, units)).max() > 1e-12:
        raise AssumptionError(
            "covariances must be equal for the projection formula, got two different ones; use minimax_fair"
        )
    far, wide = float(np.linalg.norm(delta)) or 1.0, float(np.sqrt(np.trace(covs[0]) / model.dim)) or 1.0
    s = cp.Variable(model.dim)
    z = cp.Variable(model.dim if threat.lift is None else len(threat.lift))
    reached = root_of(covs[0]) / wide @ s + (z if threat.lift is None else threat.lift.T @ z)
    problem = cp.Problem(cp.Minimize(cp.norm(s)), [reached == delta / far, cp.norm(z, threat.ball.p) <= ebar / far])  # pyright: ignore[reportArgumentType]
    if solved(problem, solver):
        return float(problem.value) * far / wide / 2.0  # pyright: ignore[reportArgumentType]
    if problem.status in {"infeasible", "infeasible_inaccurate"}:
        return np.inf
    raise ArithmeticError(f"{solver} must solve the projection, got {problem.status}; scale the features alike")


CLOSED, STALLS, EASE = 1e-7, 3, 1e-6
"""A gap that needs no better certificate, how many more programs look for one, and how far each backs off from the
optimum, at which a program is degenerate and a solver may give up."""


def max_min_margin(model: ClassGaussians, threat: Threat, *, solver: str = "CLARABEL", max_iter: int = 30) -> Solution:
    """C classes: the classifier whose smallest pairwise standardized robust margin is largest.

        kappa* = max_{W,b} min_{y != j} z_yj,
        z_yj = ((w_y - w_j).mu_y + b_y - b_j - eps_y ||w_y - w_j||_*) / sqrt((w_y - w_j)' Sigma_y (w_y - w_j)).

    Quasi-concave: ``z >= k for all pairs`` is a second-order cone in (W, b). Instead of bisecting k, each program
    maximises the smallest ``(margin - k sd) / (last sd)`` and the next k is the smallest z just reached: Dinkelbach's
    method for generalised fractions, which climbs superlinearly. Every robust class risk is then at most
    ``(C-1) Phi(-kappa*)``, and the worst is at least ``Phi(-kappa*)``. For C = 2 this is :func:`minimax_fair`; for more
    classes it is not the minimax-fair classifier.

    Returns:
        Objective ``Phi(-kappa_low)``; ``info["kappa_low"] <= kappa* <= info["kappa_high"]``, certified by a flow of
        touching points between the classes; ``gap = kappa_high - kappa_low``. OPTIMAL; INACCURATE;
        NOT_ROBUSTLY_SEPARABLE (kappa* <= 0; no classifier); ROBUSTLY_SEPARABLE when directions in which no class varies
        separate them all (kappa* = inf, risk 0).
    """
    threat = feature_threat(threat, model.dim)
    threat.radii(model.n_classes)
    method = f"SOCPs, cvxpy, {solver}"
    if meeting_pair(model, threat):
        info = {"kappa_low": 0.0, "kappa_high": 0.0, "iterations": 0}
        return Solution(None, None, 0.5, 0.0, Status.NOT_ROBUSTLY_SEPARABLE, method, info)
    free = without_spread(model, threat, solver)
    if free is not None:
        info = {"kappa_low": np.inf, "kappa_high": np.inf, "iterations": 1}
        risks = free.class_risks(model, threat)
        return Solution(free, risks, 0.0, 0.0, Status.ROBUSTLY_SEPARABLE, method, info)
    program = PairwiseProgram(model, threat, solver)
    low, high, best = 0.0, np.inf, None
    steps = stalled = 0
    while steps < max_iter:
        level = low * (1.0 - EASE * stalled)
        found = program.solve(level)
        if found is not None:
            steps += 1
            classifier, flow, zetas = found
            below, above = pairwise_bracket(model, threat, classifier, level, flow, zetas)
            high = min(high, above)
            program.weigh(classifier)
            if below > low * (1.0 + 1e-10) + 1e-10:
                low, best, stalled = below, classifier, 0
                continue
        if best is None or stalled == STALLS or high - low <= CLOSED * (1.0 + low):
            break
        stalled += 1
    info = {"kappa_low": low, "kappa_high": high, "iterations": steps}
    if best is None:
        status = Status.NOT_ROBUSTLY_SEPARABLE if high <= RESOLVED else Status.INACCURATE
        return Solution(None, None, 0.5, max(high, 0.0), status, method, info)
    gap = max(high - low, 0.0)
    status = Status.OPTIMAL if gap <= RESOLVED * (1.0 + low) else Status.INACCURATE
    return Solution(best, best.class_risks(model, threat), float(ndtr(-low)), gap, status, method, info)
