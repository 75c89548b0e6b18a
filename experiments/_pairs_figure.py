"""The figure of real_pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from _pairs_summary import METHODS, SHOWN, Pairs, grouped, rank
from linfair import plotting, runs

NAME = {"natural": "natural", "robust": "robust", "mixup": "mixup + robust", "minimax": "minimax-fair"}
UNIT = {"l2": r"$\ell_2$ radius", "linf": r"$\ell_\infty$ radius"}


def plot(rows: Sequence[runs.Row], label: str):
    """Top l2, bottom linf: class risks; disparity against class distance; size of the disparity against the radius."""
    sets = grouped(rows)
    figure, axes = plotting.subplots(2, 3, width=plotting.TEXT_WIDTH, height=4.9)
    for line, geometry in enumerate(("l2", "linf")):
        own = {eps: methods for (g, eps), methods in sets.items() if g == geometry}
        _risks(axes[line, 0], own)
        shown = list(own)[min(SHOWN, len(own) - 1)]
        _distance(axes[line, 1], own[shown]["robust"])
        _radius(axes[line, 2], own, geometry)
        for column in range(3):
            plotting.letter(axes[line, column], "abcdef"[3 * line + column])
        axes[line, 0].set_title(f"{UNIT[geometry].split()[0]}: class risks")
        axes[line, 1].set_title(f"robust classifier, {UNIT[geometry].split()[0]} radius {shown}")
        axes[line, 2].set_title("size of the disparity")
    axes[0, 1].legend(loc="upper right")
    handles = axes[0, 2].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, title="lines: analytic, points: held out ± 1 s.e.")
    n = len(next(iter(sets.values()))["robust"].rows)
    figure.suptitle(f"{label}: {n} pairs of classes, exact attack on held-out images (no box)", fontsize=8)
    return figure


def _risks(ax, own: dict[str, dict[str, Pairs]]) -> None:
    """Class risks on probit axes, where a Gaussian margin is a straight scale; no error counts as half a one."""
    points = {}
    for method in METHODS:
        found = [m[method] for eps, m in own.items() if method in m and eps != "0"]
        if found:
            x, n, y = (np.concatenate([p.both(kind) for p in found]) for kind in ("analytic", "n", "test"))
            points[method] = np.clip(x, 0.0005, None), np.clip(y, 0.5 / n, 1 - 0.5 / n)
    every = np.concatenate([np.concatenate(xy) for xy in points.values()])
    low, high = ndtri(every.min()) - 0.1, ndtri(every.max()) + 0.1
    ax.plot([low, high], [low, high], color=plotting.GREY, lw=0.8, zorder=0)
    for method, xy in points.items():
        marker = plotting.MARKERS[METHODS.index(method)]
        ax.plot(*ndtri(xy), marker, color=plotting.COLOR[method], ms=2, mew=0, alpha=0.6)
    wide = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
    ticks = [
        t for t in (wide if high - low > 3 else (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)) if low < ndtri(t) < high
    ]
    names = [f"{t:g}"[1:] for t in ticks]
    ax.set(xticks=ndtri(ticks), yticks=ndtri(ticks), xticklabels=names, yticklabels=names)
    ax.set(
        xlim=(low, high), ylim=(low, high), xlabel="analytic class risk (probit scale)", ylabel="held-out class risk"
    )


def _distance(ax, p: Pairs) -> None:
    ax.axhline(0, color=plotting.GREY, lw=0.6)
    plotting.with_errors(ax, p["kappa"], p.D("test"), p.D_se, bars=1, ms=3, label="held out ± 1 s.e.")
    ax.plot(
        p["kappa"], p.D("analytic"), "_", color=plotting.COLOR["analytic"], ms=5, mew=1.2, zorder=4, label="analytic"
    )
    found = rank(p.D("analytic"), p.D("test"))
    note = rf"$\rho$ = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    ax.margins(y=0.14)  # room for the note below and the legend above
    ax.annotate(note, (0.98, 0.02), xycoords="axes fraction", ha="right")
    ax.set(xlabel=r"class distance $\kappa^*$ (robust margin, s.d.)", ylabel="disparity (hard $-$ easy)")


def _radius(ax, own: dict[str, dict[str, Pairs]], geometry: str) -> None:
    for method in METHODS:
        found = [(p["radius"][0], *p.rms(1.0)) for m in own.values() if (p := m.get(method)) and len(p) >= 3]
        if not found:
            continue
        x, analytic, measured, low, high = np.array(found).T
        color = plotting.COLOR[method]
        ax.plot(x, analytic, color=color, zorder=2, clip_on=False)  # minimax-fair lies on the axis
        shift = (METHODS.index(method) - 1.5) * 0.012 * max(x.max(), 1e-9)
        marker = plotting.MARKERS[METHODS.index(method)]
        plotting.with_errors(
            ax, x + shift, measured, np.array([measured - low, high - measured]), bars=1, color=color, fmt=marker,
            label=NAME[method], clip_on=False,
        )  # fmt: skip
    ticks = {float(m["robust"]["radius"][0]): eps for eps, m in own.items() if len(m["robust"])}
    ax.set(xticks=list(ticks), xticklabels=list(ticks.values()))
    ax.set(xlabel=f"{UNIT[geometry]} (pixels in [0, 1])", ylabel="rms disparity over pairs", ylim=(0, None))
