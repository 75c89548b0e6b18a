"""Limits of the claims on m-way mixup, each with its numbers and its twin."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair._numeric import find_root
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import UniformMix, mix_within_class
from linfair.norms import NATURAL
from linfair.solvers import surrogates
from linfair.solvers.closed_form import threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, TAU_POSITIVE, ZHONG
from linfair.theory.theorem import Assumption, limit
from linfair.theory.twins import disparity_at, margin_errors, mean_of, risk_of, trained_margins


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
        # a known threshold: training would run to the constant classifier at this overlap
        "risk of + with m-way mixup": risk_of(
            margin_errors(tau, K, float(threshold(tau, K, c_minus=1 / m, c_plus=1 / m)[0]), n, rng), 1
        )
    },
    conclusion=lambda value: (
        value["risk of + with m-way mixup"] > value["limit Phi((K+1) |A|) of the risk of +"] > 0.5
        and value["limit Phi(-(K+1) |A|) of the risk of -"] < 0.5
    ),
    twin="Monte Carlo",
    figure="claims",
)


def _line(spacing, m):
    """Unit-variance classes at -spacing, 0, spacing; by symmetry one threshold t describes a fair classifier."""
    fair = find_root(lambda t: 2 * ndtr(-t) - ndtr(t - spacing), 0.0, spacing + 10.0)
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
        value["disparity with m-way mixup"] > 0
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
    """Logistic ERM on m-way mixes of one finite sample, against the midpoint of the class means, its limit in m."""
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
        Assumption("m_few = 1 (no mixup), m_many > 20", lambda m_few, m_many, **_: m_few == 1 and m_many > 20),
    ),
    defaults={"tau": 6.0, "K": 2.0, "samples": 1000, "m_few": 1, "m_many": 1000},
    analytic_values=_collapse,
    empirical_values=_collapse_twin,
    conclusion=lambda value: value["more unfair than without mixup by"] > 0,
    twin="trained, sign only",
    figure="m_way",
)

THEOREMS = (OVERLAP, THREE_CLASSES, FINITE_SAMPLE)
