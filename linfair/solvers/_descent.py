"""Robust logistic regression by descent: L-BFGS where it is smooth, Newton's method along a falling smoothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from linfair.solvers._erm import Erm
from linfair.solvers._smooth import Path, kinks, newton, smooth_dual_norm
from linfair.solvers.certificates import dual_bound

WARM_START = 30
"""L-BFGS steps before Newton's method takes over: cheap while they help, and Newton does not mind poor scaling."""


def follow_erm(erm: Erm, tol: float) -> tuple[np.ndarray, np.ndarray, float, int, bool]:
    """The minimiser x = (w, b), zeta, the dual bound, steps, and whether x separates the data robustly instead."""
    size = kinks(erm.threat, erm.X.shape[1])
    price = max(float(erm.shares @ erm.radii), 1e-8)  # a tiny attack needs no huge smoothing
    separates = (lambda x: erm.separated(x[:-1], x[-1])) if erm.ridge == 0.0 else None
    start, first, steps = _start(erm, price * size)
    best = _Best(erm)
    apart = separates is not None and separates(start)
    if first > 3.0 and not apart and best.offer(start, _subgradient(erm, start)) <= 0.5 * tol:
        return start, best.zeta, best.bound, steps, False
    for finer in (1.0, 0.5):  # the second pass is for the rare path that was lost
        path = Path(start)
        for accuracy in 10.0 ** -np.arange(first, 12.0, finer):
            mu = accuracy / (price * size)
            oracle = Logistic(erm, mu)
            x = path.follow(oracle, mu, max(1e-4 * accuracy, 1e-15), separates)
            if path.stopped:  # a few more steps even the margins out: a better start for the margin problem
                later = newton(oracle, x, tol=0.0, max_iter=10)[0]
                x = max((x, later), key=lambda x: float(erm.margins(x[:-1], x[-1]).min() / np.linalg.norm(x[:-1])))
                return x, best.zeta, 0.0, steps + path.steps, True
            if accuracy <= 10.0 * tol and best.offer(x, smooth_dual_norm(erm.threat, x[:-1], mu).zeta) <= 0.1 * tol:
                break
        steps += path.steps
        if best.gap <= tol:
            break
        start, first = np.zeros_like(start), 1.0
    return best.x, best.zeta, best.bound, steps, False


class _Best:
    """The best primal point and the best bound so far; they need not come from the same step."""

    def __init__(self, erm: Erm) -> None:
        self.erm = erm
        self.x, self.zeta = np.zeros(erm.X.shape[1] + 1), np.zeros(0)
        self.value, self.bound = np.inf, 0.0

    @property
    def gap(self) -> float:
        return self.value - self.bound

    def offer(self, x: np.ndarray, zeta: np.ndarray) -> float:
        """Take x and the bound of its dual point where they are better; the gap."""
        w, b = x[:-1], float(x[-1])
        self.bound = max(self.bound, dual_bound(self.erm, self.erm.alpha(w, b), zeta, w))
        value = self.erm.objective(w, b)
        if value < self.value:
            self.x, self.zeta, self.value = x, zeta, value
        return self.gap


def _subgradient(erm: Erm, x: np.ndarray) -> np.ndarray:
    """The dual-norm subgradient at w (no lift) that comes nearest to stationarity: free where an entry of w is 0."""
    w = x[:-1]
    zeta = erm.threat.ball.dual_maximiser(w)
    if erm.threat.norm == "linf":
        _, g, reach = erm.moments(erm.shares * erm.alpha(w, float(x[-1])))
        zeta = np.where(w == 0.0, np.clip((g - erm.ridge * w) / (reach or 1.0), -1.0, 1.0), zeta)
    return zeta


def _start(erm: Erm, price: float) -> tuple[np.ndarray, float, int]:
    """Where to start Newton, at which level (minus a power of ten, as low as cheap steps bring it); their number."""
    if erm.threat.norm == "l2":  # no kink but the one at 0
        x, steps = _descend(erm, split=False)
        return x, 11.0, steps
    if erm.threat.norm == "linf" and erm.threat.lift is None:
        x, steps = _descend(erm, split=True)
        return x, 5.0, steps
    n, d = erm.X.shape
    part = np.argsort(erm.signs, kind="stable")[:: n // max(20 * d, 2000) or 1]
    path = Path(np.zeros(d + 1))
    if 2 * len(part) > n:
        return path.x, 1.0, 0
    few = replace(
        erm, X=erm.X[part], signs=erm.signs[part], radii=erm.radii[part], shares=erm.shares[part] * (n / len(part))
    )
    for accuracy in (1e-1, 1e-2, 1e-3):
        path.follow(Logistic(few, accuracy / price), accuracy / price, 1e-4 * accuracy)
    return path.x, 3.0, path.steps


class Logistic:
    """The smoothed robust risk of x = (w, b) with its gradient and Hessian."""

    def __init__(self, erm: Erm, mu: float) -> None:
        self.erm, self.mu = erm, mu

    def loss(self, m: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Loss, minus its first derivative, its second derivative."""
        a = expit(-m)
        return float(self.erm.shares @ np.logaddexp(0.0, -m)), self.erm.shares * a, self.erm.shares * a * (1.0 - a)

    def __call__(self, x: np.ndarray, value_only: bool) -> tuple[float, np.ndarray, np.ndarray]:
        erm, w = self.erm, x[:-1]
        norm = smooth_dual_norm(erm.threat, w, self.mu)
        value, a, curvature = self.loss(erm.signs * (erm.X @ w + x[-1]) - erm.radii * norm.value)
        value += erm.ridge / 2.0 * float(w @ w)
        if value_only:
            return value, x, x
        total, g, reach = erm.moments(a)
        gradient = np.append(erm.ridge * w - g + reach * norm.gradient, -total)
        hessian = erm.gram(curvature, norm.gradient)
        hessian[:-1, :-1] += erm.ridge * np.eye(len(w))
        if reach > 0.0:
            hessian[:-1, :-1] += reach * norm.hessian()
        return value, gradient, hessian


def _descend(erm: Erm, *, split: bool) -> tuple[np.ndarray, int]:
    """L-BFGS from the robust mean difference; under ``||w||_1`` on the smooth split w = p - q with p, q >= 0."""
    plus, d = erm.signs > 0, erm.X.shape[1]
    delta = erm.X[plus].mean(0) - erm.X[~plus].mean(0)
    w = delta - erm.threat.ball.project(delta, float(erm.radii[plus][0] + erm.radii[~plus][0]))
    spread = float(np.mean((erm.X @ w) ** 2)) or 1.0
    x = np.append(w * (float(w @ w) / spread), 0.0)
    attacked = bool(erm.radii.any())

    def oracle(x: np.ndarray) -> tuple[float, np.ndarray]:
        w = x[:d] - x[d + 1 :] if split else x[:d]
        margin = erm.signs * (erm.X @ w + x[d])
        size = float(x[:d].sum() + x[d + 1 :].sum() if split else np.sqrt(w @ w))
        if attacked:
            margin -= erm.radii * size
        a = erm.shares * expit(-margin)
        value = float(erm.shares @ np.logaddexp(0.0, -margin)) + erm.ridge / 2.0 * float(w @ w)
        total, g, reach = erm.moments(a)
        slope = erm.ridge * w - g
        if split:
            return value, np.concatenate([slope + reach, [-total], reach - slope])
        return value, np.append(slope + w * (reach / max(size, 1e-300)), -total)

    options = {"maxiter": 10 * WARM_START if split else WARM_START, "gtol": 1e-9, "ftol": 0.0}
    if not split:
        found = minimize(oracle, x, jac=True, method="L-BFGS-B", options=options)
        return found.x, found.nit
    x = np.concatenate([np.maximum(x[:d], 0.0), x[d:], np.maximum(-x[:d], 0.0)])
    bounds = [(0.0, None)] * d + [(None, None)] + [(0.0, None)] * d
    found = minimize(oracle, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.append(found.x[:d] - found.x[d + 1 :], found.x[d]), found.nit
