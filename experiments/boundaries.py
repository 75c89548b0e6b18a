"""Four boundaries in two dimensions: natural, robust, robust on mixed samples, and minimax-fair, under an l_inf attack.

isotropic    closed forms: the attack turns the direction, mixing and fairness only move the threshold.
anisotropic  local minimisation and the second-order cone program: mixing and fairness turn the direction too.

Trained: 0-1 ERM over all directions and thresholds, of the average or (minimax-fair) the worst class error of the
exactly attacked sample; thin lines, some of the seeds. The table sets exact robust class risks beside the disparity
measured on fresh samples, with its standard error over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from _draw import letters
from _harness import run
from _twins import line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import FixedLambda, NoMix
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers import convex, local
from linfair.solvers.closed_form import optimal_classifier

METHODS = {"natural": "natural", "robust": "robust", "mixup": "robust + mixup", "minimax": "minimax-fair"}
SHOWN = 5
"""Trained boundaries drawn a method."""


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(12))
    eps: float = 0.4
    """l_inf radius."""
    n: int = 40_000
    """Training samples a class."""
    n_test: int = 200_000


QUICK = Config(seeds=(0, 1, 2), n=2_000, n_test=20_000)


def turned(degrees: float, long: float, short: float) -> np.ndarray:
    """A covariance with these sds along axes turned by an angle."""
    t = np.radians(degrees)
    axes = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return axes @ np.diag([long**2, short**2]) @ axes.T


MODELS = {
    "isotropic": ClassGaussians.two_class([3.2, 1.5], 1.0, 2.0),
    "anisotropic": ClassGaussians(
        np.array([[-1.5, -1.0], [1.5, 1.0]]), np.stack([turned(126, 1.2, 0.5), turned(0, 2.2, 0.8)])
    ),
}


def best(panel: str, method: str, eps: float) -> LinearClassifier:
    """The population optimum."""
    model, threat = MODELS[panel], Threat("linf", 0.0 if method == "natural" else eps)
    mix = FixedLambda(0.5) if method == "mixup" else None
    if method == "minimax":
        found = convex.minimax_fair(model, threat)
    else:
        found = (
            optimal_classifier(model, threat, mix) if panel == "isotropic" else local.average_risk(model, threat, mix)
        )
    return found.classifier


def train(X: np.ndarray, y: np.ndarray, threat: Threat, worst: bool) -> LinearClassifier:
    """0-1 ERM over directions, by three rounds of an ever finer search, and exactly over the threshold of each."""
    centre, width = 0.0, np.pi / 2
    mean = X[y == 1].mean(0) - X[y == 0].mean(0)
    start = np.arctan2(mean[1], mean[0])
    found = (np.inf, np.zeros(2), 0.0)
    for _ in range(3):
        angles = start + centre + width * np.linspace(-1.0, 1.0, 25)
        risks = [threshold(X, y, np.array([np.cos(t), np.sin(t)]), threat, worst) for t in angles]
        k = int(np.argmin([risk for risk, _, _ in risks]))
        found, centre, width = min(found, risks[k], key=lambda r: r[0]), angles[k] - start, width / 8.0
    return LinearClassifier(found[1], -found[2])  # pyright: ignore[reportArgumentType]


def threshold(
    X: np.ndarray, y: np.ndarray, w: np.ndarray, threat: Threat, worst: bool
) -> tuple[float, np.ndarray, float]:
    """Least average or worst class error rate over thresholds of ``w.x``, w, and the threshold."""
    scores = X @ w + float(threat.radii(2)[0] * threat.dual_norm(w)) * (1 - 2 * y)
    order = np.argsort(scores)
    plus = np.cumsum(y[order]) / y.sum()
    minus = 1.0 - np.cumsum(1 - y[order]) / (1 - y).sum()
    risk = np.maximum(plus, minus) if worst else (plus + minus) / 2.0
    k = int(risk[:-1].argmin())
    return float(risk[k]), w, float(scores[order[k : k + 2]].mean())


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"panel": panel, "method": method} for panel in MODELS for method in METHODS]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    panel, method = cell["panel"], cell["method"]
    model, attack = MODELS[panel], Threat("linf", cfg.eps)
    truth = best(panel, method, cfg.eps)
    rows, rates = [boundary(panel, method, truth, "analytic")], []
    law = FixedLambda(0.5) if method == "mixup" else NoMix()
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, len(panel), list(METHODS).index(method)])
        X, y = model.sample_mixed([cfg.n] * 2, law, rng)
        classifier = train(X, y, NATURAL if method == "natural" else attack, method == "minimax")
        rates.append(classifier.class_errors(*model.sample([cfg.n_test] * 2, rng), attack).rate)
        rows.append(boundary(panel, method, classifier, "trained", seed))
    risk, rates = truth.class_risks(model, attack).value, np.array(rates)
    for k, name in enumerate(("R_-", "R_+")):
        rows += line(f"{panel} {name}", method, [cfg.eps], risk[k])
        rows.append(point(f"{panel} {name}", method, cfg.eps, rates[:, k], cfg.n, risk[k]))
    rows += line(f"{panel} D", method, [cfg.eps], risk[1] - risk[0])
    return [*rows, point(f"{panel} D", method, cfg.eps, rates[:, 1] - rates[:, 0], cfg.n, risk[1] - risk[0])]


def boundary(panel: str, method: str, classifier: LinearClassifier, kind: str, seed: int | None = None) -> Row:
    """The line ``w.x + b = 0``, ``||w||_2 = 1``."""
    size = float(np.linalg.norm(classifier.w))
    w1, w2, b = (float(v) / size for v in (*classifier.w, classifier.b))
    return {"panel": panel, "curve": method, "kind": f"{kind} boundary", "seed": seed, "w1": w1, "w2": w2, "b": b}


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=3.9, height_ratios=(3.0, 1.0))
    for panel, (ax, table) in zip(MODELS, axes.T, strict=True):
        _map(ax, rows, panel)
        _table(table, rows, panel)
    letters(axes[0])
    return figure


def _map(ax: Any, rows: list[Row], panel: str) -> None:
    from matplotlib.patches import Rectangle

    angle = np.linspace(0, 2 * np.pi, 200)
    model = MODELS[panel]
    for mean, cov, name, sign in zip(model.means, model.full_covs(), ("minus", "plus"), "−+", strict=True):
        values, vectors = np.linalg.eigh(cov)
        ring = vectors @ (np.sqrt(values)[:, None] * np.stack([np.cos(angle), np.sin(angle)]))
        for radius in (1.0, 2.0):
            ax.fill(*(mean[:, None] + radius * ring), facecolor=plotting.COLOR[name], alpha=0.1, lw=0)
            ax.plot(*(mean[:, None] + radius * ring), color=plotting.COLOR[name], lw=0.6)
        ax.text(*mean, sign, color=plotting.COLOR[name], ha="center", va="center", size=11)
    for row in rows:
        exact = row["kind"] == "analytic boundary"
        if row["panel"] == panel and (exact or (row["kind"] == "trained boundary" and row["seed"] < SHOWN)):
            w = np.array([row["w1"], row["w2"]])
            ends = -row["b"] * w + np.array([[-9.0], [9.0]]) * np.array([-w[1], w[0]])
            look = {"lw": 1.5, "zorder": 3} if exact else {"lw": 0.5, "alpha": 0.7}
            ax.plot(*ends.T, color=plotting.COLOR[row["curve"]], **look)
    eps = series(rows, panel=f"{panel} D")[0][0]
    ax.add_patch(Rectangle((3.2, -2.8), 2 * eps, 2 * eps, facecolor="none", edgecolor=plotting.GREY, lw=0.8))
    ax.text(3.2 + eps, 2 * eps - 2.7, "attack", color=plotting.GREY, ha="center")
    unit = " (sd of class −)" if model.isotropic else ""
    ax.set(
        xlabel=f"$x_1${unit}",
        ylabel=f"$x_2${unit}",
        xlim=(-4.3, 4.3),
        ylim=(-3.2, 3.2),
        title=f"{panel.capitalize()} classes",
    )
    ax.set_aspect("equal")


def _table(ax: Any, rows: list[Row], panel: str) -> None:
    """Legend and numbers in one."""
    ax.set(xlim=(0, 1), ylim=(0, 5))
    ax.axis("off")
    columns = (0.455, 0.565, 0.71, 1.03)
    for x, text in zip(columns, ("$R_-$", "$R_+$", "$D$", "trained $D$"), strict=True):
        ax.text(x, 4.4, text, ha="right", va="center")
    for i, (method, name) in enumerate(METHODS.items()):
        y = 3.4 - i
        ax.plot([0.0, 0.045], [y, y], color=plotting.COLOR[method], lw=1.5)
        ax.text(0.06, y, name, va="center")
        for x, column in zip(columns, ("R_-", "R_+", "D"), strict=False):
            value = series(rows, panel=f"{panel} {column}", curve=method, kind="analytic")[1][0]
            ax.text(x, y, f"{value:.3f}".replace("-", "−"), ha="right", va="center")
        value, se = (series(rows, c, panel=f"{panel} D", curve=method, kind="trained")[1][0] for c in ("value", "se"))
        ax.text(columns[-1], y, f"{value:.3f} ± {se:.3f}".replace("-", "−"), ha="right", va="center")


if __name__ == "__main__":
    run(name="boundaries", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
