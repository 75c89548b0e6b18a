"""Drawing of rows made by _twins: an analytic line with the trained points on it, and legends shared by panels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_lowercase
from typing import Any

from _twins import series
from linfair import plotting
from linfair.runs import Row

TRAINED: dict[str, Any] = {"ls": "", "marker": "o", "color": plotting.BLACK, "markeredgewidth": 0.0}
"""Legend style of trained points of any colour."""


def twins(
    ax: Any,
    rows: Sequence[Row],
    panel: str,
    curve: str,
    color: str,
    marker: str = "o",
    *,
    shift: float = 0.0,
    **line: Any,
) -> None:
    """The line of a curve and its trained points with bars of 2 standard errors, moved aside by ``shift``."""
    match = {"panel": panel, "curve": curve}
    ax.plot(*series(rows, **match, kind="analytic"), **{"color": color, "zorder": 2} | line)
    x, value = series(rows, **match, kind="trained")
    se = series(rows, "se", **match, kind="trained")[1]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    plotting.with_errors(ax, x + shift, value, se, fmt=marker, color=color, **edge)


def handles(entries: dict[str, dict[str, Any]]) -> list[Any]:
    """Legend entries from {label: line style}."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=label, **style) for label, style in entries.items()]


def log_ticks(ax: Any, values: Iterable[float], axis: str = "x") -> None:
    """A logarithmic axis whose only ticks are these values, written plainly."""
    ax.set(**{f"{axis}scale": "log"})
    ticks = list(values)
    getattr(ax, f"set_{axis}ticks")(ticks, [f"{tick:g}" for tick in ticks])
    getattr(ax, f"{axis}axis").set_minor_locator(_no_ticks())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def letters(axes: Iterable[Any]) -> None:
    """a, b, c, ... in reading order, at most 26."""
    for ax, name in zip(axes, ascii_lowercase, strict=False):
        plotting.letter(ax, name)
