"""Mixing m samples of a class: towards the minimax-fair classifier, how fast, and how far with finite data.

rate        0-1 optimum on fresh mixes, a = tau / (K + 1). Uniform weights: D_m ~ phi(a) log(K) / (a m). Weights
            from the flat Dirichlet law: D_m ~ phi(a) log(K) a^(1/3) m^(-2/3), slowly. Trained: threshold ERM.
sweet spot  logistic ERM on m-way mixes of a finite sample of N points a class. In the population D falls for ever; on a
            sample the mixes collapse to the class means and D tends to that of the midpoint boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from _draw import TRAINED, handles, letters, log_ticks, twins
from _harness import run
from _twins import line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.mixing import DirichletMix, Law, NoMix, UniformMix, mix_within_class
from linfair.norms import Threat
from linfair.runs import Row
from linfair.solvers import fast, surrogates
from linfair.solvers.closed_form import random_optimum
from linfair.solvers.zero_one import robust_threshold_erm


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(20))
    K: float = 2.0
    """sd of the hard class over that of the easy class; equal priors."""
    e: float = 0.5
    """Attack radius, in sds of the easy class."""
    tau_rate: float = 3.0
    """Robust distance of the rate panel, in sds of the easy class."""
    m_uniform: tuple[int, ...] = (1, 2, 4, 8, 12)
    m_dirichlet: tuple[int, ...] = (2, 4, 8, 16, 32)
    m_max: int = 1024
    """Where the exact curves end."""
    n: int = 200_000
    """Fresh mixes a class of threshold ERM."""
    tau_finite: float = 6.0
    N: tuple[int, ...] = (200, 2000)
    """Sizes of the finite samples, a class."""
    m_finite: tuple[int, ...] = (1, 2, 3, 4, 6, 10, 20, 50, 150, 500)
    copies: int = 4
    """Mixes of every point of a finite sample."""


QUICK = Config(
    seeds=tuple(range(4)), m_uniform=(1, 4), m_dirichlet=(4,), m_max=32, n=20_000, N=(200,), m_finite=(1, 3, 40)
)


def law_of(curve: str, m: int) -> Law:
    return NoMix() if m == 1 else UniformMix(m) if curve == "uniform" else DirichletMix(m, 1.0)


def cells(cfg: Config) -> list[dict[str, Any]]:
    rate = [{"panel": "rate", "curve": c, "m": m} for c in ("uniform", "Dirichlet") for m in ms(cfg, c)]
    finite = [{"panel": "finite", "N": N, "m": m} for N in cfg.N for m in cfg.m_finite]
    return [{"panel": "exact"}, *rate, *finite]


def ms(cfg: Config, curve: str) -> tuple[int, ...]:
    return cfg.m_uniform if curve == "uniform" else cfg.m_dirichlet


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    if cell["panel"] == "exact":
        return exact(cfg)
    if cell["panel"] == "rate":
        return rate(cfg, cell["curve"], cell["m"])
    return finite(cfg, cell["N"], cell["m"])


def exact(cfg: Config) -> list[Row]:
    tau, K, Lam = cfg.tau_rate, cfg.K, np.log(cfg.K)
    a = tau / (K + 1.0)
    phi = np.exp(-a * a / 2.0) / np.sqrt(2.0 * np.pi)
    m = np.unique(np.geomspace(1, cfg.m_max, 21).round().astype(int))
    rows = line("rate", "uniform, leading term", m, phi * Lam / (a * m))
    rows += line("rate", "Dirichlet, leading term", m, phi * Lam * a ** (1 / 3) * m ** (-2 / 3))
    for curve in ("uniform", "Dirichlet"):
        rows += line("rate", curve, m, [random_optimum(tau, K, 1.0, law_of(curve, int(k))).disparity for k in m])
    m = np.unique(np.geomspace(1, max(cfg.m_finite), 13).round().astype(int))
    rows += line("finite", "population", m, [logistic(cfg, int(k)) for k in m])
    midpoint = ndtr(-cfg.tau_finite / (2 * K)) - ndtr(-cfg.tau_finite / 2)
    rows += line("finite", "midpoint", m[[0, -1]], midpoint)
    a = cfg.tau_finite / (K + 1.0)
    for N in cfg.N:
        rows += line("finite", f"rough sweet spot, N = {N}", [2 * np.log(N) / a**2], [0.0])
    return rows


def logistic(cfg: Config, m: int) -> float:
    """Disparity of the population minimiser of the logistic loss on m-way mixes."""
    found = surrogates.minimise(cfg.tau_finite, cfg.K, loss="logistic", c_minus=1.0 / m, c_plus=1.0 / m)
    return float(ndtr(-found.v) - ndtr(-found.u))


def rate(cfg: Config, curve: str, m: int) -> list[Row]:
    """Threshold ERM on fresh mixes; exact risks of what was trained, disparities being too small to count errors."""
    model, threat = ClassGaussians.two_class([cfg.tau_rate + 2 * cfg.e], 1.0, cfg.K), Threat("linf", cfg.e)
    law, found = law_of(curve, m), []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, m, len(curve)])
        X, y = model.sample_mixed([cfg.n] * 2, law, rng)
        found.append(robust_threshold_erm(X, y, [1.0], threat).class_risks(model, threat).disparity)
    expected = float(random_optimum(cfg.tau_rate, cfg.K, 1.0, law).disparity)
    return [point("rate", curve, m, found, cfg.n, expected)]


def finite(cfg: Config, N: int, m: int) -> list[Row]:
    """Robust logistic ERM in two dimensions on mixes of one finite sample a seed."""
    model, threat = ClassGaussians.two_class([cfg.tau_finite + 2 * cfg.e, 0.0], 1.0, cfg.K), Threat("l2", cfg.e)
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, N])
        X, y = model.sample([N] * 2, rng)
        copies = 1 if m == 1 else cfg.copies
        X, y = mix_within_class(X, y, UniformMix(m), rng, copies=copies)
        classifier = fast.robust_erm(X, y, threat).classifier
        assert classifier is not None
        found.append(classifier.class_risks(model, threat).disparity)
    return [point("finite", f"N = {N}", m, found, N, N=N)]


BOTTOM = -0.009


def plot(rows: list[Row]) -> Any:
    figure, (left, right) = plotting.subplots(1, 2, width=plotting.TEXT_WIDTH, height=2.8)
    for curve, color, marker in (("uniform", plotting.GREEN, "o"), ("Dirichlet", plotting.PURPLE, "s")):
        twins(left, rows, "rate", f"{curve}, leading term", color, ls=":", lw=1)
        twins(left, rows, "rate", curve, color, marker)
    left.set(yscale="log", xlabel="samples in one mix, $m$", ylabel="robust disparity $R_+ - R_-$", xlim=(0.85, 1100))
    log_ticks(left, (1, 4, 16, 64, 256, 1024))
    left.text(35, 1.9e-2, "flat Dirichlet, $\\propto m^{-2/3}$", color=plotting.PURPLE)
    left.text(4, 1.7e-3, "uniform, $\\propto m^{-1}$", color=plotting.GREEN)

    twins(right, rows, "finite", "population", plotting.BLACK, ls="--")
    twins(right, rows, "finite", "midpoint", plotting.GREY, lw=1)
    right.axhline(0.0, color=plotting.BLACK, lw=0.5, zorder=0)
    sizes = sorted({row["N"] for row in rows if row.get("N")})
    for N, color, marker in zip(sizes, (plotting.BLUE, plotting.VERMILLION), "os", strict=False):
        twins(right, rows, "finite", f"N = {N}", color, marker)
        rough = series(rows, panel="finite", curve=f"rough sweet spot, N = {N}")[0]
        right.plot(rough, [BOTTOM], color=color, marker="^", ms=4, clip_on=False)
        right.text(60, 0.025 - 0.006 * sizes.index(N), f"$N = {N}$ a class", color=color)
    right.text(1, 0.067, "boundary at the midpoint of the means", color=plotting.GREY)
    right.text(60, 0.0025, "population", color=plotting.BLACK)
    right.set(
        xlabel="samples in one mix, $m$", ylabel="robust disparity $R_+ - R_-$", xlim=(0.85, 600), ylim=(BOTTOM, 0.072)
    )
    log_ticks(right, (1, 2, 4, 10, 30, 100, 500))
    left.set(title="Fresh mixes, 0-1 loss")
    right.set(title="Mixes of a finite sample, logistic loss")
    letters((left, right))
    legend = {
        "exact": {"color": plotting.BLACK},
        "leading term": {"color": plotting.BLACK, "ls": ":", "lw": 1},
        "trained, ±2 s.e.": TRAINED,
        "$m \\approx 2 \\log N / a^2$, a rough rule": {"color": plotting.BLACK, "ls": "", "marker": "^", "ms": 4},
    }
    figure.legend(handles=handles(legend), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    run(name="m_way", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
