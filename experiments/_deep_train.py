"""Training one run, and its record: what is finished goes into it at once."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from _deep_bench import Bench
from _deep_lock import locked
from _deep_measure import device_name, measured, rounded
from _deep_runs import FAILURES, Run, in_a_line, restrict
from linfair import runs
from linfair.models import build, load_weights, read_weights, save_weights
from linfair.train import FitResult, TrainConfig, TrainingError, fit
from linfair.train.checkpoint import KEPT, state_fingerprint, weights_fingerprint
from linfair.train.methods import get_method, parent_of

SCHEMA = 1


def finish(bench: Bench, run: Run) -> None:
    """Train a run if need be and measure what is wanted and missing. Raises OutOfTime, Busy, TrainingError."""
    missing = bench.due().get(run)
    if not missing:  # another process was faster
        return
    fitted = trained(bench, run)
    known = bench.read(run)  # only now: what was just trained has a record of its own
    record = known or _record(bench, run, fitted)
    missing = missing if known else list(bench.wanted(run, bench))
    path = bench.record(run)
    runs.write_json(path, record)
    for measure in missing:
        record["measurements"][measure.key] = measured(bench, run, fitted.model, measure, record["weights"])
        runs.write_json(path, record)
    if bench.options.jobs > 1:
        print(f"{run.name}: done", flush=True)


def config_of(bench: Bench, run: Run) -> TrainConfig:
    fields = dataclasses.asdict(run.training(bench.recipe.train))
    return TrainConfig(method=run.method, options=dict(run.options), seed=run.seed, **fields)


def trained(bench: Bench, run: Run) -> FitResult:
    """The finished training of a run; its folder is locked by the caller, or holds a finished run already."""
    teacher = _teacher(bench, run.teacher) if run.teacher else None
    data = restrict(bench.data, run.classes) if run.classes else bench.data
    result = fit(
        config_of(bench, run),
        data,
        device=bench.options.device,
        folder=bench.folder(run),
        teacher=teacher,
        progress=bench.options.jobs == 1,
        stop_after=None if bench.deadline == float("inf") else bench.remaining(),
        keep={shared.epochs for r in bench.runs if (shared := shared_with(r, bench)) and shared.run == run},
        branch=_branch(bench, run),
    )
    if not result.finished:
        bench.remaining()
        return trained(bench, run)  # the clock of fit and ours differ by a moment
    return result


def _needed(bench: Bench, run: Run) -> FitResult:
    """A parent or a teacher, trained. Raises TrainingError where it fails, and books that as its own, too."""
    if run.name not in bench.failed or bench.trained(run):  # what failed may have been a measurement
        try:
            return trained(bench, run)
        except FAILURES as error:
            bench.failed[run.name] = in_a_line(error)
    raise TrainingError(f"needs {run.name}, which failed")


class Shared(NamedTuple):
    """The epochs at the start of a run that are those of a run of its method's parent."""

    run: Run
    epochs: int
    path: Path
    """The checkpoint at their end, where the parent has kept it."""


def shared_with(run: Run, bench: Bench) -> Shared | None:
    """What a run shares with its parent; None for nothing, and for a run that cannot be, which fit refuses."""
    try:
        method = get_method(run.method, **dict(run.options))
    except (ValueError, TypeError):
        return None
    if not (epochs := method.shared_epochs(run.training(bench.recipe.train).epochs)):
        return None
    parent = parent_of(method)
    options = ((f.name, f.default, getattr(parent, f.name)) for f in dataclasses.fields(parent))
    given = tuple((name, value) for name, default, value in options if value != default)
    first = dataclasses.replace(run, method=parent.name, options=given)
    return Shared(first, epochs, bench.folder(first) / KEPT.format(epochs))


def _branch(bench: Bench, run: Run) -> Path | None:
    """The parent's checkpoint to start from; a parent that is to be trained anyway is trained first. None without one.

    Raises Busy while another process trains the parent.
    """
    shared = shared_with(run, bench)
    if shared is None or any(bench.folder(run).glob("*.pt")):
        return None
    if shared.run in bench.due() and len(bench.log(shared.run)) < shared.epochs:
        with locked(bench.folder(shared.run)):
            _needed(bench, shared.run)
    return shared.path if shared.path.exists() else None


def _teacher(bench: Bench, run: Run) -> nn.Module:
    """The network to distil from, as it lies beside its record: whoever has that file learns from the same.

    Raises Busy while another process trains it.
    """
    path = bench.weights(run)
    if not _kept(bench, run, path):
        with nullcontext() if bench.trained(run) else locked(bench.folder(run)):
            model = _needed(bench, run).model
        history = [{"seconds": row["seconds"]} for row in bench.log(run)]
        save_weights(_halved(model), path, run=run.name, hash=bench.identity(run), history=history)
    data = restrict(bench.data, run.classes) if run.classes else bench.data
    _, channels, height, width = data.train_images.shape
    recipe, moments = bench.recipe.train, {"mean": [0.0] * channels, "std": [1.0] * channels}  # the file has its own
    model = build(recipe.model, data.n_classes, (channels, height, width), width=recipe.width, **moments)
    load_weights(model, path)
    return model.requires_grad_(False).eval()


@lru_cache
def fingerprint(path: Path, stamp: int) -> str | None:
    """That of a network with the kept weights of `path`, last changed at `stamp`; None for a damaged file."""
    try:
        kept = read_weights(path)[0]
    except ValueError:
        return None  # whoever wants to learn from it says so
    return state_fingerprint({k: v.float() if v.dtype == torch.float16 else v for k, v in kept.items()})


def _kept(bench: Bench, run: Run, path: Path) -> bool:
    """Whether a file has the weights of this run, and of the training at hand where there is one."""
    if not path.exists():
        return False
    try:
        meta = read_weights(path)[1]
    except ValueError as error:
        raise ValueError(f"{error}, or delete it to train the teacher again") from None
    return meta.get("hash") == bench.identity(run) and bench.describes(meta, run)


def _halved(model: nn.Module) -> nn.Module:
    """A copy with kernels and matrices in float16: finer than the bfloat16 in which teachers compute on CIFAR-10."""
    found = copy.deepcopy(model)
    for parameter in found.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.half()
    return found


def _record(bench: Bench, run: Run, fitted: FitResult) -> dict[str, Any]:
    """What is to be said of a training; measurements follow."""
    history = fitted.history
    chosen = history[fitted.selected - 1]
    data = restrict(bench.data, run.classes) if run.classes else bench.data
    shared = shared_with(run, bench) if fitted.shared_epochs else None
    device = bench.options.device
    return {
        "schema": SCHEMA,
        "run": run.name,
        "hash": bench.identity(run),
        "config": runs.plain({**dataclasses.asdict(config_of(bench, run)), "classes": run.classes}),
        "teacher": run.teacher and _described(bench, run.teacher),
        "dataset": {"label": bench.data.label, "fingerprint": bench.data.fingerprint, "classes": data.class_names},
        "shared": shared and {"run": shared.run.name, "hash": bench.identity(shared.run), "epochs": shared.epochs},
        "selected": {"epoch": fitted.selected, "score": chosen["score"]},
        "weights": rounded(chosen["weights"]),
        "history": rounded(history),
        "train_seconds": round(sum(row["seconds"] for row in history[fitted.shared_epochs :]), 1),
        "environment": bench.environment | {"backend": runs.backend(device), "device": device_name(device)},
        "measurements": {},
    }


def _described(bench: Bench, run: Run) -> dict[str, Any]:
    weights = weights_fingerprint(_teacher(bench, run))
    return {"run": run.name, "hash": bench.identity(run), "weights": weights}
