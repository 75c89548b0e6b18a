"""AutoAttack (Croce & Hein 2020) by the maintained package `pyautoattack`, or by `autoattack` where only that is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from linfair.runs import version

COMPONENTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The standard version, in its order."""
MIN_CLASSES = 4
"""The targeted loss takes the four largest logits."""
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def run_component(
    component: str, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, *, eps: float, norm: str, seed: int
) -> Tensor:
    """What one attack of the standard version makes of x: an adversarial image where it finds one, else x itself.

    The budgets are those of the standard version: 100 iterations and one run for APGD-CE, 9 target classes (C - 1 where
    there are fewer) for APGD-T and FAB-T, 5,000 queries for Square. In l1, those of the package.

    Args:
        component: one of COMPONENTS.
        model: images -> logits, in evaluation mode.
        x: [N, channels, height, width], float32, in [0, 1].
        y: [N], true classes. What the model gets wrong anyway is not attacked.
        seed: for the package's draws; torch's global generators are afterwards what they were.

    Raises:
        ImportError: neither package is installed.
        ValueError: fewer than 4 classes, for which the targeted loss is not defined.
    """
    if not len(x):
        return x
    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    enough(classes)
    attack, options = _package(model, eps, NORMS[norm], seed, x.device)
    attack.attacks_to_run = [component]
    for part in (attack.apgd_targeted, attack.fab):
        part.n_target_classes = min(part.n_target_classes, classes - 1)
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(gpus):  # the package seeds them all
        made = attack.run_standard_evaluation(x, y, **{options: len(x)})
    return (made[0] if isinstance(made, tuple) else made).detach()


def installed() -> str | None:
    """The package that runs, with its version if it tells one; None without."""
    name = next((name for name in ("pyautoattack", "autoattack") if find_spec(name) is not None), None)
    return name and f"{name} {version(name) or ''}".strip()


def require(n_classes: int) -> None:
    """Raises ImportError without a package that runs AutoAttack, ValueError for fewer classes than it can attack."""
    if installed() is None:
        raise ImportError("AutoAttack needs the package pyautoattack, got none installed; pip install linfair[eval]")
    enough(n_classes)


def enough(n_classes: int) -> None:
    """Raises ValueError for fewer classes than AutoAttack can attack."""
    if n_classes < MIN_CLASSES:
        raise ValueError(
            f"AutoAttack needs at least {MIN_CLASSES} classes, got {n_classes}; evaluate with pgd20 and cw20 instead"
        )


def _package(model: Any, eps: float, norm: str, seed: int, device: torch.device) -> tuple[Any, str]:
    """(the package's object, its name for the batch size)."""
    settings = {"norm": norm, "eps": eps, "seed": seed, "version": "standard", "device": str(device)}
    try:
        return import_module("pyautoattack").AutoAttack(model, **settings), "batch_size"
    except ImportError:
        pass
    try:
        return import_module("autoattack").AutoAttack(model, verbose=False, **settings), "bs"
    except ImportError:
        raise ImportError(
            "AutoAttack needs the package pyautoattack, got none installed; pip install linfair[eval]"
        ) from None
