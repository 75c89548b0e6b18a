"""Limits of the claims on adversarial training, radius, distance and the cures, each with its numbers and its twin.

A title is the claim in its natural reading, not a theorem that a paper printed; the statement says when it is false.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat
from linfair.solvers import equalisers, surrogates
from linfair.solvers.closed_form import direction, optimal_classifier, optimum, threshold
from linfair.theory.class_distance import DAFA, amplification, amplification_twin
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE
from linfair.theory.theorem import Assumption, Estimate, limit
from linfair.theory.twins import disparity_at, disparity_of, errors, mean_of, rate_of, risk_of, trained_margins

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
        "not -2 sqrt(d)(eps - eta): the printed closed forms stop being optimal."
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


# --- distance --------------------------------------------------------------------------------------------------------


def _ratio(tau, K):
    found = optimum(tau, K)
    return {"risk ratio": found.risk_plus / found.risk_minus, "K": K, "disparity": found.disparity}


def _ratio_twin(n, rng, tau, K):
    u, v = threshold(tau, K)
    size = 20 * n
    minus, plus = rate_of(rng.standard_normal(size) > u), rate_of(rng.standard_normal(size) > v)
    ratio = plus.value / minus.value
    return {
        "risk ratio": Estimate(ratio, ratio * float(np.hypot(plus.se / plus.value, minus.se / minus.value))),
        "disparity": Estimate(plus.value - minus.value, float(np.hypot(plus.se, minus.se))),
    }


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
    conclusion=lambda value: value["risk ratio"] > value["K"] and value["disparity"] < 0.01,
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


# --- cures -----------------------------------------------------------------------------------------------------------


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


def _average_at(u, v, r, n, rng):
    minus, plus = rate_of(rng.standard_normal(n) > u), rate_of(rng.standard_normal(n) > v)
    return Estimate((minus.value + r * plus.value) / (1 + r), float(np.hypot(minus.se, r * plus.se)) / (1 + r))


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
        Assumption("a stationary point", lambda tau, K, r: tau**2 + 2 * (K * K - 1) * np.log(K / r) >= 0),
    ),
    defaults={"tau": 2.05, "K": 2.0, "r": 4.0},
    analytic_values=_constant,
    empirical_values=lambda n, rng, tau, K, r: {
        "average risk of the interior point": _average_at(*threshold(tau, K, r), r, n, rng)
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
    a = tau / (K + 1)
    return {"average risk of the equaliser, reweighted": _average_at(a, a, K, n, rng)}


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


def _two_optima(variances, delta):
    from linfair.solvers.local import average_risk

    half = np.asarray(delta) / 2
    cov = np.asarray(variances)
    model = ClassGaussians(np.stack([-half, half]), np.stack([cov[::-1], cov]))
    best = average_risk(model, NATURAL).classifier
    w = best.w / np.linalg.norm(best.w)
    # exchanging the coordinates and the classes maps the model to itself, and one optimum to the other
    return (
        model,
        LinearClassifier(w, best.b / np.linalg.norm(best.w)),
        LinearClassifier(w[::-1], -best.b / np.linalg.norm(best.w)),
    )


def _two_optima_values(**parameters):
    model, first, second = _two_optima(**parameters)
    risks = sorted((f.class_risks(model) for f in (first, second)), key=lambda r: r.disparity)
    return {
        "average risk of one optimum": risks[0].value.mean(),
        "average risk of the other": risks[1].value.mean(),
        "disparity of one optimum": risks[0].disparity,
        "disparity of the other": risks[1].disparity,
    }


def _two_optima_twin(n, rng, **parameters):
    model, *both = _two_optima(**parameters)
    found = sorted((errors(f, model, n, rng) for f in both), key=lambda e: e.disparity)
    return {"disparity of one optimum": disparity_of(found[0]), "disparity of the other": disparity_of(found[1])}


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
        abs(value["average risk of one optimum"] - value["average risk of the other"]) < 1e-9
        and value["disparity of one optimum"] < -0.1
        and value["disparity of the other"] > 0.1
    ),
    twin="Monte Carlo",
    figure="claims",
)

THEOREMS = (
    EASY_RISES,
    ANISOTROPIC_RADIUS,
    SIGN_FLIP,
    SQRT_D,
    RATIO,
    AMPLIFICATION,
    LOSS_DISTANCE,
    REMARGIN,
    CONSTANT,
    REWEIGHT,
    TWO_OPTIMA,
)
