"""The networks up to their head: each function gives the features and how many there are for an image."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from linfair.models.blocks import Block, ConvNorm, GlobalMean, PreActBlock, convolution

Shape = tuple[int, int, int]
Features = tuple[nn.Module, int]


def linear(shape: Shape) -> Features:
    """The pixels themselves: logits are linear in the image."""
    return nn.Flatten(), prod(shape)


def small_cnn(shape: Shape, width: int = 32) -> Features:
    """A residual net for CPUs, 0.60 M parameters: widths 32-64-128 with 1, 1 and 2 blocks."""
    return _resnet(shape, (width, 2 * width, 4 * width), (1, 1, 2))


def resnet18(shape: Shape, width: int = 64) -> Features:
    """ResNet-18 (arXiv:1512.03385) for small images: 3 x 3 stem of stride 1, no max-pooling; 11.2 M parameters."""
    return _resnet(shape, (width, 2 * width, 4 * width, 8 * width), (2, 2, 2, 2))


def preact_resnet18(shape: Shape, width: int = 64) -> Features:
    """ResNet-18 of pre-activation blocks (arXiv:1603.05027), ending in batch norm and ReLU; 11.2 M parameters."""
    return _preact(shape, (width, width, 2 * width, 4 * width, 8 * width), (2, 2, 2, 2))


def wrn28_10(shape: Shape, width: int = 160) -> Features:
    """Wide ResNet 28-10 (arXiv:1605.07146) without dropout; 36.5 M parameters."""
    return _preact(shape, (16, width, 2 * width, 4 * width), (4, 4, 4))


def wrn34_10(shape: Shape, width: int = 160) -> Features:
    """Wide ResNet 34-10, a usual net of adversarial training; 46.2 M parameters."""
    return _preact(shape, (16, width, 2 * width, 4 * width), (5, 5, 5))


def _resnet(shape: Shape, widths: tuple[int, ...], blocks: tuple[int, ...]) -> Features:
    stem = ConvNorm(shape[0], widths[0]), nn.ReLU(inplace=True)
    return nn.Sequential(*stem, *_stages(Block, (widths[0], *widths), blocks), GlobalMean()), widths[-1]


def _preact(shape: Shape, widths: tuple[int, ...], blocks: tuple[int, ...]) -> Features:
    end = nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), GlobalMean()
    stages = _stages(PreActBlock, widths, blocks)
    return nn.Sequential(convolution(shape[0], widths[0]), *stages, *end), widths[-1]


def _stages(block: type[Block | PreActBlock], widths: tuple[int, ...], blocks: tuple[int, ...]) -> list[nn.Module]:
    """Stages of blocks; every stage but the first halves the size. ``widths`` begins with the input's channels."""
    stages = []
    for k, ((n_in, n_out), n) in enumerate(zip(pairwise(widths), blocks, strict=True)):
        first = block(n_in, n_out, 1 if k == 0 else 2)
        stages.append(nn.Sequential(first, *(block(n_out, n_out, 1) for _ in range(n - 1))))
    return stages
