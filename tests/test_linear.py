"""Exact class risks of linear classifiers against Monte Carlo, quadrature and closed forms; the exact attack."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier, log_risk
from linfair.mixing import BetaLambda, DirichletMix, NoMix, UniformMix, WithOriginal
from linfair.norms import Threat
from oracle import Phi, beta_nodes

NORMS = ["l1", "l2", "linf"]
DUAL = {"l1": np.inf, "l2": 2, "linf": 1}


def random_model(rng, n_classes, d, spread=1.5):
    roots = rng.standard_normal((n_classes, d, d)) / np.sqrt(d)
    covs = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)
    return ClassGaussians(spread * rng.standard_normal((n_classes, d)), covs)


def random_classifier(rng, n_classes, d):
    if n_classes == 2:
        return LinearClassifier(rng.standard_normal(d), 0.3)
    return LinearClassifier(rng.standard_normal((n_classes, d)), 0.3 * rng.standard_normal(n_classes))


def bayes_like(model):
    """argmax_k mu_k.x - |mu_k|^2 / 2: the nearest mean."""
    return LinearClassifier(model.means, -0.5 * np.sum(model.means**2, axis=1))


# --- two classes


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(3))
def test_binary_risk_is_the_normal_tail_of_the_robust_margin(norm, seed):
    rng = np.random.default_rng(seed)
    model, f = random_model(rng, 2, 4), random_classifier(rng, 2, 4)
    threat = Threat(norm, [0.1, 0.3])
    z = [
        (s * (f.w @ mu + f.b) - eps * np.linalg.norm(f.w, DUAL[norm])) / np.sqrt(f.w @ S @ f.w)
        for s, mu, eps, S in zip((-1, 1), model.means, (0.1, 0.3), model.covs, strict=True)
    ]
    risks = f.class_risks(model, threat)
    np.testing.assert_allclose(f.margins(model, threat), z, rtol=1e-12)
    np.testing.assert_allclose(risks.value, Phi(-np.array(z)), rtol=1e-12)
    np.testing.assert_array_equal(risks.lower, risks.value)
    np.testing.assert_array_equal(risks.upper, risks.value)
    assert risks.disparity == pytest.approx(Phi(-z[1]) - Phi(-z[0]))
    assert risks.average([0.2, 0.8]) == pytest.approx(0.2 * Phi(-z[0]) + 0.8 * Phi(-z[1]))


@pytest.mark.parametrize("t", [1.0, 8.0, 11.5, 30.0, 300.0])
def test_log_risk_stays_exact_where_the_risk_underflows(t):
    tail = quad(lambda s: np.exp(-s - s * s / (2 * t * t)), 0, np.inf, epsabs=0, epsrel=1e-12)[0]
    expected = -t * t / 2 - np.log(np.sqrt(2 * np.pi) * t) + np.log(tail)
    model = ClassGaussians.two_class([2 * t], sd_minus=1.0)
    risks = LinearClassifier(np.array([1.0]), 0.0).class_risks(model)
    np.testing.assert_allclose(risks.log_value, expected, rtol=1e-12)
    np.testing.assert_allclose(log_risk(t), expected, rtol=1e-12)


def test_a_risk_of_1e_minus_30_is_a_number():
    value = LinearClassifier(np.array([1.0]), 0.0).class_risks(ClassGaussians.two_class([2 * 11.464025])).value
    np.testing.assert_allclose(value, 1e-30, rtol=1e-5)


@pytest.mark.parametrize("b, risks, label", [(1.0, [1, 0], 1), (-1.0, [0, 1], 0)])
def test_constant_classifier_risks_are_zero_and_one(b, risks, label):
    f, model = LinearClassifier(np.zeros(2), b), ClassGaussians.two_class([1.0, 0.0])
    for threat in (Threat("linf", 0.0), Threat("l2", 5.0)):
        np.testing.assert_array_equal(f.class_risks(model, threat).value, risks)
        np.testing.assert_array_equal(f.class_risks(model, threat, BetaLambda(1.0)).value, risks)
        X, y = model.sample([5, 5], np.random.default_rng(0))
        np.testing.assert_array_equal(f.class_errors(X, y, threat).rate, risks)
    assert (f.predict(X) == label).all()


def test_constant_classifier_of_three_classes():
    f = LinearClassifier(np.zeros((3, 2)), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(f.class_risks(ClassGaussians(np.eye(3, 2), 1.0), Threat("l2", 1.0)).value, [1, 0, 1])


def test_a_class_without_spread_is_right_or_wrong_for_sure():
    model = ClassGaussians([[0.0, 0.0], [1.0, 0.0]], [0.0, 0.0])
    f = LinearClassifier(np.array([1.0, 0.0]), -0.6)
    np.testing.assert_array_equal(f.class_risks(model).value, [0, 0])
    np.testing.assert_array_equal(f.class_risks(model, Threat("l2", 0.5)).value, [0, 1])


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
def test_risks_do_not_depend_on_the_scale_of_the_weights_or_the_origin(scale, shift):
    rng = np.random.default_rng(0)
    model, f, threat = random_model(rng, 2, 3), random_classifier(rng, 2, 3), Threat("l1", 0.2)
    expected = f.class_risks(model, threat).log_value
    scaled = LinearClassifier(scale * f.w, float(scale * f.b)).class_risks(model, threat).log_value
    moved = ClassGaussians(model.means + shift, model.covs)
    shifted = LinearClassifier(f.w, float(f.b - shift * f.w.sum())).class_risks(moved, threat).log_value
    np.testing.assert_allclose(scaled, expected, rtol=1e-9)
    np.testing.assert_allclose(shifted, expected, rtol=1e-9)


def test_two_rows_of_weights_are_the_binary_classifier_of_their_difference():
    rng = np.random.default_rng(0)
    model, W, b = random_model(rng, 2, 3), rng.standard_normal((2, 3)), np.array([0.1, -0.4])
    binary, rows = LinearClassifier(W[1] - W[0], b[1] - b[0]), LinearClassifier(W, b)
    threat = Threat("linf", 0.1)
    np.testing.assert_allclose(rows.class_risks(model, threat).value, binary.class_risks(model, threat).value)
    X, y = model.sample(200, rng)
    np.testing.assert_array_equal(rows.predict(X), binary.predict(X))
    np.testing.assert_array_equal(rows.class_errors(X, y, threat).rate, binary.class_errors(X, y, threat).rate)


def test_an_attack_through_a_lift_costs_the_lifted_dual_norm():
    rng = np.random.default_rng(0)
    lift, _ = np.linalg.qr(rng.standard_normal((6, 3)))
    model, f = random_model(rng, 2, 3), random_classifier(rng, 2, 3)
    budget = 0.2 * np.abs(lift @ f.w).sum()
    z = [
        (s * (f.w @ mu + f.b) - budget) / np.sqrt(f.w @ S @ f.w)
        for s, mu, S in zip((-1, 1), model.means, model.covs, strict=True)
    ]
    np.testing.assert_allclose(f.margins(model, Threat("linf", 0.2, lift=lift)), z)


# --- mixing


@pytest.mark.parametrize("a", [0.3, 1.0, 4.0])
def test_risks_under_a_random_mix_are_scale_mixtures(a):
    model, threat = ClassGaussians.two_class([7.0], 1.0, K=2.0), Threat("l2", 0.5)
    f = LinearClassifier(np.array([1.0]), 0.4)
    c, p = beta_nodes(a)
    expected = [p @ Phi(-z / np.sqrt(c)) for z in f.margins(model, threat)]
    np.testing.assert_allclose(f.class_risks(model, threat, BetaLambda(a)).value, expected, rtol=1e-8)


def test_each_class_is_mixed_by_its_own_law():
    model, f = ClassGaussians.two_class([4.0], 1.0, K=2.0), LinearClassifier(np.array([1.0]), 0.0)
    z = f.margins(model)
    got = f.class_risks(model, mix=[UniformMix(4), NoMix()]).value
    np.testing.assert_allclose(got, Phi([-2 * z[0], -z[1]]))


@pytest.mark.parametrize(
    "n_classes, mix",
    [(2, BetaLambda(0.5)), (2, DirichletMix(3, 1.0)), (3, UniformMix(2)), (4, WithOriginal(UniformMix(3), 0.5))],
)
def test_mixed_risks_match_errors_on_mixed_attacked_samples(n_classes, mix):
    rng = np.random.default_rng(n_classes)
    model, threat, n = random_model(rng, n_classes, 3), Threat("linf", 0.05), 40000
    f = bayes_like(model)
    X, y = model.sample_mixed([n] * n_classes, mix, rng)
    errors, risks = f.class_errors(X, y, threat), f.class_risks(model, threat, mix)
    assert (np.abs(errors.rate - risks.value) < 4.5 * errors.se + 1e-4).all()


# --- more classes


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_classes, d", [(2, 3), (3, 4), (5, 3), (10, 12)])
def test_risks_match_the_errors_of_attacked_samples(n_classes, d, norm):
    rng = np.random.default_rng(n_classes)
    model, n = random_model(rng, n_classes, d), 20000
    f, threat = bayes_like(model), Threat(norm, np.linspace(0.02, 0.1, n_classes).tolist())
    errors = f.class_errors(*model.sample([n] * n_classes, rng), threat)
    risks = f.class_risks(model, threat)
    assert (np.abs(errors.rate - risks.value) < 4.5 * errors.se + 2e-4).all()
    assert (risks.lower <= risks.value).all()
    assert (risks.value <= risks.upper).all()
    assert abs(risks.disparity) == pytest.approx(np.ptp(risks.value))


@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_the_largest_and_the_sum_of_the_pairwise_risks(seed):
    rng = np.random.default_rng(seed)
    model, f, threat = random_model(rng, 4, 3), random_classifier(rng, 4, 3), Threat("l2", 0.1)
    risks = f.class_risks(model, threat)
    for y in range(4):
        pairwise = []
        for j in set(range(4)) - {y}:
            w, b = f.w[y] - f.w[j], f.b[y] - f.b[j]
            pairwise.append(Phi(-(w @ model.means[y] + b - 0.1 * np.linalg.norm(w)) / np.sqrt(w @ model.covs[y] @ w)))
        assert risks.lower[y] == pytest.approx(max(pairwise), rel=1e-10)
        assert risks.upper[y] == pytest.approx(min(1.0, sum(pairwise)), rel=1e-10)


def test_three_classes_on_a_line():
    """Means -3, 0, 3: with midpoint thresholds the middle class pays twice; thresholds +-1.6787 equalise."""
    model = ClassGaussians([[-3.0], [0.0], [3.0]], 1.0)

    def risks(t):
        return LinearClassifier([[-1.0], [0.0], [1.0]], [-t, 0.0, -t]).class_risks(model).value

    tail = Phi(-1.5)
    np.testing.assert_allclose(risks(1.5), [tail, 2 * tail, tail], rtol=1e-12)
    assert np.ptp(risks(1.5)) == pytest.approx(0.0668072013, abs=1e-10)
    np.testing.assert_allclose(risks(1.6787272342), 0.0932052157, atol=2e-10)


def test_the_pairwise_optimum_of_three_classes_on_a_line_is_not_moved_by_mixing():
    model = ClassGaussians([[-3.0], [0.0], [3.0]], 1.0)
    thresholds = np.linspace(1.3, 1.8, 101)
    for c in (1.0, 0.5, 0.1):
        training = [
            LinearClassifier([[-1.0], [0.0], [1.0]], [-t, 0.0, -t]).class_risks(model.scaled(c)).average([1 / 3] * 3)
            for t in thresholds
        ]
        assert thresholds[np.argmin(training)] == pytest.approx(1.5, abs=1e-9)


@pytest.mark.parametrize("rank", [1, 2])
def test_classes_that_live_in_a_subspace(rank):
    """Five classes whose weights span a line or a plane: rivals outnumber the dimensions."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((rank, 4))
    model = ClassGaussians(3 * rng.standard_normal((5, 4)), 1.0)
    f = LinearClassifier(rng.standard_normal((5, rank)) @ basis, rng.standard_normal(5))
    n = 40000
    errors, risks = f.class_errors(*model.sample([n] * 5, rng)), f.class_risks(model)
    assert (np.abs(errors.rate - risks.value) < 4.5 * errors.se + 2e-4).all()


def test_the_risk_of_many_classes_is_a_function_and_follows_the_names_of_the_classes():
    rng = np.random.default_rng(0)
    model, f, threat = random_model(rng, 5, 4), random_classifier(rng, 5, 4), Threat("linf", 0.05)
    first, second = f.class_risks(model, threat).log_value, f.class_risks(model, threat).log_value
    np.testing.assert_array_equal(first, second)
    order = np.array([3, 0, 4, 1, 2])
    permuted = LinearClassifier(f.w[order], f.b[order]).class_risks(
        ClassGaussians(model.means[order], model.covs[order]), threat
    )
    np.testing.assert_allclose(permuted.log_value, first[order], atol=5e-4)


# --- samples and the attack


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_the_attack_stays_in_its_ball_and_attains_the_exact_robust_error(norm, n_classes):
    rng = np.random.default_rng(n_classes)
    model, f = random_model(rng, n_classes, 4), random_classifier(rng, n_classes, 4)
    X, y = model.sample(3000, rng)
    threat = Threat(norm, np.linspace(0.1, 0.4, n_classes).tolist())
    adversarial = f.attack(X, y, threat)
    p = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    assert (np.linalg.norm(adversarial - X, p, axis=1) <= threat.radii(n_classes)[y] * (1 + 1e-12)).all()
    exact, attacked = f.class_errors(X, y, threat), f.class_errors(adversarial, y)
    np.testing.assert_array_equal(attacked.rate, exact.rate)
    np.testing.assert_allclose(f.robust_margins(adversarial, y), f.robust_margins(X, y, threat), atol=1e-10)
    assert f.class_errors(X, y).rate.mean() < exact.rate.mean()


@pytest.mark.parametrize("norm", NORMS)
def test_no_perturbation_in_the_ball_beats_the_robust_margin(norm):
    rng = np.random.default_rng(0)
    f, x = random_classifier(rng, 3, 2), np.array([[0.4, -0.2]])
    t = np.linspace(0, 2 * np.pi, 4001)
    circle = np.stack([np.cos(t), np.sin(t)], axis=1)
    circle /= np.linalg.norm(circle, {"l1": 1, "l2": 2, "linf": np.inf}[norm], axis=1, keepdims=True)
    for y in range(3):
        scores = (x + 0.3 * circle) @ f.w.T + f.b
        brute = (scores[:, [y]] - np.delete(scores, y, axis=1)).min()
        got = f.robust_margins(x, np.array([y]), Threat(norm, 0.3))[0]
        assert got <= brute + 1e-12
        assert got == pytest.approx(brute, abs=3e-3)


def test_scores_and_predictions():
    X = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]])
    f = LinearClassifier([1.0, -1.0], 0.5)
    np.testing.assert_allclose(f.scores(X), [-0.5, -3.0, 0.5])
    assert f.predict(X).tolist() == [0, 0, 1]
    g = LinearClassifier([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 0.25])
    np.testing.assert_allclose(g.scores(X), X @ g.w.T + g.b)
    assert g.predict(X).tolist() == [1, 2, 2]
    assert (f.n_classes, g.n_classes) == (2, 3)


def test_class_errors_count_by_hand():
    f = LinearClassifier([1.0], 0.0)
    X, y = np.array([[-1.0], [0.2], [-2.0], [1.0], [-0.1]]), np.array([0, 0, 0, 1, 1])
    errors = f.class_errors(X, y)
    np.testing.assert_allclose(errors.rate, [1 / 3, 1 / 2])
    assert errors.counts.tolist() == [3, 2]
    np.testing.assert_allclose(errors.se, [np.sqrt(2 / 27), np.sqrt(1 / 8)])
    assert errors.disparity == pytest.approx(1 / 6)
    assert errors.disparity_se == pytest.approx(np.sqrt(2 / 27 + 1 / 8))
    np.testing.assert_allclose(f.class_errors(X, y, Threat("l2", [1.5, 0.0])).rate, [2 / 3, 1 / 2])


def test_a_class_without_samples_has_no_rate():
    errors = LinearClassifier([[1.0], [0.0], [-1.0]], [0.0, 0.1, 0.0]).class_errors(
        np.array([[1.0], [-1.0]]), np.array([0, 2])
    )
    np.testing.assert_array_equal(np.isnan(errors.rate), [False, True, False])
    assert errors.counts.tolist() == [1, 0, 1]


# --- a fact about anisotropic classes that the exact risks must reproduce


def test_adversarial_training_can_remove_a_disparity_when_classes_are_anisotropic():
    """Sigma_+ = diag(1, 2), Sigma_- = diag(1, .1), delta (2, 1), linf radius .5: the robust optimum drops axis 2."""
    model = ClassGaussians([[0.0, 0.0], [2.0, 1.0]], [[1.0, 0.1], [1.0, 2.0]])

    def train(threat):
        def risk(s):
            f = LinearClassifier(np.array([np.cos(s[0]), np.sin(s[0])]), s[1])
            return f.class_risks(model, threat).average(model.priors)

        runs = [
            minimize(risk, [t, -1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
            for t in (0.1, 0.6, 1.2)
        ]
        best = min(runs, key=lambda found: found.fun).x
        return LinearClassifier(np.array([np.cos(best[0]), np.sin(best[0])]), best[1])

    threat = Threat("linf", 0.5)
    natural, robust = train(Threat("linf", 0.0)), train(threat)
    assert natural.class_risks(model).disparity == pytest.approx(0.046563, abs=1e-6)
    assert abs(robust.w[1]) < 1e-6
    assert robust.class_risks(model).disparity == pytest.approx(0, abs=1e-6)
    assert robust.class_risks(model, threat).disparity == pytest.approx(0, abs=1e-6)
