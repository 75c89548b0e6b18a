"""Laws of same-class mixing: moments, tails of the shrink factor c, finite-sample mixes."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.special import gammaln, log_ndtr, logsumexp

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.mixing import (
    BetaLambda,
    DirichletMix,
    FixedLambda,
    Law,
    NoMix,
    UniformMix,
    WithOriginal,
    mix_within_class,
)
from oracle import Phi, beta_nodes


def beta_moments(a):
    """c = (1 + t) / 2 with t ~ Beta(1/2, a)."""
    mean, var = 0.5 / (a + 0.5), 0.5 * a / ((a + 0.5) ** 2 * (a + 1.5))
    return (1 + mean) / 2, ((1 + mean) / 2) ** 2 + var / 4


def dirichlet_moments(m, a):
    """E c and E c^2 from the moments of Dirichlet weights."""
    total = m * a
    two = a * (a + 1)
    mean = m * two / (total * (total + 1))
    rising = total * (total + 1) * (total + 2) * (total + 3)
    return mean, (m * two * (a + 2) * (a + 3) + m * (m - 1) * two**2) / rising


MOMENTS = [
    (NoMix(), (1.0, 1.0)),
    (FixedLambda(0.3), (0.58, 0.58**2)),
    (FixedLambda(0.0), (1.0, 1.0)),
    (FixedLambda(), (0.5, 0.25)),
    (UniformMix(1), (1.0, 1.0)),
    (UniformMix(7), (1 / 7, 1 / 49)),
    *[(BetaLambda(a), beta_moments(a)) for a in (0.05, 0.2, 1.0, 5.0, 50.0, 1e4)],
    *[(DirichletMix(m, a), dirichlet_moments(m, a)) for m, a in [(2, 1.0), (3, 1.0), (3, 0.2), (10, 0.5), (40, 2.0)]],
    (DirichletMix(400, 1.0), dirichlet_moments(400, 1.0)),
    (WithOriginal(UniformMix(4), 0.25), (0.25 + 0.75 / 4, 0.25 + 0.75 / 16)),
    (WithOriginal(BetaLambda(1.0)), tuple(0.5 + 0.5 * x for x in beta_moments(1.0))),
]
laws = pytest.mark.parametrize("law, moments", MOMENTS, ids=lambda x: repr(x) if isinstance(x, Law) else "")


@laws
def test_nodes_are_a_law_of_c_with_its_exact_moments(law, moments):
    c, p = law.nodes()
    assert c.shape == p.shape
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert c.min() >= 1 / law.m - 1e-12
    assert c.max() <= 1 + 1e-12
    exact = not isinstance(law, DirichletMix) or law.m == 2
    assert p @ c == pytest.approx(moments[0], rel=1e-8 if exact else 2e-3)
    assert p @ c**2 == pytest.approx(moments[1], rel=1e-8 if exact else 1e-2)
    assert law.mean_c == pytest.approx(moments[0], rel=1e-12)


@laws
def test_sampled_weights_sum_to_one_and_have_the_moments_of_c(law, moments):
    n = 20000
    weights = law.sample(n, np.random.default_rng(0))
    assert weights.shape == (n, law.m)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    c = (weights**2).sum(axis=1)
    sd = np.sqrt(max(moments[1] - moments[0] ** 2, 0.0))
    assert abs(c.mean() - moments[0]) <= 4 * sd / np.sqrt(n) + 1e-12


@pytest.mark.parametrize("law", [BetaLambda(0.3), DirichletMix(5, 0.7), FixedLambda(0.9)], ids=repr)
def test_the_weights_of_a_mix_are_exchangeable_in_law_or_ordered_as_given(law):
    weights = law.sample(20000, np.random.default_rng(3)).mean(axis=0)
    expected = [0.9, 0.1] if isinstance(law, FixedLambda) else np.full(law.m, 1 / law.m)
    np.testing.assert_allclose(weights, expected, atol=0.01)


@pytest.mark.parametrize("a", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("z", [1.0, 6.0, 25.0])
def test_beta_tail_matches_independent_quadrature(a, z):
    c, p = beta_nodes(a)
    got_c, got_p = BetaLambda(a).nodes()
    expected = p @ Phi(-z / np.sqrt(c))
    assert got_p @ Phi(-z / np.sqrt(got_c)) == pytest.approx(expected, rel=1e-8)


def test_a_two_way_dirichlet_is_the_beta_law():
    for a, z in [(0.4, 2.0), (1.0, 5.0), (3.0, 8.0)]:
        (c1, p1), (c2, p2) = BetaLambda(a).nodes(), DirichletMix(2, a).nodes()
        assert p1 @ Phi(-z / np.sqrt(c1)) == pytest.approx(p2 @ Phi(-z / np.sqrt(c2)), rel=1e-9)


def dirichlet_tail(m, a, z, tilt, n=60000):
    """E Phi(-z / sqrt(c)) by importance sampling: a random weight is made large by adding ``tilt`` to its exponent."""
    rng = np.random.default_rng(5)
    alpha = np.full((n, m), a)
    alpha[np.arange(n), rng.integers(m, size=n)] += tilt
    g = rng.standard_gamma(alpha)
    x = g / g.sum(axis=1, keepdims=True)
    log_norm = gammaln(m * a + tilt) + gammaln(a) - gammaln(m * a) - gammaln(a + tilt)
    ratio = 1 / (np.exp(log_norm) * (x**tilt).mean(axis=1))
    values = ratio * Phi(-z / np.sqrt((x**2).sum(axis=1)))
    return values.mean(), values.std() / np.sqrt(n)


@pytest.mark.parametrize(
    "m, a, z, tilt",
    [
        (3, 1.0, 2.0, 2.0),
        (3, 1.0, 6.0, 8.0),
        (20, 1.0, 2.0, 10.0),
        (20, 0.3, 4.0, 20.0),
        (200, 1.0, 1.0, 22.0),
        (200, 1.0, 2.0, 60.0),
    ],
)
def test_dirichlet_tail_matches_importance_sampling(m, a, z, tilt):
    c, p = DirichletMix(m, a).nodes()
    expected, se = dirichlet_tail(m, a, z, tilt)
    assert se < 0.02 * expected, "the reference itself must be sharp"
    assert p @ Phi(-z / np.sqrt(c)) == pytest.approx(expected, abs=4 * se + 0.02 * expected)


NARROW = [(3, 150.0), (3, 1e4), (30, 1e4), (100, 30.0), (100, 1e4), (1000, 1e3), (2000, 200.0), (10000, 10.0)]


@pytest.mark.parametrize("m, a", [*NARROW, (10000, 1e4), (3, 1e-3), (100, 1e-2), (100, 25.0)])
def test_a_dirichlet_law_has_mass_one_and_its_mean_however_narrow(m, a):
    c, p = DirichletMix(m, a).nodes()
    mean, second = dirichlet_moments(m, Fraction(a))  # in fractions: the variance of a narrow law cancels
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p @ c == pytest.approx(float(mean), rel=1e-12)
    assert 1 / m <= c.min() < c.max() <= 1
    exact = second / mean**2 - 1 < 2.5e-5  # the others are sampled
    assert p @ (c - float(mean)) ** 2 == pytest.approx(float(second - mean**2), rel=1e-9 if exact else 0.1)


@pytest.mark.parametrize("m, a", NARROW)
def test_risks_under_a_narrow_law_match_its_samples(m, a):
    """At z where the part of the law that decides lies half an sd above its mean."""
    law = DirichletMix(m, a)
    (c, p), drawn = law.nodes(), law.sample_c(min(10**5, 2 * 10**7 // m), np.random.default_rng(2))
    sd = np.sqrt(p @ (c - law.mean_c) ** 2)
    z = law.mean_c / np.sqrt(sd)
    sampled = log_ndtr(-z / np.sqrt(drawn))
    expected, spread = logsumexp(sampled) - np.log(len(drawn)), np.exp(sampled - sampled.max())
    model = ClassGaussians([[-z], [z]], 1.0)
    found = LinearClassifier([1.0], 0.0).class_risks(model, mix=law).log_value
    assert found == pytest.approx(expected, abs=4 * spread.std() / spread.mean() / np.sqrt(len(drawn)))


@pytest.mark.parametrize(
    "m, a, z, tilt", [(100, 30.0, 3.668, 356.0), (100, 25.0, 3.365, 297.0), (1000, 10.0, 1.243, 361.0)]
)
def test_far_risks_see_one_large_weight_also_under_a_narrow_law(m, a, z, tilt):
    """By importance sampling, as dirichlet_tail, in logs."""
    rng, n = np.random.default_rng(5), 10000
    alpha = np.full((n, m), a)
    alpha[np.arange(n), rng.integers(m, size=n)] += tilt
    g = rng.standard_gamma(alpha)
    x = g / g.sum(axis=1, keepdims=True)
    log_norm = gammaln(m * a + tilt) + gammaln(a) - gammaln(m * a) - gammaln(a + tilt)
    ratio = np.log(m) - log_norm - logsumexp(tilt * np.log(x), axis=1)
    expected = logsumexp(ratio + log_ndtr(-z / np.sqrt((x**2).sum(axis=1)))) - np.log(n)
    c, log_p = DirichletMix(m, a).log_nodes()
    assert logsumexp(log_p + log_ndtr(-z / np.sqrt(c))) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_finite_sample_mix_has_the_c_of_drawing_with_replacement(m):
    """Mixing the rows of an identity matrix returns the weight each source received."""
    n, copies = 6, 4000
    mixed, y = mix_within_class(
        np.eye(2 * n), np.repeat([0, 1], n), UniformMix(m), np.random.default_rng(0), copies=copies
    )
    assert mixed.shape == (copies * 2 * n, 2 * n)
    c = (mixed**2).sum(axis=1)
    assert c.mean() == pytest.approx(1 / m + (m - 1) / (m * n), abs=5 * c.std() / np.sqrt(len(c)) + 1e-12)
    assert y.tolist() == np.tile(np.repeat([0, 1], n), copies).tolist()


def test_partners_come_from_the_same_class_only():
    y = np.array([0, 1, 2, 0, 1, 2, 2])
    mixed, labels = mix_within_class(np.eye(7), y, DirichletMix(3, 1.0), np.random.default_rng(0), copies=50)
    np.testing.assert_allclose(mixed.sum(axis=1), 1)
    assert (mixed[labels[:, None] != y[None, :]] == 0).all()
    assert (mixed.max(axis=1) < 1).any()


def test_each_class_follows_its_own_law():
    y = np.repeat([0, 1], 5)
    X = np.random.default_rng(0).standard_normal((10, 3))
    mixed, labels = mix_within_class(X, y, [UniformMix(4), NoMix()], np.random.default_rng(0), copies=2)
    np.testing.assert_array_equal(mixed[labels == 1], np.tile(X[5:], (2, 1)))
    assert not np.allclose(mixed[labels == 0], np.tile(X[:5], (2, 1)))


def test_no_law_means_no_mixing_and_the_input_is_left_alone():
    X, y = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 1, 1, 0])
    before = X.copy()
    for mix in (None, NoMix(), UniformMix(1)):
        mixed, labels = mix_within_class(X, y, mix, np.random.default_rng(0))
        np.testing.assert_allclose(mixed, X)
        np.testing.assert_array_equal(labels, y)
    mix_within_class(X, y, UniformMix(3), np.random.default_rng(0))
    np.testing.assert_array_equal(X, before)


def test_mixing_keeps_the_class_mean_and_shrinks_its_covariance():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 2)) * [1.0, 3.0] + [2.0, -1.0]
    mixed, _ = mix_within_class(X, np.zeros(4000, int), BetaLambda(1.0), rng)
    np.testing.assert_allclose(mixed.mean(axis=0), X.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(mixed.var(axis=0) / X.var(axis=0), 2 / 3, rtol=0.08)  # E c = (a + 1) / (2 a + 1)


def test_the_same_generator_state_gives_the_same_mixes():
    X, y = np.random.default_rng(0).standard_normal((6, 3)), np.array([0, 1] * 3)
    first, second = (mix_within_class(X, y, BetaLambda(1.0), np.random.default_rng(9))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
