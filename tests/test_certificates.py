"""A bound is valid whatever point it comes from, and tight at an optimum."""
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import numpy as np
import pytest
from scipy.special import expit

from instances import gaussians, lift, samples, threats
from linfair.norms import Threat
from linfair.solvers import fast
from linfair.solvers.certificates import erm_lower_bound, kappa_bracket


def objective(X, y, threat, w, b, loss, ridge, weights=None):
    s = 2.0 * y - 1.0
    m = s * (X @ w + b) - threat.radii(2)[y] * threat.dual_norm(w)
    value = np.logaddexp(0, -m) if loss == "logistic" else np.maximum(0, 1 - m)
    return np.average(value * (1 if weights is None else weights)) + ridge / 2 * w @ w


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_any_dual_point_bounds_every_classifier(loss, ridge, seed):
    rng = np.random.default_rng(seed)
    X, y = samples(rng, 80, 4)
    weights = rng.uniform(0.5, 2.0, 80)
    for threat in threats(rng, 4):
        w, b = rng.standard_normal(4) * 0.3, rng.standard_normal() * 0.1
        near = expit(-(2 * y - 1.0) * (X @ w + b))
        for alpha in (near, rng.random(80), np.full(80, 0.5)):
            bound = erm_lower_bound(X, y, threat, alpha, loss=loss, ridge=ridge, weights=weights)
            assert bound >= 0.0
            for scale in (0.01, 0.1, 0.3, 1.0):
                v, c = scale * rng.standard_normal((20, 4)), scale * rng.standard_normal(20)
                assert (
                    min(objective(X, y, threat, a, k, loss, ridge, weights) for a, k in zip(v, c, strict=True))
                    >= bound - 1e-12
                )
            found = fast.robust_erm(X, y, threat, ridge=ridge, weights=weights)
            if loss == "logistic" and found.classifier is not None:
                assert found.objective >= bound - 1e-12


def test_the_bound_closes_at_an_optimum_from_a_rough_dual_point():
    rng = np.random.default_rng(0)
    X, y = samples(rng, 200, 5)
    for threat in threats(rng, 5):
        found = fast.robust_erm(X, y, threat)
        w, b = found.classifier.w, found.classifier.b
        m = (2 * y - 1.0) * (X @ w + b) - threat.radii(2)[y] * threat.dual_norm(w)
        exact = erm_lower_bound(X, y, threat, expit(-m))
        rough = erm_lower_bound(X, y, threat, expit(-m) + 1e-3 * rng.standard_normal(200))
        assert found.objective - 1e-7 <= exact <= found.objective + 1e-12
        assert found.objective - 1e-3 <= rough <= found.objective + 1e-12


def test_a_point_that_cannot_be_repaired_gives_the_trivial_bound():
    X, y = samples(np.random.default_rng(1), 30, 3)
    assert erm_lower_bound(X, y, Threat("l2", 0.1), y.astype(float)) == 0.0  # weight on one class only, and no room


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"alpha": np.ones(3)}, "alpha must have shape"),
        ({"zeta": np.ones(3)}, "zeta must have shape"),
        ({"ridge": -1.0}, "ridge must be >= 0"),
        ({"loss": "square"}, "loss must be one of"),
        ({"weights": -np.ones(20)}, "weights must be > 0"),
    ],
)
def test_malformed_input_says_what_to_do(arguments, message):
    X, y = samples(np.random.default_rng(2), 20, 4)
    with pytest.raises(ValueError, match=message) as error:
        erm_lower_bound(X, y, Threat("linf", 0.1), **{"alpha": np.full(20, 0.5), **arguments})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(6))
def test_kappa_bracket_contains_every_direction(seed):
    rng = np.random.default_rng(seed)
    model = gaussians(rng, 4)
    delta = model.means[1] - model.means[0]
    for threat in threats(rng, 4, eps=0.05):
        found = fast.minimax_fair(model, threat)
        if found.classifier is None:
            continue
        ebar = threat.radii(2).sum()
        for scale in (0.0, 1e-6, 1e-3, 0.1, 1.0):
            low, high = kappa_bracket(model, threat, found.classifier.w + scale * rng.standard_normal(4))
            assert low <= found.info["kappa_high"] + 1e-12
            assert high >= found.info["kappa_low"] - 1e-12
        for w in rng.standard_normal((50, 4)):
            assert (w @ delta - ebar * threat.dual_norm(w)) / model.sds(w).sum() <= found.info["kappa_high"] + 1e-12


def test_kappa_bracket_is_second_order_in_the_direction():
    rng = np.random.default_rng(3)
    model = gaussians(rng, 6)
    w = fast.minimax_fair(model, Threat("l2", 0.1)).classifier.w
    step = rng.standard_normal(6)
    brackets = [kappa_bracket(model, Threat("l2", 0.1), w + h * step) for h in (1e-2, 1e-3, 1e-4)]
    gaps = [high - low for low, high in brackets]
    assert gaps[1] < 0.02 * gaps[0]
    assert gaps[2] < 0.02 * gaps[1]


def test_a_lift_must_fit_the_features():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="lift must have one column a feature"):
        kappa_bracket(gaussians(rng, 4), Threat("linf", 0.1, lift(rng, 3)), np.ones(4))
