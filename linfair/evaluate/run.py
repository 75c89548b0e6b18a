"""The evaluation itself: every attack on every image, one flag each."""

from __future__ import annotations

import difflib
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linfair import runs
from linfair._check import as_count
from linfair.attacks import ATTACKS, exact_float32, parse_budget, parse_radius, robust_flags
from linfair.attacks.autoattack import MIN_CLASSES, installed, require
from linfair.data import Dataset
from linfair.evaluate.answers import clean_flags, explained, on_device
from linfair.evaluate.images import Images, select
from linfair.evaluate.plugged import EvaluationError, Plugged
from linfair.evaluate.record import Evaluation
from linfair.norms import get_norm

DEFAULT_ATTACKS = ("clean", "pgd20")


def evaluate(
    model: Callable[[Tensor], Tensor] | Plugged,
    data: Dataset | tuple[Any, Any] | Images,
    *,
    attacks: Sequence[str] = DEFAULT_ATTACKS,
    norm: str = "linf",
    eps: float | str = "8/255",
    n: int | None = None,
    seed: int = 0,
    batch_size: int = 500,
    device: str | torch.device | None = None,
    search_model: Any = None,
    state: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """Class-wise accuracy of a classifier under attacks, one flag an image and attack.

    Args:
        model: images [n, c, h, w], float32 in [0, 1] -> logits [n, C]. A module is run in evaluation mode; its mode and
            device are afterwards what they were.
        data: a data set (its test part), ``(images, labels)``, or what :func:`linfair.evaluate.select` chose of one.
        attacks: names of :data:`linfair.attacks.ATTACKS`.
        norm, eps: the threat of the attacks that have none of their own.
        n: as many images of a data set or of arrays, the same number of every class; None for all.
        seed: of the choice of images and of the attacks.
        batch_size: images at a time.
        device: where to run; None: where the parameters of the model are, the CPU for what is no module.
        search_model: a cheaper model that attacks search with; `model` confirms every break.
        state: a file for finished batches, from which the same evaluation of a module goes on after a kill.
        progress: a bar on standard error.

    Raises:
        EvaluationError: a model that fails on these images, logits of another shape, NaN logits, probabilities where
            an attack needs logits, no memory left.
        DataError, ValueError: data, attacks, norm or eps that cannot be used.
    """
    plugged = model if isinstance(model, Plugged) else Plugged(model, _name(model))
    if isinstance(data, Images) and n is not None:
        raise ValueError(f"n must be None for images that were selected, got {n}; pass it to select")
    batch_size, seed = as_count("batch_size", batch_size), as_count("seed", seed, least=0)
    images = data if isinstance(data, Images) else select(data, n=n, seed=seed)
    check_attacks(attacks, images.n_classes)
    net, norm, radius = plugged.model, get_norm(norm).name, parse_radius(eps, norm)
    flags: dict[str, np.ndarray] = {}
    about: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "state": state, "progress": progress}
    with exact_float32(), on_device(net, device) as place, explained(batch_size):
        options |= {"eps": eps, "norm": norm, "device": place, "search_model": search_model}
        began = time.perf_counter()
        clean, looks = clean_flags(net, images, batch_size, place, progress)  # checks the answers: it always runs
        if looks != "logits" and any(ATTACKS[name].kind in ("pgd", "autoattack") for name in attacks):
            if looks == "probabilities":
                raise EvaluationError(
                    "model must return logits, got probabilities (rows that sum to 1), whose gradients hide attacks; "
                    "leave out the softmax, or return the logarithm"
                )
            warnings.warn(
                "model must return logits, got numbers in [0, 1] only; if these are probabilities, their gradients "
                "hide attacks: leave out the sigmoid",
                stacklevel=2,
            )
        for name in attacks:
            right = clean if name == "clean" else robust_flags(net, images.pixels, images.labels, name, **options)
            flags[name] = right
            about[name] = entry(name, norm, eps) | {"seconds": round(time.perf_counter() - began, 2)}
            began = time.perf_counter()
        environment = runs.environment() | {"backend": runs.backend(place.type), "device": _device_name(place)}
    search = None if search_model is None else str(getattr(search_model, "dtype", "another model"))
    config = {"n": len(images.labels), "seed": seed, "batch_size": batch_size, "device": place.type, "search": search}
    threat = {"norm": norm, "eps": str(eps), "radius": radius}
    parts = (images.about, threat, about, config, images.labels, images.index, flags, environment)
    return Evaluation(plugged.about(), *parts)


def check_attacks(attacks: Sequence[str], n_classes: int = MIN_CLASSES) -> None:
    """Refuses, before any work, names of no attack and AutoAttack without its package or for too few classes."""
    if not attacks:
        raise ValueError("attacks must name at least one, got none; pass clean, say")
    if isinstance(attacks, str):
        raise ValueError(f"attacks must be a list of names, got '{attacks}'; pass ['{attacks}']")
    for unknown in [name for name in attacks if name not in ATTACKS]:
        near = difflib.get_close_matches(unknown.lower(), ATTACKS)
        remedy = f"did you mean {' or '.join(near)}?" if near else "linfair evaluate --list shows them all"
        raise ValueError(f"attacks must be names of ATTACKS, got '{unknown}'; {remedy}")
    if any(ATTACKS[name].kind == "autoattack" for name in attacks):
        require(n_classes)


def entry(name: str, norm: str, eps: float | str) -> dict[str, Any]:
    """What a record says of an attack: title, kind, note, options, and norm, eps, radius, None for what has none."""
    attack = ATTACKS[name]
    used, radius = attack.threat(norm, parse_budget(eps)) or (None, None)
    text = None if radius is None else _budget(radius) if attack.eps is not None else str(eps)
    about = {"title": attack.title, "kind": attack.kind, "note": attack.note, "options": runs.plain(attack.options)}
    if attack.kind == "autoattack":
        about["package"] = installed()
    return about | {"norm": used, "eps": text, "radius": radius}


def _budget(radius: float) -> str:
    """A radius as people write it: 12/255, 0.5."""
    levels = radius * 255
    return f"{round(levels)}/255" if radius < 0.25 and abs(levels - round(levels)) < 1e-9 else f"{radius:g}"


def _device_name(place: torch.device) -> str:
    return torch.cuda.get_device_name(place) if place.type == "cuda" else place.type


def _name(model: Any) -> str:
    return getattr(model, "__qualname__", None) or type(model).__qualname__
