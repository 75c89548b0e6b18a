"""Population minimisers of robust surrogate losses against direct minimisation of the expected loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize
from scipy.special import expit, log_ndtr
from scipy.stats import norm

from linfair._check import AssumptionError
from linfair.solvers._expected import TwoClasses, expected_logistic
from linfair.solvers.closed_form import threshold
from linfair.solvers.surrogates import exponential, hazard_excess, hinge, inverse_hazard, minimise, squared
from oracle import Phi, phi

NODES, STEP = np.linspace(-37, 12, 12001, retstep=True)  # far to the left, where well separated margins turn negative
WEIGHTS = phi(NODES) * STEP

LOSSES = {  # expected loss of a margin ~ N(mean, sd^2)
    "hinge": lambda mean, sd: (1 - mean) * Phi((1 - mean) / sd) + sd * phi((1 - mean) / sd),
    "logistic": lambda mean, sd: WEIGHTS @ np.logaddexp(0, -(mean + sd * NODES)),
    "exponential": lambda mean, sd: np.exp(-mean + sd**2 / 2),
    "squared": lambda mean, sd: (1 - mean) ** 2 + sd**2,
}
PROBLEMS = [
    (6.0, 2.0, 1.0, 1.0, 1.0),
    (3.0, 1.5, 0.5, 0.5, 0.5),
    (2.0, 3.0, 2.0, 1.0, 0.5),
    (5.0, 1.0, 0.3, 0.4, 1.0),
    (4.0, 0.5, 1.0, 0.2, 0.2),
]


def expected_loss(loss, u, s, tau, K, r, c_minus=1.0, c_plus=1.0):
    """s = rho sigma: margins N(s u, c_- s^2) of class - and N(s K v, c_+ (s K)^2) of class +."""
    l = LOSSES[loss]
    return (l(s * u, np.sqrt(c_minus) * s) + r * l(s * (tau - u), np.sqrt(c_plus) * s * K)) / (1 + r)


def search(loss, tau, K, r, c_minus=1.0, c_plus=1.0):
    """Nelder-Mead over (u, log s), restarted; on the log of the loss, which may be tiny."""
    x = np.array([tau / (K + 1), np.log(tau / (K * max(c_minus, c_plus)))])
    for _ in range(4):
        found = scipy_minimize(
            lambda p: np.log(expected_loss(loss, p[0], np.exp(p[1]), tau, K, r, c_minus, c_plus)),
            x,
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-16},
        )
        x = found.x
    return x[0], (tau - x[0]) / K, np.exp(x[1]), np.exp(found.fun)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_numerical_minimiser(loss, problem):
    tau, K, r, c_minus, c_plus = problem
    got = minimise(tau, K, r, loss=loss, c_minus=c_minus, c_plus=c_plus)
    u, v, s, value = search(loss, *problem)
    assert expected_loss(loss, got.u, got.rho_sigma, *problem) <= value * (1 + 1e-9)
    assert got == pytest.approx((u, v, s), rel=1e-6, abs=1e-6)
    assert got.u + K * got.v == pytest.approx(tau, abs=1e-9)


@pytest.mark.parametrize(
    "tau, K, c", [(6.0, 2.0, 1.0), (6.0, 2.0, 0.3), (1.0, 3.0, 1.0), (4.0, 0.5, 0.7), (3.0, 1.0, 0.5), (0.2, 2.0, 1.0)]
)
def test_the_hinge_formula_minimises_the_expected_hinge_loss(tau, K, c):
    got = hinge(tau, K, c)
    u, v, s, value = search("hinge", tau, K, 1.0, c, c)
    assert expected_loss("hinge", got.u, got.rho_sigma, tau, K, 1.0, c, c) <= value + 1e-12
    assert got.u + K * got.v == pytest.approx(tau)
    numeric = minimise(tau, K, loss="hinge", c_minus=c, c_plus=c)
    assert numeric == pytest.approx(tuple(got), rel=1e-6, abs=1e-6)
    if value < 0.9:  # a flat optimum otherwise
        assert got == pytest.approx((u, v, s), rel=1e-4, abs=1e-5)


@given(tau=st.floats(0.5, 12), K=st.floats(1.05, 6), c=st.floats(0.05, 0.95))
def test_mixing_narrows_the_hinge_gap(tau, K, c):
    before, after = hinge(tau, K), hinge(tau, K, c)
    assert 0 < after.u - after.v < before.u - before.v


@pytest.mark.parametrize("tau, K", [(6.0, 2.0), (3.0, 1.5)])
def test_hinge_gap_closes_at_its_own_rate(tau, K):
    c = np.array([1e-2, 1e-3, 1e-4, 1e-6])
    got = hinge(tau, K, c)
    ratio = (got.u - got.v) * tau / (K + 1) / c / ((K - 1 / K) / 2)
    assert (np.diff(np.abs(ratio - 1)) < 0).all()
    assert ratio[-1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("loss, rate", [("hinge", (2 - 1 / 2) / 2 - np.log(0.5)), ("logistic", np.log(2 / 0.5))])
def test_margins_close_at_the_rate_of_the_loss_for_unequal_priors(loss, rate):
    tau, K, r, a = 6.0, 2.0, 0.5, 2.0
    errors = []
    for c in (1 / 40, 1 / 160):
        got = minimise(tau, K, r, loss=loss, c_minus=c, c_plus=c)
        errors.append(abs((got.u - got.v) * a / (c * rate) - 1))
    assert errors[1] < 0.4 * errors[0]
    assert errors[1] < 0.02


def test_the_numerical_minimiser_survives_losses_that_underflow():
    """At c = 1/400 the least hinge loss is near exp(-a^2 / (2 c)) = exp(-800), below the smallest double."""
    got = minimise(6.0, 2.0, loss="hinge", c_minus=1 / 400, c_plus=1 / 400)
    assert (got.u, got.v) == pytest.approx(tuple(hinge(6.0, 2.0, 1 / 400))[:2], abs=1e-6)


RANGE = [(tau, K, c) for tau in (1e-4, 1e-2, 1.0, 30.0, 300.0) for K in (1.05, 2.0, 50.0) for c in (1 / 400, 0.3, 1.0)]


@pytest.mark.parametrize("tau, K, c", RANGE)
def test_the_numerical_minimiser_is_as_accurate_as_it_says(tau, K, c):
    for loss, r, exact in [
        ("hinge", 1.0, hinge(tau, K, c)),
        ("exponential", 1.0, exponential(tau, K, 1.0, c)),
        ("exponential", 0.3, exponential(tau, K, 0.3, c)),
    ]:
        got = minimise(tau, K, r, loss=loss, c_minus=c, c_plus=c)  # pyright: ignore[reportArgumentType]
        bound = 1e-9 * (tau + abs(exact.u))
        assert got.u == pytest.approx(float(exact.u), rel=0, abs=bound)
        assert K * got.v == pytest.approx(K * float(exact.v), rel=0, abs=bound)
        assert got.rho_sigma == pytest.approx(float(exact.rho_sigma), rel=1e-6)


@pytest.mark.parametrize("r", [1.0, 0.3])
@pytest.mark.parametrize("tau, K, c", RANGE)
def test_the_logistic_minimiser_does_not_depend_on_its_start(tau, K, c, r):
    """A mirrored problem starts elsewhere: classes swapped, in units of the other sd."""
    got = minimise(tau, K, r, c_minus=c, c_plus=c)
    swapped = minimise(tau / K, 1 / K, 1 / r, c_minus=c, c_plus=c)
    moved = TwoClasses(tau, r, np.sqrt(c), K * np.sqrt(c)).minimum([(1.2 * float(got.rho_sigma), 1.01 * float(got.u))])
    for s, u in ((float(swapped.rho_sigma) / K, float(swapped.v)), moved):
        assert u == pytest.approx(float(got.u), rel=0, abs=1e-9 * (tau + abs(float(got.u))))
        assert s == pytest.approx(float(got.rho_sigma), rel=1e-6)


@pytest.mark.parametrize(
    "mean, sd", [(0.3, 0.2), (1, 0.99), (1, 1.01), (2, 4), (-3, 2), (20, 5), (99, 10), (8, 3), (-1, 0.5), (60, 8)]
)
def test_the_expected_logistic_loss_and_its_derivatives(mean, sd):
    m, step = np.linspace(mean - 40 * sd, mean + 40 * sd, 2**19 + 1, retstep=True)
    weight = step * phi((m - mean) / sd) / sd
    value, slope, bend = weight * np.logaddexp(0, -m), -weight * expit(-m), weight * expit(-m) * expit(m)
    got, total = expected_logistic(mean, sd), value.sum()
    assert got.log == pytest.approx(np.log(total), abs=1e-12)
    assert got.slope == pytest.approx(slope.sum() / total, rel=1e-11)
    assert got.reach == pytest.approx((m @ slope) / total, rel=1e-10, abs=1e-10)
    assert got.bend == pytest.approx(bend.sum() / total, rel=1e-10)
    assert got.spread == pytest.approx(((m - mean) @ bend / total, (m - mean) ** 2 @ bend / total), rel=1e-9, abs=1e-10)
    assert got.turn == pytest.approx(slope.sum() + 0.5, abs=1e-12)


def test_the_logistic_minimiser_splits_tau_in_half_as_it_vanishes():
    for tau in (1e-8, 1e-5, 1e-3):
        got = minimise(tau, 2.0)
        assert tuple(got) == pytest.approx((tau / 2, tau / 4, 2 * tau / 5), rel=1e-5)


@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("r", [1e-12, 1e-6, 1e6, 1e12])
def test_the_logistic_minimiser_of_rare_classes(tau, r):
    """Both derivatives vanish: in the threshold ``E_- l' = r E_+ l'``, and in the scale."""
    u, _, s = map(float, minimise(tau, 2.0, r))
    minus, plus = expected_logistic(s * u, s), expected_logistic(s * (tau - u), 2.0 * s)
    slopes = minus.log + np.log(-minus.slope), np.log(r) + plus.log + np.log(-plus.slope)
    assert slopes[0] == pytest.approx(slopes[1], abs=1e-6)
    assert minus.reach / minus.slope + plus.reach / plus.slope == pytest.approx(0.0, abs=1e-6)


def test_a_likelier_class_may_take_the_whole_hinge_loss():
    tau = 2.0 * float(phi(norm.isf(0.3))) / 0.3  # c_- = 4: below this tau w = 0 is optimal
    assert tuple(minimise(0.999 * tau, 3.0, 0.3, loss="hinge", c_minus=4.0)) == (np.inf, -np.inf, 0.0)
    got = minimise(1.001 * tau, 3.0, 0.3, loss="hinge", c_minus=4.0)
    assert got.rho_sigma > 0.0
    constant = 2 * 0.3 / 1.3
    assert expected_loss("hinge", got.u, got.rho_sigma, 1.001 * tau, 3.0, 0.3, 4.0, 1.0) < constant
    assert tuple(minimise(0.01, 3.0, 4.0, loss="hinge")) == (-np.inf, np.inf, 0.0)


def test_logistic_scale_grows_as_mixing_removes_the_overlap():
    """rho sigma ~ tau / (K c), and u - v closes at the leading rate of the 0-1 loss."""
    c = 1e-2
    got = minimise(6.0, 2.0, loss="logistic", c_minus=c, c_plus=c)
    expected = search("logistic", 6.0, 2.0, 1.0, c, c)
    assert got == pytest.approx(expected[:3], rel=1e-4)
    assert got.rho_sigma * 2.0 * c / 6.0 == pytest.approx(1, abs=0.05)
    u, v = threshold(6.0, 2.0, c_minus=c, c_plus=c)
    assert got.u - got.v == pytest.approx(u - v, rel=0.02)


@pytest.mark.parametrize("problem", [(6.0, 2.0, 1.0, 0.5), (3.0, 1.5, 0.4, 0.7), (2.0, 3.0, 2.0, 0.3)], ids=str)
def test_exponential_formula(problem):
    tau, K, r, c = problem
    got = exponential(tau, K, r, c)
    u, v, s, value = search("exponential", tau, K, r, c, c)
    assert got == pytest.approx((u, v, s), rel=1e-4, abs=1e-5)
    assert expected_loss("exponential", got.u, got.rho_sigma, tau, K, r, c, c) <= value + 1e-12


def test_mixing_does_not_move_the_exponential_boundary_for_equal_priors():
    c = np.array([1.0, 0.5, 0.1, 0.01])
    got = exponential(6.0, 2.0, 1.0, c)
    np.testing.assert_allclose(np.broadcast_to(got.u, 4), 2.1)
    np.testing.assert_allclose(np.broadcast_to(got.v, 4), 1.95)
    np.testing.assert_allclose(Phi(-got.v) - Phi(-got.u), 0.007724, atol=5e-7)


def test_squared_loss_puts_the_boundary_at_the_midpoint_whatever_the_mixing():
    got = squared(6.0, 2.0)
    assert (got.u, got.v) == pytest.approx((3, 1.5))
    assert Phi(-got.v) - Phi(-got.u) == pytest.approx(0.065457, abs=5e-7)
    u, v, s, _ = search("squared", 6.0, 2.0, 1.0)
    assert got == pytest.approx((u, v, s), rel=1e-5)
    for c in (0.5, 0.1):
        assert minimise(6.0, 2.0, loss="squared", c_minus=c, c_plus=c).u == pytest.approx(3, abs=1e-6)


def test_closed_forms_broadcast():
    tau, K = np.array([1.0, 3.0, 6.0])[:, None], np.array([1.5, 2.0])
    for got in (hinge(tau, K), exponential(tau, K), squared(tau, K)):
        assert got.u.shape == got.v.shape == got.rho_sigma.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        assert tuple(x[i, j] for x in hinge(tau, K)) == pytest.approx(tuple(hinge(tau[i, 0], K[j])))


def test_hazard_excess_is_the_normal_hazard_minus_its_argument():
    t = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(
        hazard_excess(t), np.exp(-t * t / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-t)) - t, rtol=1e-10
    )
    large = np.array([19.999, 20.0, 20.001, 30.0, 200.0, 1e6])
    series = 1 / large - 2 / large**3 + 10 / large**5 - 74 / large**7 + 706 / large**9
    np.testing.assert_allclose(hazard_excess(large), series, rtol=1e-8)


@pytest.mark.parametrize("t", [-25.0, -12.0, -7.0, -6.0, -2.0, 0.0, 5.0, 19.9, 20.0, 20.1, 500.0, 1e6])
def test_the_inverse_hazard_inverts_the_hazard(t):
    y = np.exp(-t * t / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-t)) if t < 20 else t + float(hazard_excess(np.array(t)))
    assert inverse_hazard(y) == pytest.approx(t, rel=1e-8, abs=1e-8)


def test_surrogates_need_a_robust_margin():
    for loss in ("hinge", "logistic", "exponential", "squared"):
        with pytest.raises(AssumptionError, match="tau"):
            minimise(0.0, 2.0, loss=loss)
    for closed_form in (hinge, exponential, squared):
        with pytest.raises(ValueError, match="tau"):
            closed_form(-1.0, 2.0)
