"""The average robust 0-1 risk: known optima, several minima, constants, gradients."""
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from instances import gaussians, lift, threats
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import BetaLambda, DirichletMix, FixedLambda, UniformMix
from linfair.norms import Threat
from linfair.solvers import fast, local
from linfair.solvers.solution import Status

CROSSED = ClassGaussians(np.array([[-1.0, -1.0], [1.0, 1.0]]), np.array([[4.0, 0.1], [0.1, 4.0]]))


def test_two_global_minima_favour_opposite_classes():
    found = local.average_risk(CROSSED, Threat("l2", 0.0))
    (first, one), (second, other) = found.info["minima"][:2]
    assert found.objective == first == pytest.approx(0.12832, abs=5e-6)
    assert second == pytest.approx(first, abs=1e-9)
    disparities = sorted(c.class_risks(CROSSED).disparity for c in (one, other))
    assert disparities == pytest.approx([-0.2090, 0.2090], abs=2e-4)
    assert (found.status, found.gap, found.method) == (Status.LOCAL, None, "local, multi-start")


@pytest.mark.parametrize("mix", [None, FixedLambda(0.3), [BetaLambda(1.0), UniformMix(3)]])
@pytest.mark.parametrize("seed", range(2))
def test_a_minimum_is_not_beaten_nearby_and_the_gradient_is_right(mix, seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 3, distance=3.0, priors=[0.4, 0.6])
    for threat in threats(rng, 3):
        found = local.average_risk(model, threat, mix, starts=2)
        if found.status == Status.LOCAL:
            best = found.classifier
            for scale in (1e-5, 1e-3, 1e-1):
                for step in scale * rng.standard_normal((20, 4)):
                    near = LinearClassifier(best.w + step[:3], best.b + step[3])
                    assert near.class_risks(model, threat, mix).average(model.priors) >= found.objective - 1e-9
        problem, x = local._AverageRisk(model, threat, mix), rng.standard_normal(4)
        x[:3] /= np.linalg.norm(x[:3])
        slope = approx_fprime(x, lambda x, problem=problem: problem.value_at(x, 0.1)[0], 1e-7)
        assert problem.value_at(x, 0.1)[1] == pytest.approx(slope, abs=1e-5)


def test_the_objective_is_the_training_risk_and_the_risks_are_unmixed():
    model, threat = gaussians(np.random.default_rng(5), 3), Threat("linf", (0.05, 0.1))
    found = local.average_risk(model, threat, DirichletMix(3, 1.0))
    trained = found.classifier.class_risks(model, threat, DirichletMix(3, 1.0)).average(model.priors)
    assert found.objective == pytest.approx(trained, rel=1e-12)
    assert found.risks.value == pytest.approx(found.classifier.class_risks(model, threat).value)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("lifted", [False, True])
def test_isotropic_classes_have_the_projected_direction(norm, lifted):
    delta = np.array([2.0, -1.0, 0.3])
    basis = np.eye(3)[:, [2, 0, 1]] if lifted else None
    found = local.average_risk(ClassGaussians.two_class(delta, 1.0, 2.0), Threat(norm, (0.1, 0.2), basis))
    direction = delta - Threat(norm).ball.project(delta, 0.3)
    assert found.classifier.w == pytest.approx(direction / np.linalg.norm(direction), abs=1e-4)


def test_constants_compete():
    model = ClassGaussians.two_class([0.5, 0.0], 1.0, 2.0, r=4.0)
    found = local.average_risk(model, Threat("l2", 0.1))
    assert found.status == Status.CONSTANT_OPTIMAL
    assert found.objective == pytest.approx(0.2)
    assert found.risks.value == pytest.approx([1.0, 0.0])
    swapped = local.average_risk(ClassGaussians(model.means, model.covs, model.priors[::-1]), Threat("linf", 9.0))
    assert swapped.status == Status.CONSTANT_OPTIMAL
    assert swapped.risks.value == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("covs", [[0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [3.0, 1.0]]], ids=str)
@pytest.mark.parametrize("threat", [Threat("l2", 0.0), Threat("linf", 0.2), Threat("l1", (0.1, 0.3))], ids=str)
def test_a_class_without_spread_puts_the_optimum_at_a_kink(covs, threat):
    model = ClassGaussians(np.array([[0.0, 0.0], [2.0, 1.0]]), np.array(covs))
    fair = fast.minimax_fair(model, threat).classifier.class_risks(model, threat).average(model.priors)
    found = local.average_risk(model, threat)
    assert found.objective <= fair * (1 + 1e-9)
    assert found.objective == found.info["minima"][0][0]
    assert found.classifier.class_risks(model, threat).average(model.priors) == found.objective


@pytest.mark.parametrize("covs", [[0.0, 0.0], [[1.0, 0.0], [2.0, 0.0]]], ids=str)
def test_a_direction_without_spread_has_no_risk_unless_the_attack_bridges_it(covs):
    model = ClassGaussians(np.array([[0.0, 0.0], [2.0, 1.0]]), np.array(covs))
    found = local.average_risk(model, Threat("linf", 0.2))
    assert (found.status, found.objective) == (Status.ROBUSTLY_SEPARABLE, 0.0)
    assert found.classifier.class_risks(model, Threat("linf", 0.2)).value == pytest.approx([0.0, 0.0], abs=1e-300)
    assert found.info["minima"][0] == (0.0, found.classifier)
    bridged = local.average_risk(model, Threat("linf", 2.2))
    assert (bridged.status, bridged.objective) == (Status.CONSTANT_OPTIMAL, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_covariances_of_low_rank(seed):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((2, 3, 1 + seed % 2))
    model = ClassGaussians(rng.standard_normal((2, 3)), roots @ roots.transpose(0, 2, 1))
    for threat in (Threat("l2", 0.2), Threat("linf", 0.1), Threat("l1", 1.0)):
        found, fair = local.average_risk(model, threat, starts=2), fast.minimax_fair(model, threat).maybe_classifier
        if fair is not None:
            assert found.objective <= fair.class_risks(model, threat).average(model.priors) * (1 + 1e-9)


def test_classes_that_nothing_tells_apart_have_a_constant():
    found = local.average_risk(ClassGaussians(np.zeros((2, 2)), 1.0), Threat("l2", 0.0))
    assert (found.status, found.objective) == (Status.CONSTANT_OPTIMAL, 0.5)


def test_tails_far_below_double_precision_of_one():
    model = ClassGaussians.two_class([60.0, 0.0], 1.0, 2.0)
    found = local.average_risk(model, Threat("l2", 0.0))
    assert 0.0 < found.objective < 1e-80
    assert found.classifier.w == pytest.approx([1.0, 0.0], abs=1e-4)


def test_the_seed_decides_the_random_starts():
    rng = np.random.default_rng(0)
    model, threat = gaussians(rng, 4), Threat("linf", 0.05, lift(rng, 4))
    first, again = (local.average_risk(model, threat, seed=3) for _ in range(2))
    assert first.objective == again.objective


def test_bad_input():
    with pytest.raises(ValueError, match="model must have 2 classes, got 3"):
        local.average_risk(ClassGaussians(np.eye(3), 1.0), Threat("l2", 0.1))
    with pytest.raises(ValueError, match="starts must be at least 0"):
        local.average_risk(CROSSED, Threat("l2", 0.1), starts=-1)
