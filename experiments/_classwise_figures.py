"""The four figures of classwise.csv: bars, worst against average, class distance, neighbours of the worst class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from _classwise_rows import BASE, NATURAL
from _classwise_table import title, total_error
from _draw import handles, letters
from linfair import plotting
from linfair.metrics import spearman
from linfair.runs import Row

FAMILIES = {
    "standard": plotting.GREY, "pgd_at": plotting.BLACK, "trades": plotting.BLUE, "domain_mixup": plotting.GREEN,
    "dafa": plotting.PURPLE, "fair_tat": plotting.ORANGE, "ard": plotting.SKY, "rslad": plotting.SKY,
    "absld": plotting.VERMILLION, "cfa": plotting.ORANGE, "faal": plotting.VERMILLION, "wat": plotting.BLUE,
}  # fmt: skip
MAIN = ("pgd_at", "trades", "domain_mixup_robust", "dafa_trades", "dafa_pgd", "fair_tat", "absld")
LIGHT = "#BDBDBD"


def color(method: str) -> str:
    """One a family of methods."""
    return next((c for family, c in FAMILIES.items() if method.startswith(family)), plotting.YELLOW)


def markers(rows: Sequence[Row]) -> dict[str, str]:
    """method -> marker, another one for each of those that share a colour."""
    seen: dict[str, int] = {}
    found = {}
    for method in (row["method"] for row in rows):
        k = seen[color(method)] = seen.get(color(method), -1) + 1
        found[method] = plotting.MARKERS[k % len(plotting.MARKERS)]
    return found


def names_of(row: Row) -> list[str]:
    return str(row["classes"]).split(" ")


def short(name: str) -> str:
    """A class name that fits under a bar."""
    return {"airplane": "plane", "automobile": "car"}.get(name, name)


def by_class(row: Row, key: str) -> np.ndarray:
    """Class columns of a row in percent."""
    return 100.0 * np.array([row[f"{key}_{name}"] for name in names_of(row)])


def base_row(rows: Sequence[Row]) -> Row:
    """PGD-AT, or the first method where it is not among the rows."""
    return next((row for row in rows if row["method"] == BASE), rows[0])


def plot(rows: list[Row], label: str) -> dict[str, Any]:
    """key -> figure."""
    figures = {"bars": bars(rows), "worst_average": worst_average(rows)}
    known = [row for row in rows if row.get("weak_class") is not None and row["method"] not in NATURAL]
    if known:
        figures |= {"distance": distance(known), "neighbours": neighbours(known)}
    for figure in figures.values():
        figure.suptitle(label, x=0.995, ha="right", fontsize=6.5, color=plotting.GREY)
    return figures


def bars(rows: Sequence[Row]) -> Any:
    """A panel a method: its class accuracies beside those of PGD-AT, hardest class of PGD-AT first.

    Under PGD-20; methods that train without attacks, of which it leaves nothing, stand below on clean images.
    """
    base = base_row(rows)
    others = [row for row in rows if row is not base] or [base]
    parts = [("PGD-20", "pgd20", [row for row in others if row["method"] not in NATURAL])]
    parts += [("clean", "clean", [row for row in others if row["method"] in NATURAL])]
    ncols = min(4, max(len(part) for *_, part in parts))
    lines = [(name, key, part[k : k + ncols]) for name, key, part in parts for k in range(0, len(part), ncols)]
    order = np.argsort(by_class(base, "pgd20"), kind="stable")
    names = [short(names_of(base)[k]) for k in order]
    size = {"width": plotting.TEXT_WIDTH, "height": 0.6 + 1.2 * len(lines)}
    figure, axes = plotting.subplots(len(lines), ncols, **size, sharex=True, sharey="row", squeeze=False)
    x = np.arange(len(order))
    for line, (name, key, part) in zip(axes, lines, strict=True):
        for ax, row in zip(line, part, strict=False):
            ax.bar(x - 0.2, by_class(base, key)[order], 0.4, color=LIGHT, linewidth=0)
            ax.bar(x + 0.2, by_class(row, key)[order], 0.4, color=color(row["method"]), linewidth=0)
            pair = f"worst {100 * base[f'{key}_worst']:.1f} → {100 * row[f'{key}_worst']:.1f}"
            ax.set_title(f"{title(row['method'])}\n{pair}", fontsize=7)
            ax.set_xticks(x, names, rotation=90)
        for ax in line[len(part) :]:
            ax.set_visible(False)
        line[0].set_ylabel(f"{name} accuracy (%)", fontsize=6.5)
    for column in axes.T:  # the lowest panel of a column has the class names, also where the grid is not full
        lowest = [ax for ax in column if ax.get_visible()][-1]
        lowest.tick_params(labelbottom=True)
    entries = {title(base["method"]): {"color": LIGHT, "lw": 5}}
    figure.legend(handles=handles(entries), loc="outside upper left")
    return figure


def worst_average(rows: Sequence[Row]) -> Any:
    """Worst class against average under PGD-20 and APGD, +- 2 standard errors, of methods that train with attacks."""
    robust = [row for row in rows if row["method"] not in NATURAL] or list(rows)
    marker = markers(robust)
    panels = [("pgd20", "PGD-20"), ("apgd", "APGD-CE + APGD-T")]
    shown = [(a, name) for a, name in panels if a == "pgd20" or all(row.get(f"{a}_avg") is not None for row in robust)]
    figure, axes = plotting.subplots(1, len(shown), width=plotting.TEXT_WIDTH, height=3.3, squeeze=False)
    for ax, (attack, name) in zip(axes.flat, shown, strict=True):
        counts = [row.get(f"{attack}_n{end}") for row in robust for end in ("", "_most")]
        count = " or ".join(map(str, sorted({n for n in counts if n is not None})))
        for row in robust:
            x, y = (100 * row[f"{attack}_{m}"] for m in ("avg", "worst"))
            errors = [200 * total_error(row, f"{attack}_{m}") for m in ("avg", "worst")]
            style = {"color": color(row["method"]), "elinewidth": 0.5, "capsize": 0, "alpha": 0.9, "markersize": 5}
            bars = {"xerr": errors[0], "yerr": [[min(errors[1], y)], [errors[1]]]}  # no rate is below 0
            ax.errorbar(x, y, **bars, fmt=marker[row["method"]], mec="white", mew=0.4, **style)
        ax.set(xlabel=f"average accuracy (%), {name}", ylabel="worst class (%)", title=f"{name}, {count} images")
    letters(axes.flat if len(shown) > 1 else ())
    entries = {title(m): {"marker": shape, "color": color(m), "ls": ""} for m, shape in marker.items()}
    figure.legend(handles=handles(entries), loc="outside lower center", ncols=5)
    return figure


CORNERS = {
    (1, 1): ("left", "bottom"),
    (1, -1): ("left", "top"),
    (-1, 1): ("right", "bottom"),
    (-1, -1): ("right", "top"),
}
"""Where a name may stand beside its point, and how it is aligned there."""


def label(ax: Any, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Names beside their points, each at the first corner where it meets no point and no name, else at the emptiest."""
    points = np.stack([x / (np.ptp(x) or 1.0), y / (np.ptp(y) or 1.0)], 1)  # all may be equal
    placed: list[np.ndarray] = []
    for i, name in enumerate(names):
        offsets = np.array(list(CORNERS)) * [0.02 + 0.01 * len(name), 0.05]
        others = np.array([*np.delete(points, i, 0), *placed])
        room = np.abs((points[i] + offsets)[:, None] - others) / [0.02 + 0.02 * len(name), 0.07]
        empty = room.max(2).min(1)  # below 1: a box of the size of the name holds another centre
        k = int(np.argmax(empty >= 1.0)) if (empty >= 1.0).any() else int(empty.argmax())
        placed.append(points[i] + offsets[k])
        (right, up), (ha, va) = list(CORNERS.items())[k]
        ax.annotate(
            name, (x[i], y[i]), textcoords="offset points", xytext=(3 * right, 2 * up), ha=ha, va=va, fontsize=6.5
        )


def distance(rows: Sequence[Row]) -> Any:
    """Accuracy of a class under PGD-20 against its similarity to the others: mean softmax on clean test images."""
    row = base_row(rows)
    figure, axes = plotting.subplots(1, 2, width=plotting.TEXT_WIDTH, height=2.7, sharey=True)
    y = by_class(row, "pgd20")
    for ax, key, text in (
        (axes[0], "similarity", "mean softmax shared with another class (%)"),
        (axes[1], "leaning", "mean softmax of the others' images (%)"),
    ):
        x = by_class(row, key)
        ax.plot(x, y, "o", color=color(row["method"]))
        label(ax, x, y, [short(name) for name in names_of(row)])
        ax.set(xlabel=text, title=f"{title(row['method'])}, rank correlation {spearman(x, y):.2f}")
        ax.margins(0.12)
    axes[0].set_ylabel("PGD-20 accuracy (%)")
    letters(axes)
    return figure


def neighbours(rows: Sequence[Row]) -> Any:
    """Where attacked images of the worst class go: its neighbours by falling similarity, nearest first."""
    row = base_row(rows)
    ranks = [key for key in row if key.startswith("to_neighbour_")]
    x = np.arange(1, len(ranks) + 1)
    figure, (left, right) = plotting.subplots(1, 2, width=plotting.TEXT_WIDTH, height=2.8)
    left.bar(x, [100 * row[key] for key in ranks], 0.7, color=color(row["method"]), linewidth=0)
    left.set_xticks(x, [short(name) for name in str(row["weak_neighbours"]).split(" ")], rotation=40, ha="right")
    weak, kept = short(str(row["weak_class"])), 100 - 100 * sum(row[key] for key in ranks)
    left.set(ylabel="predicted so under PGD-20 (%)", xlabel="nearest first", title=f"{title(row['method'])}: {weak}")
    left.text(0.97, 0.92, f"{kept:.1f} % stay {weak}", transform=left.transAxes, ha="right")
    main = [other for other in rows if other["method"] in MAIN] or list(rows)
    shapes = markers(main)
    for other in main:
        share = np.cumsum([other[key] for key in ranks]) / max(sum(other[key] for key in ranks), 1e-12)
        name = f"{title(other['method'])} ({short(str(other['weak_class']))})"
        style = {"marker": shapes[other["method"]], "color": color(other["method"]), "ms": 3, "lw": 0.8}
        right.plot(x, 100 * share, label=name, **style)
    right.plot(x, 100 * x / len(x), color=plotting.GREY, ls=":", lw=0.8, label="all alike")
    right.set(xlabel="neighbours counted, nearest first", ylabel="share of its errors (%)", ylim=(0, 102))
    right.set_title("each method's own worst class")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    letters((left, right))
    return figure
