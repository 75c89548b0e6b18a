"""TRADES (Zhang et al. 2019): natural cross-entropy and the divergence between natural and attacked predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.attacks import lent
from linfair.train.context import Context, Losses
from linfair.train.methods.method import Method, cross_entropy, given, kl
from linfair.train.methods.options import nonnegative
from linfair.train.state import ClassWeights


@dataclass(frozen=True)
class TRADES(Method):
    """``(1/N) sum_i w_{y_i} CE(f(x_i), y_i) + beta v_{y_i} KL(p(x_i) || p(x'_i))``, w, v = weights.loss, weights.kl.

    x' maximises the KL of the attacked network from ``x + 0.001 N(0, 1)``, where the KL has a gradient. Both arguments
    of the KL in the loss are predictions in training mode, and the gradient flows through both.
    """

    name: ClassVar[str] = "trades"
    parent: ClassVar[str] = "pgd_at"
    RELEASE: ClassVar[dict[str, Any]] = {"beta": 6.0}
    beta: float = nonnegative(6.0)

    def attack(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        with torch.no_grad(), lent(ctx.attack_model, ctx.attack_bn):
            natural = ctx.attack_model(x).float().softmax(1)
        return ctx.pgd(x, y, weights, loss="kl", reference=natural, start="gaussian")

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        natural, attacked = ctx.model(x), ctx.model(given(x_adv))
        fit = weights.loss[y] * cross_entropy(natural, y)
        stable = weights.kl[y] * kl(natural, attacked)
        return Losses(fit.mean() + self.beta * stable.mean(), attacked, natural)
