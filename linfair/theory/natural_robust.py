"""Natural against adversarial training (Xu et al. 2021), and the direction all optima share."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.solvers.closed_form import direction, optimal_classifier
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import disparity_of, errors, risk_of


def _xu(d, eta, sigma, K, eps):
    """Class risks in the usual symbols: A, B are the natural and robust separations, q the unequal variances."""
    q = 2.0 * np.log(K) / (K * K - 1.0)

    def risks(A, shift=0.0):
        root = np.sqrt(A * A + q)
        u = ((K * K - 1.0) * A * A + K * K * q) / (A + K * root)  # K root - A, which cancels for K near 1
        v = ((K * K - 1.0) * A * A - q) / (K * A + root)  # K A - root
        return ndtr(-u - shift), ndtr(-v - shift / K)

    A = 2.0 * np.sqrt(d) * eta / ((K * K - 1.0) * sigma)
    B = 2.0 * np.sqrt(d) * (eta - eps) / ((K * K - 1.0) * sigma)
    natural, robust, clean = risks(A), risks(B), risks(B, np.sqrt(d) * eps / sigma)
    return {
        "robust disparity, robust training": robust[1] - robust[0],
        "natural disparity, natural training": natural[1] - natural[0],
        "natural disparity, robust training": clean[1] - clean[0],
        "natural error of -, natural training": natural[0],
        "natural error of -, robust training": clean[0],
        "natural error of +, natural training": natural[1],
        "natural error of +, robust training": clean[1],
    }


def _xu_twin(n, rng, d, eta, sigma, K, eps):
    model, threat = ClassGaussians.xu(d, eta, sigma, K), Threat("linf", eps)
    f_nat = optimal_classifier(model).classifier
    f_rob = optimal_classifier(model, threat).classifier
    natural, clean = errors(f_nat, model, n, rng), errors(f_rob, model, n, rng)
    return {
        "robust disparity, robust training": disparity_of(errors(f_rob, model, n, rng, threat)),
        "natural disparity, natural training": disparity_of(natural),
        "natural disparity, robust training": disparity_of(clean),
        "natural error of -, natural training": risk_of(natural, 0),
        "natural error of -, robust training": risk_of(clean, 0),
        "natural error of +, natural training": risk_of(natural, 1),
        "natural error of +, robust training": risk_of(clean, 1),
    }


def _xu_holds(value):
    return (
        value["robust disparity, robust training"]
        > value["natural disparity, robust training"]
        > value["natural disparity, natural training"]
        > 0
        and value["natural error of -, robust training"] < value["natural error of -, natural training"]
        and value["natural error of +, robust training"] > value["natural error of +, natural training"]
    )


XU_GAP = Theorem(
    id="xu-gap",
    kind="theorem",
    title="Adversarial training makes the hard class pay",
    statement=(
        "Means -+eta(1,...,1), sds sigma and K sigma, equal priors, l_inf radius eps < eta. With A = 2 sqrt(d) eta "
        "/ ((K^2-1) sigma), B the same with eta - eps, and q = 2 log K / (K^2-1): R_-(A) = Phi(A - K sqrt(A^2+q)), "
        "R_+(A) = Phi(-K A + sqrt(A^2+q)) are the natural risks of natural training, and with B for A the robust "
        "risks of robust training. Robust training lowers the natural error of the easy class, raises that of the "
        "hard one, and widens both gaps."
    ),
    setting="Xu et al. 2021",
    ours=(
        "The conditions: equal |mean| in every coordinate and eps < eta (see limit-sqrt-d and limit-easy-error-rises)."
    ),
    assumptions=(
        Assumption("K > 1", lambda K, **_: K > 1),
        Assumption("0 < eps < eta", lambda eps, eta, **_: 0 < eps < eta),
        Assumption("sigma > 0 and d >= 1", lambda sigma, d, **_: sigma > 0 and d >= 1),
    ),
    defaults={"d": 16, "eta": 0.5, "sigma": 1.0, "K": 2.0, "eps": 0.1},
    analytic_values=_xu,
    empirical_values=_xu_twin,
    conclusion=_xu_holds,
    twin="Monte Carlo",
    figure="radius",
)


def _direction(delta, norm, eps_minus, eps_plus, K):
    model = ClassGaussians.two_class(delta, 1.0, K)
    threat = Threat(norm, (eps_minus, eps_plus))
    w, total = direction(model.means[1] - model.means[0], threat)
    swapped = direction(model.means[1] - model.means[0], Threat(norm, (eps_plus, eps_minus)))[1]
    rng = np.random.default_rng(0)
    rivals = w + rng.standard_normal((2000, len(w))) * np.logspace(-4, 1, 2000)[:, None]
    rivals /= np.linalg.norm(rivals, axis=1, keepdims=True)
    best = (rivals @ np.asarray(delta) - (eps_minus + eps_plus) * threat.dual_norm(rivals)).max()
    risks = optimal_classifier(model, threat).risks.value
    return {
        "average robust risk": risks.mean(),
        "total margin T": total,
        "largest total margin of 2000 other directions": best,
        "change of T when the radii are swapped": swapped - total,
    }


def _direction_twin(n, rng, delta, norm, eps_minus, eps_plus, K):
    model, threat = ClassGaussians.two_class(delta, 1.0, K), Threat(norm, (eps_minus, eps_plus))
    found = errors(optimal_classifier(model, threat).classifier, model, n, rng, threat)
    return {"average robust risk": Estimate(found.rate.mean(), float(np.hypot(*found.se) / 2))}


ROBUST_DIRECTION = Theorem(
    id="robust-direction",
    kind="theorem",
    title="The optimal robust direction is the residual of a projection",
    statement=(
        "Isotropic classes, any priors, variances and l_p attack: every optimal classifier that is not constant has"
        " w ~ delta - Proj(delta), the residual of the Euclidean projection of the mean difference onto the l_p "
        "ball of radius eps_- + eps_+, and total robust margin T = ||w||_2. Only the sum of the radii matters."
    ),
    setting="Dobriban et al. 2020 and Bhagoji et al. 2019 study optimal robust classifiers of Gaussian mixtures",
    ours="The statement for any priors, class-wise radii and any nonincreasing loss.",
    assumptions=(
        Assumption(
            "||delta||_p > eps_- + eps_+",
            lambda delta, norm, eps_minus, eps_plus, **_: bool(Threat(norm).ball.of(delta) > eps_minus + eps_plus),
        ),
        Assumption("K > 0 and radii >= 0", lambda K, eps_minus, eps_plus, **_: K > 0 and min(eps_minus, eps_plus) >= 0),
    ),
    defaults={"delta": (2.0, -1.0, 0.3), "norm": "linf", "eps_minus": 0.3, "eps_plus": 0.2, "K": 1.5},
    analytic_values=_direction,
    empirical_values=_direction_twin,
    conclusion=lambda value: (
        value["total margin T"] >= value["largest total margin of 2000 other directions"]
        and abs(value["change of T when the radii are swapped"]) < 1e-12
    ),
    twin="Monte Carlo",
    figure="boundaries",
)

THEOREMS = (XU_GAP, ROBUST_DIRECTION)
