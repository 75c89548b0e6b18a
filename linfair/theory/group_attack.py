"""Attacks on group fairness (Chai and Wang 2023): one attack for all signed gaps, two orientations for absolute ones.

Four Gaussians, cell 2 a + y for group a and label y, and a linear classifier, "positive" where w.x + b > 0. The attack
that favours group 1 pushes group 1 up and group 0 down:
``P_att = Phi((w.mu_ay + b +- eps ||w||_*) / sqrt(w' Sigma_ay w))``. In signatures ``laws`` stands for means, variances,
w, b, norm and eps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.theory.theorem import Assumption, Estimate, Theorem

DEFAULTS = {
    "means": ((-1.0, 0.0), (0.6, 0.8), (-0.7, -0.4), (1.2, 0.9)),
    "variances": ((1.0, 0.7), (0.8, 1.2), (0.9, 1.0), (1.1, 0.6)),
    "base_rates": (0.35, 0.55),
    "w": (1.0, 0.5),
    "b": -0.1,
    "norm": "linf",
    "eps": 0.2,
}
CELLS = Assumption(
    "four cells of positive variances, base rates in (0, 1), w != 0, 0 <= eps < infinity",
    lambda means, variances, base_rates, w, eps, **_: bool(
        len(means) == len(variances) == 4
        and np.min(variances) > 0
        and all(0 < q < 1 for q in base_rates)
        and any(w)
        and 0 <= eps < np.inf
    ),
)
CLEAN = (0, 0, 0, 0)
FAVOUR_1 = (-1, -1, 1, 1)
ACCURACY = (1, -1, 1, -1)
"""Pushes of the four cells: none, the attack that favours group 1, the attack on accuracy."""


def positive_rates(means, variances, w, b, norm, eps, push):
    """``P(w.x + b > 0)`` of the four cells when cell k is pushed by ``push[k] eps`` along the score; [..., 4]."""
    return ndtr(_margins(means, variances, w, b, norm, eps, push))


def log_positive_rates(means, variances, w, b, norm, eps, push):
    """Logarithms of :func:`positive_rates`, for ratios of rates too small for a float; [..., 4]."""
    return log_ndtr(_margins(means, variances, w, b, norm, eps, push))


def _margins(means, variances, w, b, norm, eps, push):
    """Mean scores of the pushed cells in their standard deviations."""
    w = np.asarray(w, float)
    reach = eps * Threat(norm).dual_norm(w)
    sds = ClassGaussians(np.asarray(means), np.asarray(variances)).sds(w)
    return (np.asarray(means) @ w + b + np.asarray(push) * reach) / sds


def sampled_predictions(n, rng, pushes, means, variances, w, b, norm, eps):
    """Cells [4 n] of fresh samples and, for each push, their predictions [4 n], attacked one by one."""
    w, threat = np.asarray(w, float), Threat(norm)
    X, cell = ClassGaussians(np.asarray(means), np.asarray(variances)).sample([n] * 4, rng)
    shift = eps * threat.worst_shift(w)
    return cell, [(X + np.asarray(push)[cell][:, None] * shift) @ w + b > 0 for push in pushes]


def sampled_rates(n, rng, pushes, **laws):
    """The twin of :func:`positive_rates`: the rates of n samples a cell for each push, [len(pushes), 4]."""
    cell, predictions = sampled_predictions(n, rng, pushes, **laws)
    return np.array([np.bincount(cell, positive, 4) / n for positive in predictions])


def estimates(
    values: Callable[[np.ndarray], Mapping[str, Any]], rates: np.ndarray, n: int, step: float = 1e-6
) -> dict[str, Estimate]:
    """What ``values`` gives for rates of n samples each (any shape), with standard errors by the delta method.

    Rates of one cell under several pushes share their samples: at most one of them may enter a quantity. Variances are
    those of ``(n rate + 1/2) / (n + 1)``, so that a rate of 0 or 1 is not taken for exact. What these rates do not
    define, such as a ratio over 0, is left out.
    """
    shrunk = (n * rates + 0.5) / (n + 1)
    variances = shrunk * (1 - shrunk) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: value for name, value in values(rates).items() if np.isfinite(value)}
        total = dict.fromkeys(found, 0.0)
        for at in np.ndindex(rates.shape):
            moved = np.zeros_like(rates)
            moved[at] = step
            up, down = values(rates + moved), values(rates - moved)
            for name in found:
                total[name] += ((up[name] - down[name]) / (2 * step)) ** 2 * variances[at]
    return {name: Estimate(float(found[name]), float(np.sqrt(total[name]))) for name in found}


def group_rates(rates, base_rates):
    """Positive rates of groups 0 and 1, from those of their cells."""
    return tuple((1 - q) * rates[2 * a] + q * rates[2 * a + 1] for a, q in enumerate(base_rates))


def gaps(rates, base_rates):
    """Signed gaps, group 1 minus group 0: demographic parity, equal opportunity (y = 1), and the sum over labels."""
    group_0, group_1 = group_rates(rates, base_rates)
    return {
        "DP gap": group_1 - group_0,
        "EOp gap": rates[3] - rates[1],
        "EOd gap": rates[3] - rates[1] + rates[2] - rates[0],
    }


def notions(rates, base_rates, scaled=None):
    """The gaps and two more notions that increase in group 1's rates and decrease in group 0's.

    ``scaled``: the rates times a factor for each attack, from which their ratio is taken.
    """
    group_0, group_1 = group_rates(rates if scaled is None else scaled, base_rates)
    return gaps(rates, base_rates) | {
        "1 - DP ratio": 1 - group_0 / group_1,
        "EOd gap weighted 3 to 1": 1.5 * (rates[3] - rates[1]) + 0.5 * (rates[2] - rates[0]),
    }


def _attacked(base_rates, **laws):
    pushes = np.vstack([FAVOUR_1, np.random.default_rng(0).uniform(-1, 1, (500, 4))])
    logs = log_positive_rates(**laws, push=pushes).T
    with np.errstate(divide="ignore"):  # a ratio beyond the largest float
        found = notions(positive_rates(**laws, push=pushes).T, base_rates, np.exp(logs - logs.max(0)))
    return {name: value[0] for name, value in found.items()} | {
        f"largest {name} of 500 other attacks": value[1:].max() for name, value in found.items()
    }


EQUIVALENCE = Theorem(
    id="group-attack-equivalence",
    kind="theorem",
    title="One attack maximises every signed gap between positive rates",
    statement=(
        "Pushing one group's scores up and the other's down as far as the budget allows maximises at once the signed "
        "demographic parity, equal opportunity and equalised odds gaps, and every notion that increases in one group's "
        "positive rates and decreases in the other's, such as one minus the ratio of their rates, or any gap that "
        "weights the cells."
    ),
    setting="Chai and Wang 2023",
    ours=(
        "The exact attacked gaps for Gaussians; absolute gaps need two orientations (group-attack-absolute), and a gap "
        "in precision another attack (limit-precision-gap)."
    ),
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=_attacked,
    empirical_values=lambda n, rng, base_rates, **laws: estimates(
        lambda rates: notions(rates, base_rates), sampled_rates(n, rng, (FAVOUR_1,), **laws)[0], n
    ),
    conclusion=lambda value: all(
        value[rival.removeprefix("largest ").removesuffix(" of 500 other attacks")] >= value[rival] - 1e-12
        for rival in value
        if rival.startswith("largest ")
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

ORIENTATIONS = (FAVOUR_1, tuple(-push for push in FAVOUR_1))
"""Group 1 favoured, group 0 favoured."""


def label_gaps(rates):
    """Signed gaps within labels 0 and 1, group 1 minus group 0; [2, ...] from rates [4, ...]."""
    return rates[2:] - rates[:2]


def absolute_gaps(rates, base_rates):
    """Largest |DP|, |EOp| and |EOd| from the rates [2, 4] under the two orientations.

    EOd takes at each label the orientation worse there; the last value keeps to one orientation.
    """
    first, second = (gaps(of, base_rates) for of in rates)
    within = np.abs([label_gaps(of) for of in rates])
    return {f"|{name}|": max(first[name], -second[name]) for name in ("DP gap", "EOp gap")} | {
        "|EOd gap|": within.max(0).sum(),
        "|EOd gap|, one group favoured at both labels": within.sum(1).max(),
    }


def _absolute(base_rates, **laws):
    values = absolute_gaps(positive_rates(**laws, push=ORIENTATIONS), base_rates)
    pushes = np.concatenate([list(product((-1, 1), repeat=4)), np.random.default_rng(0).uniform(-1, 1, (500, 4))])
    rates = positive_rates(**laws, push=pushes).T
    rivals = {f"|{name}|": np.abs(gap) for name, gap in gaps(rates, base_rates).items()}
    rivals["|EOd gap|"] = np.abs(label_gaps(rates)).sum(0)
    return values | {f"largest {name} of 516 attacks": rival.max() for name, rival in rivals.items()}


ABSOLUTE = Theorem(
    id="group-attack-absolute",
    kind="theorem",
    title="An absolute gap is attacked in two orientations, equalised odds label by label",
    statement=(
        "The largest attacked |DP| and |EOp| are the larger of their values with group 1 and with group 0 favoured. "
        "The largest |EOd|, the sum of the absolute gaps at both labels, is the sum over the labels of the larger of "
        "the two, each label with its own orientation; no attack exceeds these values and one attack each reaches them."
    ),
    setting="Chai and Wang 2023",
    ours="The statement, the exact values for Gaussians, and the search over all corners of the attack.",
    assumptions=(CELLS,),
    defaults=DEFAULTS | {"means": ((-0.5, -0.2), (0.6, 0.8), (-1.0, -0.4), (1.2, 0.9))},
    analytic_values=_absolute,
    empirical_values=lambda n, rng, base_rates, **laws: estimates(
        lambda rates: absolute_gaps(rates, base_rates), sampled_rates(n, rng, ORIENTATIONS, **laws), n
    ),
    conclusion=lambda value: (
        all(
            abs(value[f"|{gap} gap|"] - value[f"largest |{gap} gap| of 516 attacks"]) < 1e-12
            for gap in ("DP", "EOp", "EOd")
        )
        and value["|EOd gap|"] >= value["|EOd gap|, one group favoured at both labels"]
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

THEOREMS = (EQUIVALENCE, ABSOLUTE)
