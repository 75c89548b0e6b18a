"""Attacks on group fairness: brute force over pushes, the limits eps = 0 and eps -> infinity, random instances."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from linfair._check import AssumptionError
from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.theory import THEOREMS
from linfair.theory.counterexamples_groups import PRECISION_PUSH, precision_gap
from linfair.theory.group_alignment import ascend, cell_shares
from linfair.theory.group_attack import (
    ACCURACY,
    CLEAN,
    DEFAULTS,
    FAVOUR_1,
    estimates,
    gaps,
    log_positive_rates,
    notions,
    positive_rates,
    sampled_rates,
)

THEOREM_IDS = (
    "group-attack-equivalence",
    "group-attack-absolute",
    "group-alignment-bounds",
    "group-alignment-absolute",
    "group-fairness-robustness",
)
LIMIT_IDS = (
    "limit-gap-orientations",
    "limit-clean-orientation",
    "limit-fairness-attack-accuracy",
    "limit-precision-gap",
)
OUTSIDE = {
    "group-attack-equivalence": {"eps": np.inf},
    "group-attack-absolute": {"eps": -0.1},
    "group-alignment-absolute": {"base_rates": (0.5, 1.0)},
    "group-fairness-robustness": {"b": -3.0},
    "limit-clean-orientation": {"means": (1.8, 0.4)},
    "limit-fairness-attack-accuracy": {"share": 1.0},
    "limit-precision-gap": {"w": (0.0, 0.0)},
}
"""One parameter for each new theorem that breaks a hypothesis."""


def random_laws(seed: int) -> dict[str, Any]:
    """Cells with their means near those of their labels, so that the opposing cells have natural risk below 1/2."""
    rng = np.random.default_rng(seed)
    means = np.array([[-1.0], [1.0], [-1.0], [1.0]]) + rng.uniform(-0.6, 0.6, (4, 3))
    return {
        "means": means,
        "variances": rng.uniform(0.5, 2.0, (4, 3)),
        "w": np.array([1.0, rng.uniform(0, 0.5), rng.uniform(0, 0.5)]),
        "b": rng.uniform(-0.1, 0.1),
        "norm": ("l1", "l2", "linf")[seed % 3],
        "eps": rng.uniform(0, 1.5),
        "base_rates": tuple(rng.uniform(0.05, 0.95, 2)),
    }


def split(laws: dict[str, Any]) -> tuple[dict[str, Any], tuple[float, float]]:
    laws = dict(laws)
    base_rates = laws.pop("base_rates")
    return laws, base_rates


@pytest.mark.parametrize("name", sorted(OUTSIDE))
def test_parameters_outside_the_hypotheses_are_refused(name):
    with pytest.raises(AssumptionError, match=f"{name} assumes"):
        THEOREMS[name].analytic(**OUTSIDE[name])


@pytest.mark.parametrize("name", THEOREM_IDS)
@pytest.mark.parametrize("seed", range(6))
def test_theorems_hold_on_random_cells(name, seed):
    report = THEOREMS[name].check(n=4000, seed=seed, **random_laws(seed))
    assert report.statement_holds, report.values
    assert report.passed, report.comparisons


@pytest.mark.parametrize("name", LIMIT_IDS)
def test_limits_hold_at_their_defaults(name):
    report = THEOREMS[name].check(n=10_000, seed=5)
    assert report.statement_holds, report.values
    assert report.passed, report.comparisons


@pytest.mark.parametrize("name", THEOREM_IDS)
@pytest.mark.parametrize("eps", [0.0, 1e-9, 6.0, 50.0, 1e6])
def test_statements_hold_without_attack_and_at_full_strength(name, eps):
    report = THEOREMS[name].check(n=500, eps=eps, b=0.0)
    assert report.statement_holds, report.values
    assert report.passed


@pytest.mark.parametrize("name", [*THEOREM_IDS, *LIMIT_IDS])
def test_every_quantity_but_the_bounds_has_a_twin(name):
    theorem = THEOREMS[name]
    missing = set(theorem.analytic()) - set(theorem.empirical(n=200))
    assert all(
        quantity.startswith(("lower bound", "largest", "1 - ", "R_nat", "sum of largest R_adv minus", "sum of"))
        for quantity in missing
    ), missing


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_attacked_samples_in_every_norm(seed):
    laws, _ = split(random_laws(seed))
    pushes = [CLEAN, FAVOUR_1, ACCURACY]
    exact = positive_rates(**laws, push=pushes)
    sampled = sampled_rates(20_000, np.random.default_rng(seed), pushes, **laws)
    assert np.abs(exact - sampled).max() < 5 * 0.5 / np.sqrt(20_000)
    reach = laws["eps"] * Threat(laws["norm"]).dual_norm(laws["w"])
    score = ClassGaussians(laws["means"], laws["variances"])
    for k in range(4):
        mean, sd = laws["means"][k] @ laws["w"] + laws["b"], score.sds(laws["w"])[k]
        assert exact[1, k] == pytest.approx(norm.sf(-(mean + FAVOUR_1[k] * reach) / sd), abs=1e-12)


def test_no_push_of_a_grid_beats_the_attack_for_any_notion():
    laws, base_rates = split(DEFAULTS)
    grid = np.array(list(product(np.linspace(-1, 1, 7), repeat=4)))
    rivals = notions(positive_rates(**laws, push=grid).T, base_rates)
    for name, best in notions(positive_rates(**laws, push=FAVOUR_1), base_rates).items():
        assert rivals[name].max() == pytest.approx(best, abs=1e-12), name


def test_logarithms_are_those_of_the_rates():
    laws, _ = split(DEFAULTS)
    push = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    for eps in (0.2, 5.0):
        rates = positive_rates(**laws | {"eps": eps}, push=push)
        np.testing.assert_allclose(np.exp(log_positive_rates(**laws | {"eps": eps}, push=push)), rates, rtol=1e-12)


def test_ratios_of_rates_too_small_for_a_float():
    """All rates underflow. Group 0's are exp(-50^2 / 2) or so, group 1's exp(-45^2 / 2), before the attack."""
    theorem, one = THEOREMS["group-attack-equivalence"], {"variances": np.ones((4, 1)), "w": [1.0], "b": 0.0}
    value = theorem.analytic(means=[[-50.0], [-50.0], [-45.0], [-45.0]], eps=0.0, **one)
    assert value["1 - DP ratio"] == pytest.approx(1.0)
    assert value["DP gap"] == 0
    value = theorem.analytic(means=[[-45.0], [-45.0], [-45.01], [-45.01]], eps=0.0, **one)
    expected = 1 - np.exp(norm.logsf(45.0) - norm.logsf(45.01))
    assert value["1 - DP ratio"] == pytest.approx(expected, rel=1e-10)
    report = theorem.check(n=500, means=[[-45.0], [-45.0], [-50.0], [-50.0]], eps=2.0, **one)
    assert report.statement_holds, report.values  # beyond the largest float, and no rival is above
    assert report.passed  # no sample is positive, and the ratio has no twin
    assert {c.name for c in report.comparisons} == set(notions(np.ones(4), (0.5, 0.5))) - {"1 - DP ratio"}


def test_precision_of_rates_too_small_for_a_float():
    theorem = THEOREMS["limit-precision-gap"]
    value = theorem.analytic(eps=50.0)
    laws, (q0, q1) = split(DEFAULTS | {"eps": 50.0})
    log_0, log_1 = log_positive_rates(**laws, push=FAVOUR_1)[:2]  # group 1 has all its samples predicted positive
    assert value["precision gap under the fairness attack"] == pytest.approx(
        q1 - q0 / (q0 + (1 - q0) * np.exp(log_0 - log_1)), abs=1e-12
    )
    assert value["precision gap under its own attack"] == pytest.approx(1.0)
    report = theorem.check(n=500, eps=50.0)
    assert all(c.passed for c in report.comparisons)
    assert {c.name for c in report.comparisons} == set(value) - {"precision gap under the fairness attack"}


def test_absolute_gaps_are_the_maximum_over_a_grid():
    theorem = THEOREMS["group-attack-absolute"]
    laws, base_rates = split(theorem.parameters())
    grid = np.array(list(product(np.linspace(-1, 1, 7), repeat=4)))
    rates, values = positive_rates(**laws, push=grid).T, theorem.analytic()
    found = gaps(rates, base_rates)
    assert values["|DP gap|"] == pytest.approx(np.abs(found["DP gap"]).max(), abs=1e-12)
    assert values["|EOp gap|"] == pytest.approx(np.abs(found["EOp gap"]).max(), abs=1e-12)
    assert values["|EOd gap|"] == pytest.approx(np.abs(rates[2:] - rates[:2]).sum(0).max(), abs=1e-12)
    assert values["|EOd gap|"] > values["|EOd gap|, one group favoured at both labels"] + 0.1


@pytest.mark.parametrize("seed", range(20))
def test_gaps_follow_from_the_robust_risks_and_the_slacks(seed):
    """Attacked DP is the difference of base rates plus the risks, weighted by the cells."""
    laws = random_laws(seed)
    q0, q1 = laws["base_rates"]
    value = THEOREMS["group-alignment-bounds"].analytic(**laws)
    robust = q0 * value["upper bound at y = 1"] + (1 - q1) * value["upper bound at y = 0"]
    slack = q1 * value["slack of the upper bound at y = 1"] + (1 - q0) * value["slack of the upper bound at y = 0"]
    attacked = THEOREMS["group-attack-equivalence"].analytic(**laws)["DP gap"]
    assert attacked == pytest.approx(q1 - q0 + robust - slack, abs=1e-12)
    assert slack >= 0


@pytest.mark.parametrize("seed", range(20))
def test_the_lower_bound_of_the_absolute_gap_takes_off_the_other_groups_natural_risk(seed):
    laws = random_laws(seed)
    value = THEOREMS["group-alignment-absolute"].analytic(**laws)
    laws, _ = split(laws)
    clean, attacked = (positive_rates(**laws, push=push) for push in (CLEAN, ACCURACY))
    negatives = max(attacked[0] - clean[2], attacked[2] - clean[0])
    positives = max(clean[3] - attacked[1], clean[1] - attacked[3])
    bound = value["sum of largest R_adv minus the other group's R_nat"]
    assert bound == pytest.approx(negatives + positives, abs=1e-12)


def test_slacks_vanish_at_full_strength():
    value = THEOREMS["group-alignment-bounds"].analytic(eps=20.0)
    assert value["slack of the upper bound at y = 1"] < 1e-12
    assert value["slack of the upper bound at y = 0"] < 1e-12
    assert value["attacked EOd gap"] == pytest.approx(2.0)


def test_fairness_robustness_reaches_its_floor_at_full_strength():
    theorem = THEOREMS["group-fairness-robustness"]
    value = theorem.analytic(eps=20.0)
    for name in ("(1, 1)", "(0, 0)"):
        assert value[f"unchanged in {name}"] == pytest.approx(value[f"1 - R_nat in {name}"], abs=1e-12)
        assert theorem.analytic(eps=0.2)[f"unchanged in {name}"] > value[f"1 - R_nat in {name}"] + 1e-3
    assert all(theorem.analytic(eps=0.0)[f"unchanged in {name}"] == 1 for name in ("(0, 1)", "(1, 1)"))


def test_the_fairness_attack_can_change_more_predictions_where_an_opposing_risk_is_above_half():
    """The hypothesis of the comparison is needed."""
    values = THEOREMS["group-fairness-robustness"].analytic_values(**DEFAULTS | {"b": -3.0}, share=0.5)
    assert values["unchanged by the fairness attack"] < values["unchanged by the accuracy attack"]


def test_fairness_robustness_is_compared_in_every_cell():
    """A cell in which the fairness attack changes more breaks the conclusion, though it changes fewer overall."""
    theorem, laws = THEOREMS["group-fairness-robustness"], DEFAULTS | {"share": 0.5}
    value = theorem.analytic_values(**laws)
    for name in ("(0, 1)", "(1, 0)"):
        assert value[f"unchanged in {name}"] == value[f"unchanged in {name} by the accuracy attack"]
    for name in ("(1, 1)", "(0, 0)"):
        assert value[f"unchanged in {name}"] > value[f"unchanged in {name} by the accuracy attack"] + 1e-3
    assert theorem.conclusion(value)
    means = ((-1.0, 0.0), (0.6, 0.8), (-0.7, -0.4), (-0.3, 0.2))
    value = theorem.analytic_values(**laws | {"means": means})
    assert value["unchanged by the fairness attack"] > value["unchanged by the accuracy attack"]
    assert value["unchanged in (1, 1)"] < value["unchanged in (1, 1) by the accuracy attack"]
    assert not theorem.conclusion(value)


def test_cell_shares_are_a_law():
    shares = cell_shares((0.2, 0.7), 0.3)
    assert shares == pytest.approx([0.7 * 0.8, 0.7 * 0.2, 0.3 * 0.3, 0.3 * 0.7])


@pytest.mark.parametrize("sd", [0.5, 1.0, 2.0])
def test_the_clean_sign_is_the_worse_orientation_where_standard_deviations_agree(sd):
    theorem = THEOREMS["limit-clean-orientation"]
    for means in ((-1.0, -0.9), (-0.1, 0.2), (1.0, 1.1)):
        value = theorem.analytic(means=means, sds=(sd, sd), eps=0.7)
        assert value["|attacked gap|, group 1 favoured"] > value["|attacked gap|, group 0 favoured"]


@pytest.mark.parametrize("distance", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(("base_rates", "share"), [((0.1, 0.9), 0.5), ((0.113, 0.31), 0.674), ((0.5, 0.5), 0.2)])
def test_accuracy_at_full_strength_is_the_share_of_labels_equal_to_the_group(distance, base_rates, share):
    value = THEOREMS["limit-fairness-attack-accuracy"].analytic(distance=distance, base_rates=base_rates, share=share)
    expected = share * base_rates[1] + (1 - share) * (1 - base_rates[0])
    assert value["accuracy as eps -> infinity"] == pytest.approx(expected)
    assert value["accuracy as eps -> infinity, group 0 favoured"] == pytest.approx(1 - expected)


def test_precision_is_the_share_of_true_positives_among_the_predicted():
    # group 0: 4 of 8 positives and 1 of 2 negatives are predicted; group 1: 3 of 5 and 1 of 5
    gap = precision_gap(np.array([1 / 2, 4 / 8, 1 / 5, 3 / 5]), (0.8, 0.5))
    assert gap == pytest.approx(3 / 4 - 4 / 5)


def test_the_attack_on_the_precision_gap_beats_a_grid():
    laws, base_rates = split(DEFAULTS)
    grid = np.array(list(product(np.linspace(-1, 1, 7), repeat=4)))
    rivals = precision_gap(positive_rates(**laws, push=grid).T, base_rates)
    own = precision_gap(positive_rates(**laws, push=PRECISION_PUSH), base_rates)
    assert rivals.max() == pytest.approx(own, abs=1e-12)


def test_standard_errors_are_those_of_repeated_samples():
    laws, base_rates = split(DEFAULTS)
    rng = np.random.default_rng(0)
    runs = [
        estimates(lambda r: notions(r, base_rates), sampled_rates(400, rng, (FAVOUR_1,), **laws)[0], 400)
        for _ in range(300)
    ]
    for name in runs[0]:
        spread = np.std([run[name].value for run in runs], ddof=1)
        assert np.mean([run[name].se for run in runs]) == pytest.approx(spread, rel=0.2), name


def test_ascend_allows_rounding_only():
    assert ascend(0.1, 0.1 - 1e-14, 0.2)
    assert not ascend(0.1, 0.1 - 1e-9)
