"""Networks the tests of models share: narrow ones that look trained, and one from outside the package."""

import torch
from torch import nn
from torch.nn import functional as F

from linfair.models import build


def trained(name: str, shape=(3, 32, 32), seed: int = 0, **options) -> nn.Module:
    """A narrow net with the statistics and affine parameters of one that has seen data."""
    torch.manual_seed(seed)
    width = {} if name == "linear" else {"width": 8}
    return stir(build(name, 5, shape, **width, **options))


def stir(model: nn.Module) -> nn.Module:
    for norm in norms(model):
        nn.init.normal_(norm.running_mean, 0.0, 0.3)  # pyright: ignore[reportArgumentType]
        nn.init.uniform_(norm.running_var, 0.3, 3.0)  # pyright: ignore[reportArgumentType]
        nn.init.uniform_(norm.weight, -0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    return model


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


class Plain(nn.Module):
    """A net from outside the package."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.dropout(F.relu(self.norm(self.conv(x))), 0.5, self.training).mean((2, 3)))
