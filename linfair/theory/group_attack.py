"""Attacks on group fairness (Chai and Wang 2023): one attack for all notions, bounds by accuracy.

Four Gaussians, index 2 a + y for group a and label y, and a linear classifier, "positive" where w.x + b > 0. The attack
that favours group 1 pushes group 1 up and group 0 down:
``P_att = Phi((w.mu_ay + b +- eps ||w||_*) / sqrt(w' Sigma_ay w))``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.theory.theorem import Assumption, Estimate, Theorem, limit

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
    "four cells, base rates in (0, 1), w != 0, eps >= 0",
    lambda means, variances, base_rates, w, eps, **_: (
        len(means) == len(variances) == 4 and all(0 < q < 1 for q in base_rates) and any(w) and eps >= 0
    ),
)


def positive_rates(means, variances, w, b, norm, eps, push):
    """``P(w.x + b > 0)`` of the four cells when cell k is pushed by ``push[k] eps`` along the score; [4]."""
    w = np.asarray(w, float)
    reach = eps * Threat(norm).dual_norm(w)
    sds = ClassGaussians(np.asarray(means), np.asarray(variances)).sds(w)
    return ndtr((np.asarray(means) @ w + b + np.asarray(push) * reach) / sds)


def gaps(rates, base_rates):
    """Signed gaps, group 1 minus group 0: demographic parity, equal opportunity (y = 1), and the sum over labels."""
    p0, p1 = base_rates
    parity = (1 - p1) * rates[2] + p1 * rates[3] - (1 - p0) * rates[0] - p0 * rates[1]
    return {"DP gap": parity, "EOp gap": rates[3] - rates[1], "EOd gap": rates[3] - rates[1] + rates[2] - rates[0]}


def spread(gap, base_rates):
    """Squared weights of the four cells in a gap: what their variances contribute."""
    p0, p1 = base_rates
    return {"DP gap": [(1 - p0) ** 2, p0**2, (1 - p1) ** 2, p1**2], "EOp gap": [0, 1, 0, 1], "EOd gap": [1] * 4}[gap]


FAVOUR_1 = (-1, -1, 1, 1)


def _attacked(means, variances, base_rates, w, b, norm, eps):
    laws = (means, variances, w, b, norm, eps)
    best = gaps(positive_rates(*laws, FAVOUR_1), base_rates)
    rng = np.random.default_rng(0)
    rivals = [gaps(positive_rates(*laws, push), base_rates) for push in rng.uniform(-1, 1, (500, 4))]
    return best | {f"largest {name} of 500 other attacks": max(rival[name] for rival in rivals) for name in best}


def _attacked_twin(n, rng, means, variances, base_rates, w, b, norm, eps):
    """Samples attacked one by one with the worst shift of their group."""
    w, threat = np.asarray(w, float), Threat(norm)
    X, cell = ClassGaussians(np.asarray(means), np.asarray(variances)).sample([n] * 4, rng)
    X = X + eps * np.asarray(FAVOUR_1)[cell][:, None] * threat.worst_shift(w)
    rate = np.bincount(cell, X @ w + b > 0, 4) / n
    variance = rate * (1 - rate) / n
    return {
        name: Estimate(gap, float(np.sqrt(np.dot(spread(name, base_rates), variance))))
        for name, gap in gaps(rate, base_rates).items()
    }


EQUIVALENCE = Theorem(
    id="group-attack-equivalence",
    kind="theorem",
    title="One attack maximises every notion of group unfairness",
    statement=(
        "Pushing one group's scores up and the other's down as far as the budget allows maximises at once the signed "
        "demographic parity, equal opportunity and equalised odds gaps, and every gap that increases in one group's "
        "positive rates and decreases in the other's."
    ),
    setting="Chai and Wang 2023",
    ours="The exact attacked gaps for Gaussians; absolute gaps need two orientations (limit-gap-orientations).",
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=_attacked,
    empirical_values=_attacked_twin,
    conclusion=lambda value: all(
        value[g] >= value[f"largest {g} of 500 other attacks"] for g in ("DP gap", "EOp gap", "EOd gap")
    ),
    twin="Monte Carlo",
    figure="group_attack",
)


def _bounds(means, variances, base_rates, w, b, norm, eps):
    laws = (means, variances, w, b, norm, eps)
    clean, attacked, worst = (positive_rates(*laws, push) for push in ((0, 0, 0, 0), FAVOUR_1, (1, -1, 1, -1)))
    # robust risks: the accuracy attack pushes y = 1 down and y = 0 up
    risk_0_plus, risk_1_minus = 1 - worst[1], worst[2]
    return {
        "attacked gap at y = 1": attacked[3] - attacked[1],
        "attacked gap at y = 0": attacked[2] - attacked[0],
        "upper bound at y = 1": risk_0_plus,
        "lower bound at y = 1": risk_0_plus - (1 - clean[3]),
        "upper bound at y = 0": risk_1_minus,
        "lower bound at y = 0": risk_1_minus - clean[0],
    }


def _bounds_twin(n, rng, means, variances, base_rates, w, b, norm, eps):
    w, threat = np.asarray(w, float), Threat(norm)
    X, cell = ClassGaussians(np.asarray(means), np.asarray(variances)).sample([n] * 4, rng)
    score, reach = X @ w + b, eps * float(threat.dual_norm(w))

    def rates(push):
        return np.bincount(cell, score + reach * np.asarray(push)[cell] > 0, 4) / n

    attacked, worst = rates(FAVOUR_1), rates((1, -1, 1, -1))
    sd = attacked * (1 - attacked) / n
    return {
        "attacked gap at y = 1": Estimate(attacked[3] - attacked[1], np.sqrt(sd[3] + sd[1])),
        "attacked gap at y = 0": Estimate(attacked[2] - attacked[0], np.sqrt(sd[2] + sd[0])),
        "upper bound at y = 1": Estimate(1 - worst[1], np.sqrt(worst[1] * (1 - worst[1]) / n)),
        "upper bound at y = 0": Estimate(worst[2], np.sqrt(worst[2] * (1 - worst[2]) / n)),
    }


ALIGNMENT = Theorem(
    id="group-alignment-bounds",
    kind="theorem",
    title="Robust accuracy of two subgroups brackets the attacked gap",
    statement=(
        "When group 1 is favoured, the fairness attack and the accuracy attack coincide on (group 0, y = 1) and "
        "(group 1, y = 0), and R_adv(0,1) - R_nat(1,1) <= attacked gap at y = 1 <= R_adv(0,1), R_adv(1,0) - "
        "R_nat(0,0) <= attacked gap at y = 0 <= R_adv(1,0)."
    ),
    setting="Chai and Wang 2023",
    ours="The bounds in this form, with exact Gaussian values on every side.",
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=_bounds,
    empirical_values=_bounds_twin,
    conclusion=lambda value: all(
        value[f"lower bound at y = {y}"] <= value[f"attacked gap at y = {y}"] <= value[f"upper bound at y = {y}"]
        for y in (0, 1)
    ),
    twin="Monte Carlo",
    figure="group_attack",
)


def _orientations(shift, base_rates, eps):
    """Unit-variance scores -+1 by label; group 0 scores 2 shift higher within labels, group 1 has more positives."""
    means = np.array([[-1 + shift], [1 + shift], [-1 - shift], [1 - shift]])
    found = {}
    for name, sign in (("group 1", 1), ("group 0", -1)):
        rates = positive_rates(means, np.ones((4, 1)), [1.0], 0.0, "l2", eps, sign * np.array(FAVOUR_1))
        found |= {
            f"|{gap}|, {name} favoured": abs(value)
            for gap, value in gaps(rates, base_rates).items()
            if gap != "EOp gap"
        }
    return found


def _orientations_twin(n, rng, shift, base_rates, eps):
    means = np.array([[-1 + shift], [1 + shift], [-1 - shift], [1 - shift]])
    X, cell = ClassGaussians(means, 1.0).sample([n] * 4, rng)
    found = {}
    for name, sign in (("group 1", 1), ("group 0", -1)):
        rate = np.bincount(cell, X[:, 0] + sign * eps * np.array(FAVOUR_1)[cell] > 0, 4) / n
        variance = rate * (1 - rate) / n
        for gap, value in gaps(rate, base_rates).items():
            if gap != "EOp gap":
                found[f"|{gap}|, {name} favoured"] = Estimate(
                    abs(value), float(np.sqrt(np.dot(spread(gap, base_rates), variance)))
                )
    return found


ORIENTATIONS = limit(
    id="limit-gap-orientations",
    title="The attack that is worst for one notion is worst for all",
    statement=(
        "True of signed gaps (group-attack-equivalence). Absolute gaps compare two orientations, and notions may "
        "choose differently: with base rates 0.2 and 0.8 and group 0 scored higher within each label, |DP| is largest"
        " when group 1 is favoured and |EOd| when group 0 is."
    ),
    setting="Chai and Wang 2023",
    assumptions=(Assumption("shift > 0 and eps >= 0", lambda shift, eps, **_: shift > 0 and eps >= 0),),
    defaults={"shift": 0.3, "base_rates": (0.2, 0.8), "eps": 0.1},
    analytic_values=_orientations,
    empirical_values=_orientations_twin,
    conclusion=lambda value: (
        value["|DP gap|, group 1 favoured"] > value["|DP gap|, group 0 favoured"]
        and value["|EOd gap|, group 1 favoured"] < value["|EOd gap|, group 0 favoured"]
    ),
    twin="Monte Carlo",
    figure="claims",
)

THEOREMS = (EQUIVALENCE, ALIGNMENT, ORIENTATIONS)
