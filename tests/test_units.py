"""Solvers and certificates: the same in whatever units features are measured, and whatever rank covariances have."""

import numpy as np
import pytest

from linfair.gaussian import ClassGaussians
from linfair.norms import NATURAL, Threat
from linfair.solvers import convex, fast, local
from linfair.solvers._rank import null_space, scaled_root
from linfair.solvers.certificates import kappa_bracket
from linfair.solvers.frontier import RiskFrontier
from linfair.solvers.solution import Status

MONEY_AND_RATE = ClassGaussians([[50000, 0.1], [52000, 0.11]], [[2.5e9, 4e-4], [3e9, 3e-4]])
ONES = ClassGaussians([[0.0, 0.0], [2000 / 1e5, 0.01 / 1e-2]], [[0.25, 4.0], [0.3, 3.0]])
"""The same two classes, centred, with units 1e5 and 1e-2."""


@pytest.mark.parametrize("solve", [fast.minimax_fair, convex.minimax_fair])
def test_the_minimax_risk_does_not_depend_on_units(solve):
    found, want = (solve(model, NATURAL) for model in (MONEY_AND_RATE, ONES))
    assert found.status == want.status == Status.OPTIMAL
    np.testing.assert_allclose(found.risks.value, want.risks.value, rtol=1e-6)
    np.testing.assert_allclose(found.classifier.class_risks(MONEY_AND_RATE).value, found.risks.value, rtol=1e-9)


def test_the_other_solvers_do_not_depend_on_units():
    found, want = (local.average_risk(model, NATURAL) for model in (MONEY_AND_RATE, ONES))
    assert found.objective == pytest.approx(want.objective, rel=1e-4)
    three = [
        ClassGaussians(np.vstack([m.means, 2 * m.means[1] - m.means[0]]), np.stack([*m.full_covs(), m.full_covs()[1]]))
        for m in (MONEY_AND_RATE, ONES)
    ]
    found, want = (convex.max_min_margin(model, NATURAL) for model in three)
    assert want.status == Status.OPTIMAL
    assert found.status in (Status.OPTIMAL, Status.INACCURATE)  # the cone solver may give up; its bracket holds
    assert found.info["kappa_low"] <= want.info["kappa_high"]
    assert found.info["kappa_high"] >= want.info["kappa_low"]


def test_a_zero_risk_is_that_of_the_classifier():
    """No spread at all in one feature, however small its difference is beside the other's."""
    model = ClassGaussians([[0, 0], [1, 1e-10]], [[1, 0]] * 2)
    found = fast.minimax_fair(model, NATURAL)
    assert found.status == Status.ROBUSTLY_SEPARABLE
    assert found.classifier.class_risks(model).value.max() == 0.0


@pytest.mark.parametrize("rows", [[[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], np.diag([1e12, 1.0, 1e-12])])
def test_roots_and_null_spaces(rows):
    cov = np.array(rows)
    root, basis = scaled_root(cov), null_space(cov)
    np.testing.assert_allclose(root @ root.T, cov, rtol=1e-12, atol=0.0)
    assert basis.shape[1] == (cov[2] == 0.0).all()
    np.testing.assert_allclose(cov @ basis, 0.0, atol=1e-12)


def test_a_direction_without_gain_bounds_nothing():
    model = ClassGaussians([[0, 0], [2, 0]], [[1, 1]] * 2)
    assert kappa_bracket(model, NATURAL, [0, 0]) == pytest.approx((0.0, 1.0))
    flat = ClassGaussians([[0, 0], [2, 0]], [[1, 0]] * 2)
    assert kappa_bracket(flat, NATURAL, [0, 1]) == pytest.approx((0.0, 1.0))
    assert kappa_bracket(ClassGaussians([[0.0], [1.0]], [[9.0], [9.0]]), Threat("l2", 1.0), [1.0])[0] == 0.0


@pytest.mark.parametrize("seed", range(12))
def test_lines_of_spread_have_valid_brackets(seed):
    """Covariances aa' and bb' in the plane: the best direction is orthogonal to a or b, or where a bracket ends."""
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.standard_normal((2, 2)), 1)
    model = ClassGaussians(np.round(2 * rng.standard_normal((2, 2)), 1), [np.outer(a, a), np.outer(b, b)])
    eps = 0.1 * (seed % 2)
    threat = Threat("linf", eps)
    angles = np.linspace(0, np.pi, 20001)
    W = np.vstack([np.c_[np.cos(angles), np.sin(angles)], [[-a[1], a[0]], [-b[1], b[0]]]])
    delta = model.means[1] - model.means[0]
    best = ((np.abs(W @ delta) - 2 * eps * np.abs(W).sum(1)) / (np.abs(W @ a) + np.abs(W @ b))).max()
    for dual in ((np.array([1.0, -1.0]), np.array([0.0, 1.0]), np.zeros(2)), (np.eye(2)[0], np.eye(2)[1], None)):
        low, high = kappa_bracket(model, threat, delta, dual)
        assert low <= max(best, 0.0) * (1 + 1e-6)
        assert high >= best * (1 - 1e-6)
    found = fast.minimax_fair(model, threat)
    if found.status == Status.OPTIMAL:
        assert found.info["kappa_low"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("seed", range(8, 24))
def test_covariances_of_any_rank(seed):
    rng = np.random.default_rng(seed)
    A, means = [rng.standard_normal((3, 2)), rng.standard_normal((3, 1))], rng.standard_normal((2, 3))
    model = ClassGaussians(means, [a @ a.T for a in A])
    found = fast.minimax_fair(model, NATURAL)
    assert found.status in (Status.OPTIMAL, Status.ROBUSTLY_SEPARABLE)
    low, high = found.info["kappa_low"], found.info["kappa_high"]
    assert low == pytest.approx(high, rel=1e-6)
    local.average_risk(model, NATURAL)


@pytest.mark.parametrize("dim, seed", [(2, 2), (6, 0), (6, 1)])
@pytest.mark.parametrize("spread", [1e2, 1e6, 1e12])
def test_the_average_risk_does_not_depend_on_units(dim, seed, spread):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((2, dim, dim))
    covs, means = np.einsum("kij,klj->kil", roots, roots), rng.standard_normal((2, dim)) * 1.5
    units = np.geomspace(np.sqrt(spread), 1 / np.sqrt(spread), dim)
    want, found = (
        local.average_risk(ClassGaussians(means * u, covs * np.outer(u, u), [0.3, 0.7]), NATURAL)
        for u in (np.ones(dim), units)
    )
    assert found.objective == pytest.approx(want.objective, rel=1e-9)
    if dim == 2:
        assert want.objective == pytest.approx(0.2258557, rel=1e-6)


@pytest.mark.parametrize(
    "threat", [Threat("linf", 1e-7), Threat("l1", (2e-7, 1e-7)), Threat("linf", 1e-7, np.eye(2)[::-1])]
)
def test_an_attack_in_mixed_units_has_a_minimum(threat):
    rng = np.random.default_rng(2)
    roots, units = rng.standard_normal((2, 2, 2)), np.array([1e6, 1e-6])
    covs, means = np.einsum("kij,klj->kil", roots, roots), rng.standard_normal((2, 2)) * 1.5
    model = ClassGaussians(means * units, covs * np.outer(units, units), [0.3, 0.7])
    found = local.average_risk(model, threat)
    bound = RiskFrontier(model, threat).average_risk()
    assert bound.info["lower_bound"] * (1 - 1e-9) <= found.objective <= bound.objective * (1 + 1e-6)
