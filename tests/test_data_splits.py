"""Stratified splits and subsets: the same share of every class, fixed by the seed."""

import numpy as np
import pytest

from linfair.data import missing_classes, stratified_split, stratified_subset

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 4], [100, 60, 40, 22]))


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.9])
def test_every_class_gives_the_same_share(fraction):
    train, held_out = stratified_split(LABELS, fraction, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(LABELS)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    expected = [round(fraction * n) for n in (100, 60, 40, 0, 22)]
    np.testing.assert_array_equal(np.bincount(LABELS[held_out]), expected)


def test_splits_are_fixed_by_the_seed():
    first, again, other = (stratified_split(LABELS, 0.2, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(stratified_split(np.zeros(8, int), 0.25, 0)[1], [2, 4])


def test_the_split_of_a_class_depends_on_that_class_only():
    few = np.where(LABELS == 4, 0, LABELS)
    kept = [
        set(held_out[labels[held_out] == 1])
        for labels in (LABELS, few)
        for held_out in [stratified_split(labels, 0.5)[1]]
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("fraction, remedy", [(0.02, "a larger"), (0.98, "a smaller")])
def test_no_class_may_be_empty_on_a_side(fraction, remedy):
    with pytest.raises(ValueError, match=rf"got {fraction} of the 22 samples of class 4; choose {remedy}"):
        stratified_split(LABELS, fraction)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_fractions_outside(fraction):
    with pytest.raises(ValueError, match="fraction must lie strictly between 0 and 1"):
        stratified_split(LABELS, fraction)


def test_subsets_are_balanced_and_nested():
    small, large = stratified_subset(LABELS, 20, seed=5), stratified_subset(LABELS, 88, seed=5)
    np.testing.assert_array_equal(np.bincount(LABELS[small]), [5, 5, 5, 0, 5])
    assert set(small) < set(large)
    assert (np.diff(large) > 0).all()
    assert not np.array_equal(small, stratified_subset(LABELS, 20, seed=6))


@pytest.mark.parametrize("n, remedy", [(21, 20), (92, 88), (2, 4)])
def test_sizes_that_cannot_be_balanced(n, remedy):
    with pytest.raises(ValueError, match=rf"a multiple of the 4 classes and at most 88, got {n}; try {remedy}$"):
        stratified_subset(LABELS, n)


def test_labels_are_checked():
    with pytest.raises(ValueError, match="labels must lie in"):
        stratified_split(np.array([-1, 0, 0]), 0.5)
    with pytest.raises(ValueError, match="labels must not be empty"):
        stratified_subset(np.array([], int), 1)


def test_missing_classes():
    assert missing_classes(LABELS, ("a", "b", "c", "d", "e")) == "3 (d)"
    assert missing_classes(np.array([1]), ("a", "b", "c")) == "0 (a), 2 (c)"
    assert missing_classes(np.array([0, 1]), ("a", "b")) == ""
