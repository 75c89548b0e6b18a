"""m-way same-class mixup: its limit is the minimax-fair classifier, for two classes and with conditions."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import log_ndtr

from linfair.gaussian import ClassGaussians
from linfair.mixing import DirichletMix, UniformMix
from linfair.norms import Threat
from linfair.solvers.closed_form import minimax_risk, random_optimum, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, REPRESENTABLE, TAU_POSITIVE, ZHONG, interior
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import disparity_at, disparity_of, errors, mean_of, trained_margins


def _m_way(tau, K, r, m):
    a = tau / (K + 1.0)
    tiny = 1e-4 * min(a * a, 1.0) / max(abs(np.log(K / r)), 1.0)  # small beside a^2 / log and beside 1 / log
    c = np.array([1.0 / m, tiny])
    u = threshold(tau, K, r, c_minus=c, c_plus=c)[0]
    rate, v = np.log(K / r) / a, (tau - u[1]) / K
    limit = np.exp(log_ndtr([-v, -u[1]]) + a * a / 2) * np.sqrt(2 * np.pi)  # over phi(a), which far classes underflow
    return {
        "robust disparity": disparity_at(u[0], tau, K),
        "leading rate phi(a) log(K/r) / (a m)": np.exp(-a * a / 2) / np.sqrt(2 * np.pi) * rate / m,
        "exact over leading rate as c -> 0": (limit[0] - limit[1]) / tiny / rate,
        "limit of both class risks": minimax_risk(tau, K),
    }


def _m_way_twin(n, rng, tau, K, r, m):
    u = trained_margins(tau, K, n, rng, mix=UniformMix(m), weights=(1.0, r))
    return {"robust disparity": mean_of(disparity_at(u, tau, K))}


M_WAY = Theorem(
    id="m-way-limit",
    kind="theorem",
    title="m-way mixup tends to the minimax-fair classifier, at rate 1/m",
    statement=(
        "Two isotropic classes, tau > 0, any fixed priors: as c = 1/m -> 0 the optimum tends to the minimax-fair "
        "classifier, both risks Phi(-a), a = tau/(K+1), with D_m = phi(a) log(K/r) / (a m) + O(m^-2). About phi(a) "
        "|log(K/r)| / (a delta) samples a mix bring |D| to delta."
    ),
    setting=f"mixing m samples instead of two, otherwise {ZHONG}",
    ours=(
        "The theorem and its rate; it fails for overlapping classes, for three classes and for finite samples (see "
        "the limits)."
    ),
    assumptions=(K_ABOVE_1, TAU_POSITIVE, Assumption("r > 0, r != K", lambda r, K, **_: r > 0 and r != K), interior()),
    defaults={"tau": 3.0, "K": 2.0, "r": 1.0, "m": 6},
    analytic_values=_m_way,
    empirical_values=_m_way_twin,
    conclusion=lambda value: abs(value["exact over leading rate as c -> 0"] - 1) < 1e-2,
    twin="trained",
    figure="m_way",
)


def _dirichlet(tau, K, r, m, alpha):
    """The rate is leading order where the large weight is small, ``x^3 = a^2 / (m alpha)``, and its square far above
    the mean of c, ``(1 + 1/alpha) / m``: the m of the rate are as far out at any a and alpha as 2048 and 8192 at 1.
    """
    a, Lam = tau / (K + 1.0), np.log(K / r)
    far = 8192.0 * max(a * a, ((1.0 + alpha) / 2.0) ** 3 / a**4) / alpha
    ways, gaps = (round(far / 4.0), round(far)), []
    for way in ways:
        best = random_optimum(tau, K, r, DirichletMix(way, alpha))
        gaps.append(best.u - best.v)
    best = random_optimum(tau, K, r, DirichletMix(m, alpha))
    return {
        "robust disparity": best.disparity,
        "robust disparity, uniform weights": disparity_at(threshold(tau, K, r, c_minus=1 / m, c_plus=1 / m)[0], tau, K),
        "local slope of log(u - v) in log m": np.log(gaps[1] / gaps[0]) / np.log(ways[1] / ways[0]),
        "u - v over Lam a^(1/3) (m alpha)^(-2/3)": gaps[1] / (Lam * a ** (1 / 3) * (ways[1] * alpha) ** (-2 / 3)),
    }


def _dirichlet_twin(n, rng, tau, K, r, m, alpha):
    u = trained_margins(tau, K, n, rng, mix=DirichletMix(m, alpha), weights=(1.0, r))
    return {"robust disparity": mean_of(disparity_at(u, tau, K))}


DIRICHLET = Theorem(
    id="dirichlet-rate",
    kind="theorem",
    title="With Dirichlet weights m-way mixup converges only as m^(-2/3)",
    statement=(
        "For Dirichlet(alpha, ..., alpha) weights with alpha fixed the limit is the same minimax-fair classifier, but"
        " u - v ~ log(K/r) a^(1/3) (m alpha)^(-2/3): at distance a the cheapest way for a mix to cross the threshold "
        "is one large weight. Leading order; it is approached slowly."
    ),
    setting=f"random m-way mixing, otherwise {ZHONG}",
    ours="The rate (leading-order asymptotics, checked numerically).",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("prior ratio r < K", lambda r, K, **_: 0 < r < K),
        REPRESENTABLE,
        Assumption("0.05 <= alpha <= 1e4, m >= 2", lambda alpha, m, **_: 0.05 <= alpha <= 1e4 and m >= 2),
        interior(),
    ),
    defaults={"tau": 3.0, "K": 2.0, "r": 1.0, "m": 8, "alpha": 1.0},
    analytic_values=_dirichlet,
    empirical_values=_dirichlet_twin,
    conclusion=lambda value: (
        value["robust disparity"] > value["robust disparity, uniform weights"]
        and -0.68 < value["local slope of log(u - v) in log m"] < -0.60
        and 0.85 < value["u - v over Lam a^(1/3) (m alpha)^(-2/3)"] < 1.0
    ),
    twin="trained",
    figure="m_way",
)


@cache
def _solutions(cov_minus, cov_plus, delta, norm, eps):
    """The model, the threat, the local optimum of the m-way mixed training risk for some m, and the limit."""
    from linfair.solvers.convex import minimax_fair
    from linfair.solvers.local import average_risk

    half = np.asarray(delta) / 2
    model = ClassGaussians(np.stack([-half, half]), np.stack([cov_minus, cov_plus]))
    threat = Threat(norm, eps)
    found = {m: average_risk(model, threat, UniformMix(m)) for m in (1, 2, 4, 64, 1024)}
    return model, threat, found, minimax_fair(model, threat)


def _sd_ratio(**parameters):
    """``K_0``, of the scores of the minimax-fair classifier."""
    model, _, _, fair = _solutions(**parameters)
    return float(np.divide(*model.sds(fair.classifier.w)[::-1]))


def _anisotropic(**parameters):
    _, _, found, fair = _solutions(**parameters)
    K0, kappa = _sd_ratio(**parameters), fair.info["kappa_low"]
    rate = np.exp(-kappa * kappa / 2) / np.sqrt(2 * np.pi) * np.log(K0) / kappa
    return {f"|robust disparity|, {m}-way": abs(found[m].risks.disparity) for m in (1, 2, 4, 64)} | {
        "worst class risk, 64-way": found[64].risks.value.max(),
        "minimax-fair risk": fair.objective,
        "exact over leading rate at 1024": found[1024].risks.disparity * 1024 / rate,
    }


def _anisotropic_twin(n, rng, **parameters):
    model, threat, found, _ = _solutions(**parameters)
    estimates = {}
    for m in (1, 4):
        gap = disparity_of(errors(found[m].classifier, model, n, rng, threat))
        estimates[f"|robust disparity|, {m}-way"] = Estimate(np.sign(found[m].risks.disparity) * gap.value, gap.se)
    return estimates


ANISOTROPIC = Theorem(
    id="mixup-any-covariance",
    kind="theorem",
    title="With equal priors mixup narrows the robust gap for any covariances",
    statement=(
        "Equal priors, arbitrary class covariances, any l_p attack: while both risks are at most 1/2, |D_rob| of the "
        "global minimiser of the mixed training risk is nonincreasing as c falls; if the minimax margin kappa* is "
        "positive it tends to the minimax-fair classifier with D = phi(kappa*) c log(K_0)/kappa* + O(c^2), K_0 = "
        "sd_+(w_0)/sd_-(w_0) there. The direction rotates too."
    ),
    setting=f"general covariances, otherwise {ZHONG}",
    ours=(
        "Both statements. For unequal priors a jump across the equaliser is not excluded. The optima here come from a"
        " multi-start local solver."
    ),
    assumptions=(
        Assumption("||delta||_p > 2 eps", lambda delta, norm, eps, **_: bool(Threat(norm).ball.of(delta) > 2 * eps)),
        Assumption("K_0 != 1, by 1e-3 at least", lambda **p: abs(np.log(_sd_ratio(**p))) >= 1e-3),
        Assumption("both robust risks at most 1/2", lambda **p: _solutions(**p)[2][1].risks.value.max() <= 0.5),
    ),
    defaults={
        "cov_minus": ((1.0, 0.3), (0.3, 0.5)),
        "cov_plus": ((2.0, -0.8), (-0.8, 4.0)),
        "delta": (3.0, 2.0),
        "norm": "linf",
        "eps": 0.2,
    },
    analytic_values=_anisotropic,
    empirical_values=_anisotropic_twin,
    conclusion=lambda value: (
        value["|robust disparity|, 1-way"]
        > value["|robust disparity|, 2-way"]
        > value["|robust disparity|, 4-way"]
        > value["|robust disparity|, 64-way"]
        and abs(value["exact over leading rate at 1024"] - 1) < 0.1
        and abs(value["worst class risk, 64-way"] - value["minimax-fair risk"]) < 1e-2
    ),
    twin="Monte Carlo",
    figure="boundaries",
)

THEOREMS = (M_WAY, DIRICHLET, ANISOTROPIC)
