"""CFA (Wei et al., CVPR 2023, arXiv 2303.14460): every class is attacked as hard as it can bear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from linfair.train.methods.method import Method, float32, warmup_epochs
from linfair.train.methods.options import nonnegative, share
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.methods.trades import TRADES
from linfair.train.state import ClassState, ClassWeights


def kl_balance(scale: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Weights [C] of the cross-entropy and of the KL of TRADES, whose own factor beta stays, for
    ``(CE + beta_k KL) / (1 + beta_k)`` with ``beta_k = scale_k beta``, times ``1 + beta``: 1 and 1 at scale 1."""
    fit = (1.0 + beta) / (1.0 + scale * beta)
    return fit, fit * scale


@dataclass(frozen=True)
class _CFA(Method):
    """Margins ``base + t_y`` from the robust training accuracy t_y of the epoch before; the step keeps its length.

    Args:
        base: lambda_1 of the paper: the margin of a class without any robust accuracy.
        warmup: share of the epochs with neutral weights.
    """

    RELEASE: ClassVar[dict[str, Any]] = {"base": 0.5, "warmup": 10 / 200}
    base: float = nonnegative(0.5)
    warmup: float = share(0.05)

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        if epoch + 1 < warmup_epochs(self.warmup, epochs):
            return weights
        steered, seen = self.steered(state.robust_accuracy), state.robust_n > 0
        kept = {k: torch.where(seen, float32(v), getattr(weights, k)) for k, v in steered.items()}
        return replace(weights, **kept)

    def steered(self, accuracy: Tensor) -> dict[str, Tensor]:
        """Field of ClassWeights -> what it becomes [C] at these robust training accuracies [C]."""
        return {"margin": self.base + accuracy}


@dataclass(frozen=True)
class CFAPGD(_CFA, PGDAT):
    """PGD-AT within ``(base + t_y) eps``."""

    name: ClassVar[str] = "cfa_pgd"
    parent: ClassVar[str] = "pgd_at"


@dataclass(frozen=True)
class CFATRADES(_CFA, TRADES):
    """TRADES within ``(base + t_y) eps`` and with ``beta_y = (base_kl + t_y) beta``, each class's terms over
    ``1 + beta_y``.

    Args:
        base_kl: lambda_2 of the paper.
    """

    name: ClassVar[str] = "cfa_trades"
    parent: ClassVar[str] = "trades"
    RELEASE: ClassVar[dict[str, Any]] = TRADES.RELEASE | _CFA.RELEASE | {"base": 0.3, "base_kl": 0.5}
    base: float = nonnegative(0.3)
    base_kl: float = nonnegative(0.5)

    def steered(self, accuracy: Tensor) -> dict[str, Tensor]:
        loss, kl = kl_balance(self.base_kl + accuracy, self.beta)
        return super().steered(accuracy) | {"loss": loss, "kl": kl}
