"""Models and measurements that the tests of the attacks share."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from linfair.attacks import misclassified, pgd, robust_flags
from linfair.data import load_digits

EPS = 0.1
RADII = {"linf": 0.05, "l2": 0.4, "l1": 1.5}
each_norm = pytest.mark.parametrize("norm", RADII)
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


class Linear(nn.Module):
    """f = W x + b on flat images: the best attack on two classes is known in closed form."""

    def __init__(self, classes=2, features=12, *, seed=0, scale=1.0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(scale * torch.randn(classes, features, generator=draw))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T.to(x.dtype) + self.bias.to(x.dtype)


def small_net(channels=1, size=8, classes=10, seed=0) -> Any:
    """Convolution, batch norm with statistics that are not the initial ones, dropout, ReLU, linear."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(8 * (size // 2) ** 2, classes),
        )
        net(torch.rand(64, channels, size, size))
    return net


def trained_digits(epochs=30) -> tuple[Any, np.ndarray, np.ndarray]:
    """(net, images uint8, labels): trained for a second on the digits; most test images are right."""
    data = load_digits()
    net = small_net()
    x = torch.from_numpy(data.train_images / np.float32(16)).float()
    y = torch.from_numpy(data.train_labels)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(128):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
    return net.requires_grad_(True), data.test_images, data.test_labels


def batch(n=24, channels=1, size=8, classes=10, seed=1, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, size, size, generator=draw, dtype=dtype)
    return x, torch.randint(classes, (n,), generator=draw)


def generator(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def distance(x, x0, norm):
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm((x - x0).double().flatten(1), order, dim=1)


def run(model, x, y, norm: Any = "linf", **options: Any) -> Any:
    eps = RADII[norm]
    settings = {"eps": eps, "step": eps / 3, "steps": 4, "norm": norm, "generator": generator(), **options}
    return pgd(model, x, y, **settings)


class Watch(nn.Module):
    """Keeps every batch the model sees."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.net(x)


def right(net, x, y):
    with torch.no_grad():
        return ~misclassified(net.eval()(x), y)


@cache
def digits():
    return trained_digits()


def flags(attack, model=None, n=120, **options):
    net, images, labels = digits()
    settings = {"eps": EPS, "levels": 16, "progress": False, **options}
    return robust_flags(model or net, images[:n], labels[:n], attack, **settings)


def predictions(net, images):
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        return net(torch.from_numpy(images / np.float32(16)).float()).argmax(1).numpy()


def flags_of(net, images, labels, attack="pgd20", **options):
    return robust_flags(net, images, labels, attack, eps=EPS, levels=16, progress=False, **options)
