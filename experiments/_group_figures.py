"""The two figures of group_fairness: gaps against the radius, and gap against accuracy under the published attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from _draw import letters
from _group_tables import MODELS, PUBLISHED, THREATS, data_title, pick, title, trained_radius
from linfair import plotting
from linfair.runs import Row

STYLE: dict[str, dict[str, Any]] = {
    "baseline": {"color": plotting.BLACK},
    "pre": {"color": plotting.BLACK, "ls": ":"},
    "in": {"color": plotting.GREY},
    "post": {"color": plotting.GREY, "ls": ":"},
    "at": {"color": plotting.ORANGE},
    "at_pre": {"color": plotting.ORANGE, "ls": ":"},
    "at_in": {"color": plotting.VERMILLION},
    "at_post": {"color": plotting.VERMILLION, "ls": ":"},
    "at_post_attacked": {"color": plotting.PURPLE},
    "at_fair": {"color": plotting.SKY},
    "at_both": {"color": plotting.BLUE},
    "at_both_pre": {"color": plotting.BLUE, "ls": ":"},
    "at_both_in": {"color": plotting.GREEN},
    "at_both_post": {"color": plotting.GREEN, "ls": ":"},
    "at_both_post_attacked": {"color": plotting.PURPLE, "ls": ":"},
}
"""Colour and line of a method; dotted ones have open markers."""
MARKER = dict(zip(STYLE, "o^s^o^s^DPo^s^D", strict=True))
LINES = ("baseline", "in", "post", "at", "at_in", "at_post", "at_post_attacked", "at_both", "at_both_in")
"""Methods drawn against the radius."""


SHORT = {"logistic": "logistic", "mlp": "network"}
FACTS = {"majority": ("majority label for all", "--"), "separation": ("the group as label", ":")}
"""Accuracies of two trivial rules: text and line."""


def plot(rows: list[Row], label: str) -> dict[str, Any]:
    """key -> figure."""
    return {"eps": against_radius(rows), "tradeoff": tradeoff(rows)}


def values(rows: Sequence[Row], key: str) -> dict[str, None]:
    """The distinct entries of a column in their order."""
    return dict.fromkeys(row[key] for row in rows)


def against_radius(rows: Sequence[Row]) -> Any:
    """A column a data set, a row a model and threat: worst EOd against the radius, 2 standard errors shaded."""
    data = list(values(rows, "data"))
    kinds = [(m, t) for m in values(rows, "model") for t in THREATS if t in values(pick(rows, model=m), "threat")]
    kinds = [(m, t) for m, t in kinds if not t.endswith("no box")]
    figure, axes = plotting.subplots(
        len(kinds), len(data), width=plotting.TEXT_WIDTH, height=1.55 * len(kinds) + 0.5, squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for row, (model, kind) in zip(axes, kinds, strict=True):
        for ax, name in zip(row, data, strict=True):
            for method in LINES:
                found = pick(rows, data=name, model=model, threat=kind, method=method)
                if found:
                    line(ax, found, method)
            ax.set(xlim=(0, None), ylim=(0, 205))
        row[0].set_ylabel(f"{SHORT[model]}, {kind} columns\nlargest EOd (%)")
    for ax, name in zip(axes[0], data, strict=True):
        ax.set_title(data_title(name))
    for ax in axes[-1]:
        ax.set_xlabel(r"attack radius $\epsilon$ ($\ell_\infty$)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    letters(axes.flat)
    return figure


def line(ax: Any, found: Sequence[Row], method: str) -> None:
    """Worst EOd of one method from the clean EOd on."""
    eps = np.array([0.0, *(row["eps"] for row in found)])
    mean = 100 * np.array([found[0]["EOd"], *(row["worst_EOd"] for row in found)])
    se = 100 * np.array([found[0]["EOd_se"] or 0.0, *(row["worst_EOd_se"] or 0.0 for row in found)])
    ax.plot(eps, mean, marker=MARKER[method], label=title(method), **STYLE[method])
    ax.fill_between(eps, mean - 2 * se, mean + 2 * se, color=STYLE[method]["color"], alpha=0.2, lw=0)


def tradeoff(rows: Sequence[Row]) -> Any:
    """A panel a data set and model: EOd against accuracy under the attack on DI, all columns, in the box."""
    data, models = list(values(rows, "data")), list(values(rows, "model"))
    trained = trained_radius(rows)
    figure, axes = plotting.subplots(
        len(models), len(data), width=plotting.TEXT_WIDTH, height=1.9 * len(models) + 0.7, squeeze=False, sharey=True,
    )  # fmt: skip
    shown: dict[str, Any] = {}
    for row, model in zip(axes, models, strict=True):
        for ax, name in zip(row, data, strict=True):
            found = pick(rows, data=name, model=model, threat="all", eps=trained)
            for fact, (text, ls) in FACTS.items():
                shown[text] = ax.axvline(100 * found[0][fact], color=plotting.GREY, lw=0.8, ls=ls, zorder=1)
            for one in found:
                shown[title(one["method"])] = point(ax, one)
            if name in ("adult-race", "adult-sex"):
                for published in PUBLISHED:
                    shown["published, Adult"] = ax.plot(
                        published["accuracy"], published["EOd"], "x", color=plotting.BLACK, ms=4, zorder=4
                    )[0]
            ax.set_title(f"{data_title(name)}\n{MODELS[model]}", fontsize=7)
            ax.set(ylim=(-5, 205))
    for ax in axes[-1]:
        ax.set_xlabel("accuracy, attack on DI (%)")
    for ax in axes[:, 0]:
        ax.set_ylabel("EOd, attack on DI (%)")
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=5)
    letters(axes.flat)
    return figure


def point(ax: Any, row: Row) -> Any:
    """One method, with bars of 2 standard errors both ways."""
    x, y = 100 * row["di_attack_accuracy"], 100 * row["di_attack_EOd"]
    xerr, yerr = (200 * (row[f"di_attack_{name}_se"] or 0.0) for name in ("accuracy", "EOd"))
    style = STYLE[row["method"]]
    filled = "none" if "ls" in style else style["color"]
    return ax.errorbar(
        x, y, xerr=xerr, yerr=yerr, fmt=MARKER[row["method"]], color=style["color"], markerfacecolor=filled,
        elinewidth=0.7, zorder=3,
    )  # fmt: skip
