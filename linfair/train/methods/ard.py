"""ARD, adversarially robust distillation (Goldblum et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.train.context import Context, Losses
from linfair.train.methods.method import Method, cross_entropy, given, kl
from linfair.train.methods.options import positive, share
from linfair.train.state import ClassWeights


def teacher_logits(x: Tensor, ctx: Context) -> Tensor:
    """What the teacher says about clean images [N, C]; a constant."""
    if ctx.teacher is None:
        raise ValueError("teacher must be a network, got None; pass fit(..., teacher=...) to a distillation")
    if ctx.taught is None or ctx.taught[0] is not x:  # the attack and the loss of a step ask the same
        with torch.no_grad():
            logits = ctx.teacher(x)
        if logits.shape != (len(x), ctx.n_classes):
            want, got = (len(x), ctx.n_classes), tuple(logits.shape)
            raise ValueError(f"teacher must return logits {want}, got {got}; train it on these classes")
        ctx.taught = x, logits
    return ctx.taught[1]


@dataclass(frozen=True)
class ARD(Method):
    """``(1/N) sum_i alpha t^2 v KL(teacher(x_i) / t || f(x'_i) / t) + (1 - alpha) w CE(f(x_i), y_i)``.

    x' by PGD on the cross-entropy; v, w = weights.kl, weights.loss of y_i. A term of weight 0 is not computed.
    """

    name: ClassVar[str] = "ard"
    parent: ClassVar[str] = "pgd_at"
    needs_teacher: ClassVar[bool] = True
    RELEASE: ClassVar[dict[str, Any]] = {"alpha": 1.0, "temperature": 30.0}
    alpha: float = share(1.0)
    temperature: float = positive(30.0)

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        total, attacked, natural = x.new_zeros(()), None, None
        if self.alpha > 0:
            attacked = ctx.model(given(x_adv))
            t = self.temperature
            distance = kl(teacher_logits(x, ctx) / t, attacked / t)
            total = self.alpha * t**2 * (weights.kl[y] * distance).mean()
        if self.alpha < 1:
            natural = ctx.model(x)
            total = total + (1 - self.alpha) * (weights.loss[y] * cross_entropy(natural, y)).mean()
        return Losses(total, attacked, natural)
