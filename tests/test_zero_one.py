"""Exact 0-1 threshold training against brute force."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers import known
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers.closed_form import optimal_classifier
from linfair.solvers.zero_one import robust_threshold_erm, threshold_erm


def weighted_errors(t, scores, y, weights):
    return sum(weights[k] * np.sum((scores > t) != (y == 1), where=y == k) for k in (0, 1))


def brute_force(scores, y, weights):
    """All distinct answers: below every score, between neighbours, above every score; the first best one."""
    x = np.unique(scores)
    candidates = [-np.inf, *((x[1:] + x[:-1]) / 2), np.inf]
    losses = [weighted_errors(t, scores, y, weights) for t in candidates]
    return candidates[int(np.argmin(losses))], min(losses)


samples = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=2, max_size=12).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(rows=samples, weights=st.sampled_from([(1.0, 1.0), (2.0, 1.0), (1.0, 4.0), (0.5, 0.25)]))
@example(rows=[(0, 0), (0, 1)], weights=(1.0, 1.0))
@example(rows=[(1, 0), (0, 1)], weights=(1.0, 1.0))
@example(rows=[(2, 0), (1, 1), (3, 0)], weights=(1.0, 1.0))
def test_the_threshold_is_the_middle_of_the_first_best_interval(rows, weights):
    scores, y = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    t, loss = brute_force(scores, y, weights)
    got = threshold_erm(scores, y, weights)
    assert weighted_errors(got, scores, y, weights) == loss
    assert got == t


def test_random_scores():
    rng = np.random.default_rng(0)
    for _ in range(30):
        y = rng.integers(0, 2, 60)
        y[:2] = 0, 1
        scores, weights = rng.standard_normal(60) + y, tuple(rng.uniform(0.2, 2, 2))
        _, loss = brute_force(scores, y, weights)
        assert weighted_errors(threshold_erm(scores, y, weights), scores, y, weights) == pytest.approx(loss, abs=1e-12)


def test_separable_scores_are_cut_in_the_middle_of_the_gap():
    assert threshold_erm([0.0, 1.0, 3.0, 4.0], [0, 0, 1, 1]) == 2.0


def test_constant_answers():
    assert threshold_erm([2.0, 1.0, 0.0], [0, 1, 1]) == -np.inf
    assert threshold_erm([2.0, 1.5, 1.0], [0, 0, 1]) == np.inf


@pytest.mark.parametrize("low", [1.0, np.nextafter(1.0, 2.0), -1.0])
def test_neighbouring_floats_are_still_separated(low):
    high = np.nextafter(low, 2.0)
    assert low <= threshold_erm([low, high], [0, 1]) < high


def test_the_order_of_the_samples_does_not_matter():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    scores = np.round(rng.standard_normal(100) + y, 1)
    order = rng.permutation(100)
    assert threshold_erm(scores, y) == threshold_erm(scores[order], y[order])


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0)])
def test_robust_training_minimises_the_weighted_robust_error(norm, weights):
    rng = np.random.default_rng(0)
    model, w = ClassGaussians.two_class([2.0, 1.0], 1.0, 2.0), np.array([1.0, 0.3])
    X, y = model.sample([60, 40], rng)
    threat = Threat(norm, [0.1, 0.4])
    f = robust_threshold_erm(X, y, w, threat, weights)
    np.testing.assert_array_equal(f.w, w)
    attacked = X @ w + np.where(y == 1, -0.4, 0.1) * np.linalg.norm(w, {"l1": np.inf, "l2": 2, "linf": 1}[norm])
    _, loss = brute_force(attacked, y, weights)
    errors = f.class_errors(X, y, threat)
    assert np.dot(weights, errors.rate * errors.counts) == pytest.approx(loss)


def test_robust_training_returns_the_constant_classifier_when_it_wins():
    X, y = np.array([[3.0], [2.0], [1.0], [0.0]]), np.array([0, 1, 1, 1])
    f = robust_threshold_erm(X, y, np.array([1.0]), Threat("l2", 5.0))
    assert f.predict(X).tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(f.class_errors(X, y, Threat("l2", 5.0)).rate, [1, 0])


def test_robust_training_takes_labels_of_any_whole_number_type():
    X, w = np.array([[0.0], [1.0], [3.0], [4.0]]), np.array([1.0])
    for y in ([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0], [False, False, True, True]):
        assert robust_threshold_erm(X, y, w).b == -2.0


def test_robust_training_finds_the_population_optimum_from_many_samples():
    model, threat = ClassGaussians.two_class([4.0, 0.0], 1.0, 2.0), Threat("l2", 0.5)
    best = optimal_classifier(model, threat)
    X, y = model.sample([200000, 200000], np.random.default_rng(0))
    f = robust_threshold_erm(X, y, known(best.classifier).w, threat)
    assert f.b == pytest.approx(known(best.classifier).b, abs=0.06)
    assert f.class_risks(model, threat).average(model.priors) <= best.objective + 3e-4
