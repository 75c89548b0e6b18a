"""Weights and thresholds against their definitions and against every rule there is on few samples."""

import numpy as np
import pytest

from group_cases import case, cells
from linfair.groups import attacked, group_thresholds, metrics, reweigh
from linfair.groups.metrics import Reach


def test_scores_alone_are_no_reach():
    y, a = cells(0, 60)
    with pytest.raises(TypeError, match="reach must be a Reach, got ndarray"):
        group_thresholds(np.zeros(60), y, a)  # pyright: ignore[reportArgumentType]


def test_weights_make_label_and_group_independent():
    y, a = cells(0, 60)
    w = reweigh(y, a)
    assert w.mean() == pytest.approx(1.0)
    share = np.array([[w[(a == i) & (y == j)].sum() for j in (0, 1)] for i in (0, 1)]) / 60
    np.testing.assert_allclose(share, np.outer([1 - a.mean(), a.mean()], [1 - y.mean(), y.mean()]))


def test_weights_of_a_worked_table():
    y, a = np.repeat([0, 1, 0, 1], [3, 1, 2, 4]), np.repeat([0, 0, 1, 1], [3, 1, 2, 4])
    expected = np.repeat([0.4 * 0.5 / 0.3, 0.4 * 0.5 / 0.1, 0.6 * 0.5 / 0.2, 0.6 * 0.5 / 0.4], [3, 1, 2, 4])
    np.testing.assert_allclose(reweigh(y, a), expected)


def cost(reach, y, a, thresholds, gamma, objective, under_attack):
    found = attacked(reach.shifted(np.asarray(thresholds)[a]), y, a)
    if under_attack:
        return 1 - found["robust_accuracy"] + gamma * found[f"worst_{objective}"]
    return 1 - found["accuracy"] + gamma * found[objective]


def every_threshold(reach):
    """One inside each interval between neighbouring scores of any kind, and one beyond each end."""
    s = np.sort(np.concatenate([reach.clean, reach.down, reach.up]))
    return np.concatenate([[s[0] - 1], (s[1:] + s[:-1]) / 2, [s[-1] + 1]])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("objective", metrics.OBJECTIVES)
@pytest.mark.parametrize("under_attack", [False, True])
def test_thresholds_are_optimal(seed, objective, under_attack):
    reach, y, a = case(seed, 10, eps=0.7)
    for gamma in (0.0, 0.8):
        found = group_thresholds(reach, y, a, gamma=gamma, objective=objective, attacked=under_attack)
        options = (gamma, objective, under_attack)
        tried = every_threshold(reach)
        least = min(cost(reach, y, a, (t0, t1), *options) for t0 in tried for t1 in tried)
        assert cost(reach, y, a, found, *options) == pytest.approx(least, abs=1e-12)
        assert least <= cost(reach, y, a, (0, 0), *options)


def test_many_samples_with_few_cuts_come_close():
    reach, y, a = case(5, 3000, eps=0.4)
    clean = reach.clean + 0.8 * y + 0.9 * a
    moved = Reach(clean, clean - 0.2, clean + 0.2)
    for under_attack in (False, True):
        options = (1.0, "EOd", under_attack)
        costs = [
            cost(moved, y, a, group_thresholds(moved, y, a, attacked=under_attack, cuts=cuts), *options)
            for cuts in (2, 100, 10_000)
        ]
        assert costs[2] <= costs[1] <= costs[2] + 0.03
        assert costs[1] < cost(moved, y, a, (0, 0), *options) - 0.05


def test_what_cannot_be_improved_stays():
    y, a = cells(0, 40)
    clean = np.where(y == 1, 2.0, -2.0)
    assert group_thresholds(Reach(clean + 2 * (1 - y), clean, clean + 3), y, a) == (0.0, 0.0)  # a score of 0 means 0
    assert group_thresholds(Reach(clean, clean - 1, clean + 1), y, a, attacked=True) == (0.0, 0.0)


def test_the_smallest_change_of_equals_is_taken():
    """Group 1 has to be cut between 3 and 5; group 0 is right as it is."""
    y, a = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    clean = np.array([-1.0, 1.0, 3.0, 5.0])
    assert group_thresholds(Reach(clean, clean, clean), y, a) == (0.0, 4.0)


REACH, Y, A = case(0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: reweigh([0, 1, 1], [0, 0, 1]), "none with a = 1, y = 0"),
        (lambda: reweigh([0, 1], [0, 1, 1]), "a must have shape"),
        (lambda: group_thresholds(REACH, Y, np.zeros(12)), "none with a = 1"),
        (lambda: group_thresholds(REACH, Y, A, gamma=-1), "gamma must be >= 0"),
        (lambda: group_thresholds(REACH, Y, A, objective="EOp"), "objective must be one of"),
        (lambda: group_thresholds(REACH, Y, A, cuts=1), "cuts must be at least 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
