"""The networks of a run: the one in training with its precision, and what attacks and distillation see of others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from linfair.models import AttackCopy, attack_copy, build
from linfair.train.config import PRECISIONS, TrainConfig


class Autocast(nn.Module):
    """Images [N, c, h, w] to float32 logits [N, C] of ``model``, computed under autocast unless dtype is float32."""

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(x).float()


def new_model(
    config: TrainConfig, n_classes: int, shape: tuple[int, int, int], moments: tuple[list[float], list[float]]
) -> nn.Module:
    """The network of a config with the initial weights of its seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU as well
        mean, std = moments
        return build(config.model, n_classes, shape, mean=mean, std=std, width=config.width)


class Target:
    """A model as the attack sees it: a folded copy that :meth:`refresh` brings up to date, or the network itself."""

    def __init__(self, model: nn.Module, config: TrainConfig, *, live: bool = False):
        dtype = PRECISIONS[config.precision]
        self._copy: AttackCopy | None = None
        if live or not config.fold:
            self.call: Any = Autocast(model, dtype)
        else:
            self._copy = attack_copy(model, dtype=dtype, channels_last=config.channels_last)
            self.call = self._copy
        if config.compile:
            self.call = compiled(self.call)

    def refresh(self) -> None:
        if self._copy is not None:
            self._copy.refresh()


def frozen_teacher(teacher: Any, config: TrainConfig, device: torch.device) -> Any:
    """A module as a frozen copy in evaluation mode, in the precision of the run; any other callable as it is."""
    if not isinstance(teacher, nn.Module):
        return teacher
    moved = copy.deepcopy(teacher).to(device)
    return attack_copy(moved, dtype=PRECISIONS[config.precision], channels_last=config.channels_last)


def compiled(call: Callable[[Tensor], Tensor]) -> Any:
    """`call` through torch.compile; a module stays one, so that its modes can be set."""
    return torch.compile(call if isinstance(call, nn.Module) else call.__call__)
