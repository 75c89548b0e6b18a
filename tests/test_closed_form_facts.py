"""Class distance, attack radius and fairness constraints: theorems and counterexamples.

Notation of test_closed_form.py.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from helpers import DUAL, PRIMAL, D, D_nat, disparity, known, trained
from linfair._check import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers.closed_form import (
    direction,
    optimal_classifier,
    optimum,
    reduce,
    threshold,
)
from linfair.solvers.equalisers import fairness_constrained
from linfair.solvers.solution import Status
from oracle import Phi, phi, training_risk

taus, Ks, cs = st.floats(0.05, 12), st.floats(1.05, 6), st.floats(0.05, 1.0)


@given(tau=st.floats(-2, 12), step=st.floats(0.05, 2), K=Ks, share=st.floats(0.05, 2), e=st.floats(0, 2))
def test_disparities_fall_with_the_distance_between_classes(tau, step, K, share, e):
    r = share * K
    near, far = optimum(tau, K, r), optimum(tau + step, K, r)
    assume(near.interior_optimal and abs(share - 1) > 1e-3)
    assert abs(far.disparity) < abs(near.disparity) + 1e-13
    if share <= 1 and tau > 0:
        assert D_nat(tau + step, K, e, r) <= D_nat(tau, K, e, r) + 1e-13


@pytest.mark.parametrize("K, r", [(2.0, 1.0), (3.0, 0.5), (1.5, 2.5)])
def test_the_risk_ratio_tends_to_the_spread_ratio_and_not_to_one(K, r):
    tau = np.linspace(4, 60, 57)
    u, v = threshold(tau, K, r)
    log_ratio = np.log(Phi(-v)) - np.log(Phi(-u))
    assert (np.diff(log_ratio) * np.log(K / r) < 0).all()
    assert log_ratio[-1] == pytest.approx(np.log(K / r), abs=0.01)


def amplification(tau0, K, e):
    """Extra disparity of the robust over the natural classifier, each on its own risk."""
    return D(tau0 - 2 * e, K) - D(tau0, K)


def test_amplification_falls_with_distance_only_while_the_hard_class_is_right_more_often_than_not():
    K, e = 2.0, 0.3
    tau0 = np.linspace(np.sqrt(2 * np.log(K)) + 2 * e, 12, 200)
    assert (np.diff(amplification(tau0, K, e)) < 0).all()
    assert amplification(0.3, 5.0, 0.1) == pytest.approx(0.016255, abs=5e-7)
    assert amplification(0.6, 5.0, 0.1) == pytest.approx(0.016335, abs=5e-7)


@pytest.mark.parametrize("K, tau", [(2.0, 0.0886), (5.0, 0.715), (20.0, 1.63)])
def test_the_disparity_is_concave_in_the_distance_near_overlap(K, tau):
    def curvature(t, h=1e-3):
        return D(t - h, K) - 2 * D(t, K) + D(t + h, K)

    assert curvature(0.01) < 0 < curvature(3.0)
    assert brentq(curvature, 0.01, 3.0) == pytest.approx(tau, abs=6e-3)


@pytest.mark.parametrize("norm", list(DUAL))
def test_the_robust_disparity_rises_with_the_radius(norm):
    model = ClassGaussians.two_class([2.0, -1.2, 0.4], 0.5, 2.0)
    threats = [Threat(norm, float(eps)) for eps in np.linspace(0, 0.9, 13)]
    values = [trained(model, threat).class_risks(model, threat).disparity for threat in threats]
    assert (np.diff(values) > 0).all()


@given(tau0=st.floats(0.5, 12), K=Ks, share=st.floats(0.05, 1.0), e=st.floats(0.01, 2), step=st.floats(0.01, 1))
def test_with_a_fixed_direction_adversarial_training_moves_the_natural_risks_apart(tau0, K, share, e, step):
    r = share * K
    assume(tau0 - 2 * (e + step) > 0)
    (u0, v0), (u1, v1) = threshold(tau0 - 2 * e, K, r), threshold(tau0 - 2 * (e + step), K, r)
    small, large = (u0 + e, v0 + e / K), (u1 + e + step, v1 + (e + step) / K)
    assert Phi(-large[0]) <= Phi(-small[0]) + 1e-13
    assert Phi(-large[1]) >= Phi(-small[1]) - 1e-13
    assert disparity(*large) >= disparity(*small) - 1e-13
    u, v = threshold(tau0, K, r)
    assert disparity(u0, v0) >= disparity(u - e, v - e / K) - 1e-13  # same attack on the natural classifier


@pytest.mark.parametrize("norm", list(DUAL))
@pytest.mark.parametrize("seed", range(5))
def test_adversarial_training_never_lowers_the_natural_disparity_of_isotropic_classes(norm, seed):
    rng = np.random.default_rng(seed)
    delta, K = rng.exponential(size=6), rng.uniform(1.1, 3)
    model = ClassGaussians.two_class(delta, 0.5, K, r=rng.uniform(0.3, 1.0))
    robust = trained(model, Threat(norm, float(0.3 * np.linalg.norm(delta, PRIMAL[norm]))))
    assert robust.class_risks(model).disparity >= trained(model).class_risks(model).disparity - 1e-13


def test_adversarial_training_can_raise_the_natural_error_of_the_easy_class():
    """linf and unequal coordinates: the attack removes 64 informative coordinates from the classifier."""
    model = ClassGaussians.two_class(np.array([2.0] + [0.8] * 64), 1.0, 1.2)
    natural = trained(model).class_risks(model)
    robust = trained(model, Threat("linf", 0.45)).class_risks(model)
    assert natural.value[0] == pytest.approx(0.001034, abs=5e-7)
    assert robust.value[0] == pytest.approx(0.126580, abs=5e-7)


def test_under_attack_the_natural_classifier_can_be_the_less_fair_one():
    model, threat = ClassGaussians.two_class([12.0], 1.0, 2.0), Threat("l2", 5.0)
    natural, robust = trained(model), trained(model, threat)
    assert natural.class_risks(model, threat).disparity == pytest.approx(-0.737442, abs=5e-7)
    assert robust.class_risks(model, threat).disparity == pytest.approx(0.243589, abs=5e-7)
    u, v = natural.margins(model)
    flip = 2.0 * (u - v) / (2.0 - 1.0)
    assert flip == pytest.approx(0.344107, abs=5e-7)
    assert natural.class_risks(model, Threat("l2", flip)).disparity == pytest.approx(0, abs=1e-12)
    assert natural.class_risks(model, Threat("l2", flip + 0.1)).disparity < 0


def test_fairness_constrained_margins():
    u, v, _ = fairness_constrained(6.0, 2.0, 1.0, 0.005)
    assert u == pytest.approx(2.063670, abs=5e-7)
    assert training_risk(u, 6.0, 2.0, 1.0) == pytest.approx(0.02202452, abs=5e-9)
    assert disparity(u, v) == pytest.approx(0.005, abs=1e-12)


@given(tau=st.floats(1.0, 10), K=Ks, share=st.floats(0.05, 3), fraction=st.floats(0.01, 1.5))
def test_the_fairness_constrained_point_is_the_best_fair_threshold(tau, K, share, fraction):
    r = share * K
    best = optimum(tau, K, r)
    assume(best.interior_optimal and abs(share - 1) > 1e-3)
    delta = min(fraction * abs(float(best.disparity)), 0.99)
    u, v, _ = fairness_constrained(tau, K, r, delta)
    assert u + K * v == pytest.approx(tau, abs=1e-9)
    assert abs(disparity(u, v)) <= delta + 1e-10
    grid = np.linspace(min(tau / (K + 1), best.u) - 1, max(tau / (K + 1), best.u) + 1, 801)
    fair = grid[np.abs(disparity(grid, (tau - grid) / K)) <= delta]
    if len(fair):
        assert training_risk(u, tau, K, r) <= training_risk(fair, tau, K, r).min() + 1e-10
    if fraction >= 1:
        assert u == pytest.approx(float(best.u), abs=1e-9)


def test_no_disparity_allowed_is_the_equaliser():
    assert fairness_constrained(6.0, 2.0, 1.0, 0.0)[:2] == pytest.approx((2.0, 2.0), abs=1e-12)


def test_mixes_needed_for_a_given_disparity():
    """m ~ phi(a) Lam / (a delta)."""
    m = phi(2.0) * np.log(2.0) / (2.0 * 1e-3)
    assert m == pytest.approx(18.7, abs=0.05)
    assert D(6.0, 2.0, c=1 / m) == pytest.approx(9.92e-4, abs=5e-7)


@pytest.mark.parametrize("tau, K, r", [(1.0, 2.0, 4.0), (0.7, 0.5, 1.0), (3.0, 1.0, 9.0), (-1.0, 2.0, 1.0)])
def test_a_constant_that_wins_unconstrained_is_never_fair_enough(tau, K, r):
    found = fairness_constrained(tau, K, r, 0.1)
    u = np.linspace(-12, 12, 240001)
    fair = u[np.abs(disparity(u, (tau - u) / K)) <= 0.1]
    assert training_risk(found.u, tau, K, r) == pytest.approx(training_risk(fair, tau, K, r).min(), abs=5e-5)
    assert found.status == (Status.OPTIMAL if tau > 0 else Status.NOT_ROBUSTLY_SEPARABLE)


def test_the_constrained_optimum_is_elementwise():
    tau, delta = np.array([[2.0], [6.0]]), np.array([0.0, 1e-3, 0.05])
    grid = fairness_constrained(tau, 2.0, 1.0, delta)
    assert grid.u.shape == (2, 3)
    one_by_one = [[float(fairness_constrained(t, 2.0, 1.0, d).u) for d in delta] for t in tau[:, 0]]
    assert grid.u == pytest.approx(np.array(one_by_one), abs=1e-12)


def test_reduction_needs_two_isotropic_classes():
    for model in (
        ClassGaussians(np.eye(3), 1.0),
        ClassGaussians(np.eye(2), [[1.0, 2.0], [1.0, 1.0]]),
        ClassGaussians(np.eye(2), [1.0, 0.0]),
    ):
        with pytest.raises(AssumptionError):
            reduce(model)
        with pytest.raises(AssumptionError):
            optimal_classifier(model)


def test_classes_with_the_same_mean_are_not_separable_but_have_an_answer():
    model = ClassGaussians.two_class([0.0, 0.0], 1.0, 2.0)
    for norm in DUAL:
        w, T = direction(np.zeros(2), Threat(norm, 0.0))
        assert np.linalg.norm(w) == pytest.approx(1)
        assert pytest.approx(0, abs=1e-15) == T
        solution = optimal_classifier(model, Threat(norm, 0.0))
        assert solution.status is Status.NOT_ROBUSTLY_SEPARABLE
        assert np.isfinite(known(solution.risks).value).all()
