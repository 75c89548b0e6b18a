"""Disparity against the training radius, in the setting of Ma, Wang and Liu 2022."""

from __future__ import annotations

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers.closed_form import optimal_classifier, optimum, reduce
from linfair.theory.same_class_mixup import K_ABOVE_1
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import disparity_at, disparity_of, errors, mean_of, trained_margins


def _model(delta, K, r):
    return ClassGaussians.two_class(delta, 1.0, K, r)


def _radius(delta, K, r, norm, eps):
    model = _model(delta, K, r)
    radii = np.linspace(0.0, eps, 61)
    found = np.array([optimal_classifier(model, Threat(norm, float(e))).risks.disparity for e in radii])
    return {
        "robust disparity": found[-1],
        "variance of class-wise robust accuracy": found[-1] ** 2 / 4,
        "robust disparity at eps / 2": found[30],
        "smallest increase between neighbours": np.diff(found).min(),
    }


def _radius_twin(n, rng, delta, K, r, norm, eps):
    tau = reduce(_model(delta, K, r), Threat(norm, eps)).tau
    gaps = disparity_at(trained_margins(tau, K, n, rng, weights=(1.0, r)), tau, K)
    mean = mean_of(gaps)
    return {
        "robust disparity": mean,
        "variance of class-wise robust accuracy": Estimate(mean.value**2 / 4, abs(mean.value) * mean.se / 2),
    }


ATTACK_LEAVES_A_GAP = Assumption(
    "0 < 2 eps < ||delta||_p", lambda delta, norm, eps, **_: bool(0 < 2 * eps < Threat(norm).ball.of(delta))
)
REPRESENTABLE = Assumption(
    "||delta||_2 <= 35 (K + 1) (risks underflow beyond)",
    lambda delta, K, **_: bool(np.linalg.norm(delta) <= 35 * (K + 1)),
)
INTERIOR = Assumption(
    "an interior optimum at the largest radius",
    lambda delta, K, r, norm, eps: bool(
        optimum(reduce(_model(delta, K, r), Threat(norm, eps)).tau, K, r).interior_optimal
    ),
)

RADIUS = Theorem(
    id="radius-gap",
    kind="theorem",
    title="A larger radius means a larger disparity and variance",
    statement=(
        "Isotropic classes, any l_p attack with 2 eps < ||delta||_p, r < K: D_rob(f_rob) increases strictly with "
        "eps, since tau = dist(delta, B_p(2 eps))/sigma falls; the variance of class-wise robust accuracy is D^2/4 "
        "and increases with it."
    ),
    setting="Ma, Wang and Liu 2022",
    ours=(
        "The statement for any l_p norm, rotating direction and priors; it is false for anisotropic classes (limit-"
        "radius-anisotropic)."
    ),
    assumptions=(
        K_ABOVE_1,
        Assumption("prior ratio r < K", lambda r, K, **_: 0 < r < K),
        ATTACK_LEAVES_A_GAP,
        REPRESENTABLE,
        INTERIOR,
    ),
    defaults={"delta": (3.0, 2.0, 1.0, 0.5), "K": 2.0, "r": 1.0, "norm": "linf", "eps": 0.4},
    analytic_values=_radius,
    empirical_values=_radius_twin,
    conclusion=lambda value: value["smallest increase between neighbours"] > 0,
    twin="trained",
    figure="radius",
)


def _natural(delta, K, r, norm, eps):
    model, threat = _model(delta, K, r), Threat(norm, eps)
    f_nat, f_rob = optimal_classifier(model).classifier, optimal_classifier(model, threat).classifier
    return {
        "natural disparity of robust training": f_rob.class_risks(model).disparity,
        "natural disparity of natural training": f_nat.class_risks(model).disparity,
    }


def _natural_twin(n, rng, delta, K, r, norm, eps):
    model, threat = _model(delta, K, r), Threat(norm, eps)
    f_nat, f_rob = optimal_classifier(model).classifier, optimal_classifier(model, threat).classifier
    return {
        "natural disparity of robust training": disparity_of(errors(f_rob, model, n, rng)),
        "natural disparity of natural training": disparity_of(errors(f_nat, model, n, rng)),
    }


NATURAL_COST = Theorem(
    id="robust-training-natural-gap",
    kind="theorem",
    title="Robust training is never fairer on clean data, for isotropic classes",
    statement=(
        "Isotropic classes, r <= 1, any l_p attack whether or not it turns the direction: D_nat(f_rob) >= "
        "D_nat(f_nat) > 0."
    ),
    setting="Xu et al. 2021 and Ma, Wang and Liu 2022",
    ours="The statement for directions that turn; it needs isotropic classes (limit-radius-anisotropic).",
    assumptions=(
        K_ABOVE_1,
        Assumption("prior ratio r <= 1", lambda r, **_: 0 < r <= 1),
        ATTACK_LEAVES_A_GAP,
        REPRESENTABLE,
        INTERIOR,
    ),
    defaults={"delta": (3.0, 2.0, 1.0, 0.5), "K": 2.0, "r": 1.0, "norm": "linf", "eps": 0.4},
    analytic_values=_natural,
    empirical_values=_natural_twin,
    conclusion=lambda value: (
        value["natural disparity of robust training"] >= value["natural disparity of natural training"] > 0
    ),
    twin="Monte Carlo",
    figure="radius",
)

THEOREMS = (RADIUS, NATURAL_COST)
