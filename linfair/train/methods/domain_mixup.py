"""Domain Mixup (Zhong & Tandon 2024, arXiv 2411.14424): train on mixes of images of one class, the label being its own.

The paper's law of lambda for images is not known to us, so the laws are methods of their own. The theory column says
what to expect of each: a fixed lambda = 1/2 before a random one (random-lambda), more samples a mix fairer still with
enough data (m-way-limit), and mixing the easy classes only a cure (easy-class-equaliser).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from linfair._check import as_share
from linfair.train.context import Context
from linfair.train.methods.method import Method, float32, warmup_epochs
from linfair.train.methods.options import count, positive, share
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.methods.standard import Standard
from linfair.train.mixup import beta, mix_mean, mix_pairs
from linfair.train.state import ClassState, ClassWeights


@cache
def _there(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied once: a copy in every step would wait for it."""
    return torch.tensor(values, device=device)


@dataclass(frozen=True)
class _FixedLambda(Method):
    """Args: lam: of every class; lam_by_class: (lam_0, ..., lam_{C-1}) in its place, () for none."""

    lam: float = share(0.5)
    lam_by_class: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for lam in self.lam_by_class:
            as_share("lam_by_class", lam)

    def transform(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        lam: Tensor | float = self.lam
        if self.lam_by_class:
            if len(self.lam_by_class) != ctx.n_classes:
                raise ValueError(
                    f"lam_by_class must hold one number a class, {ctx.n_classes}, got {len(self.lam_by_class)}; "
                    "pass one each, or lam for all"
                )
            lam = _there(self.lam_by_class, x.device)[y]
        return mix_pairs(x, y, lam, classes=weights.mix, generator=ctx.generator)


@dataclass(frozen=True)
class _BetaLambda(Method):
    """Args: a: ``lam ~ Beta(a, a)``, drawn for every image."""

    a: float = positive(1.0)

    def transform(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        lam = beta(self.a, len(y), ctx.generator, x.device)
        return mix_pairs(x, y, lam, classes=weights.mix, generator=ctx.generator)


@dataclass(frozen=True)
class _UniformMix(Method):
    """Args: m: images in a mean with equal weights 1/m, as in the theory's m-way mix."""

    m: int = count(4)

    def transform(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        return mix_mean(x, y, self.m, classes=weights.mix, generator=ctx.generator)


@dataclass(frozen=True)
class DomainMixupNatural(_FixedLambda, Standard):
    """Standard training on ``x~ = lam x_i + (1 - lam) x_j``, y_i = y_j."""

    name: ClassVar[str] = "domain_mixup_natural"
    parent: ClassVar[str] = "standard"


@dataclass(frozen=True)
class DomainMixupNaturalBeta(_BetaLambda, Standard):
    """Standard training on two-way mixes with ``lam ~ Beta(a, a)``."""

    name: ClassVar[str] = "domain_mixup_natural_beta"
    parent: ClassVar[str] = "standard"


@dataclass(frozen=True)
class DomainMixupNaturalMWay(_UniformMix, Standard):
    """Standard training on means of m images of one class."""

    name: ClassVar[str] = "domain_mixup_natural_mway"
    parent: ClassVar[str] = "standard"


@dataclass(frozen=True)
class DomainMixupRobust(_FixedLambda, PGDAT):
    """PGD-AT around ``x~ = lam x_i + (1 - lam) x_j``, y_i = y_j."""

    name: ClassVar[str] = "domain_mixup_robust"
    parent: ClassVar[str] = "pgd_at"


@dataclass(frozen=True)
class DomainMixupBeta(_BetaLambda, PGDAT):
    """PGD-AT around two-way mixes with ``lam ~ Beta(a, a)``."""

    name: ClassVar[str] = "domain_mixup_beta"
    parent: ClassVar[str] = "pgd_at"


@dataclass(frozen=True)
class DomainMixupMWay(_UniformMix, PGDAT):
    """PGD-AT around means of m images of one class."""

    name: ClassVar[str] = "domain_mixup_mway"
    parent: ClassVar[str] = "pgd_at"


@dataclass(frozen=True)
class DomainMixupEasy(DomainMixupRobust):
    """Mixes every class in the warm-up, then the easy ones: robust training accuracy above the median of the classes.

    Chosen once, while every class is still mixed alike: mixing raises the accuracy on the mixes themselves, and a later
    choice would mostly see its own trace.

    Args:
        warmup: share of the epochs before the choice; 1 never chooses.
    """

    name: ClassVar[str] = "domain_mixup_easy"
    parent: ClassVar[str] = "domain_mixup_robust"
    warmup: float = share(0.25)

    def shared_epochs(self, epochs: int) -> int:
        return warmup_epochs(self.warmup, epochs)

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        if epoch + 1 != self.shared_epochs(epochs):
            return weights
        return replace(weights, mix=float32(self.chosen(state.robust_accuracy)))

    @staticmethod
    def chosen(accuracy: Tensor) -> Tensor:
        """Which classes to mix, [C], from their accuracies [C]; one at the median itself is neither easy nor hard."""
        return accuracy > torch.nanquantile(accuracy, 0.5)


@dataclass(frozen=True)
class DomainMixupHard(DomainMixupEasy):
    """The opposite of :class:`DomainMixupEasy`: after the warm-up it mixes the classes below the median."""

    name: ClassVar[str] = "domain_mixup_hard"

    @staticmethod
    def chosen(accuracy: Tensor) -> Tensor:
        return accuracy < torch.nanquantile(accuracy, 0.5)
