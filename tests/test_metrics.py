"""Class-wise metrics against worked vectors, scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import recall_score

from linfair import metrics

# Class-wise robust accuracy of one published network on CIFAR-10.
ROBUST = np.array([0.589, 0.727, 0.413, 0.370, 0.407, 0.430, 0.524, 0.583, 0.671, 0.679])


def test_worked_vector():
    assert metrics.worst_class(ROBUST) == (3, 0.370)
    assert ROBUST.mean() == pytest.approx(0.5393)
    assert metrics.bottom_k(ROBUST, 2) == pytest.approx(0.3885)
    assert metrics.bottom_k(ROBUST) == pytest.approx(0.39667, abs=5e-6)
    assert metrics.disparity(ROBUST) == pytest.approx(0.357)
    assert metrics.nsd(ROBUST) == pytest.approx(0.22768, abs=5e-6)
    assert metrics.nrr(0.8675, 0.5393) == pytest.approx(0.66512, abs=5e-6)


def test_zero_over_zero_is_defined():
    assert np.isnan(metrics.nsd([0.0, 0.0]))
    np.testing.assert_array_equal(metrics.nsd([[0.0, 0.0], [0.5, 0.5]]), [np.nan, 0.0])
    assert metrics.nrr(0.0, 0.0) == 0.0
    np.testing.assert_array_equal(metrics.nrr([0.0, 0.0, 0.5], [0.0, 0.5, 0.5]), [0.0, 0.0, 0.5])


@pytest.mark.parametrize(
    "average, worst, expected",
    [
        (44.68, 25.84, 0.110),
        (50.78, 27.62, 0.316),
        (45.89, 17.82, -0.242),
        (46.30, 28.55, 0.269),
        (49.05, 30.53, 0.418),
    ],
)
def test_rho_of_published_methods(average, worst, expected):
    assert metrics.rho(average, worst, 49.80, 21.31) == pytest.approx(expected, abs=5e-4)


def test_rho_of_the_baseline_is_zero_and_needs_one_above_zero():
    assert metrics.rho(0.5, 0.2, 0.5, 0.2) == 0.0
    with pytest.raises(ValueError, match="base_worst must be > 0"):
        metrics.rho(0.5, 0.2, 0.5, 0.0)


@given(st.integers(0, 2**32 - 1))
def test_class_accuracy_is_recall(seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 60)])
    predicted = rng.integers(0, 4, 64)
    expected = recall_score(labels, predicted, average=None)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(metrics.class_accuracy(labels, predicted == labels), expected)
    np.testing.assert_allclose(metrics.class_risk(labels, predicted == labels), 1 - expected)


def test_each_class_has_its_own_count():
    np.testing.assert_array_equal(metrics.class_accuracy([0, 0, 0, 1], [1, 0, 0, 1]), [1 / 3, 1.0])


@pytest.mark.parametrize(
    "labels, correct, n_classes, message",
    [
        ([0, 2], [1, 1], None, r"every class 0\.\.2, got none of class 1"),
        ([0, 1], [1, 1], 3, "none of class 2"),
        ([0, 1], [1, 0.5], None, "flags"),
        ([0, 1], [1], None, "one label a sample"),
        ([0, 3], [1, 1], 2, r"0\.\.1"),
    ],
)
def test_bad_flags(labels, correct, n_classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.class_accuracy(labels, correct, n_classes)


def test_vectors_may_be_stacked():
    stack = np.stack([ROBUST, ROBUST[::-1] / 2])
    for f in (metrics.disparity, metrics.nsd, metrics.bottom_k):
        np.testing.assert_allclose(f(stack), [f(row) for row in stack])
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.10"):
        metrics.bottom_k(ROBUST, 11)


def test_bootstrap_of_one_accuracy_is_binomial():
    labels, correct = np.repeat([0, 1], 400), np.tile([1, 1, 1, 0], 200)
    found = metrics.bootstrap(labels, correct, lambda a: a[..., 0], np.random.default_rng(0))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert found.n == 800
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)


def test_bootstrap_keeps_the_classes_apart():
    labels, correct = np.repeat([0, 1], [5, 500]), np.ones(505)
    found = metrics.bootstrap(labels, correct, metrics.disparity, np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_paired_accuracies_see_only_what_differs():
    labels = np.repeat([0, 1, 2], [100, 80, 120])
    rng = np.random.default_rng(0)
    a = rng.random(300) < 0.5
    b = a.copy()
    b[:10] = ~b[:10]
    first, second = metrics.paired_accuracies(labels, a, b, rng, n_boot=4000)
    assert first.shape == second.shape == (4001, 3)
    np.testing.assert_array_equal(first[:, 1:], second[:, 1:])
    np.testing.assert_allclose(first[0], metrics.class_accuracy(labels, a))
    np.testing.assert_allclose(second[0], metrics.class_accuracy(labels, b))
    sd = np.std(a[:100].astype(float) - b[:100].astype(float)) / 10
    assert np.std(first[1:, 0] - second[1:, 0]) == pytest.approx(sd, rel=0.1)
    assert np.std(first[1:, 1]) == pytest.approx(np.sqrt(first[0, 1] * (1 - first[0, 1]) / 80), rel=0.1)


def test_paired_accuracies_refuse_what_is_no_pair():
    with pytest.raises(ValueError, match="must hold flags"):
        metrics.paired_accuracies([0, 1], [1, 0], [2, 0], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\)"):
        metrics.paired_accuracies([0, 1], [1, 0], [1, 0, 1], np.random.default_rng(0))


@given(st.integers(0, 2**32 - 1))
def test_rank_correlation_is_spearmans(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 8, 30), rng.normal(size=30)
    found = metrics.rank_correlation(x, y, rng, n_boot=50)
    assert found.value == pytest.approx(spearmanr(x, y)[0])
    assert found.low <= found.high
    assert found.n == 30


def test_rank_correlation_of_a_constant_is_nan():
    assert np.isnan(metrics.rank_correlation([1, 1, 1], [1, 2, 3], np.random.default_rng(0)).value)
    with pytest.raises(ValueError, match="at least 3"):
        metrics.rank_correlation([1, 2], [1, 2], np.random.default_rng(0))


def test_bootstrap_interval_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        x = rng.normal(size=60)
        found = metrics.rank_correlation(x, x + rng.normal(size=60), rng, n_boot=300)
        hits += found.low <= 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2) <= found.high
    assert hits >= 85


def test_proportion_is_wilsons():
    found = metrics.proportion(9, 10)
    assert (found.low, found.high) == (pytest.approx(0.59585, abs=1e-5), pytest.approx(0.98212, abs=1e-5))
    assert metrics.proportion(0, 5).low == 0.0
    assert metrics.proportion(5, 5).high == 1.0
    with pytest.raises(ValueError, match=r"0\.\.5"):
        metrics.proportion(6, 5)
