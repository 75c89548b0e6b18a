"""The frontier of the robust class risks for any covariances, and the fairness-constrained optimum on it, certified."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from linfair.norms import Threat
from linfair.solvers import fast
from linfair.solvers.frontier import RiskFrontier
from linfair.theory.minimax import DEFINITE, SEPARABLE, model_of
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import average_of, disparity_of, errors

BOUND = "certified lower bound of the average risk"
RIVALS = "least average risk of 2000 other directions, as fair"


def _problem(cov_minus, cov_plus, delta, norm, eps, r):
    return model_of(cov_minus, cov_plus, delta, r), Threat(norm, eps)


def _closes(allowed, r, **parameters):
    fair = fast.minimax_fair(*_problem(r=r, **parameters))
    return fair.objective <= 0.5 - max(1.0, r) / (1.0 + r) * allowed


def _frontier(allowed, **parameters):
    model, threat = _problem(**parameters)
    frontier = RiskFrontier(model, threat)
    best, fair = frontier.average_risk(allowed), frontier.average_risk(0.0)
    return {
        "average risk": best.objective,
        "disparity": abs(best.risks.disparity),
        BOUND: best.info["lower_bound"],
        RIVALS: _rivals(model, threat, best.classifier.w, allowed),
        "average risk of the equaliser": fair.objective,
    }


def _rivals(model, threat, w, allowed):
    """Directions near and far from w, each with its equaliser and 200 thresholds on either side."""
    rng = np.random.default_rng(0)
    W = w + rng.standard_normal((2000, model.dim)) * np.logspace(-4, 1, 2000)[:, None]
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    gain = W @ (model.means[1] - model.means[0]) - threat.radii(2).sum() * threat.dual_norm(W)
    minus, plus = np.array([model.sds(v) for v in W]).T
    x = (gain / (minus + plus))[:, None] + np.linspace(-3.0, 3.0, 401)
    y = (gain[:, None] - x * minus[:, None]) / plus[:, None]
    as_fair = np.abs(ndtr(-y) - ndtr(-x)) <= allowed
    return np.where(as_fair, model.priors[0] * ndtr(-x) + model.priors[1] * ndtr(-y), np.inf).min()


def _frontier_twin(n, rng, allowed, r, **parameters):
    model, threat = _problem(r=r, **parameters)
    best = RiskFrontier(model, threat).average_risk(allowed)
    found = errors(best.classifier, model, n, rng, threat)
    value, se = disparity_of(found)
    return {
        "average risk": average_of(found, r),
        "disparity": Estimate(-value if best.risks.disparity < 0 else value, se),
    }


FRONTIER = Theorem(
    id="risk-frontier",
    kind="theorem",
    title="The frontier of the class risks is convex for any covariances, and its optima can be certified",
    statement=(
        "F(x) = max {z_+ : z_- >= x} over linear classifiers is convex and decreasing, with slope -sd_-(w)/sd_+(w); "
        "its radius in the direction (sin t, cos t) is the minimax margin kappa* of sds sin(t) sd_-, cos(t) sd_+. The "
        "least average risk with |R_+ - R_-| <= a is on it, and at least the least of pi_- Phi(-x) + pi_+ Phi(-y) on "
        "the chords between its points, a root of a quadratic: branch and bound over t closes the gap."
    ),
    setting="two Gaussian classes; the minimax probability machine of Lanckriet et al. 2002, without a robust margin",
    ours="The frontier with a robust margin, its certificate, and the optimum under a bound on the disparity.",
    assumptions=(
        SEPARABLE,
        DEFINITE,
        Assumption("r > 0 and 0 <= a <= 1", lambda r, allowed, **_: r > 0 and 0 <= allowed <= 1),
        Assumption("Phi(-kappa*) <= 1/2 - max(pi_-, pi_+) a: no class risk above 1/2 can do as well", _closes),
    ),
    defaults={
        "cov_minus": ((4.0, 0.0), (0.0, 0.1)),
        "cov_plus": ((0.1, 0.0), (0.0, 4.0)),
        "delta": (2.0, 2.0),
        "norm": "linf",
        "eps": 0.05,
        "r": 1.0,
        "allowed": 0.1,
    },
    analytic_values=_frontier,
    empirical_values=_frontier_twin,
    conclusion=lambda value: (
        value["average risk"] * (1.0 - 1e-6) <= value[BOUND] <= min(value["average risk"], value[RIVALS])
        and value["average risk"] <= value["average risk of the equaliser"] * (1.0 + 1e-8)
    ),
    twin="Monte Carlo",
    figure="risk_frontier",
)

THEOREMS = (FRONTIER,)
