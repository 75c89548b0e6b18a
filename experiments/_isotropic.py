"""Two isotropic classes: population minimisers and their empirical twins for the 0-1 and the logistic loss."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import roots_hermitenorm

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers.closed_form import direction, optimum
from linfair.solvers.fast import robust_erm
from linfair.solvers.surrogates import minimise
from linfair.solvers.zero_one import robust_threshold_erm

LOSSES = ("0-1", "logistic")


def plane(tau0: float, K: float, r: float = 1.0) -> ClassGaussians:
    """Classes in two dimensions, tau0 sds of class "-" apart."""
    return ClassGaussians.two_class([tau0, 0.0], 1.0, K, r)


@cache
def margins(loss: str, tau: float, K: float) -> tuple[float, float]:
    """Robust margins (u, v) of the population minimiser, equal priors."""
    best = optimum(tau, K) if loss == "0-1" else minimise(tau, K, loss="logistic")
    return float(best.u), float(best.v)


def logistic_loss(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """``E log(1 + exp(-m))`` for margins ``m ~ N(mean, sd^2)``, elementwise."""
    nodes, weights = roots_hermitenorm(120)
    return np.logaddexp(0.0, -(mean[..., None] + sd[..., None] * nodes)) @ (weights / weights.sum())


def train(loss: str, X: np.ndarray, y: np.ndarray, threat: Threat) -> LinearClassifier:
    """0-1: ERM of the threshold along the robust direction of the sample means. Logistic: robust ERM."""
    if loss == "logistic":
        return robust_erm(X, y, threat).classifier
    delta = X[y == 1].mean(0) - X[y == 0].mean(0)
    return robust_threshold_erm(X, y, direction(delta, threat)[0], threat)
