"""ABSLD (Zhao et al., NeurIPS 2024, arXiv 2312.05508): sharper soft labels for hard classes, smoother for easy ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from linfair.train.methods.method import float32
from linfair.train.methods.options import nonnegative, positive
from linfair.train.methods.rslad import RSLAD
from linfair.train.state import ClassState, ClassWeights

EPOCHS = 215  # of the release before its first decay of the rate
ROUNDING = 1e-12  # relative differences that sums of equal losses have


def temperatures(tau: Tensor, losses: Tensor, rate: float, low: float, high: float) -> Tensor:
    """``tau_k <- clip(tau_k - rate g_k / max_j |g_j|, low, high)`` with ``g_k = L_k - mean_j L_j``, all [C].

    The class farthest from the mean moves by exactly `rate` until it meets a bound. Equal losses move nothing, and
    neither does a class without samples, whose loss is NaN.
    """
    gap = (losses - losses.nanmean()).nan_to_num()
    largest = gap.abs().max()
    share = gap / largest if largest > ROUNDING * losses.nan_to_num().abs().max() else gap * 0.0
    return (tau - rate * share).clamp(low, high)


@dataclass(frozen=True)
class ABSLD(RSLAD):
    """RSLAD with one temperature a class for each term, from the class means of the hard-label cross-entropy.

    Args:
        rate: of the release, whose 215 epochs at this rate let a temperature travel 21.5; a run of T epochs moves by
            ``rate 215 / T`` an epoch, the same way in all.
        low, high: bounds of the temperatures.
    """

    name: ClassVar[str] = "absld"
    parent: ClassVar[str] = "rslad"
    RELEASE: ClassVar[dict[str, Any]] = RSLAD.RELEASE | {"rate": 0.1, "low": 0.5, "high": 5.0}
    rate: float = nonnegative(0.1)
    low: float = positive(0.5)
    high: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= 1.0 <= self.high:
            raise ValueError(f"low and high must enclose 1, got {self.low} and {self.high}; temperatures start at 1")

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        rate = self.rate * EPOCHS / epochs
        adv = temperatures(weights.temperature_adv.double(), state.mean_robust_loss, rate, self.low, self.high)
        nat = temperatures(weights.temperature_nat.double(), state.mean_clean_loss, rate, self.low, self.high)
        return replace(weights, temperature_adv=float32(adv), temperature_nat=float32(nat))
