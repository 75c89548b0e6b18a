"""Random problems for the tests of the solvers."""

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat


def lift(rng, d, extra=9):
    return np.linalg.qr(rng.standard_normal((d + extra, d)))[0]


def threats(rng, d, eps=0.1):
    """One threat of every kind, class-wise radii and lifts included."""
    return [
        Threat("l2", 2 * eps),
        Threat("linf", (eps, 0.5 * eps)),
        Threat("l1", 3 * eps),
        Threat("l2", 0.0),
        Threat("linf", 0.5 * eps, lift(rng, d)),
        Threat("l1", (2 * eps, eps), lift(rng, d)),
        Threat("l2", (eps, 2 * eps), lift(rng, d)),
    ]


def samples(rng, n, d, distance=1.0, K=2.0):
    y = (rng.random(n) < 0.4).astype(int)
    y[:2] = 0, 1
    direction = rng.standard_normal(d)
    noise = rng.standard_normal((n, d)) * np.where(y, K, 1.0)[:, None]
    return noise + np.outer(2 * y - 1, direction / np.linalg.norm(direction)) * distance, y


def gaussians(rng, d, distance=3.0, C=2, priors=None):
    roots = rng.standard_normal((C, d, 2 * d)) * rng.uniform(0.7, 2.0, (C, 1, 1)) / np.sqrt(2 * d)
    means = rng.standard_normal((C, d))
    return ClassGaussians(means * distance / np.sqrt(2 * d), roots @ roots.transpose(0, 2, 1), priors)
