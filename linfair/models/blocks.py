"""What the networks are made of. A batch norm that follows a convolution is one module with it, so it can be folded."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F


class Normalise(nn.Module):
    """(x - mean) / std by channel, for images [N, C, H, W] in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: ArrayLike, std: ArrayLike):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class GlobalMean(nn.Module):
    """[N, C, H, W] -> [N, C]: the mean of every channel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Net(nn.Module):
    """Images [N, C, H, W] in [0, 1] -> logits [N, n_classes]: normalise, then features [N, n], then the head."""

    def __init__(self, normalise: nn.Module, features: nn.Module, head: nn.Linear):
        super().__init__()
        self.normalise, self.features, self.head = normalise, features, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(self.normalise(x)))


def convolution(n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size (at stride 1), He-normal by its outputs."""
    conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class ConvNorm(nn.Module):
    """A convolution and the batch norm of its output."""

    def __init__(self, n_in: int, n_out: int, kernel: int = 3, stride: int = 1):
        super().__init__()
        self.conv = convolution(n_in, n_out, kernel, stride)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """relu(shortcut(x) + norm conv relu norm conv x), after He et al. 2015 (arXiv:1512.03385).

    The shortcut is the identity where the shape stays, else a 1 x 1 convolution with batch norm.
    """

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.first = ConvNorm(n_in, n_out, stride=stride)
        self.second = ConvNorm(n_out, n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else ConvNorm(n_in, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(out.add_(self.shortcut(x)), inplace=True)


class PreActBlock(nn.Module):
    """shortcut + conv relu norm conv a with a = relu norm x, after He et al. 2016 (arXiv:1603.05027).

    The shortcut is x where the shape stays, else a 1 x 1 convolution of a.
    """

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_in)
        self.first = ConvNorm(n_in, n_out, stride=stride)
        self.second = convolution(n_out, n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = None if same else convolution(n_in, n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.norm(x), inplace=True)
        out = self.second(F.relu(self.first(a), inplace=True))
        return out.add_(x if self.shortcut is None else self.shortcut(a))
