"""Attack norms: dual norms, projections, worst shifts, and the threat model."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from linfair.norms import NATURAL, NORMS, Threat, as_threat, get_norm

P = {"l1": 1.0, "l2": 2.0, "linf": np.inf}
DUAL = {"l1": np.inf, "l2": 2.0, "linf": 1.0}
all_norms = pytest.mark.parametrize("name", list(P))
entries = st.one_of(st.just(0.0), st.floats(1e-6, 10), st.floats(-10, -1e-6))
vectors = arrays(float, st.integers(1, 6), elements=entries)


def corners(name, d):
    """Extreme points of the unit ball (l2: a fine net)."""
    if name == "linf":
        return np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    if name == "l1":
        return np.vstack([np.eye(d), -np.eye(d)])
    g = np.random.default_rng(0).standard_normal((40000, d))
    return g / np.linalg.norm(g, axis=1, keepdims=True)


def test_the_registry_holds_exactly_the_three_norms():
    assert set(NORMS) == set(P)


@all_norms
@given(x=vectors)
def test_norm_and_dual_norm_are_numpys(name, x):
    norm = get_norm(name)
    assert norm.of(x) == pytest.approx(np.linalg.norm(x, P[name]), rel=1e-12)
    assert norm.dual_of(x) == pytest.approx(np.linalg.norm(x, DUAL[name]), rel=1e-12)
    assert (norm.p, norm.q) == (P[name], DUAL[name])


@all_norms
def test_norms_work_along_an_axis(name):
    X = np.random.default_rng(0).standard_normal((3, 4, 5))
    np.testing.assert_allclose(get_norm(name).of(X, axis=1), np.linalg.norm(X, P[name], axis=1))
    np.testing.assert_allclose(get_norm(name).dual_of(X), np.linalg.norm(X, DUAL[name], axis=-1))


@all_norms
@given(x=vectors, radius=st.floats(0, 20))
def test_projection_is_the_nearest_point_of_the_ball(name, x, radius):
    """Variational inequality: <x - p, y - p> <= 0 for all y in the ball, whose maximum over y is a dual norm."""
    p = get_norm(name).project(x, radius)
    scale = 1 + np.abs(x).max()
    assert np.linalg.norm(p, P[name]) <= radius + 1e-12 * scale
    assert radius * np.linalg.norm(x - p, DUAL[name]) - (x - p) @ p <= 1e-11 * scale**2


@all_norms
def test_projection_agrees_with_constrained_optimisation(name):
    x, radius = np.array([2.0, -1.0, 0.3]), 0.9

    # p = a - b with a, b >= 0 turns the l1 and linf balls into smooth constraints
    def inside(s):
        a, b = s[:3], s[3:]
        return {"l1": radius - np.sum(a + b), "linf": radius - (a + b), "l2": radius**2 - np.sum((a - b) ** 2)}[name]

    found = minimize(
        lambda s: np.sum((s[:3] - s[3:] - x) ** 2),
        np.full(6, 0.1),
        bounds=[(0, None)] * 6,
        constraints={"type": "ineq", "fun": inside},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    ).x
    np.testing.assert_allclose(get_norm(name).project(x, radius), found[:3] - found[3:], atol=1e-6)


@all_norms
@given(x=vectors, radius=st.floats(0, 20))
def test_projection_is_idempotent_and_keeps_points_inside(name, x, radius):
    norm = get_norm(name)
    p = norm.project(x, radius)
    np.testing.assert_allclose(norm.project(p, radius), p, atol=1e-12 * (1 + np.abs(x).max()))
    np.testing.assert_array_equal(norm.project(x, float(np.linalg.norm(x, P[name])) + 1.0), x)
    np.testing.assert_array_equal(norm.project(x, 0.0), np.zeros_like(x))


@all_norms
@given(w=vectors)
def test_dual_maximiser_attains_the_dual_norm_within_the_unit_ball(name, w):
    s = get_norm(name).dual_maximiser(w)
    assert s.shape == w.shape
    assert np.linalg.norm(s, P[name]) <= 1 + 1e-12
    assert w @ s == pytest.approx(np.linalg.norm(w, DUAL[name]), rel=1e-12, abs=1e-300)


@all_norms
def test_dual_norm_is_the_largest_gain_over_the_ball(name):
    w = np.array([1.5, -0.2, 0.7])
    best = (corners(name, 3) @ w).max()
    assert get_norm(name).dual_of(w) == pytest.approx(best, rel=1e-3 if name == "l2" else 1e-12)


@pytest.mark.parametrize(
    "alias, name",
    [(1, "l1"), (2, "l2"), (np.inf, "linf"), (2.0, "l2"), ("1", "l1"), ("inf", "linf"), ("l_1", "l1"), ("l_2", "l2")]
    + [("l_inf", "linf"), ("linf", "linf"), (get_norm("l1"), "l1")],
)
def test_aliases(alias, name):
    assert get_norm(alias).name == name
    assert Threat(alias, 0.1).ball.name == name


def test_radii_are_one_a_class():
    np.testing.assert_array_equal(Threat("linf", 0.1).radii(3), [0.1] * 3)
    np.testing.assert_array_equal(Threat("linf", [0.1, 0.2]).radii(2), [0.1, 0.2])
    np.testing.assert_array_equal(Threat("linf", [0.1, 0.2]).scaled(3).radii(2), np.array([0.1, 0.2]) * 3)
    np.testing.assert_array_equal(Threat("l2", 0.5).scaled(0.0).radii(2), [0, 0])


@all_norms
def test_a_threat_without_lift_is_the_dual_norm_of_the_weights(name):
    W = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(Threat(name, 0.1).dual_norm(W), np.linalg.norm(W, DUAL[name], axis=-1))
    w = W[0, 0]
    assert w @ Threat(name, 0.1).worst_shift(w) == pytest.approx(np.linalg.norm(w, DUAL[name]))


@all_norms
def test_a_lifted_threat_attacks_the_inputs_behind_the_features(name):
    rng = np.random.default_rng(1)
    lift, _ = np.linalg.qr(rng.standard_normal((5, 2)))
    w = np.array([0.8, -1.7])
    threat = Threat(name, 0.3, lift=lift)
    reachable = corners(name, 5) @ lift @ w  # z = P'x: an input shift delta moves the score by w.(P' delta)
    assert threat.dual_norm(w) == pytest.approx(reachable.max(), rel=0.05 if name == "l2" else 1e-12)
    assert threat.dual_norm(w) == pytest.approx(np.linalg.norm(lift @ w, DUAL[name]), rel=1e-12)
    assert w @ threat.worst_shift(w) == pytest.approx(threat.dual_norm(w), rel=1e-12)
    np.testing.assert_allclose(threat.dual_norm(np.stack([w, 2 * w])), threat.dual_norm(w) * np.array([1, 2]))
    assert threat.scaled(2.0).dual_norm(w) == pytest.approx(threat.dual_norm(w))


def test_the_identity_lift_changes_nothing():
    w = np.array([0.8, -1.7, 0.1])
    plain, lifted = Threat("linf", 0.3), Threat("linf", 0.3, lift=np.eye(3))
    assert lifted.dual_norm(w) == pytest.approx(plain.dual_norm(w))
    np.testing.assert_allclose(lifted.worst_shift(w), plain.worst_shift(w))


@all_norms
def test_zero_weights_feel_no_attack(name):
    threat = Threat(name, 0.3)
    assert threat.dual_norm(np.zeros(3)) == 0
    assert np.isfinite(threat.worst_shift(np.zeros(3))).all()


def test_only_a_threat_is_a_threat():
    assert as_threat(NATURAL) is NATURAL
    with pytest.raises(TypeError, match=r"threat must be a Threat, got 'linf'; pass Threat\(\"linf\", eps\)"):
        as_threat("linf")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="got ndarray; pass"):
        as_threat(np.zeros((9, 9)))  # pyright: ignore[reportArgumentType]
