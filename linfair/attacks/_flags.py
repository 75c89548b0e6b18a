"""One flag an image: does the model still classify it correctly under an attack."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from linfair._check import as_count
from linfair.attacks._budgets import parse_budget
from linfair.attacks._device import no_memory
from linfair.attacks._exact import exact_float32
from linfair.attacks._memory import Images, Memory
from linfair.attacks._modes import lent
from linfair.attacks._pgd import Model, pgd
from linfair.attacks.autoattack import run_component
from linfair.attacks.corruptions import corrupt
from linfair.attacks.suite import Attack, get_attack
from linfair.norms import get_norm

SLOW_BATCH = 100
"""AutoAttack on a CPU takes at most so many images at a time: what a kill may lose is then minutes."""
MASKED = 0.002
"""Share of the images that Square alone may break before a warning, as in AutoAttack."""


def robust_flags(
    model: Model,
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    attack: str | Attack,
    *,
    eps: float | str = "8/255",
    norm: str = "linf",
    batch_size: int = 500,
    device: str | torch.device | None = None,
    seed: int = 0,
    levels: int = 255,
    search_model: Model | None = None,
    state: str | Path | None = None,
    before_batch: Callable[[], None] | None = None,
    progress: bool = True,
) -> np.ndarray:
    """One flag an image, [N] bool: True where the model still classifies it correctly.

    Under "clean" and the corruptions, that is the prediction on the (corrupted) image. Every other attack looks only at
    images that are classified correctly without it; the others are False. An image is broken once one iterate of PGD,
    or the result of one component of AutoAttack, is misclassified. float32 is float32: :func:`exact_float32` holds.

    Args:
        model: images [n, ...] in [0, 1] -> logits [n, C]; a module is evaluated in eval mode and left as it was.
        images: [N, ...], uint8 ``0..levels`` or floats in [0, 1], on any device: batches are moved.
        labels: [N], true classes, 0..C-1.
        attack: a name of ATTACKS, or an :class:`Attack`.
        eps, norm: the threat of attacks that have none of their own; eps in pixel units or text as "8/255".
        batch_size: images at a time.
        device: where the model is; None asks its parameters.
        seed: for random starts, AutoAttack and corruptions. The flags depend on it and on ``batch_size``.
        levels: what uint8 images are divided by.
        search_model: a cheaper copy of the model to search with. Only ``model`` decides what is broken; what the copy
            alone holds broken is searched again: each iterate of PGD, and AutoAttack with ``model`` itself.
        state: a file for finished batches: a run that was killed resumes from it, one that had finished returns at
            once. It serves all attacks on one model and data, and forgets what belongs to other weights, other images,
            or a model that answers the first images differently.
        before_batch: called before a batch, or a component of AutoAttack on one, is begun. What it raises ends the
            evaluation; finished batches are in ``state``.
        progress: a progress bar on a terminal.

    Raises:
        TypeError, ValueError: images or labels that do not fit each other or the logits, an unknown attack, NaN logits
            (in weights that have diverged) or a NaN gradient, which would be neither robust nor broken.
        ImportError: AutoAttack without its package.
        MemoryError: a batch that does not fit the device, with the size to try.
    """
    spec = get_attack(attack)
    threat = spec.threat(get_norm(norm).name, parse_budget(eps))
    data = Images(images, labels, device if device is not None else _home(model), levels)
    size = as_count("batch_size", batch_size)
    if spec.kind == "autoattack" and data.device.type == "cpu":
        size = min(size, SLOW_BATCH)
    asked = {"threat": threat, "seed": seed, "batch": size, "search": _kind(search_model)}
    with exact_float32(), lent(model), lent(search_model):
        memory = None if state is None else Memory(Path(state), model, data)
        run = _Run(model, search_model or model, data, seed, memory, before_batch)
        places = np.arange(len(data))
        if spec.kind not in ("clean", "corruption"):
            places = np.concatenate([kept for _, kept in run.batches(get_attack("clean"), places, {"batch": size})])
        flags = np.zeros(len(data), bool)
        with tqdm(total=len(places), desc=spec.title, unit="image", disable=None if progress else True) as bar:
            for seen, kept in run.batches(spec, places, asked):
                flags[kept] = True
                bar.update(seen)
                bar.set_postfix(correct=f"{flags.sum()}/{bar.n}", refresh=False)
        if run.broken["square"] > MASKED * len(data):
            warnings.warn(
                f"Square, which sees no gradients, broke {run.broken['square']} of {len(data)} images that the attacks "
                "by gradients had left: gradients may be masked, and the accuracy too high; see docs/evaluate.md",
                stacklevel=2,
            )
    return flags


@dataclass(frozen=True)
class _Run:
    model: Model
    search: Model
    data: Images
    seed: int
    memory: Memory | None
    before_batch: Callable[[], None] | None
    broken: Counter[str] = field(default_factory=Counter)
    """Part of an attack -> how many images it broke that were left to it."""

    def batches(self, spec: Attack, places: np.ndarray, asked: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
        """(images seen, places still correct) for each batch of ``places``, part after part of the attack."""
        threat, size = asked.get("threat"), asked["batch"]
        for first in range(0, len(places), size):
            batch = kept = places[first : first + size]
            for part in spec.options.get("components", (spec.kind,)):
                cell = {"attack": spec.name, "options": spec.options, **asked, "part": part, "first": first}
                known = None if self.memory is None else self.memory.get(cell, len(kept))
                if known is None:
                    if self.before_batch is not None:
                        self.before_batch()
                    began = time.perf_counter()
                    known = self._correct(spec, part, threat, kept, first)
                    if self.memory is not None:
                        self.memory.add(cell, known, time.perf_counter() - began)
                self.broken[part] += len(kept) - int(known.sum())
                kept = kept[known]
            yield len(batch), kept

    def _correct(
        self, spec: Attack, part: str, threat: tuple[str, float] | None, places: np.ndarray, first: int
    ) -> np.ndarray:
        """Which of the images at ``places`` are classified correctly under one part of the attack."""
        if not len(places):
            return np.zeros(0, bool)
        x, y = self.data.batch(places)
        seed = _seed(self.seed, spec.name, part, first)
        try:
            if threat is None:
                if spec.kind == "corruption":
                    made = corrupt(x.cpu().numpy(), **spec.options, seed=self.seed, places=places.tolist())
                    x = torch.from_numpy(made).to(x.device)
                right = predicts(self.model, x, y)
            elif spec.kind == "pgd":
                right = self._pgd(spec.options, x, y, *threat, seed)
            else:
                right = self._autoattack(part, x, y, *threat, seed)
        except (RuntimeError, MemoryError) as error:
            if not no_memory(error):
                raise
            raise MemoryError(
                f"batch_size must fit the memory of {x.device}, got {len(x)} images; pass {max(len(x) // 2, 1)}"
            ) from None
        return right.cpu().numpy()

    def _pgd(self, options: Mapping[str, Any], x: Tensor, y: Tensor, norm: str, eps: float, seed: int) -> Tensor:
        sparse = ceil(x[0].numel() / 100) if norm == "l1" else None
        attacked = pgd(
            self.search,
            x,
            y,
            eps=eps,
            step=eps * options["step"],
            steps=options["steps"],
            loss=options["loss"],
            restarts=options.get("restarts", 1),
            norm=norm,
            exact=True,
            top_q=sparse,
            active_set=True,
            confirm=None if self.search is self.model else self.model,
            generator=torch.Generator(x.device).manual_seed(seed),
        )
        if attacked.isnan().any():
            raise ValueError("the gradient must be a number, got NaN; find what in the model has no derivative")
        return predicts(self.model, attacked, y)

    def _autoattack(self, part: str, x: Tensor, y: Tensor, norm: str, eps: float, seed: int) -> Tensor:
        settings = {"eps": eps, "norm": norm, "seed": seed}
        made = run_component(part, self.search, x, y, **settings)
        right = predicts(self.model, made, y)
        if self.search is not self.model:  # where the copy alone was misled, the model itself is attacked
            doubtful = right & ~predicts(self.search, made, y)
            if doubtful.any():
                again = run_component(part, self.model, x[doubtful], y[doubtful], **settings)
                right[doubtful] = predicts(self.model, again, y[doubtful])
        return right


def predicts(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """argmax_j f_j(x) = y, [N] bool. Raises ValueError for NaN logits and for labels that no logit belongs to."""
    with torch.no_grad():
        logits = model(x)
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{logits.shape[1] - 1}, one for each logit, got {int(y.max())}; do they begin at 1?"
        )
    if logits.isnan().any():
        count = int(logits.isnan().any(1).sum())
        raise ValueError(f"logits must be numbers, got NaN for {count} of {len(x)} images; have the weights diverged?")
    return logits.argmax(1) == y


def _seed(*parts: object) -> int:
    """A seed of its own for every batch and part."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _kind(search_model: Any) -> str | None:
    """What a search went with: type and dtype of the copy."""
    if search_model is None:
        return None
    name = getattr(search_model, "__qualname__", type(search_model).__qualname__)
    return f"{name} {getattr(search_model, 'dtype', '')}".strip()


def _home(model: Any) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
