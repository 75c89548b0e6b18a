"""Limits of the claims on adversarial training and its radius, each with its numbers and its twin.

A title is the claim in its natural reading, not a theorem of a paper; the statement says when it is false.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat
from linfair.solvers.closed_form import direction, optimal_classifier, optimum, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1
from linfair.theory.theorem import Assumption, Estimate, limit
from linfair.theory.twins import disparity_of, errors, risk_of

XU = "Xu et al. 2021"
MA = "Ma, Wang and Liu 2022, in the model of Xu et al. 2021"


def _easy_rises(strong, weak, n_weak, K, eps):
    delta = np.array([strong] + [weak] * n_weak)
    model, threat = ClassGaussians.two_class(delta, 1.0, K), Threat("linf", eps)
    return model, optimal_classifier(model).classifier, optimal_classifier(model, threat).classifier


def _easy_rises_values(**parameters):
    model, f_nat, f_rob = _easy_rises(**parameters)
    return {
        "natural error of the easy class, robust training": f_rob.class_risks(model).value[0],
        "natural error of the easy class, natural training": f_nat.class_risks(model).value[0],
    }


def _easy_rises_twin(n, rng, **parameters):
    model, f_nat, f_rob = _easy_rises(**parameters)
    n = max(n // 4, 1000)
    return {
        "natural error of the easy class, robust training": risk_of(errors(f_rob, model, n, rng), 0),
        "natural error of the easy class, natural training": risk_of(errors(f_nat, model, 4 * n, rng), 0),
    }


EASY_RISES = limit(
    id="limit-easy-error-rises",
    title="Adversarial training lowers the natural error of the easy class",
    statement=(
        "True in the model of Xu et al. 2021, false when the means differ between coordinates: under l_inf, delta ="
        " (2, 0.8 x 64), K = 1.2, eps = 0.45, the attack silences 64 coordinates and the easy class's natural error"
        " rises from 0.001 to 0.127."
    ),
    setting=XU,
    assumptions=(
        K_ABOVE_1,
        Assumption("weak < 2 eps < strong", lambda weak, strong, eps, **_: weak < 2 * eps < strong),
    ),
    defaults={"strong": 2.0, "weak": 0.8, "n_weak": 64, "K": 1.2, "eps": 0.45},
    analytic_values=_easy_rises_values,
    empirical_values=_easy_rises_twin,
    conclusion=lambda value: (
        value["natural error of the easy class, robust training"]
        > value["natural error of the easy class, natural training"]
    ),
    twin="Monte Carlo",
    figure="radius",
)


def _anisotropic(sd_plus, sd_minus, delta, eps):
    """The robust direction is e_1, where the classes have equal variance; the natural optimum uses both coordinates."""
    from linfair.solvers.local import average_risk

    half = np.asarray(delta) / 2
    model = ClassGaussians(np.stack([-half, half]), np.array([[1.0, sd_minus**2], [1.0, sd_plus**2]]))
    threat = Threat("linf", eps)
    return model, threat, average_risk(model, NATURAL).classifier, average_risk(model, threat).classifier


def _anisotropic_values(**parameters):
    model, threat, f_nat, f_rob = _anisotropic(**parameters)
    return {
        "natural disparity of natural training": f_nat.class_risks(model).disparity,
        "natural disparity of robust training": f_rob.class_risks(model).disparity,
        "robust disparity of robust training": f_rob.class_risks(model, threat).disparity,
    }


def _anisotropic_twin(n, rng, **parameters):
    model, threat, f_nat, f_rob = _anisotropic(**parameters)
    return {
        "natural disparity of natural training": disparity_of(errors(f_nat, model, n, rng)),
        "natural disparity of robust training": disparity_of(errors(f_rob, model, n, rng)),
        "robust disparity of robust training": disparity_of(errors(f_rob, model, n, rng, threat)),
    }


ANISOTROPIC_RADIUS = limit(
    id="limit-radius-anisotropic",
    title="Adversarial training, and a larger radius, increase the disparity",
    statement=(
        "True for isotropic classes, false otherwise: Sigma_+ = diag(1, 2), Sigma_- = diag(1, 0.1), delta = (2, 1),"
        " l_inf eps = 1/2, equal priors. Natural training has D = 0.0466; robust training drops the second "
        "coordinate and both gaps vanish."
    ),
    setting=MA,
    assumptions=(Assumption("delta_2 <= 2 eps < delta_1", lambda delta, eps, **_: delta[1] <= 2 * eps < delta[0]),),
    defaults={"sd_plus": float(np.sqrt(2.0)), "sd_minus": float(np.sqrt(0.1)), "delta": (2.0, 1.0), "eps": 0.5},
    analytic_values=_anisotropic_values,
    empirical_values=_anisotropic_twin,
    conclusion=lambda value: (
        value["natural disparity of natural training"] > 0.04
        and max(abs(value["natural disparity of robust training"]), abs(value["robust disparity of robust training"]))
        < 1e-6
    ),
    twin="Monte Carlo",
    figure="radius",
)


def _flip(tau0, K, e):
    u0, v0 = threshold(tau0, K)
    robust = optimum(tau0 - 2 * e, K)
    return {
        "robust disparity of natural training": ndtr(-(v0 - e / K)) - ndtr(-(u0 - e)),
        "robust disparity of robust training": robust.disparity,
        "radius of the sign flip": K * (u0 - v0) / (K - 1),
    }


def _flip_twin(n, rng, tau0, K, e):
    """Fresh attacked samples: natural training would separate its sample at this distance, whatever its threshold."""
    model, threat = ClassGaussians.two_class([tau0], 1.0, K), Threat("l2", e)
    f_nat, f_rob = optimal_classifier(model).classifier, optimal_classifier(model, threat).classifier
    return {
        "robust disparity of natural training": disparity_of(errors(f_nat, model, n, rng, threat)),
        "robust disparity of robust training": disparity_of(errors(f_rob, model, n, rng, threat)),
    }


SIGN_FLIP = limit(
    id="limit-sign-flip",
    title="Adversarial training is less fair than natural training under attack",
    statement=(
        "True of the signed gap, false of its size: under a strong attack the naturally trained classifier "
        "sacrifices the easy class. Its disparity vanishes at e* = K (u_0 - v_0)/(K - 1) and is negative beyond; K "
        "= 2, tau_0 = 12, e = 5: -0.737 against +0.244 for adversarial training."
    ),
    setting=XU,
    assumptions=(
        K_ABOVE_1,
        Assumption(
            "2 e < tau0 and e beyond the flip",
            lambda tau0, K, e: 2 * e < tau0 and e > K * (threshold(tau0, K)[0] - threshold(tau0, K)[1]) / (K - 1),
        ),
    ),
    defaults={"tau0": 12.0, "K": 2.0, "e": 5.0},
    analytic_values=_flip,
    empirical_values=_flip_twin,
    conclusion=lambda value: (
        value["robust disparity of natural training"]
        < 0
        < value["robust disparity of robust training"]
        < -value["robust disparity of natural training"]
    ),
    twin="Monte Carlo",
    figure="radius",
)


def _sqrt_d(d, eta, eps, K):
    delta = np.full(d, 2 * eta)
    w, total = direction(delta, Threat("linf", eps))
    return (
        delta,
        w,
        {
            "total margin of the optimal direction": total,
            "total margin 2 sqrt(d) (eta - eps)": 2 * np.sqrt(d) * (eta - eps),
        },
    )


def _sqrt_d_twin(n, rng, d, eta, eps, K):
    """The margin of the one-hot direction on samples: mean difference of attacked scores."""
    delta, w, _ = _sqrt_d(d, eta, eps, K)
    model = ClassGaussians.two_class(delta, 1.0, K)
    X, y = model.sample([n, n], rng)
    X = LinearClassifier(w, 0.0).attack(X, y, Threat("linf", eps))
    score = X @ w
    return {
        "total margin of the optimal direction": Estimate(
            float(score[y == 1].mean() - score[y == 0].mean()),
            float(np.sqrt(score[y == 1].var() / n + score[y == 0].var() / n)),
        )
    }


SQRT_D = limit(
    id="limit-sqrt-d",
    title="The robust margin is 2 sqrt(d) (eta - eps) for every radius",
    statement=(
        "Only for eps < eta. Beyond, the best direction is a single coordinate with total margin -2 (eps - eta), "
        "not -2 sqrt(d)(eps - eta): the closed forms in sqrt(d) stop being optimal."
    ),
    setting=XU,
    assumptions=(Assumption("eps > eta and d >= 2", lambda eps, eta, d, **_: eps > eta and d >= 2),),
    defaults={"d": 16, "eta": 0.5, "eps": 0.6, "K": 2.0},
    analytic_values=lambda **p: _sqrt_d(**p)[2],
    empirical_values=_sqrt_d_twin,
    conclusion=lambda value: (
        value["total margin of the optimal direction"] > value["total margin 2 sqrt(d) (eta - eps)"]
    ),
    twin="Monte Carlo",
    figure="claims",
)


def _two_optima(variances, delta):
    """The two best local minima that the solver finds, the one that favours class + first."""
    from linfair.solvers.local import average_risk

    half = np.asarray(delta) / 2
    model = ClassGaussians(np.stack([-half, half]), np.stack([variances[::-1], variances]))
    found = [f for _, f in average_risk(model, NATURAL).info["minima"][:2]]
    return model, sorted(found, key=lambda f: f.class_risks(model).disparity)


def _two_optima_values(**parameters):
    from linfair.solvers.frontier import RiskFrontier

    model, found = _two_optima(**parameters)
    first, second = (f.class_risks(model) for f in found)
    return {
        "average risk of one optimum": first.value.mean(),
        "average risk of the other": second.value.mean(),
        "certified lower bound": RiskFrontier(model, NATURAL).average_risk().info["lower_bound"],
        "disparity of one optimum": first.disparity,
        "disparity of the other": second.disparity,
    }


def _two_optima_twin(n, rng, **parameters):
    model, found = _two_optima(**parameters)
    names = ("disparity of one optimum", "disparity of the other")
    return {name: disparity_of(errors(f, model, n, rng)) for name, f in zip(names, found, strict=True)}


TWO_OPTIMA = limit(
    id="limit-two-optima",
    title="The classifier of least average risk decides which class pays",
    statement=(
        "Not when it is not unique: Sigma_+ = diag(0.1, 4), Sigma_- = diag(4, 0.1), delta = (2, 2) has two global "
        "minima of the average risk (0.12832), one with D = -0.209 and one with D = +0.209. Average risk is not "
        "quasi-convex in (w, b)."
    ),
    setting="any covariances",
    assumptions=(
        Assumption(
            "delta_1 = delta_2 and unequal variances",
            lambda delta, variances: delta[0] == delta[1] and variances[0] != variances[1],
        ),
    ),
    defaults={"variances": (0.1, 4.0), "delta": (2.0, 2.0)},
    analytic_values=_two_optima_values,
    empirical_values=_two_optima_twin,
    conclusion=lambda value: (
        abs(value["average risk of one optimum"] - value["average risk of the other"]) < 1e-7
        and value["certified lower bound"] > value["average risk of the other"] - 1e-7
        and value["disparity of one optimum"] < -0.1
        and value["disparity of the other"] > 0.1
    ),
    twin="Monte Carlo",
    figure="claims",
)

THEOREMS = (EASY_RISES, ANISOTROPIC_RADIUS, SIGN_FLIP, SQRT_D, TWO_OPTIMA)
