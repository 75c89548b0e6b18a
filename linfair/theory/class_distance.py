"""Disparity against class distance, in the setting of DAFA (Lee et al. 2024)."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from linfair.solvers.closed_form import optimum
from linfair.theory.same_class_mixup import K_ABOVE_1
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import disparity_at, disparity_of, margin_errors, mean_of, trained_margins

DAFA = "Lee et al. 2024 (DAFA), in the model of Xu et al. 2021"
NEAR_FAR = Assumption("0 < tau_near < tau_far", lambda tau_near, tau_far, **_: 0 < tau_near < tau_far)
REPRESENTABLE = Assumption(
    "tau_far <= 35 (K + 1) (risks underflow beyond)", lambda tau_far, K, **_: tau_far <= 35 * (K + 1)
)


def _interior_near(tau_near, K, r=1.0, **_):
    return bool(optimum(tau_near, K, r).interior_optimal)


INTERIOR = Assumption("an interior optimum at the smaller distance", _interior_near)


def _gap(tau_near, tau_far, K, r):
    grid = optimum(np.linspace(tau_near, tau_far, 200), K, r).disparity
    return {
        "robust disparity, near": grid[0],
        "robust disparity, far": grid[-1],
        "largest increase of |disparity| between neighbours": np.diff(np.abs(grid)).max(),
    }


def _gap_twin(n, rng, tau_near, tau_far, K, r):
    return {
        f"robust disparity, {name}": mean_of(disparity_at(trained_margins(tau, K, n, rng, weights=(1.0, r)), tau, K))
        for name, tau in (("near", tau_near), ("far", tau_far))
    }


DISTANCE = Theorem(
    id="distance-gap",
    kind="theorem",
    title="Disparity falls with class distance",
    statement=(
        "Distance enters through tau = T/sigma only, and |D_rob(f_rob)| decreases strictly in tau wherever the "
        "interior optimum exists, r != K: dD/dtau = phi(u) (v - (K/r) u) / (v + K u). With eps = 0 the same holds for"
        " the natural disparity of natural training."
    ),
    setting=DAFA,
    ours=(
        "The statement for any priors and l_p norm; the ratio and the amplification behave otherwise (see the limits)."
    ),
    assumptions=(
        K_ABOVE_1,
        NEAR_FAR,
        REPRESENTABLE,
        Assumption("r > 0, r != K", lambda r, K, **_: r > 0 and r != K),
        INTERIOR,
    ),
    defaults={"tau_near": 3.0, "tau_far": 6.0, "K": 2.0, "r": 1.0},
    analytic_values=_gap,
    empirical_values=_gap_twin,
    conclusion=lambda value: value["largest increase of |disparity| between neighbours"] < 0,
    twin="trained",
    figure="class_distance",
)


def _ratio(tau_near, tau_far, K, r):
    found = optimum(np.array([tau_near, tau_far, 100.0 * (K + 1.0)]), K, r)
    near, far, limit = np.exp(log_ndtr(-found.v) - log_ndtr(-found.u))
    return {"risk ratio, near": near, "risk ratio, far": far, "risk ratio, tau = 100 (K + 1)": limit, "K / r": K / r}


def ratio_twin(tau, K, r, n, rng):
    """R_+/R_- of the optimal classifier on fresh samples, its error by the delta method; and the disparity."""
    found = margin_errors(tau, K, float(optimum(tau, K, r).u), n, rng, r)
    rate = np.where(found.rate == 0.0, 0.5 / (found.counts + 1.0), found.rate)  # half an error, as its error has it
    ratio = float(rate[1] / rate[0])
    return Estimate(ratio, ratio * float(np.hypot(*(found.se / rate)))), disparity_of(found)


def _ratio_twin(n, rng, tau_near, tau_far, K, r):
    return {
        f"risk ratio, {name}": ratio_twin(tau, K, r, 10 * n, rng)[0]
        for name, tau in (("near", tau_near), ("far", tau_far))
    }


def _approaches(value):
    gaps = [value[f"risk ratio, {name}"] - value["K / r"] for name in ("near", "far", "tau = 100 (K + 1)")]
    same_side = len({np.sign(gap) for gap in gaps}) == 1
    return same_side and abs(gaps[0]) > abs(gaps[1]) > abs(gaps[2]) and abs(gaps[2]) < 1e-2 * value["K / r"]


RATIO = Theorem(
    id="distance-ratio",
    kind="theorem",
    title="The ratio of class risks tends to K/r, not to 1",
    statement=(
        "R_+/R_- is monotone in distance and tends to K/r: it falls to K/r for r < K and rises to it for r > K. The "
        "hard class keeps failing K/r times as often however far the classes are, because x Phi(-x)/phi(x) increases "
        "to 1."
    ),
    setting=DAFA,
    ours="The theorem.",
    assumptions=(
        K_ABOVE_1,
        NEAR_FAR,
        Assumption("tau_far <= 50 (K + 1)", lambda tau_far, K, **_: tau_far <= 50 * (K + 1)),
        Assumption("r > 0, r != K", lambda r, K, **_: r > 0 and r != K),
        INTERIOR,
    ),
    defaults={"tau_near": 3.0, "tau_far": 6.0, "K": 2.0, "r": 1.0},
    analytic_values=_ratio,
    empirical_values=_ratio_twin,
    conclusion=_approaches,
    twin="Monte Carlo",
    figure="class_distance",
)


def amplification(tau, K, e):
    """``G = D_rob(f_rob) - D_nat(f_nat)`` at natural distance tau (sds of -) when the attack takes 2 e of it; r = 1."""
    tau = np.asarray(tau, float)
    return optimum(tau - 2 * e, K).disparity - optimum(tau, K).disparity


def _amplification(tau_near, tau_far, K, e):
    grid = amplification(np.linspace(tau_near, tau_far, 200), K, e)
    return {
        "amplification, near": grid[0],
        "amplification, far": grid[-1],
        "largest increase between neighbours": np.diff(grid).max(),
    }


def amplification_twin(n, rng, tau_near, tau_far, K, e):
    """Trained thresholds, natural and robust, at both distances."""
    found = {}
    for name, tau in (("near", tau_near), ("far", tau_far)):
        robust = disparity_at(trained_margins(tau - 2 * e, K, n, rng), tau - 2 * e, K)
        natural = disparity_at(trained_margins(tau, K, n, rng), tau, K)
        found[f"amplification, {name}"] = mean_of(robust - natural)
    return found


AMPLIFICATION = Theorem(
    id="distance-amplification",
    kind="theorem",
    title="What adversarial training adds to the gap falls with distance",
    statement=(
        "G = D_rob(f_rob) - D_nat(f_nat) decreases in class distance as long as the robust risk of the hard class is "
        "at most 1/2, that is tau_0 - 2e >= sqrt(2 log K) for equal priors (tau_0 the natural distance, 2e what the "
        "attack takes of it)."
    ),
    setting=DAFA,
    ours="The condition: nearer than that it can rise (limit-amplification).",
    assumptions=(
        K_ABOVE_1,
        NEAR_FAR,
        REPRESENTABLE,
        Assumption("e > 0", lambda e, **_: e > 0),
        Assumption(
            "tau_near - 2e >= sqrt(2 log K)", lambda tau_near, K, e, **_: tau_near - 2 * e >= np.sqrt(2 * np.log(K))
        ),
    ),
    defaults={"tau_near": 3.0, "tau_far": 6.0, "K": 2.0, "e": 0.5},
    analytic_values=_amplification,
    empirical_values=amplification_twin,
    conclusion=lambda value: value["largest increase between neighbours"] < 0,
    twin="trained",
    figure="class_distance",
)

THEOREMS = (DISTANCE, RATIO, AMPLIFICATION)
