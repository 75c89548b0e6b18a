"""FAAL's worst weights within a KL ball: worked vectors, absent classes, limits, and the epochs in which it acts."""

import pytest
import torch

from linfair.train.methods import get_method
from linfair.train.methods.faal import worst_weights
from test_methods_rules import close, vector

A, N = vector(0.10, -0.20, 0.30, -0.60, 0.05), vector(2, 3, 1, 4, 2)
ALL = torch.ones(5, dtype=torch.bool)


def test_faal_worked_vectors():
    p = worst_weights(A, ALL, 0.5)
    assert close(p, vector(0.14119, 0.06513, 0.63758, 0.03791, 0.11819), 5e-6)
    assert p @ A == pytest.approx(0.17553, abs=5e-6)
    assert (0.2 * (0.2 / p).log()).sum() == pytest.approx(0.5, abs=1e-12)
    assert close(worst_weights(N * A, ALL, 0.5), vector(0.26216, 0.05655, 0.48059, 0.02045, 0.18024), 5e-6)


def test_faal_leaves_absent_classes_out():
    p = worst_weights(A, vector(1, 1, 0, 1, 1) > 0, 0.5)
    assert p[2] == 0
    assert close(p[[0, 1, 3, 4]], worst_weights(A[[0, 1, 3, 4]], ALL[:4], 0.5), 1e-12)
    assert close(worst_weights(A, vector(0, 0, 0, 1, 0) > 0, 0.5), vector(0, 0, 0, 1, 0), 0)


@pytest.mark.parametrize("epochs, first", [(1, 0), (2, 1), (12, 10), (30, 24)])
def test_faal_has_an_epoch_in_every_run(epochs, first):
    assert get_method("faal").shared_epochs(epochs) == first
    assert get_method("faal", warmup=0.0).shared_epochs(epochs) == 0
    assert get_method("faal", radius=0.0).shared_epochs(epochs) == epochs, "PGD-AT to the end"


def test_faal_knows_no_worst_among_equals():
    assert close(worst_weights(torch.zeros(5), ALL, 0.5), vector(0.2, 0.2, 0.2, 0.2, 0.2), 1e-12)
    near = worst_weights(A, ALL, 1e-9)
    assert close(near, vector(0.2, 0.2, 0.2, 0.2, 0.2), 1e-4)
    assert near.argmax() == A.argmax()
