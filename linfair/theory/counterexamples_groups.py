"""Limits of the claims on attacks on group fairness, each with its numbers and its twin."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.theory.group_alignment import SHARE, cell_shares, risks
from linfair.theory.group_attack import (
    ACCURACY,
    CELLS,
    CLEAN,
    DEFAULTS,
    FAVOUR_1,
    ORIENTATIONS,
    estimates,
    gaps,
    log_positive_rates,
    positive_rates,
    sampled_rates,
)
from linfair.theory.theorem import Assumption, Estimate, limit

CHAI = "Chai and Wang 2023"
BASE_RATES = Assumption("base rates in (0, 1)", lambda base_rates, **_: all(0 < q < 1 for q in base_rates))


def _scores(means, eps):
    """Laws of a score with unit variance whose means in the four cells are these."""
    means, variances = np.reshape(means, (4, 1)), np.ones((4, 1))
    return {"means": means, "variances": variances, "w": [1.0], "b": 0.0, "norm": "l2", "eps": eps}


def _shifted(shift, eps):
    """Scores -+1 by label; group 0 scores 2 shift higher within labels."""
    return _scores([-1 + shift, 1 + shift, -1 - shift, 1 - shift], eps)


def _orientations(rates, base_rates):
    return {
        f"|{gap}|, {group} favoured": abs(gaps(of, base_rates)[gap])
        for group, of in zip(("group 1", "group 0"), rates, strict=True)
        for gap in ("DP gap", "EOd gap")
    }


DIFFERENT = limit(
    id="limit-gap-orientations",
    title="The attack that is worst for one notion is worst for all",
    statement=(
        "True of signed gaps (group-attack-equivalence). Absolute gaps compare two orientations, and notions may "
        "choose differently: with base rates 0.2 and 0.8 and group 0 scored higher within each label, |DP| is largest"
        " when group 1 is favoured and |EOd| when group 0 is."
    ),
    setting=CHAI,
    assumptions=(Assumption("shift > 0 and eps >= 0", lambda shift, eps, **_: shift > 0 and eps >= 0), BASE_RATES),
    defaults={"shift": 0.3, "base_rates": (0.2, 0.8), "eps": 0.1},
    analytic_values=lambda shift, base_rates, eps: _orientations(
        positive_rates(**_shifted(shift, eps), push=ORIENTATIONS), base_rates
    ),
    empirical_values=lambda n, rng, shift, base_rates, eps: estimates(
        lambda rates: _orientations(rates, base_rates), sampled_rates(n, rng, ORIENTATIONS, **_shifted(shift, eps)), n
    ),
    conclusion=lambda value: (
        value["|DP gap|, group 1 favoured"] > value["|DP gap|, group 0 favoured"]
        and value["|EOd gap|, group 1 favoured"] < value["|EOd gap|, group 0 favoured"]
    ),
    twin="Monte Carlo",
    figure="claims",
)


def _chosen(rates):
    """From the rates at y = 1 of groups 0 and 1: clean, group 1 favoured, group 0 favoured; [3, 2]."""
    clean, first, second = rates[:, 1] - rates[:, 0]
    return {
        "clean gap at y = 1": clean,
        "|attacked gap|, group 1 favoured": abs(first),
        "|attacked gap|, group 0 favoured": abs(second),
    }


CHOICES = np.array([[0, 0], [-1, 1], [1, -1]])


def _chosen_twin(n, rng, means, sds, eps):
    score = np.array(means) + np.array(sds) * rng.standard_normal((n, 2))
    return estimates(_chosen, np.array([(score + eps * push > 0).mean(0) for push in CHOICES]), n)


CLEAN_SIGN = limit(
    id="limit-clean-orientation",
    title="The sign of the clean gap tells which orientation is worse",
    statement=(
        "True within a label where both groups' scores have one standard deviation, false otherwise. Scores N(1.8, "
        "2^2) in group 0 and N(0.5, 0.5^2) in group 1, eps = 0.5: the clean gap is +0.0254, attacked it is 0.235 with "
        "group 1 favoured and 0.375 with group 0 favoured. An attack that keeps to the clean sign must be run both "
        "ways before its gap is called the worst."
    ),
    setting=CHAI,
    assumptions=(
        Assumption("two standard deviations > 0", lambda means, sds, **_: len(means) == len(sds) == 2 and min(sds) > 0),
        Assumption("eps > 0", lambda eps, **_: eps > 0),
        Assumption("a positive clean gap", lambda means, sds, **_: means[1] / sds[1] > means[0] / sds[0]),
    ),
    defaults={"means": (1.8, 0.5), "sds": (2.0, 0.5), "eps": 0.5},
    analytic_values=lambda means, sds, eps: _chosen(ndtr((np.array(means) + eps * CHOICES) / np.array(sds))),
    empirical_values=_chosen_twin,
    conclusion=lambda value: (
        value["clean gap at y = 1"] > 0
        and value["|attacked gap|, group 0 favoured"] > value["|attacked gap|, group 1 favoured"]
    ),
    twin="Monte Carlo",
    figure="group_attack",
)


def by_label(distance, eps):
    """Scores -+distance by label, in both groups."""
    return _scores([-distance, distance, -distance, distance], eps)


def _accuracies(distance, base_rates, share, eps):
    shares, laws = cell_shares(base_rates, share), by_label(distance, eps)
    pushes = {
        "clean accuracy": CLEAN,
        "accuracy under the fairness attack": FAVOUR_1,
        "accuracy under the accuracy attack": ACCURACY,
    }
    found = {name: 1 - shares @ risks(positive_rates(**laws, push=push)) for name, push in pushes.items()}
    favour_1, favour_0 = 1 - risks(positive_rates(**laws | {"eps": np.inf}, push=ORIENTATIONS)) @ shares
    return found | {
        "accuracy as eps -> infinity": favour_1,
        "accuracy as eps -> infinity, group 0 favoured": favour_0,
    }


def _accuracies_twin(n, rng, distance, base_rates, share, eps):
    """Groups and labels are drawn too; the last two attacks are stronger than any score."""
    a = rng.random(4 * n) < share
    y = rng.random(4 * n) < np.array(base_rates)[a.astype(int)]
    score, favour, label = distance * (2 * y - 1) + rng.standard_normal(4 * n), 2 * a - 1, 2 * y - 1
    far = 2 * np.abs(score).max() * favour
    attacked = {
        "clean accuracy": score,
        "accuracy under the fairness attack": score + eps * favour,
        "accuracy under the accuracy attack": score - eps * label,
        "accuracy as eps -> infinity": score + far,
        "accuracy as eps -> infinity, group 0 favoured": score - far,
    }
    rates = {name: float(((of > 0) == y).mean()) for name, of in attacked.items()}
    return {name: Estimate(rate, float(np.sqrt(rate * (1 - rate) / (4 * n)))) for name, rate in rates.items()}


LOWERS_ACCURACY = limit(
    id="limit-fairness-attack-accuracy",
    title="An attack on fairness lowers accuracy",
    statement=(
        "False where group and label go together: the attack that favours group 1 pushes predictions towards the "
        "group, and as eps -> infinity accuracy tends to P(a = y) for every classifier with w != 0; the attack that "
        "favours group 0 takes it to 1 - P(a = y). Base rates 0.1 and 0.9, scores N(-+1, 1) by label, group 1 "
        "favoured: accuracy rises from 0.841 to 0.930 at eps = 1 and tends to 0.9. With the base rates of UCI Adult it "
        "falls either way: P(a = y) is 0.498 for men against women and 0.321 for white against black, in the official "
        "test part without missing values."
    ),
    setting=CHAI,
    assumptions=(
        BASE_RATES,
        SHARE,
        Assumption("distance > 0 and eps > 0", lambda distance, eps, **_: distance > 0 and eps > 0),
    ),
    defaults={"distance": 1.0, "base_rates": (0.1, 0.9), "share": 0.5, "eps": 1.0},
    analytic_values=_accuracies,
    empirical_values=_accuracies_twin,
    conclusion=lambda value: (
        min(value["accuracy under the fairness attack"], value["accuracy as eps -> infinity"])
        > value["clean accuracy"]
        > value["accuracy under the accuracy attack"]
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

PRECISION_PUSH = (1, -1, -1, 1)


def precision_gap(rates, base_rates):
    """``P(y = 1 | predicted 1, a)``, group 1 minus group 0, from rates [4, ...]."""
    first, second = (
        q * rates[2 * a + 1] / (q * rates[2 * a + 1] + (1 - q) * rates[2 * a]) for a, q in enumerate(base_rates)
    )
    return second - first


PRECISION_ATTACKS = {"clean": CLEAN, "under the fairness attack": FAVOUR_1, "under its own attack": PRECISION_PUSH}


def _scaled(**laws):
    """The rates [3, 4] of each attack over the larger of their group, which leaves precision as it is."""
    logs = log_positive_rates(**laws, push=list(PRECISION_ATTACKS.values())).reshape(-1, 2, 2)
    return np.exp(logs - logs.max(-1, keepdims=True)).reshape(-1, 4)


def _precision(rates, base_rates):
    return {
        f"precision gap {name}": precision_gap(of, base_rates)
        for name, of in zip(PRECISION_ATTACKS, rates, strict=True)
    }


PRECISION = limit(
    id="limit-precision-gap",
    title="One attack is worst for every notion of group fairness",
    statement=(
        "Only for notions that increase in one group's positive rates and decrease in the other's "
        "(group-attack-equivalence). The gap in precision P(y = 1 | predicted 1, a) increases in the rates of (1,1) "
        "and (0,0) and decreases in those of (1,0) and (0,1): its worst attack pushes the labels of group 1 apart and "
        "those of group 0 together, and the fairness attack can leave it smaller than it was."
    ),
    setting=CHAI,
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=lambda base_rates, **laws: _precision(_scaled(**laws), base_rates),
    empirical_values=lambda n, rng, base_rates, **laws: estimates(
        lambda rates: _precision(rates, base_rates), sampled_rates(n, rng, PRECISION_ATTACKS.values(), **laws), n
    ),
    conclusion=lambda value: (
        value["precision gap under its own attack"]
        > value["precision gap clean"]
        > value["precision gap under the fairness attack"]
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

THEOREMS = (DIFFERENT, CLEAN_SIGN, LOWERS_ACCURACY, PRECISION)
