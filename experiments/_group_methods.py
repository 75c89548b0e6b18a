"""The settings and training methods of group_fairness, for logistic regression and for a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch

from linfair.data.tabular import Table
from linfair.groups.attack import reach as pgd_reach
from linfair.groups.metrics import Reach
from linfair.groups.repairs import group_thresholds, reweigh
from linfair.groups.train import GroupTraining, fit_groups
from linfair.linear import LinearClassifier
from linfair.solvers import box
from linfair.solvers.solution import Solution, Status

Attack = Literal["none", "accuracy", "fairness", "both"]
Repair = Literal["", "pre", "in", "post", "post_attacked"]
NO_BOX = "all, no box"


@dataclass(frozen=True)
class Config:
    models: tuple[Literal["logistic", "mlp"], ...] = ("logistic", "mlp")
    """Logistic regression; a network with 64 and 64 hidden units."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each draws the part of the training data that thresholds are chosen on, the first weights and the batches. The
    embedded tables take the first three."""
    sets: tuple[str, ...] = ("adult-sex", "adult-race", "compas-race", "compas-sex")
    """Which tables of --data-dir."""
    eps: float = 0.2
    """Radius in l_inf that is trained against: in sds of a continuous column, a share of a 0/1 column."""
    radii: tuple[float, ...] = (0.1, 0.2, 0.3)
    """Of the attacks that are measured."""
    gamma: float = 0.3
    """Weight of the fairness gap beside the loss, and beside the error where thresholds are chosen."""
    ridge: float = 1e-4
    """ridge/2 ||w||^2 in every training."""
    held: float = 0.2
    """Share of the training data that thresholds are chosen on."""
    updates: int = 400
    """Steps of Adam that train the network."""
    batch_size: int = 2048
    """Samples a step of the network: many, for the gaps of a batch are as noisy as its smallest cell."""
    lr: float = 2e-3
    """Of the network."""
    steps: int = 5
    """Of PGD in training; logistic regression meets the exact attack."""
    full_steps: int = 1000
    """Of logistic regression where its problem is not convex: Adam on all samples, the rate falling along a cosine."""
    full_lr: float = 0.2
    """At the start of that cosine."""
    check_steps: int = 2000
    """Of the same in float64 where its problem is convex, for the first seed, beside the optimum that is certified."""
    check_lr: float = 0.4
    """At the start of its cosine."""
    attack_steps: int = 10
    """Of PGD in the measurement of the network; logistic regression meets the exact attack."""
    restarts: int = 5
    """Of PGD in the measurement."""


@dataclass(frozen=True)
class Method:
    """What is trained on, and the repair: weights, a penalty, or thresholds from clean or from attacked scores."""

    attack: Attack
    repair: Repair = ""


METHODS = {
    "baseline": Method("none"),
    "pre": Method("none", "pre"),
    "in": Method("none", "in"),
    "post": Method("none", "post"),
    "at": Method("accuracy"),
    "at_pre": Method("accuracy", "pre"),
    "at_in": Method("accuracy", "in"),
    "at_post": Method("accuracy", "post"),
    "at_post_attacked": Method("accuracy", "post_attacked"),
    "at_fair": Method("fairness"),
    "at_both": Method("both"),
    "at_both_pre": Method("both", "pre"),
    "at_both_in": Method("both", "in"),
    "at_both_post": Method("both", "post"),
    "at_both_post_attacked": Method("both", "post_attacked"),
}


@dataclass(frozen=True)
class Threat:
    """An l_inf radius a column and the box, in the units of the features."""

    eps: float
    columns: np.ndarray
    lo: np.ndarray | None
    hi: np.ndarray | None

    @property
    def radii(self) -> np.ndarray:
        return np.where(self.columns, self.eps, 0.0)


def threats(table: Table) -> tuple[str, ...]:
    """Threat models that a method may be trained under."""
    return ("all",) if table.continuous.all() else ("continuous", "all")


def threat(table: Table, name: str, eps: float) -> Threat:
    """Continuous columns only, or all with 0/1 columns relaxed to [0, 1]; the latter also without a box."""
    columns = table.continuous if name == "continuous" else np.ones_like(table.continuous)
    return Threat(eps, columns, *((None, None) if name == NO_BOX else (table.lo, table.hi)))


@dataclass(frozen=True)
class Part:
    """Samples [n, d] with labels and groups."""

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray

    def __getitem__(self, index: np.ndarray) -> Part:
        return Part(self.x[index], self.y[index], self.a[index])


@dataclass(frozen=True)
class Fitted:
    """A classifier with one threshold a group, and what is certified of its training."""

    classifier: LinearClassifier | torch.nn.Module
    offsets: tuple[float, float] = (0.0, 0.0)
    solution: Solution | None = None

    def reach(self, x: np.ndarray, threat: Threat, **attack: Any) -> Reach:
        """Scores before thresholds: exact for a linear classifier, by PGD for a network."""
        if isinstance(self.classifier, LinearClassifier):
            down, up = box.score_range(self.classifier, x, threat.radii, lo=threat.lo, hi=threat.hi)
            return Reach(self.classifier.scores(x), down, up)
        return by_pgd(self.classifier, x, threat, **attack)


def by_pgd(model: torch.nn.Module, x: np.ndarray, threat: Threat, *, steps: int, restarts: int, seed: int) -> Reach:
    """Scores of the samples clean, pushed down and pushed up by PGD."""
    return pgd_reach(
        model, x, eps=threat.eps, steps=steps, restarts=restarts, lo=threat.lo, hi=threat.hi, columns=threat.columns,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def linear(model: torch.nn.Module) -> LinearClassifier:
    """The linear classifier that a trained logistic model is."""
    weight, bias = (p.detach().double().numpy() for p in model.parameters())
    return LinearClassifier(weight.ravel(), bias.ravel()[0])


def as_module(classifier: LinearClassifier) -> torch.nn.Module:
    """A linear classifier as a torch module in float64, for PGD."""
    module = torch.nn.Linear(len(classifier.w), 1, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(classifier.w)[None])
        module.bias.fill_(float(classifier.b))
    return module


Fit = Callable[[str], Fitted]
Measure = Callable[[Fitted, str, float], Reach]


def reacher(cfg: Config, seed: int, table: Table, test: Part) -> Measure:
    """(classifier, threat, radius) -> scores of the test part; thresholds do not change them, so once a classifier."""

    @cache
    def scores(classifier: LinearClassifier | torch.nn.Module, kind: str, eps: float) -> Reach:
        against = threat(table, kind, eps)
        return Fitted(classifier).reach(test.x, against, steps=cfg.attack_steps, restarts=cfg.restarts, seed=seed)

    return lambda fitted, kind, eps: scores(fitted.classifier, kind, eps)


def fitter(cfg: Config, model: str, seed: int, fit: Part, held: Part, threat: Threat) -> Fit:
    """(method) -> classifier trained on ``fit`` under the threat, with thresholds from ``held``."""

    @cache
    def trained(attack: Attack, repair: str) -> Fitted:
        weights = reweigh(fit.y, fit.a) if repair == "pre" else None
        if model == "logistic" and repair != "in" and attack in ("none", "accuracy"):
            radii = threat.radii if attack == "accuracy" else 0.0
            found = box.robust_logistic(
                fit.x, fit.y, radii, ridge=cfg.ridge, lo=threat.lo, hi=threat.hi, weights=weights
            )
            if found.status == Status.INACCURATE:
                raise ValueError(f"training must reach its optimum, got a gap of {found.gap:.1e}; raise --ridge")
            return Fitted(found.classifier, solution=found)
        module = by_gradient(cfg, model, seed, fit, threat, attack, cfg.gamma if repair == "in" else 0.0, weights)
        return Fitted(linear(module) if model == "logistic" else module)

    def method(name: str) -> Fitted:
        attack, repair = METHODS[name].attack, METHODS[name].repair
        if not repair.startswith("post"):
            return trained(attack, repair)
        base, attacked = trained(attack, ""), repair == "post_attacked"
        against = threat if attacked else dataclasses.replace(threat, eps=0.0)
        reach = base.reach(held.x, against, steps=cfg.attack_steps, restarts=1, seed=seed)
        offsets = group_thresholds(reach, held.y, held.a, gamma=cfg.gamma, attacked=attacked)
        return Fitted(base.classifier, offsets)

    return method


def by_gradient(
    cfg: Config,
    model: str,
    seed: int,
    fit: Part,
    threat: Threat,
    attack: Attack,
    gamma: float,
    weights: Any,
    *,
    double: bool = False,
) -> torch.nn.Module:
    """Training in torch: all samples and the exact attack for logistic regression, mini-batches and PGD otherwise."""
    common: dict[str, Any] = {"model": model, "ridge": cfg.ridge, "seed": seed, "attack": attack, "gamma": gamma}
    if model == "logistic":
        batch = None if double else len(fit.y)
        common |= {"batch_size": batch, "epochs": cfg.full_steps, "lr": cfg.full_lr, "schedule": "cosine"}
        common |= {"steps": 1, "step": 2 * threat.eps}
    else:
        parts = math.ceil(len(fit.y) / cfg.batch_size)
        epochs = max(1, round(cfg.updates / parts))
        common |= {"batch_size": cfg.batch_size, "epochs": epochs, "lr": cfg.lr, "steps": cfg.steps}
    config = GroupTraining(eps=threat.eps, **common)
    return fit_groups(config, fit.x, fit.y, fit.a, lo=threat.lo, hi=threat.hi, columns=threat.columns, weights=weights)
