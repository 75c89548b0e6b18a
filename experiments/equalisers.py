"""The three exact cures compared: class weights in the loss, a larger radius for the hard class, mixing the easy class.

All three end at the same classifier, the equaliser u = v = a = tau / (K + 1), and so at the same price in average risk;
they differ in where they exist. Mixing the hard class instead, the intuitive choice, makes matters worse. Trained:
threshold ERM on samples of the cured training problem, measured on fresh samples of the original one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from _draw import TRAINED, handles, letters, twins
from _harness import run
from _twins import line, point
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.mixing import FixedLambda, Law, NoMix
from linfair.norms import Threat
from linfair.runs import Row
from linfair.solvers import equalisers
from linfair.solvers.closed_form import optimum
from linfair.solvers.zero_one import robust_threshold_erm

CURES = ("reweight", "re-margin", "mix easy")
CURVES = ("none", *CURES, "mix hard")


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(20))
    K: float = 2.0
    """sd of the hard class over that of the easy class; equal priors."""
    e: float = 0.5
    """Attack radius at test time, in sds of the easy class."""
    tau: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 3.6, 4.4, 5.0, 6.0)
    """Trained robust distances."""
    n: int = 100_000
    """Training samples a class; twice as many for the test."""


QUICK = Config(seeds=tuple(range(6)), n=10_000, tau=(2.0, 3.6, 5.0))


@dataclass(frozen=True)
class Training:
    """What a cure changes in training: loss weights, extra radius of "+" in sds of "-", laws of the classes."""

    weights: tuple[float, float] = (1.0, 1.0)
    extra: float = 0.0
    laws: tuple[Law, Law] = (NoMix(), NoMix())


def training(curve: str, tau: float, K: float) -> Training | None:
    """The training problem of a cure, None where no setting of it works."""
    if curve in ("none", "mix hard"):
        return Training(laws=(NoMix(), FixedLambda(0.5) if curve == "mix hard" else NoMix()))
    cure = {"reweight": equalisers.reweight, "re-margin": equalisers.remargin, "mix easy": equalisers.mix_easy}[curve]
    found = cure(tau, K)
    value = float(found.value)
    lam = float(equalisers.two_way_lambda(value)) if curve == "mix easy" else 0.0
    if not found.interior_optimal or np.isnan(lam):
        return None
    if curve == "reweight":
        return Training(weights=(1.0, value))
    return Training(extra=K * value) if curve == "re-margin" else Training(laws=(FixedLambda(lam), NoMix()))


def risks(curve: str, tau: Any, K: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact robust risks (R_-, R_+) at the test radius."""
    if curve in CURES:
        return ndtr(-tau / (K + 1.0)), ndtr(-tau / (K + 1.0))
    best = optimum(tau, K, c_plus=0.5 if curve == "mix hard" else 1.0)
    return best.risk_minus, best.risk_plus


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"curve": "exact", "tau": 0.0}] + [
        {"curve": curve, "tau": tau} for curve in CURVES for tau in cfg.tau if training(curve, tau, cfg.K)
    ]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    curve, tau, K = cell["curve"], cell["tau"], cfg.K
    if curve == "exact":
        return [*settings(cfg), *regions(), *achieved(cfg)]
    train = training(curve, tau, K)
    assert train is not None
    model = ClassGaussians.two_class([tau + 2 * cfg.e], 1.0, K)
    test = Threat("linf", cfg.e)
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, round(100 * tau), CURVES.index(curve)])
        X, y = model.sample_mixed([cfg.n] * 2, train.laws, rng)
        radii = Threat("linf", (cfg.e, cfg.e + train.extra))
        classifier = robust_threshold_erm(X, y, [1.0], radii, train.weights)
        found.append(classifier.class_errors(*model.sample([2 * cfg.n] * 2, rng), test).rate)
    minus, plus = np.array(found).T
    low, high = (float(risk) for risk in risks(curve, tau, K))
    rows = [point("disparity", curve, tau, plus - minus, cfg.n, high - low)]
    if curve in CURES:
        least = float(np.mean(risks("none", tau, K)))
        rows.append(point("price", curve, tau, (plus + minus) / 2 - least, cfg.n, (low + high) / 2 - least))
    return rows


def settings(cfg: Config) -> list[Row]:
    """What each cure must be set to, where training with it returns the equaliser."""
    tau = np.linspace(1.0, 6.3, 400)
    weight, extra, c = (f(tau, cfg.K) for f in (equalisers.reweight, equalisers.remargin, equalisers.mix_easy))
    return [
        *line("setting", "reweight", tau, np.where(weight.interior_optimal, weight.value, np.nan)),
        *line("setting", "re-margin", tau, np.where(extra.interior_optimal, extra.value, np.nan)),
        *line("setting", "mix easy", tau, np.where(c.value >= 0.5, 1.0 / c.value, np.nan)),
        *line("setting", "mix easy, more than two", tau, np.where(c.value <= 0.5, 1.0 / c.value, np.nan)),
    ]


def regions() -> list[Row]:
    """The least tau at which each cure works, against K: the edge in ``a = tau / (K + 1)``."""
    K = np.linspace(1.02, 5.0, 120)
    edges = {
        "reweight": ndtri(K / (K + 1.0)),
        "re-margin": np.sqrt(2.0 * np.log(K)),
        "mix easy": np.sqrt(np.log(2.0 * K * K)),
    }
    return [row for curve, a in edges.items() for row in line("region", curve, K, (K + 1.0) * a)]


def achieved(cfg: Config) -> list[Row]:
    tau = np.linspace(1.3, 6.3, 200)
    rows = []
    for curve in ("none", "mix hard"):
        low, high = risks(curve, tau, cfg.K)
        rows += line("disparity", curve, tau, high - low)
    fair, (low, high) = risks("reweight", tau, cfg.K)[0], risks("none", tau, cfg.K)
    return [*rows, *line("disparity", "cured", tau, 0.0 * tau), *line("price", "cured", tau, fair - (low + high) / 2)]


LOOKS = {
    "none": (plotting.BLACK, "o", 0.0, "no cure"),
    "mix hard": (plotting.VERMILLION, "v", 0.0, "mix hard class"),
    "reweight": (plotting.BLUE, "s", -0.07, "reweight"),
    "re-margin": (plotting.ORANGE, "^", 0.0, "re-margin"),
    "mix easy": (plotting.GREEN, "D", 0.07, "mix easy class"),
}
DISTANCE = "distance τ (sd of class −)"


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=4.5)
    (disparity, price), (setting, region) = axes
    for ax, panel in ((disparity, "disparity"), (price, "price")):
        twins(ax, rows, panel, "cured", plotting.GREY, lw=1)
    for curve, (color, marker, shift, _) in LOOKS.items():
        for ax, panel in ((disparity, "disparity"), (price, "price"), (setting, "setting"), (region, "region")):
            twins(ax, rows, panel, curve, color, marker, shift=shift)
    twins(setting, rows, "setting", "mix easy, more than two", plotting.GREEN, ls="--")
    disparity.set(title="What is achieved", xlabel=DISTANCE, ylabel="disparity $R_+ - R_-$", xlim=(1.2, 6.3))
    price.set(title="What it costs", xlabel=DISTANCE, ylabel="price in average risk", xlim=(1.2, 6.3), ylim=(0, None))
    setting.set(
        title="What must be set", xlabel=DISTANCE, ylabel="setting that equalises", xlim=(1.2, 6.3), ylim=(0, 3.1)
    )
    region.set(
        title="Where it works: above the line",
        xlabel="sd ratio $K$",
        ylabel="least τ (sd of class −)",
        xlim=(1, 5),
        ylim=(0, 12.5),
    )
    for ax, x, y, curve, text in (
        (setting, 1.35, 2.08, "reweight", "weights $W_+/W_-$"),
        (setting, 4.35, 2.25, "mix easy", "mixing, $1/c_-$\n(dashed: not two-way)"),
        (setting, 3.75, 0.95, "re-margin", "extra radius (sd of class +)"),
        (region, 1.15, 7.4, "mix easy", "mix easy class, two-way"),
        (region, 3.6, 6.2, "re-margin", "re-margin"),
        (region, 3.7, 2.6, "reweight", "reweight"),
    ):
        ax.text(x, y, text, color=LOOKS[curve][0])
    letters(axes.flat)
    legend = {name: {"color": color, "marker": marker} for color, marker, _, name in LOOKS.values()}
    figure.legend(handles=handles(legend | {"trained, ±2 s.e.": TRAINED}), loc="outside lower center", ncols=6)
    return figure


if __name__ == "__main__":
    run(name="equalisers", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
