"""Empirical twins: class errors of known classifiers on fresh samples, and thresholds trained on samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.linear import ClassErrors, LinearClassifier
from linfair.mixing import Law, laws_of
from linfair.norms import NATURAL, Threat
from linfair.solvers.closed_form import reduce
from linfair.solvers.zero_one import threshold_erm
from linfair.theory.theorem import Estimate

REPLICATES = 64
"""Independent trainings behind one trained twin: their spread is its standard error."""


def mean_of(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean over replicates with its standard error."""
    values = np.asarray(values, float)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def errors(
    classifier: LinearClassifier, model: ClassGaussians, n: int, rng: np.random.Generator, threat: Threat = NATURAL
) -> ClassErrors:
    """Exactly attacked error rates on n fresh samples of every class."""
    return classifier.class_errors(*model.sample([n] * model.n_classes, rng), threat)


def disparity_of(found: ClassErrors) -> Estimate:
    return Estimate(found.disparity, found.disparity_se)


def risk_of(found: ClassErrors, k: int) -> Estimate:
    return Estimate(float(found.rate[k]), float(found.se[k]))


def average_of(found: ClassErrors, r: float) -> Estimate:
    """Average error rate under the prior ratio r."""
    return Estimate(float(found.rate @ [1.0, r]) / (1.0 + r), float(np.hypot(*(found.se * [1.0, r]))) / (1.0 + r))


def margin_errors(tau: float, K: float, u: float, n: int, rng: np.random.Generator, r: float = 1.0) -> ClassErrors:
    """Error rates of the threshold with robust margin u, on fresh attacked samples of two classes at tau (any sign)."""
    e = 1.0 + max(-tau, 0.0)
    model, threat = ClassGaussians.two_class([tau + 2.0 * e], 1.0, K, r), Threat("l2", e)
    return errors(reduce(model, threat).classifier(u), model, n, rng, threat)


def trained_margins(
    tau: float,
    K: float,
    n: int,
    rng: np.random.Generator,
    *,
    mix: Law | Sequence[Law] | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
    extra: float = 0.0,
    replicates: int = REPLICATES,
) -> np.ndarray:
    """Robust margins u of thresholds trained by empirical 0-1 risk on attacked, mixed samples; [replicates].

    The score along the optimal direction, in sds of class "-": attacked class "-" is N(0, 1), attacked class "+" is
    N(tau, K^2). Mixes are really formed, from m samples each. ``extra`` enlarges the training radius of class "+",
    in its own sd; ``weights`` stand for priors or loss weights.
    """
    n = max(n // 2, 50)
    labels = np.repeat([0, 1], n)
    found = np.empty(replicates)
    for i in range(replicates):
        parts = []
        for law, centre, sd in zip(laws_of(mix, 2), (0.0, tau - K * extra), (1.0, K), strict=True):
            weight = law.sample(n, rng)
            parts.append(centre + sd * np.einsum("ij,ij->i", weight, rng.standard_normal(weight.shape)))
        found[i] = threshold_erm(np.concatenate(parts), labels, weights)
    return found


def disparity_at(u: np.ndarray | float, tau: float, K: float, e: float = 0.0) -> np.ndarray:
    """``Phi(-v - e/K) - Phi(-u - e)`` on u + K v = tau: robust for e = 0, natural for the training radius e."""
    u = np.asarray(u, float)
    return ndtr(-(tau - u) / K - e / K) - ndtr(-u - e)
