"""Theorems and limits as objects: each is well formed, refuses parameters outside its hypotheses, and checks out."""

import math

import pytest

from linfair._check import AssumptionError
from linfair.theory import THEOREMS, Comparison, Estimate, Theorem
from linfair.theory.theorem import limit

LIMITS = [t for t in THEOREMS.values() if t.kind == "limit"]
IDS = list(THEOREMS)

OUTSIDE = {
    "xu-gap": {"eps": 0.6},
    "robust-direction": {"eps_minus": 3.0},
    "mixup-robust-gap": {"r": 2.5},
    "mixup-natural-gap": {"r": 2.5},
    "random-lambda": {"a": 0.0},
    "easy-class-equaliser": {"tau": 2.0},
    "m-way-limit": {"tau": -1.0},
    "dirichlet-rate": {"alpha": 0.0},
    "mixup-any-covariance": {"eps": 2.0},
    "reweight-equaliser": {"tau": 1.0},
    "remargin-equaliser": {"tau": 3.0},
    "price-of-fairness": {"delta": 0.0},
    "distance-gap": {"tau_near": 7.0},
    "distance-ratio": {"r": 2.0},
    "distance-amplification": {"tau_near": 1.5},
    "radius-gap": {"eps": 1.6},
    "robust-training-natural-gap": {"r": 1.5},
    "minimax-fair": {"eps": 2.0},
    "minimax-distribution-free": {"eps": 2.0},
    "minimax-common-covariance": {"eps": 2.0},
    "risk-frontier": {"allowed": 0.9},
    "hinge-minimiser": {"eps": 2.1},
    "logistic-minimiser": {"eps": 2.1},
    "group-attack-equivalence": {"base_rates": (0.0, 0.5)},
    "group-attack-absolute": {"eps": -0.1},
    "group-alignment-bounds": {"w": (0.0, 0.0)},
    "group-alignment-absolute": {"base_rates": (0.5, 1.0)},
    "group-fairness-robustness": {"b": -3.0},
    "soft-label-shift": {"lam": 0.6},
    "targeted-two-classes": {"eps": -0.1},
    "targeted-three-classes": {"means": ((0.0, 0.0), (1.0, 0.0))},
    "dkw-band": {"delta": 0.0},
    "plug-in-risk": {"risk": 0.0},
    "limit-gap-orientations": {"shift": 0.0},
    "limit-clean-orientation": {"means": (1.8, 0.4)},
    "limit-fairness-attack-accuracy": {"share": 1.0},
    "limit-precision-gap": {"w": (0.0, 0.0)},
    "limit-natural-disparity-priors": {"r": 1.0},
    "limit-mixup-without-at": {"e": 0.0},
    "limit-mix-hard-class": {"tau": 2.0},
    "limit-beta-fades": {"tau_near": 70.0},
    "limit-m-way-overlap": {"tau": 1.0},
    "limit-m-way-three-classes": {"spacing": 0.0},
    "limit-m-way-finite-sample": {"m_many": 5},
    "limit-exponential-loss": {"K": 1.0},
    "limit-squared-loss": {"K": 1.0},
    "limit-easy-error-rises": {"eps": 0.3},
    "limit-radius-anisotropic": {"eps": 0.2},
    "limit-sign-flip": {"e": 0.1},
    "limit-sqrt-d": {"eps": 0.4},
    "limit-distance-ratio": {"K": 1.0},
    "limit-amplification": {"tau_near": 0.1},
    "limit-distance-loss": {"tau_near": 2.0},
    "limit-remargin-backfires": {"tau": 6.0},
    "limit-constant-classifier": {"r": 0.5},
    "limit-reweighting": {"tau": 6.0},
    "limit-two-optima": {"delta": (2.0, 1.0)},
}
"""One parameter for each theorem that breaks a hypothesis."""


def test_there_are_enough_of_both():
    assert len(THEOREMS) >= 24
    assert len(LIMITS) >= 12


@pytest.mark.parametrize("name", IDS)
def test_every_theorem_is_well_formed(name):
    theorem = THEOREMS[name]
    assert theorem.id == name
    assert (theorem.kind == "limit") == name.startswith("limit-")
    for text in (theorem.title, theorem.statement, theorem.setting, theorem.ours, theorem.figure):
        assert text.strip() == text != ""
    assert theorem.assumptions
    assert theorem.parameters() == dict(theorem.defaults)


@pytest.mark.parametrize("name", IDS)
def test_parameters_outside_the_hypotheses_are_refused_and_named(name):
    theorem = THEOREMS[name]
    with pytest.raises(AssumptionError, match=f"{name} assumes") as caught:
        theorem.analytic(**OUTSIDE[name])
    assert any(a.text in str(caught.value) for a in theorem.assumptions)
    with pytest.raises(AssumptionError):
        theorem.empirical(n=200, **OUTSIDE[name])


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="xu-gap has no parameter epsilon; it takes d, eta"):
        THEOREMS["xu-gap"].analytic(epsilon=0.1)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("xu-gap", {"K": 3.0, "eps": 0.2}),
        ("mixup-robust-gap", {"tau": 3.0, "K": 1.5, "r": 0.7, "lam": 0.3}),
        ("random-lambda", {"a": 0.3, "K": 3.0}),
        ("m-way-limit", {"K": 3.0, "m": 3}),
        ("easy-class-equaliser", {"tau": 5.8, "K": 2.5}),
        ("remargin-equaliser", {"tau": 7.0, "K": 3.0, "r": 0.8}),
        ("distance-gap", {"tau_near": 1.0, "K": 3.0, "r": 0.5}),
        ("radius-gap", {"norm": "l2", "eps": 0.9}),
        ("radius-gap", {"norm": "l1", "eps": 1.5}),
        ("minimax-fair", {"norm": "l2", "eps": 0.5}),
        ("risk-frontier", {"norm": "l2", "eps": 0.4, "r": 1.5, "allowed": 0.03}),
        ("risk-frontier", {"cov_plus": ((2.0, -0.8), (-0.8, 4.0)), "delta": (6.0, 9.0), "allowed": 0.0}),
        ("group-alignment-bounds", {"eps": 0.5, "w": (1.0, -0.3)}),
        ("soft-label-shift", {"K": 3.0, "lam": 0.1}),
    ],
)
def test_theorems_hold_beyond_their_defaults(name, changes):
    report = THEOREMS[name].check(n=10_000, seed=3, **changes)
    assert report.statement_holds, report.values
    assert report.passed, report.comparisons


def _toy(analytic: float, empirical: Estimate, twin: str = "Monte Carlo", holds: bool = True) -> Theorem:
    return limit(
        id="limit-toy",
        title="t",
        statement="s",
        setting="p",
        assumptions=(),
        defaults={},
        analytic_values=lambda: {"q": analytic},
        empirical_values=lambda n, rng: {"q": empirical},
        conclusion=lambda value: holds,
        twin=twin,
        figure="claims",
    )


@pytest.mark.parametrize(
    ("analytic", "estimate", "twin", "passed"),
    [
        (1.0, Estimate(1.44, 0.1), "Monte Carlo", True),
        (1.0, Estimate(1.46, 0.1), "Monte Carlo", False),
        (1.0, Estimate(0.54, 0.1), "trained", False),
        (0.0, Estimate(0.0, 0.0), "exact", True),
        (0.0, Estimate(1e-12, 0.0), "exact", False),
        (1.0, Estimate(9.0, 0.1), "trained, sign only", True),
        (1.0, Estimate(-0.01, 0.1), "trained, sign only", False),
    ],
)
def test_a_verdict_can_fail(analytic, estimate, twin, passed):
    assert _toy(analytic, estimate, twin).check(n=100).passed is passed


def test_a_false_statement_fails_whatever_the_twin_says():
    assert not _toy(1.0, Estimate(1.0, 0.1), holds=False).check(n=100).passed


def test_z_is_infinite_where_a_wrong_value_claims_to_be_exact():
    assert math.isinf(Comparison("q", 0.0, 1.0, 0.0, False).z)
