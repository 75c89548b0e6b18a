"""Limits of the claims on class distance, each with its numbers and its twin."""

from __future__ import annotations

from linfair.gaussian import ClassGaussians
from linfair.norms import NATURAL
from linfair.solvers import surrogates
from linfair.solvers.closed_form import optimum, threshold
from linfair.theory.class_distance import DAFA, amplification, amplification_twin, ratio_twin
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE
from linfair.theory.theorem import Assumption, limit
from linfair.theory.twins import disparity_at, mean_of


def _ratio(tau, K):
    found = optimum(tau, K)
    return {"risk ratio": found.risk_plus / found.risk_minus, "disparity": found.disparity, "K": K}


def _ratio_twin(n, rng, tau, K):
    ratio, disparity = ratio_twin(tau, K, 1.0, 20 * n, rng)
    return {"risk ratio": ratio, "disparity": disparity}


RATIO = limit(
    id="limit-distance-ratio",
    title="Well separated classes are treated equally",
    statement=(
        "True of the difference of risks, false of their ratio: R_+/R_- stays above K/r at every distance. At tau ="
        " 9, K = 2 the disparity is below 0.001, and the hard class still fails more than twice as often."
    ),
    setting=DAFA,
    assumptions=(K_ABOVE_1, TAU_POSITIVE),
    defaults={"tau": 9.0, "K": 2.0},
    analytic_values=_ratio,
    empirical_values=_ratio_twin,
    conclusion=lambda value: value["risk ratio"] > value["K"],
    twin="Monte Carlo",
    figure="class_distance",
)

AMPLIFICATION = limit(
    id="limit-amplification",
    title="Adversarial training widens the gap less the farther the classes are",
    statement=(
        "Only while the hard class's robust risk is at most 1/2. Near overlap D is concave in distance: K = 5, e = "
        "0.1, the amplification rises from 0.016255 at tau_0 = 0.3 to 0.016335 at tau_0 = 0.6."
    ),
    setting=DAFA,
    assumptions=(
        K_ABOVE_1,
        Assumption("2 e < tau_near < tau_far", lambda tau_near, tau_far, e, **_: 2 * e < tau_near < tau_far),
    ),
    defaults={"tau_near": 0.3, "tau_far": 0.6, "K": 5.0, "e": 0.1},
    analytic_values=lambda tau_near, tau_far, K, e: {
        "amplification, near": amplification(tau_near, K, e),
        "amplification, far": amplification(tau_far, K, e),
        "robust risk of the hard class, near": optimum(tau_near - 2 * e, K).risk_plus,
    },
    empirical_values=amplification_twin,
    conclusion=lambda value: (
        value["amplification, far"] > value["amplification, near"]
        and value["robust risk of the hard class, near"] > 0.5
    ),
    twin="trained",
    figure="class_distance",
)


def _loss_distance(tau_near, tau_far, K):
    return {
        f"disparity, {name}, {loss} loss": disparity_at(u, tau, K)
        for name, tau in (("near", tau_near), ("far", tau_far))
        for loss, u in (("logistic", surrogates.minimise(tau, K).u), ("0-1", threshold(tau, K)[0]))
    }


def _loss_distance_twin(n, rng, tau_near, tau_far, K):
    """Logistic regression on samples of the score, threshold and scale both trained."""
    from linfair.solvers.fast import robust_erm

    found = {}
    for name, tau in (("near", tau_near), ("far", tau_far)):
        model, gaps = ClassGaussians.two_class([tau], 1.0, K), []
        for _ in range(32):
            f = robust_erm(*model.sample([max(n // 10, 100)] * 2, rng), NATURAL).classifier
            gaps.append(f.class_risks(model).disparity)
        found[f"disparity, {name}, logistic loss"] = mean_of(gaps)
    return found


LOSS_DISTANCE = limit(
    id="limit-distance-loss",
    title="Disparity falls with class distance, whatever loss is trained",
    statement=(
        "True of the 0-1 loss, false near overlap for the logistic loss: its disparity tends to 0 as tau -> 0, peaks "
        "(at tau = 1.74 for K = 2, D = 0.095) and only then falls. At K = 2 it is 0.055 at tau = 0.6 and 0.095 at "
        "tau = 1.74. So there a larger radius lowers the disparity too."
    ),
    setting=f"logistic training, otherwise {DAFA}",
    assumptions=(
        K_ABOVE_1,
        Assumption("0 < tau_near < tau_far", lambda tau_near, tau_far, **_: 0 < tau_near < tau_far),
    ),
    defaults={"tau_near": 0.6, "tau_far": 1.74, "K": 2.0},
    analytic_values=_loss_distance,
    empirical_values=_loss_distance_twin,
    conclusion=lambda value: (
        value["disparity, near, logistic loss"] < value["disparity, far, logistic loss"]
        and value["disparity, near, 0-1 loss"] > value["disparity, far, 0-1 loss"]
    ),
    twin="trained",
    figure="class_distance",
)

THEOREMS = (RATIO, AMPLIFICATION, LOSS_DISTANCE)
