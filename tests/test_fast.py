"""The direct solvers against cvxpy and scipy, their certificates and their statuses."""
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtr

from instances import gaussians, lift, samples, threats
from linfair.gaussian import ClassGaussians
from linfair.mixing import UniformMix, mix_within_class
from linfair.norms import Threat
from linfair.solvers import convex, fast
from linfair.solvers.solution import Status


@pytest.mark.parametrize("ridge", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(3))
def test_robust_erm_is_the_optimum_of_cvxpy(ridge, seed):
    rng = np.random.default_rng(seed)
    X, y = samples(rng, 120, 5)
    weights = None if seed else rng.uniform(0.3, 3.0, 120)
    for threat in threats(rng, 5):
        ours = fast.robust_erm(X, y, threat, ridge=ridge, weights=weights)
        theirs = convex.robust_erm(X, y, threat, ridge=ridge, weights=weights)
        assert ours.status == theirs.status == Status.OPTIMAL
        assert ours.gap <= 1e-9 * (1 + ours.objective)
        assert abs(ours.objective - theirs.objective) < 1e-8
        assert np.abs(ours.classifier.w - theirs.classifier.w).max() < 1e-3


@pytest.mark.parametrize("norm, q", [("l2", 2), ("l1", np.inf), ("linf", 1)])
def test_robust_erm_is_not_beaten_by_scipy(norm, q):
    rng = np.random.default_rng(5)
    X, y = mix_within_class(*samples(rng, 60, 3), UniformMix(2), rng)
    s, eps = 2.0 * y - 1.0, np.array([0.1, 0.3])

    def risk(x):
        return np.logaddexp(0, -s * (X @ x[:3] + x[3]) + eps[y] * np.linalg.norm(x[:3], q)).mean()

    ours = fast.robust_erm(X, y, Threat(norm, tuple(eps)))
    theirs = min(
        minimize(risk, rng.standard_normal(4), method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-13}).fun
        for _ in range(3)
    )
    assert ours.info["lower_bound"] <= theirs + 1e-15
    assert theirs - ours.objective < 1e-5
    assert ours.gap < 1e-9


@given(st.integers(0, 10**6))
def test_every_answer_is_certified(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.choice([4, 15, 80])), int(rng.choice([1, 2, 6]))
    X, y = samples(rng, n, d, rng.choice([0.0, 0.5, 3.0]))
    X = X * 10.0 ** rng.uniform(-2, 2) + rng.choice([0.0, 100.0])
    if rng.random() < 0.3:
        X[:, 0] = X[:, -1]  # collinear
    eps = tuple(X.std() * rng.choice([0.0, 0.05, 0.4]) * rng.random(2))
    threat = Threat(rng.choice(["l1", "l2", "linf"]), eps, lift(rng, d, 3) if rng.random() < 0.4 else None)
    found = fast.robust_erm(X, y, threat, ridge=float(rng.choice([0.0, 0.01])) * X.var())
    assert found.status != Status.INACCURATE
    assert found.gap is not None
    assert 0.0 <= found.gap <= 1e-8
    margins = found.classifier.robust_margins(X, y, threat)
    if found.status == Status.ROBUSTLY_SEPARABLE:
        assert found.objective == 0.0
        assert margins.min() == pytest.approx(1.0, rel=1e-6)
        low, high = found.info["margin_low"], found.info["margin_high"]
        assert 1.0 / np.linalg.norm(found.classifier.w) == pytest.approx(low, rel=1e-6)
        assert low <= high * (1 + 1e-9)
        assert high - low <= 1e-3 * high
    if found.status == Status.CONSTANT_OPTIMAL:
        assert not found.classifier.w.any()


@pytest.mark.parametrize("seed", range(3))
def test_separable_data_give_the_maximum_margin(seed):
    rng = np.random.default_rng(seed)
    X, y = samples(rng, 40, 4, distance=9.0)
    for threat in threats(rng, 4):
        ours, theirs = fast.robust_erm(X, y, threat), convex.robust_erm(X, y, threat)
        assert ours.status == theirs.status == Status.ROBUSTLY_SEPARABLE
        assert ours.objective == theirs.objective == 0.0
        assert ours.classifier.w == pytest.approx(theirs.classifier.w, rel=1e-5, abs=1e-6)
        path = fast.robust_erm(X, y, threat, ridge=1e-9).classifier.w
        cosine = path @ ours.classifier.w / np.linalg.norm(path) / np.linalg.norm(ours.classifier.w)
        assert cosine > 0.95  # the ridge path turns to it, slowly


def test_the_constant_wins_exactly_when_the_attack_bridges_the_class_means():
    rng = np.random.default_rng(0)
    X, y = samples(rng, 100, 3)
    gap = np.abs(X[y == 1].mean(0) - X[y == 0].mean(0)).max()
    assert fast.robust_erm(X, y, Threat("linf", 0.501 * gap)).status == Status.CONSTANT_OPTIMAL
    assert fast.robust_erm(X, y, Threat("linf", 0.499 * gap)).status == Status.OPTIMAL
    lifted = fast.robust_erm(X, y, Threat("linf", gap, np.eye(3)[:, [1, 2, 0]]), ridge=0.1)
    assert lifted.status == Status.CONSTANT_OPTIMAL
    assert lifted.gap < 1e-9


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_large_samples_and_a_pixel_lift_are_certified(norm):
    rng = np.random.default_rng(1)
    X, y = samples(rng, 4000, 16)
    X *= np.geomspace(3.0, 0.1, 16)  # like principal components
    for threat in (Threat(norm, 0.01), Threat(norm, 0.003, lift(rng, 16, 500))):
        found = fast.robust_erm(X, y, threat)
        assert found.status == Status.OPTIMAL
        assert found.gap < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_minimax_is_the_optimum_of_cvxpy(seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 6, distance=4.0)
    for threat in threats(rng, 6):
        ours, theirs = fast.minimax_fair(model, threat), convex.minimax_fair(model, threat)
        assert ours.status == theirs.status == Status.OPTIMAL
        assert ours.gap < 1e-9
        assert abs(ours.info["kappa_low"] - theirs.info["kappa_low"]) < 1e-8
        assert ours.risks.value == pytest.approx(ndtr(-ours.info["kappa_low"]), rel=1e-9)


@given(
    st.sampled_from(["l1", "l2", "linf"]),
    st.floats(0.3, 3.0),
    st.floats(0.2, 5.0),
    st.floats(0.0, 0.9),
    st.integers(0, 1000),
)
def test_isotropic_kappa_is_the_robust_distance_over_the_two_sds(norm, sd, K, strength, seed):
    rng = np.random.default_rng(seed)
    delta = 2.0 * rng.standard_normal(4)
    ball = Threat(norm).ball
    ebar = strength * float(ball.of(delta))
    found = fast.minimax_fair(ClassGaussians.two_class(delta, sd, K), Threat(norm, (0.3 * ebar, 0.7 * ebar)))
    tau = np.linalg.norm(delta - ball.project(delta, ebar)) / sd
    assert found.info["kappa_low"] == pytest.approx(tau / (K + 1), rel=1e-8)
    assert found.risks.value == pytest.approx(ndtr(-tau / (K + 1)), rel=1e-6)


def test_minimax_statuses():
    model = ClassGaussians(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [1.0, 0.0]]))
    bridged = fast.minimax_fair(model, Threat("linf", 0.5))
    assert bridged.status == Status.NOT_ROBUSTLY_SEPARABLE
    assert bridged.maybe_classifier is None
    assert bridged.objective == 0.5
    assert bridged.risks.value.tolist() == [0.5, 0.5]
    flat = ClassGaussians(model.means, np.array([[1.0, 0.0], [1.0, 0.0]]))
    apart = fast.minimax_fair(flat, Threat("linf", 0.4))
    assert apart.status == Status.ROBUSTLY_SEPARABLE
    assert apart.objective == 0.0
    assert apart.classifier.class_risks(flat, Threat("linf", 0.4)).value.max() == 0.0


@pytest.mark.parametrize("X, y, message", [
    (np.zeros((0, 2)), [], "n = 0"),
    (np.ones((3, 2)), [1, 1, 1], "both classes"),
    (np.ones(3), [0, 1, 1], "X must have 2 dimension"),
    (np.full((2, 2), np.nan), [0, 1], "X must be finite"),
    (np.ones((2, 2)), [0, 2], "y must lie in 0..1"),
    (np.ones((2, 2)), [0, 1, 1], "y must have shape"),
])  # fmt: skip
def test_malformed_samples(X, y, message):
    for solve in (fast.robust_erm, convex.robust_erm):
        with pytest.raises(ValueError, match=message):
            solve(X, y, Threat("l2", 0.1))


def test_what_the_fast_solver_does_not_do_it_says():
    with pytest.raises(ValueError, match=r"convex\.robust_erm"):
        fast.robust_erm([[0.0], [1.0]], [0, 1], Threat("l2", 0.1), "hinge")
    with pytest.raises(ValueError, match="model must have 2 classes, got 3"):
        fast.minimax_fair(ClassGaussians(np.eye(3), 1.0), Threat("l2", 0.1))


@pytest.mark.parametrize("tol", [-1.0, 0.0, np.nan])
def test_the_tolerance_is_a_positive_number(tol):
    with pytest.raises(ValueError, match="tol must be"):
        fast.robust_erm(np.eye(2), [0, 1], Threat("l2", 0.1), tol=tol)


def test_a_norm_is_no_threat():
    with pytest.raises(TypeError, match=r'threat must be a Threat, got \'linf\'; pass Threat\("linf", eps\)'):
        fast.robust_erm(np.eye(2), [0, 1], "linf")  # pyright: ignore[reportArgumentType]
