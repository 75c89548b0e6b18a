"""Metrics of group fairness against a worked vector, fairlearn, and every attack there is on few samples."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, demographic_parity_difference, selection_rate, true_positive_rate
from hypothesis import given
from hypothesis import strategies as st

from group_cases import case, cells
from linfair.groups import metrics
from linfair.groups.metrics import Reach, attacked

Y, A, PREDICTED = ([int(c) for c in word] for word in ("1110001100", "0000001111", "1101001000"))
seeds = st.integers(0, 2**32 - 1)


def test_worked_vector():
    rates = metrics.group_rates(PREDICTED, Y, A)
    np.testing.assert_allclose(rates, [[1 / 3, 2 / 3], [0.0, 0.5]])
    assert metrics.di(PREDICTED, A) == pytest.approx(0.25)
    assert metrics.eop(PREDICTED, Y, A) == pytest.approx(1 / 6)
    assert metrics.eod(PREDICTED, Y, A) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(12))
def test_fairlearn_agrees(seed):
    y, a = cells(seed, 40)
    for values in (np.random.default_rng(seed).integers(0, 2, 40), np.random.default_rng(seed).random(40)):

        def mean(y_true, y_pred):
            return np.mean(y_pred)

        frame = MetricFrame(metrics=mean, y_true=y, y_pred=values, sensitive_features=a, control_features=y)
        expected = np.asarray(frame.by_group).reshape(2, 2).T  # labels outside, groups inside
        np.testing.assert_allclose(metrics.group_rates(values, y, a), expected)
        assert metrics.eod(values, y, a) == pytest.approx(np.sum(frame.difference()))
    predicted = values > 0.5
    rates = MetricFrame(metrics=true_positive_rate, y_true=y, y_pred=predicted, sensitive_features=a)
    assert metrics.eop(predicted, y, a) == pytest.approx(rates.difference())
    parity = MetricFrame(metrics=selection_rate, y_true=y, y_pred=predicted, sensitive_features=a)
    assert metrics.di(predicted, a) == pytest.approx(parity.difference())
    assert metrics.di(predicted, a) == pytest.approx(demographic_parity_difference(y, predicted, sensitive_features=a))


def every_attack(reach):
    """Scores [2^n, n] of all ways to push n samples down or up."""
    up = np.array(list(product([False, True], repeat=len(reach.clean))))
    return np.where(up, reach.up, reach.down)


def gap(values, group, other):
    return np.abs(values[:, group].mean(1) - values[:, other].mean(1))


@pytest.mark.parametrize("seed", range(20))
def test_no_attack_is_worse_than_the_worst(seed):
    reach, y, a = case(seed)
    found, scores = attacked(reach, y, a), every_attack(reach)
    for kind, values in (("", scores > 0), ("soft_", 1 / (1 + np.exp(-scores)))):
        by_label = [gap(values, (a == 1) & (y == k), (a == 0) & (y == k)) for k in (0, 1)]
        assert found[f"worst_{kind}DI"] == pytest.approx(gap(values, a == 1, a == 0).max())
        assert found[f"worst_{kind}EOd"] == pytest.approx(np.max(by_label[0] + by_label[1]))
    correct = ((scores > 0) == y).mean(1)
    assert found["robust_accuracy"] == pytest.approx(correct.min())
    assert found["robust_accuracy"] <= found["worst_di_attack_accuracy"] <= found["di_attack_accuracy"]


@pytest.mark.parametrize("seed", range(20))
def test_the_published_attack_widens_the_gap_that_is_there(seed):
    """Among all attacks it gives the largest relaxed gap of the sign of the clean one."""
    reach, y, a = case(seed)
    soft, scores = 1 / (1 + np.exp(-reach.clean)), every_attack(reach)
    sign = np.sign(soft[a == 1].mean() - soft[a == 0].mean())
    values = 1 / (1 + np.exp(-scores))
    best = (sign * (values[:, a == 1].mean(1) - values[:, a == 0].mean(1))).argmax()
    found, hard = attacked(reach, y, a), scores[best] > 0
    assert found["di_attack_accuracy"] == pytest.approx((hard == y).mean())
    assert found["di_attack_DI"] == pytest.approx(gap(hard[None], a == 1, a == 0)[0])
    assert found["di_attack_EOd"] == pytest.approx(metrics.eod(hard, y, a))
    assert found["fairness_robustness"] == pytest.approx((hard == (reach.clean > 0)).mean())


def test_the_labels_choose_their_orientations():
    """EOd at its worst lifts group 1 at y = 0 and lowers it at y = 1, which no single orientation does."""
    y, a = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    clean = np.array([-1.0, 0.5, 0.5, -1.0])
    found = attacked(Reach(clean, clean - 1, clean + 1), y, a)
    assert found["worst_EOd"] == 2.0
    assert found["worst_DI"] == 0.5
    np.testing.assert_array_equal(metrics.fairness_direction([0.2, 0.7, 0.7, 0.2], y, a, "EOd"), [-1, 1, 1, -1])


def test_without_attack_nothing_changes():
    reach, y, a = case(0)
    found = attacked(Reach(reach.clean, reach.clean, reach.clean), y, a)
    for name in ("DI", "EOd", "soft_DI", "soft_EOd"):
        assert found[f"worst_{name}"] == found[name]
    assert found["di_attack_DI"] == found["DI"]
    assert (
        found["accuracy"]
        == found["robust_accuracy"]
        == found["worst_di_attack_accuracy"]
        == found["di_attack_accuracy"]
    )
    assert found["fairness_robustness"] == 1.0


@given(seeds)
def test_names_and_order_do_not_matter(seed):
    reach, y, a = case(seed, 20)
    found = attacked(reach, y, a)
    order = np.random.default_rng(seed).permutation(20)
    moved = Reach(reach.clean[order], reach.down[order], reach.up[order])
    turned = Reach(-reach.clean, -reach.up, -reach.down)
    assert attacked(moved, y[order], a[order]) == pytest.approx(found)
    assert attacked(reach, y, 1 - a) == pytest.approx(found)
    assert attacked(turned, 1 - y, a) == pytest.approx(found)


@given(seeds)
def test_directions_widen_their_gap(seed):
    values = np.random.default_rng(seed).random(30)
    y, a = cells(seed, 30)
    rates = metrics.group_rates(values, y, a)
    way = metrics.fairness_direction(values, y, a, "EOd")
    np.testing.assert_array_equal(way * (2 * a - 1), np.sign(rates[1] - rates[0])[y])
    way = metrics.fairness_direction(values, y, a, "DI")
    assert set(way * (2 * a - 1)) == {np.sign(values[a == 1].mean() - values[a == 0].mean())}


def test_a_gap_of_zero_counts_as_positive():
    y, a = [0, 0, 1, 1], [0, 1, 0, 1]
    for objective in metrics.OBJECTIVES:
        np.testing.assert_array_equal(metrics.fairness_direction([0.5] * 4, y, a, objective), [-1, 1, -1, 1])


def test_thresholds_move_scores():
    reach, y, a = case(1)
    t = np.array([0.3, -0.2])
    moved = reach.shifted(t[a])
    np.testing.assert_array_equal(moved.up, reach.up - t[a])
    np.testing.assert_array_equal(moved.down, reach.down - t[a])
    assert attacked(moved, y, a)["accuracy"] == ((reach.clean > t[a]) == y).mean()
    np.testing.assert_array_equal(reach.shifted(0.5).clean, reach.clean - 0.5)


def test_probabilities_of_large_scores():
    """No overflow, and none is lost: exp(-40) of a positive is left of a score of -40."""
    y, a = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    for scores, expected in (([-1e4, 1e4], 1.0), ([-50.0, -40.0], np.exp(-40))):
        clean = np.repeat(scores, 2)
        assert attacked(Reach(clean, clean, clean), y, a)["soft_DI"] == pytest.approx(expected, rel=1e-4, abs=0)


REACH, LABELS, GROUPS = case(2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.group_rates([0.5, 2.0], [0, 1], [0, 1]), r"values must lie in \[0, 1\], got 0.5..2"),
        (lambda: metrics.group_rates([0, 1], [0, 1], [0, 1]), "none with a = 0, y = 1"),
        (lambda: metrics.di([0, 1], [1, 1]), "none with a = 0;"),
        (lambda: metrics.eod([0, 1, 1], [0, 1], [0, 1]), "y must have shape"),
        (lambda: metrics.eop([0, 1], [0, 1], [0, 2]), r"a must lie in 0\.\.1"),
        (lambda: metrics.fairness_direction([0, 1], [0, 1], [0, 1], "DP"), "objective must be one of DI, EOd"),
        (lambda: Reach(np.zeros(3), np.zeros(3), np.zeros(2)), r"up must have shape \(3\)"),
        (lambda: Reach(np.zeros(1), np.ones(1), np.ones(1)), "down <= clean <= up"),
        (lambda: Reach(np.zeros(1), np.zeros(1), np.full(1, np.nan)), "up must be finite"),
        (lambda: REACH.shifted([0.0, 1.0]), r"try t\[a\]"),
        (lambda: REACH.pushed(np.zeros(12)), r"\+1 and -1"),
        (lambda: REACH.accuracy_attack(LABELS[:3]), "y must have shape"),
        (lambda: attacked(REACH, LABELS, np.ones(12)), "none with a = 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_torch_is_not_needed():
    code = "import sys, linfair.groups.metrics, linfair.groups.repairs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
