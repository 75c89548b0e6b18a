"""The cvxpy programs: known answers, certificates, statuses; no warning and no exception leaks from a solver."""
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import ndtr

from instances import gaussians, samples, threats
from linfair._check import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import FixedLambda, mix_within_class
from linfair.norms import Threat
from linfair.solvers import convex
from linfair.solvers.certificates import kappa_bracket
from linfair.solvers.solution import Status


@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_hinge_is_certified_for_every_threat(ridge):
    rng = np.random.default_rng(0)
    X, y = mix_within_class(*samples(rng, 80, 4), FixedLambda(0.7), rng)
    for threat in threats(rng, 4):
        found = convex.robust_erm(X, y, threat, "hinge", ridge=ridge)
        assert found.status == Status.OPTIMAL
        assert found.gap < 1e-8
        m = found.classifier.robust_margins(X, y, threat)
        value = np.maximum(0, 1 - m).mean() + ridge / 2 * found.classifier.w @ found.classifier.w
        assert found.objective == pytest.approx(value, abs=1e-12)


def test_linf_hinge_is_the_linear_program_of_scipy():
    rng = np.random.default_rng(1)
    X, y = samples(rng, 50, 3)
    s, eps = 2.0 * y - 1.0, np.array([0.1, 0.25])[y]
    rows = np.hstack([-s[:, None] * X + eps[:, None], s[:, None] * X + eps[:, None], -s[:, None], -np.eye(50)])
    bounds = [(0, None)] * 6 + [(None, None)] + [(0, None)] * 50
    known = linprog(np.r_[np.zeros(7), np.full(50, 1 / 50)], rows, -np.ones(50), bounds=bounds)
    assert convex.robust_erm(X, y, Threat("linf", (0.1, 0.25)), "hinge").objective == pytest.approx(known.fun, abs=1e-9)


def test_hinge_has_a_minimiser_on_separable_data_and_logistic_has_not():
    X, y = samples(np.random.default_rng(2), 40, 3, distance=9.0)
    hinge = convex.robust_erm(X, y, Threat("linf", 0.1), "hinge")
    assert hinge.status == Status.OPTIMAL
    assert hinge.objective == pytest.approx(0.0, abs=1e-8)
    logistic = convex.robust_erm(X, y, Threat("linf", 0.1))
    assert logistic.status == Status.ROBUSTLY_SEPARABLE
    assert "maximum margin" in logistic.method
    assert logistic.info["margin_high"] == pytest.approx(logistic.info["margin_low"], rel=1e-6)
    assert logistic.classifier.robust_margins(X, y, Threat("linf", 0.1)).min() == pytest.approx(1.0)


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_too_strong_an_attack_leaves_the_constant(loss):
    X, y = samples(np.random.default_rng(3), 60, 3)
    found = convex.robust_erm(X, y, Threat("l1", 20.0), loss)
    assert found.status == Status.CONSTANT_OPTIMAL
    assert found.gap < 1e-8
    assert not found.classifier.w.any()


def test_a_poor_solver_is_a_status_not_an_exception():
    X, y = samples(np.random.default_rng(4), 60, 3)
    found = convex.robust_erm(X, y, Threat("l2", 0.1), solver="SCS")
    assert found.status in {Status.OPTIMAL, Status.INACCURATE}
    assert found.gap >= 0.0
    unable = convex.robust_erm(X, y, Threat("l2", 0.1), solver="OSQP")  # knows no exponential cone
    assert unable.status == Status.INACCURATE
    assert unable.maybe_classifier is None
    assert unable.gap == np.inf
    assert convex.minimax_fair(gaussians(np.random.default_rng(0), 3), Threat("l2", 0.1), solver="OSQP").gap == np.inf


def test_an_unknown_solver_is_malformed_input():
    with pytest.raises(ValueError, match=r"solver must be one of .*got 'MAGIC'; install it"):
        convex.minimax_fair(gaussians(np.random.default_rng(0), 3), Threat("l2", 0.1), solver="MAGIC")


@pytest.mark.parametrize("seed", range(3))
def test_minimax_equalises_the_class_risks_at_the_bracketed_kappa(seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 5, distance=4.0, priors=[0.2, 0.8])
    for threat in threats(rng, 5):
        found = convex.minimax_fair(model, threat)
        low, high = found.info["kappa_low"], found.info["kappa_high"]
        assert found.status == Status.OPTIMAL
        assert 0.0 <= high - low < 1e-8
        assert found.gap == high - low
        assert found.risks.value == pytest.approx(ndtr(-low), rel=1e-9)
        assert np.linalg.norm(found.classifier.w) == pytest.approx(1.0)


def test_minimax_is_not_beaten_by_random_classifiers():
    rng = np.random.default_rng(7)
    model, threat = gaussians(rng, 3), Threat("linf", (0.05, 0.15))
    found = convex.minimax_fair(model, threat)
    for scale in (1e-3, 1e-2, 0.1, 1.0):
        for step in scale * rng.standard_normal((50, 4)):
            near = LinearClassifier(found.classifier.w + step[:3], found.classifier.b + step[3])
            assert near.margins(model, threat).min() <= found.info["kappa_high"] + 1e-12


def test_singular_covariances():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 2))
    thin = ClassGaussians(rng.standard_normal((2, 5)), np.stack([root @ root.T, np.eye(5)]))
    found = convex.minimax_fair(thin, Threat("linf", 0.1))
    assert found.status == Status.OPTIMAL
    assert found.gap < 1e-7
    kinked = ClassGaussians(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([[4.0, 0.0], [1.0, 1.0]]))
    found = convex.minimax_fair(kinked, Threat("l2", 0.0))  # the optimum has no spread in class 0
    assert found.info["kappa_low"] == pytest.approx(3.0, rel=1e-6)
    assert found.status == Status.OPTIMAL
    same = ClassGaussians(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([[4.0, 0.0], [1.0, 0.0]]))
    assert convex.minimax_fair(same, Threat("l2", 1.0)).status == Status.ROBUSTLY_SEPARABLE
    assert convex.minimax_fair(same, Threat("l2", 1.6)).status == Status.NOT_ROBUSTLY_SEPARABLE


@pytest.mark.parametrize("seed", range(3))
def test_a_common_covariance_makes_kappa_a_projection(seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 4, distance=4.0)
    model = ClassGaussians(model.means, model.covs[[0, 0]])
    for threat in threats(rng, 4):
        found = convex.minimax_fair(model, threat)
        assert convex.common_covariance_kappa(model, threat) == pytest.approx(found.info["kappa_low"], abs=1e-8)
    assert convex.common_covariance_kappa(model, Threat("linf", 50.0)) == pytest.approx(0.0, abs=1e-8)


def test_the_projection_needs_a_common_covariance():
    with pytest.raises(AssumptionError, match="covariances must be equal"):
        convex.common_covariance_kappa(gaussians(np.random.default_rng(0), 3), Threat("l2", 0.1))


def test_max_min_margin_of_a_regular_triangle():
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [1.5, 1.5 * np.sqrt(3)]])
    found = convex.max_min_margin(ClassGaussians(corners, 1.0), Threat("l2", 0.1))
    assert found.status == Status.OPTIMAL
    assert found.info["kappa_low"] <= 1.4 + 1e-9
    assert found.info["kappa_high"] >= 1.4 - 1e-9
    assert found.gap < 1e-8
    assert (found.risks.lower >= ndtr(-1.4) - 1e-8).all()
    assert (found.risks.upper <= 2 * ndtr(-1.4) + 1e-8).all()


def test_max_min_margin_of_three_classes_on_a_line_is_not_minimax_fair():
    line = ClassGaussians(np.array([[-3.0], [0.0], [3.0]]), 1.0)
    found = convex.max_min_margin(line, Threat("l2", 0.0))
    assert found.info["kappa_low"] == pytest.approx(1.5, abs=1e-8)
    assert found.risks.disparity == pytest.approx(0.0668072013, abs=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_two_classes_are_the_minimax_problem(seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 4, distance=4.0)
    for threat in threats(rng, 4):
        found = convex.max_min_margin(model, threat)
        low, high = kappa_bracket(model, threat, convex.minimax_fair(model, threat).classifier.w)
        assert found.info["kappa_low"] <= high + 1e-9
        assert found.info["kappa_high"] >= low - 1e-9
        assert found.gap < 1e-6


def test_a_solver_that_gives_up_at_the_optimum_is_asked_again_below_it(monkeypatch):
    model, threat = gaussians(np.random.default_rng(1), 4, distance=4.0), Threat("l2", 0.2)
    usual, levels, real = convex.max_min_margin(model, threat), [], convex.PairwiseProgram.solve

    def solve(program, k):
        levels.append(k)
        return None if len(levels) == 4 else real(program, k)

    monkeypatch.setattr(convex.PairwiseProgram, "solve", solve)
    found = convex.max_min_margin(model, threat)
    assert levels[4] == pytest.approx(levels[3] * (1 - convex.EASE), rel=1e-15)
    assert found.gap < 1e-6
    assert found.info["kappa_low"] == pytest.approx(usual.info["kappa_low"], rel=1e-8)


@pytest.mark.parametrize("threat", [Threat("l2", 0.05), Threat("linf", (0.0, 0.05, 0.1, 0.02)), Threat("l1", 0.1)])
def test_max_min_margin_brackets_four_classes(threat):
    rng = np.random.default_rng(3)
    model = gaussians(rng, 3, distance=8.0, C=4)
    found = convex.max_min_margin(model, threat)
    assert found.status == Status.OPTIMAL
    assert found.info["kappa_low"] <= found.info["kappa_high"] + 1e-12
    too_much = convex.max_min_margin(model, threat.scaled(400.0))
    assert too_much.status == Status.NOT_ROBUSTLY_SEPARABLE
    assert too_much.maybe_classifier is None


@pytest.mark.parametrize("covs", [0.0, np.array([[1.0, 0.0, 0.0]] * 3)], ids=["points", "one direction"])
def test_max_min_margin_of_classes_without_spread(covs):
    means = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    for threat in (Threat("l2", 0.0), Threat("linf", 0.3), Threat("l1", (0.1, 0.2, 0.3))):
        found = convex.max_min_margin(ClassGaussians(means, covs), threat)
        assert (found.status, found.objective, found.gap) == (Status.ROBUSTLY_SEPARABLE, 0.0, 0.0)
        assert found.info["kappa_low"] == found.info["kappa_high"] == np.inf
        assert (found.classifier.robust_margins(means, [0, 1, 2], threat) > 0.0).all()
    assert convex.max_min_margin(ClassGaussians(means, covs), Threat("l2", 9.0)).status == Status.NOT_ROBUSTLY_SEPARABLE
