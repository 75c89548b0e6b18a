"""How far samples are from theory, against the number of samples n, beside the rates and bounds of theory.

a  risk of a fixed classifier: error rate, plug-in estimate, and the largest error over all thresholds.
b  threshold ERM of the 0-1 loss: cube-root rate of the threshold, and its excess risk.
c  robust Rademacher complexity of {||w||_2 <= 1}, sampled, beside its bound.
d  robust logistic ERM: generalisation gap and excess loss of what was trained, beside their asymptotics.

Two isotropic classes, equal priors, l2 attack (c: also linf). Lines of b and d are asymptotic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

import _gap_theory as theory
from _draw import TRAINED, handles, letters, twins
from _harness import run
from _isotropic import logistic_loss, margins
from _twins import constant, line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.runs import Row
from linfair.solvers.closed_form import optimal_classifier
from linfair.solvers.fast import robust_erm
from linfair.solvers.zero_one import robust_threshold_erm


@dataclass(frozen=True)
class Config:
    K: float = 2.0
    """sd of the hard class in sds of the easy one"""
    tau0: float = 6.0
    """class distance in sds of the easy class"""
    eps: float = 0.5
    """attack radius in sds of the easy class"""
    delta: float = 0.05
    """probability with which the uniform bound may fail"""
    n_fixed: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000)
    n_threshold: tuple[int, ...] = (1000, 3000, 10_000, 30_000, 100_000)
    n_complexity: tuple[int, ...] = (50, 100, 300, 1000, 3000)
    n_erm: tuple[int, ...] = (300, 1000, 3000, 10_000, 30_000)
    dim: int = 20
    """dimension in c"""
    eps_complexity: float = 1.0
    dim_erm: int = 5
    """dimension in d"""
    runs: int = 1000
    """independent samples of a point in a and c"""
    runs_threshold: int = 600
    runs_erm: int = 300
    seed: int = 0


QUICK = Config(
    n_fixed=(100, 1000), n_threshold=(1000, 10_000), n_complexity=(50, 500), n_erm=(300, 1000),
    runs=100, runs_threshold=40, runs_erm=10,
)  # fmt: skip


def cells(cfg: Config) -> list[dict[str, Any]]:
    parts = {"fixed": cfg.n_fixed, "threshold": cfg.n_threshold, "complexity": cfg.n_complexity, "erm": cfg.n_erm}
    return [{"panel": "analytic"}, *({"panel": panel, "n": n} for panel, ns in parts.items() for n in ns)]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    if cell["panel"] == "analytic":
        return lines(cfg)
    parts = {"fixed": fixed, "threshold": threshold, "complexity": complexity, "erm": erm}
    part = list(parts).index(cell["panel"])
    return parts[cell["panel"]](cfg, cell["n"], np.random.default_rng([cfg.seed, part, cell["n"]]))


def problem(cfg: Config, dim: int = 1) -> tuple[ClassGaussians, Threat]:
    return ClassGaussians.two_class(cfg.tau0 * np.eye(dim)[0], 1.0, cfg.K), Threat("l2", cfg.eps)


def lines(cfg: Config) -> list[Row]:
    u, v = margins("0-1", cfg.tau0 - 2 * cfg.eps, cfg.K)
    more = {"dim": cfg.dim, "eps": cfg.eps_complexity}
    rows: list[Row] = []
    for panel, ns, curves, extra in (
        ("fixed", cfg.n_fixed, theory.fixed(v, cfg.delta), {}),
        ("threshold", cfg.n_threshold, theory.threshold(u, v, cfg.K), {}),
        ("complexity", cfg.n_complexity, theory.complexity(cfg.tau0, cfg.K, cfg.dim, cfg.eps_complexity), more),
        ("erm", cfg.n_erm, theory.erm(cfg.tau0, cfg.K, cfg.dim_erm, cfg.eps), {}),
    ):
        x = np.geomspace(min(ns) / 1.5, max(ns) * 1.5, 30)
        for curve, (scale, power) in curves.items():
            rows += line(panel, curve, x, scale * x**power, **extra)
    return rows


def fixed(cfg: Config, n: int, rng: np.random.Generator) -> list[Row]:
    """Errors of three estimates of the hard class' robust risk from n samples of it, for one classifier."""
    model, threat = problem(cfg)
    classifier = optimal_classifier(model, threat).classifier
    z = float(classifier.margins(model, threat)[1])
    errors = []
    for _ in range(cfg.runs):
        found = np.sort(classifier.robust_margins(*model.sample([0, n], rng), threat))
        true = ndtr(found / cfg.K - z)
        steps = np.arange(n + 1) / n
        largest = max((steps[1:] - true).max(), (true - steps[:-1]).max())
        errors.append([largest, (found <= 0).mean() - ndtr(-z), ndtr(-found.mean() / found.std()) - ndtr(-z)])
    largest, rate, plug_in = np.array(errors).T
    exact = theory.fixed(z, cfg.delta)["error rate"][0] / np.sqrt(n)
    again = np.quantile(rng.choice(largest, (200, cfg.runs)), 1 - cfg.delta, axis=1)  # bootstrap
    quantile = {"value": float(np.quantile(largest, 1 - cfg.delta)), "se": float(again.std(ddof=1))}
    return [
        point("fixed", "any threshold", n, largest, n) | quantile,
        rms("fixed", "error rate", rate, n, exact),
        rms("fixed", "plug-in", plug_in, n),
    ]


def rms(panel: str, curve: str, errors: np.ndarray, n: int, expected: float | None = None) -> Row:
    """Root mean square; standard error by the delta method."""
    value = np.sqrt((errors**2).mean())
    return point(panel, curve, n, value + (errors**2 - value**2) / (2 * value), n, expected)


def threshold(cfg: Config, n: int, rng: np.random.Generator) -> list[Row]:
    model, threat = problem(cfg)
    best = optimal_classifier(model, threat)
    w, b = best.classifier.w, best.classifier.b
    shift, excess = [], []
    for _ in range(cfg.runs_threshold):
        trained = robust_threshold_erm(*model.sample([n // 2] * 2, rng), w, threat)
        shift.append(float(trained.b - b))
        excess.append(trained.class_risks(model, threat).average(model.priors) - best.objective)
    return [rms("threshold", "threshold", np.array(shift), n), point("threshold", "excess risk", n, excess, n)]


def complexity(cfg: Config, n: int, rng: np.random.Generator) -> list[Row]:
    """One draw of x, y and signs s a run: ``sup_w mean s_i (y_i w.x_i - eps ||w||_q)`` over the unit l2 ball, exactly.

    With ``g = mean s_i y_i x_i`` and ``t = eps mean s_i`` it is ``max(||g|| - t, 0)`` for q = 2 and
    ``||max(|g| - t, 0)||_2`` for q = 1; both hold for t < 0 too.
    """
    model, _ = problem(cfg, cfg.dim)
    found = []
    for _ in range(cfg.runs):
        X, y = model.sample(n, rng)
        signs = rng.choice([-1.0, 1.0], n)
        g, t = (signs * (2 * y - 1)) @ X / n, cfg.eps_complexity * signs.mean()
        both = np.array([t, -t])  # the opposite signs are as likely: their mean has less variance
        l2 = np.maximum(np.linalg.norm(g) - both, 0.0)
        linf = np.linalg.norm(np.maximum(np.abs(g)[:, None] - both, 0.0), axis=0)
        found.append([np.linalg.norm(g), l2.mean(), linf.mean()])
    scaled = np.sqrt(n) * np.array(found).T
    return [point("complexity", norm, n, values, n) for norm, values in zip(theory.NORMS, scaled, strict=True)]


def erm(cfg: Config, n: int, rng: np.random.Generator) -> list[Row]:
    model, threat = problem(cfg, cfg.dim_erm)
    rho, b = theory.logistic_optimum(cfg.tau0, cfg.K, cfg.eps)

    def population(w: np.ndarray, b: float) -> float:
        signs, length = np.array([-1.0, 1.0]), float(np.linalg.norm(w))
        means = signs * (model.means @ w + b) - cfg.eps * length
        return float(logistic_loss(means, length * np.sqrt(model.covs)).mean())

    best = population(rho * np.eye(cfg.dim_erm)[0], b)
    gap, excess = [], []
    for _ in range(cfg.runs_erm):
        X, y = model.sample([n // 2] * 2, rng)
        trained = robust_erm(X, y, threat)
        loss = population(trained.classifier.w, float(trained.classifier.b))
        noise = np.logaddexp(0, cfg.eps * rho - (2 * y - 1) * (rho * X[:, 0] + b)).mean() - best
        gap.append(loss - trained.objective + noise)  # the noise has mean 0 and hides a gap of order 1/n
        excess.append(loss - best)
    return [point("erm", "generalisation gap", n, gap, n), point("erm", "excess loss", n, excess, n)]


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=4.6)
    blue, red, green, black = plotting.BLUE, plotting.VERMILLION, plotting.GREEN, plotting.BLACK

    curves = {
        "any threshold": ("any threshold: 95 % quantile, DKW bound", red, "s", "--"),
        "error rate": ("error rate: rms, binomial", blue, "o", "-"),
        "plug-in": ("plug-in: rms, delta method", green, "^", "-"),
    }
    draw(axes[0, 0], rows, "fixed", curves)
    axes[0, 0].set(title="one classifier, its risk estimated", xlabel="samples of the hard class, $n$")
    axes[0, 0].set(ylabel="error of the estimated risk", ylim=(None, 2))

    power = {curve: f"slope ${slope(rows, 'threshold', curve):.2f}$" for curve in ("threshold", "excess risk")}
    curves = {
        "threshold": (f"threshold: rms error in $\\sigma_-$, {power['threshold']}", blue, "o", "-"),
        "excess risk": (f"excess risk: mean, {power['excess risk']}", green, "^", "-"),
    }
    draw(axes[0, 1], rows, "threshold", curves)
    axes[0, 1].set(title="threshold ERM of the 0-1 loss", xlabel="training samples $n$", ylabel="error", ylim=(None, 4))

    ax = axes[1, 0]
    names = ("no attack", r"$\ell_2$ attack", r"$\ell_\infty$ attack")
    for i, (norm, color, marker) in enumerate(zip(theory.NORMS, (black, blue, red), "osD", strict=True)):
        apart = [row | {"x": row["x"] * 1.1 ** (i - 1)} if row["kind"] == "trained" else row for row in rows]
        twins(ax, apart, "complexity", norm, color, marker, ls="--")
        end, level = (values[-1] for values in series(rows, panel="complexity", curve=norm, kind="analytic"))
        ax.annotate(names[i], (end, level), (3, 0), textcoords="offset points", color=color, va="center")
    d, eps = (constant(rows, key, panel="complexity", kind="analytic") for key in ("dim", "eps"))
    ax.set(title=rf"robust Rademacher complexity, $d = {d}$, $\epsilon = {eps:g}$", xscale="log", xlabel="samples $n$")
    ax.set(xlim=(30, 20_000), ylim=(7, 10.5), ylabel=r"$\sqrt{n}\;\times$ complexity")
    ax.legend(handles=handles({"bound": {"color": black, "ls": "--"}, "sampled": TRAINED}), loc="upper right", ncols=2)

    curves = {
        "bound": ("uniform bound by complexity", plotting.COLOR["bound"], "", "--"),
        "generalisation gap": ("generalisation gap", blue, "o", "-"),
        "excess loss": ("excess loss", green, "^", "-"),
    }
    draw(axes[1, 1], rows, "erm", curves)
    axes[1, 1].set(title="robust logistic ERM", xlabel="training samples $n$", ylabel="robust logistic loss")
    axes[1, 1].set_ylim(None, 60)
    letters(axes.flat)
    return figure


def draw(ax: Any, rows: list[Row], panel: str, curves: dict[str, tuple[str, str, str, str]]) -> None:
    """Curves {name: (label, color, marker, line style)} on logarithmic axes with a legend."""
    for curve, (_, color, marker, ls) in curves.items():
        twins(ax, rows, panel, curve, color, marker, ls=ls)
    ax.set(xscale="log", yscale="log")
    entries = {label: {"color": c, "marker": m, "ls": ls} for label, c, m, ls in curves.values()}
    ax.legend(handles=handles(entries), loc="upper right")


def slope(rows: list[Row], panel: str, curve: str) -> float:
    """Fitted power of n."""
    n, value = series(rows, panel=panel, curve=curve, kind="trained")
    return float(np.polyfit(np.log(n), np.log(value), 1)[0])


if __name__ == "__main__":
    run(name="sample_gap", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
