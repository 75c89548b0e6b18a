"""A run that is killed or stopped at any moment and started again comes to the bits of the uninterrupted one."""

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from linfair.train import TrainConfig, TrainingError, fit, loop
from linfair.train.methods import METHODS
from train_cases import CONFIG, digits, same_tensors, saved, teacher, timeless

LONG = replace(CONFIG, method="dafa_trades", epochs=8, awp=0.005, awp_start=0.4, augment=True, clip=1.0)


def work(config: TrainConfig, folder: Path, seconds: float) -> None:
    """A process of its own, with a checkpoint every so many seconds."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = seconds
    fit(config, digits(), folder=folder, progress=False)


def same_run(a: Path, b: Path) -> None:
    assert same_tensors(saved(a, "model.pt")["weights"], saved(b, "model.pt")["weights"])
    first, second = saved(a), saved(b)
    for part in ("model", "optimizer", "ema", "weights", "best", "history"):
        assert same_tensors(first[part], second[part]), part
    assert first["counters"]["epoch"] == second["counters"]["epoch"]
    logs = [[json.loads(line) for line in (f / "log.jsonl").read_text().splitlines()] for f in (a, b)]
    assert timeless(logs[0]) == timeless(logs[1])


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["linfair.train", "sklearn.datasets"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def start(folder: Path, seconds: float):
        process = context.Process(target=work, args=(LONG, folder, seconds))
        process.start()
        return process

    def written() -> int:
        path = killed / "checkpoint.pt"
        return path.stat().st_mtime_ns if path.exists() else 0

    rng, kills = np.random.default_rng(0), 0
    while kills < 6:
        before, process = written(), start(killed, 0.02)
        while process.is_alive() and written() == before:
            time.sleep(0.005)
        process.join(rng.uniform(0.0, 0.1))
        if not process.is_alive():
            break
        process.kill()  # SIGKILL
        process.join()
        kills += 1
    assert kills >= 3, "it must die in the middle; give it more to do"
    last, first = start(killed, 0.02), start(whole, 60.0)
    last.join()
    first.join()
    assert last.exitcode == first.exitcode == 0
    assert not list(killed.glob("*.tmp")), "what a killed writer left is cleared away"
    same_run(whole, killed)


@pytest.mark.parametrize("name", METHODS)
def test_stopped_after_every_step(name, tmp_path):
    config, data = replace(CONFIG, method=name, batch_size=32, steps=1, validation=0.2), digits(160)
    model = teacher(data) if METHODS[name].needs_teacher else None
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    want = fit(config, data, folder=whole, teacher=model, progress=False)
    calls = 0
    while True:
        got = fit(config, data, folder=pieces, teacher=model, progress=False, stop_after=0.0)
        calls += 1
        if got.finished:
            break
        assert got.path == pieces / "checkpoint.pt"
    assert calls == 2 * 4
    assert got.path == pieces / "model.pt"
    assert all(np.isfinite(row["loss"]) for row in got.history)
    assert torch.equal(got.state.sums, want.state.sums)
    same_run(whole, pieces)


def test_a_finished_run_is_read_not_repeated(tmp_path, monkeypatch):
    data = digits(160)
    want = fit(CONFIG, data, folder=tmp_path, progress=False)
    (tmp_path / "model.pt").unlink()
    (tmp_path / "log.jsonl").unlink()
    monkeypatch.setattr(loop.Run, "advance", None)
    got = fit(CONFIG, data, folder=tmp_path, progress=False)
    assert got.finished
    assert same_tensors(got.model.state_dict(), want.model.state_dict())
    assert got.history == want.history
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "model.pt").exists()
    stamp = (tmp_path / "model.pt").stat().st_mtime_ns
    fit(CONFIG, data, folder=tmp_path, progress=False)
    assert (tmp_path / "model.pt").stat().st_mtime_ns == stamp, "another process may be reading it"


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    gone = multiprocessing.get_context("spawn").Process(target=int)
    gone.start()
    gone.join()
    ours, theirs = (tmp_path / f"model.pt.{process}.tmp" for process in (os.getppid(), gone.pid))
    ours.touch()
    theirs.touch()
    fit(replace(CONFIG, epochs=1), digits(160), folder=tmp_path, progress=False)
    assert ours.exists()
    assert not theirs.exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    data = digits(160)
    fit(CONFIG, data, folder=tmp_path, progress=False, stop_after=0.0)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"got epochs = 2 instead of 3; delete it or use another folder"):
        fit(replace(CONFIG, epochs=3), data, folder=tmp_path, progress=False)
    with pytest.raises(TrainingError, match=r"got method = 'pgd_at' instead of 'trades', options = \{\} instead of"):
        fit(replace(CONFIG, method="trades", options={"beta": 2.0}), data, folder=tmp_path, progress=False)
    with pytest.raises(TrainingError, match="got data = "):
        fit(CONFIG, digits(161), folder=tmp_path, progress=False)
    with pytest.raises(TrainingError, match="got teacher = None instead of '"):
        fit(CONFIG, data, folder=tmp_path, teacher=teacher(data), progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    (tmp_path / "checkpoint.pt").write_bytes(kept[: len(kept) // 2])
    with pytest.raises(TrainingError, match="as it was written"):
        fit(CONFIG, data, folder=tmp_path, progress=False)


def test_stopping_and_keeping_need_a_folder():
    with pytest.raises(ValueError, match="stop_after needs a folder"):
        fit(CONFIG, digits(160), stop_after=1.0)
    with pytest.raises(ValueError, match="keep needs a folder"):
        fit(CONFIG, digits(160), keep=(1,))


def test_only_epochs_of_the_run_can_be_kept(tmp_path):
    with pytest.raises(ValueError, match=r"keep must hold epochs from 1 to 2, got 3; drop it"):
        fit(CONFIG, digits(160), folder=tmp_path, keep=(1, 3))


BRANCHES = {
    "dafa_pgd": ({"apply": "margins"}, {}),
    "dafa_trades": ({"beta": 3.0}, {"beta": 3.0}),
    "domain_mixup_easy": ({"lam_by_class": (0.5,) * 9 + (0.3,), "warmup": 0.5}, {"lam_by_class": (0.5,) * 9 + (0.3,)}),
    "domain_mixup_hard": ({}, {}),
    "faal": ({}, {}),
}
"""method -> its options and those of its parent."""


def test_methods_that_share_epochs_are_known():
    assert {name for name, method in METHODS.items() if method().shared_epochs(12)} == set(BRANCHES)
    assert METHODS["dafa_pgd"]().shared_epochs(12) == 8
    assert METHODS["domain_mixup_hard"]().shared_epochs(12) == 3


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_of_the_parent_is_the_whole_run(name, tmp_path):
    options, inherited = BRANCHES[name]
    config = replace(LONG, method=name, options=options, epochs=4, batch_size=32, steps=1, validation=0.2)
    data, epoch = digits(160), METHODS[name](**options).shared_epochs(4)
    parent = replace(config, method=METHODS[name].parent, options=inherited)
    want = fit(config, data, folder=tmp_path / "whole", progress=False)
    fit(parent, data, folder=tmp_path / "parent", progress=False, keep=(epoch,))
    branch = tmp_path / "parent" / f"epoch-{epoch}.pt"
    for _ in range(2):  # stopped after a step, then to the end
        got = fit(config, data, folder=tmp_path / "branch", progress=False, branch=branch, stop_after=0.0)
    got = fit(config, data, folder=tmp_path / "branch", progress=False, branch=branch)
    assert (want.shared_epochs, got.shared_epochs) == (0, epoch)
    assert got.history[epoch - 1]["seconds"] == saved(tmp_path / "parent")["history"][epoch - 1]["seconds"]
    assert got.weights.is_neutral() == (name == "faal")  # which steers inside a batch
    assert got.selected > epoch
    same_run(tmp_path / "whole", tmp_path / "branch")


def test_a_branch_of_another_parent_is_refused(tmp_path):
    config, data = replace(CONFIG, method="dafa_pgd", epochs=3), digits(160)
    fit(replace(config, method="pgd_at"), data, folder=tmp_path, progress=False, keep=(1, 2))
    first, second = tmp_path / "epoch-1.pt", tmp_path / "epoch-2.pt"

    def refused(match, branch=second, **changes):
        with pytest.raises(TrainingError, match=match):
            fit(replace(config, **changes), data, progress=False, branch=branch)

    refused(r"got 1 epochs and 0 steps instead of 2 epochs; train 'pgd_at' by the same config with keep=\(2,\)", first)
    refused(r"got step = '1/16' instead of '1/8'; train", step="1/8")
    refused(r"got eps = '1/8' instead of '1/9'", eps="1/9")
    refused(r"got method = 'pgd_at' instead of 'trades', options = \{\} instead of \{'beta': 6\}", method="dafa_trades")
    refused(r"got seed = 0 instead of 1;", seed=1)
    with pytest.raises(ValueError, match=r"branch must be None for 'absld', which takes no epochs over"):
        fit(replace(config, method="absld"), data, teacher=teacher(data), progress=False, branch=second)
    second.write_bytes(second.read_bytes()[:1000])
    refused(r"must be a checkpoint as it was written, got \w+; train 'pgd_at'")
    refused(r"must be an existing file, got '.*none.pt'; train 'pgd_at'", tmp_path / "none.pt")
    refused(r"must be a checkpoint as it was written, got ValueError; train 'pgd_at'", tmp_path / "model.pt")
