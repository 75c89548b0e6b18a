"""Digits and a linear network that knows them, for the tests of evaluations."""

import numpy as np
import torch
from torch import nn

from linfair.data import load_digits

DIGITS = load_digits()


def nearest_mean() -> nn.Linear:
    """The classifier of the nearest class mean as one linear layer: right on about nine digits in ten."""
    x, y = DIGITS.train()
    means = np.stack([x[y == k].mean(0) for k in range(10)])
    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(means))
        layer.bias.copy_(torch.from_numpy(-(means**2).sum(1) / 2))
    return layer


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nearest_mean())
