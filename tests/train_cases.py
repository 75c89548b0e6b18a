"""Runs of a second or less on the digits, shared by the tests of the loop."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from linfair.data import Dataset, load_digits
from linfair.train import FitResult, TrainConfig, fit
from linfair.train.state import ClassState

CONFIG = TrainConfig(model="small_cnn", width=8, epochs=2, batch_size=128, eps="1/8", step="1/16", steps=2)
"""Stop, kill, repeat: small, and with everything on that a checkpoint must hold."""

CLOCKS = ("seconds", "images_per_second")
"""What differs from run to run."""


def digits(n: int | None = None, seed: int = 0) -> Dataset:
    """The digits, or their first n training images in a random order."""
    data = load_digits()
    if n is None:
        return data
    pick = np.random.default_rng(seed).permutation(len(data.train_labels))[:n]
    return dataclasses.replace(data, train_images=data.train_images[pick], train_labels=data.train_labels[pick])


def teacher(data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(data.train_images[0].size, data.n_classes))


def quick(data: Any = None, **options: Any) -> FitResult:
    """A training of two epochs on 160 images, with some fields of the config replaced."""
    return fit(dataclasses.replace(CONFIG, **options), data or digits(160), progress=False)


def with_accuracies(robust: Sequence[float]) -> ClassState:
    """Sums of an epoch with these accuracies under attack, and without a natural error."""
    state = ClassState(len(robust))
    state.clean_n, state.clean_correct = torch.full((2, len(robust)), 100.0)
    state.robust_n, state.robust_correct = torch.full((len(robust),), 100.0), 100.0 * torch.tensor(robust).double()
    return state


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without their clocks."""
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in history]


def same_tensors(a: Any, b: Any) -> bool:
    """Whether two trees of dicts and lists hold the same bits; NaN equals NaN, clocks are not looked at."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_tensors(a[k], b[k]) for k in a if k not in CLOCKS)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_tensors, a, b))
    return a == b


def saved(folder: Path, name: str = "checkpoint.pt") -> dict[str, Any]:
    return torch.load(folder / name, weights_only=True)
