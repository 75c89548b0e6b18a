"""What a training method is: a batch transform, an inner attack, a loss, a rule from class statistics to weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from linfair.train.context import Context, Losses
from linfair.train.state import ClassState, ClassWeights


@dataclass(frozen=True)
class Method:
    """The base of all methods. Fields are hyper-parameters with our defaults; a method holds no state of its own.

    A default such as ``share(0.5)`` gives a field its range: :mod:`linfair.train.methods.options`.

    A subclass overrides what differs from its parent, and reads :class:`ClassWeights` wherever something may differ
    from class to class. So a method that only steers is its parent and a rule, and neutral weights give the parent.
    """

    name: ClassVar[str]
    parent: ClassVar[str] = ""
    """The method it was made from, "" for none."""
    needs_teacher: ClassVar[bool] = False
    on_validation: ClassVar[bool] = False
    """Whether its rule reads the sums of the validation images, under the attack there, not of the training images.

    These are not in a checkpoint, so such a method takes no epochs over from its parent.
    """
    RELEASE: ClassVar[Mapping[str, Any]] = {}
    """The values of the authors' release for the fields, where there is one."""

    def __post_init__(self) -> None:
        """Checks types and ranges of the fields."""
        for option in fields(self):
            value, kind = getattr(self, option.name), type(option.default)
            allowed = (int, float) if kind is float else kind
            if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(
                    f"{option.name} must be of type {kind.__name__}, got {value!r}; pass {option.default!r}"
                )
            option.metadata.get("check", lambda name, value: None)(option.name, value)

    def transform(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor:
        """The batch to train on, [N, ...] like x; labels stay."""
        return x

    def attack(self, x: Tensor, y: Tensor, weights: ClassWeights, ctx: Context) -> Tensor | None:
        """Adversarial images like x, or None for a method without. Here: PGD on the cross-entropy, budgets by class."""
        return ctx.pgd(x, y, weights)

    def loss(self, x: Tensor, x_adv: Tensor | None, y: Tensor, weights: ClassWeights, ctx: Context) -> Losses:
        """The scalar to minimise. Weights act on samples; the sum is divided by N, not by the sum of the weights."""
        raise NotImplementedError

    def shared_epochs(self, epochs: int) -> int:
        """How many of ``epochs`` epochs, at the start, are its parent's bit for bit and may be taken over. Here: 0."""
        return 0

    def rule(self, state: ClassState, weights: ClassWeights, epoch: int, epochs: int) -> ClassWeights:
        """The weights of the next epoch from what epoch `epoch` (0-based, just finished) measured. Here: unchanged."""
        return weights


def given(x_adv: Tensor | None) -> Tensor:
    """The adversarial images; an error where there are none."""
    if x_adv is None:
        raise ValueError("x_adv must be a tensor, got None; pass what attack() returned")
    return x_adv


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """``-log p_y`` of every sample [N] from logits [N, C]."""
    return F.cross_entropy(logits, y, reduction="none")


def kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """``KL(p || q) = sum_k p_k (log p_k - log q_k)`` of every sample [N]; gradients flow through both."""
    return F.kl_div(logits_q.log_softmax(1), logits_p.log_softmax(1), reduction="none", log_target=True).sum(1)


def warmup_epochs(share: float, epochs: int) -> int:
    """``round(share epochs)``, at least one: a rule needs an epoch to measure."""
    return max(round(share * epochs), 1)


def float32(value: Tensor) -> Tensor:
    """Statistics are float64, weights float32."""
    return value.to(torch.float32)
