"""The rows of figure claims, one function a panel: exact curves and the points that samples give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from _twins import line, point
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import FixedLambda, NoMix, UniformMix
from linfair.norms import NATURAL, Threat
from linfair.runs import Row
from linfair.solvers import surrogates
from linfair.solvers.closed_form import direction, optimal_classifier, optimum, threshold
from linfair.solvers.local import average_risk
from linfair.theory.class_distance import amplification
from linfair.theory.group_attack import FAVOUR_1, gaps, positive_rates
from linfair.theory.twins import disparity_at, trained_margins


@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = tuple(range(16))
    n: int = 100_000
    """Samples a class behind one training or one error count."""


HALF = FixedLambda(0.5)
Trained = Callable[..., np.ndarray]


def trainer(cfg: Config, salt: int) -> Trained:
    """Thresholds trained once a seed: ``train(tau, K, ...) -> u [seeds]``."""

    def train(tau: float, K: float, **how: Any) -> np.ndarray:
        rngs = (np.random.default_rng([seed, salt]) for seed in cfg.seeds)
        return np.array([trained_margins(tau, K, 2 * cfg.n, rng, replicates=1, **how)[0] for rng in rngs])

    return train


def counted(cfg: Config, salt: int, f: LinearClassifier, model: ClassGaussians, threat: Threat = NATURAL) -> np.ndarray:
    """Class error rates of a known classifier on fresh samples, one row a seed."""
    found = []
    for seed in cfg.seeds:
        rng = np.random.default_rng([seed, salt])
        found.append(f.class_errors(*model.sample([cfg.n] * model.n_classes, rng), threat).rate)
    return np.array(found)


# --- one function a panel: rows of its curves and points -------------------------------------------------------------


def priors(name: str, cfg: Config) -> list[Row]:
    tau, K, e = 3.0, 2.0, 0.5
    rows, r = [], np.linspace(0.5, 3.2, 60)
    for curve, c, mix in (("without mixup", 1.0, None), ("with mixup", 0.5, HALF)):
        u = threshold(tau, K, r, c_minus=c, c_plus=c)[0]
        rows += line(name, curve, r, np.abs(disparity_at(u, tau, K, e)))
        for at in (1.0, 1.75, 2.5, 3.0):
            u_hat = trainer(cfg, 1)(tau, K, mix=mix, weights=(1.0, at))
            want = float(disparity_at(threshold(tau, K, at, c_minus=c, c_plus=c)[0], tau, K, e))
            rows.append(point(name, curve, at, np.sign(want) * disparity_at(u_hat, tau, K, e), cfg.n, abs(want)))
    return rows


def without_training(name: str, cfg: Config) -> list[Row]:
    tau, K = 6.0, 2.0
    rows, e = [], np.linspace(0.0, 1.2, 60)
    for curve, c, mix in (("without mixup", 1.0, None), ("with mixup", 0.5, HALF)):
        u = float(threshold(tau, K, c_minus=c, c_plus=c)[0])
        rows += line(name, curve, e, [abs(float(disparity_at(u, tau, K, -x))) for x in e])
        u_hat = trainer(cfg, 2)(tau, K, mix=mix)
        for at in (0.1, 0.5, 0.8, 1.1):
            want = float(disparity_at(u, tau, K, -at))
            rows.append(point(name, curve, at, np.sign(want) * disparity_at(u_hat, tau, K, -at), cfg.n, abs(want)))
    return rows


def hard_class(name: str, cfg: Config) -> list[Row]:
    tau, K = 4.8, 2.0
    rows, lam = [], np.linspace(0.5, 1.0, 50)
    mixes = {"hard class mixed": lambda law: [NoMix(), law], "easy class mixed": lambda law: [law, NoMix()]}
    for curve, laws in mixes.items():
        c = np.array([[law.mean_c for law in laws(FixedLambda(x))] for x in lam])
        rows += line(name, curve, lam, disparity_at(threshold(tau, K, c_minus=c[:, 0], c_plus=c[:, 1])[0], tau, K))
        for at in (0.5, 0.7, 0.9):
            pair = laws(FixedLambda(at))
            want = disparity_at(threshold(tau, K, c_minus=pair[0].mean_c, c_plus=pair[1].mean_c)[0], tau, K)
            rows.append(
                point(name, curve, at, disparity_at(trainer(cfg, 3)(tau, K, mix=pair), tau, K), cfg.n, float(want))
            )
    return rows


def losses(name: str, cfg: Config) -> list[Row]:
    tau, K = 3.0, 2.0
    c = np.linspace(0.25, 1.0, 40)
    curves = {
        "0-1 loss": threshold(tau, K, c_minus=c, c_plus=c)[0],
        "hinge": surrogates.hinge(tau, K, c).u,
        "exponential": surrogates.exponential(tau, K, 1.0, c).u,
        "squared": surrogates.squared(tau, K).u + 0.0 * c,
    }
    rows = [row for curve, u in curves.items() for row in line(name, curve, c, disparity_at(u, tau, K))]
    for m in (1, 2, 3, 4):
        squared, zero_one = [], trainer(cfg, 4)(tau, K, mix=UniformMix(m))
        for seed in cfg.seeds:
            rng = np.random.default_rng([seed, m, 4])
            means = rng.standard_normal((2, cfg.n, m)).mean((1, 2))
            squared.append(float(disparity_at((means[0] + tau + K * means[1]) / 2, tau, K)))
        want = disparity_at(threshold(tau, K, c_minus=1 / m, c_plus=1 / m)[0], tau, K)
        rows.append(point(name, "0-1 loss", 1 / m, disparity_at(zero_one, tau, K), cfg.n, float(want)))
        rows.append(point(name, "squared", 1 / m, squared, cfg.n, float(disparity_at(tau / 2, tau, K))))
    return rows


def easy_error(name: str, cfg: Config) -> list[Row]:
    model = ClassGaussians.two_class(np.array([2.0] + [0.8] * 64), 1.0, 1.2)
    rows, eps = [], np.linspace(0.0, 0.6, 40)
    errors = [optimal_classifier(model, Threat("linf", float(x))).classifier.class_risks(model).value for x in eps]
    for k, curve in enumerate(("easy class", "hard class")):
        rows += line(name, curve, eps, np.array(errors)[:, k])
    small = Config(cfg.seeds, cfg.n // 10)  # 65 dimensions
    for at in (0.2, 0.35, 0.45, 0.55):
        f = optimal_classifier(model, Threat("linf", at)).classifier
        rate, want = counted(small, 5, f, model), f.class_risks(model).value
        rows += [point(name, c, at, rate[:, k], small.n, want[k]) for k, c in enumerate(("easy class", "hard class"))]
    return rows


def anisotropic(name: str, cfg: Config) -> list[Row]:
    model = ClassGaussians(np.array([[-1.0, -0.5], [1.0, 0.5]]), np.array([[1.0, 0.1], [1.0, 2.0]]))
    eps = np.linspace(0.0, 0.6, 25)
    found = [average_risk(model, Threat("linf", float(x))).risks.disparity for x in eps]
    rows = line(name, "robust training", eps, found)
    for at in (0.0, 0.2, 0.4, 0.55):
        threat = Threat("linf", at)
        solution = average_risk(model, threat)
        rate = counted(cfg, 6, solution.classifier, model, threat)
        rows.append(point(name, "robust training", at, rate[:, 1] - rate[:, 0], cfg.n, solution.risks.disparity))
    return rows


def sign_flip(name: str, cfg: Config) -> list[Row]:
    tau, K = 12.0, 2.0
    model, e = ClassGaussians.two_class([tau], 1.0, K), np.linspace(0.0, 5.8, 80)
    natural = optimal_classifier(model).classifier

    def robust(x: float) -> LinearClassifier:
        return optimal_classifier(model, Threat("l2", x)).classifier

    rows = []
    for curve, of in (("natural training", lambda _: natural), ("robust training", robust)):
        rows += line(
            name, curve, e, [abs(of(float(x)).class_risks(model, Threat("l2", float(x))).disparity) for x in e]
        )
        for at in (2.0, 3.5, 5.0):
            want = of(at).class_risks(model, Threat("l2", at)).disparity
            rate = counted(cfg, 7, of(at), model, Threat("l2", at))
            rows.append(point(name, curve, at, np.sign(want) * (rate[:, 1] - rate[:, 0]), cfg.n, abs(want)))
    return rows


def sqrt_d(name: str, cfg: Config) -> list[Row]:
    d, eta = 16, 0.5
    eps, delta = np.linspace(0.3, 0.8, 60), np.full(16, 1.0)
    rows = line(name, "optimal direction", eps, [direction(delta, Threat("linf", float(x)))[1] for x in eps])
    rows += line(name, "sqrt(d) formula", eps, 2 * np.sqrt(d) * (eta - eps))
    model = ClassGaussians.two_class(delta, 1.0, 2.0)
    for at in (0.4, 0.6, 0.75):
        threat, gains = Threat("linf", at), []
        w, want = direction(delta, threat)
        for seed in cfg.seeds:
            X, y = model.sample([cfg.n // 10] * 2, np.random.default_rng([seed, 8]))
            score = LinearClassifier(w, 0.0).attack(X, y, threat) @ w
            gains.append(score[y == 1].mean() - score[y == 0].mean())
        rows.append(point(name, "optimal direction", at, gains, cfg.n // 10, want))
    return rows


def ratio(name: str, cfg: Config) -> list[Row]:
    tau, K = np.linspace(1.5, 9.0, 60), 2.0
    best = optimum(tau, K)
    rows = line(name, "R+ / R-", tau, best.risk_plus / best.risk_minus)
    for at in (2.0, 3.5, 5.0, 6.5):
        u, v = threshold(at, K)
        found = []
        for seed in cfg.seeds:
            rng = np.random.default_rng([seed, 9])
            minus, plus = (rng.standard_normal(10 * cfg.n) > z for z in (u, v))
            found.append(plus.sum() / max(minus.sum(), 1))
        rows.append(point(name, "R+ / R-", at, found, 10 * cfg.n, float(ndtr(-v) / ndtr(-u))))
    return rows


def amplified(name: str, cfg: Config) -> list[Row]:
    """Points: the optimum of fitted Gaussians, same draws with and without attack: 0-1 training is too noisy here."""
    K, e = 5.0, 0.1
    tau = np.linspace(0.22, 2.5, 60)

    def fitted(t: float, seed: int) -> float:
        minus, plus = np.random.default_rng([seed, 10]).standard_normal((2, cfg.n)) * np.array([[1.0], [K]])
        sd, gap = minus.std(), t + plus.mean() - minus.mean()
        return float(disparity_at(minus.mean() + sd * threshold(gap / sd, plus.std() / sd)[0], t, K))

    rows = line(name, "amplification", tau, amplification(tau, K, e))
    for at in (0.3, 0.8, 1.4, 2.2):
        found = [fitted(at - 2 * e, seed) - fitted(at, seed) for seed in cfg.seeds]
        rows.append(point(name, "amplification", at, found, cfg.n, float(amplification(at, K, e))))
    return rows


def remargin(name: str, cfg: Config) -> list[Row]:
    K, extra = 2.0, np.linspace(0.0, 1.2, 60)
    rows = []
    for tau in (0.8, 2.0):
        curve = rf"$\tau = {tau:g}$"

        def risk(x: Any, tau: float = tau) -> Any:
            return ndtr(-(optimum(tau - K * x, K).v + x))

        rows += line(name, curve, extra, risk(extra))
        for at in (0.0, 0.5, 1.0):
            u = trainer(cfg, 11)(tau, K, extra=at)
            rows.append(point(name, curve, at, ndtr(-(tau - u) / K), cfg.n, float(risk(at))))
    return rows


def constant(name: str, cfg: Config) -> list[Row]:
    K, r = 2.0, 4.0
    tau = np.linspace(1.0, 4.0, 60)
    best = optimum(tau, K, r)
    rows = line(name, "interior point", tau, (best.risk_minus + r * best.risk_plus) / (1 + r))
    rows += line(name, 'always "+"', tau, 1 / (1 + r))
    for at in (2.1, 2.6, 3.4):
        u, v = threshold(at, K, r)
        found = []
        for seed in cfg.seeds:
            rng = np.random.default_rng([seed, 12])
            found.append(
                ((rng.standard_normal(cfg.n) > u).mean() + r * (rng.standard_normal(cfg.n) > v).mean()) / (1 + r)
            )
        rows.append(point(name, "interior point", at, found, cfg.n, float((ndtr(-u) + r * ndtr(-v)) / (1 + r))))
    return rows


def two_optima(name: str, cfg: Config) -> list[Row]:
    model = ClassGaussians(np.array([[-1.0, -1.0], [1.0, 1.0]]), np.array([[4.0, 0.1], [0.1, 4.0]]))

    def best(angle: float) -> np.ndarray:
        """Class risks of the best threshold along a direction: zeros of the derivative, on a fine grid."""
        w = np.array([np.cos(angle), np.sin(angle)])
        b = np.linspace(-3.0, 3.0, 2001)
        sds, gain = model.sds(w), model.means @ w
        risks = np.array([ndtr((gain[0] + b) / sds[0]), ndtr(-(gain[1] + b) / sds[1])])
        return risks[:, risks.sum(0).argmin()]

    angle = np.linspace(0.0, np.pi / 2, 121)
    risks = np.array([best(a) for a in angle])
    rows = line(name, "average risk", np.degrees(angle), risks.mean(1))
    first = average_risk(model, NATURAL).classifier
    w, b = first.w / np.linalg.norm(first.w), first.b / np.linalg.norm(first.w)
    for f in (LinearClassifier(w, b), LinearClassifier(w[::-1], -b)):
        rate = counted(cfg, 13, f, model).mean(1)
        at = float(np.degrees(np.arctan2(f.w[1], f.w[0])))
        rows.append(point(name, "average risk", at, rate, cfg.n, f.class_risks(model).value.mean()))
    return rows


def orientations(name: str, cfg: Config) -> list[Row]:
    means, rates = np.array([[-0.7], [1.3], [-1.3], [0.7]]), (0.2, 0.8)
    rows, eps = [], np.linspace(0.0, 0.5, 40)
    for group, sign in (("group 1", 1), ("group 0", -1)):
        push = sign * np.array(FAVOUR_1)
        for gap in ("DP gap", "EOd gap"):
            curve = f"|{gap.removesuffix(' gap')}|, {group[-1]} up"

            def exact(x: float, push: np.ndarray = push, gap: str = gap) -> float:
                return abs(gaps(positive_rates(means, np.ones((4, 1)), [1.0], 0.0, "l2", x, push), rates)[gap])

            rows += line(name, curve, eps, [exact(float(x)) for x in eps])
            for at in (0.1, 0.25, 0.4):
                found = []
                for seed in cfg.seeds:
                    X, cell = ClassGaussians(means, 1.0).sample([cfg.n] * 4, np.random.default_rng([seed, 14]))
                    positive = np.bincount(cell, X[:, 0] + at * push[cell] > 0, 4) / cfg.n
                    found.append(abs(gaps(positive, rates)[gap]))
                rows.append(point(name, curve, at, found, cfg.n, exact(at)))
    return rows
