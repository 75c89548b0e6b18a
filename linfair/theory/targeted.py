"""Targeted attacks in training, in the setting of FAIR-TAT (Medi, Jung and Keuper 2025)."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, ndtri
from scipy.stats import qmc

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import mean_of


def _two_classes(delta, K, norm, eps):
    model = ClassGaussians.two_class(delta, 1.0, K)
    classifier = LinearClassifier(model.means[1] - model.means[0], 0.0)
    return {
        "samples on which the attacks differ": 0.0,
        "robust risk of +": classifier.class_risks(model, Threat(norm, eps)).value[1],
    }


def _two_classes_twin(n, rng, delta, K, norm, eps):
    model, threat = ClassGaussians.two_class(delta, 1.0, K), Threat(norm, eps)
    classifier = LinearClassifier(model.means[1] - model.means[0], 0.0)
    X, y = model.sample([n, n], rng)
    untargeted = classifier.attack(X, y, threat)
    sign = 1.0 - 2.0 * y[:, None]  # the only other class is the target: move towards it
    targeted = X + eps * sign * threat.worst_shift(classifier.w)
    found = classifier.class_errors(targeted, y)
    return {
        "samples on which the attacks differ": Estimate(float((untargeted != targeted).any(1).sum()), 0.0),
        "robust risk of +": Estimate(float(found.rate[1]), float(found.se[1])),
    }


TWO_CLASSES = Theorem(
    id="targeted-two-classes",
    kind="theorem",
    title="With two classes a targeted attack is the untargeted one",
    statement=(
        "With two classes the only target is the other class, so targeted and untargeted attacks coincide sample by "
        "sample: targeted adversarial training changes nothing in a binary model."
    ),
    setting="Medi, Jung and Keuper 2025 (FAIR-TAT)",
    ours="The remark: three classes are the fewest in which the method can be studied.",
    assumptions=(Assumption("eps >= 0", lambda eps, **_: eps >= 0),),
    defaults={"delta": (2.0, 1.0, -0.5), "K": 2.0, "norm": "linf", "eps": 0.3},
    analytic_values=_two_classes,
    empirical_values=_two_classes_twin,
    conclusion=lambda value: value["samples on which the attacks differ"] == 0,
    twin="exact",
    figure="claims",
)


def train(X, y, n_classes, eps, targets=None, start=None):
    """Multi-class adversarial training with a logistic loss on pairwise robust margins under an l2 attack; convex.

    ``m_ij = (w_y - w_j).x_i + b_y - b_j - eps ||w_y - w_j||_2``. Untargeted: the loss of the smallest m_ij. Targeted:
    the mean of
    the losses over targets j with weights ``targets[y, j]``.
    """
    d = X.shape[1]
    one = np.eye(n_classes)

    def objective(flat):
        W, b = flat[: n_classes * d].reshape(n_classes, d), flat[n_classes * d :]
        total, grad_W, grad_b = 0.0, np.zeros_like(W), np.zeros_like(b)
        for k in range(n_classes):
            own = X[y == k]
            rivals = [j for j in range(n_classes) if j != k]
            gap = W[k] - W[rivals]
            length = np.sqrt((gap**2).sum(1) + 1e-12)
            m = own @ gap.T + b[k] - b[rivals] - eps * length
            if targets is None:
                share = np.zeros_like(m)
                share[np.arange(len(own)), m.argmin(1)] = 1.0
            else:
                share = np.broadcast_to(targets[k, rivals], m.shape)
            total += float((share * np.logaddexp(0.0, -m)).sum())
            pull = -share * expit(-m)  # derivative of the loss in m
            for j, column, direction, norm in zip(rivals, pull.T, gap, length, strict=True):
                step = np.outer(one[k] - one[j], column @ own - eps * column.sum() * direction / norm)
                grad_W += step
                grad_b += (one[k] - one[j]) * column.sum()
        return total / len(X), np.concatenate([grad_W.ravel(), grad_b]) / len(X)

    x0 = np.zeros(n_classes * (d + 1)) if start is None else start
    if start is None:
        x0[: n_classes * d] = np.stack([X[y == k].mean(0) for k in range(n_classes)]).ravel()
    flat = minimize(objective, x0, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}).x
    return LinearClassifier(flat[: n_classes * d].reshape(n_classes, d), flat[n_classes * d :]), flat


def _three(means, variances):
    return ClassGaussians(np.asarray(means), np.asarray(variances))


def _studies(X, y, model, eps):
    """Disparities of untargeted, uniformly targeted and confusion-targeted training on one sample."""
    threat = Threat("l2", eps)
    plain, flat = train(X, y, 3, eps)
    scores = plain.scores(X)
    confusion = np.zeros((3, 3))
    for k in range(3):  # how often each rival comes second: where this class loses its samples
        second = np.argsort(np.where(np.arange(3) == k, -np.inf, scores[y == k]), axis=1)[:, -1]
        confusion[k] = np.bincount(second, minlength=3) / max((y == k).sum(), 1)
    uniform, _ = train(X, y, 3, eps, (1 - np.eye(3)) / 2, flat)
    confused, _ = train(X, y, 3, eps, confusion, flat)
    trained = {"untargeted": plain, "uniform targets": uniform, "targets by confusion": confused}
    risks = {name: f.class_risks(model, threat).value for name, f in trained.items()}
    return (
        {f"risk of the widest class, {name}": risk[2] for name, risk in risks.items()}
        | {f"disparity, {name}": np.ptp(risk) for name, risk in risks.items()}
        | {f"worst risk, {name}": risk.max() for name, risk in risks.items()}
    )


@cache
def _population(means, variances, eps, log2_n=13):
    """The population minimisers, on a quasi-Monte Carlo sample of each class."""
    model = _three(means, variances)
    points = ndtri(np.clip(qmc.Sobol(2, rng=0).random(2**log2_n), 1e-12, 1 - 1e-12))
    X = np.concatenate([m + points * np.sqrt(v) for m, v in zip(model.means, np.asarray(variances), strict=True)])
    return _studies(X, np.repeat(np.arange(3), len(points)), model, eps)


def _three_classes(means, variances, eps):
    return dict(_population(means, variances, eps))


def _three_twin(n, rng, means, variances, eps):
    model = _three(means, variances)
    runs = [_studies(*model.sample([max(n // 20, 200)] * 3, rng), model, eps) for _ in range(16)]
    return {name: mean_of([run[name] for run in runs]) for name in runs[0] if name.startswith("risk")}


THREE_CLASSES = Theorem(
    id="targeted-three-classes",
    kind="theorem",
    title="With three classes targeted training moves the gap: a Gaussian study",
    statement=(
        "Three Gaussian classes in the plane, linear classifiers, logistic loss on pairwise robust margins. "
        "Untargeted training attacks the rival nearest to each sample; targeted training draws the target, uniformly "
        "or by how often the rival is confused with the class. The population minimisers and their class risks "
        "differ; which is fairer depends on the geometry."
    ),
    setting="Medi, Jung and Keuper 2025 (FAIR-TAT) draw targets by the class-wise distribution of false predictions",
    ours="The study. The population minimisers are numerical (quasi-Monte Carlo), not closed forms.",
    assumptions=(Assumption("three classes, eps >= 0", lambda means, eps, **_: len(means) == 3 and eps >= 0),),
    defaults={"means": ((0.0, 0.0), (2.4, 0.0), (0.8, 2.6)), "variances": (0.6, 0.8, 1.2), "eps": 0.3},
    analytic_values=_three_classes,
    empirical_values=_three_twin,
    conclusion=lambda value: abs(value["disparity, uniform targets"] - value["disparity, untargeted"]) > 1e-3,
    twin="trained",
    figure="claims",
)

THEOREMS = (TWO_CLASSES, THREE_CLASSES)
