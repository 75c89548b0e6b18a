"""DAFA (Lee et al., ICLR 2024, arXiv 2401.12532): weight moves from easy to hard between classes that look alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.train.methods.method import Method, float32, warmup_epochs
from linfair.train.methods.options import choice, nonnegative, share
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.methods.trades import TRADES
from linfair.train.state import ClassState, ClassWeights

FLOOR = 0.1
APPLY = {"both": ("loss", "margin", "step"), "weights": ("loss",), "margins": ("margin", "step")}


def dafa_weights(similarity: Tensor, strength: float) -> Tensor:
    """Class weights W [C] with sum C from the mean softmax S [C, C] (row: true class) of attacked training samples.

    For every pair with ``S_ii < S_jj`` class i, the harder one, gains ``strength S_ij S_jj`` and class j loses as much;
    an exact tie moves nothing. What remains above FLOOR is rescaled where a weight would fall below it, which keeps
    both the sum and the floor.
    """
    own = similarity.diagonal()
    gain = torch.where(own[:, None] < own, strength * similarity * own, 0.0)
    excess = (1.0 - FLOOR + gain.sum(1) - gain.sum(0)).clamp(min=0.0)
    return FLOOR + excess * ((1.0 - FLOOR) * len(own) / excess.sum())


@dataclass(frozen=True)
class _DAFA(Method):
    """The rule of both variants.

    Args:
        strength: lambda of the paper: 1 for CIFAR-10, 1.5 for CIFAR-100 and STL-10.
        warmup: share of the epochs with neutral weights; the last of them is measured, once.
        apply: "weights" steers the cross-entropy, "margins" eps and step of the attack, "both" all three.
    """

    RELEASE: ClassVar[dict[str, Any]] = {"strength": 1.0, "warmup": 70 / 110, "apply": "both"}
    strength: float = nonnegative(1.0)
    warmup: float = share(0.64)
    apply: str = choice("both", APPLY)

    def shared_epochs(self, epochs: int) -> int:
        return warmup_epochs(self.warmup, epochs)

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        if epoch + 1 != self.shared_epochs(epochs):
            return weights
        moved = float32(dafa_weights(state.mean_softmax, self.strength))
        return replace(weights, **{field: moved.clone() for field in APPLY[self.apply]})


@dataclass(frozen=True)
class DAFAPGD(_DAFA, PGDAT):
    """PGD-AT with W on the loss and on eps and step of its attack."""

    name: ClassVar[str] = "dafa_pgd"
    parent: ClassVar[str] = "pgd_at"


@dataclass(frozen=True)
class DAFATRADES(_DAFA, TRADES):
    """TRADES with W on the cross-entropy and on eps and step of its attack; the KL term keeps weight 1."""

    name: ClassVar[str] = "dafa_trades"
    parent: ClassVar[str] = "trades"
    RELEASE: ClassVar[dict[str, Any]] = _DAFA.RELEASE | TRADES.RELEASE
