"""The average robust 0-1 risk by local minimisation from many starts: any covariances, norms and mixing laws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_ndtr

from linfair._check import as_count
from linfair._numeric import log_sum_exp
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import Law, laws_of
from linfair.norms import Threat
from linfair.solvers._pair import bridged, inside, pair_of, rounding_of, zero_risk, zero_risk_direction
from linfair.solvers._rank import null_space
from linfair.solvers._smooth import smooth_dual_norm, solve_psd
from linfair.solvers.fast import minimax_fair
from linfair.solvers.solution import Solution, Status

LOST = np.log(0.999)
"""A classifier with a class risk above this (in logs) is on its way to a constant, not near a minimum of its own."""

SAME = 1e-4
"""Two minima whose unit directions and thresholds differ by less than this are one."""

ALIKE = 100.0
"""Features whose sds differ by a larger factor are descended in units of their own."""


def average_risk(
    model: ClassGaussians,
    threat: Threat,
    mix: Law | Sequence[Law] | None = None,
    *,
    starts: int = 8,
    seed: int = 0,
) -> Solution:
    """A local minimum of the average robust 0-1 risk on the (mixed) training law, the best of many starts.

        J(w, b) = sum_y pi_y E_c Phi(-z_y / sqrt(c)),   z_y = (s_y (w.mu_y + b) - eps_y ||w||_*) / sqrt(w' Sigma_y w).

    J is not quasi-convex and may have several global minima (even two that favour opposite classes), so nothing is
    certified here; without mixing, :mod:`linfair.solvers.frontier` certifies. Starts: the directions ``(a Sigma_+ +
    (1-a) Sigma_-)^{-1} (Delta - Proj Delta)``, the minimax direction (also within the null space of each covariance)
    and random ones, each with every local minimum of J over its threshold. ``log J`` is descended by L-BFGS with its
    analytic gradient, in units of the features' sds where those differ a hundredfold; the kink of ``||w||_1`` is split
    into two nonnegative parts, those of other dual norms are smoothed to 1e-7 of the norm. A class without spread in
    some direction puts a kink there that no descent resolves, so the starts compete with the minima.

    Args:
        model: two classes with priors. threat: norm, radii, lift.
        mix: the mixing law of training, one for both classes or one each; None for no mixing.
        starts: random directions to try besides the designed ones. seed: of those.

    Returns:
        Objective J (the training risk) and ``risks``, the robust class risks on the unmixed model. LOCAL with gap None;
        CONSTANT_OPTIMAL when nothing found beats the better constant classifier; ROBUSTLY_SEPARABLE with risk 0 when
        neither class varies along a direction that separates them. ``info["minima"]`` lists the distinct minima found
        as (objective, classifier), best first, led by a start where one beats them all; ``info["constant"]`` is the
        risk of the better constant.
    """
    threat, delta, ebar = pair_of(model, threat)
    as_count("starts", starts, least=0)
    constant, method = float(model.priors.min()), "local, multi-start"
    covs = model.full_covs()
    stuck, rest = bridged(threat, delta, ebar, covs.sum(0))
    free = None if stuck else zero_risk_direction(covs, delta, threat)
    if free is not None:
        found = zero_risk(model, threat, free, method)
        value = found.risks.average(model.priors)
        info = {"minima": ((value, found.classifier),), "constant": constant, **found.info}
        return replace(found, objective=value, info=info)
    problem = _AverageRisk(model, threat, mix)
    minima: list[tuple[float, LinearClassifier]] = []
    at_start: list[tuple[float, LinearClassifier]] = []
    fair = minimax_fair(model, threat).maybe_classifier
    if fair is not None:
        at_start.append((problem.risk(fair), fair))
    goal, units = delta if stuck else rest, problem.units
    for w in _directions(model, threat, goal, units, starts, np.random.default_rng(seed)):
        for b in problem.thresholds(w):
            at_start.append(problem.start(w, b))
            classifier = problem.descend(w, b)
            if classifier is not None and not any(problem.same(classifier, other) for _, other in minima):
                minima.append((problem.risk(classifier), classifier))
    minima.sort(key=lambda m: m[0])
    start = min(at_start, key=lambda m: m[0], default=None)
    if start is not None and (not minima or start[0] < minima[0][0] * (1.0 - 1e-9)):
        minima.insert(0, start)
    info = {"minima": tuple(minima), "constant": constant}
    if not minima or minima[0][0] >= constant * (1.0 - 1e-12):
        b = 1.0 if model.priors[1] >= model.priors[0] else -1.0
        always = LinearClassifier(np.zeros(model.dim), np.array(b))
        risks = always.class_risks(model, threat)
        return Solution(always, risks, constant, None, Status.CONSTANT_OPTIMAL, method, info)
    value, best = minima[0]
    return Solution(best, best.class_risks(model, threat), value, None, Status.LOCAL, method, info)


def units_of(covs: np.ndarray) -> np.ndarray:
    """Powers of two near the features' sds [d], or ones where those are alike: J has no units, L-BFGS has."""
    sds = np.sqrt(np.maximum(np.diagonal(covs, axis1=1, axis2=2).sum(0), 0.0))
    sds = np.where(sds > 0.0, sds, sds.max())
    return 2.0 ** np.round(np.log2(sds)) if sds.max() > ALIKE * sds.min() else np.ones(len(sds))


def _octave(v: np.ndarray) -> float:
    """A power of two near ``||v||_2``."""
    return float(2.0 ** np.round(np.log2(max(float(np.linalg.norm(v)), np.finfo(float).tiny))))


def _directions(
    model: ClassGaussians, threat: Threat, goal: np.ndarray, units: np.ndarray, starts: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Directions of length 1; those not of a program are designed in ``units`` [d] of the features."""
    covs, goal = model.full_covs(), goal / units
    own = covs / np.outer(units, units)
    ridge = 1e-9 * np.trace(own.sum(0)) * np.eye(model.dim)
    some = [goal, *(solve_psd(a * own[1] + (1.0 - a) * own[0] + ridge, goal) for a in (0.02, 0.25, 0.5, 0.75, 0.98))]
    for basis in (np.eye(model.dim), *map(null_space, covs)):
        if basis.shape[1] > 0:
            part, terms = basis.T @ covs @ basis, np.abs(basis).T @ np.abs(covs) @ np.abs(basis)
            part[np.abs(part).max((1, 2)) <= 1e-12 * terms.max()] = 0.0  # rounding is no covariance
            within = ClassGaussians(model.means @ basis, part)
            minimax = minimax_fair(within, inside(threat, basis)).maybe_classifier
            if minimax is not None:
                some.append(units * (basis @ minimax.w))
    some += [rng.standard_normal(model.dim) for _ in range(starts)]
    for w in (v / units for v in some):
        length = float(np.linalg.norm(w))
        if length > 0.0:
            yield w / length


class _AverageRisk:
    """log J and its gradient at x = (v, b), means centred, w = v / units; J does not depend on the length of x."""

    def __init__(self, model: ClassGaussians, threat: Threat, mix: Law | Sequence[Law] | None) -> None:
        self.model, self.threat, self.mix = model, threat, mix
        covs, self.radii = model.full_covs(), threat.radii(2)
        self.units = units_of(covs)
        self.covs = covs / np.outer(self.units, self.units)
        self.centre = model.means.mean(0)
        self.means = (model.means - self.centre) / self.units * np.array([[-1.0], [1.0]])  # signed: s_y mu_y
        self.nodes = [law.log_nodes() for law in laws_of(mix, 2)]
        self.floor = max(1e-24 * float(np.abs(self.covs).max()), 1e-200)  # of a variance, for v of length 1
        self.split = threat.norm == "linf" and threat.lift is None and bool(self.radii.any())

    def risk(self, classifier: LinearClassifier) -> float:
        return classifier.class_risks(self.model, self.threat, self.mix).average(self.model.priors)

    def log_risk(self, margins: np.ndarray) -> tuple[float, np.ndarray]:
        """log J and its derivative in the two standardized margins."""
        tails, densities = [], []
        for z, prior, (c, log_p) in zip(margins, self.model.priors, self.nodes, strict=True):
            scaled, log_weight = z / np.sqrt(c), np.log(prior) + log_p
            tails.append(log_weight + log_ndtr(-scaled))
            densities.append(log_weight - scaled**2 / 2.0 - np.log(2.0 * np.pi * c) / 2.0)
        total = log_sum_exp(np.concatenate(tails))
        if total == -np.inf:  # both classes far beyond double precision, even in logs
            return -np.finfo(float).max, np.zeros(2)
        return total, np.array([-np.exp(density - total).sum() for density in densities])

    def same(self, one: LinearClassifier, other: LinearClassifier) -> bool:
        """Whether unit v and thresholds nearly agree."""
        x, y = (np.append(v := c.w * self.units, c.b) / _octave(v) for c in (one, other))
        return bool(np.abs(x - y).max() < SAME)

    def value(self, v: np.ndarray, b: float, norm: float, norm_slope: np.ndarray) -> tuple[float, np.ndarray, float]:
        """log J, its gradient in (v, b), and its derivative in ``||w||_*``, which the gradient contains."""
        rows = self.covs @ v
        sds = np.sqrt(np.maximum(rows @ v, self.floor * max(float(v @ v), 1e-100)))
        z = (self.means @ v + np.array([-b, b]) - self.radii * norm) / sds
        value, slope = self.log_risk(z)
        slope = slope / sds
        by_norm = -float(slope @ self.radii)
        gradient = slope @ self.means - (slope * z / sds) @ rows + by_norm * norm_slope
        return value, np.append(gradient, slope[1] - slope[0]), by_norm

    def thresholds(self, w: np.ndarray) -> list[float]:
        """Every local minimum of J over b, for the direction w of length 1; seen on a grid, then polished."""
        v, norm = w * self.units, float(self.threat.dual_norm(w))
        sds = np.maximum(self.model.sds(w), np.sqrt(self.floor) * _octave(v))
        signs, gains = np.array([-1.0, 1.0]), self.means @ v - self.radii * norm
        ends = -signs * gains  # where each class margin vanishes
        grid = np.linspace(ends.min() - 3.0 * sds.max(), ends.max() + 3.0 * sds.max(), 121)

        def margins(b: float) -> np.ndarray:
            return (gains + signs * b) / sds

        def log_risk(b: float) -> float:
            return self.log_risk(margins(b))[0]

        values = np.array([log_risk(b) for b in grid])
        found = []
        for k in np.flatnonzero((values[1:-1] < values[:-2]) & (values[1:-1] <= values[2:])) + 1:
            if log_ndtr(-margins(grid[k]).min()) < LOST:
                near = minimize_scalar(log_risk, bounds=(grid[k - 1], grid[k + 1]), method="bounded")
                found.append(float(near.x) if near.fun < values[k] else float(grid[k]))
        room = max(1e-10 * max(abs(float(gains.sum())), float(sds.max())), rounding_of(self.model, self.threat, w))
        none = sds <= 1e-9 * sds.max()  # a class without spread: its risk jumps at its end
        return found + [float(b) for b in (ends + signs * room)[none]]

    def start(self, w: np.ndarray, b: float) -> tuple[float, LinearClassifier]:
        """A start as it stands."""
        classifier = LinearClassifier(w, np.array(b - w @ self.centre))
        return self.risk(classifier), classifier

    def descend(self, w: np.ndarray, b: float) -> LinearClassifier | None:
        """The local minimum below (w, b), ``||w||_2 = 1`` in both; None when the run ends in a constant."""
        x = np.append(v := w * self.units, b) / _octave(v)
        options = {"maxiter": 500, "ftol": 0.0, "gtol": 1e-10}
        if self.split:
            x = np.concatenate([np.maximum(x[:-1], 0.0), x[-1:], np.maximum(-x[:-1], 0.0)])
            d = len(w)
            bounds = [(0.0, None)] * d + [(None, None)] + [(0.0, None)] * d
            x = minimize(self._split_oracle, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
            x = np.append(x[:d] - x[d + 1 :], x[d])
        else:
            kinked = self.threat.norm != "l2" and self.radii.any()
            for level in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7) if kinked else (1e-14,):
                level *= _octave(x[:-1] / self.units)
                x = minimize(self.value_at, x, args=(level,), jac=True, method="L-BFGS-B", options=options).x
                x = x / max(float(np.linalg.norm(x[:-1])), 1e-300)
        if not float(np.linalg.norm(x[:-1])) > 1e-8 * abs(x[-1]) or not np.isfinite(x).all():
            return None
        w = x[:-1] / self.units
        length = float(np.linalg.norm(w))
        w, b = w / length, float(x[-1]) / length
        classifier = LinearClassifier(w, np.array(b - w @ self.centre))
        lost = classifier.class_risks(self.model, self.threat, self.mix).log_value.max() > LOST
        return None if lost else classifier

    def value_at(self, x: np.ndarray, level: float) -> tuple[float, np.ndarray]:
        norm = smooth_dual_norm(self.threat, x[:-1] / self.units, level)
        return self.value(x[:-1], float(x[-1]), norm.value, norm.gradient / self.units)[:2]

    def _split_oracle(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        d = len(x) // 2
        norm = float((x[:d] / self.units).sum() + (x[d + 1 :] / self.units).sum())
        value, gradient, by_norm = self.value(x[:d] - x[d + 1 :], float(x[d]), norm, np.zeros(d))
        by_norm = by_norm / self.units
        return value, np.concatenate([gradient[:d] + by_norm, gradient[d:], by_norm - gradient[:d]])
