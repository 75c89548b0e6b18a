"""Two classes, one of them with a risk above 1/2: a lower bound of the average risk, and classifiers that come near."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import local
from linfair.solvers._line import least_on_line, lowest
from linfair.solvers._pair import with_share
from linfair.solvers._rank import scaled_root


def beyond(model: ClassGaussians, ends: Sequence[float], allowed: float) -> float:
    """No classifier with a class risk above 1/2, and a disparity that is allowed, has a lower average risk.

    Where ``z_- = x < 0``, ``z_+ <= F(0) - x max_w sd_-(w) / sd_+(w)``, and likewise with the classes exchanged. Below
    this line both risks can be lowered together, up to the line or to x = 0, where the frontier bounds them.

    Args:
        ends: the largest margin of each other class where ``z_- = 0`` and where ``z_+ = 0``; inf for none known.
        allowed: the largest ``|R_+ - R_-|``.
    """
    least = np.inf
    for own, height in enumerate(ends):
        priors = _own_first(model, own)
        steepest = _steepest(model, own)
        if steepest is None or np.isinf(height):
            least = min(least, float(priors[0] / 2.0 + priors[1] * max(0.5 - allowed, 0.0)))
            continue
        low = lowest(height, steepest[0], allowed)
        if low is not None:
            least = min(least, least_on_line(priors, height, steepest[0], low, 0.0)[0])
    return least


def rivals_beyond(
    model: ClassGaussians, threat: Threat, directions: Iterable[np.ndarray], allowed: float
) -> Iterator[LinearClassifier]:
    """The best thresholds, with a class risk above 1/2, of some directions: those given, the steepest ones, and those
    of the local minima of the average risk, which take longest."""
    steepest = [found[1] for own in (0, 1) if (found := _steepest(model, own)) is not None]
    for w in (*directions, *steepest):
        yield from _given_up(model, threat, w, allowed)
    for _, classifier in local.average_risk(model, threat).info["minima"]:
        yield from _given_up(model, threat, classifier.w, allowed)


def _own_first(model: ClassGaussians, own: int) -> np.ndarray:
    """The priors of a class and of the other."""
    return model.priors[:: 1 if own == 0 else -1]


def _steepest(model: ClassGaussians, own: int) -> tuple[float, np.ndarray] | None:
    """``max_w sd_own(w) / sd_other(w)`` and its w; None where it is infinite."""
    covs = model.full_covs()
    root = scaled_root(covs[1 - own])
    if root.shape[1] < len(root):
        return None
    given = scaled_root(covs[own]) if covs[own].any() else np.zeros((model.dim, 1))
    left, ratios, _ = np.linalg.svd(np.linalg.solve(root, given), full_matrices=False)
    return float(ratios[0]) * (1.0 + 1e-9), np.linalg.solve(root.T, left[:, 0])


def _given_up(model: ClassGaussians, threat: Threat, w: np.ndarray, allowed: float) -> Iterator[LinearClassifier]:
    """Direction w or -w with the best threshold of those with a risk above 1/2 of one class, then of the other."""
    delta, sds = model.means[1] - model.means[0], model.sds(w)
    w = w if w @ delta >= 0.0 else -w
    gain = float(w @ delta - threat.radii(2).sum() * threat.dual_norm(w))
    for own in (0, 1):
        if gain <= 0.0 or sds[1 - own] == 0.0:
            continue
        line = gain / sds[1 - own], sds[own] / sds[1 - own]
        low = lowest(*line, allowed)
        if low is None:
            continue
        x = least_on_line(_own_first(model, own), *line, low, 0.0)[1]
        if np.isfinite(x):
            share = float(x * sds[own] / gain)
            yield with_share(model, threat, w, share if own == 0 else 1.0 - share)
        else:
            yield LinearClassifier(np.zeros(model.dim), np.array(1.0 if own == 0 else -1.0))
