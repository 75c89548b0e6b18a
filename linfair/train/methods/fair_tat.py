"""FAIR-TAT (Medi, Jung & Keuper, WACV 2025, arXiv 2410.23142): attacks target the classes that errors fall into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.train.context import Context
from linfair.train.methods.method import float32
from linfair.train.methods.options import choice, nonnegative
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.state import ClassState, ClassWeights

INNER = ("targeted", "untargeted")


def target_prior(confusion: Tensor, sharpness: float) -> Tensor:
    """Prior of the targets [C, C], row: true class, from counts [C, C] (row: true, column: predicted under attack).

    ``c_k`` is the share of errors that fell into class k, and row y is ``softmax(sharpness c)`` without class y.
    Without errors it is uniform.
    """
    falls = confusion.sum(0) - confusion.diagonal()
    prior = (sharpness * falls / falls.sum().clamp(min=1.0)).softmax(0)
    rows = prior.expand(len(prior), -1).clone().fill_diagonal_(0.0)
    return rows / rows.sum(1, keepdim=True)


@dataclass(frozen=True)
class FairTAT(PGDAT):
    """PGD-AT whose attack descends the cross-entropy of a target drawn from the prior.

    After every epoch: the prior of the targets from the errors, and margins ``base + t_y`` from the robust training
    accuracy t_y. The step keeps its length. Neutral weights are a targeted PGD-AT with uniform targets.

    Args:
        base: margin of a class without any robust accuracy.
        sharpness: of the prior; 0 for uniform targets.
        inner: "targeted", or "untargeted" for the margins alone: then neutral weights are PGD-AT.
    """

    name: ClassVar[str] = "fair_tat"
    parent: ClassVar[str] = "pgd_at"
    RELEASE: ClassVar[dict[str, Any]] = {"base": 0.5, "sharpness": 2.0, "inner": "targeted"}
    base: float = nonnegative(0.5)
    sharpness: float = nonnegative(2.0)
    inner: str = choice("targeted", INNER)

    def attack(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        if self.inner == "untargeted":
            return ctx.pgd(x, y, weights)
        return ctx.pgd(x, y, weights, target_prior=weights.target_prior)

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        margin = float32(self.base + state.robust_accuracy)
        return replace(
            weights,
            margin=torch.where(margin.isfinite(), margin, weights.margin),
            target_prior=float32(target_prior(state.confusion, self.sharpness)),
        )
