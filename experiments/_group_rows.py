"""Rows of group_fairness: what is measured of one classifier under one attack, and the table over seeds."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np

from _group_methods import Config, Fitted, Method, Part, Threat, as_module, by_gradient, by_pgd, linear
from linfair.groups.metrics import Reach, attacked
from linfair.linear import LinearClassifier
from linfair.runs import Row
from linfair.solvers.box import score_range

KEYS = ("data", "model", "method", "threat", "eps")
MEASURES = (
    "accuracy", "DI", "EOd", "robust_accuracy", "fairness_robustness", "di_attack_accuracy", "di_attack_DI",
    "di_attack_EOd", "worst_DI", "worst_EOd",
)  # fmt: skip
CHECKS = ("pgd_gap", "certified_gap", "pgd_training_gap")
"""Of logistic regression: largest metric difference of PGD and the exact attack; certified gap of the training problem;
what training by PGD leaves above the certified lower bound."""
FACTS = ("majority", "separation")
"""Of the test part: accuracy of predicting its more frequent label for all; accuracy of predicting 1 for the group with
the higher base rate and 0 for the other, which is what the attack on DI leaves of a classifier whose clean gap has the
sign of the base rates, if it is strong enough and no box holds it."""
DIGITS = 5


def row_of(reach: Reach, y: np.ndarray, a: np.ndarray) -> Row:
    """What is kept of :func:`linfair.groups.metrics.attacked`."""
    found = attacked(reach, y, a)
    favoured = y[a == 1].mean() >= y[a == 0].mean()
    facts = {"majority": float(max(y.mean(), 1 - y.mean())), "separation": float(np.mean((a == favoured) == y))}
    return {name: found[name] for name in MEASURES} | facts


def pgd_columns(
    cfg: Config, seed: int, fitted: Fitted, fit: Part, test: Part, against: Threat, method: Method
) -> dict[str, float]:
    """How far PGD stays from the exact attack of a linear classifier, and PGD training from the certified optimum."""
    f, solution = fitted.classifier, fitted.solution
    assert isinstance(f, LinearClassifier)
    assert solution is not None
    assert solution.gap is not None
    exact = attacked(fitted.reach(test.x, against), test.y, test.a)
    by_steps = by_pgd(as_module(f), test.x, against, steps=cfg.attack_steps, restarts=cfg.restarts, seed=seed)
    found = attacked(by_steps, test.y, test.a)
    gap = max(abs(found[name] - exact[name]) for name in exact)
    longer = dataclasses.replace(cfg, full_steps=cfg.check_steps, full_lr=cfg.check_lr)
    trained = linear(by_gradient(longer, "logistic", seed, fit, against, method.attack, 0.0, None, double=True))
    radii = against.radii if method.attack == "accuracy" else np.zeros_like(against.radii)
    down, up = score_range(trained, fit.x, radii, lo=against.lo, hi=against.hi)
    loss = np.logaddexp(0.0, np.where(fit.y == 1, -down, up)).mean() + cfg.ridge / 2 * (trained.w @ trained.w)
    over = max(float(loss) - solution.info["lower_bound"], 0.0)
    return {"pgd_gap": gap, "certified_gap": solution.gap, "pgd_training_gap": over}


def summary(rows: list[Row]) -> list[Row]:
    """One row a data set, model, method, threat and radius: means over seeds, standard errors, largest gaps."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in KEYS)].append(row)
    return [_over_seeds(dict(zip(KEYS, key, strict=True)), group) for key, group in found.items()]


def _over_seeds(head: Row, group: list[Row]) -> Row:
    row = head | {"seeds": len(group)} | {name: round(group[0][name], DIGITS) for name in FACTS}
    for name in MEASURES:
        values = np.array([one[name] for one in group])
        row[name] = round(float(values.mean()), DIGITS)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
        row[f"{name}_se"] = None if error is None else round(float(error), DIGITS)
    for name in CHECKS:
        worst = [one[name] for one in group if one.get(name) is not None]
        row[name] = float(f"{max(worst):.2g}") if worst else None
    return row
