"""Disparity against the mixing weight: fixed lambda, lambda ~ Beta(a, a), four more losses, and the limit of the claim.

Two isotropic classes at robust distance tau, trained against an attack of radius e on same-class mixes, tested on the
unmixed classes. Trained: threshold ERM for the 0-1 loss, otherwise all weights by robust ERM of the loss named, each
beside the population minimiser of that loss. The squared loss is trained and tested without attack, at the same tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from _draw import TRAINED, handles, letters, log_ticks, twins
from _harness import run
from _twins import line, point, series
from linfair import plotting
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import BetaLambda, FixedLambda, Law
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers import convex, fast, surrogates
from linfair.solvers.closed_form import optimum, random_optimum
from linfair.solvers.zero_one import robust_threshold_erm

LOSSES = ("0-1", "logistic", "exponential", "squared", "hinge")


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(16))
    tau: float = 3.0
    """Robust distance, in sds of the easy class."""
    K: float = 2.0
    """sd of the hard class over that of the easy class."""
    r: float = 2.541439147
    """Priors ratio pi_+ / pi_- of the last panel: above K, where natural disparity is 0 without mixing."""
    e: float = 0.5
    """Attack radius, in sds of the easy class."""
    lam: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    a: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    n: int = 60_000
    """Training samples a class; twice as many for the test."""
    n_hinge: int = 2_000
    """Training samples a class of the hinge loss, a convex program."""


QUICK = Config(seeds=tuple(range(4)), lam=(0.5, 0.8), a=(0.3, 3.0), n=10_000, n_hinge=300)


def cells(cfg: Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"panel": "exact"}]
    found += [
        {"panel": panel, "x": x} for panel, xs in (("fixed", cfg.lam), ("beta", cfg.a), ("limit", cfg.lam)) for x in xs
    ]
    return found + [{"panel": "loss", "loss": loss, "x": x} for loss in LOSSES for x in cfg.lam]


def disparities(cfg: Config, u: Any) -> dict[str, Any]:
    """Robust and natural disparity of the classifier with robust margin u of class "-"."""
    v = (cfg.tau - u) / cfg.K
    return {"robust": ndtr(-v) - ndtr(-u), "natural": ndtr(-v - cfg.e / cfg.K) - ndtr(-u - cfg.e)}


def margin(cfg: Config, panel: str, x: float, r: float = 1.0) -> float:
    """Robust margin of class "-" at the population minimiser of the 0-1 loss."""
    if panel == "beta":
        return float(random_optimum(cfg.tau, cfg.K, r, BetaLambda(x)).u)
    c = FixedLambda(x).mean_c
    return float(optimum(cfg.tau, cfg.K, r, c_minus=c, c_plus=c).u)


def population(cfg: Config, loss: str, lam: float) -> float:
    """Disparity of the population minimiser of a loss, equal priors, at distance tau."""
    c = FixedLambda(lam).mean_c
    tau, K = cfg.tau, cfg.K
    u = {
        "0-1": lambda: margin(cfg, "fixed", lam),
        "logistic": lambda: surrogates.minimise(tau, K, c_minus=c, c_plus=c).u,
        "hinge": lambda: surrogates.hinge(tau, K, c).u,
        "exponential": lambda: surrogates.exponential(tau, K).u,
        "squared": lambda: surrogates.squared(tau, K).u,
    }[loss]()
    return float(disparities(cfg, u)["robust"])


def exact(cfg: Config) -> list[Row]:
    lam, a = np.linspace(0.5, 1.0, 41), np.geomspace(0.03, 100.0, 60)
    rows = []
    for panel, xs, r in (("fixed", lam, 1.0), ("beta", a, 1.0), ("limit", lam, cfg.r)):
        u = np.array([margin(cfg, panel, float(x), r) for x in xs])
        for curve, value in disparities(cfg, u).items():
            rows += line(panel, curve, xs, value)
    for bound in (0.5, 1.0):
        rows += line("beta", f"lambda = {bound:g}", a[[0, -1]], disparities(cfg, margin(cfg, "fixed", bound))["robust"])
    for loss in LOSSES:
        rows += line("loss", loss, lam[::2], [population(cfg, loss, float(x)) for x in lam[::2]])
    return rows


def compute(cell: dict[str, Any], cfg: Config) -> list[Row]:
    if cell["panel"] == "exact":
        return exact(cfg)
    return (
        one_loss(cfg, cell["loss"], cell["x"]) if cell["panel"] == "loss" else zero_one(cfg, cell["panel"], cell["x"])
    )


def zero_one(cfg: Config, panel: str, x: float) -> list[Row]:
    """Threshold ERM on mixed and attacked samples."""
    r = cfg.r if panel == "limit" else 1.0
    model = ClassGaussians.two_class([cfg.tau + 2 * cfg.e], 1.0, cfg.K)
    threat = Threat("linf", cfg.e)
    law: Law = BetaLambda(x) if panel == "beta" else FixedLambda(x)
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, round(1000 * x), len(panel)])
        classifier = robust_threshold_erm(*model.sample_mixed([cfg.n] * 2, law, rng), [1.0], threat, (1.0, r))
        test = model.sample([2 * cfg.n] * 2, rng)
        found.append([classifier.class_errors(*test, t).disparity for t in (threat, NATURAL)])
    expected = disparities(cfg, margin(cfg, panel, x, r))
    return [
        point(panel, c, x, column, cfg.n, expected[c]) for c, column in zip(expected, np.array(found).T, strict=True)
    ]


def one_loss(cfg: Config, loss: str, lam: float) -> list[Row]:
    """All weights trained, in two dimensions."""
    e = 0.0 if loss == "squared" else cfg.e
    model, threat = ClassGaussians.two_class([cfg.tau + 2 * e, 0.0], 1.0, cfg.K), Threat("l2", e)
    n = cfg.n_hinge if loss == "hinge" else cfg.n
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, round(1000 * lam), LOSSES.index(loss), 1])
        classifier = train(loss, *model.sample_mixed([n] * 2, FixedLambda(lam), rng), threat)
        found.append(classifier.class_errors(*model.sample([2 * cfg.n] * 2, rng), threat).disparity)
    return [point("loss", loss, lam, found, n, population(cfg, loss, lam))]


def train(loss: str, X: np.ndarray, y: np.ndarray, threat: Threat) -> LinearClassifier:
    """Robust empirical risk minimisation of one loss."""
    if loss == "0-1":
        return robust_threshold_erm(X, y, X[y == 1].mean(0) - X[y == 0].mean(0), threat)
    if loss in ("logistic", "hinge"):
        solve = fast.robust_erm if loss == "logistic" else convex.robust_erm
        classifier = solve(X, y, threat, loss).classifier  # pyright: ignore[reportArgumentType]
        assert classifier is not None
        return classifier
    signs, design = 2.0 * y - 1.0, np.column_stack([X, np.ones(len(X))])
    start = np.linalg.lstsq(design, signs, rcond=None)[0]
    if loss == "exponential":
        start = _exponential(signs[:, None] * design, float(threat.radii(2)[0]), start)
    return LinearClassifier(start[:-1], start[-1])


def _exponential(signed: np.ndarray, eps: float, start: np.ndarray) -> np.ndarray:
    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        length = float(np.linalg.norm(x[:-1]))
        loss = np.exp(eps * length - signed @ x) / len(signed)
        pull = np.append(eps * x[:-1] / length, 0.0) * loss.sum()
        return float(loss.sum()), pull - loss @ signed

    return minimize(objective, start, jac=True, method="BFGS").x


COLORS = {"robust": plotting.ORANGE, "natural": plotting.BLACK}
LOOKS = {
    "0-1": (plotting.BLACK, "o"),
    "logistic": (plotting.BLUE, "s"),
    "hinge": (plotting.GREEN, "D"),
    "exponential": (plotting.VERMILLION, "^"),
    "squared": (plotting.PURPLE, "v"),
}


def plot(rows: list[Row]) -> Any:
    figure, axes = plotting.subplots(2, 2, width=plotting.TEXT_WIDTH, height=4.5)
    (fixed, beta), (loss, limit) = axes
    for ax, panel in ((fixed, "fixed"), (beta, "beta"), (limit, "limit")):
        for curve, color in COLORS.items():
            twins(ax, rows, panel, curve, color, "o" if curve == "robust" else "s")
    for name, (color, marker) in LOOKS.items():
        twins(loss, rows, "loss", name, color, marker)
    for bound, text, up in (("lambda = 1", "no mixing", 2), ("lambda = 0.5", "$\\lambda = 1/2$", -9)):
        twins(beta, rows, "beta", bound, COLORS["robust"], lw=0.8, ls=":")
        level = series(rows, panel="beta", curve=bound)[1][0]
        beta.annotate(text, (100, level), (0, up), textcoords="offset points", ha="right", color=COLORS["robust"])
    limit.axhline(0.0, color=plotting.GREY, lw=0.6, zorder=0)
    log_ticks(beta, (0.1, 1, 10, 100))
    for ax in (fixed, loss, limit):
        ax.set(xlabel="mixing weight λ", xlim=(0.49, 1.01))
    beta.set(xlabel="parameter $a$ of λ ~ Beta($a$, $a$)", xlim=(0.03, 100))
    fixed.set(title="Fixed weight", ylabel="disparity $R_+ - R_-$", ylim=(0.06, 0.145))
    beta.set(title="Random weight", ylabel="disparity $R_+ - R_-$", ylim=(0.06, 0.145))
    loss.set(title="Five losses", ylabel="robust disparity $R_+ - R_-$", ylim=(0, 0.19))
    limit.set(title="Many hard-class samples, $\\pi_+ / \\pi_- = 2.54 > K = 2$", ylabel="disparity $R_+ - R_-$")
    letters(axes.flat)
    one = {
        f"{name} disparity": {"color": color, "marker": m}
        for (name, color), m in zip(COLORS.items(), "os", strict=True)
    }
    figure.legend(handles=handles(one | {"trained, ±2 s.e.": TRAINED}), loc="outside upper center", ncols=3)
    two = {f"{name} loss": {"color": color, "marker": marker} for name, (color, marker) in LOOKS.items()}
    figure.legend(handles=handles(two), loc="outside lower center", ncols=5)
    return figure


if __name__ == "__main__":
    run(name="mixup_lambda", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot)
