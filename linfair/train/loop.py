"""The one loop: every method trains here, and a run that was killed goes on where its checkpoint is."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from linfair.attacks import no_memory, usable_device
from linfair.data import Dataset
from linfair.models import save_weights
from linfair.train.checkpoint import KEPT, Store, weights_fingerprint
from linfair.train.config import TrainConfig, TrainingError
from linfair.train.run import Run
from linfair.train.state import ClassState, ClassWeights

CHECKPOINT_SECONDS = 60.0
"""Time between checkpoints inside an epoch."""
CHECK_EVERY = 50
"""Steps between looks at the losses on an accelerator, where a look waits for the device; the CPU looks at each."""


@dataclass(frozen=True)
class FitResult:
    """What a run has come to.

    Args:
        model: the selected weights (of the average, if on), float32, in evaluation mode; of an unfinished run, so far.
        selected: the epoch of these weights, counted from 1; 0 before there is one.
        shared_epochs: how many, at the start, were taken over from a run of the parent (``fit(branch=...)``).
        history: one row an epoch, as in ``log.jsonl``; ``epoch`` counts from 1, accuracies are lists over the classes,
            None where nobody measured; ``weights`` holds the fields of ClassWeights that were not neutral.
        weights: what the rule would steer next.
        state: the class sums of the last epoch, which may be unfinished.
        finished: False where ``stop_after`` came first.
        path: the file with the selected weights, of an unfinished run its checkpoint; None without a folder.
    """

    model: nn.Module = field(repr=False)
    selected: int
    shared_epochs: int
    history: list[dict[str, Any]] = field(repr=False)
    weights: ClassWeights = field(repr=False)
    state: ClassState = field(repr=False)
    finished: bool
    path: Path | None


def fit(
    config: TrainConfig,
    data: Dataset,
    *,
    device: torch.device | str = "cpu",
    folder: Path | str | None = None,
    teacher: Any = None,
    progress: bool = True,
    stop_after: float | None = None,
    keep: Collection[int] = (),
    branch: Path | str | None = None,
) -> FitResult:
    """Train by ``config`` on the training part of ``data``; the test part is never looked at.

    A step: transform, attack, loss, backward (weight perturbation around it), optimizer, average, class sums. After an
    epoch the averaged model is validated on the held-out part, and the method's rule steers the next epoch.

    Args:
        device: "cpu", "cuda", ...; images stay there as uint8.
        folder: keeps ``checkpoint.pt`` (every epoch and minute), ``log.jsonl`` and, at the end, ``model.pt``. A run
            that finds its checkpoint goes on from there; on the CPU, with the same number of threads, to the same bits.
        teacher: for distillation: a module, or a callable from images to logits. A module's weights are part of what a
            checkpoint belongs to; one callable cannot be told from another, so give each a folder of its own.
        progress: a bar an epoch, where somebody looks at a terminal.
        stop_after: seconds, at least one step: then write a checkpoint and return with ``finished=False``.
        keep: epochs, counted from 1, at whose ends a checkpoint stays in the folder as ``epoch-<n>.pt``; those that a
            run goes on behind leave none.
        branch: what a run of the method's parent, by the same config, kept of the last epoch that the two share
            (``method.shared_epochs(epochs)``). A run without a checkpoint of its own starts there; on the CPU, with the
            same number of threads, it comes to the bits that it would have come to alone.

    Raises:
        TrainingError: a loss that is not finite (with epoch and step), no memory left (with a batch size to try), a
            checkpoint of another run or of another parent. The last good checkpoint stays.
        ValueError: a bad config; DataError: labels outside 0..C-1, a class without images.
    """
    for name, given in {"stop_after": stop_after is not None, "keep": bool(keep)}.items():
        if given and folder is None:
            raise ValueError(f"{name} needs a folder to go on from, got None; pass folder")
    if outside := [epoch for epoch in keep if epoch not in range(1, config.epochs + 1)]:
        raise ValueError(f"keep must hold epochs from 1 to {config.epochs}, got {outside[0]!r}; drop it")
    deadline = time.monotonic() + (float("inf") if stop_after is None else stop_after)
    store = Store(None if folder is None else Path(folder), config, data.fingerprint, weights_fingerprint(teacher))
    found = store.load()
    with _memory(config), _fast_convolutions():
        run = Run(config, data, usable_device(device), teacher)
        if found is not None:
            run.load_state_dict(found)
            store.log(run.history)
        elif branch is not None:
            run.branch(store.load_branch(Path(branch), run.method))
            store.save(run.state_dict())
            store.log(run.history)
        trained = run.epoch < config.epochs
        while run.epoch < config.epochs:
            with _bar(run, progress) as bar:
                if not _epoch(run, store, bar, deadline, keep):
                    return _result(run, store, finished=False)
    return _result(run, store, finished=True, write=trained)


def _epoch(run: Run, store: Store, bar: tqdm, deadline: float, keep: Collection[int]) -> bool:
    """Train to the end of the epoch in progress; False where the deadline came first."""
    every = 1 if run.device.type == "cpu" else CHECK_EVERY
    saved = clock = time.monotonic()
    while run.step < run.batches.steps:
        run.advance()
        now = time.monotonic()
        run.seconds, clock = run.seconds + now - clock, now
        bar.update(run.batches.batch_size)
        stop = now >= deadline
        due = now - saved >= CHECKPOINT_SECONDS
        if due or stop or run.step % every == 0 or run.step == run.batches.steps:
            run.check()
        if (due or stop) and run.step < run.batches.steps:
            run.check_weights()
            store.save(run.state_dict())
            saved = clock = time.monotonic()
            if stop:
                return False
    run.seconds += time.monotonic() - clock
    run.finish_epoch()
    if run.epoch in keep:
        store.save(run.state_dict(), KEPT.format(run.epoch))
    store.save(run.state_dict())
    store.log(run.history)
    return time.monotonic() < deadline or run.epoch == run.config.epochs


def _result(run: Run, store: Store, *, finished: bool, write: bool = True) -> FitResult:
    """The result; ``model.pt`` stays as it is where an earlier call wrote it."""
    model = copy.deepcopy(run.averaged).requires_grad_(False).eval()
    if run.best["model"] is not None:
        model.load_state_dict(run.best["model"])
    path = store.path
    if finished and store.folder is not None:
        path = store.folder / "model.pt"
        if write or not path.exists():
            save_weights(model, path, epoch=run.best["epoch"], config=store.identity)
    return FitResult(model, run.best["epoch"], run.shared_epochs, run.history, run.weights, run.state, finished, path)


def _bar(run: Run, progress: bool) -> tqdm:
    title = f"{run.config.method} {run.epoch + 1}/{run.config.epochs}"
    if run.history:
        for kind in ("clean", "robust"):
            known = [a for a in run.history[-1][f"validation_{kind}"] if a is not None]
            title += f", {kind} {100 * sum(known) / len(known):.1f} %" if known else ""
    size, steps = run.batches.batch_size, run.batches.steps
    quiet = None if progress else True  # None: silent where nobody looks at a terminal
    return tqdm(total=size * steps, initial=size * run.step, desc=title, unit=" images", disable=quiet)


@contextmanager
def _memory(config: TrainConfig) -> Iterator[None]:
    """Out of memory becomes an error with a way out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not no_memory(error):
            raise
        raise TrainingError(
            f"batch_size must fit into memory, got {config.batch_size}, which does not; "
            f"try batch_size={max(config.batch_size // 2, 1)}, with lr scaled alike"
        ) from error


@contextmanager
def _fast_convolutions() -> Iterator[None]:
    """cuDNN times its algorithms once a shape; the setting is put back."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
