"""What the loop hands to a method with every batch, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from linfair.train.state import ClassWeights

Network = Callable[[Tensor], Tensor]
"""Images [N, c, h, w] in [0, 1] to float32 logits [N, C]."""


class Threat(NamedTuple):
    """The attack trained against; eps and step in pixel units, before the per-class scales of ClassWeights."""

    eps: float
    step: float
    steps: int
    norm: str = "linf"
    start: str = "uniform"


class Losses(NamedTuple):
    """The scalar to minimise and the logits it used, for the class statistics; None where it used none."""

    loss: Tensor
    logits_adv: Tensor | None = None
    logits_nat: Tensor | None = None


@dataclass
class Context:
    """The networks and constants a method works with.

    Args:
        model: the network in training mode; precision is its own affair. Used for the loss.
        attack_model: the network to attack: frozen copy in eval mode with batch norm folded, or the model itself.
        teacher: frozen, in eval mode; None where there is none.
        threat: the budget.
        generator: on the device of the batch, seeded for this very step. All randomness of a method comes from it.
        epoch, epochs: 0-based epoch in progress and their number.
        attack_bn: "eval" or "train": what batch norm does in the attack, ``mode`` of :func:`linfair.attacks.pgd`.
        survived: a method may leave here, [N], how many iterates of its attack were still classified correctly.
        taught: a batch and what the teacher said about it, kept while the step lasts.
    """

    model: Network
    attack_model: Any
    teacher: Network | None
    threat: Threat
    generator: torch.Generator
    epoch: int
    epochs: int
    n_classes: int
    attack_bn: str = "eval"
    survived: Tensor | None = None
    taught: tuple[Tensor, Tensor] | None = None

    def pgd(self, x: Tensor, y: Tensor, weights: ClassWeights, **options: Any) -> Tensor:
        """The attack of the run on this batch: radius ``eps margin[y]``, step ``step step[y]``; options override."""
        from linfair.attacks import pgd

        threat = self.threat
        settings: dict[str, Any] = {
            "eps": threat.eps * weights.margin[y],
            "step": threat.step * weights.step[y],
            "steps": threat.steps,
            "norm": threat.norm,
            "start": threat.start,
            "generator": self.generator,
            "mode": self.attack_bn,
        }
        return pgd(self.attack_model, x, y, **(settings | options))
