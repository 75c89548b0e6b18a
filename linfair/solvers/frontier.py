"""Which robust class risks two Gaussian classes can have together: the frontier, and certified optima on it.

A linear classifier of direction w has standardized robust margins ``z_y`` and robust class risks ``Phi(-z_y)``. Margins
``z_- = x`` and ``z_+ = y`` are possible with direction w exactly if

    x sd_-(w) + y sd_+(w) <= w.Delta - ebar ||w||_*,

so the largest y beside x, ``F(x)``, is convex and decreasing. Its radius along ``(x, y) = (sin t, cos t)`` is the
minimax margin kappa* of classes with standard deviations ``sin(t) sd_-`` and ``cos(t) sd_+``: a convex program,
certified from both sides. Between two of its points F lies below their chord, on which the least average risk is at an
end or a root of a quadratic: a lower bound for a branch and bound over t.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtr

from linfair._check import as_array, as_positive
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import fast, local
from linfair.solvers._pair import bridged, pair_of, unseparable, zero_risk, zero_risk_direction
from linfair.solvers._rank import scaled_root
from linfair.solvers.solution import Solution, Status

METHOD = "branch and bound on the frontier"
POINTS = 300
"""The most points of the frontier that an optimum may take."""
QUARTER, FAIR = np.pi / 2.0, np.pi / 4.0
NEAR = 1e-10
"""What the edge of the allowed disparities may be off by, as an angle."""

Margins = tuple[float, float]
"""``(z_-, z_+)``."""


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """The frontier at an angle t in [0, pi/2].

    Attributes:
        classifier: it attains ``(z_-, z_+) = low (sin t, cos t)``. At t = pi/4 it is minimax-fair.
        low, high: certified bounds of the radius: no classifier attains ``r (sin t, cos t)`` with r > high. Both are
            infinite where a class has no risk at all while the other's is 1/2.
    """

    angle: float
    classifier: LinearClassifier = field(repr=False)
    low: float
    high: float

    @property
    def attained(self) -> Margins:
        return _along(self.angle, self.low)

    @property
    def bound(self) -> Margins:
        return _along(self.angle, self.high)

    @property
    def disparity(self) -> float:
        """``R_+ - R_-`` of the classifier; increases with the angle."""
        return _gap(self.attained)


def _along(angle: float, radius: float) -> Margins:
    """``radius (sin t, cos t)``, exact at both ends and in the middle."""
    if angle in (0.0, QUARTER):
        return (0.0, radius) if angle == 0.0 else (radius, 0.0)
    plus = float(np.cos(angle))
    return radius * (plus if angle == FAIR else float(np.sin(angle))), radius * plus


def _gap(margins: Margins) -> float:
    """``R_+ - R_-``."""
    return float(ndtr(-margins[1]) - ndtr(-margins[0]))


class RiskFrontier:
    """The frontier of two Gaussian classes, for any covariances, norm, radii and priors. It keeps the points it found.

    Only classifiers with both risks at most 1/2 are on it: beyond, to maximise one margin is no convex problem. Optima
    are certified against those classifiers, too, by the steepest that F can be there, ``max_w sd_-(w) / sd_+(w)``.

    Args:
        model: two classes with priors. threat: norm, radii, lift.
    """

    def __init__(self, model: ClassGaussians, threat: Threat) -> None:
        self.model, self.threat = model, threat
        lifted, delta, ebar = pair_of(model, threat)
        self._stuck = bridged(lifted, delta, ebar)[0]
        self._free = None if self._stuck else zero_risk_direction(model.full_covs(), delta, lifted)
        self._points: dict[float, FrontierPoint] = {}

    def point(self, angle: float) -> FrontierPoint:
        """The frontier at ``angle``, in [0, pi/2]: 0 has ``R_- = 1/2``, pi/2 has ``R_+ = 1/2``.

        Raises:
            ValueError: another angle; or there is no frontier, because the attack makes the classes meet (kappa* <= 0)
                or a direction without any spread tells them apart.
        """
        angle = float(as_array("angle", angle, ndim=0))
        if not 0.0 <= angle <= QUARTER:
            raise ValueError(f"angle must lie in [0, pi/2], got {angle:g}; outside, a class risk is above 1/2")
        if self._stuck or self._free is not None:
            why = "a robust distance of 0" if self._stuck else "a direction without spread that separates them"
            raise ValueError(f"the classes must have a frontier, got {why}; average_risk says what is best then")
        if angle not in self._points:
            self._points[angle] = self._solve(angle)
        return self._points[angle]

    def _solve(self, angle: float) -> FrontierPoint:
        found = fast.minimax_fair(self.model.scaled(np.square(_along(angle, 1.0))), self.threat)
        w, low, high = found.classifier.w, float(found.info["kappa_low"]), float(found.info["kappa_high"])
        one = 0 if angle < FAIR else 1  # the class with the smaller margin, which is always finite
        sign, margin = 2 * one - 1, _along(angle, low)[one] * self.model.sds(w)[one]
        b = sign * (margin + self.threat.radii(2)[one] * self.threat.dual_norm(w)) - w @ self.model.means[one]
        return FrontierPoint(angle, LinearClassifier(w, np.array(b)), low, high)

    def average_risk(self, max_disparity: float = 1.0, *, tol: float = 1e-8) -> Solution:
        """The least average robust 0-1 risk of a linear classifier with ``|R_+ - R_-| <= max_disparity``, certified.

            min_{w, b} pi_- R_- + pi_+ R_+   s.t.   |R_+ - R_-| <= max_disparity

        The risk is not quasi-convex in (w, b) and may have several global minima; this one is global. An optimum lies
        on the frontier, else both risks could be lowered together, and along it the disparity only grows.

        Args:
            max_disparity: in [0, 1]; 1 is no constraint, 0 full fairness.
            tol: gap to reach, > 0, relative to the risk.

        Returns:
            Objective: the average risk. OPTIMAL; CONSTANT_OPTIMAL (one class for all); INACCURATE with its gap, where
            a classifier with a class risk above 1/2 cannot be excluded (or :data:`POINTS` do not suffice): then the
            best that :func:`linfair.solvers.local.average_risk` finds is considered, too. NOT_ROBUSTLY_SEPARABLE
            (kappa* <= 0): no classifier, and nothing is said of the average risk but a fair coin's 1/2.
            ROBUSTLY_SEPARABLE: risk 0. ``info["lower_bound"]``; ``info["points"]``, how many of the frontier it took;
            ``info["angle"]``, None off the frontier.

        Raises:
            ValueError: max_disparity outside [0, 1], tol not above 0.
        """
        allowed = float(as_array("max_disparity", max_disparity, ndim=0))
        if not 0.0 <= allowed <= 1.0:
            raise ValueError(f"max_disparity must lie in [0, 1], got {allowed:g}; it is a difference of two risks")
        tol = float(as_positive("tol", as_array("tol", tol, ndim=0)))
        if self._stuck:
            return unseparable(METHOD)
        if self._free is not None:
            return zero_risk(self.model, self.threat, self._free, METHOD)
        best, inner, points = self._search(allowed, tol)
        bound = min(inner, self._beyond(allowed))
        classifier, value, angle = best.classifier, self._risk(best.attained), best.angle
        status = Status.OPTIMAL
        if bound < value * (1.0 - tol):  # the optimum may have a class risk above 1/2
            other = local.average_risk(self.model, self.threat)
            if other.objective < value and abs(other.risks.disparity) <= allowed:
                classifier, value, angle = other.classifier, other.objective, None
                status = other.status if other.status == Status.CONSTANT_OPTIMAL else status
        gap = max(value - bound, 0.0)
        if gap > tol * value:
            status = Status.INACCURATE
        info = {"lower_bound": min(bound, value), "points": points, "angle": angle}
        return Solution(classifier, classifier.class_risks(self.model, self.threat), value, gap, status, METHOD, info)

    def pareto(self, disparities: ArrayLike, *, tol: float = 1e-8) -> tuple[Solution, ...]:
        """:meth:`average_risk` for each of ``disparities`` [n]: what a bound on the disparity costs in average risk."""
        return tuple(self.average_risk(float(most), tol=tol) for most in as_array("disparities", disparities, ndim=1))

    def _search(self, allowed: float, tol: float) -> tuple[FrontierPoint, float, int]:
        """The best point of the frontier with disparity within bounds, a lower bound of all, and the points it took."""
        left, right = self._edge(1.0, allowed), self._edge(-1.0, allowed)
        angles = {left[0], left[1], FAIR, right[1], right[0]}
        inside = [a for a in angles if left[1] <= a <= right[1]]
        best = min(map(self.point, inside), key=lambda p: self._risk(p.attained))
        line = sorted(angles)
        cells = [(self._bound(a, b), a, b) for a, b in pairwise(line)]
        heapq.heapify(cells)
        taken = len(line)
        while cells[0][0] < self._risk(best.attained) * (1.0 - tol) and taken < POINTS:
            _, a, b = cells[0]
            middle = self.point((a + b) / 2.0)
            taken += 1
            if left[1] <= middle.angle <= right[1]:
                best = min(best, middle, key=lambda p: self._risk(p.attained))
            heapq.heapreplace(cells, (self._bound(a, middle.angle), a, middle.angle))
            heapq.heappush(cells, (self._bound(middle.angle, b), middle.angle, b))
        return best, cells[0][0], taken

    def _edge(self, inward: float, allowed: float) -> tuple[float, float]:
        """Angles just outside and just inside of where the disparity is as large as allowed, on the side of one class
        (inward = 1: R_- is the larger risk, angles from 0 on); the end of the quarter, twice, where that is allowed."""
        end = 0.0 if inward > 0.0 else QUARTER

        def room(angle: float) -> float:
            return inward * self.point(angle).disparity + allowed

        if room(end) >= 0.0:
            return end, end
        root = FAIR if allowed == 0.0 else float(brentq(room, *sorted((end, FAIR)), xtol=NEAR / 8.0))  # pyright: ignore
        inside = root
        while room(inside) < 0.0:
            inside += inward * NEAR
        outside, step = root, NEAR
        while outside != end and not self._outside(outside, inward, allowed):
            outside, step = float(np.clip(outside - inward * step, 0.0, QUARTER)), 4.0 * step
        return outside, inside

    def _outside(self, angle: float, inward: float, allowed: float) -> bool:
        """Whether the true point at an angle, between those attained and bounded, is certainly not allowed."""
        point = self.point(angle)
        return all(inward * _gap(margins) + allowed < 0.0 for margins in (point.attained, point.bound))

    def _risk(self, margins: Margins) -> float:
        """The average risk at margins."""
        return float(self.model.priors @ ndtr(-np.array(margins)))

    def _bound(self, a: float, b: float) -> float:
        """No classifier with margins between the angles a < b has a lower average risk."""
        (x, y), (u, v) = self.point(a).bound, self.point(b).bound
        if not (np.isfinite([y, u]).all() and x < u and y > v):
            return self._risk((max(x, u), max(y, v)))
        slope = (y - v) / (u - x)
        return _least_on_line(self.model.priors, y + slope * x, slope, x, u)

    def _beyond(self, allowed: float) -> float:
        """No classifier with a class risk above 1/2 has a lower average risk.

        Where ``z_- = -t < 0``, ``z_+ <= F(0) + t max_w sd_-(w) / sd_+(w)``, and likewise with the classes exchanged.
        """
        covs, bounds = self.model.full_covs(), []
        for own, angle in ((0, 0.0), (1, QUARTER)):
            priors = self.model.priors if own == 0 else self.model.priors[::-1]
            least = priors[0] / 2.0 + priors[1] * max(0.5 - allowed, 0.0)
            radius = self.point(angle).high
            root = scaled_root(covs[1 - own])
            if np.isfinite(radius) and root.shape[1] == len(root):
                steepest = (1.0 + 1e-9) * float(np.linalg.norm(np.linalg.solve(root, scaled_root(covs[own])), 2))
                least = max(least, _least_on_line(priors, radius, steepest, -np.inf, 0.0))
            bounds.append(least)
        return min(bounds)


def _least_on_line(priors: np.ndarray, height: float, slope: float, low: float, high: float) -> float:
    """The least of ``pi_0 Phi(-x) + pi_1 Phi(-(height - slope x))`` over ``low <= x <= high``, slope >= 0.

    Where the derivative vanishes, ``(slope^2 - 1) x^2 - 2 height slope x + height^2 = 2 log(slope pi_1 / pi_0)``.
    """
    at = [low, high]
    if slope > 0.0:
        constant = height**2 - 2.0 * np.log(slope * priors[1] / priors[0])
        roots = np.roots([slope**2 - 1.0, -2.0 * height * slope, constant])
        at += [float(x) for x in roots[np.isreal(roots)].real if low < x < high]
    return min(
        float(priors[0] * ndtr(-x) + priors[1] * (ndtr(slope * x - height) if np.isfinite(x) else 0.0)) for x in at
    )
