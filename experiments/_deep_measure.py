"""Measuring one trained network on the test images: class counts and flags of an attack, or the matrices."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from _deep_bench import Bench, OutOfTime
from _deep_runs import Measure, Run, restrict, stratified
from linfair import runs
from linfair.attacks import ATTACKS, exact_float32, parse_budget, pgd, robust_flags
from linfair.data import Dataset
from linfair.models import attack_copy
from linfair.train.config import PRECISIONS

PGD20 = ATTACKS["pgd20"].options
SLOW = {"autoattack": 120.0}
"""Seconds that a batch may take before any has been timed."""


def measured(
    bench: Bench, run: Run, model: nn.Module, measure: Measure, weights: dict[str, list[float]]
) -> dict[str, Any]:
    """One measurement: class counts and flags, or the matrices. Raises OutOfTime; finished batches of attacks are kept.

    Its seconds are those of all batches, whenever they were made.
    """
    test, spent = bench.recipe.test, 0.0
    model = model.to(bench.options.device).eval()
    precision = measure.search or test.search
    search = None if precision == "float32" else attack_copy(model, dtype=PRECISIONS[precision])
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
        found, start = [], time.perf_counter()
        with exact_float32():
            for part in (slice(k, k + size) for k in range(0, len(labels), size)):
                clock()
                x = torch.from_numpy(images[part] / np.float32(data.levels)).to(bench.options.device)
                y = torch.from_numpy(labels[part]).to(bench.options.device)
                found.append(predictions(model, search or model, x, y, eps))
        about |= matrices(np.concatenate(found), labels, len(names))
        spent = time.perf_counter() - start
    else:
        correct = np.zeros(len(labels), bool)
        for k, value in enumerate(dict.fromkeys(radius)):
            own, state = radius[labels] == value, bench.folder(run) / f"{measure.key}-{k}.jsonl"
            correct[own] = robust_flags(
                model, images[own], labels[own], measure.attack, eps=float(value), batch_size=size,
                device=bench.options.device, levels=data.levels, search_model=search, before_batch=clock,
                state=state, progress=False,
            )  # fmt: skip
            spent += sum(json.loads(line)["seconds"] for line in state.read_text().splitlines())
        about |= {
            "correct": np.bincount(labels[correct], minlength=len(names)).tolist(),
            "flags": base64.b64encode(np.packbits(correct).tobytes()).decode(),
        }
    if measure.data == "exact":
        about["fingerprint"] = data.fingerprint
    return about | {"search": precision, "seconds": round(spent, 1), "device": device_name(bench.options.device)}


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
    attacked = pgd(search, x, y, eps=eps, step=PGD20["step"] * eps, steps=PGD20["steps"], generator=generator)
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
        "clean_softmax": rounded(means[:, :n_classes].tolist(), 6),
        "attacked_softmax": rounded(means[:, n_classes:].tolist(), 6),
        "confusion": confusion.astype(int).tolist(),
    }


def rounded(value: Any, digits: int = 5) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v, digits) for v in value]
    return round(value, digits) if isinstance(value, float) else value


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else runs.cpu()
