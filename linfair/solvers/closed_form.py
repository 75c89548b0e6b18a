"""Optimal linear classifiers for two isotropic Gaussian classes: direction, threshold, existence, mixing, fairness.

Classes "-" (sd sigma) and "+" (sd K sigma) with priors ratio r = pi_+ / pi_-, attack radii eps_y, ebar = eps_- +
eps_+. With T the largest total robust margin and tau = T / sigma, a classifier splits tau into robust margins u, v of
the two classes, each in its own sd: ``u + K v = tau``, ``R_- = Phi(-u)``, ``R_+ = Phi(-v)``. Mixing scales the
training covariance of class y by c_y; risks are always those of the unmixed classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from linfair._check import AssumptionError, as_array, as_positive
from linfair._numeric import find_root, log_sum_exp
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import Law, laws_of
from linfair.norms import NATURAL, Threat, as_threat
from linfair.solvers._blocks import blockwise
from linfair.solvers.solution import Solution, Status


def direction(delta: np.ndarray, threat: Threat) -> tuple[np.ndarray, float]:
    """Unit weights of the largest total robust margin, ``T = max_{||w||_2 = 1} w.delta - ebar ||w||_*``, and T.

    For ``||delta||_p > ebar``: ``w ~ delta - Proj(delta)``, the residual of the Euclidean projection onto the l_p
    ball of radius ebar = eps_- + eps_+, and T is its length: it depends on neither priors nor variances nor the split
    of ebar. Otherwise T <= 0, the attack closes the gap, and the maximiser on the sphere is: linf, the largest
    coordinate alone; l2, delta; l1, the signs of delta.
    """
    if as_threat(threat).lift is not None and threat.norm != "l2" and threat.radii(2).any():
        raise AssumptionError(
            f"the closed-form direction needs an attack on the features themselves, got a lifted {threat.norm} threat"
        )
    delta = as_array("delta", delta, ndim=1)
    ebar, ball = float(threat.radii(2).sum()), threat.ball
    w = delta - ball.project(delta, ebar)
    length = float(np.linalg.norm(w))
    if ball.of(delta) > ebar and length > 0.0:  # within a rounding of ebar the projection is delta itself
        return w / length, length
    if ball.name == "linf":
        w = np.zeros_like(delta)
        w[np.argmax(np.abs(delta))] = 1.0 if delta[np.argmax(np.abs(delta))] >= 0 else -1.0
    elif ball.name == "l1":
        w = np.where(delta >= 0, 1.0, -1.0) / np.sqrt(len(delta))
    else:
        w = delta / np.linalg.norm(delta) if delta.any() else np.eye(len(delta))[0]
    return w, float(w @ delta - ebar * ball.dual_of(w))


@dataclass(frozen=True, eq=False)
class Reduced:
    """A two-class isotropic problem reduced to its scalars: all of its optimal classifiers share ``w``.

    ``tau = T / sigma``; ``e_minus, e_plus = eps_y ||w||_* / sigma`` turn robust into natural margins:
    natural ones are ``u + e_minus`` and ``v + e_plus / K``.
    """

    model: ClassGaussians
    threat: Threat
    w: np.ndarray
    sigma: float
    K: float
    r: float
    tau: float
    e_minus: float
    e_plus: float

    def classifier(self, u: float) -> LinearClassifier:
        """The classifier with unit weights whose robust margin of class "-" is u."""
        eps = float(self.threat.radii(2)[0])
        b = -self.sigma * u - eps * float(self.threat.dual_norm(self.w)) - float(self.w @ self.model.means[0])
        return LinearClassifier(self.w, b)


def reduce(model: ClassGaussians, threat: Threat = NATURAL) -> Reduced:
    """The scalars of a two-class isotropic problem.

    Raises:
        AssumptionError: not two classes, or covariances not given as ``sigma_y^2 I`` with sigma_y > 0.
    """
    if model.n_classes != 2:
        raise AssumptionError(f"closed forms need two classes, got {model.n_classes}; use solvers.convex for more")
    if not model.isotropic or model.covs.min() <= 0:
        raise AssumptionError(
            "closed forms need isotropic covariances sigma_y^2 I, sigma_y > 0; use solvers.convex or solvers.local"
        )
    w, total = direction(model.means[1] - model.means[0], threat)
    sigma, sd_plus = (float(sd) for sd in np.sqrt(model.covs))
    r = float(model.priors[1] / model.priors[0])
    e_minus, e_plus = (float(e) for e in threat.radii(2) * threat.dual_norm(w) / sigma)
    return Reduced(model, threat, w, sigma, sd_plus / sigma, r, total / sigma, e_minus, e_plus)


@dataclass(frozen=True, eq=False)
class Optimum:
    """Optimal thresholds on a grid of problems: every field has the shape of the broadcast arguments.

    ``u, v``: robust margins of the interior stationary point (NaN where there is none); ``risk_minus, risk_plus``: its
    robust class risks; ``interior_optimal``: whether it beats both constant classifiers on the training problem;
    ``status``: :class:`Status` codes, ``NOT_ROBUSTLY_SEPARABLE`` for tau <= 0, else ``CONSTANT_OPTIMAL`` or
    ``OPTIMAL``.
    """

    u: np.ndarray
    v: np.ndarray
    risk_minus: np.ndarray
    risk_plus: np.ndarray
    interior_optimal: np.ndarray
    status: np.ndarray

    @property
    def disparity(self) -> np.ndarray:
        """``R_+ - R_-`` of the interior point."""
        return self.risk_plus - self.risk_minus


def _unmixed(c_minus, c_plus) -> bool:
    return np.ndim(c_minus) == 0 and np.ndim(c_plus) == 0 and c_minus == 1.0 and c_plus == 1.0


def _margins(tau, K, r, c_minus, c_plus):
    """The stationary point of ``pi_- Phi(-u / sqrt(c_-)) + pi_+ Phi(-v / sqrt(c_+))`` on ``u + K v = tau``.

    In units of the mixed sds the problem is the unmixed one with ``tau' = tau / sqrt(c_-)``,
    ``K' = K sqrt(c_+ / c_-)``: ``u^2 - v^2 = 2 Lam``, ``Lam = log(K / r)``, ``S = sqrt(tau^2 + 2 (K^2 - 1) Lam)``.
    For tau > 0 the roots are written without cancellation; for tau <= 0 as ``(K S - tau) / (K^2 - 1)``.
    """
    mixed = not _unmixed(c_minus, c_plus)
    scale = np.sqrt(c_minus)
    T, ratio = (tau / scale, K * np.sqrt(c_plus / c_minus)) if mixed else (tau, K)
    twice = 2.0 * np.log(ratio / r)
    K2, T2 = ratio * ratio, T * T
    S = np.sqrt(T2 + (K2 - 1.0) * twice)
    u = (T2 + K2 * twice) / (T + ratio * S)
    if np.min(T) <= 0.0:
        u = np.where(T > 0.0, u, (ratio * S - T) / (K2 - 1.0))
        u = np.where((T <= 0.0) & (K2 == 1.0), np.nan, u)
    if mixed:
        u = u * scale
        return u, (tau - u) / K
    v = (T2 - twice) / (ratio * T + S)
    if np.min(T) <= 0.0:
        v = np.where(T > 0.0, v, (tau - u) / K)
    return u, v


STATUS_OF_INTERIOR = np.int8(Status.OPTIMAL), np.int8(Status.CONSTANT_OPTIMAL)  # one byte a point, not eight


def _optimum(tau, K, r, c_minus, c_plus):
    u, v = _margins(tau, K, r, c_minus, c_plus)
    risk_minus, risk_plus = ndtr(-u), ndtr(-v)
    if _unmixed(c_minus, c_plus):
        ratio, train = K, risk_minus + r * risk_plus
    else:
        ratio = K * np.sqrt(c_plus / c_minus)
        train = ndtr(-u / np.sqrt(c_minus)) + r * ndtr(-v / np.sqrt(c_plus))
    interior = train <= constant_risk(ratio, r) * (1.0 + r)  # False where train is NaN: no stationary point
    status = np.where(interior, *STATUS_OF_INTERIOR)
    if np.min(tau) <= 0.0:
        status = np.where(tau > 0.0, status, Status.NOT_ROBUSTLY_SEPARABLE)
    return u, v, risk_minus, risk_plus, interior, status


def constant_risk(K: ArrayLike, r: ArrayLike) -> np.ndarray:
    """Average risk of the constant classifier that can beat an interior point.

    The wider class surrounds the narrow one, so for K > 1 only calling everything "+" competes (risk pi_-), for K < 1
    only calling everything "-" (risk pi_+), for K = 1 the better of the two.
    """
    K, r = np.asarray(K), np.asarray(r)
    numerator = 1.0 if K.min() > 1.0 else np.where(K > 1.0, 1.0, np.where(K < 1.0, r, np.minimum(1.0, r)))
    return numerator / (1.0 + r)


def _solve(function, dtypes, *values):
    names = ("tau", "K", "r", "c_minus", "c_plus")
    return blockwise(function, dict(zip(names, values, strict=True)), dtypes, positive=names[1:])


def threshold(
    tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0, *, c_minus: ArrayLike = 1.0, c_plus: ArrayLike = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Robust margins (u, v) of the stationary threshold, elementwise; NaN where there is none.

    ``u = (tau^2 + 2 K^2 Lam) / (tau + K S)``, ``v = (tau^2 - 2 Lam) / (K tau + S)``, ``Lam = log(K / r)``,
    ``S = sqrt(tau^2 + 2 (K^2 - 1) Lam)``; mixing both classes by c replaces Lam by c Lam.

    Args:
        tau: total robust margin in sds of class "-".
        K, r: sd ratio and prior ratio, "+" over "-".
        c_minus, c_plus: sum of squared mixing weights of each class. All arguments broadcast.
    """
    u, v = _solve(_margins, (float, float), tau, K, r, c_minus, c_plus)
    return u, v


def optimum(
    tau: ArrayLike, K: ArrayLike, r: ArrayLike = 1.0, *, c_minus: ArrayLike = 1.0, c_plus: ArrayLike = 1.0
) -> Optimum:
    """:func:`threshold` with class risks, the test against the constant classifiers, and a status, elementwise.

    For K > 1 the interior point is the global optimum of the training risk iff ``J(u) <= pi_-``; always so for r <= 1
    and tau > 0. The smaller pi_- is, the sooner calling everything "+" wins as tau falls.
    """
    return Optimum(*_solve(_optimum, (float, float, float, float, bool, np.int8), tau, K, r, c_minus, c_plus))


@dataclass(frozen=True, eq=False)
class RandomOptimum:
    """Optima under a random law on a grid: margins, the fixed c with the same threshold, whether the constants lose."""

    u: np.ndarray
    v: np.ndarray
    c_eff: np.ndarray
    interior_optimal: np.ndarray

    @property
    def disparity(self) -> np.ndarray:
        """``R_+ - R_-`` of the interior point."""
        return ndtr(-self.v) - ndtr(-self.u)


def random_optimum(tau: ArrayLike, K: ArrayLike, r: ArrayLike, law: Law) -> RandomOptimum:
    """Optimal thresholds when both classes are mixed by a random law, elementwise (a few milliseconds a point).

    The density of a mixed score is ``p(x) = E[c^{-1/2} phi(x / sqrt(c))]``. Stationary thresholds solve
    ``log p(v) - log p(u) = Lam`` on ``u + K v = tau``; each is that of a fixed ``c_eff = (u^2 - v^2) / (2 Lam)`` within
    the support of c. A law of very different c can have several minima: the one of least training risk is returned. At
    Lam = 0 it is the equaliser whatever the law, and c_eff, where the quotient cancels, its limit ``1 / E[1/c | a]``.
    Where nothing is stationary the margins are NaN and the constant classifier is optimal.
    """
    points = np.broadcast_arrays(as_array("tau", tau), as_positive("K", K), as_positive("r", r))
    cells = zip(*(a.ravel().tolist() for a in points), strict=True)
    found = np.array([_random_point(t, k, q, law) for t, k, q in cells], float)
    u, v, c_eff, interior = (column.reshape(points[0].shape)[()] for column in found.reshape(-1, 4).T)
    return RandomOptimum(u, v, c_eff, interior == 1.0)


def _random_point(tau: float, K: float, r: float, law: Law) -> tuple[float, float, float, bool]:
    c, log_p = law.log_nodes()
    Lam, weight = np.log(K / r), log_p - 0.5 * np.log(c)

    def log_density(x: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(weight - np.atleast_1d(x)[:, None] ** 2 / (2.0 * c), axis=-1)

    def slope(u: np.ndarray) -> np.ndarray:
        """Its sign is that of the derivative of the training risk in u."""
        return log_density((tau - u) / K) - log_density(u) - Lam

    def risk(u: float) -> float:
        v = (tau - u) / K
        return float(np.exp(log_p) @ (ndtr(-u / np.sqrt(c)) + r * ndtr(-v / np.sqrt(c)))) / (1.0 + r)

    support = np.array([c.min(), c.max()])
    low, high = np.sort(threshold(tau, K, r, c_minus=support, c_plus=support)[0])  # NaN sorts last
    if np.isnan(low):
        return np.nan, np.nan, np.nan, False
    if np.isnan(high):
        high = -tau / (K * K - 1.0)  # where the roots of the largest c that has any meet
    if abs(Lam) < 1e-15 or low == high:  # r = K to rounding
        u = float(low)
    else:
        pad = 1e-12 * max(1.0, abs(low), abs(high))
        points = int(np.clip(10.0 * abs(high - low) / np.sqrt(c.min()), 2, 4000))  # ten a width of the narrowest part
        grid = np.linspace(min(low, high) - pad, max(low, high) + pad, points)
        rising = np.flatnonzero(np.diff(np.sign(slope(grid))) > 0)
        minima = [find_root(lambda x: float(slope(np.array(x))[0]), grid[k], grid[k + 1]) for k in rising]
        u = min(minima, key=risk, default=np.nan)
    v = (tau - u) / K
    if low == high or abs(u * u - v * v) <= 1e-6 * max(u * u, v * v, support[0]):  # rounding is all that is left of it
        posterior = weight - ((abs(u) + abs(v)) / 2.0) ** 2 / (2.0 * c)
        c_eff = np.exp(log_sum_exp(posterior) - log_sum_exp(posterior - np.log(c)))
    else:
        c_eff = (u * u - v * v) / (2.0 * Lam)
    return u, v, float(np.clip(c_eff, *support)), bool(risk(u) <= constant_risk(K, r))


def optimal_classifier(
    model: ClassGaussians, threat: Threat = NATURAL, mix: Law | Sequence[Law] | None = None
) -> Solution:
    """The classifier of least average robust 0-1 training risk on two isotropic classes, in closed form.

    ``mix`` is one law or one a class; random laws must be the same for both classes (use ``solvers.local`` otherwise).
    ``risks`` are robust risks of the unmixed classes, ``objective`` the training risk. When a constant classifier wins,
    the status says so and the classifier is that constant (w = 0).

    Raises:
        AssumptionError: see :func:`reduce`; or different random laws for the two classes.
    """
    problem = reduce(model, threat)
    laws, ratio = laws_of(mix, 2), problem.K
    nodes = [law.nodes() for law in laws]
    if all(len(c) == 1 for c, _ in nodes):
        c_minus, c_plus = (float(c[0]) for c, _ in nodes)
        ratio = problem.K * np.sqrt(c_plus / c_minus)  # training sees the mixed sds
        best = optimum(problem.tau, problem.K, problem.r, c_minus=c_minus, c_plus=c_plus)
        u, interior, info = float(best.u), bool(best.interior_optimal), {"c_minus": c_minus, "c_plus": c_plus}
    elif laws[0] == laws[1]:
        best = random_optimum(problem.tau, problem.K, problem.r, laws[0])
        u, interior, info = float(best.u), bool(best.interior_optimal), {"c_eff": float(best.c_eff)}
    else:
        raise AssumptionError("a random law must be the same for both classes here; use solvers.local.average_risk")
    if interior:
        classifier = problem.classifier(u)
    else:
        constant = 1.0 if ratio > 1.0 or (ratio == 1.0 and problem.r >= 1.0) else -1.0
        classifier = LinearClassifier(np.zeros(model.dim), constant)
    training = classifier.class_risks(model, threat, mix)
    status = (
        Status.NOT_ROBUSTLY_SEPARABLE if problem.tau <= 0 else Status.OPTIMAL if interior else Status.CONSTANT_OPTIMAL
    )
    info |= {"u": u, "v": (problem.tau - u) / problem.K, "tau": problem.tau}
    return Solution(
        classifier,
        classifier.class_risks(model, threat),
        training.average(model.priors),
        0.0,
        status,
        "closed form",
        info,
    )


def minimax_risk(tau: ArrayLike, K: ArrayLike) -> np.ndarray:
    """The least worst-class robust risk, ``Phi(-tau / (K + 1))`` for tau > 0: both classes pay it."""
    return ndtr(-as_array("tau", tau) / (as_positive("K", K) + 1.0))
