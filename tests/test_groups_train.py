"""fit_groups: neutral settings change nothing, convex cases come to their optimum, each part does what it is for."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from group_cases import box, table
from linfair.groups import GroupTraining, attacked, fit_groups, reach, reweigh

X, Y, A = table(600)
BOX = box(X)
QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 2, "batch_size": 128, "lr": 1e-2}
CONVEX: dict[str, Any] = {
    "model": "logistic",
    "batch_size": None,
    "epochs": 800,
    "lr": 0.05,
    "schedule": "cosine",
    "ridge": 1e-2,
}


def fit(weights=None, columns=None, **config):
    return fit_groups(GroupTraining(**config), X, Y, A, **BOX, weights=weights, columns=columns)


def same(first, second):
    return all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_the_seed_decides_and_torch_does_not_notice():
    state = torch.get_rng_state()
    first = fit(**QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert same(first, fit(**QUICK))
    assert not same(first, fit(**QUICK, seed=1))
    assert not first.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in first.parameters())


@pytest.mark.parametrize(
    "neutral",
    [
        {"attack": "accuracy", "eps": 0.0},
        {"attack": "fairness", "eps": 0.0},
        {"attack": "both", "eps": 0.0, "objective": "DI"},
        {"attack": "accuracy", "steps": 0},
        {"weights": np.ones(len(X))},
        {"objective": "DI", "eps": 0.7, "step": 0.1},
        {"attack": "both", "columns": np.zeros(6, bool)},
    ],
)
@pytest.mark.parametrize("model", ["mlp", "logistic"])
def test_neutral_settings_are_plain_training(neutral, model):
    plain = {**QUICK, "model": model}
    if neutral.get("attack") == "both":  # half a gradient twice is exact; with a third term the order of sums is not
        plain["ridge"] = 0.0
    assert same(fit(**plain), fit(**plain, **neutral))


@pytest.mark.parametrize(
    "change",
    [
        {"attack": "accuracy"},
        {"attack": "fairness"},
        {"attack": "both"},
        {"gamma": 0.5},
        {"gamma": 0.5, "objective": "DI"},
        {"ridge": 0.0},
        {"schedule": "cosine"},
        {"weights": reweigh(Y, A)},
        {"attack": "accuracy", "columns": np.arange(6) < 4},
    ],
)
def test_other_settings_are_not(change):
    plain = {key: value for key, value in change.items() if key == "attack" and "columns" in change}
    assert not same(fit(**QUICK, **plain), fit(**QUICK, **change))


def test_the_attack_follows_its_objective():
    """Groups that lead at one label and trail at the other: only EOd attacks the labels in two orientations."""
    crossed = np.where(Y == 1, A, 1 - A)
    di, eod = (fit_groups(GroupTraining(**QUICK, attack="fairness", objective=o), X, Y, crossed) for o in ("DI", "EOd"))
    assert not same(di, eod)


def test_the_cosine_begins_at_the_rate():
    first = {**QUICK, "epochs": 1, "batch_size": len(X)}
    assert same(fit(**first), fit(**first, schedule="cosine"))


def line(net):
    return net[0].weight.detach().numpy()[0], net[0].bias.item()


def test_plain_logistic_is_scikit_learns():
    w, b = line(fit(**CONVEX))
    expected = LogisticRegression(C=1 / (1e-2 * len(X)), tol=1e-10, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(w, expected.coef_[0], atol=1e-6)
    assert b == pytest.approx(expected.intercept_[0], abs=1e-6)


def test_weights_count_samples():
    times = 1 + np.arange(len(X)) % 3
    many = fit_groups(GroupTraining(**CONVEX), *(np.repeat(v, times, axis=0) for v in (X, Y, A)))
    once = fit(weights=times / times.mean(), **CONVEX)
    np.testing.assert_allclose(line(once)[0], line(many)[0], atol=1e-9)


def robust_loss(w, b, eps, columns):
    moved = X - eps * columns * (2 * Y - 1)[:, None] * np.sign(w)
    scores = np.clip(moved, BOX["lo"], BOX["hi"]) @ w + b
    return np.logaddexp(0, -(2 * Y - 1) * scores).mean() + 1e-2 / 2 * w @ w


def robust_optimum(eps, columns):
    """Least robust loss, with w = p - q and p, q >= 0, in which it is smooth."""
    d, sign = X.shape[1], (2 * Y - 1)[:, None]
    low, high = (np.clip(X + way * eps * columns, BOX["lo"], BOX["hi"]) for way in (-1, 1))
    rows = np.hstack([np.where(sign > 0, low, -high), np.where(sign > 0, -high, low), sign])

    def loss(v):
        m, w = rows @ v, v[:d] - v[d:-1]
        slope = rows.T @ (-1 / (1 + np.exp(m)) / len(Y)) + 1e-2 * np.concatenate([w, -w, [0.0]])
        return np.logaddexp(0, -m).mean() + 1e-2 / 2 * w @ w, slope

    bounds = [(0, None)] * (2 * d) + [(None, None)]
    found = minimize(loss, np.zeros(2 * d + 1), jac=True, bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10})
    return found.fun


@pytest.mark.parametrize("attack", [{"steps": 1, "step": 0.6}, {"steps": 5}])
@pytest.mark.parametrize("columns", [np.ones(6, bool), np.arange(6) < 4])
def test_adversarial_training_comes_to_the_convex_optimum(attack, columns):
    net = fit(attack="accuracy", eps=0.3, columns=columns, **attack, **CONVEX)
    best = robust_optimum(0.3, columns)
    assert best - 1e-9 <= robust_loss(*line(net), 0.3, columns) <= best + 1e-5
    assert robust_loss(*line(fit(**CONVEX)), 0.3, columns) > best + 1e-2


LONGER: dict[str, Any] = {"hidden": (16,), "epochs": 30, "batch_size": 100, "lr": 1e-2, "eps": 0.3}


def test_many_steps_train_a_linear_score_as_the_exact_one_does():
    common = {"model": "logistic", "batch_size": None, "epochs": 60, "lr": 0.1, "attack": "both", "gamma": 0.3}
    exact = line(fit(**common, steps=1, step=0.4))
    many = line(fit(**common, steps=10))  # of eps / 4
    for one, other in zip(exact, many, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def measured(**config):
    net = fit(**LONGER, **config)
    return attacked(reach(net, X, eps=0.3, **BOX), Y, A)


def test_training_under_attack_and_with_a_penalty_pay():
    plain, robust, fair = (measured(**c) for c in ({}, {"attack": "accuracy"}, {"gamma": 1.0}))
    assert robust["robust_accuracy"] > plain["robust_accuracy"] + 0.03
    assert fair["soft_EOd"] < 0.5 * plain["soft_EOd"]
    both = measured(attack="both", gamma=1.0)
    assert both["worst_soft_EOd"] < 0.6 * min(plain["worst_soft_EOd"], fair["worst_soft_EOd"])
    assert both["worst_soft_EOd"] < 0.8 * robust["worst_soft_EOd"]


def test_the_penalty_follows_its_objective():
    di, eod = (measured(gamma=1.0, objective=objective) for objective in ("DI", "EOd"))
    assert di["soft_DI"] < eod["soft_DI"]
    assert di["soft_EOd"] > eod["soft_EOd"]


def test_numbers_of_any_kind_are_numbers():
    config = GroupTraining(hidden=64, lr=np.float32(0.1), eps=1, step=np.float64(0.5), epochs=np.int64(3), steps=2.0)  # pyright: ignore[reportArgumentType]
    assert config == GroupTraining(hidden=(64,), lr=float(np.float32(0.1)), eps=1.0, step=0.5, epochs=3, steps=2)
    assert [type(value) for value in (config.lr, config.eps, config.step, config.epochs)] == [float, float, float, int]
    assert hash(GroupTraining(hidden=[8, 8])) == hash(GroupTraining(hidden=(8, 8)))  # pyright: ignore[reportArgumentType]
    assert same(fit(**QUICK | {"hidden": 8}), fit(**QUICK))


def test_read_only_arrays_are_read():
    parts = [v.copy() for v in (X, Y, A, BOX["lo"], BOX["hi"])]
    for part in parts:
        part.flags.writeable = False
    x, y, a, lo, hi = parts
    net = fit_groups(GroupTraining(**QUICK, attack="both"), x, y, a, lo=lo, hi=hi)
    assert same(net, fit(**QUICK, attack="both"))
    assert (reach(lambda z: z[:, 0], x, eps=0.1, lo=lo, hi=hi).clean == x[:, 0]).all()


def test_batches_without_some_cell():
    net = fit(**{**QUICK, "batch_size": 3, "epochs": 1}, attack="both", gamma=1.0)
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model": "tree"}, "model must be one of logistic, mlp"),
        ({"attack": "pgd"}, "attack must be one of none, accuracy, fairness, both"),
        ({"objective": "DP"}, "objective must be one of DI, EOd"),
        ({"schedule": "step"}, "schedule must be one of"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"hidden": (0,)}, "hidden must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"eps": -0.1}, "eps must be a number >= 0"),
        ({"eps": True}, "eps must be a number >= 0, got True; pass a float"),
        ({"lr": np.inf}, "lr must be a number >= 0, got inf"),
        ({"gamma": float("nan")}, "gamma must be a number >= 0"),
        ({"step": "1/4"}, "step must be a number >= 0"),
    ],
)
def test_bad_config(config, message):
    with pytest.raises(ValueError, match=message):
        GroupTraining(**config)


@pytest.mark.parametrize("name, value", [("batch_size", 0.5), ("hidden", None), ("hidden", "8"), ("steps", True)])
def test_counts_are_whole_numbers(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a whole number, got {value!r}; pass an int"):
        GroupTraining(**{name: value})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.where(X > 2, np.nan, X)}, "x must be finite"),
        ({"y": Y[1:]}, "y must have shape"),
        ({"a": A + 1}, r"a must lie in 0\.\.1"),
        ({"weights": np.ones(3)}, "weights must have shape"),
        ({"weights": -np.ones(len(X))}, "weights must be >= 0"),
        ({"hi": np.ones(6)}, "x must lie in the box"),
        ({"lo": 1.0, "hi": np.zeros(6)}, "the box must not be empty"),
    ],
)
def test_bad_data(change, message):
    with pytest.raises(ValueError, match=message):
        fit_groups(GroupTraining(**QUICK, attack="accuracy"), **({"x": X, "y": Y, "a": A} | change))


def test_a_loss_that_runs_away_is_reported():
    with pytest.raises(FloatingPointError, match=r"loss must stay finite, got \w+ in epoch \d; lower lr = 1e\+30"):
        fit(**{**QUICK, "lr": 1e30})
