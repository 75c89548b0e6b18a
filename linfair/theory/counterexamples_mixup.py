"""Limits of the claims on mixup: where what is advertised fails, each with its numbers and its twin.

A title is the claim in its natural reading, not a theorem of a paper; the statement says when it is false.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from linfair.mixing import BetaLambda, FixedLambda, NoMix
from linfair.solvers import surrogates
from linfair.solvers.closed_form import optimum, random_optimum, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE, ZHONG
from linfair.theory.theorem import Assumption, limit
from linfair.theory.twins import disparity_at, mean_of, trained_margins


def _priors(tau, K, r, e):
    (u1, u), _ = threshold(tau, K, r, c_minus=np.array([1.0, 0.5]), c_plus=np.array([1.0, 0.5]))
    return {
        "natural disparity without mixup": disparity_at(u1, tau, K, e),
        "natural disparity with mixup": disparity_at(u, tau, K, e),
    }


def _priors_twin(n, rng, tau, K, r, e):
    return {
        f"natural disparity {name} mixup": mean_of(
            disparity_at(trained_margins(tau, K, n, rng, mix=mix, weights=(1.0, r)), tau, K, e)
        )
        for name, mix in (("without", None), ("with", FixedLambda(0.5)))
    }


NATURAL_PRIORS = limit(
    id="limit-natural-disparity-priors",
    title="Mixup with adversarial training reduces the natural disparity, whatever the priors",
    statement=(
        "True for r = pi_+/pi_- <= K, false beyond: at K = 2, tau = 3, e = 1/2, r = 2.5414 the natural disparity is 0"
        " without mixup and 0.0204 with lambda = 1/2."
    ),
    setting=ZHONG,
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("r > K", lambda r, K, **_: r > K),
        Assumption("a stationary point", lambda **p: bool(np.isfinite(list(_priors(**p).values())).all())),
    ),
    defaults={"tau": 3.0, "K": 2.0, "r": 2.541439147, "e": 0.5},
    analytic_values=_priors,
    empirical_values=_priors_twin,
    conclusion=lambda value: abs(value["natural disparity with mixup"]) > abs(value["natural disparity without mixup"]),
    twin="trained",
    figure="claims",
)


def _without_at(tau, K, e):
    (u1, u), _ = threshold(tau, K, 1, c_minus=np.array([1.0, 0.5]), c_plus=np.array([1.0, 0.5]))
    return {
        "robust disparity without mixup": disparity_at(u1, tau, K, -e),
        "robust disparity with mixup": disparity_at(u, tau, K, -e),
    }


def _without_at_twin(n, rng, tau, K, e):
    return {
        f"robust disparity {name} mixup": mean_of(disparity_at(trained_margins(tau, K, n, rng, mix=mix), tau, K, -e))
        for name, mix in (("without", None), ("with", FixedLambda(0.5)))
    }


WITHOUT_AT = limit(
    id="limit-mixup-without-at",
    title="Mixup alone, without adversarial training, reduces the robust disparity",
    statement=(
        "False: trained without attack and attacked with e = 0.6742 (sds of -), K = 2, tau_0 = 6, the classifier has "
        "robust disparity 0; lambda = 1/2 makes it -0.0208, against the easy class."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE, Assumption("e > 0", lambda e, **_: e > 0)),
    defaults={"tau": 6.0, "K": 2.0, "e": 0.6742073651},
    analytic_values=_without_at,
    empirical_values=_without_at_twin,
    conclusion=lambda value: abs(value["robust disparity with mixup"]) > abs(value["robust disparity without mixup"]),
    twin="trained",
    figure="claims",
)


def _hard_class(tau, K, r):
    plain, hard, easy = (optimum(tau, K, r, c_minus=a, c_plus=b) for a, b in ((1, 1), (1, 0.5), (0.5, 1)))
    return {
        "disparity, hard class mixed": hard.disparity,
        "disparity, none mixed": plain.disparity,
        "disparity, easy class mixed": easy.disparity,
        "risk of the hard class, hard class mixed": hard.risk_plus,
        "risk of the hard class, none mixed": plain.risk_plus,
    }


def _hard_class_twin(n, rng, tau, K, r):
    half, none = FixedLambda(0.5), NoMix()
    return {
        f"disparity, {name} mixed": mean_of(
            disparity_at(trained_margins(tau, K, n, rng, mix=mix, weights=(1.0, r)), tau, K)
        )
        for name, mix in (("hard class", [none, half]), ("none", [none, none]))
    }


HARD_CLASS = limit(
    id="limit-mix-hard-class",
    title="Mixing the disadvantaged class helps it",
    statement=(
        "False when v^2 > c_+: lowering c_+ then raises the hard class's own risk. K = 2, tau = 6, r = 1, lambda = "
        "1/2 on the hard class alone moves D from 0.0165 to 0.0379. Mixing the easy class is the cure (easy-class-"
        "equaliser)."
    ),
    setting=f"class-wise mixing, otherwise {ZHONG}",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("prior ratio r < K", lambda r, K, **_: 0 < r < K),
        Assumption("v^2 > 1 without mixing", lambda tau, K, r: bool(threshold(tau, K, r)[1] ** 2 > 1)),
    ),
    defaults={"tau": 6.0, "K": 2.0, "r": 1.0},
    analytic_values=_hard_class,
    empirical_values=_hard_class_twin,
    conclusion=lambda value: (
        value["disparity, hard class mixed"] > value["disparity, none mixed"] > value["disparity, easy class mixed"]
        and value["risk of the hard class, hard class mixed"] > value["risk of the hard class, none mixed"]
    ),
    twin="trained",
    figure="equalisers",
)


def _beta_fades(tau_near, tau_far, K, a):
    far = random_optimum(tau_far, K, 1.0, BetaLambda(a))
    near = random_optimum(tau_near, K, 1.0, BetaLambda(a))
    return {
        "disparity, near": near.disparity,
        "1 - c_eff, near": 1 - near.c_eff,
        "1 - c_eff, far": 1 - far.c_eff,
        "1 - c_eff over 2 a (K+1)^2 / tau^2, far": (1 - far.c_eff) * tau_far**2 / (2 * a * (K + 1) ** 2),
        "1 - c of lambda = 1/2, at any distance": 0.5,
    }


BETA_FADES = limit(
    id="limit-beta-fades",
    title="lambda ~ Beta(a, a) is as good as a fixed lambda",
    statement=(
        "False: 1 - c_eff ~ 2 a (K+1)^2 / tau^2, so random mixing loses its whole effect as the classes separate (the"
        " mixes that still err are those barely mixed), while lambda = 1/2 keeps c = 1/2 at every distance."
    ),
    setting=ZHONG,
    assumptions=(
        K_ABOVE_1,
        Assumption("0 < tau_near < tau_far, a > 0", lambda tau_near, tau_far, a, **_: 0 < tau_near < tau_far and a > 0),
        Assumption(
            "tau_far >= 10 (K+1) max(1, sqrt(a))",
            lambda tau_far, K, a, **_: tau_far >= 10 * (K + 1) * max(1.0, np.sqrt(a)),
        ),
        Assumption(
            "an interior optimum at the smaller distance", lambda tau_near, K, **_: bool(threshold(tau_near, K)[0] > 0)
        ),
    ),
    defaults={"tau_near": 4.0, "tau_far": 60.0, "K": 2.0, "a": 1.0},
    analytic_values=_beta_fades,
    empirical_values=lambda n, rng, tau_near, tau_far, K, a: {
        "disparity, near": mean_of(disparity_at(trained_margins(tau_near, K, n, rng, mix=BetaLambda(a)), tau_near, K))
    },
    conclusion=lambda value: (
        value["1 - c_eff, far"] < value["1 - c_eff, near"] < value["1 - c of lambda = 1/2, at any distance"]
        and abs(value["1 - c_eff over 2 a (K+1)^2 / tau^2, far"] - 1) < 0.1
    ),
    twin="trained",
    figure="mixup_lambda",
)


def _exponential(tau, K):
    plain, mixed = (surrogates.exponential(tau, K, 1.0, c).u for c in (1.0, 0.5))
    return {
        "disparity with mixup": disparity_at(mixed, tau, K),
        "change by mixup": disparity_at(mixed, tau, K) - disparity_at(plain, tau, K),
    }


def _trained_loss(gradient_free_loss):
    """Twins of the one-dimensional losses with a closed-form empirical minimiser in u, replicated."""

    def twin(n, rng, tau, K):
        gaps = {"with mixup": [], "plain": []}
        for _ in range(64):
            for name, m in (("with mixup", 2), ("plain", 1)):
                minus = rng.standard_normal((max(n // 8, 50), m)).mean(1)
                plus = tau + K * rng.standard_normal((max(n // 8, 50), m)).mean(1)
                gaps[name].append(disparity_at(gradient_free_loss(minus, plus), tau, K))
        change = np.subtract(gaps["with mixup"], gaps["plain"])
        return {"disparity with mixup": mean_of(gaps["with mixup"]), "change by mixup": mean_of(change)}

    return twin


def _exponential_erm(minus, plus):
    """Empirical exponential loss at its best scale s: ``E exp(s (x - t))`` of - equals ``E exp(s (t - x))`` of +."""

    def spread(s):
        return np.log(np.exp(s * minus).mean()), np.log(np.exp(-s * plus).mean())

    found = minimize_scalar(lambda s: sum(spread(s)), bounds=(1e-3, 3.0), method="bounded", options={"xatol": 1e-9})
    s = float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
    low, high = spread(s)
    return (low - high) / (2 * s)


EXPONENTIAL = limit(
    id="limit-exponential-loss",
    title="Mixup reduces the disparity for any loss (exponential loss)",
    statement=(
        "False: with equal priors the robust exponential loss has u = tau (K^2+3)/(4(K^2+1)) for every c, so mixup "
        "changes the scale of w and not the boundary."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE),
    defaults={"tau": 3.0, "K": 2.0},
    analytic_values=_exponential,
    empirical_values=_trained_loss(_exponential_erm),
    conclusion=lambda value: value["change by mixup"] == 0 < value["disparity with mixup"],
    twin="trained",
    figure="mixup_lambda",
)


def _squared(tau, K):
    """Both minimisers numerically: that they are the midpoint, mixed or not, is what is to be shown."""
    plain, mixed = (
        disparity_at(surrogates.minimise(tau, K, loss="squared", c_minus=c, c_plus=c).u, tau, K) for c in (1, 0.5)
    )
    midpoint = disparity_at(surrogates.squared(tau, K).u, tau, K)
    return {"disparity with mixup": mixed, "change by mixup": mixed - plain, "disparity of the midpoint": midpoint}


def _squared_erm(minus, plus):
    """Least squares of +-1 on the score: the boundary of the fitted line."""
    targets = np.repeat([-1.0, 1.0], len(minus))
    weight, intercept = np.polyfit(np.concatenate([minus, plus]), targets, 1)
    return -intercept / weight


SQUARED = limit(
    id="limit-squared-loss",
    title="Mixup reduces the disparity for any loss (squared loss)",
    statement=(
        "False: least squares on +-1 with equal priors and no attack puts the boundary at the midpoint of the class "
        "means whatever the variances, mixed or not: D = Phi(-tau/(2K)) - Phi(-tau/2)."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE),
    defaults={"tau": 3.0, "K": 2.0},
    analytic_values=_squared,
    empirical_values=_trained_loss(_squared_erm),
    conclusion=lambda value: (
        abs(value["change by mixup"]) < 1e-7
        and abs(value["disparity with mixup"] - value["disparity of the midpoint"]) < 1e-7
    ),
    twin="trained",
    figure="mixup_lambda",
)

THEOREMS = (NATURAL_PRIORS, WITHOUT_AT, HARD_CLASS, BETA_FADES, EXPONENTIAL, SQUARED)
