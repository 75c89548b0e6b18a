"""The minimax classifier where floating point ends: points, far origins, robust distances of next to nothing."""
# pyright: reportOptionalOperand=false

import numpy as np
import pytest
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.norms import NATURAL, Threat
from linfair.solvers import convex, fast, local
from linfair.solvers.frontier import RiskFrontier
from linfair.solvers.solution import Status

BOTH = pytest.mark.parametrize("solve", [fast.minimax_fair, convex.minimax_fair])


def average_risk(model, threat):
    return RiskFrontier(model, threat).average_risk()


@pytest.mark.parametrize("solve", [fast.minimax_fair, convex.minimax_fair, local.average_risk, average_risk])
def test_points_nearly_bridged_have_no_risk(solve):
    points, threat = ClassGaussians([[0.5, 0.1], [3.0, -0.4]], 0.0), Threat("l1", (0.9999 * 3, 0.0))
    found = solve(points, threat)
    assert (found.status, found.objective) == (Status.ROBUSTLY_SEPARABLE, 0.0)
    assert found.classifier.class_risks(points, threat).value.max() == 0.0
    assert solve(ClassGaussians([[-1.0], [1.0]], 0.0), Threat("l2", 1 - 1e-12)).status == Status.ROBUSTLY_SEPARABLE


@BOTH
@pytest.mark.parametrize("shift", [0.0, 1e6, 1e7, 1e8, 1e12])
@pytest.mark.parametrize("covs", [[0.0, 1.0], [1.0, 0.0]])
def test_a_point_far_from_the_origin_is_on_its_side(solve, shift, covs):
    model, threat = ClassGaussians([[shift, 0.0], [shift + 3.0, 0.0]], covs), Threat("l2", 0.1)
    found = solve(model, threat)
    assert found.status == (Status.OPTIMAL if shift < 1e9 else Status.INACCURATE)
    assert np.sort(found.risks.value) == pytest.approx([0.0, ndtr(-2.8)], rel=1e-6 if shift < 1e9 else 1e-2)
    assert found.risks.value.max() == pytest.approx(found.objective, rel=1e-8)
    assert found.classifier.margins(model, threat).min() >= found.info["kappa_high"] - found.gap - 4e-9


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_point_at_next_to_no_distance_is_on_its_side(norm):
    rng = np.random.default_rng(0)
    for means in rng.standard_normal((20, 2, 2)):
        distance = float(Threat(norm).ball.of(means[1] - means[0]))
        found = fast.minimax_fair(ClassGaussians(means, [0.0, 1.0]), Threat(norm, (distance * (1 - 1e-6), 0.0)))
        assert found.risks.value.max() <= found.objective + 1e-9


def test_a_threshold_without_digits_is_no_optimum():
    found = fast.minimax_fair(ClassGaussians([[1e7], [1e7 + 2e-9]], 1e-20), NATURAL)
    assert found.status == Status.INACCURATE
    assert found.objective == found.risks.value.max()
    assert found.gap >= found.info["kappa_high"]


@pytest.mark.parametrize("dim", [1, 3])
def test_narrow_classes_do_not_meet(dim):
    sd = 1e-10
    means, covs = np.zeros((2, dim)), sd**2
    means[:, 0] = -1.0, 1.0
    model, threat = ClassGaussians(means, covs), Threat("l2", 1 - 5 * sd)
    for solve in (fast.minimax_fair, average_risk):
        found = solve(model, threat)
        assert found.status in (Status.OPTIMAL, Status.INACCURATE)
        assert found.objective == pytest.approx(ndtr(-5.0), rel=1e-4)
        assert found.gap < 1e-5
    assert fast.minimax_fair(model, threat).info["kappa_low"] == pytest.approx(5.0, rel=1e-6)
    cones = convex.minimax_fair(model, threat)  # no resolution for it, and no claim
    assert cones.status == Status.INACCURATE
    assert cones.info["kappa_high"] >= 5.0
    assert convex.max_min_margin(model, threat).status != Status.NOT_ROBUSTLY_SEPARABLE
    for bridging in (1.0, 1.0 + 1e-15):
        for solve in (fast.minimax_fair, convex.minimax_fair, average_risk):
            assert solve(model, Threat("l2", bridging)).status == Status.NOT_ROBUSTLY_SEPARABLE


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_wide_classes_met_to_rounding_have_met(norm):
    rng = np.random.default_rng(0)
    for means in rng.standard_normal((20, 2, 3)):
        threat = Threat(norm, float(Threat(norm).ball.of(means[1] - means[0])) / 2)
        for covs in (1.0, 1e-12, [0.0, 1.0]):
            found = fast.minimax_fair(ClassGaussians(means, covs), threat)
            assert found.status == Status.NOT_ROBUSTLY_SEPARABLE
