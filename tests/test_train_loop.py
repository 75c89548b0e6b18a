"""The loop itself: what it learns and records, what its options and rules do, and where it runs."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linfair import models
from linfair.train import TrainingError, batches, fit
from linfair.train.methods import METHODS, pgd_at
from linfair.train.run import Run
from train_cases import CONFIG, digits, quick, same_tensors, timeless
from waiting import synchronising_is_an_error


def test_it_learns_to_be_robust(tmp_path):
    config = replace(CONFIG, epochs=6)
    result = fit(config, digits(), folder=tmp_path, progress=False)
    rows = result.history
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert np.mean(rows[-1]["train_robust"]) > 0.6
    assert np.mean(rows[-1]["validation_clean"]) > 0.8
    assert np.mean(rows[-1]["validation_robust"]) > 0.4
    assert rows[-1]["train_clean"] == [None] * 10, "PGD-AT computes no natural logits"
    assert rows[-1]["weights"] == {}
    assert rows[-1]["lr"] == pytest.approx(0.2 / 250000)
    assert all(row["seconds"] > 0 and row["images_per_second"] > 0 for row in rows)
    assert not result.model.training
    again = models.build("small_cnn", 10, (1, 8, 8), mean=[0.0], std=[1.0], width=8)
    meta = models.load_weights(again, tmp_path / "model.pt")
    assert same_tensors(again.state_dict(), result.model.state_dict())
    assert meta["config"]["epochs"] == 6


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(1)
    a = quick()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    b = quick()
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is left alone"
    assert same_tensors(a.model.state_dict(), b.model.state_dict())
    assert timeless(a.history) == timeless(b.history)
    c = quick(seed=1)
    assert not same_tensors(a.model.state_dict(), c.model.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"fold": False},
        {"attack_bn": "train"},
        {"precision": "float32"},
        {"channels_last": False},
        {"awp": 0.05},
        {"clip": 0.05},
        {"nesterov": True},
        {"ema": 0.0},
        {"norm": "l2", "eps": 1.0, "step": 0.5},
        {"schedule": "step"},
        {"start": "none"},
        {"model": "linear", "width": None},
    ],
    ids=str,
)
def test_every_option_runs_and_matters(options):
    result = quick(**{"batch_size": 50} | options)
    assert all(np.isfinite(row["loss"]) for row in result.history)
    assert all(np.isfinite(p).all() for p in (p.numpy() for p in result.model.parameters()))
    assert result.history[-1]["loss"] != quick(batch_size=50).history[-1]["loss"] or options == {"ema": 0.0}


def test_bfloat16_and_folding_cost_little():
    exact = quick(digits(), precision="float32", fold=False, epochs=4)
    for options in ({"precision": "float32"}, {"precision": "bfloat16"}):
        other = quick(digits(), epochs=4, **options)
        assert other.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.1)
        assert np.mean(other.history[-1]["train_robust"]) == pytest.approx(
            np.mean(exact.history[-1]["train_robust"]), abs=0.06
        )


def test_the_attack_sees_the_weights_of_its_step(monkeypatch):
    seen = []

    def attack(self, x, y, weights, ctx):
        seen.append((ctx.attack_model(x) - run.model.eval()(x)).abs().max().item())
        run.model.train()
        return x

    monkeypatch.setattr(pgd_at.PGDAT, "attack", attack)
    run = Run(replace(CONFIG, precision="float32"), digits(), torch.device("cpu"), None)
    for _ in range(3):
        run.advance()
    assert len(seen) == 3
    assert max(seen) < 1e-4
    assert seen[2] != seen[0]


def test_awp_is_a_gradient_at_worse_weights():
    """One step by hand: ascend the loss of the step layer by layer, take the gradient there, restore, step."""
    config = replace(CONFIG, precision="float32", fold=False, awp=0.05, ema=0.0, weight_decay=0.0, start="none")
    data = digits(160)
    run, twin = (Run(config, data, torch.device("cpu"), None) for _ in range(2))
    run.advance()
    ctx, model, neutral = twin.context, twin.model, twin.weights
    twin.batches.start(0)
    x, y = twin.batches.batch(0)
    x_adv = twin.method.attack(x, y, neutral, ctx)
    old = [p.detach().clone() for p in model.parameters()]
    loss = lambda: twin.method.loss(x, x_adv, y, neutral, ctx).loss  # noqa: E731
    up = torch.autograd.grad(loss(), list(model.parameters()))
    with torch.no_grad():
        for p, g in zip(model.parameters(), up, strict=True):
            if p.ndim > 1:
                p += 0.05 * p.norm() * g / g.norm()
    there = torch.autograd.grad(loss(), list(model.parameters()))
    lr = run.learning_rate(0)
    for p, w, g in zip(run.model.parameters(), old, there, strict=True):
        torch.testing.assert_close(p, w - lr * g)


def test_awp_waits_for_its_start():
    plain, late, early = (quick(batch_size=50, **o) for o in ({}, {"awp": 0.05, "awp_start": 0.5}, {"awp": 0.05}))
    assert late.history[0]["loss"] == plain.history[0]["loss"]
    assert late.history[1]["loss"] != plain.history[1]["loss"]
    assert early.history[0]["loss"] != plain.history[0]["loss"]


def test_counters_run_over_the_whole_run_and_images_are_gathered_once_an_epoch(monkeypatch):
    steps, gathered = [], []
    plain = batches.augmented
    monkeypatch.setattr("linfair.train.ema.EMA.update", lambda self, step: steps.append(step))
    monkeypatch.setattr(batches, "augmented", lambda *args: gathered.append(1) or plain(*args))
    quick(dataclasses.replace(digits(160), name="letters"), batch_size=50, epochs=3)
    assert steps == list(range(9))
    assert len(gathered) == 3


def test_validation_leaves_the_model_in_training_mode():
    run = Run(replace(CONFIG, ema=0.0), digits(160), torch.device("cpu"), None)
    run.advance()
    run.finish_epoch()
    assert all(module.training for module in run.model.modules())


def test_a_teacher_is_frozen_and_left_alone():
    data = digits(160)
    module = models.build("small_cnn", 10, (1, 8, 8), width=8).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit(replace(CONFIG, method="rslad"), data, teacher=module, progress=False)
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert same_tensors(module.state_dict(), before)
    fit(replace(CONFIG, method="rslad"), data, teacher=lambda x: x.flatten(1)[:, :10], progress=False)


def test_a_bar_an_epoch(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fit(CONFIG, digits(160))
    shown = capsys.readouterr().err
    assert "pgd_at 2/2, clean" in shown
    assert "images/s" in shown
    monkeypatch.undo()
    fit(CONFIG, digits(160))
    assert capsys.readouterr().err == "", "silent where nobody looks"


def test_the_rule_steers_the_next_epoch(monkeypatch):
    seen = []

    def rule(self, state, weights, epoch, epochs):
        seen.append((epoch, epochs, state.n.sum().item()))
        return replace(weights, margin=weights.margin + 0.25)

    monkeypatch.setattr(pgd_at.PGDAT, "rule", rule)
    result = quick(epochs=3, batch_size=50)
    assert seen == [(0, 3, 150), (1, 3, 150), (2, 3, 150)], "the sums are those of one epoch"
    assert [row["weights"].get("margin", [1.0])[0] for row in result.history] == [1.0, 1.25, 1.5]
    assert result.weights.margin[0] == 1.75


def test_a_rule_that_divides_by_nothing_is_stopped(monkeypatch):
    monkeypatch.setattr(pgd_at.PGDAT, "rule", lambda self, s, w, e, n: replace(w, loss=s.clean_accuracy))
    with pytest.raises(TrainingError, match="rule of 'pgd_at' must give finite weights, got loss"):
        quick()


def test_neutral_dafa_weights_are_trades():
    options = {"epochs": 2, "method": "trades"}
    a = quick(**options)
    b = quick(**options | {"method": "dafa_trades"})
    assert a.history[0]["loss"] == b.history[0]["loss"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, when inductor loads
def test_compile():
    options = {"precision": "float32", "model": "linear", "width": None}
    plain, compiled = quick(**options), quick(compile=True, **options)
    assert compiled.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=1e-3)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # advice of inductor: the head stays exact float32
@pytest.mark.parametrize("fold", [True, False])
def test_compile_on_a_gpu(fold):
    config = replace(CONFIG, epochs=4, fold=fold)
    plain, compiled = (fit(replace(config, compile=c), digits(), device="cuda", progress=False) for c in (False, True))
    assert compiled.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", [{}, {"awp": 0.005, "clip": 1.0}, {"fold": False}], ids=str)
def test_a_step_never_waits_for_the_device(name, options):
    config, device = replace(CONFIG, method=name, batch_size=64, **options), torch.device("cuda")
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) if METHODS[name].needs_teacher else None
    run = Run(config, digits(), device, teacher)
    run.advance()
    with synchronising_is_an_error():
        for _ in range(3):
            run.advance()
    run.check()
    assert run.losses[: run.step].isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_it_learns_on_a_gpu_and_resumes(tmp_path):
    config = replace(CONFIG, epochs=6)
    result = fit(config, digits(), device="cuda", folder=tmp_path / "whole", progress=False)
    assert np.mean(result.history[-1]["validation_clean"]) > 0.8
    assert np.mean(result.history[-1]["validation_robust"]) > 0.4
    while not (
        last := fit(config, digits(), device="cuda", folder=tmp_path / "a", progress=False, stop_after=0.5)
    ).finished:
        pass
    assert last.history[-1]["loss"] == pytest.approx(result.history[-1]["loss"], rel=0.1)
    assert next(last.model.parameters()).is_cuda
