"""Attacked group-fairness gaps of linear classifiers against the attack's radius: signed and absolute, the bounds by
robust accuracy and how tight they are, the predictions an attack leaves unchanged, and what it does to accuracy.

Four Gaussian cells (group a, label y). Lines are exact, points come from fresh attacked samples. The classifier of
panels a, c, d, e and h is trained for accuracy by logistic regression on samples of the four cells; the others belong
to the theorem or the limit that they illustrate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import _group_attack as of
from _draw import TRAINED, handles, letters, twins
from _group_attack import MODELS, Config, State
from _harness import run
from _twins import line, point
from linfair import plotting
from linfair.plotting import BLACK, BLUE, GREEN, GREY, MARKERS, ORANGE, PURPLE, VERMILLION
from linfair.runs import Row

QUICK = Config(seeds=(0, 1), n_train=1_000, n=2_000, radii=(0.0, 0.2, 0.6))


class Panel(NamedTuple):
    title: str
    y: str
    model: str
    curves: Callable[[State], dict[str, float]]
    looks: dict[str, tuple[str, str]]
    """Colour and line style of every curve; dotted ones are levels: no points, and explained in the common legend."""
    low: float | None = None
    top: float | None = None
    """Ends of y, to leave room for the legend."""
    loc: str | tuple[float, float] = "upper left"
    note: str | None = None
    """Heads the legend."""


MIRRORED = ", 0 up"
"""Ends the curves of panel a that share their legend with group 1's."""
GAPS = {"DP": BLACK, "EOp": VERMILLION, "EOd": BLUE}
PANELS = {
    "signed": Panel(
        "One attack, every signed gap",
        "gap, group 1 minus 0",
        "trained",
        of.signed,
        {
            f"{name}, {group} up": (color, style)
            for group, style in ((1, "-"), (0, "--"))
            for name, color in GAPS.items()
        },
        top=2.9,
        note="solid: group 1 up, dashed: group 0 up",
    ),
    "absolute": Panel(
        "Absolute: a choice at each label",
        "|EOd gap|",
        "opposed",
        of.absolute,
        {"worst": (BLACK, "-"), "group 1 up": (VERMILLION, "--"), "group 0 up": (BLUE, "--")},
    ),
    "bounds": Panel(
        "Robust risks bound the gap",
        "EOd gap, group 1 up",
        "trained",
        of.bounds,
        {"upper bound": (VERMILLION, "--"), "attacked EOd": (BLACK, "-"), "lower bound": (BLUE, "--")},
    ),
    "tightness": Panel(
        "How tight the bounds are",
        "distance from the gap",
        "trained",
        of.tightness,
        {"width: natural risk": (GREY, ":"), "above the gap": (VERMILLION, "-"), "below the gap": (BLUE, "-")},
        top=0.36,
    ),
    "unchanged": Panel(
        "Predictions left as they were",
        "share unchanged",
        "trained",
        of.unchanged,
        {
            "opposing (1, 1)": (GREEN, "-"),
            "its floor": (GREEN, ":"),
            "all": (BLACK, "-"),
            "all, acc. attack": (ORANGE, "--"),
            "aligned (0, 1)": (PURPLE, "-"),
        },
        low=-0.05,
        loc="lower left",
    ),
    "accuracy": Panel(
        "The fairness attack on accuracy",
        "accuracy",
        "labelled",
        of.accuracies,
        {
            "together": (GREEN, "-"),
            "P(a = y), together": (GREEN, ":"),
            "as in Adult": (BLACK, "-"),
            "P(a = y), as in Adult": (BLACK, ":"),
            "accuracy attack": (ORANGE, "--"),
        },
        low=-0.05,
        top=1.05,
        loc=(0.49, 0.14),
    ),
    "chosen": Panel(
        "The clean sign misleads",
        "|gap at y = 1|",
        "unequal",
        of.chosen,
        {"the other way": (BLUE, "-"), "as the clean gap": (VERMILLION, "--")},
    ),
    "precision": Panel(
        "Precision needs its own attack",
        "precision gap",
        "trained",
        of.precision,
        {"its own attack": (BLUE, "-"), "fairness attack": (VERMILLION, "--")},
        top=1.4,
    ),
}


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"model": name, "eps": at} for name in MODELS for at in ("line", *cfg.radii)]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    laws, scale = MODELS[cell["model"]].laws(cfg), MODELS[cell["model"]].scale
    panels = {name: panel for name, panel in PANELS.items() if panel.model == cell["model"]}
    rows = []
    if cell["eps"] == "line":
        grid = np.linspace(0.0, scale * max(cfg.radii), 60)
        states = [of.exact(laws | {"eps": float(eps)}) for eps in grid]
        for name, panel in panels.items():
            values = [panel.curves(state) for state in states]
            for curve in panel.looks:
                rows += line(name, curve, grid, [value[curve] for value in values])
        return rows
    eps = scale * cell["eps"]
    want = of.exact(laws | {"eps": eps})
    runs = [of.sampled(laws | {"eps": eps}, cfg.n, seed) for seed in cfg.seeds]
    for name, panel in panels.items():
        found, expected = [panel.curves(state) for state in runs], panel.curves(want)
        for curve, (_, style) in panel.looks.items():
            if style != ":":
                rows.append(point(name, curve, eps, [value[curve] for value in found], cfg.n, expected[curve]))
    return rows


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(3, 3, width=plotting.TEXT_WIDTH, height=5.8)
    axes = axes.ravel()
    for ax, (name, panel) in zip(axes, PANELS.items(), strict=False):
        for (curve, (color, style)), marker in zip(panel.looks.items(), MARKERS, strict=False):
            label = None if style == ":" or curve.endswith(MIRRORED) else curve.removesuffix(", 1 up")
            twins(ax, rows, name, curve, color, marker, label=label, ls=style)
        what = "features" if panel.model in ("trained", "opposed") else "score"
        ax.set(xlabel=rf"attack radius $\epsilon$ (of the {what})", ylabel=panel.y, title=panel.title)
        ax.set_ylim(panel.low, panel.top)
        legend = ax.legend(loc=panel.loc, fontsize=6.3, title=panel.note, title_fontsize=6.3, alignment="left")
        legend.set_in_layout(False)
    letters(axes[: len(PANELS)])
    entries: dict[str, dict[str, Any]] = {
        "exact": {"color": BLACK},
        "attacked samples, bars of 2 se": TRAINED,
        "levels: d, natural risks of (1, 1)\nand (0, 0); e, 1 minus that of\n(1, 1); f, P(a = y)": {
            "color": BLACK,
            "ls": ":",
        },
    }
    axes[-1].axis("off")
    axes[-1].legend(handles=handles(entries), loc="center left").set_in_layout(False)
    return figure


if __name__ == "__main__":
    run(name="group_attack", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
