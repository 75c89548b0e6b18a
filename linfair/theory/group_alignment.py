"""How attacks on group fairness and on accuracy are aligned (Chai and Wang 2023), in the model of group_attack.

With group 1 favoured the two attacks push the aligned cells (0, 1) and (1, 0) the same way and the opposing cells
(1, 1) and (0, 0) opposite ways; pairs are (group, label).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from linfair.theory.group_attack import (
    ACCURACY,
    CELLS,
    CLEAN,
    DEFAULTS,
    FAVOUR_1,
    ORIENTATIONS,
    estimates,
    label_gaps,
    positive_rates,
    sampled_predictions,
    sampled_rates,
)
from linfair.theory.theorem import Assumption, Theorem

LABEL = np.array([0, 1, 0, 1])
"""The label of a cell; the group is its position // 2."""
ALIGNED, OPPOSING = {"(0, 1)": 1, "(1, 0)": 2}, {"(1, 1)": 3, "(0, 0)": 0}
"""The cells by name, with group 1 favoured."""
ROUNDING = 1e-12


def risks(rates):
    """Error rates of the four cells from their positive rates."""
    return np.where(LABEL, 1 - rates, rates)


def ascend(*values):
    """Whether every value is at most the next, up to rounding: at eps = 0 some of the bounds are equalities."""
    return all(first <= second + ROUNDING for first, second in pairwise(values))


def _signed(fair, worst):
    """The quantities with a twin, from positive rates under the fairness and the accuracy attack."""
    gap_0, gap_1 = label_gaps(fair)
    return {
        "attacked gap at y = 1": gap_1,
        "attacked gap at y = 0": gap_0,
        "attacked EOd gap": gap_0 + gap_1,
        "upper bound at y = 1": 1 - worst[1],
        "upper bound at y = 0": worst[2],
        "R_adv(0, 1) + R_adv(1, 0)": 1 - worst[1] + worst[2],
        "slack of the upper bound at y = 1": 1 - fair[3],
        "slack of the upper bound at y = 0": fair[0],
    }


def _bounds(base_rates, **laws):
    clean, fair, worst = (positive_rates(**laws, push=push) for push in (CLEAN, FAVOUR_1, ACCURACY))
    natural = risks(clean)
    return _signed(fair, worst) | {
        "lower bound at y = 1": risks(worst)[1] - natural[3],
        "lower bound at y = 0": risks(worst)[2] - natural[0],
        "R_nat(1, 1) + R_nat(0, 0)": natural[3] + natural[0],
    }


def _bounds_hold(value):
    gap, robust = value["attacked EOd gap"], value["R_adv(0, 1) + R_adv(1, 0)"]
    return ascend(gap, robust, gap + value["R_nat(1, 1) + R_nat(0, 0)"]) and all(
        ascend(value[f"lower bound at y = {y}"], value[f"attacked gap at y = {y}"], value[f"upper bound at y = {y}"])
        and abs(
            value[f"upper bound at y = {y}"]
            - value[f"attacked gap at y = {y}"]
            - value[f"slack of the upper bound at y = {y}"]
        )
        < ROUNDING
        for y in (0, 1)
    )


ALIGNMENT = Theorem(
    id="group-alignment-bounds",
    kind="theorem",
    title="Robust accuracy of two subgroups brackets the attacked gap, and the gap the accuracy",
    statement=(
        "When group 1 is favoured, the fairness attack and the accuracy attack coincide on (group 0, y = 1) and "
        "(group 1, y = 0), and R_adv(0,1) - R_nat(1,1) <= attacked gap at y = 1 <= R_adv(0,1), R_adv(1,0) - "
        "R_nat(0,0) <= attacked gap at y = 0 <= R_adv(1,0). Conversely, attacked EOd <= R_adv(0,1) + R_adv(1,0) <= "
        "attacked EOd + R_nat(1,1) + R_nat(0,0). The slack of an upper bound is the risk of the opposing cell, (1,1) "
        "or (0,0), after the push that helps it; that of a lower bound is what this push takes off its risk."
    ),
    setting="Chai and Wang 2023",
    ours="The bounds in this form, both ways, with exact Gaussian values and slacks.",
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=_bounds,
    empirical_values=lambda n, rng, base_rates, **laws: estimates(
        lambda rates: _signed(*rates), sampled_rates(n, rng, (FAVOUR_1, ACCURACY), **laws), n
    ),
    conclusion=_bounds_hold,
    twin="Monte Carlo",
    figure="group_attack",
)


def _worst(fair, worst):
    """Per label: the worst absolute gap, from rates [2, 4] in both orientations, and the larger robust risk."""
    found, risk = np.abs([label_gaps(of) for of in fair]).max(0), risks(worst).reshape(2, 2).max(0)
    return {f"worst |gap| at y = {y}": found[y] for y in (1, 0)} | {
        "worst |EOd gap|": found.sum(),
        "largest R_adv at y = 1": risk[1],
        "largest R_adv at y = 0": risk[0],
        "sum of largest R_adv": risk.sum(),
    }


def _absolute_bounds(base_rates, **laws):
    fair = positive_rates(**laws, push=ORIENTATIONS)
    clean, worst = (positive_rates(**laws, push=push) for push in (CLEAN, ACCURACY))
    natural, robust = risks(clean).reshape(2, 2), risks(worst).reshape(2, 2)  # [group, label]
    return _worst(fair, worst) | {
        "sum of largest R_adv minus the other group's R_nat": (robust - natural[::-1]).max(0).sum(),
        "sum of largest R_nat": natural.max(0).sum(),
    }


def _absolute_twin(n, rng, base_rates, **laws):
    rates = sampled_rates(n, rng, (*ORIENTATIONS, ACCURACY), **laws)
    return estimates(lambda rates: _worst(rates[:2], rates[2]), rates, n)


ABSOLUTE = Theorem(
    id="group-alignment-absolute",
    kind="theorem",
    title="The worst absolute equalised odds gap and the robust risks bound each other",
    statement=(
        "Over all attacks, sum_y max_a [R_adv(a,y) - R_nat(1-a,y)] <= |EOd| <= sum_y max_a R_adv(a,y), and conversely "
        "sum_y max_a R_adv(a,y) <= |EOd| + sum_y max_a R_nat(a,y). Training for robust accuracy in every cell bounds "
        "the attacked gap, and a classifier with a small attacked gap and small natural risks is robust."
    ),
    setting="Chai and Wang 2023",
    ours="The bounds for absolute gaps, where every label picks its own orientation.",
    assumptions=(CELLS,),
    defaults=DEFAULTS,
    analytic_values=_absolute_bounds,
    empirical_values=_absolute_twin,
    conclusion=lambda value: ascend(
        value["sum of largest R_adv minus the other group's R_nat"],
        value["worst |EOd gap|"],
        value["sum of largest R_adv"],
        value["worst |EOd gap|"] + value["sum of largest R_nat"],
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

SHARE = Assumption("P(a = 1) in (0, 1)", lambda share, **_: 0 < share < 1)


def cell_shares(base_rates, share):
    """``P(a, y)`` of the four cells from ``P(y = 1 | a)`` and ``P(a = 1)``; [4]."""
    return np.array([p * r for p, q in zip((1 - share, share), base_rates, strict=True) for r in (1 - q, q)])


def _unchanged(kept, shares):
    """From the shares [2, 4] that the fairness and the accuracy attack leave unchanged in each cell."""
    fair, worst = kept
    cells = ALIGNED | OPPOSING
    return (
        {f"unchanged in {name}": fair[k] for name, k in cells.items()}
        | {f"unchanged in {name} by the accuracy attack": worst[k] for name, k in cells.items()}
        | {"unchanged by the fairness attack": shares @ fair, "unchanged by the accuracy attack": shares @ worst}
    )


def _robustness(base_rates, share, **laws):
    clean, fair, worst = (positive_rates(**laws, push=push) for push in (CLEAN, FAVOUR_1, ACCURACY))
    kept = 1 - np.abs(np.array([fair, worst]) - clean)
    natural, robust = risks(clean), risks(worst)
    return (
        _unchanged(kept, cell_shares(base_rates, share))
        | {f"1 - (R_adv - R_nat) in {name}": 1 - (robust[k] - natural[k]) for name, k in ALIGNED.items()}
        | {f"1 - R_nat in {name}": 1 - natural[k] for name, k in OPPOSING.items()}
    )


def _robustness_twin(n, rng, base_rates, share, **laws):
    cell, (clean, *attacked) = sampled_predictions(n, rng, (CLEAN, FAVOUR_1, ACCURACY), **laws)
    kept = np.array([np.bincount(cell, clean == moved, 4) / n for moved in attacked])
    return estimates(lambda kept: _unchanged(kept, cell_shares(base_rates, share)), kept, n)


ROBUSTNESS = Theorem(
    id="group-fairness-robustness",
    kind="theorem",
    title="The fairness attack changes no more predictions than the accuracy attack",
    statement=(
        "The attack that favours group 1 leaves unchanged a share 1 - (R_adv - R_nat) of the predictions in the "
        "aligned cells (0,1) and (1,0), and at least 1 - R_nat in the opposing cells (1,1) and (0,0), with equality as "
        "eps -> infinity. Where the opposing cells have natural risk at most 1/2, it leaves unchanged at least as many "
        "predictions as the accuracy attack, in every cell and overall."
    ),
    setting="Chai and Wang 2023",
    ours="The exact shares for Gaussians and the comparison of the two attacks.",
    assumptions=(
        CELLS,
        SHARE,
        Assumption(
            "natural risk of the opposing cells at most 1/2",
            lambda base_rates, share, **laws: risks(positive_rates(**laws, push=CLEAN))[[0, 3]].max() <= 0.5,
        ),
    ),
    defaults=DEFAULTS | {"share": 0.5},
    analytic_values=_robustness,
    empirical_values=_robustness_twin,
    conclusion=lambda value: (
        all(abs(value[f"unchanged in {name}"] - value[f"1 - (R_adv - R_nat) in {name}"]) < ROUNDING for name in ALIGNED)
        and all(ascend(value[f"1 - R_nat in {name}"], value[f"unchanged in {name}"]) for name in OPPOSING)
        and all(
            ascend(value[f"unchanged in {name} by the accuracy attack"], value[f"unchanged in {name}"])
            for name in ALIGNED | OPPOSING
        )
        and ascend(value["unchanged by the accuracy attack"], value["unchanged by the fairness attack"])
    ),
    twin="Monte Carlo",
    figure="group_attack",
)

THEOREMS = (ALIGNMENT, ABSOLUTE, ROBUSTNESS)
