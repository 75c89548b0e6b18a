"""What determines a training run, apart from its data."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from linfair.attacks import parse_budget, parse_radius
from linfair.train.schedule import SCHEDULES

STARTS = ("uniform", "gaussian", "none")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SELECTIONS = ("last", "average", "average+worst")


class TrainingError(RuntimeError):
    """A run that cannot go on. One line that says where, and the remedy; the last good checkpoint stays."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The same config on the same data and machine gives the same weights.

    Args:
        method: a name of :data:`linfair.train.methods.METHODS`; ``options`` are the fields of that method.
        model: a name of :data:`linfair.models.MODELS`; ``width`` its first width, None for its own.
        seed: initial weights, order of the images, augmentation and attack starts. The split does not depend on it.
        epochs, batch_size: an epoch is the whole batches of one permutation of the training part; the rest waits for
            the next permutation.
        lr: peak learning rate; ``momentum``, ``weight_decay``, ``nesterov`` as in :class:`torch.optim.SGD`.
        schedule: "one_cycle", "step" (a tenth at each milestone, fractions of the run) or "constant".
        eps, step: radius and step length of the attack in pixel units, a number or text as "8/255".
        steps, norm, start: number of steps, "linf", "l2" or "l1", and "uniform", "gaussian" or "none". Attacks that
            raise a KL (TRADES, RSLAD and what is made from them) always start "gaussian", whatever ``start`` says.
        attack_bn: batch norm in the attack: "eval" (running statistics) or "train" (of the batch, nothing recorded).
        augment: crop after zero padding by 4, and mirror; never applied to digits, which neither survive.
        ema: decay a step of the averaged weights, which are then the ones validated and returned; 0 for none. At step
            t it is (1 + t) / (10 + t) where that is less, so 0.999 is reached after 8,990 steps only.
        awp: size of the adversarial weight perturbation relative to the weights (0.005 in the release); 0 for none.
        awp_start: fraction of the epochs after which it acts.
        precision: "bfloat16" (autocast; weights stay float32) or "float32", in which cuDNN may still round convolutions
            to TF32: ``torch.backends.cudnn.allow_tf32`` decides.
        channels_last: memory format of images and weights.
        fold: attack a frozen copy with batch norm folded away; False attacks the model itself.
        compile: torch.compile the network.
        validation: share of the training images held out to choose the checkpoint on, the same for every seed.
        validation_steps: PGD steps on it, of length eps / 4; 0 measures clean accuracy only.
        select: keep the weights of the epoch with the best validation "average" or "average+worst" class, robust where
            the method attacks and validation does, else clean; or of the "last" epoch. Once a rule steers, epochs
            before it are no longer chosen: their weights are the parent's.
        clip: largest gradient norm; 0 for none.
    """

    method: str = "pgd_at"
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str = "small_cnn"
    width: int | None = None
    seed: int = 0
    epochs: int = 12
    batch_size: int = 256
    lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    schedule: str = "one_cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    eps: float | str = "8/255"
    step: float | str = "4/255"
    steps: int = 3
    norm: str = "linf"
    start: str = "uniform"
    attack_bn: str = "eval"
    augment: bool = True
    ema: float = 0.999
    awp: float = 0.0
    awp_start: float = 0.0
    precision: str = "bfloat16"
    channels_last: bool = True
    fold: bool = True
    compile: bool = False
    validation: float = 0.05
    validation_steps: int = 10
    select: str = "average+worst"
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options must be a mapping, got {type(self.options).__name__}; pass {{}} for none")
        for name in ("lr", "momentum", "weight_decay", "ema", "awp", "awp_start", "validation", "clip"):
            if not isinstance(value := getattr(self, name), numbers.Real) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number, got {value!r}; pass a float")
        parse_radius(self.eps, self.norm)
        parse_budget(self.step, "step")
        for name, choices in {
            "schedule": SCHEDULES,
            "start": STARTS,
            "attack_bn": ("eval", "train"),
            "precision": PRECISIONS,
            "select": SELECTIONS,
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}; pick one")
        for name, least in {"epochs": 1, "batch_size": 1, "steps": 0, "validation_steps": 0, "seed": 0}.items():
            if not (isinstance(value := getattr(self, name), int) and value >= least):
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}; ask for more")
        for name in ("lr", "weight_decay", "awp", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}; check its sign")
        for name in ("momentum", "ema", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}; it is a share")
        for name, values in {"awp_start": (self.awp_start,), "milestones": self.milestones}.items():
            if not all(0 <= value <= 1 for value in values):
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}; give fractions of the run")
        if self.validation == 0 and self.select != "last":
            raise ValueError(f"select must be 'last' where validation is 0, got {self.select!r}; hold images out")
