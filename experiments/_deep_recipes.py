"""How runs are trained and tested on each data set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import tyro

from _classwise_table import OURS
from _deep_runs import Recipe, Testing, Training, shrink
from _harness import UsageError
from linfair.data import Dataset

BEST = ("pgd_at", "best")

DIGITS = Recipe(
    Training(
        width=8, epochs=5, batch_size=64, lr=0.1, ema=0.9, eps="0.12", step="0.08", steps=2, augment=False,
        precision="float32", channels_last=False, validation=0.1, validation_steps=3,
    ),
    Testing(attacks=(("clean", 0), ("pgd20", 0)), more=(("apgd", 20, BEST),), matrices=100, search="float32"),
)  # fmt: skip
"""8 x 8 pixels, 1,437 images to train on: two seconds a run on one core."""

SMALL_CNN = Recipe(
    Training(ema=0.99),
    Testing(
        attacks=(("clean", 0), ("pgd20", 0), ("apgd", 500)),
        more=(
            ("autoattack", 500, BEST),
            ("cw20", 2000, BEST),
            ("linf12", 500, BEST),
            ("l2", 500, BEST),
            ("l1", 500, BEST),
            *((f"{kind}-2", 2000, BEST) for kind in OURS),
            ("pgd20@float32", 2000, ("pgd_at",)),
        ),
        matrices=2000,
    ),
)
"""CIFAR-10 on a few cores. A schedule of 12 epochs has 2,200 steps: an average over more than 100 lags behind it."""

RESNET18 = Recipe(
    Training(model="resnet18", epochs=30, batch_size=256, lr=0.4, ema=0.999, step="2/255", steps=10),
    Testing(
        attacks=(("clean", 0), ("pgd20", 0), ("apgd", 1000), ("autoattack", 1000)),
        more=(
            ("cw20", 0, BEST),
            ("linf12", 2000, BEST),
            ("l2", 2000, BEST),
            ("l1", 2000, BEST),
            *((f"{kind}-2", 0, BEST) for kind in OURS),
            ("pgd20@float32", 0, ("pgd_at",)),
        ),
        matrices=2000,
        chunk=1000,
    ),
)
"""CIFAR-10 on a GPU. The rate is 0.2 for a batch of 128, scaled to the batch."""


def TINY(recipe: Recipe) -> Recipe:
    """The same in a second or two: of no scientific use."""
    small = {"width": 4, "epochs": 2, "batch_size": 100, "steps": 2, "validation": 0.1, "validation_steps": 2}
    train = dataclasses.replace(recipe.train, **small)
    test = dataclasses.replace(recipe.test, attacks=(("clean", 0), ("pgd20", 0)), more=(("apgd", 10, BEST),))
    return Recipe(train, test)


@dataclass(frozen=True)
class DeepConfig:
    """What the deep experiments share."""

    preset: Literal["small_cnn", "resnet18"] = "small_cnn"
    """Network and schedule for CIFAR-10; digits have their own."""
    seeds: tuple[int, ...] = (0,)
    """Every one is a run of its own."""
    epochs: int | None = None
    """In place of the recipe's."""
    images: int | None = None
    """Only so many training images, and a quarter as many to test on: for trials, which want an --out of their own."""
    digits: tyro.conf.Suppress[Recipe] = DIGITS
    small_cnn: tyro.conf.Suppress[Recipe] = SMALL_CNN
    resnet18: tyro.conf.Suppress[Recipe] = RESNET18

    def of(self, data: Dataset) -> Dataset:
        """As much of the data as is asked for."""
        return shrink(data, self.images) if self.images else data


SMALLEST = {"images": 400, "digits": TINY(DIGITS), "small_cnn": TINY(SMALL_CNN), "resnet18": TINY(RESNET18)}
"""The fields of a --quick config."""


def recipe(cfg: DeepConfig, data: Dataset) -> Recipe:
    """That of the data set and preset."""
    if data.name == "digits" and cfg.preset != "small_cnn":
        raise UsageError(f"--preset {cfg.preset} is for CIFAR-10, got no --data-dir; pass its folder or drop it")
    found = cfg.digits if data.name == "digits" else getattr(cfg, cfg.preset)
    return found if cfg.epochs is None else Recipe(dataclasses.replace(found.train, epochs=cfg.epochs), found.test)


def suffix(cfg: DeepConfig, data: Dataset) -> str:
    """CIFAR-10 and its copies share a name, their labels tell them apart."""
    return ("" if data.name == "cifar10" else data.suffix) + ("" if cfg.preset == "small_cnn" else f"-{cfg.preset}")
