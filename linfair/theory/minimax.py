"""The minimax-fair robust classifier for any covariances: a second-order cone program with a dual certificate."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import errors, risk_of


def model_of(cov_minus, cov_plus, delta, r=1.0):
    half = np.asarray(delta) / 2
    return ClassGaussians(np.stack([-half, half]), np.stack([cov_minus, cov_plus]), np.array([1.0, r]) / (1.0 + r))


def _solve(cov_minus, cov_plus, delta, norm, eps):
    from linfair.solvers.convex import minimax_fair

    model, threat = model_of(cov_minus, cov_plus, delta), Threat(norm, eps)
    return model, threat, minimax_fair(model, threat)


DEFINITE = Assumption(
    "positive definite covariances",
    lambda cov_minus, cov_plus, **_: all(
        np.linalg.eigvalsh(np.asarray(cov)).min() > 0 for cov in (cov_minus, cov_plus)
    ),
)
SEPARABLE = Assumption(
    "||delta||_p > 2 eps", lambda delta, norm, eps, **_: bool(Threat(norm).ball.of(np.asarray(delta)) > 2 * eps)
)
DEFAULTS = {
    "cov_minus": ((1.0, 0.3), (0.3, 0.5)),
    "cov_plus": ((2.0, -0.8), (-0.8, 4.0)),
    "delta": (3.0, 2.0),
    "norm": "linf",
    "eps": 0.2,
}


def _minimax(**parameters):
    model, threat, fair = _solve(**parameters)
    rng = np.random.default_rng(0)
    risks = fair.classifier.class_risks(model, threat).value
    rivals = fair.classifier.w + rng.standard_normal((2000, model.dim)) * np.logspace(-4, 1, 2000)[:, None]
    rivals /= np.linalg.norm(rivals, axis=1, keepdims=True)
    gain = rivals @ (model.means[1] - model.means[0]) - threat.radii(2).sum() * threat.dual_norm(rivals)
    kappa = gain / np.sum([model.sds(w) for w in rivals], axis=1)
    return {
        "robust risk of -": risks[0],
        "robust risk of +": risks[1],
        "certified lower bound of the worst risk": ndtr(-fair.info["kappa_high"]),
        "least worst risk of 2000 other directions": ndtr(-kappa.max()),
    }


def _minimax_twin(n, rng, **parameters):
    model, threat, fair = _solve(**parameters)
    found = errors(fair.classifier, model, n, rng, threat)
    return {"robust risk of -": risk_of(found, 0), "robust risk of +": risk_of(found, 1)}


MINIMAX = Theorem(
    id="minimax-fair",
    kind="theorem",
    title="The minimax-fair robust classifier is a cone program with equal class risks",
    statement=(
        "If ||delta||_p > ebar = eps_- + eps_+: 1/kappa* = min ||Sigma_+^(1/2) w||_2 + ||Sigma_-^(1/2) w||_2 over "
        "w.delta - ebar ||w||_* >= 1, and both robust risks are Phi(-kappa*), the least worst-class risk of any "
        "linear classifier. Dual: kappa* = min k with delta = Sigma_+^(1/2) s + Sigma_-^(1/2) t + z, ||s||, ||t|| <= "
        "k, ||z||_p <= ebar; any primal and dual point bracket kappa*."
    ),
    setting="the minimax probability machine of Lanckriet et al. 2002, without a robust margin",
    ours="The robust margin for any l_p attack, and the dual certificate.",
    assumptions=(SEPARABLE, DEFINITE),
    defaults=DEFAULTS,
    analytic_values=_minimax,
    empirical_values=_minimax_twin,
    conclusion=lambda value: (
        abs(value["robust risk of -"] - value["robust risk of +"]) < 1e-6
        and 0
        <= max(value["robust risk of -"], value["robust risk of +"]) - value["certified lower bound of the worst risk"]
        < 1e-6
        and value["least worst risk of 2000 other directions"] > value["certified lower bound of the worst risk"]
    ),
    twin="Monte Carlo",
    figure="boundaries",
)


def _free(**parameters):
    _, _, fair = _solve(**parameters)
    kappa = fair.info["kappa_low"]
    return {
        "worst-case risk of -": 1 / (1 + kappa**2),
        "worst-case risk of +": 1 / (1 + kappa**2),
        "Gaussian risk": ndtr(-kappa),
    }


def _free_twin(n, rng, **parameters):
    """Samples of the law that attains the bound, attacked: along w two points, one of them on the robust boundary."""
    model, threat, fair = _solve(**parameters)
    f = fair.classifier
    X, y = model.sample([n, n], rng)
    for k, (cov, sd, z) in enumerate(zip(model.full_covs(), model.sds(f.w), f.margins(model, threat), strict=True)):
        p, sign = 1 / (1 + z * z), 2 * k - 1
        worst = rng.random(n) < p  # margins in sds: mass p at 0, the rest at z / (1 - p); mean z, variance 1
        score = np.where(worst, -z * (1 + 1e-9), z * p / (1 - p))
        own = X[y == k] - model.means[k]
        along = cov @ f.w / sd  # the regression of x on its standardized score
        X[y == k] = model.means[k] + own - np.outer(own @ f.w / sd, along) + np.outer(sign * score, along)
    found = f.class_errors(X, y, threat)
    return {f"worst-case risk of {name}": risk_of(found, k) for k, name in enumerate("-+")}


DISTRIBUTION_FREE = Theorem(
    id="minimax-distribution-free",
    kind="theorem",
    title="Known only by mean and covariance, the classes can cost 1/(1 + kappa*^2)",
    statement=(
        "Over all class laws with these means and covariances the minimax-fair classifier has worst robust risk "
        "1/(1+kappa*^2) in each class, the least any linear classifier can promise; a law with two points along w "
        "attains it."
    ),
    setting="Lanckriet et al. 2002, without a robust margin",
    ours="The robust margin.",
    assumptions=(SEPARABLE, DEFINITE),
    defaults=DEFAULTS,
    analytic_values=_free,
    empirical_values=_free_twin,
    conclusion=lambda value: value["Gaussian risk"] < value["worst-case risk of -"],
    twin="Monte Carlo",
    figure="boundaries",
)


def _common(cov, delta, norm, eps, r):
    from linfair.solvers.convex import common_covariance_kappa, minimax_fair

    model, threat = model_of(cov, cov, delta, r), Threat(norm, eps)
    kappa = common_covariance_kappa(model, threat)
    return {
        "worst robust risk": ndtr(-kappa),
        "worst robust risk by the cone program": minimax_fair(model, threat).objective,
        "kappa*": kappa,
    }


def _common_twin(n, rng, cov, delta, norm, eps, r):
    from linfair.solvers.convex import minimax_fair

    model, threat = model_of(cov, cov, delta, r), Threat(norm, eps)
    found = errors(minimax_fair(model, threat).classifier, model, n, rng, threat)
    return {"worst robust risk": Estimate(found.rate.mean(), float(np.hypot(*found.se) / 2))}


COMMON = Theorem(
    id="minimax-common-covariance",
    kind="theorem",
    title="With one covariance the minimax margin is half a Mahalanobis distance",
    statement=(
        "If Sigma_+ = Sigma_- = Sigma: kappa* = (1/2) min ||delta - z||_{Sigma^-1} over ||z||_p <= ebar, and w = "
        "Sigma^-1 (delta - z*). For equal priors it is also the classifier of least average robust risk."
    ),
    setting="Dobriban et al. 2020 and Bhagoji et al. 2019 (equal covariances)",
    ours="The reading as the minimax-fair classifier for any priors.",
    assumptions=(SEPARABLE, Assumption("r > 0", lambda r, **_: r > 0)),
    defaults={"cov": ((1.0, 0.4), (0.4, 0.8)), "delta": (3.0, 1.0), "norm": "linf", "eps": 0.2, "r": 1.0},
    analytic_values=_common,
    empirical_values=_common_twin,
    conclusion=lambda value: (
        value["worst robust risk"] == value["worst robust risk by the cone program"]  # 0, where both underflow
        or abs(ndtri(value["worst robust risk"]) - ndtri(value["worst robust risk by the cone program"])) < 1e-6
    ),
    twin="Monte Carlo",
    figure="boundaries",
)

THEOREMS = (MINIMAX, DISTRIBUTION_FREE, COMMON)
