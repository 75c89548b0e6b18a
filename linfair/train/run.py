"""A run in progress: everything that a checkpoint holds, one step of training, the end of an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import torch

from linfair import attacks
from linfair._check import as_labels
from linfair.data import DataError, Dataset, stratified_split
from linfair.train.awp import perturbed
from linfair.train.batches import STEP, VALIDATION, Batches, Images, channel_moments, counter_seed
from linfair.train.config import PRECISIONS, TrainConfig, TrainingError
from linfair.train.context import Context, Threat
from linfair.train.ema import EMA
from linfair.train.methods import get_method
from linfair.train.network import Autocast, Target, compiled, frozen_teacher, new_model
from linfair.train.schedule import learning_rate
from linfair.train.state import ClassState, ClassWeights
from linfair.train.validation import BATCH, class_sums, plain, selection_score

SPLIT_SEED = 0
"""The validation part is the same for every run on a data set: a teacher has not trained on its student's."""


COUNTERS = ("epoch", "step", "shared_epochs", "seconds")
NOTHING: dict[str, Any] = {"epoch": 0, "score": -math.inf, "model": None}
"""The best epoch before there is one."""


class Run:
    """Model, optimizer, averages and counters of one training run. ``epoch`` and ``step`` count from 0."""

    def __init__(self, config: TrainConfig, data: Dataset, device: torch.device, teacher: Any):
        self.config, self.device, self.n_classes = config, device, data.n_classes
        self.method = get_method(config.method, **config.options)
        if self.method.needs_teacher and teacher is None:
            raise ValueError(f"teacher must be a model for method {config.method!r}, got None; train one first")
        if teacher is not None and not callable(teacher):
            raise TypeError(f"teacher must be a model, images to logits, got {type(teacher).__name__}; load it first")
        for name in ("validation", "validation_steps"):
            if self.method.on_validation and not getattr(config, name):
                what = f"{name} must be > 0 for method {config.method!r}, whose rule reads attacked validation images"
                raise ValueError(f"{what}, got 0; raise it")
        self.train, self.validation = split(config, data, device)
        self.batches = Batches(self.train, config.batch_size, config.seed, config.augment and data.name != "digits")
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        moments = channel_moments(self.train.images.cpu().numpy(), data.levels)
        _, channels, height, width = data.train_images.shape
        model = new_model(config, data.n_classes, (channels, height, width), moments)
        self.model = model.to(device).to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
            fused=True,
        )
        self.ema = EMA(self.model, config.ema) if config.ema else None
        network = Autocast(self.model, PRECISIONS[config.precision])
        self.target = Target(self.model, config, live=config.attack_bn == "train")
        self.validation_target = Target(self.averaged, config)
        eps = attacks.parse_budget(config.eps)
        self.threat = Threat(eps, attacks.parse_budget(config.step, "step"), config.steps, config.norm, config.start)
        self.context = Context(
            model=compiled(network) if config.compile else network,
            attack_model=self.target.call,
            teacher=frozen_teacher(teacher, config, device),
            threat=self.threat,
            generator=torch.Generator(device),
            epoch=0,
            epochs=config.epochs,
            n_classes=data.n_classes,
            attack_bn=config.attack_bn,
        )
        self.state, self.held_out = ClassState(data.n_classes, device), ClassState(data.n_classes, device)
        self.weights = ClassWeights.neutral(data.n_classes, device)
        self.losses = torch.zeros(self.batches.steps, device=device)
        self.epoch = self.step = self.checked = self.shared_epochs = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.best = NOTHING

    @property
    def averaged(self) -> torch.nn.Module:
        """The model that is validated and returned."""
        return self.ema.model if self.ema else self.model

    def advance(self) -> None:
        """One step of training. Nothing waits for the device."""
        config, method, ctx, weights = self.config, self.method, self.context, self.weights
        if self.step == 0:
            self.state.reset()
        self.batches.start(self.epoch)
        position = self.epoch * self.batches.steps + self.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(position)
        ctx.epoch, ctx.survived, ctx.taught = self.epoch, None, None
        ctx.generator.manual_seed(counter_seed(STEP, config.seed, self.epoch, self.step))
        x, y = self.batches.batch(self.step)
        x = method.transform(x, y, weights, ctx)
        self.target.refresh()
        x_adv = method.attack(x, y, weights, ctx)
        self.optimizer.zero_grad()
        out = method.loss(x, x_adv, y, weights, ctx)
        out.loss.backward()
        if config.awp and self.epoch >= config.awp_start * config.epochs:
            with perturbed(self.model, config.awp):
                method.loss(x, x_adv, y, weights, ctx).loss.backward()
        if config.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        if self.ema:
            self.ema.update(position)
        self.state.update(y, out.logits_adv, out.logits_nat, ctx.survived)
        self.losses[self.step] = out.loss.detach()
        self.step += 1

    def learning_rate(self, position: int) -> float:
        config, total = self.config, self.config.epochs * self.batches.steps
        return learning_rate(config.schedule, position, total, peak=config.lr, milestones=config.milestones)

    def check(self) -> None:
        """Stop at a loss that is not finite. Reads the losses since the last check, so it waits for the device."""
        fresh = self.losses[self.checked : self.step]
        bad = (~fresh.isfinite()).nonzero()
        if len(bad):
            at = int(bad[0])
            self._fail("the loss", float(fresh[at]), self.checked + at + 1)
        self.checked = self.step

    def check_weights(self) -> None:
        """Stop before weights or statistics that are not finite are kept: the last loss was that of those before."""
        finite = torch.stack([value.isfinite().all() for value in self.model.state_dict().values()]).all()
        if not bool(finite):
            self._fail("the weights", math.nan, self.step)

    def finish_epoch(self) -> None:
        """Validate, write the epoch into the history, choose, and let the method steer the next one."""
        self.check_weights()
        self._record()
        self._steer()
        self.epoch, self.step, self.checked, self.seconds = self.epoch + 1, 0, 0, 0.0

    def _record(self) -> None:
        """Validate, append to the history, keep the weights if they are the best."""
        start, config = time.perf_counter(), self.config
        self.validation_target.refresh()
        seed = counter_seed(VALIDATION, config.seed, self.epoch)
        self.held_out = class_sums(
            self.averaged,
            self.validation_target.call,
            self.validation,
            self.n_classes,
            self.threat,
            config.validation_steps,
            seed,
            batch_size=min(config.batch_size, BATCH),
        )
        clean, robust = plain(self.held_out.clean_accuracy), plain(self.held_out.robust_accuracy)
        self.model.train()
        attacked = bool(self.state.robust_n.any()) and any(a is not None for a in robust)
        score = selection_score(config.select, robust if attacked else clean)
        neutral = ClassWeights.neutral(self.n_classes, self.device).state_dict()
        steered = {k: v.tolist() for k, v in self.weights.state_dict().items() if not torch.equal(v, neutral[k])}
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "lr": self.learning_rate((self.epoch + 1) * self.batches.steps - 1),
                "loss": float(self.losses.double().mean()),
                "train_clean": plain(self.state.clean_accuracy),
                "train_robust": plain(self.state.robust_accuracy),
                "validation_clean": clean,
                "validation_robust": robust,
                "score": score,
                "weights": steered,
                "seconds": round(self.seconds + time.perf_counter() - start, 3),
                "images_per_second": round(self.batches.steps * self.batches.batch_size / max(self.seconds, 1e-9), 1),
            }
        )
        if score is None or score >= self.best["score"]:
            self.best = {
                "epoch": self.epoch + 1,
                "score": -math.inf if score is None else score,
                "model": {k: v.detach().clone() for k, v in self.averaged.state_dict().items()},
            }

    def _steer(self) -> None:
        """The rule for the next epoch. Once the method leaves its parent, only epochs after that may be chosen."""
        measured = self.held_out if self.method.on_validation else self.state
        weights = self.method.rule(measured, self.weights, self.epoch, self.config.epochs).to(self.device)
        for name, value in weights.state_dict().items():
            if not bool(value.isfinite().all()):
                raise TrainingError(
                    f"the rule of {self.config.method!r} must give finite weights, got {name} = {value.tolist()} "
                    f"after epoch {self.epoch + 1}; it divides by a class it has not seen, or its losses overflow: "
                    "lower lr, or mend the rule"
                )
        begins = self.weights.is_neutral() and not weights.is_neutral()
        begins |= self.epoch + 1 == self.method.shared_epochs(self.config.epochs)  # what it does need not be weights
        if self.epoch + 1 < self.config.epochs and begins:
            self.best = NOTHING
        self.weights = weights

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, and the history."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema else None,
            "state": self.state.state_dict(),
            "weights": self.weights.state_dict(),
            "losses": self.losses,
            "counters": {k: getattr(self, k) for k in COUNTERS},
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, found: Mapping[str, Any]) -> None:
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        if self.ema:
            self.ema.model.load_state_dict(found["ema"])
        self.state.load_state_dict(found["state"])
        self.weights = ClassWeights.from_state_dict(found["weights"]).to(self.device)
        self.losses.copy_(found["losses"])
        for name in COUNTERS:
            setattr(self, name, found["counters"][name])
        self.checked = self.step
        self.history, self.best = found["history"], found["best"]

    def branch(self, found: Mapping[str, Any]) -> None:
        """Take over the epochs of a run of the parent: the rule acts on what the last of them measured."""
        self.load_state_dict(found)
        self.shared_epochs = self.epoch
        self.epoch -= 1
        self._steer()
        self.epoch += 1

    def _fail(self, what: str, value: float, step: int) -> NoReturn:
        raise TrainingError(
            f"{what} must be finite, got {value} in epoch {self.epoch + 1} of {self.config.epochs}, "
            f"step {step} of {self.batches.steps}; lower lr (now {self.config.lr}) or set clip"
        )


def split(config: TrainConfig, data: Dataset, device: torch.device) -> tuple[Images, Images]:
    """The training and the validation part on the device."""
    labels = as_labels("train_labels", data.train_labels, len(data.train_images), data.n_classes)
    counts = np.bincount(labels, minlength=data.n_classes)
    if counts.min() == 0:
        name = data.class_names[int(counts.argmin())]
        raise DataError(f"the training part must hold every class, got no image of {name!r}; drop the class")
    train, held_out = np.arange(len(labels)), np.arange(0)
    if config.validation:
        try:
            train, held_out = stratified_split(labels, config.validation, SPLIT_SEED)
        except ValueError as error:
            remedy = "or pass validation=0 and select='last'"
            raise DataError(f"validation: {error}, {remedy}") from None
    parts = (
        Images.of(data.train_images[index], labels[index], data.levels, device, config.channels_last)
        for index in (train, held_out)
    )
    return next(parts), next(parts)
