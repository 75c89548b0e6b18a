"""Which robust class risks two classes can have together, and what each bound on their difference costs, certified.

isotropic  two dimensions, sds 1 and 2: closed forms.
turned     each class spreads where the other does not: two local optima, which favour opposite classes.
features   ten correlated features: every point is a convex program.

Trained: Gaussians fitted to samples, their optimum under the bound, measured on fresh samples under the exact attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from _draw import TRAINED, handles, letters, twins
from _harness import run
from _twins import line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.runs import Row
from linfair.solvers.frontier import RiskFrontier


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(12))
    eps: float = 0.1
    """l_inf radius."""
    allowed: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2)
    """Trained under these bounds on |R_+ - R_-|."""
    n: int = 40_000
    """Training samples a class."""
    n_test: int = 200_000


QUICK = Config(seeds=(0, 1, 2), n=4_000, n_test=20_000, allowed=(0.0, 0.1))


def correlated(dim: int, sd: float, rho: float) -> np.ndarray:
    """``sd^2 rho^|i - j|``."""
    steps = np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    return sd**2 * rho**steps


MODELS = {
    "isotropic": ClassGaussians.two_class([2.0, 1.5], 1.0, 2.0),
    "turned": ClassGaussians(
        np.array([[-1.0, -1.0], [1.0, 1.0]]), np.stack([np.diag([4.0, 0.1]), np.diag([0.1, 4.0])]), [0.45, 0.55]
    ),
    "features": ClassGaussians(
        np.outer([-0.5, 0.5], np.linspace(1.2, 0.3, 10)),
        np.stack([correlated(10, 0.8, 0.6), correlated(10, 1.5, -0.3)]),
    ),
}
LOOKS = {
    "isotropic": (plotting.BLUE, "o", "isotropic, K = 2"),
    "turned": (plotting.VERMILLION, "s", "turned against each other"),
    "features": (plotting.GREEN, "^", "ten correlated features"),
}
TOLERANCES = 10.0 ** -np.arange(1.0, 10.0)


def cells(cfg: Config) -> list[dict[str, Any]]:
    return [{"pair": pair} for pair in MODELS]


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    pair = cell["pair"]
    model, threat = MODELS[pair], Threat("linf", cfg.eps)
    frontier = RiskFrontier(model, threat)
    angles = np.linspace(frontier.angles[0], frontier.angles[2], 81)
    minus, plus = np.array([frontier.point(t).risks.value for t in angles]).T
    bounds = np.linspace(0.0, 0.3, 31)
    best = frontier.pareto(bounds)
    rows = line("frontier", pair, minus, plus)
    rows += line("price", pair, bounds, [found.objective for found in best])
    rows += line("best", pair, *np.reshape(frontier.average_risk().risks.value, (2, 1)))
    traces = [RiskFrontier(model, threat).average_risk(tol=tol) for tol in TOLERANCES]
    gaps = [1.0 - t.info["lower_bound"] / t.objective for t in traces]
    rows += line("gap", pair, [t.info["points"] for t in traces], gaps)
    return rows + trained(pair, model, threat, frontier, cfg)


def trained(pair: str, model: ClassGaussians, threat: Threat, frontier: RiskFrontier, cfg: Config) -> list[Row]:
    """Measured class risks and average risks of the optima of fitted Gaussians, one row a bound."""
    rates = np.empty((len(cfg.seeds), len(cfg.allowed), 2))
    for i, seed in enumerate(cfg.seeds):
        rng = np.random.default_rng([seed, list(MODELS).index(pair)])
        known = ClassGaussians.fit(*model.sample([cfg.n] * 2, rng))
        fitted = RiskFrontier(ClassGaussians(known.means, known.covs, model.priors), threat)
        test = model.sample([cfg.n_test] * 2, rng)
        for k, most in enumerate(cfg.allowed):
            rates[i, k] = fitted.average_risk(most).classifier.class_errors(*test, threat).rate
    rows = []
    for k, most in enumerate(cfg.allowed):
        exact = frontier.average_risk(most)
        minus, plus = rates[:, k].T
        rows += [
            point("frontier", pair, float(minus.mean()), plus, cfg.n, float(exact.risks.value[1]), allowed=most),
            point("price", pair, most, rates[:, k] @ model.priors, cfg.n, exact.objective, allowed=most),
        ]
    return rows


def plot(rows: list[Row]) -> Any:
    figure, (risks, price, gap) = plotting.subplots(1, 3, width=plotting.TEXT_WIDTH, height=2.6)
    risks.plot([0, 0.5], [0, 0.5], color=plotting.GREY, lw=0.8, ls=":")
    for pair, (color, marker, _) in LOOKS.items():
        twins(risks, rows, "frontier", pair, color, marker)
        twins(price, rows, "price", pair, color, marker)
        risks.plot(
            *series(rows, panel="best", curve=pair), marker="*", ms=9, color=color, mec="black", mew=0.5, zorder=4
        )
        gap.plot(*series(rows, panel="gap", curve=pair), color=color, marker=marker, ms=3)
    risks.set(
        title="What is possible: above the line",
        xlabel="robust risk of class −",
        ylabel="robust risk of class +",
        xlim=(0, 0.5),
        ylim=(0, 0.5),
    )
    price.set(
        title="What a bound costs",
        xlabel="largest disparity allowed, $|R_+ - R_-|$",
        ylabel="least average robust risk",
        xlim=(-0.01, 0.3),
    )
    gap.set(
        title="How soon it is certified",
        xlabel="points of the frontier",
        ylabel="gap / average risk",
        yscale="log",
    )
    letters((risks, price, gap))
    legend = {name: {"color": color, "marker": marker} for color, marker, name in LOOKS.values()}
    stars = {"ls": "", "marker": "*", "ms": 9, "color": "white", "mec": "black"}
    figure.legend(
        handles=handles(legend | {"trained, ±2 s.e.": TRAINED, "least average": stars}),
        loc="outside lower center",
        ncols=5,
    )
    return figure


if __name__ == "__main__":
    run(name="risk_frontier", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
