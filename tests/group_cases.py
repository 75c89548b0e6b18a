"""Data and models that the tests of group fairness share."""

import numpy as np
import torch
from torch import nn

from linfair.groups.metrics import Reach


def cells(seed, n=12):
    """(y, a) [n] at random, every cell with samples."""
    rng = np.random.default_rng(seed)
    y, a = np.concatenate([[[0, 0, 1, 1], [0, 1, 0, 1]], rng.integers(0, 2, (2, n - 4))], axis=1)
    order = rng.permutation(n)
    return y[order], a[order]


def case(seed, n=12, eps=1.0):
    """(reach, y, a): normal scores, each with a reach of its own."""
    rng = np.random.default_rng([seed, 1])
    clean = rng.normal(size=n)
    reach = Reach(clean, clean - eps * rng.random(n), clean + eps * rng.random(n))
    return reach, *cells(seed, n)


def table(n=400, d=6, seed=0):
    """(x, y, a): the first column tells the label, the second the group, the last two are 0 or 1."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, n)
    y = (rng.random(n) < np.where(a == 1, 0.6, 0.3)).astype(np.int64)
    x = rng.normal(size=(n, d))
    x[:, 0] += 1.5 * y
    x[:, 1] += 1.0 * a
    x[:, -2:] = x[:, -2:] > 0.5 * y[:, None]
    return x, y, a


def box(x):
    return {"lo": x.min(0), "hi": x.max(0)}


class Linear(nn.Module):
    """s = w.x + b, one score a sample."""

    def __init__(self, w, b=0.1, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(w, dtype=dtype))
        self.b = nn.Parameter(torch.tensor(b, dtype=dtype))

    def forward(self, x):
        return x @ self.w + self.b


def weights(d=6, seed=3):
    return np.random.default_rng(seed).normal(size=d)


def net(d=6, outputs=1, seed=0, dtype=torch.float64):
    """Two layers with dropout, in training mode."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, outputs)).to(dtype)
