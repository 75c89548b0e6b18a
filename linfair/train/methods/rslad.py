"""RSLAD (Zi et al. 2021): distil the soft labels of a robust teacher on attacked and natural images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from linfair.train.context import Context, Losses
from linfair.train.methods.ard import teacher_logits
from linfair.train.methods.method import Method, given, kl
from linfair.train.methods.options import share
from linfair.train.state import ClassWeights


@dataclass(frozen=True)
class RSLAD(Method):
    """``(1/N) sum_i adversarial KL(q^adv_i || p(x'_i)) + (1 - adversarial) KL(q^nat_i || p(x_i))``, KL summed over k.

    ``q_i = softmax(teacher(x_i) / tau_{y_i})`` with one temperature a class for each of the two terms, 1 if neutral;
    x' maximises the first KL from ``x + 0.001 N(0, 1)``. Samples count with weights.kl.
    """

    name: ClassVar[str] = "rslad"
    parent: ClassVar[str] = "ard"
    needs_teacher: ClassVar[bool] = True
    RELEASE: ClassVar[dict[str, Any]] = {"adversarial": 5 / 6}
    adversarial: float = share(5 / 6)

    def attack(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        labels = (teacher_logits(x, ctx) / weights.temperature_adv[y, None]).softmax(1)
        return ctx.pgd(x, y, weights, loss="kl", reference=labels, start="gaussian")

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        teacher = teacher_logits(x, ctx)
        attacked, natural = ctx.model(given(x_adv)), ctx.model(x)
        robust = weights.kl[y] * kl(teacher / weights.temperature_adv[y, None], attacked)
        clean = weights.kl[y] * kl(teacher / weights.temperature_nat[y, None], natural)
        total = self.adversarial * robust.mean() + (1 - self.adversarial) * clean.mean()
        return Losses(total, attacked, natural)
