"""The exponential moving average of a model: every entry of its state, batch-norm statistics included."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA:
    """A second model whose parameters and buffers follow those of the first.

    After step t = 0, 1, ...: ``average += (1 - d_t) (current - average)`` with d_t = min(decay, (1 + t) / (10 + t)), so
    that in a short run the average forgets the initial weights. Integers are copied.

    Args:
        source: the model in training; its parameters and buffers must be written in place from here on.
        decay: d in [0, 1), a step.
    """

    def __init__(self, source: nn.Module, decay: float):
        self.decay = decay
        self._model = copy.deepcopy(source).requires_grad_(False).eval()
        pairs = [
            (mine.detach(), theirs.detach())
            for mine, theirs in zip(*(chain(m.parameters(), m.buffers()) for m in (self._model, source)), strict=True)
        ]
        self._averages = [mine for mine, _ in pairs if mine.is_floating_point()]
        self._currents = [theirs for mine, theirs in pairs if mine.is_floating_point()]
        self._integers = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]

    def update(self, step: int) -> None:
        """Follow the source after ``step``, counted from 0 over the whole run."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        get_ema_multi_avg_fn(decay)(self._averages, self._currents, step)

    @property
    def model(self) -> nn.Module:
        """The averaged model, in evaluation mode."""
        with torch.no_grad():
            for mine, theirs in self._integers:  # only here: a launch for each of them every step would show
                mine.copy_(theirs)
        return self._model
