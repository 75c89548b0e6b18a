"""Disparity against class distance: the difference, its dependence on the loss, the ratio, the amplification.

Two isotropic classes, l2 attack of radius e (in sds of the easy class). Points: classifiers trained on samples -
threshold ERM of the 0-1 loss, robust logistic ERM, the plug-in rule -
each beside the population minimiser of its own loss.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

from _draw import handles, letters, log_ticks, twins
from _harness import run
from _isotropic import LOSSES, margins, plane, train
from _twins import constant, line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers.closed_form import optimal_classifier, optimum


@dataclass(frozen=True)
class Config:
    K: float = 2.0
    """sd of the hard class in sds of the easy one"""
    e: float = 0.5
    """attack radius in sds of the easy class"""
    distances: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """prior ratios pi_+ / pi_- of the ratio panel"""
    ratio_distances: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0)
    K_overlap: float = 5.0
    """sd ratio of the amplification panel"""
    e_overlap: float = 0.1
    overlap_distances: tuple[float, ...] = (0.3, 0.6, 0.9, 1.3, 1.8, 2.3)
    n: int = 30_000
    """training samples of threshold and logistic ERM"""
    n_test: int = 100_000
    n_plugin: int = 20_000
    seeds: tuple[int, ...] = tuple(range(16))
    plugin_runs: int = 64
    """independent samples of a plug-in point"""
    grid: int = 40
    """points of an analytic line"""


QUICK = Config(
    distances=(2.0, 4.0), ratios=(1.0,), ratio_distances=(3.0,), overlap_distances=(0.6,),
    n=10_000, n_test=20_000, n_plugin=2_000, seeds=(0, 1, 2), plugin_runs=8, grid=6,
)  # fmt: skip

CURVES: tuple[str, ...] = ("D_rob(f_rob)", "D_nat(f_nat)", "D_nat(f_rob)")


def cells(cfg: Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"panel": "analytic"}]
    found += [{"panel": "difference", "x": x} for x in cfg.distances]
    found += [
        {"panel": "ratio", "x": x, "r": r} for r in cfg.ratios for x in cfg.ratio_distances if exists(x, cfg.K, r)
    ]
    return found + [{"panel": "amplification", "x": x} for x in cfg.overlap_distances]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    return {"analytic": lines, "difference": trained, "ratio": trained_ratio, "amplification": plug_in}[cell["panel"]](
        cell, cfg
    )


def exists(tau: float, K: float, r: float) -> bool:
    """Whether the optimum is a proper classifier there."""
    return bool(optimum(tau, K, r).interior_optimal)


def disparities(loss: str, tau0: float, K: float, e: float) -> tuple[float, ...]:
    """The three of CURVES at natural distance tau0."""
    (u, v), (u0, v0) = margins(loss, tau0 - 2 * e, K), margins(loss, tau0, K)
    return tuple(float(ndtr(-b) - ndtr(-a)) for a, b in ((u, v), (u0, v0), (u + e, v + e / K)))


def lines(cell: dict[str, Any], cfg: Config) -> list[Row]:
    x = np.linspace(2 * cfg.e + 0.02, max(cfg.distances) + 0.3, cfg.grid)
    rows = []
    for loss in LOSSES:
        values = np.array([disparities(loss, tau0, cfg.K, cfg.e) for tau0 in x])
        for curve, column in zip(CURVES, values.T, strict=True):
            rows += line(f"difference, {loss}", curve, x, column, K=cfg.K, e=cfg.e)
    far = np.geomspace(0.7, 60, 120)
    for r in cfg.ratios:
        best = optimum(far, cfg.K, r)
        ratio = np.exp(log_ndtr(-best.v) - log_ndtr(-best.u))
        rows += line("ratio", f"r = {r:g}", far, np.where(best.interior_optimal, ratio, np.nan), K=cfg.K, e=0.0)
        rows += [{"panel": "ratio", "curve": f"r = {r:g}", "kind": "limit", "x": float("inf"), "value": cfg.K / r}]
    near = np.linspace(2 * cfg.e_overlap + 1e-3, max(cfg.overlap_distances) + 0.2, 80)
    gap = optimum(near - 2 * cfg.e_overlap, cfg.K_overlap).disparity - optimum(near, cfg.K_overlap).disparity
    return rows + line("amplification", "G", near, gap, K=cfg.K_overlap, e=cfg.e_overlap)


def trained(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """Threshold ERM and logistic ERM, natural and robust, on the same samples; held-out class errors."""
    model = plane(cell["x"], cfg.K)
    threat = Threat("l2", cfg.e)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, round(1000 * cell["x"])])
        X, y = model.sample(cfg.n, rng)
        test = model.sample([cfg.n_test // 2] * 2, rng)
        for loss in LOSSES:
            f_rob, f_nat = train(loss, X, y, threat), train(loss, X, y, NATURAL)
            found[loss, CURVES[0]].append(f_rob.class_errors(*test, threat).disparity)
            found[loss, CURVES[1]].append(f_nat.class_errors(*test).disparity)
            found[loss, CURVES[2]].append(f_rob.class_errors(*test).disparity)
    expected = {loss: dict(zip(CURVES, disparities(loss, cell["x"], cfg.K, cfg.e), strict=True)) for loss, _ in found}
    return [
        point(f"difference, {loss}", curve, cell["x"], values, cfg.n, expected[loss][curve], K=cfg.K, e=cfg.e)
        for (loss, curve), values in found.items()
    ]


def trained_ratio(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """Ratio of the mean held-out class risks of threshold ERM; standard error by the delta method."""
    r = cell["r"]
    model = plane(cell["x"], cfg.K, r)
    risks = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, round(1000 * cell["x"]), round(1000 * r)])
        classifier = train("0-1", *model.sample(cfg.n, rng), NATURAL)
        risks.append(classifier.class_errors(*model.sample([cfg.n_test // 2] * 2, rng)).rate)
    minus, plus = np.mean(risks, axis=0)
    spread = plus / minus * (np.array(risks) @ [-1 / minus, 1 / plus])  # its mean is 0: centre it on the ratio
    best = optimum(cell["x"], cfg.K, r)
    expected = float(best.risk_plus / best.risk_minus)
    return [point("ratio", f"r = {r:g}", cell["x"], plus / minus + spread, cfg.n, expected, K=cfg.K, e=0.0)]


def plug_in(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """G of the plug-in rule: it converges like n^-1/2, threshold ERM is too slow to resolve a change of 0.5 %."""
    model = plane(cell["x"], cfg.K_overlap)
    threat = Threat("l2", cfg.e_overlap)
    gaps = []
    for i in range(cfg.plugin_runs):
        sample = model.sample([cfg.n_plugin // 2] * 2, np.random.default_rng([i, round(1000 * cell["x"]), 1]))
        fitted = ClassGaussians.fit(*sample, "scalar")
        rob, nat = optimal_classifier(fitted, threat).classifier, optimal_classifier(fitted, NATURAL).classifier
        gaps.append(rob.class_risks(model, threat).disparity - nat.class_risks(model).disparity)
    e, K = cfg.e_overlap, cfg.K_overlap
    expected = optimum(cell["x"] - 2 * e, K).disparity - optimum(cell["x"], K).disparity
    return [point("amplification", "G", cell["x"], gaps, cfg.n_plugin, float(expected), K=K, e=e)]


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=4.6)
    black, orange = plotting.COLOR["natural"], plotting.COLOR["robust"]
    looks = ((orange, "o", "-"), (black, "s", "-"), (orange, "^", "--"))
    names = (
        r"$D_\mathrm{rob}(f_\mathrm{rob})$",
        r"$D_\mathrm{nat}(f_\mathrm{nat})$",
        r"$D_\mathrm{nat}(f_\mathrm{rob})$",
    )
    legend = {name: {"color": c, "marker": m, "ls": ls} for name, (c, m, ls) in zip(names, looks, strict=True)}
    for ax, loss, learner in zip(axes[0], LOSSES, ("threshold ERM", "robust ERM"), strict=True):
        panel = f"difference, {loss}"
        for curve, (color, marker, ls) in zip(CURVES, looks, strict=True):
            twins(ax, rows, panel, curve, color, marker, ls=ls)
        ax.set(title=f"{loss} loss, {learner} ({setting(rows, panel)})")
        ax.set(ylabel="disparity $D = R_+ - R_-$", ylim=(0, None))
        ax.legend(handles=handles(legend), loc="upper right")

    ax = axes[1, 0]
    for i, curve in enumerate(dict.fromkeys(row["curve"] for row in rows if row["panel"] == "ratio")):
        twins(ax, rows, "ratio", curve, plotting.SEQUENCE[i], plotting.MARKERS[i])
        (limit,) = series(rows, panel="ratio", curve=curve, kind="limit")[1]
        ax.axhline(limit, color=plotting.SEQUENCE[i], lw=0.7, ls=":", zorder=0)
        ax.text(1, limit, f"${curve}$", transform=ax.get_yaxis_transform(), ha="right", va="bottom")
    K = constant(rows, "K", panel="ratio", kind="analytic")
    ax.set(title=f"the ratio tends to $K/r$ ($K = {K:g}$)", ylabel="ratio $R_+ / R_-$", yscale="log", xlim=(0.65, 75))
    log_ticks(ax, [1, 3, 10, 30])
    ax.set_yticks([0.25, 0.5, 1, 2, 4, 8, 16], ["1/4", "1/2", "1", "2", "4", "8", "16"])
    ax.yaxis.minorticks_off()

    ax = axes[1, 1]
    twins(ax, rows, "amplification", "G", orange)
    ax.set(title=f"amplification, plug-in rule ({setting(rows, 'amplification')})")
    ax.set(ylabel=r"$G = D_\mathrm{rob}(f_\mathrm{rob}) - D_\mathrm{nat}(f_\mathrm{nat})$", xlim=(0, None))
    for ax in axes.flat:
        ax.set_xlabel(r"class distance $\tau_0 = \|\Delta\|_2 / \sigma_-$")
    letters(axes.flat)
    return figure


def setting(rows: list[Row], panel: str) -> str:
    K, e = (constant(rows, column, panel=panel) for column in ("K", "e"))
    return f"$K = {K:g}$, $e = {e:g}$"


if __name__ == "__main__":
    run(name="class_distance", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
