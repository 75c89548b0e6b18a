"""Training one run and measuring it; what is finished goes into its record at once."""

from __future__ import annotations

import base64
import copy
import dataclasses
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from _deep_bench import Bench, OutOfTime, locked
from _deep_runs import Measure, Run, restrict, stratified
from linfair import runs
from linfair.attacks import exact_float32, parse_budget, pgd, robust_flags
from linfair.data import Dataset
from linfair.models import attack_copy, build, load_weights, read_weights, save_weights
from linfair.train import FitResult, TrainConfig, fit
from linfair.train.checkpoint import KEPT, weights_fingerprint
from linfair.train.methods import get_method, parent_of

SCHEMA = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STEPS, SHARE = 20, 0.25
"""PGD-20: its steps, and their length as a share of the radius."""
SLOW = {"autoattack": 120.0}
"""Seconds that a batch may take before any has been timed."""


def finish(bench: Bench, run: Run) -> None:
    """Train a run if need be and measure what is wanted and missing. Raises OutOfTime, Busy, TrainingError."""
    missing = bench.due().get(run)
    if not missing:  # another process was faster
        return
    known = bench.read(run) if bench.trained(run) else None  # what is trained now has a record of its own
    fitted = trained(bench, run)
    record = known or _record(bench, run, fitted)
    missing = missing if known else list(bench.wanted(run, bench))
    path = bench.records / f"{run.name}.json"
    runs.write_json(path, record)
    for measure in missing:
        record["measurements"][measure.key] = measured(bench, run, fitted.model, measure, record["weights"])
        runs.write_json(path, record)
    if bench.options.jobs > 1:
        print(f"{run.name}: done", flush=True)


# --- training --------------------------------------------------------------------------------------------------------


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
    due = shared.run in bench.due() and shared.run.name not in bench.failed
    if due and len(bench.log(shared.run)) < shared.epochs:
        with locked(bench.folder(shared.run)):
            trained(bench, shared.run)
    return shared.path if shared.path.exists() else None


def _teacher(bench: Bench, run: Run) -> nn.Module:
    """The network to distil from, as it lies beside its record: whoever has that file learns from the same.

    Raises Busy while another process trains it.
    """
    path = bench.weights(run)
    if not _kept(bench, run, path):
        with nullcontext() if bench.trained(run) else locked(bench.folder(run)):
            model = trained(bench, run).model
        history = [{"seconds": row["seconds"]} for row in bench.log(run)]
        save_weights(_halved(model), path, run=run.name, hash=bench.identity(run), history=history)
    data = restrict(bench.data, run.classes) if run.classes else bench.data
    _, channels, height, width = data.train_images.shape
    recipe, moments = bench.recipe.train, {"mean": [0.0] * channels, "std": [1.0] * channels}  # the file has its own
    model = build(recipe.model, data.n_classes, (channels, height, width), width=recipe.width, **moments)
    load_weights(model, path)
    return model.requires_grad_(False).eval()


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
    return {
        "schema": SCHEMA,
        "run": run.name,
        "hash": bench.identity(run),
        "config": runs.plain({**dataclasses.asdict(config_of(bench, run)), "classes": run.classes}),
        "teacher": run.teacher and _described(bench, run.teacher),
        "dataset": {"label": bench.data.label, "fingerprint": bench.data.fingerprint, "classes": data.class_names},
        "shared": shared and {"run": shared.run.name, "hash": bench.identity(shared.run), "epochs": shared.epochs},
        "selected": {"epoch": fitted.selected, "score": chosen["score"]},
        "weights": _rounded(chosen["weights"]),
        "history": [_rounded({k: v for k, v in row.items() if k != "weights"}) for row in history],
        "train_seconds": round(sum(row["seconds"] for row in history[fitted.shared_epochs :]), 1),
        "environment": {**bench.environment, "device": device_name(bench.options.device)},
        "measurements": {},
    }


def _described(bench: Bench, run: Run) -> dict[str, Any]:
    weights = weights_fingerprint(_teacher(bench, run))
    return {"run": run.name, "hash": bench.identity(run), "weights": weights}


def _rounded(value: Any, digits: int = 5) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v, digits) for v in value]
    return round(value, digits) if isinstance(value, float) else value


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else runs.cpu()


# --- measuring -------------------------------------------------------------------------------------------------------


def measured(
    bench: Bench, run: Run, model: nn.Module, measure: Measure, weights: dict[str, list[float]]
) -> dict[str, Any]:
    """One measurement: class counts and flags, or the matrices. Raises OutOfTime; finished batches are kept."""
    start, test = time.perf_counter(), bench.recipe.test
    model = model.to(bench.options.device).eval()
    precision = measure.search or test.search
    search = None if precision == "float32" else attack_copy(model, dtype=DTYPES[precision])
    data = _measured_on(bench, run, measure)
    pick, names = stratified(data.test_labels, measure.n, data.n_classes), data.class_names
    images, labels = data.test_images[pick], data.test_labels[pick].astype(np.int64)
    eps = parse_budget(measure.eps or run.training(bench.recipe.train).eps)
    radius = np.full(len(names), eps)
    if measure.own:
        radius *= weights.get("margin", 1.0)
    size = test.chunk_cuda if bench.options.device == "cuda" else test.chunk
    about: dict[str, Any] = {"asked": measure.n, "n": np.bincount(labels, minlength=len(names)).tolist()}
    about["eps"] = radius.tolist()
    clock = Clock(bench, SLOW.get(measure.attack, 0.0))
    if measure.attack == "matrices":
        found = []
        with exact_float32():
            for part in (slice(k, k + size) for k in range(0, len(labels), size)):
                clock()
                x = torch.from_numpy(images[part] / np.float32(data.levels)).to(bench.options.device)
                y = torch.from_numpy(labels[part]).to(bench.options.device)
                found.append(predictions(model, search or model, x, y, eps))
        about |= matrices(np.concatenate(found), labels, len(names))
    else:
        correct = np.zeros(len(labels), bool)
        for k, value in enumerate(dict.fromkeys(radius)):
            own = radius[labels] == value
            correct[own] = robust_flags(
                model, images[own], labels[own], measure.attack, eps=float(value), batch_size=size,
                device=bench.options.device, levels=data.levels, search_model=search, before_batch=clock,
                state=bench.folder(run) / f"{measure.key}-{k}.jsonl", progress=False,
            )  # fmt: skip
        about |= {
            "correct": np.bincount(labels[correct], minlength=len(names)).tolist(),
            "flags": base64.b64encode(np.packbits(correct).tobytes()).decode(),
        }
    if measure.data == "exact":
        about["fingerprint"] = data.fingerprint
    took = round(time.perf_counter() - start, 1)
    return about | {"search": precision, "seconds": took, "device": device_name(bench.options.device)}


class Clock:
    """Called before each batch. Raises OutOfTime where the time left is less than the longest batch so far took."""

    def __init__(self, bench: Bench, least: float):
        self.bench, self.longest, self.began = bench, least, None

    def __call__(self) -> None:
        now = time.perf_counter()
        if self.began is not None:
            self.longest = max(self.longest, now - self.began)
        self.began = now
        if self.bench.remaining() < self.longest:
            raise OutOfTime


def _measured_on(bench: Bench, run: Run, measure: Measure) -> Dataset:
    """The data set whose test images are measured."""
    data = bench.exact if measure.data == "exact" else bench.data
    assert data is not None
    return restrict(data, run.classes) if run.classes else data


def predictions(model: nn.Module, search: Any, x: Tensor, y: Tensor, eps: float) -> np.ndarray:
    """[n, 2C + 1]: softmax of the images, softmax under PGD-20 run to its end on every image, class predicted then."""
    generator = torch.Generator(x.device).manual_seed(0)
    attacked = pgd(search, x, y, eps=eps, step=SHARE * eps, steps=STEPS, generator=generator)
    with torch.no_grad():
        clean, robust = model(x), model(attacked)
    columns = [clean.softmax(1), robust.softmax(1), robust.argmax(1, keepdim=True)]
    return torch.cat([c.double() for c in columns], 1).cpu().numpy()


def matrices(found: np.ndarray, labels: np.ndarray, n_classes: int) -> dict[str, Any]:
    """A row a true class: mean softmax of clean and of attacked images [C, C], counts of the predictions [C, C]."""
    own = np.eye(n_classes)[labels]
    means = own.T @ found[:, :-1] / own.sum(0)[:, None]
    confusion = own.T @ np.eye(n_classes)[found[:, -1].astype(int)]
    return {
        "clean_softmax": _rounded(means[:, :n_classes].tolist(), 6),
        "attacked_softmax": _rounded(means[:, n_classes:].tolist(), 6),
        "confusion": confusion.astype(int).tolist(),
    }
