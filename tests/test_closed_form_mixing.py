"""What same-class mixing does to the optimal classifier: theorems and counterexamples.

Notation of test_closed_form.py.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtr

from helpers import D, D_nat, disparity, known, trained
from linfair._check import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import BetaLambda, DirichletMix, FixedLambda, NoMix, UniformMix, WithOriginal
from linfair.norms import Threat
from linfair.solvers.closed_form import (
    minimax_risk,
    optimal_classifier,
    optimum,
    random_optimum,
    threshold,
)
from linfair.solvers.solution import Status
from oracle import Phi, beta_nodes, phi, random_mix_root, training_risk

taus, Ks, cs = st.floats(0.05, 12), st.floats(1.05, 6), st.floats(0.05, 1.0)


@given(tau=taus, K=Ks, r=st.floats(0.1, 1.0), c=cs)
def test_mixing_both_classes_multiplies_the_log_ratio_by_c(tau, K, r, c):
    """u = -A + K sqrt(A^2 + c q), v = K A - sqrt(A^2 + c q), A = tau / (K^2 - 1), q = 2 Lam / (K^2 - 1)."""
    A, q = tau / (K**2 - 1), 2 * np.log(K / r) / (K**2 - 1)
    s = np.sqrt(A**2 + c * q)
    u, v = threshold(tau, K, r, c_minus=c, c_plus=c)
    assert (u, v) == pytest.approx((-A + K * s, K * A - s), abs=1e-9 * (1 + A * K))


@given(tau=st.floats(-3, 12), K=Ks, share=st.floats(0.05, 1.0), c=st.floats(0.05, 0.98), e=st.floats(0, 3))
def test_mixing_with_adversarial_training_lowers_both_disparities(tau, K, share, c, e):
    r = share * K
    (u1, v1), (u, v) = threshold(tau, K, r), threshold(tau, K, r, c_minus=c, c_plus=c)
    assume(np.isfinite(u1))
    slack = 1e-12
    assert Phi(-v) <= Phi(-v1) + slack
    assert Phi(-u) >= Phi(-u1) - slack
    assert -slack <= disparity(u, v) <= disparity(u1, v1) + slack
    if tau > 0:
        assert -slack <= disparity(u + e, v + e / K) <= disparity(u1 + e, v1 + e / K) + slack


@given(tau=st.floats(0.5, 12), K=Ks, excess=st.floats(1.01, 4), c=st.floats(0.05, 0.98))
def test_mixing_lowers_the_robust_disparity_also_when_the_hard_class_is_too_frequent(tau, K, excess, c):
    r = excess * K
    assume(optimum(tau, K, r).interior_optimal)
    assert abs(D(tau, K, r, c)) < abs(D(tau, K, r)) + 1e-12


def test_mixing_can_raise_the_natural_disparity_when_the_hard_class_is_too_frequent():
    r = 2.541439147
    assert D_nat(3.0, 2.0, 0.5, r) == pytest.approx(0, abs=1e-9)
    assert D_nat(3.0, 2.0, 0.5, r, c=0.5) == pytest.approx(0.0203675157, abs=1e-9)


def test_mixing_without_adversarial_training_can_raise_the_robust_disparity():
    model, threat = ClassGaussians.two_class([6.0], 1.0, 2.0), Threat("l2", 0.6742073651)
    plain, mixed = (trained(model, mix=mix) for mix in (None, FixedLambda(0.5)))
    assert plain.class_risks(model, threat).disparity == pytest.approx(0, abs=1e-9)
    assert mixed.class_risks(model, threat).disparity == pytest.approx(-0.020834, abs=5e-7)


@given(tau=taus, K=Ks, r=st.floats(0.2, 1.0), c_minus=cs, c_plus=cs)
def test_class_wise_mixing_is_an_unmixed_problem_in_mixed_units(tau, K, r, c_minus, c_plus):
    u, v = threshold(tau, K, r, c_minus=c_minus, c_plus=c_plus)
    u_mixed, v_mixed = threshold(tau / np.sqrt(c_minus), K * np.sqrt(c_plus / c_minus), r)
    np.testing.assert_allclose([u, v], [np.sqrt(c_minus) * u_mixed, np.sqrt(c_plus) * v_mixed], rtol=1e-10, atol=1e-12)


@given(tau=taus, K=Ks, c_minus=cs, c_plus=cs)
def test_who_gains_from_mixing_one_class(tau, K, c_minus, c_plus):
    """Less c_+ raises the hard class' risk iff v^2 > c_+; less c_- lowers it iff u^2 > c_-."""
    u, v = threshold(tau, K, c_minus=c_minus, c_plus=c_plus)
    assume(np.isfinite(u) and abs(v**2 - c_plus) > 1e-2 and abs(u**2 - c_minus) > 1e-2)
    v_plus = threshold(tau, K, c_minus=c_minus, c_plus=c_plus * (1 - 1e-5))[1]
    v_minus = threshold(tau, K, c_minus=c_minus * (1 - 1e-5), c_plus=c_plus)[1]
    assert (v_plus < v) == (v**2 > c_plus)
    assert (v_minus > v) == (u**2 > c_minus)


def test_mixing_only_the_hard_class_backfires():
    model = ClassGaussians.two_class([6.0], 1.0, 2.0)
    plain, hard = (trained(model, mix=mix).class_risks(model) for mix in (None, [NoMix(), FixedLambda(0.5)]))
    assert plain.disparity == pytest.approx(0.016488, abs=5e-7)
    assert hard.disparity == pytest.approx(0.037881, abs=5e-7)
    assert hard.value[1] > plain.value[1]


@pytest.mark.parametrize("a, c_eff", [(0.2, 0.9012), (1.0, 0.7177), (5.0, 0.5579)])
def test_a_random_weight_acts_like_one_fixed_weight(a, c_eff):
    found = random_optimum(6.0, 2.0, 1.0, BetaLambda(a))
    assert found.u == pytest.approx(random_mix_root(6.0, 2.0, 1.0, *beta_nodes(a)), abs=1e-8)
    assert found.u + 2 * found.v == pytest.approx(6)
    assert found.c_eff == pytest.approx(c_eff, abs=5e-5)
    assert found.disparity == pytest.approx(disparity(found.u, found.v))
    assert threshold(6.0, 2.0, c_minus=found.c_eff, c_plus=found.c_eff) == pytest.approx((found.u, found.v), abs=1e-10)


@pytest.mark.parametrize("tau, K, r", [(1.0, 2.0, 1.0), (4.0, 1.5, 0.5), (2.5, 3.0, 1.5)])
def test_a_random_weight_minimises_its_own_training_risk(tau, K, r):
    c, p = beta_nodes(0.7)

    def mixture(u):
        return p @ training_risk(u, tau, K, r, c, c)

    best = minimize(lambda s: mixture(s[0]), [tau / 2], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-16})
    found = random_optimum(tau, K, r, BetaLambda(0.7))
    assert found.interior_optimal
    assert mixture(found.u) == pytest.approx(best.fun, abs=1e-12)
    assert found.u == pytest.approx(best.x[0], abs=1e-5)


@given(tau=st.floats(0.3, 9), K=Ks, r=st.floats(0.1, 1.0))
def test_the_effective_c_lies_within_the_support(tau, K, r):
    for law, low in [
        (BetaLambda(1.0), 0.5),
        (WithOriginal(UniformMix(4), 0.3), 0.25),
        (DirichletMix(3, 1.0), 1 / 3),
        (UniformMix(5), 0.2),
    ]:
        found = random_optimum(tau, K, r, law)
        assert low - 1e-9 <= found.c_eff <= 1 + 1e-9
        assert D(tau, K, r, low) - 1e-12 <= found.disparity <= D(tau, K, r) + 1e-12


def test_original_and_mixed_data_together_match_their_two_point_law():
    c, p = np.array([1.0, 0.25]), np.array([0.3, 0.7])
    found = random_optimum(5.0, 2.0, 1.0, WithOriginal(UniformMix(4), 0.3))
    assert found.u == pytest.approx(random_mix_root(5.0, 2.0, 1.0, c, p), abs=1e-10)


def test_at_the_set_point_a_random_mix_changes_nothing():
    """Lam = 0: the equaliser for every law, and c_eff = 1 / E[1/c] under the law tilted by the density at a."""
    law, a = BetaLambda(1.0), 2.0
    found = random_optimum(6.0, 2.0, 2.0, law)
    assert (found.u, found.v) == pytest.approx((a, a), abs=1e-10)
    c, p = beta_nodes(1.0)
    tilted = p * c**-0.5 * np.exp(-(a**2) / (2 * c))
    assert found.c_eff == pytest.approx(tilted.sum() / (tilted / c).sum(), rel=1e-6)


@pytest.mark.parametrize("sigma, K, c_eff", [(0.3, 1.7, 0.95098), (1.0, 5.3, 0.635855), (0.3, 5.3, 0.780779)])
def test_the_effective_c_where_priors_meet_the_sd_ratio_to_rounding(sigma, K, c_eff):
    found = optimal_classifier(ClassGaussians.two_class([6.0, 0.0], sigma, K, K), Threat("l2", 0.5), BetaLambda(1.0))
    assert found.info["c_eff"] == pytest.approx(c_eff, abs=1e-5)


@pytest.mark.parametrize("tau", [-1.0, 1e-9, 0.1, 3.0, 80.0])
@pytest.mark.parametrize("law", [BetaLambda(1.0), DirichletMix(3, 1.0), WithOriginal(UniformMix(50), 0.3)], ids=repr)
def test_the_effective_c_is_continuous_at_the_set_point(tau, law):
    limit = random_optimum(tau, 2.0, 2.0, law).c_eff
    for Lam in (1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5):
        assert random_optimum(tau, 2.0, 2.0 * np.exp(-Lam), law).c_eff == pytest.approx(limit, rel=2 * Lam + 1e-7)
    assert random_optimum(80.0, 1.0 + 1e-12, 1.0, law).c_eff == pytest.approx(
        random_optimum(80.0, 1.0 + 1e-6, 1.0, law).c_eff, rel=1e-6
    )


def test_a_dirichlet_law_too_narrow_for_its_largest_weight():
    law = DirichletMix(2000, 200.0)
    model = ClassGaussians([[-0.75], [0.75]], 1.0)
    assert LinearClassifier([1.0], 0.0).class_risks(model, mix=law).log_value == pytest.approx(-564.129, abs=1e-3)
    found = optimal_classifier(ClassGaussians.two_class([3.0, 0.0], 1.0, 2.0), Threat("l2", 0.2), law)
    assert found.status == Status.OPTIMAL
    fixed = threshold(2.6, 2.0, c_minus=law.mean_c, c_plus=law.mean_c)
    assert (found.info["u"], found.info["v"]) == pytest.approx(fixed, abs=1e-6)
    assert found.info["c_eff"] == pytest.approx(law.mean_c, rel=1e-3)


@pytest.mark.parametrize("a", [0.2, 1.0, 5.0])
def test_beta_mixing_loses_its_effect_as_classes_separate(a):
    """1 - c_eff ~ 2 a (K + 1)^2 / tau^2."""
    K, tau = 2.0, 240.0
    c_eff = random_optimum(tau, K, 1.0, BetaLambda(a)).c_eff
    assert (1 - c_eff) / (2 * a * (K + 1) ** 2 / tau**2) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("m, ratio", [(512, 0.844), (2048, 0.899)])
def test_dirichlet_mixing_converges_at_the_two_thirds_rate(m, ratio):
    """u - v ~ Lam a^(1/3) m^(-2/3) for Dirichlet(1, ..., 1), approached slowly: the ratio is known at two sizes."""
    found = random_optimum(6.0, 2.0, 1.0, DirichletMix(m, 1.0))
    assert (found.u - found.v) / (np.log(2) * 2 ** (1 / 3) * m ** (-2 / 3)) == pytest.approx(ratio, abs=0.002)


@pytest.mark.parametrize("tau, K, r", [(6.0, 2.0, 1.0), (3.0, 1.5, 0.5), (5.0, 3.0, 4.0)])
def test_uniform_mixing_converges_to_the_fair_minimax_point_at_rate_one_over_m(tau, K, r):
    """D_m = phi(a) Lam / (a m) + O(1 / m^2)."""
    a = tau / (K + 1)
    errors = []
    for m in (100, 200, 400, 100000):
        u, v = threshold(tau, K, r, c_minus=1 / m, c_plus=1 / m)
        leading = phi(a) * np.log(K / r) / (a * m)
        errors.append(abs(disparity(u, v) / leading - 1))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)
    assert Phi([-u, -v]) == pytest.approx(minimax_risk(tau, K), rel=1e-3)


def test_the_limit_of_mixing_is_not_fair_without_a_positive_margin():
    K, c = 2.0, 1e-8
    q = 2 * np.log(K) / (K**2 - 1)
    assert D(0.0, K, c=c) / (phi(0) * (K + 1) * np.sqrt(q * c)) == pytest.approx(1, abs=1e-3)
    tau = -1.5
    u, v = threshold(tau, K, c_minus=1e-12, c_plus=1e-12)
    A = abs(tau) / (K**2 - 1)
    assert (Phi(-v), Phi(-u)) == pytest.approx((Phi((K + 1) * A), Phi(-(K + 1) * A)), abs=1e-9)


def test_the_natural_disparity_survives_the_limit_of_mixing():
    assert D_nat(6.0, 2.0, 0.5, c=1e-9) == pytest.approx(Phi(-2.25) - Phi(-2.5), abs=1e-8)
    assert D_nat(6.0, 2.0, 0.5, c=1e-9) == pytest.approx(0.00601481, abs=1e-7)


def test_optimal_classifier_accepts_one_random_law_but_not_two():
    model = ClassGaussians.two_class([6.0], 1.0, 2.0)
    one = optimal_classifier(model, mix=BetaLambda(1.0))
    c, p = beta_nodes(1.0)
    u, v = known(one.classifier).margins(model)
    assert u == pytest.approx(random_mix_root(6.0, 2.0, 1.0, c, p), abs=1e-9)
    assert one.objective == pytest.approx(p @ (Phi(-u / np.sqrt(c)) + Phi(-v / np.sqrt(c))) / 2, rel=1e-8)
    np.testing.assert_allclose(known(one.risks).value, Phi([-u, -v]))
    with pytest.raises(AssumptionError):
        optimal_classifier(model, mix=[BetaLambda(1.0), BetaLambda(2.0)])


def test_a_random_law_without_a_stationary_threshold_is_a_status_not_an_error():
    found = random_optimum(0.5, 2.0, 10.0, BetaLambda(1.0))
    assert np.isnan([found.u, found.v, found.c_eff]).all()
    assert not found.interior_optimal
    solution = optimal_classifier(ClassGaussians.two_class([0.5], 1.0, 2.0, 10.0), mix=BetaLambda(1.0))
    assert solution.status == Status.CONSTANT_OPTIMAL
    assert solution.classifier.predict([[-9.0], [9.0]]).tolist() == [1, 1]
    assert solution.objective == pytest.approx(1 / 11)


def test_a_random_law_may_keep_a_threshold_that_its_unmixed_problem_lacks():
    tau, K, r = 1.9, 2.0, 4.0
    assert np.isnan(threshold(tau, K, r)[0])
    found = random_optimum(tau, K, r, BetaLambda(1.0))
    c, p = BetaLambda(1.0).nodes()
    u = np.array([found.u - 1e-4, found.u, found.u + 1e-4])[:, None]
    risk = (ndtr(-u / np.sqrt(c)) + r * ndtr(-(tau - u) / K / np.sqrt(c))) @ p
    assert risk[1] < min(risk[0], risk[2])


def test_the_constant_that_wins_is_the_class_that_is_wider_after_mixing():
    model = ClassGaussians.two_class([0.4], 1.0, 1.2, 0.2)
    found = optimal_classifier(model, mix=[NoMix(), UniformMix(16)])  # mixed, "+" is the narrow class
    assert found.status == Status.CONSTANT_OPTIMAL
    assert found.classifier.predict([[0.0]]).tolist() == [0]
    assert found.objective == pytest.approx(model.priors[1])


@pytest.mark.parametrize(
    ("tau", "K", "r", "m", "share"), [(1.2371, 5.7135, 0.6672, 637, 0.6162), (0.29104, 4.67343, 1.40934, 502, 0.6973)]
)
def test_of_several_minima_the_best_is_returned(tau, K, r, m, share):
    law = WithOriginal(UniformMix(m), share)
    found = random_optimum(tau, K, r, law)
    c, p = law.nodes()
    u = np.linspace(-6, 6, 20001)[:, None]
    risk = (ndtr(-u / np.sqrt(c)) + r * ndtr(-(tau - u) / K / np.sqrt(c))) @ p / (1 + r)
    assert found.interior_optimal
    assert found.u == pytest.approx(u[risk.argmin(), 0], abs=1e-3)


def test_random_laws_against_a_grid():
    rng = np.random.default_rng(0)
    u = np.linspace(-15, 15, 30001)[:, None]
    for _ in range(60):
        tau, K, r = rng.uniform(-1, 6), np.exp(rng.uniform(-1.5, 1.5)), np.exp(rng.uniform(-1.5, 1.5))
        laws = (
            BetaLambda(rng.uniform(0.1, 5)),
            WithOriginal(UniformMix(int(rng.integers(2, 700))), rng.uniform(0.1, 0.9)),
        )
        for law in laws:
            found, (c, p) = random_optimum(tau, K, r, law), law.nodes()
            risk = (ndtr(-u / np.sqrt(c)) + r * ndtr(-(tau - u) / K / np.sqrt(c))) @ p / (1 + r)
            assert found.interior_optimal == (risk.min() < min(1, r) / (1 + r) - 1e-9)
            if found.interior_optimal:
                assert found.u == pytest.approx(u[risk.argmin(), 0], abs=2e-3)


def test_random_laws_on_a_grid():
    grid = random_optimum([[2.0], [6.0]], 2.0, [0.5, 1.0, 2.0], BetaLambda(1.0))
    assert grid.u.shape == grid.interior_optimal.shape == grid.disparity.shape == (2, 3)
    assert grid.u[1, 1] == random_optimum(6.0, 2.0, 1.0, BetaLambda(1.0)).u
    assert grid.disparity[:, 2] == pytest.approx(0.0, abs=1e-12)
