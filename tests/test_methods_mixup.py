"""Same-class mixing of batches: its laws are those of the theory, partners are random and of the same class."""

import numpy as np
import pytest
import torch

from linfair.mixing import BetaLambda, FixedLambda, UniformMix
from linfair.train.context import Context, Threat
from linfair.train.methods import get_method
from linfair.train.mixup import beta, mix_mean, mix_pairs, partners
from linfair.train.state import ClassWeights


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def labels(n=200, c=5, seed=0):
    return torch.randint(0, c, (n,), generator=generator(seed))


LAWS = [
    ("domain_mixup_natural", {"lam": 0.3}, FixedLambda(0.3)),
    ("domain_mixup_natural_beta", {"a": 0.5}, BetaLambda(0.5)),
    ("domain_mixup_natural_mway", {"m": 3}, UniformMix(3)),
    ("domain_mixup_robust", {}, FixedLambda(0.5)),
    ("domain_mixup_easy", {}, FixedLambda(0.5)),
    ("domain_mixup_beta", {}, BetaLambda(1.0)),
    ("domain_mixup_beta", {"a": 0.2}, BetaLambda(0.2)),
    ("domain_mixup_beta", {"a": 7.0}, BetaLambda(7.0)),
    ("domain_mixup_mway", {}, UniformMix(4)),
    ("domain_mixup_mway", {"m": 7}, UniformMix(7)),
]


@pytest.mark.parametrize("name, options, law", LAWS)
def test_shrinks_the_covariance_by_the_law_of_the_theory(name, options, law):
    """Mixing the rows of the identity shows the weights themselves."""
    method, n, total = get_method(name, **options), 100, []
    y = torch.arange(n) % 4
    for seed in range(200):
        ctx = Context(torch.relu, torch.relu, None, Threat(0.1, 0.1, 1), generator(seed), 0, 1, 4)
        weights = method.transform(torch.eye(n, dtype=torch.float64), y, ClassWeights.neutral(4), ctx)
        assert torch.allclose(weights.sum(1), torch.ones(n, dtype=torch.float64), atol=1e-6)
        assert not weights[y[:, None] != y].any(), "a partner of another class"
        total.append((weights**2).sum(1))
    spread = 4 * float(np.sqrt(law.sample_c(10**5, np.random.default_rng(0)).var() / (200 * n)))
    assert float(torch.cat(total).mean()) == pytest.approx(law.mean_c, abs=spread + 1e-7)


@pytest.mark.parametrize("a", [0.05, 0.5, 1.0, 3.0, 1e4])
def test_beta_has_its_quantiles(a):
    from scipy.stats import beta as law
    from scipy.stats import kstest

    draws = beta(a, 20_000, generator()).double().numpy()
    assert draws.min() >= 0
    assert draws.max() <= 1
    # float32 rounds to 0 and 1 what a small a puts beside them
    assert kstest(draws[(draws > 1e-6) & (draws < 1 - 1e-6)], _inner(law(a, a))).pvalue > 1e-3


def _inner(law):
    low, high = law.cdf(1e-6), law.cdf(1 - 1e-6)
    return lambda x: (law.cdf(x) - low) / (high - low)


def test_partners_are_others_of_the_same_class():
    y = labels()
    drawn = partners(y, 4, generator())
    assert (y[drawn] == y).all()
    everyone = torch.cat([torch.arange(len(y))[None], drawn]).sort(0).values
    assert (everyone[1:] != everyone[:-1]).all(), "the same image twice in a mix"
    for row in drawn:
        assert torch.equal(row.sort().values, torch.arange(len(y))), "every image is a partner once"


def test_partners_are_uniform_and_new_each_time():
    y = torch.tensor([1, 0, 1, 1, 1])
    draws = torch.cat([partners(y, 1, generator(seed)) for seed in range(4000)])
    assert (draws[:, 1] == 1).all()
    for i in (0, 2, 3, 4):
        share = torch.bincount(draws[:, i], minlength=5) / len(draws)
        assert share[i] == 0
        others = share[torch.tensor([k for k in (0, 2, 3, 4) if k != i])]
        assert (others - 1 / 3).abs().max() < 4 * (2 / 9 / 4000) ** 0.5


def test_short_classes_wrap_around():
    y = torch.tensor([2, 0, 0, 2, 1])
    drawn = partners(y, 3, generator())
    assert drawn[:, 4].tolist() == [4, 4, 4]
    assert drawn[:, 0].tolist() == [3, 0, 3]
    assert partners(torch.empty(0, dtype=torch.int64), 2, generator()).shape == (2, 0)


def test_class_means_stay():
    y, x = labels(), torch.rand(200, 3, 4, 4, generator=generator(), dtype=torch.float64)
    for mixed in (mix_pairs(x, y, 0.3, generator=generator()), mix_mean(x, y, 5, generator=generator())):
        assert not torch.equal(mixed, x)
        for k in range(5):
            assert torch.allclose(mixed[y == k].mean(0), x[y == k].mean(0))


def test_only_chosen_classes_mix():
    y, x = labels(), torch.rand(200, 3, 4, 4, generator=generator())
    chosen = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
    lam = beta(1.0, 200, generator())
    for mixed in (
        mix_pairs(x, y, 0.5, classes=chosen, generator=generator()),
        mix_pairs(x, y, lam, classes=chosen, generator=generator()),
        mix_mean(x, y, 3, classes=chosen, generator=generator()),
    ):
        stays = chosen[y] == 0
        assert torch.equal(mixed[stays], x[stays])
        assert (mixed[~stays] != x[~stays]).flatten(1).any(1).all()


def test_every_class_may_have_a_lambda_of_its_own():
    """A class at 1 stays bit for bit, one at 1/2 is mixed as it would be alone."""
    y, x = labels(), torch.rand(200, 3, 4, 4, generator=generator())
    threat = Threat(0.1, 0.1, 1)

    def mixed(**options):
        ctx = Context(torch.relu, torch.relu, None, threat, generator(), 0, 1, 5)
        return get_method("domain_mixup_robust", **options).transform(x, y, ClassWeights.neutral(5), ctx)

    found = mixed(lam_by_class=(1.0, 0.5, 0.3, 1.0, 0.5))
    for k, lam in enumerate((1.0, 0.5, 0.3, 1.0, 0.5)):
        assert torch.equal(found[y == k], mixed(lam=lam)[y == k])
    with pytest.raises(ValueError, match=r"lam_by_class must hold one number a class, 5, got 2"):
        mixed(lam_by_class=(0.5, 0.5))


def test_lambda_one_is_the_batch_itself():
    y, x = labels(), torch.rand(200, 3, 4, 4, generator=generator())
    g = generator()
    before = g.get_state()
    assert mix_pairs(x, y, 1.0, generator=g) is x
    assert mix_mean(x, y, 1, generator=g) is x
    assert torch.equal(g.get_state(), before)
    assert torch.equal(mix_pairs(x, y, torch.ones(200), generator=g), x)


def test_two_way_mean_is_lambda_one_half():
    y, x = labels(), torch.rand(200, 3, 4, 4, generator=generator())
    assert torch.equal(mix_mean(x, y, 2, generator=generator(3)), mix_pairs(x, y, 0.5, generator=generator(3)))


def test_white_stays_white_and_layouts_survive():
    y, white = labels(), torch.ones(200, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    for mixed in (
        *[mix_mean(white, y, m, generator=generator()) for m in (2, 3, 10, 49)],
        *[mix_pairs(white, y, lam, generator=generator()) for lam in (0.1, 0.3, 0.7, beta(0.5, 200, generator()))],
    ):
        assert (mixed == 1).all()
        assert mixed.is_contiguous(memory_format=torch.channels_last)
