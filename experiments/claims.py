"""The claims and their limits on one page: each panel follows a claim to where it fails (shaded).

Lines are exact. Points are trained thresholds (least 0-1 risk on attacked, mixed samples; for the amplification the
optimum of fitted Gaussians) where the panel is about training, and error counts of the known classifier on fresh
samples where it is about a classifier under attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import _claims
from _claims import Config
from _draw import TRAINED, handles, letters, twins
from _harness import run
from _twins import series
from linfair import plotting
from linfair.runs import Row

QUICK = Config(seeds=(0, 1, 2, 3), n=4_000)


@dataclass(frozen=True)
class Panel:
    claim: str
    rows: Callable[[str, Config], list[Row]]
    x: str
    y: str
    fails: tuple[str, str] | tuple[float, float] | str | None = None
    """Where to shade: an interval of x; two curves, where the first lies above the second; or a curve and what it does
    there: "rises", or "exceeds" or "undercuts" its first value."""
    top: float | None = None
    """Upper end of y, to leave room for the legend."""


PANELS = {
    "priors": Panel(
        "Mixup narrows the natural gap",
        _claims.priors,
        "prior ratio r",
        "|natural disparity|",
        ("with mixup", "without mixup"),
    ),
    "alone": Panel(
        "Mixup helps without adv. training",
        _claims.without_training,
        "attack e (sds of $-$)",
        "|robust disparity|",
        ("with mixup", "without mixup"),
    ),
    "hard": Panel(
        "Mix the class that suffers", _claims.hard_class, r"weight $\lambda$", "robust disparity", (0.5, 1.0)
    ),
    "losses": Panel(
        "Mixup works for any loss", _claims.losses, r"$c=\sum\lambda_i^2$", "robust disparity", (0.25, 1.0), top=0.23
    ),
    "easy": Panel(
        "Adv. training helps the easy class", _claims.easy_error, r"$\epsilon$", "natural error", "easy class exceeds"
    ),
    "radius": Panel(
        "Larger radius, wider gap", _claims.anisotropic, r"$\epsilon$", "robust disparity", "robust training undercuts"
    ),
    "flip": Panel(
        "Adv. training is less fair, attacked",
        _claims.sign_flip,
        "attack e (sds of $-$)",
        "|robust disparity|",
        ("natural training", "robust training"),
    ),
    "sqrt": Panel(
        r"The margin is $2\sqrt{d}\,(\eta-\epsilon)$",
        _claims.sqrt_d,
        r"$\epsilon$  ($\eta=0.5$, $d=16$)",
        "total margin T",
        (0.5, 0.8),
    ),
    "ratio": Panel("Far classes are treated alike", _claims.ratio, r"class distance $\tau$", "risk ratio", (1.5, 9.0)),
    "amplify": Panel(
        "The farther, the less amplified",
        _claims.amplified,
        r"natural distance $\tau_0$",
        "amplification G",
        "amplification rises",
    ),
    "remargin": Panel(
        "A larger radius helps the weak class",
        _claims.remargin,
        "extra training radius (sds of +)",
        "robust risk of +",
        r"$\tau = 2$ rises",
    ),
    "constant": Panel(
        "A stationary point is optimal",
        _claims.constant,
        r"class distance $\tau$",
        "average risk",
        ("interior point", 'always "+"'),
    ),
    "optima": Panel(
        "Least average risk is one classifier",
        _claims.two_optima,
        "direction of w (degrees)",
        "average risk",
        (0.0, 90.0),
    ),
    "groups": Panel(
        "One attack is worst for all gaps", _claims.orientations, r"$\epsilon$", "|attacked gap|", (0.0, 0.5), top=1.3
    ),
}


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"panel": name} for name in PANELS]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    return PANELS[cell["panel"]].rows(cell["panel"], cfg)


def shaded(rows: list[Row], name: str, panel: Panel) -> tuple[float, float] | None:
    """The interval of x where the claim fails."""
    if panel.fails is None or isinstance(panel.fails[0], float):
        return panel.fails  # pyright: ignore[reportReturnType]
    if isinstance(panel.fails, str):
        curve, _, move = panel.fails.rpartition(" ")
        x, y = series(rows, panel=name, curve=curve, kind="analytic")
        wrong = x[{"rises": np.gradient(y) > 0, "exceeds": y > y[0] + 1e-3, "undercuts": y < y[0]}[move]]
    else:
        first, second = (
            dict(zip(*series(rows, panel=name, curve=str(curve), kind="analytic"), strict=True))
            for curve in panel.fails
        )
        wrong = np.array([x for x in first if x in second and first[x] > second[x]])
    return (wrong.min(), wrong.max()) if len(wrong) else None


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(5, 3, width=plotting.TEXT_WIDTH, height=8.8)
    axes = axes.ravel()
    for ax, (name, panel) in zip(axes, PANELS.items(), strict=False):
        curves = list(dict.fromkeys(row["curve"] for row in rows if row["panel"] == name))
        for curve, color, marker in zip(curves, plotting.SEQUENCE, plotting.MARKERS, strict=False):
            twins(ax, rows, name, curve, color, marker, label=curve)
        if span := shaded(rows, name, panel):
            ax.axvspan(*span, color=plotting.GREY, alpha=0.18, lw=0, zorder=0)
        if len(curves) > 1:
            loc, ncols = ("upper left", 2) if panel.top else ("best", 1)
            ax.legend(loc=loc, ncols=ncols, fontsize=6.3, handlelength=1.2, columnspacing=0.8).set_in_layout(False)
        if panel.top:
            ax.set_ylim(top=panel.top)
        ax.set(xlabel=panel.x, ylabel=panel.y, title=f"{panel.claim}?")
        ax.margins(x=0.02)
    letters(axes[: len(PANELS)])
    entries: dict[str, dict[str, Any]] = {
        "exact": {"color": plotting.BLACK},
        "on samples, bars of 2 se": TRAINED,
        "the claim is false here": {"color": plotting.GREY, "alpha": 0.3, "lw": 6},
    }
    axes[-1].axis("off")
    axes[-1].legend(handles=handles(entries), loc="center left").set_in_layout(False)
    return figure


if __name__ == "__main__":
    run(name="claims", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
