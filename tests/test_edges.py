"""Input at the edge of what is legal: a number that is right, or a refusal, and never a NaN."""

import numpy as np
import pytest

from linfair import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.linear import ClassErrors
from linfair.mixing import BetaLambda, DirichletMix, UniformMix
from linfair.norms import NATURAL, Threat
from linfair.solvers import closed_form, convex, equalisers
from linfair.theory import THEOREMS


def test_a_rate_without_errors_is_not_exact():
    found = ClassErrors(np.array([0.0, 0.25, 1.0]), np.array([100, 100, 100]))
    half = 0.5 / 101
    np.testing.assert_allclose(found.se, np.sqrt([half * (1 - half), 0.25 * 0.75, half * (1 - half)]) / 10)
    report = THEOREMS["xu-gap"].check(1000, eta=1.5)  # risks of 1e-5: no error among 1,000
    assert max(abs(c.z) for c in report.comparisons) < 4


@pytest.mark.parametrize("law", [UniformMix(2.0), DirichletMix(3.0)])  # pyright: ignore[reportArgumentType]
def test_whole_floats_are_counts(law):
    assert law.sample(4, np.random.default_rng(0)).shape == (4, law.m)


def test_a_law_too_narrow_for_its_quadrature_is_refused():
    with pytest.raises(ValueError, match=r"a must be at most 10000 .* UniformMix\(8\)"):
        DirichletMix(8, 1e6).log_nodes()
    c, log_p = DirichletMix(8, 1e4).log_nodes()
    assert np.exp(log_p) @ c == pytest.approx(DirichletMix(8, 1e4).mean_c, rel=1e-9)


@pytest.mark.parametrize("a", [0.01, 0.5, 1.0, 49.0, 51.0, 1e5])
def test_moments_of_a_beta_law(a):
    """x = 2 lambda - 1 has E x^2 = 1 / (2a + 1) and E x^4 = 3 / ((2a + 1)(2a + 3)); c = (1 + x^2) / 2."""
    c, log_p = BetaLambda(a).log_nodes()
    p = np.exp(log_p)
    second, fourth = 1 / (2 * a + 1), 3 / ((2 * a + 1) * (2 * a + 3))
    assert p @ c == pytest.approx((1 + second) / 2, rel=1e-12)
    assert p @ c**2 == pytest.approx((1 + 2 * second + fourth) / 4, rel=1e-12)


@pytest.mark.parametrize(
    "parameters", [{"tau_far": 949.0, "a": 1000.0}, {"tau_far": 3000.0}, {"tau_far": 1000.0, "a": 50.0}]
)
def test_far_classes_see_the_tail_of_a_beta_law(parameters):
    """1 - c_eff ~ 2 a (K + 1)^2 / tau^2, far out where the law itself has hardly any mass."""
    values = THEOREMS["limit-beta-fades"].analytic(**parameters)
    assert values["1 - c_eff over 2 a (K+1)^2 / tau^2, far"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_direction_within_a_rounding_of_bridging(norm):
    rng = np.random.default_rng(0)
    for delta in rng.standard_normal((300, 3)):
        eps = float(np.nextafter(Threat(norm).ball.of(delta), 0.0)) / 2
        w, T = closed_form.direction(delta, Threat(norm, eps))
        assert np.isfinite(w).all()
        assert np.linalg.norm(w) == pytest.approx(1.0)
        assert abs(T) < 1e-6


def test_the_projection_formula_in_any_units():
    for scale in (1e-15, 1.0, 1e6):
        model = ClassGaussians([[0.0, 0.0], [scale, 0.0]], np.stack([scale**2 * np.eye(2)] * 2))
        assert convex.common_covariance_kappa(model, NATURAL) == pytest.approx(0.5, rel=1e-6)
    with pytest.raises(AssumptionError, match="covariances must be equal"):
        convex.common_covariance_kappa(ClassGaussians([[0, 0], [1, 1]], [[1e13, 1], [1e13, 5]]), NATURAL)


def test_remargin_does_not_cancel():
    """a - sqrt(a^2 - 2 Lam) = Lam / a + O(a^-3)."""
    tau = 1e8
    assert equalisers.remargin(tau, 2.0).value == pytest.approx(np.log(2.0) * 3.0 / tau, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("minimax-fair", {"cov_minus": ((0.0, 0.0), (0.0, 0.0))}),
        ("price-of-fairness", {"tau": 1.0}),
        ("limit-natural-disparity-priors", {"tau": 0.5, "r": 4}),
        ("group-attack-equivalence", {"variances": (0.0, 1.0, 1.0, 1.0)}),
        (
            "mixup-any-covariance",
            {"cov_minus": ((4, 0), (0, 0.1)), "cov_plus": ((0.1, 0), (0, 4)), "delta": (2, 2), "eps": 0.05},
        ),
        (
            "mixup-any-covariance",
            {"cov_minus": ((1, 0), (0, 0.1)), "cov_plus": ((1, 0), (0, 2)), "delta": (4, 1), "eps": 0.5},
        ),
        ("distance-gap", {"tau_far": 300.0}),
        ("distance-amplification", {"tau_far": 300.0}),
        ("radius-gap", {"delta": (300.0, 2.0)}),
        ("robust-training-natural-gap", {"delta": (300.0, 2.0)}),
        ("random-lambda", {"tau": 300.0}),
        ("mixup-natural-gap", {"tau": 100.0, "e": 10.0}),
        ("dirichlet-rate", {"tau": 300.0}),
    ],
)
def test_what_a_statement_does_not_cover_is_refused(name, parameters):
    with pytest.raises(AssumptionError):
        THEOREMS[name].analytic(**parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("plug-in-risk", {"risk": 1e-17}),
        ("soft-label-shift", {"rho": 0.01, "r": 3.0}),
        ("minimax-common-covariance", {"cov": ((1e-3, 0.0), (0.0, 1e-3))}),
    ],
)
def test_what_a_statement_covers_has_values(name, parameters):
    values = THEOREMS[name].analytic(**parameters)
    assert np.isfinite(list(values.values())).all()


@pytest.mark.parametrize(
    "theorem, parameters",
    [
        ("distance-ratio", {"K": 20.0, "tau_near": 63.0, "tau_far": 126.0}),
        ("distance-ratio", {"K": 12.0}),
        ("distance-ratio", {"r": 1e-6, "tau_near": 40.0, "tau_far": 60.0}),
        ("m-way-limit", {"tau": 300.0}),
        ("m-way-limit", {"tau": 30.0, "r": 1e6}),
        ("logistic-minimiser", {"K": 100.0}),
        ("logistic-minimiser", {"K": 1.0001}),
        ("logistic-minimiser", {"K": 1.294, "delta": (92.8, 46.4)}),
        ("hinge-minimiser", {"K": 1.294, "delta": (92.8, 46.4)}),
        ("xu-gap", {"K": 1.0 + 1e-9}),
        ("xu-gap", {"K": 100.0}),
        ("soft-label-shift", {"K": 100.0, "rho": 1.0, "r": 10.0}),
        ("soft-label-shift", {"K": 50.0, "rho": 1.0, "r": 10.0}),
        ("soft-label-shift", {"tau": -60.0}),
        ("soft-label-shift", {"K": 2.0, "rho": 0.01, "r": 1e6}),
        (
            "mixup-any-covariance",
            {"cov_minus": ((4, 0), (0, 0.1)), "cov_plus": ((0.1, 0), (0, 4)), "delta": (2, 2.02), "eps": 0.05},
        ),
        ("distance-gap", {"tau_far": 105.0}),
        ("distance-amplification", {"tau_far": 105.0}),
        ("radius-gap", {"delta": (104.0, 2.0)}),
        ("dirichlet-rate", {"alpha": 10.0}),
        ("dirichlet-rate", {"alpha": 100.0}),
        ("dirichlet-rate", {"tau": 9.0}),
    ],
)
def test_a_statement_holds_wherever_its_assumptions_do(theorem, parameters):
    """Rates are compared where they are rates, whatever K, r and the distance; equal sds do not cancel."""
    values = THEOREMS[theorem].analytic(**parameters)
    assert THEOREMS[theorem].conclusion(values), values


@pytest.mark.parametrize("tau", [9.0, 40.0])
def test_a_ratio_of_rates_without_errors_is_a_number_with_an_error(tau):
    for seed in range(3):
        for name, found in THEOREMS["limit-distance-ratio"].empirical(100, seed, tau=tau).items():
            assert np.isfinite(found).all(), name
            assert found.se > 0
