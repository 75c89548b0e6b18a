"""WAT (Li & Liu, AAAI 2023, arXiv 2302.04025): Hedge over the classes and their average, by validation costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.train.methods.method import float32
from linfair.train.methods.options import nonnegative
from linfair.train.methods.trades import TRADES
from linfair.train.state import ClassState, ClassWeights

RELEASE_EPOCHS = 100


def hedge(cost: Tensor, rate: float) -> Tensor:
    """Weights ``C softmax(rate (c_1, ..., c_C, mean c))`` [C + 1], with sum C, of the classes and of their average.

    Args:
        cost: c [C], added up over the epochs. What is the same for all classes does not count.
    """
    return len(cost) * (rate * torch.cat([cost, cost.mean()[None]])).softmax(0)


@dataclass(frozen=True)
class WAT(TRADES):
    """TRADES with ``w_k = v_k`` proportional to ``h_k + h_{C+1}``, of mean 1, where h are the weights of Hedge.

    The cost of a class adds up ``CE + beta KL``, its means over the validation images of all epochs so far.

    Args:
        rate: eta of the release, of a run of 100 epochs; it is ``sqrt(100 / T)`` times that in one of T, since Hedge
            regrets least over T rounds with a rate proportional to ``1 / sqrt(T)``.
    """

    name: ClassVar[str] = "wat"
    parent: ClassVar[str] = "trades"
    on_validation: ClassVar[bool] = True
    RELEASE: ClassVar[dict[str, Any]] = TRADES.RELEASE | {"rate": 0.1}
    rate: float = nonnegative(0.1)

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        attacked = torch.where(state.robust_n > 0, state.mean_kl, 0.0)  # at radius 0 nothing is
        cost = weights.cost + state.mean_clean_loss + self.beta * attacked
        h = hedge(cost, self.rate * math.sqrt(RELEASE_EPOCHS / epochs))
        each = h[:-1] + h[-1]  # the loss of the average is that of every sample
        moved = float32(each / each.mean())
        return replace(weights, loss=moved, kl=moved.clone(), cost=float32(cost))
