"""Limits of the claims on the cures, each with its numbers and its twin."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from linfair.solvers import equalisers
from linfair.solvers.closed_form import optimum, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE
from linfair.theory.theorem import Assumption, limit
from linfair.theory.twins import average_of, margin_errors, mean_of, trained_margins

XU = "Xu et al. 2021"


def _remargin_values(tau, K, extra):
    """Class + trained with an extra radius (its own sds) and tested without it: v = v_train + extra."""
    v = {x: float(optimum(tau - K * x, K).v) + x for x in (0.0, extra)}
    return {
        "robust risk of +, larger radius": ndtr(-v[extra]),
        "robust risk of +, same radius": ndtr(-v[0.0]),
        "robust risk of + at its training radius": ndtr(-optimum(tau, K).v),
    }


def _remargin_twin(n, rng, tau, K, extra):
    found = {}
    for name, x in (("larger", extra), ("same", 0.0)):
        u = trained_margins(tau, K, n, rng, extra=x)
        found[f"robust risk of +, {name} radius"] = mean_of(ndtr(-(tau - u) / K))
    return found


REMARGIN = limit(
    id="limit-remargin-backfires",
    title="A larger training radius for the weak class helps it",
    statement=(
        "Only while its robust risk at its own training radius is below 1/2: dv/de_+ has the sign of v there. K = "
        "2, tau = 0.8, r = 1: the risk of + is 0.578 and a larger radius raises it."
    ),
    setting="class-wise margins as in FRL (Xu et al. 2021) and DAFA (Lee et al. 2024)",
    assumptions=(
        K_ABOVE_1,
        Assumption("extra > 0", lambda extra, **_: extra > 0),
        Assumption("robust risk of + above 1/2", lambda tau, K, **_: bool(threshold(tau, K)[1] < 0)),
    ),
    defaults={"tau": 0.8, "K": 2.0, "extra": 0.3},
    analytic_values=_remargin_values,
    empirical_values=_remargin_twin,
    conclusion=lambda value: (
        value["robust risk of +, larger radius"] > value["robust risk of +, same radius"]
        and value["robust risk of + at its training radius"] > 0.5
    ),
    twin="trained",
    figure="equalisers",
)


def _constant(tau, K, r):
    found = optimum(tau, K, r)
    return {
        "average risk of the interior point": (found.risk_minus + r * found.risk_plus) / (1 + r),
        "average risk of the constant classifier": 1 / (1 + r),
        "status": int(found.status),
    }


CONSTANT = limit(
    id="limit-constant-classifier",
    title="The optimum is a proper linear classifier wherever a stationary point exists",
    statement=(
        "Only for r up to some r_0(K) > 1 (1.22 at K = 2). Beyond it the constant classifier wins at small tau: K ="
        " 2, r = 4, tau = 2.05 has an interior local minimum of average risk 0.2192, and calling everything + costs"
        " 0.2. r_0 solves r Phi(u_0/K) = Phi(u_0), u_0 = K sqrt(2 log(K/r) / (K^2 - 1))."
    ),
    setting=XU,
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("r > 1", lambda r, **_: r > 1),
        Assumption("the constant classifier wins", lambda tau, K, r: not bool(optimum(tau, K, r).interior_optimal)),
        Assumption("a stationary point", lambda tau, K, r: tau**2 + 2 * (K * K - 1) * np.log(K / r) >= 0),
    ),
    defaults={"tau": 2.05, "K": 2.0, "r": 4.0},
    analytic_values=_constant,
    empirical_values=lambda n, rng, tau, K, r: {
        "average risk of the interior point": average_of(
            margin_errors(tau, K, float(threshold(tau, K, r)[0]), n, rng, r), r
        )
    },
    conclusion=lambda value: (
        value["average risk of the interior point"] > value["average risk of the constant classifier"]
        and value["status"] == 1
    ),
    twin="Monte Carlo",
    figure="claims",
)


def _reweight(tau, K):
    return {
        "average risk of the equaliser, reweighted": float(ndtr(-tau / (K + 1))),
        "average risk of calling everything +, reweighted": 1 / (1 + K),
        "smallest tau at which training returns the equaliser": (K + 1) * float(ndtri(K / (K + 1))),
    }


def _reweight_twin(n, rng, tau, K):
    return {"average risk of the equaliser, reweighted": average_of(margin_errors(tau, K, tau / (K + 1), n, rng), K)}


REWEIGHT = limit(
    id="limit-reweighting",
    title="Training with the equalising class weights returns the equaliser",
    statement=(
        "Only for tau >= (K+1) Phi^{-1}(K/(K+1)) (1.292 at K = 2). At K = 2, tau = 1 the weights K/r make the "
        "equaliser stationary with reweighted risk 0.369, and calling everything + costs 1/3: training returns "
        "that."
    ),
    setting="reweighting as in FRL, Xu et al. 2021",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("tau below the threshold", lambda tau, K: not bool(equalisers.reweight(tau, K).interior_optimal)),
    ),
    defaults={"tau": 1.0, "K": 2.0},
    analytic_values=_reweight,
    empirical_values=_reweight_twin,
    conclusion=lambda value: (
        value["average risk of the equaliser, reweighted"] > value["average risk of calling everything +, reweighted"]
    ),
    twin="Monte Carlo",
    figure="equalisers",
)

THEOREMS = (REMARGIN, CONSTANT, REWEIGHT)
