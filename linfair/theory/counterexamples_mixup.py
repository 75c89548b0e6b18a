"""Limits of the claims on mixup: where what is advertised, or naturally read into it, fails. Each with its numbers
and twin.

A title is the claim in its natural reading, not a theorem that a paper printed; the statement says when it is false.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from linfair._numeric import find_root
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import BetaLambda, FixedLambda, NoMix, UniformMix, mix_within_class
from linfair.norms import NATURAL
from linfair.solvers import surrogates
from linfair.solvers.closed_form import optimum, random_optimum, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE, ZHONG
from linfair.theory.theorem import Assumption, limit
from linfair.theory.twins import disparity_at, mean_of, rate_of, trained_margins


def _priors(tau, K, r, e):
    (u1, u), _ = threshold(tau, K, r, c_minus=np.array([1.0, 0.5]), c_plus=np.array([1.0, 0.5]))
    return {
        "natural disparity without mixup": disparity_at(u1, tau, K, e),
        "natural disparity with mixup": disparity_at(u, tau, K, e),
    }


def _priors_twin(n, rng, tau, K, r, e):
    return {
        f"natural disparity {name} mixup": mean_of(
            disparity_at(trained_margins(tau, K, n, rng, mix=mix, weights=(1.0, r)), tau, K, e)
        )
        for name, mix in (("without", None), ("with", FixedLambda(0.5)))
    }


NATURAL_PRIORS = limit(
    id="limit-natural-disparity-priors",
    title="Mixup with adversarial training reduces the natural disparity, whatever the priors",
    statement=(
        "True for r = pi_+/pi_- <= K, false beyond: at K = 2, tau = 3, e = 1/2, r = 2.5414 the natural disparity is 0"
        " without mixup and 0.0204 with lambda = 1/2."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE, Assumption("r > K", lambda r, K, **_: r > K)),
    defaults={"tau": 3.0, "K": 2.0, "r": 2.541439147, "e": 0.5},
    analytic_values=_priors,
    empirical_values=_priors_twin,
    conclusion=lambda value: (
        abs(value["natural disparity with mixup"]) > abs(value["natural disparity without mixup"]) + 1e-3
    ),
    twin="trained",
    figure="claims",
)


def _without_at(tau, K, e):
    (u1, u), _ = threshold(tau, K, 1, c_minus=np.array([1.0, 0.5]), c_plus=np.array([1.0, 0.5]))
    return {
        "robust disparity without mixup": disparity_at(u1, tau, K, -e),
        "robust disparity with mixup": disparity_at(u, tau, K, -e),
    }


def _without_at_twin(n, rng, tau, K, e):
    return {
        f"robust disparity {name} mixup": mean_of(disparity_at(trained_margins(tau, K, n, rng, mix=mix), tau, K, -e))
        for name, mix in (("without", None), ("with", FixedLambda(0.5)))
    }


WITHOUT_AT = limit(
    id="limit-mixup-without-at",
    title="Mixup alone, without adversarial training, reduces the robust disparity",
    statement=(
        "False: trained without attack and attacked with e = 0.6742 (sds of -), K = 2, tau_0 = 6, the classifier has "
        "robust disparity 0; lambda = 1/2 makes it -0.0208, against the easy class."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE, Assumption("e > 0", lambda e, **_: e > 0)),
    defaults={"tau": 6.0, "K": 2.0, "e": 0.6742073651},
    analytic_values=_without_at,
    empirical_values=_without_at_twin,
    conclusion=lambda value: (
        abs(value["robust disparity with mixup"]) > abs(value["robust disparity without mixup"]) + 1e-3
    ),
    twin="trained",
    figure="claims",
)


def _hard_class(tau, K, r):
    plain, hard, easy = (optimum(tau, K, r, c_minus=a, c_plus=b) for a, b in ((1, 1), (1, 0.5), (0.5, 1)))
    return {
        "disparity, hard class mixed": hard.disparity,
        "disparity, none mixed": plain.disparity,
        "disparity, easy class mixed": easy.disparity,
        "risk of the hard class, hard class mixed": hard.risk_plus,
        "risk of the hard class, none mixed": plain.risk_plus,
    }


def _hard_class_twin(n, rng, tau, K, r):
    half, none = FixedLambda(0.5), NoMix()
    return {
        f"disparity, {name} mixed": mean_of(
            disparity_at(trained_margins(tau, K, n, rng, mix=mix, weights=(1.0, r)), tau, K)
        )
        for name, mix in (("hard class", [none, half]), ("none", [none, none]))
    }


HARD_CLASS = limit(
    id="limit-mix-hard-class",
    title="Mixing the disadvantaged class helps it",
    statement=(
        "False when v^2 > c_+: lowering c_+ then raises the hard class's own risk. K = 2, tau = 6, r = 1, lambda = "
        "1/2 on the hard class alone moves D from 0.0165 to 0.0379. Mixing the easy class is the cure (easy-class-"
        "equaliser)."
    ),
    setting=f"class-wise mixing, otherwise {ZHONG}",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("r > 0", lambda r, **_: r > 0),
        Assumption("v^2 > 1 without mixing", lambda tau, K, r: bool(threshold(tau, K, r)[1] ** 2 > 1)),
    ),
    defaults={"tau": 6.0, "K": 2.0, "r": 1.0},
    analytic_values=_hard_class,
    empirical_values=_hard_class_twin,
    conclusion=lambda value: (
        value["disparity, hard class mixed"] > value["disparity, none mixed"] > value["disparity, easy class mixed"]
        and value["risk of the hard class, hard class mixed"] > value["risk of the hard class, none mixed"]
    ),
    twin="trained",
    figure="equalisers",
)


def _beta_fades(tau_near, tau_far, K, a):
    far = random_optimum(tau_far, K, 1.0, BetaLambda(a))
    near = random_optimum(tau_near, K, 1.0, BetaLambda(a))
    return {
        "disparity, near": near.disparity,
        "1 - c_eff, near": 1 - near.c_eff,
        "1 - c_eff, far": 1 - far.c_eff,
        "1 - c_eff over 2 a (K+1)^2 / tau^2, far": (1 - far.c_eff) * tau_far**2 / (2 * a * (K + 1) ** 2),
        "1 - c of lambda = 1/2, at any distance": 0.5,
    }


BETA_FADES = limit(
    id="limit-beta-fades",
    title="lambda ~ Beta(a, a) is as good as a fixed lambda",
    statement=(
        "False: 1 - c_eff ~ 2 a (K+1)^2 / tau^2, so random mixing loses its whole effect as the classes separate (the"
        " mixes that still err are those barely mixed), while lambda = 1/2 keeps c = 1/2 at every distance."
    ),
    setting=ZHONG,
    assumptions=(
        K_ABOVE_1,
        Assumption(
            "0 < tau_near < tau_far and a > 0", lambda tau_near, tau_far, a, **_: 0 < tau_near < tau_far and a > 0
        ),
    ),
    defaults={"tau_near": 4.0, "tau_far": 60.0, "K": 2.0, "a": 1.0},
    analytic_values=_beta_fades,
    empirical_values=lambda n, rng, tau_near, tau_far, K, a: {
        "disparity, near": mean_of(disparity_at(trained_margins(tau_near, K, n, rng, mix=BetaLambda(a)), tau_near, K))
    },
    conclusion=lambda value: (
        value["1 - c_eff, far"] < 0.02 < value["1 - c_eff, near"]
        and abs(value["1 - c_eff over 2 a (K+1)^2 / tau^2, far"] - 1) < 0.05
    ),
    twin="trained",
    figure="mixup_lambda",
)


def _overlap(tau, K, m):
    v = threshold(tau, K, 1, c_minus=1 / m, c_plus=1 / m)[1]
    A = tau / (K * K - 1)
    return {
        "risk of + with m-way mixup": ndtr(-v),
        "limit Phi((K+1) |A|) of the risk of +": ndtr((K + 1) * abs(A)),
        "limit Phi(-(K+1) |A|) of the risk of -": ndtr(-(K + 1) * abs(A)),
    }


OVERLAP = limit(
    id="limit-m-way-overlap",
    title="m-way mixup tends to the minimax-fair classifier at any radius",
    statement=(
        "False when the attack closes the gap, tau < 0: the stationary threshold tends to risks Phi((K+1)|A|) of + and "
        "Phi(-(K+1)|A|) of -, A = tau/(K^2-1). They add up to 1, with the hard class above 1/2."
    ),
    setting=ZHONG,
    assumptions=(
        K_ABOVE_1,
        Assumption("tau < 0", lambda tau, **_: tau < 0),
        Assumption("m >= 1", lambda m, **_: m >= 1),
    ),
    defaults={"tau": -1.0, "K": 2.0, "m": 50},
    analytic_values=_overlap,
    empirical_values=lambda n, rng, tau, K, m: {
        # a known threshold on fresh samples: training would find the constant classifier's neighbourhood at this
        # overlap
        "risk of + with m-way mixup": rate_of(
            rng.standard_normal(n) > float(threshold(tau, K, 1, c_minus=1 / m, c_plus=1 / m)[1])
        )
    },
    conclusion=lambda value: (
        value["limit Phi((K+1) |A|) of the risk of +"] - value["limit Phi(-(K+1) |A|) of the risk of -"] > 0.5
        and abs(value["risk of + with m-way mixup"] - value["limit Phi((K+1) |A|) of the risk of +"]) < 0.02
    ),
    twin="Monte Carlo",
    figure="claims",
)


def _line(spacing, m):
    """Three unit-variance classes at -spacing, 0, spacing: by symmetry one threshold t describes every fair
    classifier.
    """
    fair = find_root(lambda t: 2 * ndtr(-t) - ndtr(t - spacing), spacing / 4, spacing)
    half = spacing / 2
    return {
        "disparity with m-way mixup": ndtr(-half),
        "risk of the middle class with m-way mixup": 2 * ndtr(-half),
        "minimax-fair threshold": fair,
        "minimax-fair risk": ndtr(fair - spacing),
    }


def _line_twin(n, rng, spacing, m):
    """Both thresholds trained by 0-1 risk on m-way mixes; the risks they give on unmixed classes, exactly."""
    model = ClassGaussians(np.array([[-spacing], [0.0], [spacing]]), 1.0)
    gaps, middle = [], []
    for _ in range(64):
        # along a line the two thresholds are found one pair of neighbours at a time
        low, high = (
            centre + trained_margins(spacing, 1.0, n, rng, mix=UniformMix(m), replicates=1)[0]
            for centre in (-spacing, 0.0)
        )
        f = LinearClassifier([[-1.0], [0.0], [1.0]], [low, 0.0, -high])
        risk = f.class_risks(model).value
        gaps.append(risk[1] - (risk[0] + risk[2]) / 2)
        middle.append(risk[1])
    return {"disparity with m-way mixup": mean_of(gaps), "risk of the middle class with m-way mixup": mean_of(middle)}


THREE_CLASSES = limit(
    id="limit-m-way-three-classes",
    title="m-way mixup tends to the minimax-fair classifier for any number of classes",
    statement=(
        "False for three: unit-variance classes at -3, 0, 3 keep the thresholds +-1.5 for every c, so mixup changes "
        "nothing and the middle class keeps twice the risk (D = Phi(-1.5) = 0.0668). The minimax-fair thresholds are "
        "+-1.6787, risk 0.0932. Here the limit maximises the smallest pairwise margin instead."
    ),
    setting=f"three classes, otherwise {ZHONG}",
    assumptions=(
        Assumption("spacing > 0", lambda spacing, **_: spacing > 0),
        Assumption("m >= 1", lambda m, **_: m >= 1),
    ),
    defaults={"spacing": 3.0, "m": 2},
    analytic_values=_line,
    empirical_values=_line_twin,
    conclusion=lambda value: (
        value["disparity with m-way mixup"] > 0.05
        and value["minimax-fair risk"] < value["risk of the middle class with m-way mixup"]
    ),
    twin="trained",
    figure="three_classes",
)


def _collapse(tau, K, samples, m_few, m_many):
    plain = float(surrogates.minimise(tau, K, loss="logistic").u)
    return {
        "disparity, m-way mixes of few samples": disparity_at(tau / 2, tau, K),
        "disparity, no mixup": disparity_at(plain, tau, K),
        "more unfair than without mixup by": disparity_at(tau / 2, tau, K) - disparity_at(plain, tau, K),
    }


def _collapse_twin(n, rng, tau, K, samples, m_few, m_many):
    """Logistic ERM on m-way mixes of one finite sample, against the limit m -> infinity: the midpoint of the class
    means.
    """
    from linfair.solvers.fast import robust_erm

    labels = np.repeat([0, 1], samples)
    found = {"m-way mixes of few samples": [], "no mixup": []}
    for _ in range(16):
        X = rng.standard_normal((2 * samples, 1)) * np.array([1.0, K])[labels][:, None] + tau * labels[:, None]
        for name, m in (("m-way mixes of few samples", m_many), ("no mixup", m_few)):
            mixed, y = mix_within_class(X, labels, UniformMix(m), rng)
            f = robust_erm(mixed, y, NATURAL).classifier
            u = -f.b / f.w[0]
            found[name].append(disparity_at(u, tau, K))
    return {f"disparity, {name}": mean_of(values) for name, values in found.items()}


FINITE_SAMPLE = limit(
    id="limit-m-way-finite-sample",
    title="The more samples are mixed, the fairer the trained classifier",
    statement=(
        "False for finite samples: as m -> infinity the mixes collapse to the class means and logistic or hinge "
        "training returns the midpoint, D -> Phi(-tau/(2K)) - Phi(-tau/2), worse than no mixup. Disparity is U-shaped"
        " in m, with its best m near 2 log(N)/a^2 (a rough heuristic); tune m on held-out class risks."
    ),
    setting=f"training on N samples a class, otherwise {ZHONG}",
    assumptions=(
        K_ABOVE_1,
        TAU_POSITIVE,
        Assumption("m_many >> m_few", lambda m_few, m_many, **_: m_many > 20 * m_few),
    ),
    defaults={"tau": 6.0, "K": 2.0, "samples": 1000, "m_few": 1, "m_many": 1000},
    analytic_values=_collapse,
    empirical_values=_collapse_twin,
    conclusion=lambda value: value["more unfair than without mixup by"] > 0.01,
    twin="trained, sign only",
    figure="m_way",
)


def _exponential(tau, K):
    plain, mixed = (surrogates.exponential(tau, K, 1.0, c).u for c in (1.0, 0.5))
    return {
        "disparity with mixup": disparity_at(mixed, tau, K),
        "change by mixup": disparity_at(mixed, tau, K) - disparity_at(plain, tau, K),
    }


def _trained_loss(gradient_free_loss):
    """Twins of the one-dimensional losses with a closed-form empirical minimiser in u, replicated."""

    def twin(n, rng, tau, K):
        gaps = {"with mixup": [], "plain": []}
        for _ in range(64):
            for name, m in (("with mixup", 2), ("plain", 1)):
                minus = rng.standard_normal((max(n // 8, 50), m)).mean(1)
                plus = tau + K * rng.standard_normal((max(n // 8, 50), m)).mean(1)
                gaps[name].append(disparity_at(gradient_free_loss(minus, plus), tau, K))
        change = np.subtract(gaps["with mixup"], gaps["plain"])
        return {"disparity with mixup": mean_of(gaps["with mixup"]), "change by mixup": mean_of(change)}

    return twin


def _exponential_erm(minus, plus):
    """Empirical exponential loss: at the best scale s the threshold balances ``E exp(s (x - t))`` of - and ``E
    exp(s (t - x))`` of +.
    """

    def profile(s):
        return np.log(np.exp(s * minus).mean()) + np.log(np.exp(-s * plus).mean())

    s = minimize_scalar(profile, bounds=(1e-3, 3.0), method="bounded", options={"xatol": 1e-9}).x
    return (np.log(np.exp(s * minus).mean()) - np.log(np.exp(-s * plus).mean())) / (2 * s)


EXPONENTIAL = limit(
    id="limit-exponential-loss",
    title="Mixup reduces the disparity for any loss (exponential loss)",
    statement=(
        "False: with equal priors the robust exponential loss has u = tau (K^2+3)/(4(K^2+1)) for every c, so mixup "
        "changes the scale of w and not the boundary."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE),
    defaults={"tau": 3.0, "K": 2.0},
    analytic_values=_exponential,
    empirical_values=_trained_loss(_exponential_erm),
    conclusion=lambda value: value["change by mixup"] == 0 < value["disparity with mixup"],
    twin="trained",
    figure="mixup_lambda",
)


def _squared(tau, K):
    return {"disparity with mixup": disparity_at(surrogates.squared(tau, K).u, tau, K), "change by mixup": 0.0}


SQUARED = limit(
    id="limit-squared-loss",
    title="Mixup reduces the disparity for any loss (squared loss)",
    statement=(
        "False: least squares on +-1 with equal priors and no attack puts the boundary at the midpoint of the class "
        "means whatever the variances, mixed or not: D = Phi(-tau/(2K)) - Phi(-tau/2)."
    ),
    setting=ZHONG,
    assumptions=(K_ABOVE_1, TAU_POSITIVE),
    defaults={"tau": 3.0, "K": 2.0},
    analytic_values=_squared,
    empirical_values=_trained_loss(lambda minus, plus: (minus.mean() + plus.mean()) / 2),
    conclusion=lambda value: value["change by mixup"] == 0 < value["disparity with mixup"],
    twin="trained",
    figure="mixup_lambda",
)

THEOREMS = (
    NATURAL_PRIORS, WITHOUT_AT, HARD_CLASS, BETA_FADES, OVERLAP, THREE_CLASSES, FINITE_SAMPLE, EXPONENTIAL, SQUARED,
)  # fmt: skip
