"""The frontier where floating point ends: singular covariances, the slightest disparities, sd ratios, far classes."""
# pyright: reportOptionalOperand=false

import numpy as np
import pytest
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers.closed_form import optimum
from linfair.solvers.frontier import RiskFrontier
from linfair.solvers.solution import Status
from test_frontier import NATURAL, TWO_OPTIMA

FLAT = np.diag([1.0, 0.0])


@pytest.mark.parametrize("most", [0.0, 0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("first", [True, False])
def test_a_class_without_spread_in_some_direction(first, most):
    """Class - has no risk at all where the boundary is level; full fairness must not use that."""
    covs = np.array([FLAT, np.eye(2)] if first else [np.eye(2), FLAT])
    frontier = RiskFrontier(ClassGaussians([[-1.0, -1.0], [1.0, 1.0]], covs), Threat("l2", 0.2))
    if first:
        start, _, end = frontier.angles
        assert start == 0.0
        assert end < np.pi / 2
        assert frontier.point(end).attained[0] >= 40.0
    found = frontier.average_risk(most)
    risks = found.classifier.class_risks(frontier.model, frontier.threat)
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx(risks.average([0.5, 0.5]), rel=1e-12)
    assert abs(risks.disparity) <= most + 1e-10
    want = {0.0: 0.0511995, 0.01: 0.0476759}.get(most, ndtr(-1.6) / 2.0)  # 1.6: class + alone along x_2
    assert found.objective == pytest.approx(want, rel=1e-5)


def test_fairness_that_can_only_be_approached():
    """The best fair direction has no spread of class -: beside it there are fair classifiers nearly as good."""
    model = ClassGaussians([[-1.0, -1.0], [1.0, 1.0]], np.array([FLAT, np.ones((2, 2))]))
    for most in (0.0, 0.01):
        found = RiskFrontier(model, Threat("l2", 0.1)).average_risk(most)
        assert abs(found.risks.disparity) <= most + 1e-10
        assert found.status == Status.INACCURATE
        assert found.objective == pytest.approx(ndtr(-1.8), rel=1e-3)
        assert found.info["lower_bound"] == pytest.approx(ndtr(-1.8) - most / 2, rel=1e-6)


@pytest.mark.parametrize("most", [3e-11, 1e-11, 1e-13, 1e-16, 1e-300])
def test_the_slightest_disparity_is_no_trap(most):
    found = RiskFrontier(TWO_OPTIMA, Threat("l2", 0.05)).average_risk(most)
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx(RiskFrontier(TWO_OPTIMA, Threat("l2", 0.05)).average_risk(0.0).objective)


@pytest.mark.parametrize("K", [1e3, 1e8])
def test_ratios_of_sds_without_end(K):
    found = RiskFrontier(ClassGaussians.two_class([3.0], 1.0, K), NATURAL).average_risk(0.3)
    assert found.status == Status.OPTIMAL
    assert found.risks.value == pytest.approx([0.2, 0.5], abs=2e-3)


@pytest.mark.parametrize("tau", [60.0, 110.0, 120.0, 1e4])
@pytest.mark.parametrize("most", [0.0, 1e-40, 1.0])
def test_far_classes(tau, most):
    """Risks to 1e-294, then 0."""
    found = RiskFrontier(ClassGaussians.two_class([tau], 1.0, 2.0), NATURAL).average_risk(most)
    best = optimum(tau, 2.0)
    want = ndtr(-tau / 3.0) if most == 0.0 else (best.risk_minus + best.risk_plus) / 2.0
    assert found.status == Status.OPTIMAL
    assert found.objective == pytest.approx(float(want), rel=1e-6)


@pytest.mark.parametrize("covs", [[0.0, 1.0], [1.0, 0.0]])
@pytest.mark.parametrize("shift", [0.0, 1e7])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_class_without_any_spread(covs, shift, dim):
    """The boundary passes as near to the point as it likes: risks of 0 and Phi(-2.8)."""
    means = np.zeros((2, dim))
    means[:, 0] = shift, shift + 3.0
    for most in (1.0, 0.1, 0.0):
        found = RiskFrontier(ClassGaussians(means, covs), Threat("l2", 0.1)).average_risk(most)
        assert found.objective == pytest.approx(ndtr(-2.8) / 2.0, rel=1e-7)
        if most == 0.0:  # a point has a risk of 0 or 1
            assert (found.status, found.gap) == (Status.INACCURATE, np.inf)
        else:
            assert found.status == Status.OPTIMAL if shift == 0.0 else found.gap < 1e-9
    assert found.info["lower_bound"] == pytest.approx(ndtr(-2.8))


@pytest.mark.parametrize("covs", [[0.0, 1.0], [1.0, 0.0]])
def test_a_point_nearly_bridged(covs):
    found = RiskFrontier(
        ClassGaussians([[0.5, 0.1], [3.0, -0.4]], covs), Threat("l1", (0.9999 * 3, 0.0))
    ).average_risk()
    assert found.objective == pytest.approx(ndtr(-0.0003 / np.sqrt(2)) / 2, rel=1e-9)
    assert found.gap < 1e-9


@pytest.mark.parametrize("K", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("most", [0.0, 0.2, 1.0])
def test_classes_that_meet_have_a_bound(K, most):
    """No more than ``z_+ = -z_- / K`` is possible."""
    model = ClassGaussians([[0.0], [1.0]], [1.0, K**2], [0.3, 0.7])
    found = RiskFrontier(model, Threat("l2", 0.5)).average_risk(most)
    x = np.linspace(-50.0, 50.0, 100001)
    risks = np.array([ndtr(-x), ndtr(x / K)])
    want = (model.priors @ risks)[np.abs(risks[1] - risks[0]) <= most].min()
    assert (found.status, found.objective) == (Status.NOT_ROBUSTLY_SEPARABLE, 0.5)
    assert found.info["lower_bound"] == pytest.approx(want, abs=1e-3)
    assert found.info["lower_bound"] <= want + 1e-12
    assert found.gap == pytest.approx(0.5 - found.info["lower_bound"])
    assert (found.info["angle"], found.info["points"]) == (None, 0)


def test_classes_without_risk_have_a_bound():
    found = RiskFrontier(ClassGaussians([[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]] * 2), Threat("l2", 0.1)).average_risk()
    assert (found.status, found.objective, found.gap) == (Status.ROBUSTLY_SEPARABLE, 0.0, 0.0)
    assert {k: found.info[k] for k in ("lower_bound", "angle", "points")} == {
        "lower_bound": 0,
        "angle": None,
        "points": 0,
    }
