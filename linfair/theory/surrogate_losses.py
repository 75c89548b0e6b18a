"""Population minimisers of the hinge and logistic losses, beside classifiers trained on samples."""

from __future__ import annotations

import numpy as np

from linfair.gaussian import ClassGaussians
from linfair.mixing import UniformMix
from linfair.norms import Threat
from linfair.solvers import surrogates
from linfair.solvers.closed_form import reduce, threshold
from linfair.theory.same_class_mixup import K_ABOVE_1, ZHONG
from linfair.theory.theorem import Assumption, Theorem
from linfair.theory.twins import disparity_at, mean_of

DEFAULTS = {"delta": (4.0, 2.0), "K": 2.0, "norm": "linf", "eps": 0.4, "m": 2}
SEPARABLE = Assumption("||delta||_p > 2 eps", lambda delta, norm, eps, **_: bool(Threat(norm).ball.of(delta) > 2 * eps))
TRAININGS = 32


def _model(delta, K, norm, eps):
    model, threat = ClassGaussians.two_class(delta, 1.0, K), Threat(norm, eps)
    return model, threat, reduce(model, threat).tau


def _trained(loss, n, rng, delta, K, norm, eps, m):
    """Disparities of robust ERM on m-way mixed samples, weights and threshold both trained."""
    from linfair.solvers import convex, fast

    model, threat, _ = _model(delta, K, norm, eps)
    gaps = []
    for _ in range(TRAININGS):
        X, y = model.sample_mixed([max(n // 100, 100)] * 2, UniformMix(m), rng)
        found = fast.robust_erm(X, y, threat) if loss == "logistic" else convex.robust_erm(X, y, threat, loss="hinge")
        gaps.append(found.classifier.class_risks(model, threat).disparity)
    return {"robust disparity": mean_of(gaps)}


def _hinge(delta, K, norm, eps, m):
    _, _, tau = _model(delta, K, norm, eps)
    a = tau / (K + 1)
    c = 1e-4 * a * a
    mixed, plain, fine = (surrogates.hinge(tau, K, c) for c in (1 / m, 1.0, c))
    return {
        "robust disparity": disparity_at(mixed.u, tau, K),
        "robust disparity without mixup": disparity_at(plain.u, tau, K),
        "0-1 loss instead": disparity_at(threshold(tau, K, 1, c_minus=1 / m, c_plus=1 / m)[0], tau, K),
        "u - v": mixed.u - mixed.v,
        "u - v without mixup": plain.u - plain.v,
        "u - v over c (K - 1/K) / (2 a) at c = 1e-4 a^2": (fine.u - fine.v) / (c * (K - 1 / K) / (2 * a)),
    }


HINGE = Theorem(
    id="hinge-minimiser",
    kind="theorem",
    title="The robust hinge loss has a closed-form population minimiser",
    statement=(
        "Equal priors, haz(t) = phi(t)/Phi(-t), t = haz^{-1}(a/sqrt c), h = (K+1) sqrt(c) (haz(t) - t)/2: u = h + "
        "sqrt(c) t, v = h/K + sqrt(c) t, ||w|| sigma = 1/h. Mixup narrows u - v, which vanishes like c (K - 1/K)/(2a)"
        " instead of the 0-1 loss's c log K / a."
    ),
    setting=f"robust hinge training, otherwise {ZHONG}",
    ours="The closed form and the rate.",
    assumptions=(K_ABOVE_1, SEPARABLE, Assumption("m >= 2", lambda m, **_: m >= 2)),
    defaults=DEFAULTS,
    analytic_values=_hinge,
    empirical_values=lambda n, rng, **p: _trained("hinge", n, rng, **p),
    conclusion=lambda value: (
        0 < value["u - v"] < value["u - v without mixup"]  # the disparities, where these do not underflow
        and abs(value["u - v over c (K - 1/K) / (2 a) at c = 1e-4 a^2"] - 1) < 1e-2
    ),
    twin="trained",
    figure="mixup_lambda",
)


def _logistic(delta, K, norm, eps, m):
    _, _, tau = _model(delta, K, norm, eps)
    a = tau / (K + 1)
    tiny = (a / (10 * K)) ** 2
    mixed, plain, fine = (surrogates.minimise(tau, K, c_minus=c, c_plus=c) for c in (1 / m, 1.0, tiny))
    return {
        "robust disparity": disparity_at(mixed.u, tau, K),
        "robust disparity without mixup": disparity_at(plain.u, tau, K),
        "0-1 loss instead": disparity_at(threshold(tau, K, 1, c_minus=1 / m, c_plus=1 / m)[0], tau, K),
        "u - v": mixed.u - mixed.v,
        "u - v without mixup": plain.u - plain.v,
        "u - v over c log(K) / a at c = (a / (10 K))^2": (fine.u - fine.v) / (tiny * np.log(K) / a),
    }


LOGISTIC = Theorem(
    id="logistic-minimiser",
    kind="theorem",
    title="Robust logistic training shares the 0-1 loss's m-way limit",
    statement=(
        "The population minimiser of the robust logistic loss has the same direction as that of every nonincreasing "
        "loss; as c -> 0, u - v ~ c log(K/r)/a, the rate of the 0-1 loss. Its threshold is numerical (a "
        "convex problem in two unknowns)."
    ),
    setting=f"robust logistic training, otherwise {ZHONG}",
    ours="The statement (asymptotics checked numerically).",
    assumptions=(K_ABOVE_1, SEPARABLE, Assumption("m >= 2", lambda m, **_: m >= 2)),
    defaults=DEFAULTS,
    analytic_values=_logistic,
    empirical_values=lambda n, rng, **p: _trained("logistic", n, rng, **p),
    conclusion=lambda value: (
        0 < value["u - v"] < value["u - v without mixup"]
        and abs(value["u - v over c log(K) / a at c = (a / (10 K))^2"] - 1) < 0.05
    ),
    twin="trained",
    figure="mixup_lambda",
)

THEOREMS = (HINGE, LOGISTIC)
