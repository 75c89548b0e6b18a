"""Reweighting and re-margining, the two other exact cures, and what fairness costs."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.solvers import equalisers
from linfair.solvers.closed_form import optimum
from linfair.theory.same_class_mixup import K_ABOVE_1, ROUNDING, TAU_POSITIVE, interior
from linfair.theory.theorem import Assumption, Theorem
from linfair.theory.twins import disparity_at, mean_of, trained_margins


def _reweight(tau, K, r):
    cure = equalisers.reweight(tau, K, r)
    return {
        "robust disparity": optimum(tau, K, r * float(cure.value)).disparity,
        "common robust risk": cure.risk,
        "weight ratio W_+/W_-": cure.value,
        "robust disparity without weights": optimum(tau, K, r).disparity,
    }


def _reweight_twin(n, rng, tau, K, r):
    u = trained_margins(tau, K, n, rng, weights=(1.0, r * float(equalisers.reweight(tau, K, r).value)))
    return {
        "robust disparity": mean_of(disparity_at(u, tau, K)),
        "common robust risk": mean_of((ndtr(-u) + ndtr(-(tau - u) / K)) / 2),
    }


REWEIGHT = Theorem(
    id="reweight-equaliser",
    kind="theorem",
    title="Class weights K/r equalise the risks at every distance and radius",
    statement=(
        "Loss weights with W_+/W_- = K/r make the stationary threshold the equaliser, both robust risks "
        "Phi(-tau/(K+1)), for every tau > 0. Training returns it iff tau >= (K+1) Phi^{-1}(K/(K+1)) (K > 1); below,"
        " calling everything + wins."
    ),
    setting="reweighting as in FRL, Xu et al. 2021",
    ours="The exact weight, and the condition for training to return the equaliser.",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("r > 0", lambda r, **_: r > 0),
        Assumption(
            "tau >= (K+1) Phi^-1(K/(K+1))",
            lambda tau, K, r: bool(equalisers.reweight(tau, K, r).interior_optimal),
        ),
    ),
    defaults={"tau": 4.8, "K": 2.0, "r": 1.0},
    analytic_values=_reweight,
    empirical_values=_reweight_twin,
    conclusion=lambda value: abs(value["robust disparity"]) < 1e-12,
    twin="trained",
    figure="equalisers",
)


def _remargin(tau, K, r):
    cure = equalisers.remargin(tau, K, r)
    extra = float(cure.value)
    u = float(optimum(tau - K * extra, K, r).u)  # class "+" is trained as if it stood nearer by its extra radius
    return {
        "robust disparity": disparity_at(u, tau, K),
        "extra radius in sds of +": extra,
        "common robust risk": cure.risk,
        "robust disparity without it": optimum(tau, K, r).disparity,
    }


def _remargin_twin(n, rng, tau, K, r):
    extra = float(equalisers.remargin(tau, K, r).value)
    u = trained_margins(tau, K, n, rng, weights=(1.0, r), extra=extra)
    return {
        "robust disparity": mean_of(disparity_at(u, tau, K)),
        "common robust risk": mean_of((ndtr(-u) + ndtr(-(tau - u) / K)) / 2),
    }


REMARGIN = Theorem(
    id="remargin-equaliser",
    kind="theorem",
    title="A larger training radius for the hard class equalises the risks",
    statement=(
        "Training class + at eps + (sigma_+/g)(a - sqrt(a^2 - 2 log(K/r))), g = ||w||_*/||w||_2, a = tau/(K+1), and"
        " class - at eps makes both robust risks at eps equal to Phi(-a). It exists iff a^2 >= 2 log(K/r); the "
        "direction must not turn with the radius (l2)."
    ),
    setting="class-wise margins as in FRL (Xu et al. 2021) and DAFA (Lee et al. 2024)",
    ours="The exact radius and the condition; limit-remargin-backfires shows where a larger radius hurts.",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("r > 0", lambda r, **_: r > 0),
        Assumption(
            "a^2 >= 2 log(K/r) and an interior optimum",
            lambda tau, K, r: bool(equalisers.remargin(tau, K, r).interior_optimal),
        ),
    ),
    defaults={"tau": 4.8, "K": 2.0, "r": 1.0},
    analytic_values=_remargin,
    empirical_values=_remargin_twin,
    conclusion=lambda value: abs(value["robust disparity"]) < 1e-12,
    twin="trained",
    figure="equalisers",
)


def _price(tau, K, r, delta):
    u, v, _ = equalisers.fairness_constrained(tau, K, r, delta)
    free = optimum(tau, K, r)
    fair = float(ndtr(-tau / (K + 1.0)))

    def average(u, v):
        return (ndtr(-u) + r * ndtr(-v)) / (1.0 + r)

    return {
        "disparity": abs(disparity_at(u, tau, K)),
        "average risk": average(u, v),
        "average risk, unconstrained": average(free.u, free.v),
        "price of full fairness": fair - average(free.u, free.v),
        "disparity, unconstrained": abs(free.disparity),
    }


def _weight(tau, K, r, delta):
    """W_+ pi_+ / (W_- pi_-) at which the constrained optimum is stationary."""
    u, v, _ = equalisers.fairness_constrained(tau, K, r, delta)
    return K * np.exp((v * v - u * u) / 2.0)


def _price_twin(n, rng, tau, K, r, delta):
    """Thresholds trained with the class weights under which the constrained optimum is stationary."""
    u, _, _ = equalisers.fairness_constrained(tau, K, r, delta)
    found = trained_margins(tau, K, n, rng, weights=(1.0, _weight(tau, K, r, delta)))
    sign = np.sign(disparity_at(u, tau, K))
    return {
        "disparity": mean_of(sign * disparity_at(found, tau, K)),
        "average risk": mean_of((ndtr(-found) + r * ndtr(-(tau - found) / K)) / (1.0 + r)),
    }


PRICE = Theorem(
    id="price-of-fairness",
    kind="theorem",
    title="The (average, disparity) frontier of two isotropic classes",
    statement=(
        "For r < K and |D(u*)| > delta, least average robust risk under |D| <= delta is attained on u + K v = tau "
        "between the optimum u* and the equaliser a: the root of Phi(-(tau-u)/K) - Phi(-u) = delta. Full fairness "
        "costs Phi(-a) - J(u*). Training with class weights W_+/W_- = (K/r) exp((v^2 - u^2)/2) reaches the "
        "constrained optimum where the weighted problem has an interior one."
    ),
    setting="the model of Xu et al. 2021",
    ours="The theorem.",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("0 < delta < 1, 0 < r < K", lambda delta, r, K, **_: 0 < delta < 1 and 0 < r < K),
        interior(),
        Assumption(
            "an interior optimum of the weighted problem",
            lambda tau, K, r, delta: bool(optimum(tau, K, _weight(tau, K, r, delta)).interior_optimal),
        ),
    ),
    defaults={"tau": 4.8, "K": 2.0, "r": 1.0, "delta": 0.005},
    analytic_values=_price,
    empirical_values=_price_twin,
    conclusion=lambda value: (
        value["disparity"] <= value["disparity, unconstrained"] + ROUNDING
        and value["average risk"] >= value["average risk, unconstrained"] - ROUNDING
        and value["average risk"] <= value["average risk, unconstrained"] + value["price of full fairness"] + ROUNDING
    ),
    twin="trained",
    figure="equalisers",
)

THEOREMS = (REWEIGHT, REMARGIN, PRICE)
