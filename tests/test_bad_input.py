"""Malformed input is refused in one line: the name, what was expected, what came, what to do."""

# pyright: reportArgumentType=false

import numpy as np
import pytest

from linfair import metrics
from linfair._check import AssumptionError, as_count, as_fraction, as_labels
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import BetaLambda, DirichletMix, FixedLambda, NoMix, UniformMix, WithOriginal, mix_within_class
from linfair.norms import Threat, as_threat, get_norm
from linfair.solvers.closed_form import (
    direction,
    minimax_risk,
    optimal_classifier,
    optimum,
    random_optimum,
    threshold,
)
from linfair.solvers.equalisers import fairness_constrained, mix_easy, remargin, reweight
from linfair.solvers.surrogates import exponential, hinge, inverse_hazard, minimise
from linfair.solvers.zero_one import robust_threshold_erm, threshold_erm

NAN, INF = float("nan"), float("inf")
MEANS = np.array([[0.0, 0.0], [1.0, 0.0]])
MODEL = ClassGaussians(MEANS, 1.0)
THREE = ClassGaussians(np.eye(3), 1.0)
BINARY, ROWS = LinearClassifier([1.0, 0.0], 0.0), LinearClassifier(np.eye(3), np.zeros(3))
X, Y = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]), np.array([0, 1, 1])


def rng():
    return np.random.default_rng(0)


def indefinite():
    return np.array([np.eye(2), [[1.0, 2.0], [2.0, 1.0]]])


BAD = {  # what is wrong: (call, words the message must hold)
    "unknown norm": (lambda: get_norm("l3"), ["norm", "l3", "linf"]),
    "unknown exponent": (lambda: Threat(3, 0.1), ["norm", "3"]),
    "negative radius": (lambda: Threat("linf", -0.1), ["eps", ">= 0", "-0.1"]),
    "one negative radius": (lambda: Threat("linf", [0.1, -0.2]), ["eps", "-0.2"]),
    "NaN radius": (lambda: Threat("l2", NAN), ["eps", "finite"]),
    "infinite radius": (lambda: Threat("l2", INF), ["eps", "finite"]),
    "radius in words": (lambda: Threat("l2", "small"), ["eps"]),
    "radii of another number of classes": (lambda: Threat("l2", [0.1, 0.2]).radii(3), ["eps", "3"]),
    "matrix of radii": (lambda: Threat("l2", [[0.1, 0.2]]), ["eps"]),
    "lift not orthonormal": (lambda: Threat("l2", 0.1, lift=2 * np.eye(3)), ["lift", "orthonormal"]),
    "lift not a matrix": (lambda: Threat("l2", 0.1, lift=np.ones(3)), ["lift"]),
    "lift with NaN": (lambda: Threat("l2", 0.1, lift=np.full((2, 1), NAN)), ["lift", "finite"]),
    "lift of another dimension": (
        lambda: BINARY.class_risks(MODEL, Threat("l2", 0.1, lift=np.eye(4)[:, :3])),
        ["lift", "3"],
    ),
    "means not a matrix": (lambda: ClassGaussians([0.0, 1.0], 1.0), ["means", "(2,)"]),
    "one class": (lambda: ClassGaussians([[0.0, 1.0]], 1.0), ["means", "2 classes"]),
    "no features": (lambda: ClassGaussians(np.zeros((2, 0)), 1.0), ["means"]),
    "NaN mean": (lambda: ClassGaussians([[0.0], [NAN]], 1.0), ["means", "finite"]),
    "ragged means": (lambda: ClassGaussians([[0.0], [1.0, 2.0]], 1.0), ["means"]),
    "means in words": (lambda: ClassGaussians([["a"], ["b"]], 1.0), ["means"]),
    "negative variance": (lambda: ClassGaussians(MEANS, -1.0), ["covs", "-1"]),
    "one negative variance": (lambda: ClassGaussians(MEANS, [[1.0, 1.0], [1.0, -2.0]]), ["covs", "-2"]),
    "infinite variance": (lambda: ClassGaussians(MEANS, [1.0, INF]), ["covs", "finite"]),
    "covariance not positive semi-definite": (
        lambda: ClassGaussians(MEANS, indefinite()),
        ["covs", "positive semi-definite", "-1"],
    ),
    "asymmetric covariance": (
        lambda: ClassGaussians(MEANS, np.array([np.eye(2), [[1.0, 0.5], [0.0, 1.0]]])),
        ["covs", "symmetric", "0.5"],
    ),
    "covariances of another dimension": (
        lambda: ClassGaussians(MEANS, np.array([np.eye(3)] * 2)),
        ["covs", "(2, 3, 3)"],
    ),
    "variances of another number of classes": (lambda: ClassGaussians(MEANS, [1.0, 1.0, 1.0]), ["covs", "(3,)"]),
    "priors that do not sum to 1": (
        lambda: ClassGaussians(MEANS, 1.0, priors=[0.5, 0.6]),
        ["priors", "sum to 1", "1.1"],
    ),
    "priors of another number of classes": (
        lambda: ClassGaussians(MEANS, 1.0, priors=[0.5, 0.25, 0.25]),
        ["priors", "(3,)"],
    ),
    "zero prior": (lambda: ClassGaussians(MEANS, 1.0, priors=[0.0, 1.0]), ["priors", "> 0"]),
    "NaN prior": (lambda: ClassGaussians(MEANS, 1.0, priors=[NAN, 1.0]), ["priors", "finite"]),
    "spread ratio 0": (lambda: ClassGaussians.two_class([1.0], 1.0, K=0.0), ["K", "> 0"]),
    "prior ratio below 0": (lambda: ClassGaussians.two_class([1.0], 1.0, r=-1.0), ["r", "> 0", "-1"]),
    "negative sd": (lambda: ClassGaussians.two_class([1.0], -1.0), ["sd_minus", "-1"]),
    "delta not a vector": (lambda: ClassGaussians.two_class([[1.0]]), ["delta", "(1, 1)"]),
    "no dimensions": (lambda: ClassGaussians.xu(0, 1.0), ["d", "0"]),
    "negative scale": (lambda: MODEL.scaled(-1.0), ["c", "-1"]),
    "no such class": (lambda: MODEL.pair(0, 5), ["5"]),
    "a class against itself": (lambda: MODEL.pair(1, 1), ["1"]),
    "no samples asked for": (lambda: MODEL.sample(0, rng()), ["n", "0"]),
    "negative count": (lambda: MODEL.sample([1, -1], rng()), ["n", "-1"]),
    "counts of another number of classes": (lambda: MODEL.sample([1, 2, 3], rng()), ["n", "[1, 2, 3]"]),
    "fractional count": (lambda: MODEL.sample(2.5, rng()), ["n", "2.5"]),
    "laws of another number of classes": (lambda: MODEL.sample_mixed(3, [NoMix()] * 3, rng()), ["mix", "2 laws"]),
    "not a law": (lambda: BINARY.class_risks(MODEL, mix=0.5), ["mix"]),
    "a fit without samples": (lambda: ClassGaussians.fit(np.zeros((0, 2)), []), ["y", "n = 0"]),
    "a fit of one class": (lambda: ClassGaussians.fit(X, [0, 0, 0]), ["class"]),
    "a fit with a missing class": (lambda: ClassGaussians.fit(np.vstack([X, X]), [0, 0, 2, 2, 2, 0]), ["class", "1"]),
    "a fit with one sample of a class": (lambda: ClassGaussians.fit(X, Y), ["class", "0"]),
    "a fit with NaN": (lambda: ClassGaussians.fit([[0.0], [NAN]], [0, 1]), ["X", "finite"]),
    "an unknown covariance": (
        lambda: ClassGaussians.fit(np.vstack([X, X]), [0, 1] * 3, covariance="round"),
        ["covariance", "round"],
    ),
    "shrinkage above 1": (
        lambda: ClassGaussians.fit(np.vstack([X, X]), [0, 1] * 3, shrinkage=1.5),
        ["shrinkage", "1.5"],
    ),
    "unknown shrinkage": (
        lambda: ClassGaussians.fit(np.vstack([X, X]), [0, 1] * 3, shrinkage="oas"),
        ["shrinkage", "oas"],
    ),
    "labels too few": (lambda: ClassGaussians.fit(X, [0, 1]), ["y", "(2,)"]),
    "labels as fractions": (lambda: ClassGaussians.fit(X, [0.5, 1, 1]), ["y", "integers"]),
    "weights with NaN": (lambda: LinearClassifier([NAN, 1.0], 0.0), ["w", "finite"]),
    "weights of rank three": (lambda: LinearClassifier(np.zeros((2, 2, 2)), 0.0), ["w", "(2, 2, 2)"]),
    "biases of another number of classes": (lambda: LinearClassifier(np.eye(3), np.zeros(2)), ["b", "(2,)"]),
    "vector bias of a binary classifier": (lambda: LinearClassifier([1.0, 2.0], [0.0, 1.0]), ["b", "(2,)"]),
    "one row of weights": (lambda: LinearClassifier([[1.0, 2.0]], [0.0]), ["w"]),
    "binary classifier on three classes": (lambda: LinearClassifier([1.0, 0.0, 0.0], 0.0).class_risks(THREE), ["3"]),
    "classifier of another dimension": (lambda: LinearClassifier([1.0], 0.0).class_risks(MODEL), ["2"]),
    "margins of three classes": (lambda: ROWS.margins(THREE), ["binary"]),
    "samples of another dimension": (lambda: BINARY.predict(np.zeros((4, 3))), ["X", "(4, 3)"]),
    "samples not a matrix": (lambda: BINARY.scores(np.zeros(2)), ["X", "(2,)"]),
    "labels of a class that does not exist": (lambda: BINARY.class_errors(X, [0, 1, 2]), ["y", "2"]),
    "negative labels": (lambda: BINARY.attack(X, [0, 1, -1], Threat("l2", 0.1)), ["y", "-1"]),
    "errors of no samples": (lambda: BINARY.class_errors(np.zeros((0, 2)), []), ["y", "n = 0"]),
    "average with other priors": (lambda: BINARY.class_risks(MODEL).average([0.5, 0.6]), ["priors", "1.1"]),
    "lambda above 1": (lambda: FixedLambda(1.5), ["lam", "1.5"]),
    "NaN lambda": (lambda: FixedLambda(NAN), ["lam"]),
    "Beta exponent 0": (lambda: BetaLambda(0.0), ["a", "> 0"]),
    "zero-way mix": (lambda: UniformMix(0), ["m", "0"]),
    "fractional way": (lambda: UniformMix(2.5), ["m", "2.5"]),
    "Dirichlet exponent below 0": (lambda: DirichletMix(3, -1.0), ["a", "-1"]),
    "share above 1": (lambda: WithOriginal(NoMix(), 1.2), ["share", "1.2"]),
    "mixing no samples": (lambda: mix_within_class(np.zeros((0, 2)), [], NoMix(), rng()), ["n = 0"]),
    "mixing with NaN": (lambda: mix_within_class([[NAN]], [0], NoMix(), rng()), ["X", "finite"]),
    "no copies": (lambda: mix_within_class(X, Y, NoMix(), rng(), copies=0), ["copies", "0"]),
    "labels of other samples": (lambda: mix_within_class(X, [0, 1], NoMix(), rng()), ["y", "(2,)"]),
    "direction of NaN": (lambda: direction(np.array([NAN, 1.0]), Threat("l2", 0.1)), ["delta", "finite"]),
    "threshold with K = 0": (lambda: threshold(1.0, 0.0), ["K", "> 0"]),
    "threshold with r < 0": (lambda: threshold(1.0, 2.0, -1.0), ["r", "-1"]),
    "threshold with c = 0": (lambda: threshold(1.0, 2.0, c_plus=0.0), ["c_plus", "> 0"]),
    "threshold with NaN": (lambda: threshold(NAN, 2.0), ["tau", "finite"]),
    "optimum with NaN": (lambda: optimum([1.0, NAN], 2.0), ["tau", "finite"]),
    "grids that do not broadcast": (lambda: optimum(np.ones(2), np.ones(3)), ["broadcast"]),
    "negative spread ratio of a minimax risk": (lambda: minimax_risk(1.0, -1.0), ["K", "-1"]),
    "negative tolerance": (lambda: fairness_constrained(6.0, 2.0, 1.0, -0.1), ["delta", "-0.1"]),
    "random optimum with r = 0": (lambda: random_optimum(1.0, 2.0, 0.0, BetaLambda(1.0)), ["r", "> 0"]),
    "reweight with K < 0": (lambda: reweight(1.0, -2.0), ["K", "-2"]),
    "remargin with NaN": (lambda: remargin(NAN, 2.0), ["tau", "finite"]),
    "mix_easy with r = 0": (lambda: mix_easy(6.0, 2.0, 0.0), ["r", "> 0"]),
    "hinge with c = 0": (lambda: hinge(6.0, 2.0, 0.0), ["c", "> 0"]),
    "hinge without a margin": (lambda: hinge(-1.0, 2.0), ["tau", "-1"]),
    "exponential with r = 0": (lambda: exponential(6.0, 2.0, 0.0), ["r", "> 0"]),
    "hazard of 0": (lambda: inverse_hazard(0.0), ["y", "> 0"]),
    "unknown loss": (lambda: minimise(6.0, 2.0, loss="cubic"), ["loss", "cubic", "hinge"]),
    "minimise with K = 0": (lambda: minimise(6.0, 0.0), ["K", "> 0"]),
    "minimise with c = 0": (lambda: minimise(6.0, 2.0, c_minus=0.0), ["c_minus", "> 0"]),
    "minimise with NaN": (lambda: minimise(NAN, 2.0), ["tau", "finite"]),
    "threshold training without samples": (lambda: threshold_erm([], []), ["n = 0"]),
    "threshold training of one class": (lambda: threshold_erm([1.0, 2.0], [1, 1]), ["both", "1"]),
    "threshold training with NaN": (lambda: threshold_erm([1.0, NAN], [0, 1]), ["scores", "finite"]),
    "three labels": (lambda: threshold_erm([1.0, 2.0, 3.0], [0, 1, 2]), ["y", "2"]),
    "negative weight": (lambda: threshold_erm([1.0, 2.0], [0, 1], (1.0, -1.0)), ["weights", "-1"]),
    "three weights": (lambda: threshold_erm([1.0, 2.0], [0, 1], (1.0, 1.0, 1.0)), ["weights", "(3,)"]),
    "score matrix": (lambda: threshold_erm([[1.0], [2.0]], [0, 1]), ["scores", "(2, 1)"]),
    "labels 1 and 2": (lambda: robust_threshold_erm(X, [1, 2, 2], [1.0, 0.0]), ["y", "0..1", "1..2"]),
    "too few labels": (lambda: robust_threshold_erm(X, [0, 1], [1.0, 0.0]), ["y", "(2,)"]),
    "labels to be cut": (lambda: robust_threshold_erm(X, [0, 0.7, 1], [1.0, 0.0]), ["y", "integers"]),
    "labels in words": (lambda: as_labels("y", ["cat", "dog"], 2), ["y", "integers", "<U3"]),
    "NaN label": (lambda: as_labels("y", [0.0, NAN], 2), ["y", "integers", "NaN"]),
    "infinite label": (lambda: as_labels("y", [0.0, INF], 2), ["y", "integers"]),
    "label beyond int64": (lambda: as_labels("y", [0.0, 1e300], 2), ["y", "integers"]),
    "ragged labels": (lambda: as_labels("y", [[0], [1, 2]], 2), ["y", "lengths"]),
    "count in words": (lambda: as_count("n", "a"), ["n", "whole number", "'a'"]),
    "count as text": (lambda: as_count("n", "3"), ["n", "'3'"]),
    "NaN count": (lambda: as_count("n", NAN), ["n", "nan"]),
    "infinite count": (lambda: as_count("n", INF), ["n", "inf"]),
    "no count": (lambda: as_count("n", None), ["n", "None"]),
    "list of counts": (lambda: as_count("n", np.array([1, 2])), ["n", "array"]),
    "fraction in words": (lambda: as_fraction("level", "a"), ["level", "str"]),
    "NaN fraction": (lambda: as_fraction("level", NAN), ["level", "finite"]),
    "name of a norm for a threat": (lambda: as_threat("l2"), ["threat", "got 'l2'", 'pass Threat("l2", eps)']),
    "radius for a threat": (lambda: as_threat(0.1), ["threat", "0.1", 'pass Threat("linf", eps)']),
    "threshold training under a name": (lambda: robust_threshold_erm(X, Y, [1.0, 0.0], "linf"), ["threat", "'linf'"]),
    "worst of no classes": (lambda: metrics.worst_class([]), ["accuracy", "(0,)"]),
    "worst of a NaN": (lambda: metrics.worst_class([0.1, NAN]), ["accuracy", "finite"]),
    "disparity of no classes": (lambda: metrics.disparity([]), ["accuracy", "(0,)"]),
    "disparity of a number": (lambda: metrics.disparity(0.5), ["accuracy", "()"]),
    "spread of no classes": (lambda: metrics.nsd([]), ["accuracy", "(0,)"]),
    "lowest of a NaN": (lambda: metrics.bottom_k([0.1, NAN], 1), ["accuracy", "finite"]),
    "lowest of too many": (lambda: metrics.bottom_k([0.1, 0.2], 3), ["k", "3"]),
    "lowest none": (lambda: metrics.bottom_k([0.1, 0.2], 0), ["k", "0"]),
    "lowest one and a half": (lambda: metrics.bottom_k([0.1, 0.2], 1.5), ["k", "1.5"]),
    "negative accuracy in a mean": (lambda: metrics.nrr(-0.1, 0.1), ["clean", "-0.1"]),
    "direction of another dimension": (lambda: robust_threshold_erm(X, Y, [1.0]), ["(3, 2)"]),
}


@pytest.mark.parametrize("call, words", BAD.values(), ids=BAD.keys())
def test_malformed_input_is_refused_in_one_helpful_line(call, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert not isinstance(caught.value, AssumptionError)
    message = str(caught.value)
    assert "\n" not in message
    assert "got" in message
    assert ";" in message, "no remedy"
    assert len(message) < 200
    for word in words:
        assert word in message


OUTSIDE = {
    "three classes have no closed form": lambda: optimal_classifier(THREE),
    "nor have anisotropic classes": lambda: optimal_classifier(ClassGaussians(MEANS, [[1.0, 2.0], [1.0, 1.0]])),
    "nor classes without spread": lambda: optimal_classifier(ClassGaussians(MEANS, 0.0)),
    "nor two different random laws": lambda: optimal_classifier(MODEL, mix=[BetaLambda(1.0), BetaLambda(2.0)]),
    "no surrogate minimiser": lambda: minimise(-1.0, 2.0),
}


@pytest.mark.parametrize("call", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_formula_outside_its_hypotheses_says_which_one_failed(call):
    with pytest.raises(AssumptionError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 30
