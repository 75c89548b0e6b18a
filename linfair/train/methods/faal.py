"""FAAL (Zhang et al., CVPR 2024, arXiv 2402.17729): in every batch, the worst class weights within a KL ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from linfair.train.context import Context, Losses
from linfair.train.methods.method import cross_entropy, given
from linfair.train.methods.options import nonnegative, share
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.state import ClassWeights

HALVINGS = 50  # of log(mu - max a) in -40..40: to 1e-13


def worst_weights(score: Tensor, present: Tensor, radius: float) -> Tensor:
    """The p [C] that maximises ``sum_k p_k a_k`` on the simplex with ``KL(uniform || p) <= radius``.

    ``p_k`` is proportional to ``1 / (mu - a_k)``, where mu > max a is the root of
    ``mean_k log(mu - a_k) + log mean_k 1/(mu - a_k) = radius``. Nothing here waits for a GPU.

    Args:
        score: a [C]. present: [C] bool; the others get weight 0, and uniform means uniform over those present.
        radius: > 0.
    """
    a, count = score.double(), present.sum()
    gap = torch.where(present, torch.where(present, a, -torch.inf).amax() - a, 0.0)
    low, high = a.new_full((), -40.0), a.new_full((), 40.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        apart = gap + middle.exp()
        logs, inverse = (torch.where(present, v, 0.0).sum() / count for v in (apart.log(), 1.0 / apart))
        near = logs + inverse.log() < radius  # mu is too far: the weights are nearer to uniform than they may be
        low, high = torch.where(near, low, middle), torch.where(near, middle, high)
    weights = torch.where(present, 1.0 / (gap + high.exp()), 0.0)
    return weights / weights.sum()


@dataclass(frozen=True)
class FAAL(PGDAT):
    """``(C / N) sum_i p_{y_i} w_{y_i} CE(f(x'_i), y_i)`` with p the worst weights for the class means of
    ``max_{j != y} p_j(x') - p_y(x')`` in the batch, C the number of classes in it.

    The release fine-tunes a robust network for two epochs; here the end of every schedule, after a warm-up as PGD-AT.

    Args:
        radius: r of the KL ball; 0 is PGD-AT.
        warmup: share of the epochs of plain PGD-AT, the last epoch never being one; of 12 epochs FAAL has two.
        release: take the class sums in place of their means, as the release does: an absent class has 0, and so most
            of the weight where all others are classified well.
    """

    name: ClassVar[str] = "faal"
    parent: ClassVar[str] = "pgd_at"
    RELEASE: ClassVar[dict[str, Any]] = {"radius": 0.5, "release": True}
    radius: float = nonnegative(0.5)
    warmup: float = share(0.8)
    release: bool = False

    def shared_epochs(self, epochs: int) -> int:
        return epochs if self.radius == 0.0 else min(round(self.warmup * epochs), epochs - 1)

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        if ctx.epoch < self.shared_epochs(ctx.epochs):
            return super().loss(x, x_adv, y, weights, ctx)
        logits = ctx.model(given(x_adv))
        member = one_hot(y, ctx.n_classes).double()
        n, total = member.sum(0), shortfall(logits.detach(), y) @ member
        score, present = (total, n >= 0) if self.release else (total / n.clamp(min=1.0), n > 0)
        scale = (present.sum() * worst_weights(score, present, self.radius)).to(logits.dtype)
        return Losses((scale[y] * weights.loss[y] * cross_entropy(logits, y)).mean(), logits_adv=logits)


def shortfall(logits: Tensor, y: Tensor) -> Tensor:
    """``max_{j != y} p_j - p_y`` [N], float64, from logits [N, C]: above 0 where the class is missed."""
    p = logits.double().softmax(1)
    own = p.gather(1, y[:, None])
    return (p.scatter(1, y[:, None], -1.0).amax(1, keepdim=True) - own)[:, 0]
