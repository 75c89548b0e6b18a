"""The frontier of the class risks: against other solvers, brute force in the plane and the isotropic closed forms."""
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOperatorIssue=false

import numpy as np
import pytest
from scipy.special import ndtr

from instances import gaussians, threats
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import convex, fast, local
from linfair.solvers.closed_form import optimum
from linfair.solvers.equalisers import fairness_constrained
from linfair.solvers.frontier import RiskFrontier
from linfair.solvers.solution import Status

TWO_OPTIMA = ClassGaussians([[-1.0, -1.0], [1.0, 1.0]], np.array([np.diag([4.0, 0.1]), np.diag([0.1, 4.0])]))
NATURAL = Threat("l2", 0.0)


def problems(d):
    rng = np.random.default_rng(d)
    return [(gaussians(rng, d, priors=[0.4, 0.6]), threat) for threat in threats(rng, d)]


@pytest.mark.parametrize("d", [2, 5])
def test_points_are_attained_and_bracketed(d):
    for model, threat in problems(d):
        frontier = RiskFrontier(model, threat)
        first, fair, last = frontier.angles
        assert (first, last) == (0.0, np.pi / 2)
        for angle in (first, 0.3, fair, 1.2, last):
            point = frontier.point(angle)
            np.testing.assert_allclose(point.classifier.margins(model, threat), point.attained, atol=1e-8)
            np.testing.assert_allclose(ndtr(-np.array(point.attained)), point.risks.value, atol=1e-9)
            gap = np.subtract(point.bound, point.attained)
            assert (gap >= 0.0).all()
            assert (gap < 1e-7 * (1.0 + np.array(point.bound))).all()
        kappa = fast.minimax_fair(model, threat).info["kappa_low"]
        assert frontier.point(fair).attained == pytest.approx([kappa, kappa], rel=1e-9)
        assert frontier.point(0.0).risks.value[0] == pytest.approx(0.5, abs=1e-8)
        assert frontier.point(np.pi / 2).risks.value[1] == pytest.approx(0.5, abs=1e-8)


def largest_margin(model, threat, x):
    """F(x): one second-order cone program in cvxpy, ``1 / min sd_+`` over ``w.Delta - ebar ||w||_* - x sd_- >= 1``."""
    import cvxpy as cp

    w, ebar = cp.Variable(model.dim), threat.radii(2).sum()
    roots = [np.linalg.cholesky(cov).T for cov in model.full_covs()]
    dual = {"l2": 2, "linf": 1, "l1": np.inf}[threat.norm]
    size = cp.norm(w if threat.lift is None else threat.lift @ w, dual)
    room = w @ (model.means[1] - model.means[0]) - ebar * size - x * cp.norm(roots[0] @ w)
    problem = cp.Problem(cp.Minimize(cp.norm(roots[1] @ w)), [room >= 1])
    problem.solve(solver="CLARABEL")
    return 1.0 / float(problem.value)  # pyright: ignore[reportArgumentType]


def test_points_are_those_of_the_cone_program():
    for model, threat in problems(4):
        frontier = RiskFrontier(model, threat)
        for angle in (0.0, 0.5, 1.3):
            x, y = frontier.point(angle).attained
            assert largest_margin(model, threat, x) == pytest.approx(y, rel=1e-5)


def test_the_frontier_is_convex_and_decreasing_with_slope_minus_one_over_K():
    model, threat = problems(3)[1]
    frontier = RiskFrontier(model, threat)
    x, y = np.array([frontier.point(angle).attained for angle in np.linspace(0.0, np.pi / 2, 41)]).T
    slopes = np.diff(y) / np.diff(x)
    assert (slopes < 0).all()
    assert (np.diff(slopes) > -1e-9).all()
    for angle in (0.4, 0.8, 1.2):
        (x1, y1), (x2, y2) = (frontier.point(angle + step).attained for step in (-1e-4, 1e-4))
        minus, plus = model.sds(frontier.point(angle).classifier.w)
        assert (y2 - y1) / (x2 - x1) == pytest.approx(-minus / plus, rel=1e-5)


def test_two_global_optima_that_favour_opposite_classes():
    found = RiskFrontier(TWO_OPTIMA, NATURAL).average_risk()
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx(0.12832, abs=5e-6)
    assert abs(found.risks.disparity) == pytest.approx(0.2090, abs=5e-4)
    assert found.gap <= 1e-8 * found.objective
    assert found.info["lower_bound"] == pytest.approx(found.objective - found.gap)


@pytest.mark.parametrize("delta", [0.0, 0.005, 0.02, 1.0])
@pytest.mark.parametrize("r", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("K", [1.0, 2.0])
def test_isotropic_classes_have_the_closed_forms(K, r, delta):
    model, tau = ClassGaussians.two_class([2.4, 1.8], 1.0, K, r), 3.0
    free = optimum(tau, K, r)
    if abs(free.disparity) <= delta:
        u, v = float(free.u), float(free.v)
    else:
        u, v, _ = map(float, fairness_constrained(tau, K, r, delta))
    found = RiskFrontier(model, NATURAL).average_risk(delta)
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx((ndtr(-u) + r * ndtr(-v)) / (1.0 + r), rel=1e-7)
    assert found.classifier.margins(model) == pytest.approx([u, v], abs=2e-4)
    assert abs(found.risks.disparity) <= delta + 1e-10


def plane(model, threat):
    """Risks (R_-, R_+) of every direction and threshold in the plane, on a grid; risks above 1/2 included."""
    angles = np.linspace(0.0, 2 * np.pi, 721)
    W = np.stack([np.cos(angles), np.sin(angles)], 1)
    gain = W @ (model.means[1] - model.means[0]) - threat.radii(2).sum() * threat.dual_norm(W)
    minus, plus = np.array([model.sds(w) for w in W]).T
    x = np.linspace(-6.0, 6.0, 1201)  # z_-
    y = (gain[:, None] - x * minus[:, None]) / plus[:, None]
    return np.broadcast_to(ndtr(-x), y.shape), ndtr(-y)


@pytest.mark.parametrize("priors", [(0.5, 0.5), (0.3, 0.7), (0.1, 0.9)])
@pytest.mark.parametrize("number", range(3))
def test_nothing_in_the_plane_is_better(number, priors):
    rng = np.random.default_rng(number)
    model, threat = gaussians(rng, 2, priors=priors), threats(rng, 2)[number]
    frontier, (minus, plus) = RiskFrontier(model, threat), plane(model, threat)
    average, disparity = priors[0] * minus + priors[1] * plus, np.abs(plus - minus)
    before = np.inf
    for most in (0.0, 0.02, 0.1, 0.3, 1.0):
        found = frontier.average_risk(most)
        allowed = disparity <= most + (0.0 if most else 1e-4)
        assert found.info["lower_bound"] <= average[allowed].min() + (0.0 if most else 1e-4)
        assert found.objective - found.gap <= found.info["lower_bound"] + 1e-15
        assert abs(found.risks.disparity) <= most + 1e-10
        assert found.objective == pytest.approx(found.risks.average(model.priors), rel=1e-9)
        assert found.objective <= before * (1.0 + 1e-8), "more is allowed"
        before = found.objective
        if found.status == Status.OPTIMAL and most:
            assert average[allowed].min() <= found.objective + 2e-3, "the grid is nearly as good"


@pytest.mark.parametrize("d", [2, 3])
def test_local_minima_are_never_below_the_bound(d):
    statuses = set()
    for model, threat in problems(d):
        found, near = RiskFrontier(model, threat).average_risk(), local.average_risk(model, threat, starts=2)
        assert found.info["lower_bound"] <= near.objective * (1.0 + 1e-12)
        assert found.objective <= near.objective * (1.0 + 1e-8)
        assert found.gap <= 1e-8 * found.objective or found.status == Status.INACCURATE
        statuses.add(found.status)
    assert Status.OPTIMAL in statuses


def test_pareto_prices_fairness():
    frontier = RiskFrontier(TWO_OPTIMA, Threat("linf", 0.1))
    found = frontier.pareto([0.0, 0.05, 0.1, 0.2, 0.5])
    risks = [f.objective for f in found]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] == pytest.approx(convex.minimax_fair(TWO_OPTIMA, Threat("linf", 0.1)).objective, rel=1e-7)
    assert [abs(f.risks.disparity) for f in found[:4]] == pytest.approx([0.0, 0.05, 0.1, 0.2], abs=1e-8)
    assert all(f.status == Status.OPTIMAL for f in found)


def test_the_bound_beyond_one_half_closes_where_a_constant_is_best():
    """Isotropic with K = 2: F is a line, so the bound is exact, and the rare class is given up."""
    model = ClassGaussians.two_class([0.5], 1.0, 2.0, 40.0)
    found = RiskFrontier(model, NATURAL).average_risk()
    assert found.status == Status.CONSTANT_OPTIMAL
    assert not found.classifier.w.any()
    assert found.objective == pytest.approx(1.0 / 41.0, rel=1e-12)
    assert found.gap == pytest.approx(0.0, abs=1e-9)
    assert found.info["angle"] is None


@pytest.mark.parametrize("status", [Status.OPTIMAL, Status.INACCURATE])
def test_an_optimum_with_a_class_risk_above_one_half(status):
    """Certified where the means differ along the direction of the greatest ratio of sds, else reported with its gap."""
    tilt = 0.0 if status == Status.OPTIMAL else 0.3
    covs = np.array([[[1.0, tilt], [tilt, 0.5]], [[1.0, -tilt], [-tilt, 3.0]]])
    model = ClassGaussians([[-0.5, 0.0], [0.5, 0.0]], covs, [0.1, 0.9])
    found = RiskFrontier(model, NATURAL).average_risk()
    assert found.risks.value[0] > 0.5
    assert found.info["angle"] is None
    assert found.objective == pytest.approx(local.average_risk(model, NATURAL).objective, rel=1e-9)
    assert found.status == status
    assert found.gap < 0.005 * found.objective
    bounded = RiskFrontier(model, NATURAL).average_risk(0.1)
    assert bounded.status == Status.OPTIMAL, "the constraint excludes it"
    assert bounded.info["angle"] is not None


@pytest.mark.parametrize(
    "prior, tau, K, most, want",
    [(0.03, 0.5, 1.0, 0.6, 0.14976), (0.05, 1.0, 1.0, 0.9, 0.05467), (0.5, 0.3, 2.0, 0.4, 0.40400)],
)
def test_constrained_optima_beyond_one_half(prior, tau, K, most, want):
    """The disparity binds at a class risk above 1/2; values from the closed form along the line."""
    found = RiskFrontier(ClassGaussians.two_class([tau], 1.0, K, (1 - prior) / prior), NATURAL).average_risk(most)
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx(want, abs=5e-6)
    assert found.risks.value.max() > 0.5


def test_impossible_and_trivial_problems():
    met = RiskFrontier(ClassGaussians.two_class([1.0], 1.0, 2.0), Threat("linf", 0.5))
    assert met.average_risk().status == Status.NOT_ROBUSTLY_SEPARABLE
    flat = RiskFrontier(ClassGaussians([[-1.0, 0.0], [1.0, 0.0]], np.array([np.diag([0.0, 1.0])] * 2)), NATURAL)
    found = flat.average_risk()
    assert found.status == Status.ROBUSTLY_SEPARABLE
    assert found.objective == 0.0
    for frontier, why in ((met, "a robust distance of 0"), (flat, "a direction without spread")):
        with pytest.raises(ValueError, match=f"must have a frontier, got {why}"):
            frontier.point(0.5)


def test_units_do_not_matter():
    rng = np.random.default_rng(3)
    model, scale = gaussians(rng, 3, priors=[0.4, 0.6]), np.array([1e-6, 1.0, 1e5])
    other = ClassGaussians(model.means * scale, model.covs * np.outer(scale, scale), model.priors)
    for most in (0.05, 1.0):
        a, b = (RiskFrontier(m, NATURAL).average_risk(most) for m in (model, other))
        assert a.objective == pytest.approx(b.objective, rel=1e-7)
        assert b.status == Status.OPTIMAL


def test_more_points_close_the_gap():
    gaps = [RiskFrontier(TWO_OPTIMA, NATURAL).average_risk(tol=tol) for tol in (1e-2, 1e-4, 1e-6, 1e-8)]
    assert [g.gap <= tol * g.objective for g, tol in zip(gaps, (1e-2, 1e-4, 1e-6, 1e-8), strict=True)] == [True] * 4
    points = [g.info["points"] for g in gaps]
    assert points == sorted(points)
    assert points[-1] <= 40


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: f.point(2.0), r"angle must lie in \[0, 1.5708\], got 2"),
        (lambda f: f.average_risk(1.5), r"max_disparity must lie in \[0, 1\], got 1.5"),
        (lambda f: f.average_risk(-0.1), r"max_disparity must lie in \[0, 1\]"),
        (lambda f: f.average_risk(tol=0.0), r"tol must be > 0"),
        (lambda f: f.pareto(0.1), r"disparities must"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(RiskFrontier(TWO_OPTIMA, NATURAL))


def test_three_classes_are_refused():
    with pytest.raises(ValueError, match="model must have 2 classes, got 3"):
        RiskFrontier(ClassGaussians(np.eye(3), 1.0), NATURAL)


def test_the_classifier_is_of_length_one():
    found = RiskFrontier(TWO_OPTIMA, NATURAL).average_risk(0.1)
    assert isinstance(found.classifier, LinearClassifier)
    assert np.linalg.norm(found.classifier.w) == pytest.approx(1.0)
