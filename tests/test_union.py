"""One minus a Gaussian orthant probability, in logs, against quadrature and cases with a closed form."""

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import log_ndtr

from linfair._union import log_union
from oracle import Phi


@pytest.mark.parametrize("rho", [-0.95, -0.3, 0.0, 0.6, 0.99])
@pytest.mark.parametrize("z", [(0.5, 1.0), (-0.4, 0.2), (3.0, 2.0)])
def test_two_rivals_match_a_double_integral(rho, z):
    cov = np.array([[1.0, rho], [rho, 1.0]])
    inverse, norm = np.linalg.inv(cov), 1 / (2 * np.pi * np.sqrt(1 - rho**2))

    def density(t, s):
        return norm * np.exp(-0.5 * (inverse[0, 0] * s * s + 2 * inverse[0, 1] * s * t + inverse[1, 1] * t * t))

    survive = dblquad(density, -z[0], 9, -z[1], 9, epsabs=1e-9)[0]
    value, lower, upper = np.exp(log_union(np.array(z), cov))
    assert value == pytest.approx(1 - survive, abs=1e-7)
    assert lower <= value <= upper


@pytest.mark.parametrize("rivals", [2, 3, 5, 9])
@pytest.mark.parametrize("z", [0.5, 3.0, 12.0, 30.0])
def test_independent_rivals_multiply(rivals, z):
    """Survival probabilities multiply: 1 - (1 - p)^J, also where p = Phi(-30)."""
    value, _, _ = log_union(np.full(rivals, 2 * z), 4 * np.eye(rivals))
    log_p = log_ndtr(-z)
    expected = np.log(-np.expm1(rivals * np.log1p(-np.exp(log_p)))) if z < 30 else np.log(rivals) + log_p
    assert value == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("rivals", [2, 3, 6])
@pytest.mark.parametrize("rho", [0.3, 0.9])
@pytest.mark.parametrize("z", [1.0, 5.0, 20.0])
def test_equicorrelated_rivals_match_a_one_dimensional_integral(rivals, rho, z):
    """m_j = z + sqrt(rho) t + sqrt(1 - rho) s_j: given t the rivals are independent."""

    def log_integrand(t):
        score = (z + np.sqrt(rho) * t) / np.sqrt(1 - rho)
        some_fail = -np.expm1(
            rivals * log_ndtr(score)
        )  # loses digits deep in the tail, where one failure is all there is
        log_union = np.where(score < 6, np.log(np.maximum(some_fail, 1e-300)), np.log(rivals) + log_ndtr(-score))
        return log_union - t * t / 2 - np.log(2 * np.pi) / 2

    t = np.linspace(-z - 12, 12, 400001)
    logs = log_integrand(t)
    expected = logs.max() + np.log(np.exp(logs - logs.max()).sum() * (t[1] - t[0]))
    cov = np.full((rivals, rivals), rho) + (1 - rho) * np.eye(rivals)
    assert log_union(np.full(rivals, z), cov)[0] == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("mean", [(1.0, 1.0), (2.0, 1.0, 1.0), (25.0, 25.0, 25.0, 25.0)])
def test_identical_rivals_count_once(mean):
    n = len(mean)
    assert log_union(np.array(mean), np.ones((n, n)))[0] == pytest.approx(log_ndtr(-min(mean)), rel=1e-9)


def test_opposite_rivals_add_up():
    cov = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert np.exp(log_union(np.array([1.0, 2.0]), cov)[0]) == pytest.approx(Phi(-1) + Phi(-2), rel=1e-12)
    assert log_union(np.array([20.0, 20.0]), cov)[0] == pytest.approx(np.log(2) + log_ndtr(-20), rel=1e-12)
    assert np.exp(log_union(np.array([-1.0, 0.5]), cov)[0]) == pytest.approx(1.0)


def test_a_rival_without_variance_is_certain():
    cov = np.diag([1.0, 0.0])
    assert log_union(np.array([1.0, 0.5]), cov)[0] == pytest.approx(log_ndtr(-1))
    assert log_union(np.array([1.0, -0.5]), cov)[0] == pytest.approx(0.0, abs=1e-12)
