"""Disparity against the attack radius: what grows, what flips its sign, and where the textbook picture reverses.

a-c  two isotropic classes, l2: natural and robust training under two losses, and the variance of class accuracy.
d    far classes: the attacked natural classifier fails the easy class worse than the robust one fails the hard class.
e    anisotropic classes, linf: robust training removes the disparity.
f    isotropic classes with unequal mean differences, linf: robust training costs the easy class natural accuracy.

Points: threshold ERM (in e over directions too) and robust logistic ERM, beside the minimiser of their own loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from _draw import handles, letters, twins
from _harness import run
from _isotropic import LOSSES, logistic_loss, margins, plane, train
from _twins import constant, line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers.closed_form import optimal_classifier
from linfair.solvers.local import average_risk
from linfair.solvers.zero_one import robust_threshold_erm


@dataclass(frozen=True)
class Config:
    K: float = 2.0
    """sd of the hard class in sds of the easy one, panels a-d"""
    tau0: float = 6.0
    """class distance of panels a-c"""
    tau0_far: float = 12.0
    """class distance of panel d"""
    radii: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.4)
    radii_far: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 5.6)
    radii_turned: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    radii_unequal: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.35, 0.45, 0.6)
    n: int = 40_000
    """training samples"""
    n_far: int = 200_000
    """training samples of panel d, where errors are rare"""
    n_turned: int = 20_000
    runs_turned: int = 48
    """independent samples of panel e, where ERM over directions is noisy"""
    n_test: int = 100_000
    seeds: tuple[int, ...] = tuple(range(16))
    grid: int = 40
    """points of an analytic line"""


QUICK = Config(
    radii=(1.0,), radii_far=(5.0,), radii_turned=(0.0, 0.5), radii_unequal=(0.0, 0.45),
    n=4_000, n_far=20_000, n_turned=2_000, runs_turned=4, n_test=10_000, seeds=(0, 1, 2), grid=6,
)  # fmt: skip

Sample = tuple[np.ndarray, np.ndarray]
CURVES: tuple[str, ...] = ("D_rob(f_rob)", "D_nat(f_rob)", "D_rob(f_nat)")
TURNED = ClassGaussians(np.array([[-1.0, -0.5], [1.0, 0.5]]), np.array([[1.0, 0.1], [1.0, 2.0]]))
ANGLES = np.deg2rad(np.arange(-30.0, 61.0, 3.0))
UNEQUAL = ClassGaussians.two_class([2.0] + [0.8] * 64, 1.0, 1.2)


def cells(cfg: Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"panel": "analytic"}]
    for panel, radii in (
        ("isotropic", cfg.radii),
        ("far", cfg.radii_far),
        ("turned", cfg.radii_turned),
        ("unequal", cfg.radii_unequal),
    ):
        found += [{"panel": panel, "x": eps} for eps in radii]
    return found


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    parts = {"analytic": lines, "isotropic": isotropic, "far": far, "turned": turned, "unequal": unequal}
    return parts[cell["panel"]](cell, cfg)


def disparities(loss: str, tau0: float, K: float, e: float) -> tuple[float, ...]:
    """The three of CURVES for the population minimisers of a loss, two isotropic classes."""
    u, v = margins(loss, tau0 - 2 * e, K)
    u0, v0 = margins(loss, tau0, K)
    return tuple(float(ndtr(-b) - ndtr(-a)) for a, b in ((u, v), (u + e, v + e / K), (u0 - e, v0 - e / K)))


def lines(cell: dict[str, Any], cfg: Config) -> list[Row]:
    rows = []
    near, far_away = (np.linspace(0, tau0 / 2 - 0.02, cfg.grid) for tau0 in (cfg.tau0, cfg.tau0_far))
    for panel, loss, tau0, x in (
        ("0-1", "0-1", cfg.tau0, near),
        ("logistic", "logistic", cfg.tau0, near),
        ("far", "0-1", cfg.tau0_far, far_away),
    ):
        values = np.array([disparities(loss, tau0, cfg.K, e) for e in x])
        for curve, column in zip(CURVES, values.T, strict=True):
            rows += line(panel, curve, x, column, K=cfg.K, tau0=tau0)
        u, v = margins(loss, tau0, cfg.K)
        rows.append({"panel": panel, "curve": "e*", "kind": "mark", "x": cfg.K * (u - v) / (cfg.K - 1), "value": 0.0})
        if panel != "far":
            rows += line("variance", loss, x, values[:, 0] ** 2 / 4, K=cfg.K, tau0=tau0)
    x = np.linspace(0, max(cfg.radii_turned), cfg.grid)
    for curve, column in zip(LOSSES, np.array([turned_disparities(eps) for eps in x]).T, strict=True):
        rows += line("turned", curve, x, column)
    x = np.linspace(0, max(cfg.radii_unequal), 4 * cfg.grid)
    values = np.array([natural_risks(eps) for eps in x])
    return rows + line("unequal", "R_nat(-)", x, values[:, 0]) + line("unequal", "R_nat(+)", x, values[:, 1])


def isotropic(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """Threshold ERM and logistic ERM, natural and robust, on the same samples."""
    e, model, threat = cell["x"], plane(cfg.tau0, cfg.K), Threat("l2", cell["x"])
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for X, y, test in samples(model, cfg.n, cfg.seeds, 0, e, cfg.n_test):
        for loss in LOSSES:
            f_rob, f_nat = train(loss, X, y, threat), train(loss, X, y, NATURAL)
            found[loss, CURVES[0]].append(f_rob.class_errors(*test, threat).disparity)
            found[loss, CURVES[1]].append(f_rob.class_errors(*test).disparity)
            found[loss, CURVES[2]].append(f_nat.class_errors(*test, threat).disparity)
    more = {"K": cfg.K, "tau0": cfg.tau0}
    rows = []
    for loss in LOSSES:
        expected = disparities(loss, cfg.tau0, cfg.K, e)
        for curve, value in zip(CURVES, expected, strict=True):
            rows.append(point(loss, curve, e, found[loss, curve], cfg.n, value, **more))
        variance = np.array(found[loss, CURVES[0]]) ** 2 / 4
        rows.append(point("variance", loss, e, variance, cfg.n, expected[0] ** 2 / 4, **more))
    return rows


def far(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """Threshold ERM; exact risks of what was trained, as errors are too rare to count."""
    e, model, threat = cell["x"], plane(cfg.tau0_far, cfg.K), Threat("l2", cell["x"])
    found = []
    for X, y, _ in samples(model, cfg.n_far, cfg.seeds, 1, e):
        f_rob, f_nat = train("0-1", X, y, threat), train("0-1", X, y, NATURAL)
        risks = f_rob.class_risks(model, threat), f_rob.class_risks(model), f_nat.class_risks(model, threat)
        found.append([risk.disparity for risk in risks])
    expected = disparities("0-1", cfg.tau0_far, cfg.K, e)
    return [
        point("far", curve, e, values, cfg.n_far, value, K=cfg.K, tau0=cfg.tau0_far)
        for curve, values, value in zip(CURVES, np.array(found).T, expected, strict=True)
    ]


def turned(cell: dict[str, Any], cfg: Config) -> list[Row]:
    """0-1 ERM over directions and thresholds, and logistic ERM."""
    eps, threat = cell["x"], Threat("linf", cell["x"])
    found = []
    for X, y, test in samples(TURNED, cfg.n_turned, range(cfg.runs_turned), 2, eps, cfg.n_test):
        classifiers = plane_erm(X, y, threat), train("logistic", X, y, threat)
        found.append([f.class_errors(*test, threat).disparity for f in classifiers])
    return [
        point("turned", curve, eps, values, cfg.n_turned, value)
        for curve, values, value in zip(LOSSES, np.array(found).T, turned_disparities(eps), strict=True)
    ]


def unequal(cell: dict[str, Any], cfg: Config) -> list[Row]:
    eps, threat = cell["x"], Threat("linf", cell["x"])
    found = [
        train("0-1", X, y, threat).class_errors(*test).rate
        for X, y, test in samples(UNEQUAL, cfg.n, cfg.seeds, 3, eps, cfg.n_test)
    ]
    return [
        point("unequal", curve, eps, values, cfg.n, value)
        for curve, values, value in zip(("R_nat(-)", "R_nat(+)"), np.array(found).T, natural_risks(eps), strict=True)
    ]


def samples(
    model: ClassGaussians, n: int, seeds: Iterable[int], part: int, eps: float, n_test: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray, Sample]]:
    """Training samples X, y and a test set, one a seed."""
    for seed in seeds:
        rng = np.random.default_rng([seed, part, round(1000 * eps)])
        X, y = model.sample([n // 2] * 2, rng)
        yield X, y, model.sample([n_test // 2] * 2, rng)


def natural_risks(eps: float) -> np.ndarray:
    return optimal_classifier(UNEQUAL, Threat("linf", eps)).classifier.class_risks(UNEQUAL).value


def turned_disparities(eps: float) -> tuple[float, ...]:
    """Robust disparity of the population minimisers of the two LOSSES."""
    threat = Threat("linf", eps)
    classifiers = average_risk(TURNED, threat).classifier, logistic_optimum(threat)
    return tuple(f.class_risks(TURNED, threat).disparity for f in classifiers)


def logistic_optimum(threat: Threat) -> LinearClassifier:
    """Population minimiser of the robust logistic loss; w >= 0 like the mean difference, where ||w||_1 is smooth."""

    def objective(x: np.ndarray) -> float:
        f = LinearClassifier(x[:2], x[2])
        sds = TURNED.sds(f.w)
        return float(logistic_loss(f.margins(TURNED, threat) * sds, sds).sum())

    x = minimize(objective, [1.0, 0.5, 0.0], method="SLSQP", bounds=[(0, None)] * 2 + [(None, None)], tol=1e-12).x
    return LinearClassifier(x[:2], x[2])


def plane_erm(X: np.ndarray, y: np.ndarray, threat: Threat) -> LinearClassifier:
    """0-1 ERM in the plane: the best of the best thresholds along ANGLES."""
    fits = [robust_threshold_erm(X, y, np.array([np.cos(t), np.sin(t)]), threat) for t in ANGLES]
    return min(fits, key=lambda f: f.class_errors(X, y, threat).rate.sum())


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 3, width=plotting.TEXT_WIDTH, height=4.4)
    black, orange = plotting.COLOR["natural"], plotting.COLOR["robust"]
    radius = r"attack radius $e = \epsilon / \sigma_-$"

    looks = ((orange, "o", "-"), (orange, "^", "--"), (black, "s", "-"))
    names = (
        r"$D_\mathrm{rob}(f_\mathrm{rob})$",
        r"$D_\mathrm{nat}(f_\mathrm{rob})$",
        r"$D_\mathrm{rob}(f_\mathrm{nat})$",
    )
    legend = {name: {"color": c, "marker": m, "ls": ls} for name, (c, m, ls) in zip(names, looks, strict=True)}
    for ax, panel, loss in zip(
        axes.flat[[0, 1, 3]], ("0-1", "logistic", "far"), ("0-1", "logistic", "0-1"), strict=True
    ):
        for curve, (color, marker, ls) in zip(CURVES, looks, strict=True):
            twins(ax, rows, panel, curve, color, marker, ls=ls)
        ax.axhline(0, color=plotting.GREY, lw=0.6, zorder=0)
        tau0 = constant(rows, "tau0", panel=panel, kind="analytic")
        ((flip,), _) = series(rows, panel=panel, kind="mark")
        ax.annotate("$e^*$", (flip, 0), (-1, -2), textcoords="offset points", ha="right", va="top")
        ax.set(title=rf"{loss} loss, $\tau_0 = {tau0:g}$", xlabel=radius, ylabel="disparity $R_+ - R_-$")
        ax.legend(handles=handles(legend), loc="lower left")

    colors = dict(zip(LOSSES, ((plotting.BLUE, "o"), (plotting.GREEN, "D")), strict=True))
    legend = handles({f"{loss} loss": {"color": c, "marker": m} for loss, (c, m) in colors.items()})
    for ax, panel in ((axes[0, 2], "variance"), (axes[1, 1], "turned")):
        for loss, (color, marker) in colors.items():
            twins(ax, rows, panel, loss, color, marker)
    axes[0, 2].set(title="variance of class accuracy", xlabel=radius, ylabel="variance $D^2 / 4$", yscale="log")
    axes[0, 2].set_ylim(2e-5, 0.2)
    axes[0, 2].legend(handles=legend, loc="upper left")
    ax = axes[1, 1]
    ax.axhline(0, color=plotting.GREY, lw=0.6, zorder=0)
    ax.set(title=r"anisotropic classes, $\ell_\infty$", xlabel=r"attack radius $\epsilon$")
    ax.set_ylabel(r"disparity $D_\mathrm{rob}(f_\mathrm{rob})$")
    ax.set_ylim(None, 0.07)
    ax.legend(handles=legend, loc="upper right")

    ax = axes[1, 2]
    for curve, name, role, marker in (("R_nat(-)", "easy", "minus", "o"), ("R_nat(+)", "hard", "plus", "s")):
        twins(ax, rows, "unequal", curve, plotting.COLOR[role], marker)
        ax.plot([], [], color=plotting.COLOR[role], marker=marker, label=f"{name} class")
    ax.legend(loc="lower right")
    ax.set(title=r"unequal mean gaps, $\ell_\infty$", xlabel=r"attack radius $\epsilon / \sigma_-$", yscale="log")
    ax.set_ylabel(r"natural risk of $f_\mathrm{rob}$")
    letters(axes.flat)
    return figure


if __name__ == "__main__":
    run(name="radius", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
