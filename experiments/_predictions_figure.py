"""One figure of deep_predictions.csv: predicted sign against measured effect, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from _draw import handles
from linfair import plotting
from linfair.runs import Row

SIGN = {1: plotting.BLUE, -1: plotting.VERMILLION, None: plotting.GREY}
"""Predicted to rise, to fall, nothing predicted."""
APPLY = {"weights": "o", "margins": "s", "both": "D"}


def plot(rows: list[Row], label: str) -> Any:
    """(a) class by class against the risk at the own training radius; one line a prediction; the pairs of (e)."""
    margins = [row for row in rows if row.get("own_risk") is not None]
    others = [row for row in rows if row.get("own_risk") is None and row["prediction"] != "pair"]
    pairs = [row for row in rows if row["prediction"] == "pair"]
    shown = [(draw, part) for draw, part in ((risks, margins), (forest, others), (distances, pairs)) if part]
    widths = [1.0 if draw is not forest else 0.8 for draw, _ in shown]
    size = {"width": plotting.TEXT_WIDTH, "height": max(3.1, 0.9 + 0.22 * len(others))}
    figure, axes = plotting.subplots(1, len(shown), **size, squeeze=False, width_ratios=widths)
    for ax, (draw, part), name in zip(axes.flat, shown, "abc", strict=False):
        draw(ax, part)
        if len(shown) > 1:
            plotting.letter(ax, name)
    entries = {
        "predicted to rise": {"marker": "o", "ls": "", "color": SIGN[1]},
        "predicted to fall": {"marker": "o", "ls": "", "color": SIGN[-1]},
        "nothing predicted": {"marker": "o", "ls": "", "color": SIGN[None]},
        "filled: measured so": {"marker": "o", "ls": "", "color": plotting.BLACK},
        "crossed: the opposite": {"marker": "x", "ls": "", "color": plotting.BLACK},
        "empty: open": {"marker": "o", "ls": "", "color": plotting.BLACK, "mfc": "white"},
    }
    figure.legend(handles=handles(entries), loc="outside lower center", ncols=6, fontsize=6)
    figure.suptitle(label, x=0.995, ha="right", fontsize=6.5, color=plotting.GREY)
    return figure


def point(ax: Any, x: float, row: Row, marker: str, *, scale: float = 100.0, upright: bool = True) -> None:
    """An effect with its interval at `x`; filled where the interval lies on the predicted side of 0."""
    if row["effect"] is None:
        return
    value, low, high = (scale * row[key] for key in ("effect", "low", "high"))
    # A percentile interval need not hold the estimate.
    reach = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
    shade = SIGN[row["predicted"]]
    style = {"fmt": marker, "color": shade, "elinewidth": 0.8, "ms": 4, "mew": 0.8}
    style["mfc"] = shade if row["verdict"] == "agrees" else "white"
    at, bars = ((x, value), {"yerr": reach}) if upright else ((value, x), {"xerr": reach})
    ax.errorbar(*at, **bars, **style)
    if row["verdict"] == "contradicts":
        ax.plot(*at, "x", color=plotting.BLACK, ms=6, mew=1.0, zorder=4)


def risks(ax: Any, rows: Sequence[Row]) -> None:
    """(a) Change of a class that DAFA raised, against its risk at W eps; 1/2 is where the prediction turns."""
    for row in rows:
        point(ax, 100 * row["own_risk"], row, APPLY[str(row["prediction"]).removeprefix("DAFA, ")])
    ax.axvline(50, ymax=0.9, color=plotting.GREY, lw=0.7, ls=":")  # the legend is above
    ax.axhline(0, color=plotting.GREY, lw=0.7)
    beyond = sum(row["own_risk"] >= 0.5 for row in rows if row["prediction"] != "DAFA, weights")
    steered = sum(row["prediction"] != "DAFA, weights" for row in rows)
    ax.set(xlabel="risk at the own training radius (%)", ylabel="change of class accuracy (points)")
    ax.set_title(f"DAFA on hard classes\n{beyond} of {steered} margins beyond 1/2")
    shapes = {name: {"marker": m, "ls": "", "color": plotting.BLACK, "mfc": "white"} for name, m in APPLY.items()}
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))
    ax.legend(handles=handles(shapes), loc="upper center", ncols=3, columnspacing=0.8, handletextpad=0.1)


def forest(ax: Any, rows: Sequence[Row]) -> None:
    """(b)-(e) One line a prediction; rank correlations and log ratios times 10, to share the axis."""
    names = []
    for i, row in enumerate(rows):
        unit = 10.0 if row["part"] == "e" else 100.0
        point(ax, -i, row, "o", scale=unit, upright=False)
        against = "" if row["baseline"] is None else f" - {row['baseline']}"
        quantity = f"{row['quantity']} x 10" if unit == 10.0 else row["quantity"]
        radius = f" at {row['eps']}" if row["part"] == "a" else ""
        names.append(f"({row['part']}) {row['prediction']}{against}:\n{quantity}{radius}")
    ax.axvline(0, color=plotting.GREY, lw=0.7)
    ax.set_yticks(-np.arange(len(rows)), names, fontsize=5.5)
    ax.set_ylim(0.6 - len(rows), 0.4)
    ax.set(xlabel="effect (points)", title="averages and mixing")


def distances(ax: Any, rows: Sequence[Row]) -> None:
    """(e) Disparity of two classes trained alone, against the softmax they share when all classes are trained."""
    for row in rows:
        point(ax, 100 * row["similarity"], row | {"predicted": None}, "o")
        at = (100 * row["similarity"], 100 * row["effect"])
        ax.annotate(str(row["class"]), at, xytext=(3, 2), textcoords="offset points", fontsize=6)
    ax.set(xlabel="mean softmax shared (%)", ylabel="|disparity| (points)", title=f"{rows[0]['baseline']} against ...")
