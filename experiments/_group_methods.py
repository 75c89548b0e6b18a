"""The training methods of group_fairness, for logistic regression and for a network, under one threat model."""

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


def reacher(cfg: Any, seed: int, table: Table, test: Part) -> Measure:
    """(classifier, threat, radius) -> scores of the test part; thresholds do not change them, so once a classifier."""

    @cache
    def scores(classifier: LinearClassifier | torch.nn.Module, kind: str, eps: float) -> Reach:
        against = threat(table, kind, eps)
        return Fitted(classifier).reach(test.x, against, steps=cfg.attack_steps, restarts=cfg.restarts, seed=seed)

    return lambda fitted, kind, eps: scores(fitted.classifier, kind, eps)


def fitter(cfg: Any, model: str, seed: int, fit: Part, held: Part, threat: Threat) -> Fit:
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
    cfg: Any,
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
