"""What the loop refuses and what it survives: losses, weights, memory, data and names that will not do."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from linfair.data import DataError
from linfair.train import Losses, TrainConfig, TrainingError, fit, loop
from linfair.train.methods import pgd_at
from linfair.train.run import Run
from train_cases import CONFIG, digits, quick, saved


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
    student = replace(CONFIG, method="rslad")
    with pytest.raises(ValueError, match="teacher must be a model for method 'rslad', got None"):
        fit(student, digits(160), progress=False)
    with pytest.raises(TypeError, match="teacher must be a model, images to logits, got str; load it first"):
        fit(student, digits(160), teacher="x.pt", progress=False)
    with pytest.raises(ValueError, match=r"teacher must return logits \(\d+, 10\), got \(\d+, 9\)"):
        fit(student, digits(160), teacher=lambda x: x.flatten(1)[:, :9], progress=False)


def test_a_class_of_one_image_cannot_be_split():
    data = digits(160)
    keep = np.sort(np.r_[np.flatnonzero(data.train_labels != 3), np.flatnonzero(data.train_labels == 3)[:1]])
    few = dataclasses.replace(data, train_images=data.train_images[keep], train_labels=data.train_labels[keep])
    with pytest.raises(DataError, match=r"^validation: .* of the 1 samples of class 3; add samples of it, or pass"):
        quick(few)


def test_a_device_that_is_not_here():
    with pytest.raises(ValueError, match="device must be usable here, got 'nowhere'"):
        fit(CONFIG, digits(160), device="nowhere", progress=False)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("lr", "0.1", "lr must be a number, got '0.1'"), ("options", None, "options must be a mapping, got NoneType")],
)
def test_fields_of_another_type(field, value, message):
    with pytest.raises(TypeError, match=message):
        TrainConfig(**{field: value})


@pytest.mark.parametrize("without", [{"validation": 0.0, "select": "last"}, {"validation_steps": 0}], ids=str)
def test_a_rule_that_reads_the_validation_images_needs_them_and_an_attack_on_them(without):
    with pytest.raises(
        ValueError, match=rf"{next(iter(without))} must be > 0 for method 'wat', whose rule reads attacked"
    ):
        quick(method="wat", **without)


def test_unknown_names():
    with pytest.raises(ValueError, match="method must be one of"):
        quick(method="at")
    with pytest.raises(ValueError, match="model must be one of"):
        quick(model="resnet")
