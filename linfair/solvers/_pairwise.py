"""The largest smallest pairwise margin of C Gaussian classes: its program and its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers._cvxpy import bound_dual_norm, root_of, solved, zeta_of
from linfair.solvers._pair import CERTAIN, bridged, inside
from linfair.solvers._rank import null_space
from linfair.solvers._smooth import into_ball, shift_of, solve_psd

Pair = tuple[int, int]


def pairwise_bracket(
    model: ClassGaussians,
    threat: Threat,
    classifier: LinearClassifier,
    k: float,
    flow: Mapping[Pair, float],
    zetas: Mapping[Pair, np.ndarray | None],
) -> tuple[float, float]:
    """Bounds of ``kappa* = max_{W,b} min_{y != j} z_yj``.

    Below: the smallest z of the classifier. Above: weights ``f_yj >= 0`` with as much flow into each class as out of
    it, and points ``x_yj = mu_y - eps_y P' zeta_yj - Sigma_y p_yj`` with ``sum_j f_yj x_yj = sum_j f_jy x_jy`` for
    every y; the flow-weighted sum of all margins is then at most 0 when each pair pays ``max_yj ||Sigma_y^{1/2}
    p_yj||`` times its sd. Flow and points are repaired to balance before they are used.

    Args:
        k: the level of the program that gave ``flow`` (a weight a pair) and ``zetas`` (None without an attack).
    """
    low = float(min(pair_margins(model, threat, classifier).values()))
    largest = max(flow.values())
    if not largest > 0.0:
        return low, np.inf
    # a pair that fades out of the optimum has a flow near 0 and a point far off: leaving it out is as valid
    highs = (
        _high(model, threat, classifier, k, {p: f for p, f in flow.items() if f > cut * largest}, zetas) for cut in CUTS
    )
    return low, max(low, min(highs))


CUTS = (1e-8, 1e-5, 1e-3)


def pair_margins(model: ClassGaussians, threat: Threat, classifier: LinearClassifier) -> dict[Pair, float]:
    """``z_yj``, the standardized robust margin of class y against class j."""
    out = {}
    for (y, j), gain in pair_gains(model, threat, classifier).items():
        sd = float(model.sds(classifier.w[y] - classifier.w[j])[y])
        out[y, j] = gain / sd if sd > 0.0 else np.inf if gain > 0.0 else -np.inf
    return out


def pair_gains(model: ClassGaussians, threat: Threat, classifier: LinearClassifier) -> dict[Pair, float]:
    """``(w_y - w_j).mu_y + b_y - b_j - eps_y ||w_y - w_j||_*``."""
    radii, out = threat.radii(model.n_classes), {}
    for y in range(model.n_classes):
        for j in range(model.n_classes):
            if y != j:
                step, offset = classifier.w[y] - classifier.w[j], classifier.b[y] - classifier.b[j]
                out[y, j] = float(step @ model.means[y] + offset - radii[y] * threat.dual_norm(step))
    return out


def _high(
    model: ClassGaussians,
    threat: Threat,
    classifier: LinearClassifier,
    k: float,
    flow: Mapping[Pair, float],
    zetas: Mapping[Pair, np.ndarray | None],
) -> float:
    n_classes, covs, radii = model.n_classes, model.full_covs(), threat.radii(model.n_classes)
    weights = np.zeros((n_classes, n_classes))
    points: dict[Pair, np.ndarray] = {}
    ends: dict[Pair, np.ndarray] = {}
    for (y, j), f in flow.items():
        step, zeta = classifier.w[y] - classifier.w[j], zetas[y, j]
        sd = float(model.sds(step)[y])
        weights[y, j] = f
        ends[y, j] = model.means[y] - (0.0 if zeta is None else radii[y] * shift_of(threat, into_ball(threat, zeta)))
        points[y, j] = step * (k / sd) if sd > 0.0 else np.zeros_like(step)
    if not _balance(weights):
        return np.inf
    for tangential in (True, False):
        _meet(weights, covs, ends, points, tangential=tangential)
    scale = max(float(np.abs(model.means - model.means.mean(0)).max()), float(radii.max())) * weights.max()
    if np.abs(_excess(weights, covs, ends, points)).max() > 1e-12 * scale:
        return np.inf
    return max(float(np.sqrt(max(p @ covs[y] @ p, 0.0))) for (y, _), p in points.items())


def _balance(weights: np.ndarray) -> bool:
    """Scale the flow, ``f_yj (1 + phi_y - phi_j)``, until every class gets what it gives; in place."""
    for _ in range(3):
        excess = weights.sum(1) - weights.sum(0)
        both = weights + weights.T
        phi = solve_psd(np.diag(both.sum(1)) - both, excess)
        weights *= np.maximum(1.0 - (phi[:, None] - phi[None]), 0.1)
    return bool(np.abs(weights.sum(1) - weights.sum(0)).max() <= 1e-12 * weights.max())


def _excess(
    weights: np.ndarray, covs: np.ndarray, ends: dict[Pair, np.ndarray], points: dict[Pair, np.ndarray]
) -> np.ndarray:
    """``sum_j f_yj x_yj - f_jy x_jy`` [C, d]."""
    out = np.zeros((len(covs), covs.shape[1]))
    for (y, j), p in points.items():
        x = weights[y, j] * (ends[y, j] - covs[y] @ p)
        out[y] += x
        out[j] -= x
    return out


def _meet(
    weights: np.ndarray,
    covs: np.ndarray,
    ends: dict[Pair, np.ndarray],
    points: dict[Pair, np.ndarray],
    *,
    tangential: bool,
) -> None:
    """Move the points by ``q_y - q_j`` to close the excess, when tangential without their length; in place."""
    n_classes, d = len(covs), covs.shape[1]
    system = np.zeros((n_classes, d, n_classes, d))
    rows: dict[Pair, np.ndarray] = {}
    for (y, j), p in points.items():
        row = covs[y] @ p
        length = float(p @ row)
        rows[y, j] = row / length if tangential and length > 0.0 else np.zeros_like(p)
        block = weights[y, j] * (covs[y] - np.outer(row, rows[y, j]))
        system[y, :, y] += block
        system[j, :, j] += block
        system[y, :, j] -= block
        system[j, :, y] -= block
    q = solve_psd(system.reshape(n_classes * d, -1), _excess(weights, covs, ends, points).ravel()).reshape(n_classes, d)
    for (y, j), p in points.items():
        step = q[y] - q[j]
        points[y, j] = p + step - p * float(rows[y, j] @ step)


def meeting_pair(model: ClassGaussians, threat: Threat) -> bool:
    """Whether the attack can move two of the means onto each other: then kappa* <= 0."""
    radii, means, covs = threat.radii(model.n_classes), model.means, model.full_covs()
    return any(
        bridged(threat, means[y] - means[j], float(radii[y] + radii[j]), covs[y] + covs[j])[0]
        for y in range(model.n_classes)
        for j in range(y)
    )


def without_spread(model: ClassGaussians, threat: Threat, solver: str) -> LinearClassifier | None:
    """A classifier of zero risk, on directions in which no class varies, if there is one: kappa* = inf."""
    basis = null_space(model.full_covs().sum(0))
    if basis.shape[1] == 0:
        return None
    points = ClassGaussians(model.means @ basis, 0.0)
    part = inside(threat, basis)
    found = PairwiseProgram(points, part, solver).solve(0.0)
    if found is None:
        return None
    classifier = found[0]
    reach = np.abs(points.means @ classifier.w.T).max() + np.abs(classifier.b).max()
    if min(pair_gains(points, part, classifier).values()) <= 1e-12 * reach:  # no more than rounding
        return None
    lifted = LinearClassifier(classifier.w @ basis.T, classifier.b)
    return lifted if min(pair_margins(model, threat, lifted).values()) > CERTAIN else None


class PairwiseProgram:
    """``max tau``: for every pair ``margin - k sd >= weight tau``, ``||W||_F <= 1``; k and the weights are given."""

    def __init__(self, model: ClassGaussians, threat: Threat, solver: str) -> None:
        import cvxpy as cp

        n_classes, d = model.means.shape
        self.model, self.threat, self.solver = model, threat, solver
        self.centre = model.means.mean(0)
        means = model.means - self.centre
        self.scale = float(np.abs(means).max()) or 1.0
        radii = self.radii = threat.radii(n_classes) / self.scale
        roots = [root_of(cov) / self.scale for cov in model.full_covs()]
        self.W, self.b, self.k = cp.Variable((n_classes, d)), cp.Variable(n_classes), cp.Parameter(nonneg=True)
        ones = np.ones((n_classes, n_classes))
        tau, self.weights = cp.Variable(), cp.Parameter(ones.shape, nonneg=True, value=ones)
        self.margins: dict[tuple[int, int], Any] = {}
        self.links: dict[tuple[int, int], Any] = {}
        constraints = [cp.norm(self.W, "fro") <= 1.0, cp.sum(self.b) == 0.0, cp.sum(self.W, axis=0) == 0.0]
        for y in range(n_classes):
            for j in range(y):
                step = self.W[y] - self.W[j]
                size, self.links[y, j], more = bound_dual_norm(threat, step, bool(radii[y] + radii[j] > 0.0))
                constraints += more
                for one, other, sign in ((y, j, 1.0), (j, y, -1.0)):
                    spread = cp.Variable()
                    gain = sign * (step @ (means[one] / self.scale) + self.b[y] - self.b[j]) - radii[one] * size
                    self.margins[one, other] = gain - self.k * spread >= self.weights[one, other] * tau
                    constraints += [cp.norm(roots[one] @ step) <= spread, self.margins[one, other]]
        self.problem = cp.Problem(cp.Minimize(-tau), constraints)

    def weigh(self, classifier: LinearClassifier) -> None:
        """Let each pair's shortfall count in units of its sd at the last classifier."""
        sds = np.array([self.model.sds(classifier.w[y] - classifier.w[j]) for y, j in self.margins])
        weights = np.ones(self.weights.shape)
        for (y, j), row in zip(self.margins, sds, strict=True):
            weights[y, j] = row[y]
        self.weights.value = np.maximum(weights / max(float(sds.max()), np.finfo(float).tiny), 1e-6)

    def solve(self, k: float) -> tuple[LinearClassifier, dict, dict] | None:
        """Classifier, multipliers of the pairs and their zeta at level k."""
        self.k.value = k
        if not solved(self.problem, self.solver) or self.W.value is None or self.b.value is None:
            return None
        W = np.asarray(self.W.value)
        flow = {pair: float(constraint.dual_value) for pair, constraint in self.margins.items()}
        zetas: dict[tuple[int, int], np.ndarray | None] = {}
        for (y, j), link in self.links.items():
            zeta = zeta_of(self.threat, link, flow[y, j] * self.radii[y] + flow[j, y] * self.radii[j])
            zetas[y, j], zetas[j, y] = zeta, None if zeta is None else -zeta
        return LinearClassifier(W, np.asarray(self.b.value) * self.scale - W @ self.centre), flow, zetas
