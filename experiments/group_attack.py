"""Attacked group-fairness gaps of a trained linear classifier against the attack's radius, and how tight the bounds
are.

Four Gaussian cells (group a, label y). The classifier is trained for accuracy by logistic regression on samples of
the four cells; lines are its exact attacked gaps and the bounds by robust accuracy, points the gaps of fresh attacked
samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from _draw import TRAINED, handles, letters, twins
from _harness import run
from _twins import line, point
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers.fast import robust_erm
from linfair.theory import THEOREMS
from linfair.theory.group_attack import FAVOUR_1, gaps, positive_rates

DEFAULTS = THEOREMS["group-attack-equivalence"].defaults
MEANS, VARIANCES = np.array(DEFAULTS["means"]), np.array(DEFAULTS["variances"])
BASE_RATES = DEFAULTS["base_rates"]


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(10))
    n_train: int = 4_000
    """Training samples, split over the cells by equal groups and their base rates."""
    n: int = 50_000
    """Fresh samples a cell and seed."""
    norm: str = "linf"
    radii: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)


QUICK = Config(seeds=(0, 1), n_train=1_000, n=2_000, radii=(0.0, 0.2, 0.4))


def trained(cfg: Config) -> LinearClassifier:
    """One classifier, from the first seed: the lines are exact for it."""
    p0, p1 = BASE_RATES
    shares = np.array([1 - p0, p0, 1 - p1, p1]) / 2
    counts = np.rint(shares * cfg.n_train).astype(int)
    X, cell = ClassGaussians(MEANS, VARIANCES).sample(counts.tolist(), np.random.default_rng(cfg.seeds[0]))
    classifier = robust_erm(X, cell % 2, NATURAL).classifier
    return classifier


def quantities(attacked: np.ndarray, accuracy: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Gaps and bounds from the positive rates of the four cells under the fairness attack, the accuracy attack,
    none.
    """
    return gaps(attacked, BASE_RATES) | {
        "gap at y = 1": attacked[3] - attacked[1],
        "upper bound, y = 1": 1 - accuracy[1],
        "lower bound, y = 1": clean[3] - accuracy[1],
        "gap at y = 0": attacked[2] - attacked[0],
        "upper bound, y = 0": accuracy[2],
        "lower bound, y = 0": accuracy[2] - clean[0],
    }


PANELS = {
    "gaps": ("DP gap", "EOp gap", "EOd gap"),
    "y = 1": ("gap at y = 1", "upper bound, y = 1", "lower bound, y = 1"),
    "y = 0": ("gap at y = 0", "upper bound, y = 0", "lower bound, y = 0"),
}
PUSHES = (np.array(FAVOUR_1), np.array([1, -1, 1, -1]), np.zeros(4))


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"eps": "line"}, *({"eps": eps} for eps in cfg.radii)]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    f, threat = trained(cfg), Threat(cfg.norm)

    def exact(eps: float) -> dict[str, float]:
        return quantities(*(positive_rates(MEANS, VARIANCES, f.w, f.b, cfg.norm, eps, push) for push in PUSHES))

    if cell["eps"] == "line":
        grid = np.linspace(0.0, max(cfg.radii), 50)
        values = [exact(float(eps)) for eps in grid]
        return [
            row
            for p, names in PANELS.items()
            for name in names
            for row in line(p, name, grid, [v[name] for v in values])
        ]
    found, reach = [], cell["eps"] * float(threat.dual_norm(f.w))
    for seed in cfg.seeds:
        X, own = ClassGaussians(MEANS, VARIANCES).sample([cfg.n] * 4, np.random.default_rng([seed, 1]))
        score = f.scores(X)
        found.append(quantities(*(np.bincount(own, score + reach * push[own] > 0, 4) / cfg.n for push in PUSHES)))
    want = exact(cell["eps"])
    return [
        point(panel, name, cell["eps"], [run[name] for run in found], cfg.n, want[name])
        for panel, names in PANELS.items()
        for name in names
    ]


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(1, 3, width=plotting.TEXT_WIDTH, height=2.3)
    colors = (plotting.BLACK, plotting.VERMILLION, plotting.BLUE)
    titles = ("One attack, three notions", "Gap and bounds at y = 1", "Gap and bounds at y = 0")
    for ax, (panel, names), title in zip(axes, PANELS.items(), titles, strict=True):
        for name, color, marker in zip(names, colors, plotting.MARKERS, strict=False):
            twins(
                ax, rows, panel, name, color, marker, label=name.split(",")[0], ls="-" if "bound" not in name else "--"
            )
        ax.set(xlabel=r"attack radius $\epsilon$ ($\ell_\infty$)", ylabel="signed gap, group 1 minus 0", title=title)
        ax.legend(loc="upper left")
    first = axes[1].get_legend()
    axes[1].legend(handles=handles({"attacked samples": TRAINED}), loc="lower right")
    axes[1].add_artist(first)  # a second legend replaces the first unless it is kept by hand
    letters(axes)
    return figure


if __name__ == "__main__":
    run(name="group_attack", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
