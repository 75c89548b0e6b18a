"""Optimal classifiers of two isotropic classes against optimisation: direction, threshold, existence.

Notation: tau = total robust margin in sds of class -, u and v the robust margins of -, + in own sds, u + K v = tau,
r = pi_+ / pi_-, Lam = log(K / r), a = tau / (K + 1), D = R_+ - R_-; e shifts a robust margin to the natural one.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.optimize import minimize

from helpers import DUAL, PRIMAL, D, disparity, known, trained
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers.closed_form import (
    direction,
    minimax_risk,
    optimal_classifier,
    optimum,
    reduce,
    threshold,
)
from linfair.solvers.solution import Status
from oracle import Phi, best_threshold, phi, training_risk

taus, Ks, cs = st.floats(0.05, 12), st.floats(1.05, 6), st.floats(0.05, 1.0)


@pytest.mark.parametrize("norm", list(DUAL))
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("total", [0.0, 0.3, 0.9, 1.5, 4.0])
def test_direction_maximises_the_total_robust_margin(norm, seed, total):
    """No unit vector has a larger w.delta - ebar ||w||_*; ``total`` is ebar / ||delta||_p, above 1 not separable."""
    rng = np.random.default_rng(seed)
    delta = rng.standard_normal(4)
    ebar = total * float(np.linalg.norm(delta, PRIMAL[norm]))
    w, T = direction(delta, Threat(norm, [0.25 * ebar, 0.75 * ebar]))

    def margin(w):
        return w @ delta - ebar * np.linalg.norm(w, DUAL[norm])

    assert np.linalg.norm(w) == pytest.approx(1)
    assert margin(w) == pytest.approx(T, abs=1e-12)
    candidates = rng.standard_normal((2000, 4))
    candidates = np.vstack([candidates, np.eye(4), -np.eye(4), np.sign(candidates[:200]), w + 1e-3 * candidates[:500]])
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    assert max(map(margin, candidates)) <= T + 1e-12
    found = minimize(lambda x: -margin(x / np.linalg.norm(x)), w + 0.05 * rng.standard_normal(4), method="Nelder-Mead")
    assert -found.fun <= T + 1e-10


def test_direction_by_norm():
    delta = np.array([2.0, -1.0, 0.3])
    w, T = direction(delta, Threat("l2", 0.5))
    np.testing.assert_allclose(w, delta / np.linalg.norm(delta))
    assert pytest.approx(np.linalg.norm(delta) - 1) == T
    w, T = direction(delta, Threat("linf", 0.25))  # soft threshold at .5
    np.testing.assert_allclose(w * T, [1.5, -0.5, 0.0], atol=1e-15)
    w, T = direction(delta, Threat("l1", 0.5))  # residual of the l1 projection: clip at the soft-threshold level 1
    np.testing.assert_allclose(w * T, [1.0, -1.0, 0.3], atol=1e-15)


def test_only_the_sum_of_the_radii_matters_for_the_direction():
    delta = np.array([2.0, -1.0, 0.3])
    for norm in DUAL:
        first, second = (direction(delta, Threat(norm, radii)) for radii in ([0.1, 0.5], [0.6, 0.0]))
        np.testing.assert_allclose(first[0], second[0])
        assert first[1] == pytest.approx(second[1])


def test_an_attack_larger_than_the_half_distance_turns_the_direction_to_one_axis():
    """linf, delta = 2 eta (1, ..., 1), eps > eta: T = -2 (eps - eta) at a one-hot w, not -2 sqrt(d) (eps - eta)."""
    d, eta, eps = 16, 0.5, 0.6
    w, T = direction(np.full(d, 2 * eta), Threat("linf", eps))
    assert pytest.approx(-0.2) == T
    assert sorted(np.abs(w)) == [0.0] * (d - 1) + [1.0]


@given(tau=taus, K=st.floats(0.2, 6), r=st.floats(0.1, 6), c_minus=cs, c_plus=cs)
def test_the_stationary_threshold_satisfies_both_equations(tau, K, r, c_minus, c_plus):
    """u + K v = tau and u^2 / c_- - v^2 / c_+ = 2 log(K / r) + log(c_+ / c_-)."""
    u, v = threshold(tau, K, r, c_minus=c_minus, c_plus=c_plus)
    assume(np.isfinite(u))
    assert u + K * v == pytest.approx(tau, abs=1e-9)
    expected = 2 * np.log(K / r) + np.log(c_plus / c_minus)
    assert u**2 / c_minus - v**2 / c_plus == pytest.approx(expected, abs=1e-8 * (1 + u**2 / c_minus + v**2 / c_plus))


@pytest.mark.parametrize(
    "tau, K, r", [(2.0, 3.0, 1.0), (0.3, 1.5, 1.0), (6.0, 2.0, 4.0), (3.0, 0.4, 2.0), (5.0, 1.0, 2.0), (1.0, 4.0, 0.2)]
)
def test_the_interior_point_is_a_local_minimum(tau, K, r):
    u, _ = threshold(tau, K, r)
    middle = training_risk(u, tau, K, r)
    assert middle < training_risk(u - 1e-3, tau, K, r)
    assert middle < training_risk(u + 1e-3, tau, K, r)


@given(tau=st.floats(-4, 12), K=st.floats(0.2, 6), r=st.floats(0.1, 8), c_minus=cs, c_plus=cs)
@example(tau=2.05, K=2.0, r=4.0, c_minus=1.0, c_plus=1.0)
@example(tau=1.0, K=2.0, r=2.0, c_minus=1.0, c_plus=1.0)
@example(tau=0.8, K=3.0, r=2.0, c_minus=1.0, c_plus=1.0)
@example(tau=6.0, K=1.0, r=3.0, c_minus=1.0, c_plus=1.0)
def test_optimum_is_the_global_minimum_or_says_that_a_constant_wins(tau, K, r, c_minus, c_plus):
    assume(abs(K * np.sqrt(c_plus / c_minus) - 1) > 0.03 or (K == 1 and tau > 0))
    _, value = best_threshold(tau, K, r, c_minus, c_plus)
    constant = min(1.0, r) / (1 + r)
    best = optimum(tau, K, r, c_minus=c_minus, c_plus=c_plus)
    reached = training_risk(best.u, tau, K, r, c_minus, c_plus)
    assume(not abs(reached - constant) < 1e-9)  # a tie
    assert bool(best.interior_optimal) == bool(reached < constant)
    if best.interior_optimal:
        assert reached == pytest.approx(value, abs=1e-9)
    else:
        assert value >= constant - 1e-9
    separable = Status.OPTIMAL if best.interior_optimal else Status.CONSTANT_OPTIMAL
    assert best.status == (separable if tau > 0 else Status.NOT_ROBUSTLY_SEPARABLE)
    np.testing.assert_allclose([best.risk_minus, best.risk_plus], Phi([-best.u, -best.v]))


@pytest.mark.parametrize(
    "tau, K, r, J, constant", [(2.05, 2, 4, 0.219208, 1 / 5), (1, 2, 2, 0.3694, 1 / 3), (0.8, 3, 2, 0.4036, 1 / 3)]
)
def test_constant_classifiers_win_at_small_margins_when_the_hard_class_is_frequent(tau, K, r, J, constant):
    best = optimum(tau, K, r)
    assert training_risk(best.u, tau, K, r) == pytest.approx(J, abs=5e-5)
    assert constant < J
    assert best.status == Status.CONSTANT_OPTIMAL
    model = ClassGaussians.two_class([tau], 1.0, K, r)
    solution = optimal_classifier(model)
    assert solution.status is Status.CONSTANT_OPTIMAL
    assert solution.objective == pytest.approx(constant)
    np.testing.assert_array_equal(known(solution.classifier).w, [0.0])
    np.testing.assert_array_equal(known(solution.risks).value, [1, 0])
    assert known(solution.risks).disparity == -1


@given(tau=st.floats(0.3, 12), r=st.floats(0.2, 5))
def test_equal_spreads_have_the_classical_threshold(tau, r):
    u, v = threshold(tau, 1.0, r)
    assert (u, v) == pytest.approx((tau / 2 - np.log(r) / tau, tau / 2 + np.log(r) / tau), abs=1e-10)
    nearly = threshold(tau, 1.0 + 1e-9, r)
    assert nearly == pytest.approx((u, v), abs=1e-6 * (1 + 1 / tau**3))


@given(tau=st.floats(0.05, 12), K=st.floats(1.05, 6), r=st.floats(0.1, 6))
def test_swapping_the_classes_swaps_the_margins(tau, K, r):
    u, v = threshold(tau, K, r)
    v_swapped, u_swapped = threshold(tau / K, 1 / K, 1 / r)
    np.testing.assert_allclose([u_swapped, v_swapped], [u, v], rtol=1e-9, atol=1e-10)


@given(tau=st.floats(0.01, 12), K=Ks)
def test_risks_are_equal_iff_the_prior_ratio_is_the_spread_ratio(tau, K):
    u, v = threshold(tau, K, K)
    assert (u, v) == pytest.approx((tau / (K + 1),) * 2, abs=1e-12)
    assert minimax_risk(tau, K) == pytest.approx(Phi(-tau / (K + 1)), rel=1e-12)
    for r in (0.3 * K, 0.9 * K, 1.1 * K):
        D_r = D(tau, K, r)
        assert np.isnan(D_r) or np.sign(D_r) == np.sign(K - r)


@given(tau=taus, K=Ks)
def test_no_threshold_has_a_smaller_worst_class_risk_than_the_equaliser(tau, K):
    u = np.linspace(-tau, 2 * tau, 2001)
    worst = np.maximum(Phi(-u), Phi(-(tau - u) / K))
    assert minimax_risk(tau, K) <= worst.min() + 1e-12


@pytest.mark.parametrize("tau, K, r", [(2.0, 3.0, 1.0), (6.0, 2.0, 0.5), (3.0, 1.3, 1.2)])
def test_derivatives_of_the_margins(tau, K, r):
    """du/dtau = v / S, dv/dtau = u / S, dD/dtau = phi(u) (v - K u / r) / S, S = v + K u; r phi(v) = K phi(u)."""
    h = 1e-5
    (u0, v0), (u, v), (u1, v1) = (threshold(tau + s, K, r) for s in (-h, 0, h))
    S = v + K * u
    assert (u1 - u0) / (2 * h) == pytest.approx(v / S, abs=1e-8)
    assert (v1 - v0) / (2 * h) == pytest.approx(u / S, abs=1e-8)
    slope = (D(tau + h, K, r) - D(tau - h, K, r)) / (2 * h)
    assert slope == pytest.approx(phi(u) * (v - K * u / r) / S, abs=1e-8)
    assert r * phi(v) == pytest.approx(K * phi(u), rel=1e-10)


@pytest.mark.parametrize("tau", [1e-8, 1e-3, 30.0, 1e4, 1e8])
@pytest.mark.parametrize("K, r", [(2.0, 1.0), (1.0 + 1e-12, 1.0), (1.0, 1.0), (100.0, 0.5), (0.3, 1.0)])
def test_extreme_margins_stay_finite_and_consistent(tau, K, r):
    u, v = threshold(tau, K, r)
    assert np.isfinite([u, v]).all()
    assert u + K * v == pytest.approx(tau, rel=1e-9, abs=1e-9)
    assert disparity(u, v) * (K - r) >= 0


def test_no_stationary_point_is_nan_with_a_status():
    best = optimum(1.0, 2.0, 10.0)
    assert np.isnan([best.u, best.v, best.risk_minus]).all()
    assert best.status == Status.CONSTANT_OPTIMAL


def test_grids_broadcast():
    tau, K, r = np.linspace(-1, 6, 5)[:, None, None], np.array([0.5, 1.0, 2.0])[:, None], np.array([0.5, 1.0, 4.0, 9.0])
    best, (u, v) = optimum(tau, K, r), threshold(tau, K, r)
    assert u.shape == v.shape == best.u.shape == best.status.shape == best.interior_optimal.shape == (5, 3, 4)
    np.testing.assert_array_equal(best.u, u)
    for index in np.ndindex(5, 3, 4):
        t, k, q = tau[index[0], 0, 0], K[index[1], 0], r[index[2]]
        np.testing.assert_allclose([u[index], v[index]], threshold(t, k, q), rtol=1e-12, equal_nan=True)
        assert optimum(t, k, q).status == best.status[index]
    assert threshold(tau, 2.0, c_minus=np.ones((1, 1, 7)))[0].shape == (5, 1, 7)


@pytest.mark.parametrize("norm", list(DUAL))
@pytest.mark.parametrize("K, r", [(2.0, 1.0), (1.0, 0.5), (0.6, 1.0), (3.0, 0.7)])
def test_the_optimal_classifier_beats_a_search_over_all_classifiers(norm, K, r):
    model = ClassGaussians.two_class([2.0, -1.2, 0.4], 0.8, K, r)
    threat = Threat(norm, [0.1, 0.25])
    solution = optimal_classifier(model, threat)
    assert solution.status is Status.OPTIMAL
    assert solution.objective == pytest.approx(
        known(solution.classifier).class_risks(model, threat).average(model.priors), abs=1e-12
    )
    rng = np.random.default_rng(0)

    def risk(s):
        return LinearClassifier(s[:3], s[3]).class_risks(model, threat).average(model.priors)

    start = np.append(known(solution.classifier).w, known(solution.classifier).b)
    for _ in range(3):
        found = minimize(risk, start + 0.1 * rng.standard_normal(4), method="Nelder-Mead", options={"maxiter": 400})
        assert found.fun >= solution.objective - 1e-12
    assert min(model.priors) > solution.objective


def test_reduced_scalars():
    model, threat = ClassGaussians.two_class([3.0, -1.0], 2.0, K=1.5, r=0.4), Threat("linf", [0.2, 0.5])
    reduced = reduce(model, threat)
    gain = np.abs(reduced.w).sum()
    T = reduced.w @ np.array([3.0, -1.0]) - 0.7 * gain
    assert (reduced.sigma, reduced.K, reduced.r) == pytest.approx((2.0, 1.5, 0.4))
    assert reduced.tau == pytest.approx(T / 2)
    assert (reduced.e_minus, reduced.e_plus) == pytest.approx((0.2 * gain / 2, 0.5 * gain / 2))
    f = reduced.classifier(0.3)
    u, v = f.margins(model, threat)
    assert (u, v) == pytest.approx((0.3, (reduced.tau - 0.3) / 1.5))
    np.testing.assert_allclose(f.margins(model), [u + reduced.e_minus, v + reduced.e_plus / 1.5])


def test_robust_and_natural_formulas_of_the_symmetric_model():
    """q = 2 log K / (K^2 - 1), A = 2 sqrt(d) eta / ((K^2 - 1) sigma), B the same with eta - eps."""
    d, eta, sigma, K, eps = 9, 0.6, 1.3, 2.5, 0.2
    model, threat = ClassGaussians.xu(d, eta, sigma, K), Threat("linf", eps)
    q = 2 * np.log(K) / (K**2 - 1)
    A, B = (2 * np.sqrt(d) * x / ((K**2 - 1) * sigma) for x in (eta, eta - eps))
    e = np.sqrt(d) * eps / sigma

    def risks(A, shift):
        s = np.sqrt(A**2 + q)
        return [Phi(A - K * s + shift), Phi(-K * A + s + shift / K)]

    natural, robust = trained(model), trained(model, threat)
    np.testing.assert_allclose(natural.class_risks(model).value, risks(A, 0), rtol=1e-12)
    np.testing.assert_allclose(robust.class_risks(model, threat).value, risks(B, 0), rtol=1e-12)
    np.testing.assert_allclose(robust.class_risks(model).value, risks(B, -e), rtol=1e-12)
    np.testing.assert_allclose(natural.class_risks(model, threat).value, risks(A, e), rtol=1e-12)


def test_not_separable_is_a_status_not_an_exception():
    solution = optimal_classifier(ClassGaussians.two_class([1.0, 0.0], 1.0, 2.0), Threat("l2", 0.8))
    assert solution.status is Status.NOT_ROBUSTLY_SEPARABLE
    assert solution.objective <= 0.5
