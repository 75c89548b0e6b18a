"""The three exact cures against direct minimisation of their training risk: reweight, re-margin, mix the easy class."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import lambertw

from linfair.solvers.closed_form import optimum, threshold
from linfair.solvers.equalisers import lambert_w_minus1, mix_easy, remargin, reweight, two_way_lambda
from oracle import Phi, best_threshold, training_risk

taus, Ks, rs = st.floats(0.2, 12), st.floats(0.3, 6), st.floats(0.1, 6)


def check(cure, tau, K, training, priors):
    """The equaliser is stationary for its training risk, and the flag says whether it is also the global minimum."""
    a = tau / (K + 1)
    assert cure.risk == pytest.approx(Phi(-a), rel=1e-12)
    h = 1e-5
    slope = (training(a + h) - training(a - h)) / (2 * h)
    assert slope == pytest.approx(0, abs=1e-7)
    _, best = best_threshold(tau, K, 1.0, risk=lambda u, *_: training(u))
    best, reached = min(best, min(priors)), training(a)
    assume(abs(reached - min(priors)) > 1e-7)
    assert bool(cure.interior_optimal) == bool(reached <= best + 1e-9)


@given(tau=taus, K=Ks, r=rs)
@example(tau=1.29, K=2.0, r=1.0)
@example(tau=1.30, K=2.0, r=1.0)
@example(tau=2.69, K=3.0, r=1.0)
@example(tau=2.71, K=3.0, r=0.5)
def test_reweighting_by_the_spread_over_the_prior_ratio(tau, K, r):
    cure = reweight(tau, K, r)
    assert cure.value == pytest.approx(K / r)
    assert cure.feasible
    weighted = r * float(cure.value)  # the loss sees the prior ratio r W_+ / W_-
    check(cure, tau, K, lambda u: training_risk(u, tau, K, weighted), (1 / (1 + weighted), weighted / (1 + weighted)))


@pytest.mark.parametrize("K, tau", [(2.0, 1.292), (3.0, 2.698)])
def test_reweighting_needs_a_margin(K, tau):
    assert not reweight(tau - 0.002, K).interior_optimal
    assert reweight(tau + 0.002, K).interior_optimal


@given(tau=taus, K=Ks, r=rs)
def test_a_larger_radius_for_the_hard_class(tau, K, r):
    a, Lam = tau / (K + 1), np.log(K / r)
    assume(abs(a**2 - 2 * Lam) > 1e-6 and abs(K - 1) > 0.02)
    cure = remargin(tau, K, r)
    assert bool(cure.feasible) == bool(a**2 >= 2 * Lam)
    if not cure.feasible:
        assert np.isnan(cure.value)
        assert not cure.interior_optimal
        return
    assert np.sign(cure.value) == np.sign(Lam) or abs(Lam) < 1e-9
    extra = float(cure.value)
    training = lambda u: (Phi(-u) + r * Phi(-((tau - u) / K - extra))) / (1 + r)  # noqa: E731
    check(cure, tau, K, training, (1 / (1 + r), r / (1 + r)))


def test_extra_radius_of_a_known_case():
    assert 2.0 * remargin(6.0, 2.0, 1.0).value == pytest.approx(0.7666081964, abs=1e-10)  # in sds of class -


def test_a_larger_radius_helps_the_hard_class_only_while_its_training_risk_is_below_one_half():
    """Test margin v = v_train + extra / K when class + trains with ``extra`` (sds of class -) more radius."""

    def test_margin(tau, extra, K=2.0):
        return threshold(tau - extra, K)[1] + extra / K

    assert optimum(0.8, 2.0).risk_plus == pytest.approx(0.5780, abs=5e-5)
    assert test_margin(0.8, 0.01) < test_margin(0.8, 0.0)
    assert test_margin(2.0, 0.01) > test_margin(2.0, 0.0)
    extra = np.linspace(0, 1.5, 1501)
    peak = np.argmax(test_margin(2.0, extra))
    assert extra[peak] == pytest.approx(
        2 - np.sqrt(2 * np.log(2)), abs=2e-3
    )  # about .82, where the training risk is 1/2
    assert Phi(-test_margin(2.0, extra[peak])) == pytest.approx(0.34, abs=5e-3)


@given(tau=taus, K=Ks, share=st.floats(0.02, 1.0))
def test_mixing_only_the_easy_class(tau, K, share):
    r, a = share * K, tau / (K + 1)
    assume(share == 1 or share < 0.999)
    cure = mix_easy(tau, K, r)
    assert cure.feasible
    c = float(cure.value)
    assert 0 < c <= 1
    assert a**2 * (1 / c - 1) == pytest.approx(2 * np.log(K / r) - np.log(c), rel=1e-9, abs=1e-9)
    assume(abs(K / np.sqrt(c) - 1) > 0.02)
    check(cure, tau, K, lambda u: training_risk(u, tau, K, r, c_minus=c), (1 / (1 + r), r / (1 + r)))
    if cure.interior_optimal:
        assert threshold(tau, K, r, c_minus=c) == pytest.approx((a, a), abs=1e-8)


def test_mixing_the_easy_class_cannot_cure_an_easy_class_that_is_worse_off():
    cure = mix_easy(6.0, 2.0, 4.0)
    assert not cure.feasible
    assert not cure.interior_optimal
    assert np.isnan(cure.value)


@pytest.mark.parametrize("K", [1.5, 2.0, 4.0])
def test_two_way_mixing_suffices_iff_the_classes_are_far_enough(K):
    """For r = 1: c_- >= 1/2 iff a^2 >= log(2 K^2)."""
    tau = (K + 1) * np.sqrt(np.log(2 * K**2))
    assert mix_easy(tau, K).value == pytest.approx(0.5, abs=1e-10)
    assert mix_easy(1.01 * tau, K).value > 0.5 > mix_easy(0.99 * tau, K).value
    assert two_way_lambda(mix_easy(1.01 * tau, K).value) < 1
    assert np.isnan(two_way_lambda(mix_easy(0.99 * tau, K).value))


@pytest.mark.parametrize("tau", [30.0, 67.0, 68.0, 300.0, 1e5])
def test_mixing_the_easy_class_at_distances_where_the_exponential_underflows(tau):
    """c_- = 1 / y with the fixed point y = 1 + (2 log(K / r) + log y) / a^2."""
    K, r, y = 2.0, 0.7, 1.0
    for _ in range(60):
        y = 1 + (2 * np.log(K / r) + np.log(y)) / (tau / (K + 1)) ** 2
    assert mix_easy(tau, K, r).value == pytest.approx(1 / y, rel=1e-13)


@given(lam=st.floats(0.5, 1.0))
def test_two_way_lambda_inverts_c(lam):
    c = lam**2 + (1 - lam) ** 2
    got = float(two_way_lambda(c))
    assert got**2 + (1 - got) ** 2 == pytest.approx(c, abs=1e-14)
    assert got == pytest.approx(lam, abs=1e-7)


def test_two_way_lambda_has_a_range():
    np.testing.assert_array_equal(
        np.isnan(two_way_lambda([0.49, 0.5, 0.75, 1.0, 1.01])), [True, False, False, False, True]
    )


@given(s=st.floats(1.001, 700))
def test_the_lower_lambert_branch(s):
    assert lambert_w_minus1(s) == pytest.approx(lambertw(-np.exp(-s), -1).real, rel=1e-9)


@given(s=st.floats(1.01, 1e12))
def test_the_lower_lambert_branch_beyond_underflow(s):
    t = -float(lambert_w_minus1(s))
    assert t >= 1
    assert t - np.log(t) == pytest.approx(s, rel=1e-13)


def test_the_lambert_branch_point_and_beyond():
    assert lambert_w_minus1(1.0) == pytest.approx(-1.0)
    assert np.isnan(lambert_w_minus1(0.9))


@pytest.mark.parametrize("cure", [reweight, remargin, mix_easy])
def test_cures_broadcast_and_need_a_positive_margin(cure):
    tau, K = np.array([-1.0, 0.0, 2.0, 6.0])[:, None], np.array([0.8, 2.0, 3.0])
    grid = cure(tau, K, 0.5)
    assert grid.value.shape == grid.risk.shape == grid.feasible.shape == grid.interior_optimal.shape == (4, 3)
    assert not grid.feasible[:2].any()
    assert not grid.interior_optimal[:2].any()
    for i in (2, 3):
        for j in range(3):
            one = cure(tau[i, 0], K[j], 0.5)
            np.testing.assert_allclose([one.value, one.risk], [grid.value[i, j], grid.risk[i, j]], equal_nan=True)


@pytest.mark.parametrize("cure", [reweight, remargin, mix_easy])
def test_every_cure_leads_to_the_same_risk_where_it_is_feasible(cure):
    tau = np.array([-1.0, 0.5, 2.0, 6.0])
    got = cure(tau, 2.0)
    np.testing.assert_allclose(got.risk, np.where(got.feasible, Phi(-tau / 3), np.nan))
    assert got.feasible[-1]
