"""The held-out part of the training images: class accuracies on it choose the checkpoint, never the test part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from linfair.attacks import pgd
from linfair.train.batches import Images
from linfair.train.context import Network, Threat
from linfair.train.state import ClassState

BATCH = 500
"""Images at a time, or as many as are trained on: where those fit, so do these."""
Accuracies = list[float | None]
"""One a class; None for a class nobody measured, as JSON has it."""


def class_sums(
    model: nn.Module,
    attacked: Network,
    images: Images,
    n_classes: int,
    threat: Threat,
    steps: int,
    seed: int,
    *,
    batch_size: int = BATCH,
) -> ClassState:
    """What every class comes to, clean and under PGD. ``model``, left in evaluation mode, judges in float32.

    Args:
        attacked: the network the attack runs on: the model or its copy.
        threat: its radius and norm; the step is eps / 4, the start uniform.
        steps: of the attack; 0 for none.
    """
    device = images.images.device
    state = ClassState(n_classes, device)
    generator = torch.Generator(device)
    generator.manual_seed(seed)
    model.eval()
    for start in range(0, len(images), batch_size):
        x, y = images.batch(start, start + batch_size)
        worst = None
        if steps and threat.eps:
            budget = {"eps": threat.eps, "step": threat.eps / 4.0, "norm": threat.norm}
            worst = pgd(attacked, x, y, steps=steps, generator=generator, **budget)
        with torch.no_grad():
            state.update(y, None if worst is None else model(worst), model(x))
    return state


def plain(values: Tensor) -> Accuracies:
    """Accuracies as JSON has them: None for NaN."""
    return [None if math.isnan(v) else v for v in values.tolist()]


def selection_score(select: str, accuracy: Sequence[float | None]) -> float | None:
    """What a checkpoint is chosen by: the "average" of the classes, or "average+worst"; None takes the last."""
    known = [a for a in accuracy if a is not None]
    if select == "last" or not known:
        return None
    average = sum(known) / len(known)
    return average if select == "average" else average + min(known)
