"""Gaussian classes: construction, sampling, fitting."""

import numpy as np
import pytest

from linfair.gaussian import ClassGaussians
from linfair.mixing import BetaLambda, FixedLambda, NoMix, UniformMix

MEANS = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 0.0]])


def moments(X, y, k):
    group = X[y == k]
    return group.mean(axis=0), np.cov(group.T, bias=True).reshape(X.shape[1], X.shape[1])


def test_scalar_diagonal_and_full_covariances_are_the_same_model():
    models = [
        ClassGaussians(MEANS, 4.0),
        ClassGaussians(MEANS, [4.0, 4.0, 4.0]),
        ClassGaussians(MEANS, np.full((3, 2), 4.0)),
        ClassGaussians(MEANS, np.array([4 * np.eye(2)] * 3)),
    ]
    w = np.array([0.3, -1.1])
    for model in models:
        assert (model.n_classes, model.dim) == (3, 2)
        np.testing.assert_allclose(model.full_covs(), [4 * np.eye(2)] * 3)
        np.testing.assert_allclose(model.sds(w), 2 * np.linalg.norm(w))
        np.testing.assert_allclose(model.bilinear(np.stack([w, 2 * w]), 1), 4 * (w @ w) * np.array([[1, 2], [2, 4]]))
        np.testing.assert_allclose(model.priors, 1 / 3)
    assert [m.isotropic for m in models] == [True, True, False, False]


def test_sds_are_those_of_each_class():
    covs = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 9.0]]])
    w = np.array([1.0, 2.0])
    expected = [np.sqrt(w @ S @ w) for S in covs]
    np.testing.assert_allclose(ClassGaussians(MEANS[:2], covs).sds(w), expected)
    np.testing.assert_allclose(ClassGaussians(MEANS[:2], [[1.0, 4.0], [9.0, 16.0]]).sds(w), np.sqrt([17.0, 73.0]))


@pytest.mark.parametrize(
    "covs",
    [
        np.array([1.0, 4.0, 0.25]),
        np.array([[1.0, 4.0], [2.0, 0.1], [0.0, 3.0]]),
        np.array([[[2.0, 0.9], [0.9, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]),
    ],
    ids=["scalar", "diagonal", "full, singular, zero"],
)
def test_samples_have_the_moments_of_their_class(covs):
    model = ClassGaussians(MEANS, covs)
    n = 40000
    X, y = model.sample([n, n, n], np.random.default_rng(0))
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2], n))
    for k, S in enumerate(model.full_covs()):
        mean, cov = moments(X, y, k)
        np.testing.assert_allclose(mean, MEANS[k], atol=5 * np.sqrt(S.max() / n) + 1e-12)
        np.testing.assert_allclose(cov, S, atol=6 * S.max() * np.sqrt(2 / n) + 1e-12)


def test_a_singular_covariance_samples_on_its_subspace():
    model = ClassGaussians(np.zeros((2, 3)), np.array([np.ones((3, 3)), np.eye(3)]))
    X, y = model.sample([100, 100], np.random.default_rng(0))
    np.testing.assert_allclose(np.ptp(X[y == 0], axis=1), 0, atol=1e-6)


def test_sample_counts_by_prior_or_by_class():
    model = ClassGaussians(MEANS, 1.0, priors=[0.7, 0.2, 0.1])
    X, y = model.sample(20000, np.random.default_rng(0))
    assert X.shape == (20000, 2)
    np.testing.assert_allclose(np.bincount(y, minlength=3) / 20000, [0.7, 0.2, 0.1], atol=0.015)
    X, y = model.sample([3, 0, 2], np.random.default_rng(0))
    assert y.tolist() == [0, 0, 0, 2, 2]


def test_sampling_is_a_function_of_the_generator():
    model = ClassGaussians(MEANS, 1.0)
    first, second = (model.sample(10, np.random.default_rng(4))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "mix, c", [(FixedLambda(0.3), (0.58,) * 3), ([NoMix(), UniformMix(4), BetaLambda(1.0)], (1, 0.25, 2 / 3))]
)
def test_mixed_samples_keep_means_and_shrink_covariances_by_mean_c(mix, c):
    S = np.array([[2.0, 0.9], [0.9, 1.0]])
    model, n = ClassGaussians(MEANS, np.array([S] * 3)), 40000
    X, y = model.sample_mixed([n] * 3, mix, np.random.default_rng(0))
    for k in range(3):
        mean, cov = moments(X, y, k)
        np.testing.assert_allclose(mean, MEANS[k], atol=0.04)
        np.testing.assert_allclose(cov, c[k] * S, atol=0.07)


def test_a_random_mix_has_the_tails_of_a_scale_mixture():
    model, n = ClassGaussians([[0.0], [1.0]], 1.0), 200000
    X, _ = model.sample_mixed([n, 0], BetaLambda(0.5), np.random.default_rng(0))
    c = 0.5 * (1 + np.random.default_rng(1).beta(0.5, 0.5, 4000000))
    assert np.mean(X**4) == pytest.approx(3 * np.mean(c**2), rel=0.03)  # E x^4 = 3 E c^2, not 3 (E c)^2


def test_scaling_multiplies_covariances_class_by_class():
    full = ClassGaussians(MEANS[:2], np.array([np.eye(2), 2 * np.eye(2)]), priors=[0.3, 0.7])
    np.testing.assert_allclose(full.scaled([0.5, 3.0]).full_covs(), [0.5 * np.eye(2), 6 * np.eye(2)])
    np.testing.assert_allclose(full.scaled(0.5).full_covs(), 0.5 * full.full_covs())
    np.testing.assert_allclose(full.scaled(0.5).priors, [0.3, 0.7])
    diagonal, scalar = ClassGaussians(MEANS[:2], [[1.0, 4.0], [2.0, 3.0]]), ClassGaussians(MEANS[:2], [1.0, 4.0])
    np.testing.assert_allclose(diagonal.scaled([2.0, 3.0]).full_covs(), [np.diag([2.0, 8.0]), np.diag([6.0, 9.0])])
    assert scalar.scaled([2.0, 3.0]).isotropic


def test_two_class_has_the_stated_distance_ratio_and_priors():
    model = ClassGaussians.two_class([3.0, 4.0], sd_minus=2.0, K=1.5, r=3.0)
    np.testing.assert_allclose(model.means[1] - model.means[0], [3, 4])
    np.testing.assert_allclose(model.means.sum(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(model.sds(np.array([1.0, 0.0])), [2, 3])
    np.testing.assert_allclose(model.priors, [0.25, 0.75])
    assert model.isotropic


def test_symmetric_means_in_every_coordinate():
    model = ClassGaussians.xu(4, eta=0.5, sigma=2.0, K=3.0, r=0.5)
    np.testing.assert_allclose(model.means, [[-0.5] * 4, [0.5] * 4])
    np.testing.assert_allclose(model.sds(np.eye(4)[0]), [2, 6])
    np.testing.assert_allclose(model.priors, [2 / 3, 1 / 3])


def test_pair_keeps_the_two_classes_and_their_prior_odds():
    model = ClassGaussians(MEANS, [1.0, 4.0, 9.0], priors=[0.5, 0.3, 0.2])
    pair = model.pair(minus=2, plus=0)
    np.testing.assert_array_equal(pair.means, MEANS[[2, 0]])
    np.testing.assert_allclose(pair.sds(np.array([0.0, 1.0])), [3, 1])
    np.testing.assert_allclose(pair.priors, [2 / 7, 5 / 7])


@pytest.mark.parametrize("kind", ["full", "diagonal", "scalar"])
def test_fit_is_the_maximum_likelihood_estimate(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 2)) @ [[1.0, 0.4], [0.0, 2.0]], np.repeat([0, 1], [10, 20])
    model = ClassGaussians.fit(X, y, covariance=kind)
    np.testing.assert_allclose(model.priors, [1 / 3, 2 / 3])
    for k in (0, 1):
        mean, S = moments(X, y, k)
        expected = {"full": S, "diagonal": np.diag(np.diag(S)), "scalar": np.trace(S) / 2 * np.eye(2)}[kind]
        np.testing.assert_allclose(model.means[k], mean)
        np.testing.assert_allclose(model.full_covs()[k], expected, atol=1e-12)
    assert model.isotropic is (kind == "scalar")


def test_shrinkage_moves_a_covariance_towards_its_mean_variance():
    X, y = np.random.default_rng(0).standard_normal((30, 2)) * [1.0, 3.0], np.repeat([0, 1], 15)
    S = ClassGaussians.fit(X, y).full_covs()
    shrunk = ClassGaussians.fit(X, y, shrinkage=0.3).full_covs()
    for a, b in zip(S, shrunk, strict=True):
        np.testing.assert_allclose(b, 0.7 * a + 0.3 * np.trace(a) / 2 * np.eye(2))


def test_estimated_shrinkage_is_scikit_learns():
    from sklearn.covariance import ledoit_wolf

    X, y = np.random.default_rng(0).standard_normal((40, 8)), np.repeat([0, 1], 20)
    covs = ClassGaussians.fit(X, y, shrinkage="ledoit-wolf").full_covs()
    np.testing.assert_allclose(covs[1], ledoit_wolf(X[y == 1])[0])


def test_fit_recovers_the_model_it_was_sampled_from():
    S = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.3], [-0.3, 3.0]]])
    model = ClassGaussians(MEANS[:2], S, priors=[0.25, 0.75])
    fitted = ClassGaussians.fit(*model.sample(60000, np.random.default_rng(0)))
    np.testing.assert_allclose(fitted.means, model.means, atol=0.05)
    np.testing.assert_allclose(fitted.full_covs(), S, atol=0.08)
    np.testing.assert_allclose(fitted.priors, [0.25, 0.75], atol=0.01)


def test_a_seed_is_a_generator_too():
    model = ClassGaussians.two_class([2.0, 0.0], 1.0, 2.0)
    for n in (10, [3, 4]):
        (X, y), (Z, t) = model.sample(n, 7), model.sample(n, np.random.default_rng(7))
        np.testing.assert_array_equal(X, Z)
        np.testing.assert_array_equal(y, t)
