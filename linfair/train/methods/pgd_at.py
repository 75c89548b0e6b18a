"""PGD adversarial training (Madry et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from linfair.train.context import Context, Losses
from linfair.train.methods.method import Method, cross_entropy, given
from linfair.train.state import ClassWeights


@dataclass(frozen=True)
class PGDAT(Method):
    """``(1/N) sum_i w_{y_i} CE(f(x'_i), y_i)``, x'_i by PGD on the cross-entropy within ``margin_{y_i} eps``."""

    name: ClassVar[str] = "pgd_at"

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        logits = ctx.model(given(x_adv))
        return Losses((weights.loss[y] * cross_entropy(logits, y)).mean(), logits_adv=logits)
