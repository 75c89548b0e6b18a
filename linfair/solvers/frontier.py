"""Which robust class risks two Gaussian classes can have together: the frontier, and certified optima on it.

A linear classifier of direction w has standardized robust margins ``z_y`` and robust class risks ``Phi(-z_y)``. Margins
``z_- = x`` and ``z_+ = y`` are possible with direction w exactly if

    x sd_-(w) + y sd_+(w) <= w.Delta - ebar ||w||_*,

so the largest y beside x, ``F(x)``, is convex and decreasing. Its radius along ``(x, y) = (X sin t, Y cos t)``, X and Y
being units, is the minimax margin kappa* of classes with standard deviations ``X sin(t) sd_-`` and ``Y cos(t) sd_+``: a
convex program, certified from both sides. Between two of its points F lies below their chord, on which the least
average risk is at an end or a root of a quadratic: a lower bound for a branch and bound over t.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtr

from linfair._check import as_array, as_positive
from linfair.gaussian import ClassGaussians
from linfair.linear import ClassRisks, LinearClassifier
from linfair.norms import Threat
from linfair.solvers import fast
from linfair.solvers._beyond import beyond, rivals_beyond
from linfair.solvers._line import least_on_line
from linfair.solvers._pair import CERTAIN, bridged, pair_of, unseparable, with_share, zero_risk, zero_risk_direction
from linfair.solvers._rank import scale_of
from linfair.solvers.solution import Solution, Status

METHOD = "branch and bound on the frontier"
CELLS = 300
"""The most pieces of the frontier that an optimum may take."""
QUARTER = np.pi / 2.0
FAR = 1e3
"""A margin in sds that stands for any larger one."""
HALVINGS = 60
"""Of an angle: what is nearer to an end is the end."""
ROUNDING = 1e-10
"""What a disparity may exceed its bound by."""
SOFT = (1e-5, 1e-3)
"""Ratios of sds that stand for 0 where a class must not be told from the other without any risk."""

Margins = tuple[float, float]
"""``(z_-, z_+)``."""


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """The frontier at one angle.

    Attributes:
        classifier: of ``||w||_2 = 1``. It attains the margins ``attained``, up to rounding.
        risks: its robust class risks.
        attained, bound: margins on one ray from the origin. No classifier has both margins larger than ``bound``.
    """

    angle: float
    classifier: LinearClassifier = field(repr=False)
    risks: ClassRisks = field(repr=False)
    attained: Margins
    bound: Margins

    @property
    def disparity(self) -> float:
        """``R_+ - R_-``; increases with the angle."""
        return float(self.risks.disparity)


def _times(radius: float, ray: Margins) -> Margins:
    return (float(radius * ray[0]) if ray[0] else 0.0, float(radius * ray[1]) if ray[1] else 0.0)


class RiskFrontier:
    """The frontier of two Gaussian classes, for any covariances, norm, radii and priors. It keeps the points it found.

    Only classifiers with both risks at most 1/2 are on it: beyond, to maximise one margin is no convex problem. Optima
    are certified against those classifiers, too, by the steepest that F can be there, ``max_w sd_-(w) / sd_+(w)``.
    Certificates hold up to rounding, which for a singular covariance is that of its zero: some 1e-8 of a risk.

    Args:
        model: two classes with priors. threat: norm, radii, lift.
    """

    def __init__(self, model: ClassGaussians, threat: Threat) -> None:
        self.model, self.threat = model, threat
        lifted, delta, ebar = pair_of(model, threat)
        covs = model.full_covs()
        self._stuck = bridged(lifted, delta, ebar, covs.sum(0))[0]
        self._free = None if self._stuck else zero_risk_direction(covs, delta, lifted)
        self._points: dict[float, FrontierPoint] = {}
        self._unit: Margins = (1.0, 1.0)
        self._angles: tuple[float, float, float] | None = None
        if self._stuck or self._free is not None:
            return
        ends = {end: self._solve(end) for end in (0.0, QUARTER)}
        x, y = ends[QUARTER].bound[0], ends[0.0].bound[1]
        self._points = {end: ends[end] for end, z in ((0.0, y), (QUARTER, x)) if z < FAR}
        self._unit = (x if x < FAR else CERTAIN, y if y < FAR else CERTAIN)
        fair = float(np.arctan2(self._unit[1], self._unit[0]))
        self._angles = (0.0, fair, QUARTER)
        first = 0.0 if y < FAR else self._certain(1, 0.0, fair)
        last = QUARTER if x < FAR else self._certain(0, QUARTER, fair)
        self._angles = (first, fair, last)

    @property
    def angles(self) -> tuple[float, float, float]:
        """Those where ``R_- = 1/2``, where both risks are equal (minimax-fair), and where ``R_+ = 1/2``.

        Where at an end the other class has a margin beyond 1000 sds, the angle is one at which it has 40, and a risk of
        0 in floating point.

        Raises:
            ValueError: there is no frontier: the attack makes the classes meet (kappa* <= 0), or a direction without
                any spread tells them apart.
        """
        if self._angles is None:
            why = "a robust distance of 0" if self._stuck else "a direction without spread that separates them"
            raise ValueError(f"the classes must have a frontier, got {why}; average_risk says what is best then")
        return self._angles

    def _certain(self, k: int, end: float, angle: float) -> float:
        """An angle towards an end at which class k has a margin of 40 sds or more, if there is one."""
        for _ in range(HALVINGS):
            if angle == end or self._solve(angle).attained[k] >= CERTAIN:
                break
            angle = (angle + end) / 2.0
        return angle

    def point(self, angle: float) -> FrontierPoint:
        """The frontier at ``angle``, between the first and the last of :attr:`angles`.

        Raises:
            ValueError: another angle, or there is no frontier.
        """
        angle, (first, _, last) = float(as_array("angle", angle, ndim=0)), self.angles
        if not first <= angle <= last:
            raise ValueError(f"angle must lie in [{first:g}, {last:g}], got {angle:g}; outside, a risk is above 1/2")
        if angle not in self._points:
            self._points[angle] = self._solve(angle)
        return self._points[angle]

    def _solve(self, angle: float) -> FrontierPoint:
        ray = self._unit[0] * float(np.sin(angle)), self._unit[1] * float(np.cos(angle))
        if angle in (0.0, QUARTER):
            ray = (0.0, ray[1]) if angle == 0.0 else (ray[0], 0.0)
        elif self._angles is not None and angle == self._angles[1]:
            ray = ray[0], ray[0]
        found = fast.minimax_fair(self.model.scaled(np.square(ray)), self.threat)
        w, low, high = found.classifier.w, found.info["kappa_low"], found.info["kappa_high"]
        classifier = self._split(w, ray)
        risks = classifier.class_risks(self.model, self.threat)
        return FrontierPoint(angle, classifier, risks, _times(low, ray), _times(high, ray))

    def _split(self, w: np.ndarray, ray: Margins) -> LinearClassifier:
        """Direction w with both margins on a ray."""
        minus, plus = ray * self.model.sds(w)
        share = minus / (minus + plus) if minus + plus > 0.0 else 0.5
        return with_share(self.model, self.threat, w, float(share))

    def average_risk(self, max_disparity: float = 1.0, *, tol: float = 1e-8) -> Solution:
        """The least average robust 0-1 risk of a linear classifier with ``|R_+ - R_-| <= max_disparity``, certified.

            min_{w, b} pi_- R_- + pi_+ R_+   s.t.   |R_+ - R_-| <= max_disparity

        The risk is not quasi-convex in (w, b) and may have several global minima; this one is global. An optimum with
        both risks at most 1/2 lies on the frontier, else both could be lowered together.

        Args:
            max_disparity: in [0, 1]; 1 is no constraint, 0 full fairness. It is kept to 1e-10.
            tol: gap to reach, > 0, relative to the risk.

        Returns:
            Objective: the average risk. OPTIMAL; CONSTANT_OPTIMAL (one class for all); INACCURATE, with its gap: a
            class risk above 1/2 may allow less (some directions and the minima of
            :func:`linfair.solvers.local.average_risk` are tried), or a class that must have a risk does not vary in the
            best direction, which can then only be approached; the gap is inf where no classifier as fair as asked was
            found. NOT_ROBUSTLY_SEPARABLE (kappa* <= 0): no classifier, but a fair coin's 1/2, with its gap.
            ROBUSTLY_SEPARABLE: risk 0. ``info["lower_bound"]``; ``info["points"]``, how many the frontier knows by
            then; ``info["angle"]``, None off the frontier.

        Raises:
            ValueError: max_disparity outside [0, 1], tol not above 0.
        """
        allowed = float(as_array("max_disparity", max_disparity, ndim=0))
        if not 0.0 <= allowed <= 1.0:
            raise ValueError(f"max_disparity must lie in [0, 1], got {allowed:g}; it is a difference of two risks")
        tol = float(as_positive("tol", as_array("tol", tol, ndim=0)))
        if self._stuck or self._free is not None:
            return self._without_frontier(allowed)
        best, bound = self._search(allowed, tol)
        ends = tuple(self.point(end).bound[k] if end in self.angles else np.inf for k, end in ((1, 0.0), (0, QUARTER)))
        bound = min(bound, beyond(self.model, ends, allowed))
        found = self._solution(best.classifier, bound, best.angle, allowed, tol)
        ends = [self.point(end).classifier.w for end in (self.angles[0], self.angles[2])]
        rivals = rivals_beyond(self.model, self.threat, ends, allowed)

        def fair(solution: Solution) -> bool:
            return abs(solution.risks.disparity) <= allowed + ROUNDING

        while found.status == Status.INACCURATE and (rival := next(rivals, None)) is not None:
            other = self._solution(rival, bound, None, allowed, tol)
            if fair(other) and (other.objective < found.objective or not fair(found)):
                found = other
        return replace(found, info={**found.info, "points": len(self._points)})

    def _without_frontier(self, allowed: float) -> Solution:
        if self._free is None:  # the margins below 0 that are possible end in that of the coin
            found, bound = unseparable(METHOD), min(beyond(self.model, (0.0, 0.0), allowed), 0.5)
        else:
            found, bound = zero_risk(self.model, self.threat, self._free, METHOD), 0.0
        value = found.risks.average(self.model.priors)
        info = {**found.info, "lower_bound": bound, "angle": None, "points": 0}
        return replace(found, objective=value, gap=max(value - bound, 0.0), info=info)

    def _solution(
        self, classifier: LinearClassifier, bound: float, angle: float | None, allowed: float, tol: float
    ) -> Solution:
        risks = classifier.class_risks(self.model, self.threat)
        value = risks.average(self.model.priors)
        fair = abs(risks.disparity) <= allowed + ROUNDING
        gap = max(value - bound, 0.0) if fair else np.inf
        status = Status.OPTIMAL if classifier.w.any() else Status.CONSTANT_OPTIMAL
        if gap > tol * value:
            status = Status.INACCURATE
        info = {"lower_bound": min(bound, value) if fair else bound, "angle": angle}
        return Solution(classifier, risks, value, gap, status, METHOD, info)

    def pareto(self, disparities: ArrayLike, *, tol: float = 1e-8) -> tuple[Solution, ...]:
        """:meth:`average_risk` for each of ``disparities`` [n]: what a bound on the disparity costs in average risk."""
        return tuple(self.average_risk(float(most), tol=tol) for most in as_array("disparities", disparities, ndim=1))

    def _search(self, allowed: float, tol: float) -> tuple[FrontierPoint, float]:
        """The best point of the frontier whose disparity is allowed, and a lower bound of all."""
        first, fair, last = self.angles
        if allowed == 0.0 or first == last:  # one point is all, or all risks there are 0
            return self._best(self._softened([fair]), allowed), self._risk(self.point(fair).bound)
        left, right = self._edge(first, fair, allowed), self._edge(last, fair, allowed)
        bounds = [np.inf]
        for end, edge, k in ((first, left, 1), (last, right, 0)):
            if end in edge and end not in (0.0, QUARTER):  # behind it, class k still has no risk, the other no less
                bounds.append(float(self.model.priors[1 - k] * ndtr(-self.point(end).bound[1 - k])))
        cells = [(self._bound(a, b), a, b) for a, b in pairwise(sorted({*left, fair, *right}))]
        heapq.heapify(cells)
        soft = self._softened([left[-1], fair, right[-1]])
        best = self._best(soft, allowed)
        while cells[0][0] < best.risks.average(self.model.priors) * (1.0 - tol) and len(cells) < CELLS:
            _, a, b = cells[0]
            middle = (a + b) / 2.0
            if middle in (a, b):
                break
            self.point(middle)
            best = self._best(soft, allowed)
            heapq.heapreplace(cells, (self._bound(a, middle), a, middle))
            heapq.heappush(cells, (self._bound(middle, b), middle, b))
        return best, min(cells[0][0], *bounds)

    def _best(self, soft: Sequence[FrontierPoint], allowed: float) -> FrontierPoint:
        """The best point whose disparity is allowed, of those known and of ``soft``, beside the best."""
        points = [*self._points.values(), *soft]
        fair = [p for p in points if abs(p.disparity) <= allowed + ROUNDING]
        return min(fair or points, key=lambda p: p.risks.average(self.model.priors) if fair else abs(p.disparity))

    def _softened(self, angles: Iterable[float]) -> list[FrontierPoint]:
        """The points there; where a class does not vary along w, so that its risk can only be 0 or 1, some beside."""
        return [self._beside(self.point(angle), soft) for angle in angles for soft in SOFT]

    def _beside(self, point: FrontierPoint, soft: float) -> FrontierPoint:
        w, covs = point.classifier.w, self.model.full_covs()
        sds = self.model.sds(w)
        for own in (0, 1):
            if sds[own] < soft * sds[1 - own] and covs[own].any():
                scale = scale_of(covs[own])
                along = np.linalg.eigh(covs[own] / np.outer(scale, scale))[1][:, -1] / scale
                w = w + along * (soft * sds[1 - own] / self.model.sds(along)[own])
        classifier = self._split(w, point.attained)
        return replace(point, classifier=classifier, risks=classifier.class_risks(self.model, self.threat))

    def _edge(self, end: float, fair: float, allowed: float) -> tuple[float, ...]:
        """Where, from ``fair`` towards ``end``, the disparity is as large as allowed: an angle certainly behind and one
        in front of it; or the end, if that is allowed."""
        inward, low, high = float(np.sign(fair - end)), min(fair, end), max(fair, end)

        def room(margins: Margins) -> float:
            return allowed + inward * float(ndtr(-margins[1]) - ndtr(-margins[0]))

        def attained(angle: float) -> float:
            return room(self.point(angle).attained)

        if attained(end) >= 0.0:
            return (end,)
        root = float(brentq(attained, low, high, xtol=1e-13))  # pyright: ignore[reportArgumentType]

        def march(angle: float, way: float, arrived: Callable[[float], bool]) -> float:
            step = 1e-13
            while not arrived(angle):
                angle, step = min(max(angle + way * step, low), high), 2.0 * step
            return angle

        def behind(angle: float) -> bool:
            return angle == end or max(attained(angle), room(self.point(angle).bound)) < 0.0

        return march(root, -inward, behind), march(root, inward, lambda angle: attained(angle) >= 0.0)

    def _risk(self, margins: Margins) -> float:
        """The average risk at margins."""
        return float(self.model.priors @ ndtr(-np.array(margins)))

    def _bound(self, a: float, b: float) -> float:
        """No classifier with margins between the angles a < b has a lower average risk."""
        (x, y), (u, v) = self.point(a).bound, self.point(b).bound
        if not (np.isfinite([x, y, u, v]).all() and x < u and y > v):
            return self._risk((max(x, u), max(y, v)))
        slope = (y - v) / (u - x)
        return least_on_line(self.model.priors, y + slope * x, slope, x, u)[0]
