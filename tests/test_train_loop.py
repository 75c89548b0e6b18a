"""The loop itself: what it learns and records, how it chooses, and what it refuses."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from linfair import attacks, models
from linfair.data import DataError
from linfair.train import Losses, TrainingError, batches, fit, loop, validation
from linfair.train.batches import VALIDATION, counter_seed
from linfair.train.methods import METHODS, pgd_at
from linfair.train.run import Run
from linfair.train.validation import class_accuracies, selection_score
from train_cases import CONFIG, digits, same_tensors, saved, timeless
from waiting import synchronising_is_an_error


def quick(data=None, **options):
    return fit(replace(CONFIG, **options), data or digits(160), progress=False)


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


# --- choosing --------------------------------------------------------------------------------------------------------


def test_the_test_part_is_never_looked_at():
    data = digits(160)
    noise = np.random.default_rng(0).integers(0, 17, data.test_images.shape, dtype=np.uint8)
    other = dataclasses.replace(data, test_images=noise, test_labels=data.test_labels[::-1])
    a, b = quick(data), quick(other)
    assert same_tensors(a.model.state_dict(), b.model.state_dict())
    assert timeless(a.history) == timeless(b.history)


def test_training_never_sees_the_validation_part():
    run = Run(replace(CONFIG, validation=0.2, augment=False), digits(), torch.device("cpu"), None)
    train, held_out = ({image.tobytes() for image in part.images.numpy()} for part in (run.train, run.validation))
    assert len(held_out) > 250
    assert not train & held_out
    assert len(run.train) + len(run.validation) == len(digits().train_labels)
    counts = torch.bincount(run.validation.labels, minlength=10)
    assert counts.max() - counts.min() <= 2
    other = Run(replace(CONFIG, validation=0.2, seed=7), digits(), torch.device("cpu"), None)
    assert torch.equal(other.validation.images, run.validation.images), "every seed chooses on the same images"


@pytest.mark.parametrize("select", ["average", "average+worst", "last"])
def test_the_best_epoch_is_kept(select, monkeypatch, tmp_path):
    """Validation is scripted: epochs 2 and 4 are best by worst class, the later of them counts; 3 is by average."""
    robust = [[0.1, 0.1], [0.5, 0.5], [0.2, 0.9], [0.5, 0.5], [0.3, 0.3]]
    weights = []

    def scripted(model, *args, **options):
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return [1.0, 1.0], robust[len(weights) - 1]

    monkeypatch.setattr("linfair.train.run.class_accuracies", scripted)
    result = fit(replace(CONFIG, epochs=5, select=select), digits(160), folder=tmp_path, progress=False)
    best = {"average": 3, "average+worst": 4, "last": 5}[select]
    assert saved(tmp_path)["best"]["epoch"] == result.selected == best
    assert same_tensors(result.model.state_dict(), weights[best - 1])
    assert not same_tensors(weights[0], weights[1])


def test_epochs_before_the_rule_steers_are_not_chosen(monkeypatch):
    """The first epoch is the best, but DAFA steers from the third of four on: what came before is PGD-AT."""
    robust = iter([[0.9, 0.9], [0.8, 0.8], [0.5, 0.6], [0.4, 0.4]] * 2)
    monkeypatch.setattr("linfair.train.run.class_accuracies", lambda *a, **k: ([1.0, 1.0], next(robust)))
    config = replace(CONFIG, epochs=4, method="dafa_pgd", options={"warmup": 0.5})
    result = fit(config, digits(160), progress=False)
    assert result.selected == 3
    assert result.history[2]["weights"]
    assert not result.history[1]["weights"]
    assert fit(replace(config, method="pgd_at", options={}), digits(160), progress=False).selected == 1


def test_validation_takes_no_more_images_at_a_time_than_training(monkeypatch):
    sizes = []
    monkeypatch.setattr(validation, "pgd", lambda model, x, *a, **k: sizes.append(len(x)) or x)
    run = Run(replace(CONFIG, validation=0.2, batch_size=64), digits(), torch.device("cpu"), None)
    run._record()
    assert max(sizes) == 64
    assert sum(sizes) == len(run.validation)


def test_scores():
    assert selection_score("average+worst", [0.5, 0.25, None]) == 0.375 + 0.25
    assert selection_score("average", [0.5, 0.25]) == 0.375
    assert selection_score("last", [0.5]) is None
    assert selection_score("average", [None]) is None


def test_a_method_without_attack_is_chosen_on_clean_accuracy():
    rows = quick(digits(), method="standard").history
    assert all(
        row["score"] == pytest.approx(np.mean(row["validation_clean"]) + min(row["validation_clean"])) for row in rows
    )


@pytest.mark.parametrize("options", [{"validation_steps": 0}, {"eps": 0.0}], ids=str)
def test_without_an_attack_in_validation_clean_accuracy_chooses(options):
    for row in quick(digits(), **options).history:
        assert row["validation_robust"] == [None] * 10
        clean = row["validation_clean"]
        assert row["score"] == pytest.approx(np.mean(clean) + min(clean))


def test_without_validation_the_last_weights_come_back():
    result = quick(validation=0.0, select="last", ema=0.0)
    assert result.history[-1]["validation_clean"] == [None] * 10
    assert result.finished


def test_validation_attacks_the_weights_it_judges(monkeypatch):
    gaps = []

    def compare(model, attacked, images, *args, **options):
        x = images.batch(0, 50)[0]
        gaps.append((attacked(x) - model.eval()(x)).abs().max().item())
        return [1.0], [1.0]

    monkeypatch.setattr("linfair.train.run.class_accuracies", compare)
    for ema in (0.0, 0.5):
        quick(precision="float32", ema=ema, epochs=3)
    assert len(gaps) == 6
    assert max(gaps) < 1e-3


def test_validation_is_the_attack_it_says(monkeypatch):
    asked = []
    monkeypatch.setattr(validation, "pgd", lambda *a, **k: asked.append(k) or attacks.pgd(*a, **k))
    run = Run(replace(CONFIG, precision="float32", fold=False, ema=0.0), digits(), torch.device("cpu"), None)
    for _ in range(5):
        run.advance()
    part = run.validation
    clean, robust = class_accuracies(
        run.model, run.target.call, part, 10, run.threat, 10, counter_seed(VALIDATION, 0, 0)
    )
    assert len(asked) == 1
    assert (asked[0]["eps"], asked[0]["step"], asked[0]["steps"], asked[0]["norm"]) == (1 / 8, 1 / 32, 10, "linf")
    x, y = part.batch(0, len(part))
    g = torch.Generator().manual_seed(counter_seed(VALIDATION, 0, 0))
    worst = attacks.pgd(run.model, x, y, eps="1/8", step=1 / 32, steps=10, generator=g)
    for images, got in ((x, clean), (worst, robust)):
        flags = run.model.eval()(images).argmax(1) == y
        assert got == pytest.approx([flags[y == k].double().mean().item() for k in range(10)])
    assert np.mean(np.array(clean, float)) > np.mean(np.array(robust, float))


# --- rules -----------------------------------------------------------------------------------------------------------


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


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(monkeypatch, tmp_path):
    plain, calls = pgd_at.PGDAT.loss, []

    def loss(self, x, x_adv, y, weights, ctx):
        calls.append(ctx.epoch)
        out = plain(self, x, x_adv, y, weights, ctx)
        return Losses(out.loss * float("nan"), out.logits_adv) if calls.count(1) == 3 else out

    monkeypatch.setattr(pgd_at.PGDAT, "loss", loss)
    config = replace(CONFIG, batch_size=32)
    with pytest.raises(TrainingError, match=r"the loss must be finite, got nan in epoch 2 of 2, step 3 of 4; lower lr"):
        fit(config, digits(160), folder=tmp_path, progress=False)
    assert len(calls) == 4 + 3
    kept = saved(tmp_path)
    assert kept["counters"]["epoch"] == 1
    assert all(v.isfinite().all() for v in kept["model"].values())
    monkeypatch.setattr(pgd_at.PGDAT, "loss", plain)
    assert fit(config, digits(160), folder=tmp_path, progress=False).finished


def test_the_check_may_be_rare(monkeypatch):
    """As on an accelerator: the step named is the first bad one, not the one of the look."""
    run = Run(replace(CONFIG, batch_size=16, lr=1e30), digits(160), torch.device("cpu"), None)
    for _ in range(run.batches.steps):
        run.advance()
    first = int((~run.losses.isfinite()).nonzero()[0]) + 1
    assert 1 < first < run.batches.steps
    with pytest.raises(TrainingError, match=rf"step {first} of"):
        run.check()


def test_weights_that_are_not_finite_are_never_kept(tmp_path, monkeypatch):
    plain = Run.check

    def check(self):
        plain(self)
        if self.step == self.batches.steps:
            next(iter(self.model.parameters())).data.fill_(float("inf"))

    monkeypatch.setattr(Run, "check", check)
    with pytest.raises(TrainingError, match="the weights must be finite"):
        fit(CONFIG, digits(160), folder=tmp_path, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_checkpoint_inside_an_epoch_is_never_of_bad_weights(tmp_path, monkeypatch):
    """The loss of a step is that before its update: it may be finite where the weights no longer are."""
    config, data = replace(CONFIG, batch_size=32), digits(160)
    assert not fit(config, data, folder=tmp_path, progress=False, stop_after=0.0).finished
    kept, plain = (tmp_path / "checkpoint.pt").read_bytes(), Run.advance

    def advance(self):
        plain(self)
        next(iter(self.model.parameters())).data.fill_(float("nan"))

    monkeypatch.setattr(Run, "advance", advance)
    with pytest.raises(TrainingError, match=r"the weights must be finite, got nan in epoch 1 of 2, step 2 of 4"):
        fit(config, data, folder=tmp_path, progress=False, stop_after=0.0)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    monkeypatch.undo()
    assert fit(config, data, folder=tmp_path, progress=False).finished


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_try(error, monkeypatch):
    def advance(self):
        raise error

    monkeypatch.setattr(loop.Run, "advance", advance)
    with pytest.raises(TrainingError, match=r"got 128, which does not; try batch_size=64") as caught:
        quick()
    assert caught.value.__cause__ is error


def test_other_errors_pass(monkeypatch):
    def advance(self):
        raise RuntimeError("of another kind")

    monkeypatch.setattr(loop.Run, "advance", advance)
    with pytest.raises(RuntimeError, match=r"^of another kind$"):
        quick()
    assert not torch.backends.cudnn.benchmark


def test_labels_must_be_classes_and_every_class_there():
    data = digits(160)
    with pytest.raises(ValueError, match=r"train_labels must lie in 0\.\.9, got 1\.\.10"):
        quick(dataclasses.replace(data, train_labels=data.train_labels + 1))
    keep = data.train_labels != 3
    with pytest.raises(DataError, match="must hold every class, got no image of '3'"):
        quick(dataclasses.replace(data, train_images=data.train_images[keep], train_labels=data.train_labels[keep]))


def test_a_class_missing_from_a_batch_is_nothing_special():
    assert all(np.isfinite(row["loss"]) for row in quick(batch_size=4, epochs=1).history)


def test_a_teacher_where_one_is_needed():
    with pytest.raises(ValueError, match="teacher must be a model for method 'rslad', got None"):
        quick(method="rslad")


def test_a_teacher_is_frozen_and_left_alone():
    data = digits(160)
    module = models.build("small_cnn", 10, (1, 8, 8), width=8).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit(replace(CONFIG, method="rslad"), data, teacher=module, progress=False)
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert same_tensors(module.state_dict(), before)
    fit(replace(CONFIG, method="rslad"), data, teacher=lambda x: x.flatten(1)[:, :10], progress=False)


def test_unknown_names():
    with pytest.raises(ValueError, match="method must be one of"):
        quick(method="at")
    with pytest.raises(ValueError, match="model must be one of"):
        quick(model="resnet")


def test_a_bar_an_epoch(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fit(CONFIG, digits(160))
    shown = capsys.readouterr().err
    assert "pgd_at 2/2, clean" in shown
    assert "images/s" in shown
    monkeypatch.undo()
    fit(CONFIG, digits(160))
    assert capsys.readouterr().err == "", "silent where nobody looks"


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
