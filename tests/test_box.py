"""Linear classifiers under an attack with a box: against enumeration, cvxpy and the solver without a box."""

from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import box, fast
from linfair.solvers.solution import Status


def instance(seed: int, n: int = 60):
    """Samples with two continuous and two 0/1 columns, labels, radii of 0 and more, and their box."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((n, 2)), rng.integers(0, 2, (n, 2))])
    y = (X @ [1.0, -0.7, 0.8, 0.1] + rng.standard_normal(n) > 0.3).astype(int)
    eps = rng.choice([0.0, 0.2, 0.5], 4)
    return X, y, eps, X.min(0), X.max(0)


@given(st.integers(0, 10**6))
def test_score_range_is_that_of_all_corners(seed):
    X, _, eps, lo, hi = instance(seed, 5)
    f = LinearClassifier(np.random.default_rng(seed).standard_normal(4), 0.3)
    down, up = box.score_range(f, X, eps, lo=lo, hi=hi)
    corners = np.array([f.scores(np.clip(X + np.array(s) * eps, lo, hi)) for s in product((-1, 1), repeat=4)])
    np.testing.assert_allclose(down, corners.min(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(up, corners.max(0), rtol=0, atol=1e-12)


def oracle(X, y, eps, lo, hi, ridge, weights):
    """The same problem in cvxpy: the loss is convex and nonincreasing in a margin that is concave in w."""
    w, b = cp.Variable(4), cp.Variable()
    L, H = np.maximum(X - eps, lo), np.minimum(X + eps, hi)
    plus = L @ cp.pos(w) - H @ cp.neg(w) + b
    minus = -(H @ cp.pos(w) - L @ cp.neg(w) + b)
    centre, half = (L + H) / 2, (H - L) / 2
    margins = cp.multiply(2 * y - 1, centre @ w + b) - half @ cp.abs(w)
    problem = cp.Problem(cp.Minimize((weights / len(y)) @ cp.logistic(-margins) + ridge / 2 * cp.sum_squares(w)))
    problem.solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(margins.value, np.where(y == 1, plus.value, minus.value), atol=1e-9)
    return float(problem.value), np.asarray(w.value)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("seed", range(8))
def test_robust_logistic_is_the_optimum_of_cvxpy(seed):
    X, y, eps, lo, hi = instance(seed)
    weights = np.random.default_rng(seed).uniform(0.3, 3.0, len(y)) if seed % 2 else np.ones(len(y))
    found = box.robust_logistic(X, y, eps, ridge=1e-2, lo=lo, hi=hi, weights=weights)
    value, w = oracle(X, y, eps, lo, hi, 1e-2, weights)
    assert found.status == (Status.OPTIMAL if np.abs(w).max() > 1e-5 else Status.CONSTANT_OPTIMAL)
    assert found.gap is not None
    assert found.gap <= 1e-9 * (1 + found.objective)
    assert abs(found.objective - value) < 1e-7
    assert np.abs(found.classifier.w - w).max() < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_without_a_box_it_is_robust_erm(seed):
    X, y, *_ = instance(seed)
    ours = box.robust_logistic(X, y, 0.15, ridge=1e-3)
    theirs = fast.robust_erm(X, y, Threat("linf", 0.15), ridge=1e-3)
    assert abs(ours.objective - theirs.objective) < 1e-8
    assert np.abs(ours.classifier.w - theirs.classifier.w).max() < 1e-4


@given(st.integers(0, 10**6))
def test_every_answer_is_certified(seed):
    rng = np.random.default_rng(seed)
    X, y, eps, lo, hi = instance(seed, int(rng.choice([6, 40, 300])))
    if y.min() == y.max():
        y[0] = 1 - y[0]
    eps, ridge = eps * rng.choice([1.0, 20.0]), 10.0 ** rng.uniform(-6, 0)
    found = box.robust_logistic(X, y, eps, ridge=ridge, lo=lo, hi=hi)
    assert found.status in (Status.OPTIMAL, Status.CONSTANT_OPTIMAL)
    assert found.info["lower_bound"] <= found.objective + 1e-14

    def objective(w, b):
        return worst_loss(X, y, eps, lo, hi, w, b) + ridge / 2 * (w @ w)

    f = found.classifier
    assert objective(f.w, float(f.b)) == pytest.approx(found.objective, abs=1e-12)
    for scale in (1e-3, 0.1, 1.0):
        rival = objective(f.w + scale * rng.standard_normal(4), float(f.b) + scale * rng.standard_normal())
        assert found.info["lower_bound"] <= rival + 1e-14


def worst_loss(X, y, eps, lo, hi, w, b):
    down, up = box.score_range(LinearClassifier(w, b), X, eps, lo=lo, hi=hi)
    return float(np.logaddexp(0, np.where(y == 1, -down, up)).mean())


def test_an_attack_that_joins_the_classes_gives_the_constant_classifier():
    X, y, _, lo, hi = instance(0)
    found = box.robust_logistic(X, y, 50.0, ridge=1e-3, lo=lo, hi=hi)
    assert found.status == Status.CONSTANT_OPTIMAL
    assert not found.classifier.w.any()
    assert float(found.classifier.b) == pytest.approx(np.log(y.mean() / (1 - y.mean())))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"eps": -0.1}, "eps must be >= 0"),
        ({"eps": [0.1, 0.2]}, "eps must have shape"),
        ({"lo": 0.5}, "X must lie in the box"),
        ({"lo": 2.0, "hi": 1}, "the box must not be empty, got lo = 2 > hi = 1 in column 0; swap"),
        ({"lo": [-9, 7, -9, -9], "hi": [9, 6.5, 9, 9]}, "must not be empty, got lo = 7 > hi = 6.5 in column 1"),
        ({"ridge": 0.0}, "ridge must be > 0"),
        ({"weights": np.zeros(60)}, "weights must be > 0"),
        ({"y": np.ones(60, int)}, "y must hold both classes"),
    ],
)
def test_bad_input(change, message):
    X, y, eps, lo, hi = instance(1)
    arguments = {"X": X, "y": y, "eps": eps, "ridge": 1e-2, "lo": lo, "hi": hi} | change
    with pytest.raises(ValueError, match=message):
        box.robust_logistic(**arguments)


def test_score_range_is_for_two_classes():
    with pytest.raises(ValueError, match="binary"):
        box.score_range(LinearClassifier(np.eye(3), np.zeros(3)), np.zeros((2, 3)), 0.1)
