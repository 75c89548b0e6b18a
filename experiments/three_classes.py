"""Three classes where same-class mixup cannot be fair: the average-optimal boundaries do not depend on mixing.

With equal covariances and priors the average-optimal classifier is the nearest mean, before and after mixing, so the
class with more neighbours pays more, for ever. The minimax-fair classifier has other boundaries.

line      classes at -3, 0, 3, unit sd: thresholds -+1.5 for every m, risks Phi(-1.5) outside, 2 Phi(-1.5) inside.
          Trained: threshold ERM, and for the fair one the thresholds of least worst class error.
triangle  classes at the corners of an uneven triangle, unit sd. Trained: softmax regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, root

from _draw import TRAINED, handles, letters, log_ticks, twins
from _harness import run
from _twins import line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import UniformMix
from linfair.runs import Row
from linfair.solvers.zero_one import threshold_erm

LINE = ClassGaussians(np.array([[-3.0], [0.0], [3.0]]), np.ones(3))
TRIANGLE = ClassGaussians(np.array([[-1.9, -0.8], [1.5, -0.8], [0.5, 1.3]]), np.ones(3))


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(20))
    n: int = 100_000
    """Training samples a class on the line; test samples everywhere."""
    n_softmax: int = 20_000
    m: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    """Samples in one mix."""
    m_softmax: tuple[int, ...] = (1, 2, 3, 4)
    """Fewer: on nearly separable mixes softmax regression is biased."""


QUICK = Config(seeds=tuple(range(6)), n=10_000, n_softmax=3_000, m=(1, 2, 4), m_softmax=(1, 2))


def ranked(model: ClassGaussians, log_weights: Any = 0.0) -> LinearClassifier:
    """``argmax_k mu_k.x - |mu_k|^2 / 2 + log p_k``: optimal for class weights p; equal ones give the nearest mean."""
    return LinearClassifier(model.means, log_weights - (model.means**2).sum(1) / 2.0)


def minimax(model: ClassGaussians) -> LinearClassifier:
    """Optimal for the least favourable class weights, where all risks are equal: minimax among all classifiers."""

    def unequal(x: np.ndarray) -> np.ndarray:
        return np.diff(ranked(model, np.append(x, 0.0)).class_risks(model).log_value)

    return ranked(model, np.append(root(unequal, np.zeros(2), tol=1e-12).x, 0.0))


def between(low: float, high: float) -> LinearClassifier:
    """Class 0 below, class 2 above, class 1 between."""
    return LinearClassifier(np.array([[-1.0], [0.0], [1.0]]), np.array([low, 0.0, -high]))


def threshold_pair(X: np.ndarray, y: np.ndarray) -> LinearClassifier:
    """The pair of thresholds with the fewest errors; each boundary sees its own two classes only."""
    return between(threshold_erm(X[y < 2, 0], y[y < 2]), threshold_erm(X[y > 0, 0], y[y > 0] - 1))


def fair_pair(X: np.ndarray, y: np.ndarray) -> LinearClassifier:
    """The pair of thresholds with the least worst class error: the level where the three error rates meet."""
    low, middle, high = (np.sort(X[y == k, 0]) for k in range(3))

    def pair(level: float) -> tuple[float, float]:
        return float(np.quantile(low, 1.0 - level)), float(np.quantile(high, level))

    def excess(level: float) -> float:
        inside = np.diff(np.searchsorted(middle, pair(level)))[0]
        return 1.0 - inside / len(middle) - level

    return between(*pair(float(brentq(excess, 1e-3, 0.5, xtol=1e-7))))  # pyright: ignore[reportArgumentType]


def softmax(X: np.ndarray, y: np.ndarray) -> LinearClassifier:
    """Softmax regression without penalty. Its model is right here: its population minimiser is the nearest mean."""
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(X, y)
    return LinearClassifier(fit.coef_, fit.intercept_)


def cells(cfg: Config) -> list[dict[str, Any]]:
    found = [{"panel": "line", "curve": "average", "m": m} for m in cfg.m]
    found += [{"panel": "triangle", "curve": "average", "m": m} for m in cfg.m_softmax]
    return found + [{"panel": "line", "curve": "fair", "m": 1}, {"panel": "triangle", "curve": "fair", "m": 0}]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    panel, curve, m = cell["panel"], cell["curve"], cell["m"]
    model, n = (LINE, cfg.n) if panel == "line" else (TRIANGLE, cfg.n_softmax)
    fit = softmax if panel == "triangle" else threshold_pair if curve == "average" else fair_pair
    truth = (ranked(model) if curve == "average" else minimax(model)).class_risks(model).value
    shown = cfg.m if panel == "line" else cfg.m_softmax
    at = [m] if curve == "average" else [min(shown), max(shown)]
    rows = [row for k in range(3) for row in line(panel, f"{curve} {k}", at, truth[k])]
    if m == 0:  # nothing is trained
        return rows
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, m, len(panel), len(curve)])
        classifier = fit(*model.sample_mixed([n] * 3, UniformMix(m), rng))
        found.append(classifier.class_errors(*model.sample([cfg.n] * 3, rng)).rate)
    risks = np.array(found)
    rows += [point(panel, f"{curve} {k}", m, risks[:, k], n, truth[k]) for k in range(3)]
    gap = risks[:, truth.argmax()] - risks[:, truth.argmin()]
    return [*rows, point(panel, f"{curve} disparity", m, gap, n, np.ptp(truth))]


BEST: dict[str, Any] = {"color": plotting.BLACK}
FAIR: dict[str, Any] = {"color": plotting.PURPLE, "ls": "--"}
BLUE, RED, GREEN = plotting.BLUE, plotting.VERMILLION, plotting.GREEN


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=4.4)
    _densities(axes[0, 0])
    _risks(axes[0, 1], rows, "line", {"outer": BLUE, "middle": RED, "": BLUE}, 0.165)
    _map(axes[1, 0])
    _risks(axes[1, 1], rows, "triangle", {"A": BLUE, "B": RED, "C": GREEN}, 0.2)
    letters(axes.flat)
    legend = {"least average risk, any $m$": BEST, "minimax-fair": FAIR, "trained, ±2 s.e.": TRAINED}
    figure.legend(handles=handles(legend), loc="outside lower center", ncols=3)
    return figure


def _densities(ax: Any) -> None:
    x = np.linspace(-6.2, 6.2, 400)
    for mean, name, color in zip(LINE.means[:, 0], ("outer", "middle", "outer"), (BLUE, RED, BLUE), strict=True):
        density = np.exp(-((x - mean) ** 2) / 2) / np.sqrt(2 * np.pi)
        ax.fill_between(x, density, color=color, alpha=0.15, lw=0)
        ax.plot(x, density, color=color, lw=1)
        ax.text(mean, 0.407, name, color=color, ha="center")
    for classifier, look in ((ranked(LINE), BEST), (minimax(LINE), FAIR)):
        t = -np.diff(classifier.b) / np.diff(classifier.w[:, 0])
        ax.vlines(t, 0.0, 0.39, **look)
    ax.set(
        title="Three classes on a line",
        xlabel="$x$ (sd of a class)",
        ylabel="class density",
        xlim=(-6.2, 6.2),
        ylim=(0, 0.45),
    )


def _map(ax: Any) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    for mean, name, color in zip(TRIANGLE.means, "ABC", (BLUE, RED, GREEN), strict=True):
        for radius in (1.0, 2.0):
            circle = mean[:, None] + radius * np.stack([np.cos(angle), np.sin(angle)])
            ax.fill(*circle, facecolor=color, alpha=0.1, lw=0)
            ax.plot(*circle, color=color, lw=0.6)
        ax.text(*mean, name, color=color, ha="center", va="center", weight="bold")
    for classifier, look in ((ranked(TRIANGLE), BEST), (minimax(TRIANGLE), FAIR)):
        corner = np.linalg.solve(np.diff(classifier.w, axis=0), -np.diff(classifier.b))
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            ray = (classifier.w[i] - classifier.w[j])[::-1] * [-1.0, 1.0]
            ray *= np.sign(ray @ (classifier.w[i] - classifier.w[k]))  # where i and j tie above k
            ax.plot(*np.stack([corner, corner + 5.0 * ray], axis=1), **look)
    ax.set(
        title="An uneven triangle",
        xlabel="$x_1$ (sd of a class)",
        ylabel="$x_2$ (sd of a class)",
        xlim=(-5.3, 5.1),
        ylim=(-3.0, 3.4),
    )
    ax.set_aspect("equal")


def _risks(ax: Any, rows: list[Row], panel: str, names: dict[str, str], top: float) -> None:
    for k, (name, color) in enumerate(names.items()):
        twins(ax, rows, panel, f"average {k}", color, "osv"[k])
        twins(ax, rows, panel, f"fair {k}", plotting.PURPLE, "osv"[k], ls="--")
        level = series(rows, panel=panel, curve=f"average {k}", kind="analytic")[1][0]
        ax.annotate(name, (1, level), (2, 0), ("axes fraction", "data"), "offset points", color=color, va="center")
    ms = series(rows, panel=panel, curve="average 0", kind="trained")[0]
    log_ticks(ax, ms.tolist())
    ax.set(
        title="Risks after training on mixes",
        xlabel="samples in one mix, $m$",
        ylabel="class risk",
        xlim=(0.93, 1.07 * ms[-1]),
        ylim=(0, top),
    )


if __name__ == "__main__":
    run(name="three_classes", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
