"""Same-class mixup, in the setting of Zhong and Tandon 2024: fixed and random weights, the easy class alone."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.mixing import BetaLambda, FixedLambda, NoMix
from linfair.solvers import equalisers
from linfair.solvers.closed_form import optimum, random_optimum, threshold
from linfair.theory.theorem import Assumption, Theorem
from linfair.theory.twins import disparity_at, mean_of, trained_margins

ZHONG = "Zhong and Tandon 2024, in the model of Xu et al. 2021"
ROUNDING = 1e-14
"""Room for equality at the edge of a hypothesis (r = K)."""
K_ABOVE_1 = Assumption("K > 1", lambda K, **_: K > 1)
TAU_POSITIVE = Assumption("tau > 0", lambda tau, **_: tau > 0)
REPRESENTABLE = Assumption("tau <= 35 (K + 1) (risks underflow beyond)", lambda tau, K, **_: tau <= 35 * (K + 1))


def interior(c_minus=1.0, c_plus=1.0) -> Assumption:
    """The interior optimum exists and beats the constant classifier, with and without mixing."""

    def holds(tau, K, r=1.0, **_):
        both = optimum(tau, K, r, c_minus=np.array([1.0, c_minus]), c_plus=np.array([1.0, c_plus]))
        return bool(both.interior_optimal.all())

    return Assumption("an interior optimum (the constant classifier does not win)", holds)


R_AT_MOST_K = Assumption("prior ratio r <= K", lambda r, K, **_: 0 < r <= K)
LAM = Assumption("0 < lam < 1", lambda lam, **_: 0 < lam < 1)


def _gap(tau, K, r, lam, e):
    """u and v under mixing: only Lam = log(K / r) is replaced by c Lam, c = lam^2 + (1 - lam)^2."""
    c = FixedLambda(lam).mean_c
    (u1, u), (v1, v) = threshold(tau, K, r, c_minus=np.array([1.0, c]), c_plus=np.array([1.0, c]))
    return {
        "robust disparity": disparity_at(u, tau, K),
        "robust disparity without mixup": disparity_at(u1, tau, K),
        "natural disparity": disparity_at(u, tau, K, e),
        "natural disparity without mixup": disparity_at(u1, tau, K, e),
        "robust risk of -": ndtr(-u),
        "robust risk of +": ndtr(-v),
        "robust risk of - without mixup": ndtr(-u1),
        "robust risk of + without mixup": ndtr(-v1),
    }


def _gap_twin(n, rng, tau, K, r, lam, e):
    mixed = trained_margins(tau, K, n, rng, mix=FixedLambda(lam), weights=(1.0, r))
    plain = trained_margins(tau, K, n, rng, weights=(1.0, r))
    return {
        "robust disparity": mean_of(disparity_at(mixed, tau, K)),
        "robust disparity without mixup": mean_of(disparity_at(plain, tau, K)),
        "natural disparity": mean_of(disparity_at(mixed, tau, K, e)),
        "natural disparity without mixup": mean_of(disparity_at(plain, tau, K, e)),
    }


def _robust_twin(n, rng, **parameters):
    return {k: v for k, v in _gap_twin(n, rng, **parameters).items() if k.startswith("robust")}


def _natural_twin(n, rng, **parameters):
    return {k: v for k, v in _gap_twin(n, rng, **parameters).items() if k.startswith("natural")}


def _natural(**parameters):
    return {k: v for k, v in _gap(**parameters).items() if k.startswith("natural")}


GAP_DEFAULTS = {"tau": 4.0, "K": 2.0, "r": 1.0, "lam": 0.5, "e": 0.5}

ROBUST_GAP = Theorem(
    id="mixup-robust-gap",
    kind="theorem",
    title="Mixup with adversarial training narrows the robust gap",
    statement=(
        "Mixing samples of one class with weights lam, 1-lam shrinks covariances by c = lam^2 + (1-lam)^2 and changes"
        " the optimal threshold by replacing Lam = log(K/r) by c Lam: u = (tau^2 + 2K^2 c Lam)/(tau + K S), v = "
        "(tau^2 - 2 c Lam)/(K tau + S), S^2 = tau^2 + 2(K^2-1) c Lam. For r <= K the risk of the hard class falls, "
        "that of the easy class rises and the disparity falls, strictly for r < K, as c falls; it never changes sign."
    ),
    setting=ZHONG,
    ours="Any priors and l_p norm; the condition r <= K; what happens beyond it (limit-natural-disparity-priors).",
    assumptions=(K_ABOVE_1, R_AT_MOST_K, LAM, TAU_POSITIVE, interior(0.5, 0.5)),
    defaults=GAP_DEFAULTS,
    analytic_values=_gap,
    empirical_values=_robust_twin,
    conclusion=lambda value: (
        -ROUNDING <= value["robust disparity"] <= value["robust disparity without mixup"] + ROUNDING
        and value["robust risk of +"] <= value["robust risk of + without mixup"] + ROUNDING
        and value["robust risk of -"] >= value["robust risk of - without mixup"] - ROUNDING
    ),
    twin="trained",
    figure="mixup_lambda",
)

NATURAL_GAP = Theorem(
    id="mixup-natural-gap",
    kind="theorem",
    title="Mixup with adversarial training narrows the natural gap, without closing it",
    statement=(
        "For r <= K the natural disparity of the robustly trained classifier, Phi(-v - e/K) - Phi(-u - e) with e the "
        "training radius in sds of class - along w, falls as c falls. Its limit as c -> 0 is Phi(-a - e/K) - Phi(-a -"
        " e) > 0, a = tau/(K+1)."
    ),
    setting=ZHONG,
    ours="The limit, and the condition r <= K.",
    assumptions=(
        *ROBUST_GAP.assumptions,
        Assumption(
            "e > 0, tau/(K + 1) + e/K <= 35 (risks underflow beyond)",
            lambda tau, K, e, **_: e > 0 and tau / (K + 1) + e / K <= 35,
        ),
    ),
    defaults=GAP_DEFAULTS,
    analytic_values=lambda **p: (
        _natural(**p)
        | {"natural disparity, limit c -> 0": disparity_at(p["tau"] / (p["K"] + 1), p["tau"], p["K"], p["e"])}
    ),
    empirical_values=_natural_twin,
    conclusion=lambda value: (
        0
        < value["natural disparity, limit c -> 0"]
        <= value["natural disparity"]
        <= value["natural disparity without mixup"]
    ),
    twin="trained",
    figure="mixup_lambda",
)


def _random(tau, K, r, a):
    best = random_optimum(tau, K, r, BetaLambda(a))
    half = threshold(tau, K, r, c_minus=0.5, c_plus=0.5)[0]
    return {
        "robust disparity": best.disparity,
        "c_eff": best.c_eff,
        "mean of c": BetaLambda(a).mean_c,
        "robust disparity, lambda = 1/2": disparity_at(half, tau, K),
        "robust disparity without mixup": disparity_at(threshold(tau, K, r)[0], tau, K),
    }


def _random_twin(n, rng, tau, K, r, a):
    u = trained_margins(tau, K, n, rng, mix=BetaLambda(a), weights=(1.0, r))
    return {"robust disparity": mean_of(disparity_at(u, tau, K))}


RANDOM_LAMBDA = Theorem(
    id="random-lambda",
    kind="theorem",
    title="A random lambda acts as one fixed c_eff, and never as well as lambda = 1/2",
    statement=(
        "For weights of any law with c in [c_lo, c_hi] a stationary threshold solves log p(v) - log p(u) = log(K/r), "
        "p(x) = E[c^(-1/2) phi(x/sqrt c)], and is that of the fixed c_eff = (u^2 - v^2) / (2 log(K/r)) in "
        "[c_lo, c_hi]. "
        "For lambda ~ Beta(a, a) the optimum has c_eff strictly between 1/2 and 1. A law of very different c can have "
        "several minima."
    ),
    setting=ZHONG,
    ours="The theorem for every law of weights: Beta, Dirichlet, and training on originals and mixes together.",
    assumptions=(
        K_ABOVE_1,
        Assumption("prior ratio r < K", lambda r, K, **_: 0 < r < K),
        Assumption("a > 0", lambda a, **_: a > 0),
        TAU_POSITIVE,
        REPRESENTABLE,
        Assumption(
            "an interior optimum under the law",
            lambda tau, K, r, a: bool(random_optimum(tau, K, r, BetaLambda(a)).interior_optimal),
        ),
    ),
    defaults={"tau": 4.0, "K": 2.0, "r": 1.0, "a": 1.0},
    analytic_values=_random,
    empirical_values=_random_twin,
    conclusion=lambda value: (
        0.5 < value["c_eff"] < 1
        and value["robust disparity, lambda = 1/2"]
        < value["robust disparity"]
        < value["robust disparity without mixup"]
    ),
    twin="trained",
    figure="mixup_lambda",
)


def _easy(tau, K, r):
    cure = equalisers.mix_easy(tau, K, r)
    best = optimum(tau, K, r, c_minus=float(cure.value))
    return {
        "robust disparity": best.disparity,
        "c_- of the easy class": cure.value,
        "lambda of the easy class": equalisers.two_way_lambda(cure.value),
        "common robust risk": cure.risk,
        "robust disparity without mixup": optimum(tau, K, r).disparity,
    }


def _easy_twin(n, rng, tau, K, r):
    lam = float(equalisers.two_way_lambda(equalisers.mix_easy(tau, K, r).value))
    u = trained_margins(tau, K, n, rng, mix=[FixedLambda(lam), NoMix()], weights=(1.0, r))
    plain = trained_margins(tau, K, n, rng, weights=(1.0, r))
    return {
        "robust disparity": mean_of(disparity_at(u, tau, K)),
        "common robust risk": mean_of((ndtr(-u) + ndtr(-(tau - u) / K)) / 2),
        "robust disparity without mixup": mean_of(disparity_at(plain, tau, K)),
    }


EASY_CLASS = Theorem(
    id="easy-class-equaliser",
    kind="theorem",
    title="Mixing the easy class alone is an exact cure",
    statement=(
        "Mixing only class - with c_- = 1/y, y = -W_{-1}(-a^2 exp(-a^2) (r/K)^2) / a^2 (lower Lambert branch), a = "
        "tau/(K+1), makes both robust risks Phi(-a). Two-way mixing reaches it for r = 1 iff a^2 >= log(2 K^2)."
    ),
    setting=f"class-wise mixing, otherwise {ZHONG}",
    ours="The theorem.",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        R_AT_MOST_K,
        Assumption(
            "a two-way mix suffices (c_- >= 1/2) and training returns the equaliser",
            lambda tau, K, r: bool(
                equalisers.mix_easy(tau, K, r).value >= 0.5 and equalisers.mix_easy(tau, K, r).interior_optimal
            ),
        ),
    ),
    defaults={"tau": 4.8, "K": 2.0, "r": 1.0},
    analytic_values=_easy,
    empirical_values=_easy_twin,
    conclusion=lambda value: abs(value["robust disparity"]) < 1e-12 and value["robust disparity without mixup"] >= 0,
    twin="trained",
    figure="equalisers",
)

THEOREMS = (ROBUST_GAP, NATURAL_GAP, RANDOM_LAMBDA, EASY_CLASS)
