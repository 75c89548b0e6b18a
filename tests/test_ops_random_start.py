"""random_start: uniform in each ball by its radius law and its marginals, from its own generator.

Seeds are fixed; the thresholds are such that a right law fails less than once in a million seeds.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from linfair.norms import get_norm
from linfair.ops import random_start
from ops_cases import FREE, each_dtype, each_norm, each_oracle, few, flat, same, unit

RARE = 1e-6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def starts(norm, n, dim, dtype=torch.float64, eps=1.0, seed=0):
    """delta [n, dim] of starts around 0, no box."""
    return flat(random_start(torch.zeros(n, dim, dtype=dtype), eps, norm, generator=seeded(seed), **FREE)).astype(float)


@each_norm
@each_dtype
@pytest.mark.parametrize("dim", [1, 2, 3, 10, 100])
def test_radius_law(norm, dtype, dim):
    """P(||delta|| <= t eps) = t^D: (||delta|| / eps)^D is uniform. U for U^(1/D), or the sphere, fails at once."""
    eps = 0.7
    u = (np.asarray(get_norm(norm).of(starts(norm, 3000, dim, dtype, eps, seed=dim))) / eps) ** dim
    assert u.max() <= 1 + 4 * dim * unit(dtype)
    assert stats.kstest(u.clip(0, 1), "uniform").pvalue > RARE


@each_oracle
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_marginal_laws(norm, dim):
    """The size of one coordinate over eps is uniform (l_inf), the root of Beta(1/2, (D+1)/2) (l2), Beta(1, D) (l1)."""
    law = {"linf": stats.uniform(), "l2": stats.beta(0.5, (dim + 1) / 2), "l1": stats.beta(1, dim)}[norm]
    delta = starts(norm, 4000, dim, eps=2.0, seed=10 + dim) / 2.0
    for i in {0, dim // 2, dim - 1}:
        z = delta[:, i]
        assert stats.kstest(z**2 if norm == "l2" else np.abs(z), law.cdf).pvalue > RARE
        assert stats.binomtest(int((z > 0).sum()), len(z)).pvalue > RARE


@each_norm
def test_coordinates_and_samples_are_uncorrelated(norm):
    dim, n = 4, 20000
    delta = starts(norm, n, dim, seed=3)
    bound = 5.5 / math.sqrt(n)  # a correlation of independent numbers is N(0, 1/n): beyond 5.5 sd one in 10^7
    for values in (delta, np.sign(delta)):
        assert np.abs(np.corrcoef(values.T) - np.eye(dim)).max() < bound
    for lag in (1, 2, 7):
        assert abs(np.corrcoef(delta[lag:].ravel(), delta[:-lag].ravel())[0, 1]) < bound
    sizes = np.asarray(get_norm(norm).of(delta))
    assert abs(np.corrcoef(sizes[1:], sizes[:-1])[0, 1]) < bound
    assert len(np.unique(sizes)) > n // 2  # one radius a sample, not one a batch


@each_norm
def test_directions_favour_no_quadrant(norm):
    """All 2^3 patterns of signs are equally frequent, and so are the orders of the magnitudes."""
    delta = starts(norm, 8000, 3, seed=4)
    signs = np.bincount((delta > 0) @ [1, 2, 4], minlength=8)
    orders = np.unique(np.argsort(np.abs(delta), axis=1) @ [9, 3, 1], return_counts=True)[1]
    assert stats.chisquare(signs).pvalue > RARE
    assert len(orders) == 6
    assert stats.chisquare(orders).pvalue > RARE


@each_norm
@each_dtype
def test_one_radius_a_sample(norm, dtype):
    """Budgets of the samples hold one by one; radius 0 is the centre."""
    x0 = torch.rand(64, 3, 4, 4, generator=seeded(1), dtype=dtype)
    eps = torch.linspace(0, 0.5, 64)
    out = random_start(x0, eps, norm, generator=seeded(), **FREE)
    d, radii = flat(out) - flat(x0), eps.double().numpy()
    slack = 2 * unit(dtype) * get_norm(norm).of(np.abs(flat(out)) + np.abs(flat(x0)))
    assert (get_norm(norm).of(d) <= radii * (1 + 8 * unit(dtype)) + slack).all()
    assert (get_norm(norm).of(d)[32:] > radii[32:] * 0.2).all()  # (1/5)^48: it never happens
    same(out[0], x0[0])
    with_box = random_start(x0, eps, norm, generator=seeded())
    same(with_box, out.clamp(0, 1))


@each_norm
def test_the_box(norm):
    x0 = torch.rand(50, 20, generator=seeded(1))
    lo, hi = torch.full((20,), 0.25), torch.linspace(0.5, 0.75, 20)
    free = random_start(x0, 3.0, norm, generator=seeded(2), **FREE)
    same(random_start(x0, 3.0, norm, generator=seeded(2), lo=lo, hi=hi), free.clamp(lo, hi))
    same(random_start(x0, 3.0, norm, generator=seeded(2), lo=0.1, hi=None), free.clamp(min=0.1))
    with pytest.raises(ValueError, match=r"\blo\b.*\bhi\b"):
        random_start(x0, 3.0, norm, lo=0.5, hi=0.4)
    with pytest.raises(ValueError, match=r"lo .*\(20,\)"):
        random_start(x0, 3.0, norm, lo=lo[:-1])


@each_norm
@each_dtype
def test_the_generator_alone_decides(norm, dtype):
    x0 = torch.rand(4, 9, generator=seeded(1), dtype=dtype)
    state = torch.get_rng_state()
    first = random_start(x0, 0.3, norm, generator=seeded(5))
    same(random_start(x0, 0.3, norm, generator=seeded(5)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert (random_start(x0, 0.3, norm, generator=seeded(6)) != first).any()
    g = seeded(5)
    random_start(x0, 0.3, norm, generator=g)
    assert (random_start(x0, 0.3, norm, generator=g) != first).any()
    with torch.random.fork_rng():
        torch.manual_seed(11)
        mine = random_start(x0, 0.3, norm)
        assert not torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(11)
        same(random_start(x0, 0.3, norm), mine)
    assert first.dtype == dtype


@each_norm
def test_starts_do_not_depend_on_the_layout(norm):
    x0 = torch.rand(3, 4, 5, 6, generator=seeded(1))
    want = random_start(x0, 0.3, norm, generator=seeded(5))
    for other in (
        x0.contiguous(memory_format=torch.channels_last),
        x0.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        torch.stack([x0, x0], -1)[..., 0],
    ):
        same(random_start(other, 0.3, norm, generator=seeded(5)), want)
    rows = x0[:1].expand(3, -1, -1, -1)
    assert (random_start(rows, 0.3, norm)[0] != random_start(rows, 0.3, norm)[1]).any()
    same(random_start(rows, 0.3, norm, generator=seeded(5)), random_start(rows.clone(), 0.3, norm, generator=seeded(5)))


@each_norm
def test_shapes_at_the_edge(norm):
    for shape in ((0, 3, 4), (4, 0), (0,), (5,), (1, 1)):
        assert random_start(torch.zeros(shape), 0.1, norm).shape == shape


@each_norm
def test_the_centre_is_left_alone(norm):
    x0 = torch.rand(4, 9, generator=seeded(1))
    before = x0.clone()
    assert random_start(x0, 0.3, norm).data_ptr() != x0.data_ptr()
    same(x0, before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CUDA counterpart is in test_ops_gpu.py")
def test_a_generator_of_another_device_is_refused():
    with pytest.raises((TypeError, ValueError), match=r"generator .*(meta.*cpu|cpu.*meta).*; \w+"):
        random_start(torch.zeros(2, 3, device="meta"), 0.1, generator=seeded())
    with pytest.raises(TypeError, match=r"generator .*int.*; \w+"):
        random_start(torch.zeros(2, 3), 0.1, generator=7)  # pyright: ignore[reportArgumentType]


@each_norm
@each_dtype
@few(max_examples=20)
@given(dim=st.integers(1, 40), eps=st.sampled_from([1e-30, 1e-6, 8 / 255, 1.0, 3e4]), seed=st.integers(0, 99))
def test_starts_lie_in_the_ball_at_any_scale(norm, dtype, dim, eps, seed):
    delta = random_start(torch.zeros(20, dim, dtype=dtype), eps, norm, generator=seeded(seed), **FREE)
    sizes = get_norm(norm).of(flat(delta).astype(float))
    assert (sizes <= eps * (1 + 8 * unit(dtype))).all()
    assert (sizes > 0).all()
    assert torch.isfinite(delta).all()
