"""The models and the curves of figure group_attack: exact values, and those of attacked samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.norms import NATURAL
from linfair.solvers.fast import robust_erm
from linfair.theory import THEOREMS
from linfair.theory.counterexamples_groups import PRECISION_PUSH, by_label, precision_gap
from linfair.theory.group_alignment import cell_shares, risks
from linfair.theory.group_attack import (
    ACCURACY,
    CLEAN,
    ORIENTATIONS,
    absolute_gaps,
    gaps,
    label_gaps,
    positive_rates,
    sampled_predictions,
)

DEFAULTS = THEOREMS["group-attack-equivalence"].defaults
BASE_RATES = DEFAULTS["base_rates"]
TOGETHER, ADULT = ((0.1, 0.9), 0.5), ((0.113, 0.310), 0.674)
"""P(y = 1 | a) and P(a = 1): group and label go together; UCI Adult, women and men, official test part."""


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(10))
    n_train: int = 4_000
    """Training samples, split over the cells by equal groups and their base rates."""
    n: int = 50_000
    """Fresh samples a cell and seed."""
    norm: str = "linf"
    radii: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0, 1.5)


class State(NamedTuple):
    """Positive rates [4] of the cells under each push, and the shares [4] of predictions two attacks do not change."""

    clean: np.ndarray
    favour_1: np.ndarray
    favour_0: np.ndarray
    accuracy: np.ndarray
    precision: np.ndarray
    kept: np.ndarray
    kept_accuracy: np.ndarray


PUSHES = (CLEAN, *ORIENTATIONS, ACCURACY, PRECISION_PUSH)


def exact(laws: dict[str, Any]) -> State:
    rates = positive_rates(**laws, push=PUSHES)
    return State(*rates, kept=1 - np.abs(rates[1] - rates[0]), kept_accuracy=1 - np.abs(rates[3] - rates[0]))


def sampled(laws: dict[str, Any], n: int, seed: int) -> State:
    cell, predictions = sampled_predictions(n, np.random.default_rng([seed, 1]), PUSHES, **laws)
    kept = (predictions[0] == predictions[1], predictions[0] == predictions[3])
    return State(*(np.bincount(cell, of, 4) / n for of in (*predictions, *kept)))


def trained(cfg: Config) -> dict[str, Any]:
    """One classifier, from the first seed: the lines are exact for it."""
    cells = {name: np.array(DEFAULTS[name]) for name in ("means", "variances")}
    counts = np.rint(cell_shares(BASE_RATES, 0.5) * cfg.n_train).astype(int)
    X, cell = ClassGaussians(cells["means"], cells["variances"]).sample(
        counts.tolist(), np.random.default_rng(cfg.seeds[0])
    )
    f = robust_erm(X, cell % 2, NATURAL).classifier
    return cells | {"w": f.w, "b": f.b, "norm": cfg.norm}


def opposed(cfg: Config) -> dict[str, Any]:
    laws = THEOREMS["group-attack-absolute"].defaults
    return {name: laws[name] for name in ("means", "variances", "w", "b")} | {"norm": cfg.norm}


def unequal(cfg: Config) -> dict[str, Any]:
    """The scores of limit-clean-orientation at y = 1; those at y = 0 are not used."""
    at = THEOREMS["limit-clean-orientation"].defaults
    scores = np.array([[0.0, m] for m in at["means"]]), np.array([[1.0, sd**2] for sd in at["sds"]])
    return {"means": scores[0].reshape(4, 1), "variances": scores[1].reshape(4, 1), "w": [1.0], "b": 0.0, "norm": "l2"}


def labelled(cfg: Config) -> dict[str, Any]:
    laws = by_label(THEOREMS["limit-fairness-attack-accuracy"].defaults["distance"], 0.0)
    return {name: value for name, value in laws.items() if name != "eps"}


class Model(NamedTuple):
    laws: Callable[[Config], dict[str, Any]]
    scale: float = 1.0
    """Radii are those of the configuration times this."""


MODELS = {
    "trained": Model(trained),
    "opposed": Model(opposed),
    "unequal": Model(unequal),
    "labelled": Model(labelled, 3.0),
}


def signed(s: State) -> dict[str, float]:
    return {
        f"{name.removesuffix(' gap')}, {group} up": value
        for group, rates in ((1, s.favour_1), (0, s.favour_0))
        for name, value in gaps(rates, BASE_RATES).items()
    }


def absolute(s: State) -> dict[str, Any]:
    both = np.array([s.favour_1, s.favour_0])
    one = np.abs(label_gaps(both.T)).sum(0)
    return {"worst": absolute_gaps(both, BASE_RATES)["|EOd gap|"], "group 1 up": one[0], "group 0 up": one[1]}


def bounds(s: State) -> dict[str, float]:
    robust, natural = risks(s.accuracy), risks(s.clean)
    upper = robust[1] + robust[2]
    gap = gaps(s.favour_1, BASE_RATES)["EOd gap"]
    return {"upper bound": upper, "attacked EOd": gap, "lower bound": upper - natural[3] - natural[0]}


def tightness(s: State) -> dict[str, float]:
    value = bounds(s)
    return {
        "width: natural risk": value["upper bound"] - value["lower bound"],
        "above the gap": value["upper bound"] - value["attacked EOd"],
        "below the gap": value["attacked EOd"] - value["lower bound"],
    }


def unchanged(s: State) -> dict[str, Any]:
    shares = cell_shares(BASE_RATES, 0.5)
    return {
        "opposing (1, 1)": s.kept[3],
        "its floor": 1 - risks(s.clean)[3],
        "all": shares @ s.kept,
        "aligned (0, 1)": s.kept[1],
        "all, acc. attack": shares @ s.kept_accuracy,
    }


def accuracies(s: State) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, law in (("together", TOGETHER), ("as in Adult", ADULT)):
        shares = cell_shares(*law)
        found[name] = float(1 - shares @ risks(s.favour_1))
        found[f"P(a = y), {name}"] = shares[0] + shares[3]
    return found | {"accuracy attack": float(1 - cell_shares(*TOGETHER) @ risks(s.accuracy))}


def chosen(s: State) -> dict[str, float]:
    found = {"as the clean gap": s.favour_1, "the other way": s.favour_0}
    return {name: float(abs(label_gaps(rates)[1])) for name, rates in found.items()}


def precision(s: State) -> dict[str, float]:
    found = {"its own attack": s.precision, "fairness attack": s.favour_1}
    return {name: precision_gap(rates, BASE_RATES) for name, rates in found.items()}
