"""Budgets as text, and arguments of pgd that cannot be."""

import pytest
import torch

from attack_models import batch, run, small_net
from linfair.attacks import PerClass, parse_budget


def test_budgets_as_text():
    assert parse_budget("8/255") == 8 / 255
    assert parse_budget(" 0.5 ") == 0.5
    assert parse_budget(1) == 1.0
    x, y = batch()
    net = small_net()
    assert torch.equal(run(net, x, y, eps="8/255", step="2/255"), run(net, x, y, eps=8 / 255, step=2 / 255))


@pytest.mark.parametrize("wrong", [-1, "-1/255", "a", "1/0", "1/2/3", float("nan"), "nan", ""])
def test_budgets_that_are_none(wrong):
    with pytest.raises(ValueError, match="eps must be"):
        parse_budget(wrong)


@pytest.mark.parametrize("wrong", [None, True, [1]])
def test_budgets_of_another_type(wrong):
    with pytest.raises(TypeError, match="eps must be a number or text"):
        parse_budget(wrong)


WRONG = {
    "x must be": {"x": torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "y": torch.zeros(3, dtype=torch.int64)},
    "y must be an int64": {"y": torch.zeros(24)},
    "y must have shape": {"y": torch.zeros(3, dtype=torch.int64)},
    "steps must be": {"steps": -1},
    "restarts must be": {"restarts": 0},
    "start must be one of": {"start": "far"},
    "start must have the shape": {"start": torch.zeros(2)},
    "mode must be": {"mode": "test"},
    "loss must be one of": {"loss": "mse"},
    "reference goes with loss='kl'": {"loss": "kl"},
    "reference goes with": {"reference": torch.zeros(24, 10)},
    "exclude each other": {"targets": torch.zeros(24, dtype=torch.int64), "target_prior": torch.ones(10)},
    "loss must not be 'kl'": {"loss": "kl", "reference": torch.zeros(24, 10), "target_prior": torch.ones(10)},
    "return_survived needs": {"return_survived": True, "restarts": 2},
    "confirm needs": {"confirm": small_net()},
    "PerClass needs": {"eps": PerClass(torch.ones(2, 2))},
    "eps must be >= 0": {"eps": -1.0},
    "target_prior must have shape": {"target_prior": torch.ones(10, 9)},
    "target_prior must be >= 0": {"target_prior": -torch.ones(10)},
    r"targets must have shape \(N,\), N = 24, got \(1,\)": {"targets": torch.zeros(1, dtype=torch.int64)},
    "targets must be a tensor like torch.int64": {"targets": torch.zeros(24)},
    r"reference must have shape \(N, C\)": {"loss": "kl", "reference": torch.full((1, 10), 0.1)},
    "y must be where x is": {"y": torch.zeros(24, dtype=torch.int64, device="meta")},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments(message):
    x, y = batch()
    given = {"x": x, "y": y} | WRONG[message]
    with pytest.raises((TypeError, ValueError), match=message):
        run(small_net(), **given)


def test_a_class_without_a_budget():
    x, y = batch()
    with pytest.raises(IndexError):
        run(small_net(), x, y, eps=PerClass([0.1, 0.1]))
