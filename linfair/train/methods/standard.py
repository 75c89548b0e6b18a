"""Standard training: no attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from linfair.train.context import Context, Losses
from linfair.train.methods.method import Method, cross_entropy
from linfair.train.state import ClassWeights


@dataclass(frozen=True)
class Standard(Method):
    """``(1/N) sum_i w_{y_i} CE(f(x_i), y_i)``."""

    name: ClassVar[str] = "standard"

    def attack(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> None:
        return None

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        logits = ctx.model(x)
        return Losses((weights.loss[y] * cross_entropy(logits, y)).mean(), logits_nat=logits)
