"""The values of the step: l_inf bit for bit, l2 and l1 against the oracle and against the reference's own error."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linfair import ops
from ops_cases import (
    FREE,
    NATIVE,
    REFERENCE,
    Case,
    answer,
    case,
    each_dtype,
    each_native,
    each_norm,
    each_oracle,
    each_projection,
    each_run,
    error,
    few,
    flat,
    judged,
    same,
    unit,
)

LENGTHS = [1, 2, 7, 15, 16, 17, 31, 48, 3072, 5000]
ODD = [0.0, -0.0, math.nan, math.inf, -math.inf, 1e-42, -1e-30, 1e30]


def spoiled(n, dim, dtype, seed):
    """x, x0, grad with zeros of both signs, NaN, infinities, tiny and huge numbers strewn in."""
    rng = np.random.default_rng(seed)
    x, x0, grad = rng.random((n, dim)), rng.random((n, dim)), rng.standard_normal((n, dim))
    for values in (x, x0, grad):
        where = rng.random((n, dim)) < 0.2
        values[where] = rng.choice(ODD, where.sum())
    return (torch.from_numpy(v).to(dtype) for v in (x, x0, grad))


def bound(kind, dim, dtype):
    g = torch.Generator().manual_seed(dim)
    lo = torch.rand(dim, generator=g, dtype=dtype) / 2
    return {
        "unit": {},
        "none": {"lo": None, "hi": None},
        "one side": {"lo": -0.25, "hi": None},
        "tensors": {"lo": lo, "hi": lo + 0.4},
        "mixed": {"lo": None, "hi": lo.double() + 0.1},
    }[kind]


@each_native
@each_dtype
@pytest.mark.parametrize("box", ["unit", "none", "one side", "tensors", "mixed"])
def test_linf_is_the_reference_bit_for_bit(run, dtype, box):
    for dim in LENGTHS:
        x, x0, grad = spoiled(6, dim, dtype, dim)
        eps = torch.tensor([0.1, 0.0, 0.3, math.inf, 8 / 255, 1e-9], dtype=dtype)
        step = torch.tensor([0.05, 0.1, 0.0, 1.0, 2 / 255, 3.0], dtype=dtype)
        for descend in (False, True):
            c = Case(x, x0, grad, eps, step, "linf", {"descend": descend, **bound(box, dim, dtype)})
            same(c.step_on(run), c.step_on(REFERENCE))
            c = c.but(eps=8 / 255, step=2 / 255)
            same(c.step_on(run), c.step_on(REFERENCE))


@each_run
@each_dtype
def test_linf_is_its_definition_bit_for_bit(run, dtype):
    """numpy in the dtype of x, operation by operation in the order of the definition."""
    for dim in (1, 17, 500):
        x, x0, grad = spoiled(4, dim, dtype, dim)
        eps, step = (torch.tensor([[a], [a / 2], [0.0], [a]], dtype=dtype) for a in (0.1, 0.07))
        a, b, g, e, s = (t.numpy() for t in (x, x0, grad, eps, step))
        with np.errstate(invalid="ignore"):
            y = np.minimum(np.maximum(a + s * np.sign(g), b - e), b + e)
        y = np.minimum(np.maximum(y, a.dtype.type(0)), a.dtype.type(1))
        same(run.pgd_step(x, x0, grad, eps.flatten(), step.flatten()), torch.from_numpy(y))


@pytest.mark.skipif(len(NATIVE) < 2, reason="one instruction set only")
@each_dtype
@each_norm
@each_projection
def test_every_instruction_set_gives_the_same_bits(norm, dtype, exact):
    for dim in LENGTHS:
        cases = [case(norm, 5, dim, dtype, seed=dim, ratio=(0.5, 100), exact=exact)]
        cases += [case(norm, 5, dim, dtype, seed=dim, lo=None, hi=None, tail=5, exact=exact, descend=True)]
        if norm == "l1":
            cases += [case(norm, 5, dim, dtype, seed=dim, top_q=min(dim, q), exact=exact) for q in (1, 3)]
        for c in cases:
            first = c.step_on(NATIVE[0])
            for run in NATIVE[1:]:
                same(c.step_on(run), first)


WIDE_CASES = [
    # samples, features, ||d|| / eps, scale, tail
    (64, 1, (0.5, 10), 1.0, 1),
    (64, 2, (0.5, 10), 1.0, 1),
    (48, 3, (1, 1.1), 1e-3, 1),
    (32, 17, (0.5, 10), 255.0, 1),
    (16, 90, (0.5, 100), 1e-28, 1),  # squares underflow in float32
    (16, 90, (0.5, 100), 1e28, 1),  # and overflow
    (16, 100, (10, 1000), 1e-3, 3),
    (12, 784, (0.5, 2), 1.0, 1),
    (8, 3072, (0.5, 1000), 1.0, 1),
    (8, 3072, (1, 100), 255.0, 5),
    (6, 5000, (100, 1000), 1e4, 8),
    (2, 150528, (2, 100), 1.0, 2),
]
BOXES = [{}, {"lo": None, "hi": None}]


def scale_of(c: Case, want: np.ndarray) -> np.ndarray:
    """The numbers that a sample's result is made of: x0, the result, and d = v - x0 from which l1 subtracts."""
    x, x0 = flat(c.x), flat(c.x0)
    sizes = np.stack([np.abs(x0).max(1), np.abs(want).max(1)])
    return np.maximum(sizes.max(0), np.abs(x - x0).max(1) if c.norm == "l1" else 0)


@each_native
@each_projection
@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("n, dim, ratio, scale, tail", WIDE_CASES)
def test_native_errs_at_most_twice_as_much_as_the_reference(run, norm, exact, n, dim, ratio, scale, tail):
    """float32; two units in the last place are granted where the reference happens to be (nearly) right."""
    for seed, box in enumerate(BOXES):
        c, want = judged(norm, n, dim, seed=seed, ratio=ratio, scale=scale, tail=tail, exact=exact, **box)
        scales = scale_of(c, want)
        ours, theirs = error(c.step_on(run), want, scales), error(c.step_on(REFERENCE), want, scales)
        assert ours <= 2 * theirs + 4, (ours, theirs)


@each_run
@each_dtype
@each_projection
@each_oracle
@pytest.mark.parametrize("n, dim, ratio, scale, tail", [c for c in WIDE_CASES if c[1] < 10000])
def test_step_is_the_oracles(run, norm, dtype, exact, n, dim, ratio, scale, tail):
    """A threshold or length summed over D numbers may lose sqrt(D) roundings; l_inf and short samples lose a few."""
    for seed, box in enumerate(BOXES):
        c, want = judged(norm, n, dim, dtype, seed=seed, ratio=ratio, scale=scale, tail=tail, exact=exact, **box)
        assert error(c.step_on(run), want, scale_of(c, want)) <= 8 + math.sqrt(dim)


@each_run
@each_dtype
@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("step, size", [(1e-28, 4e20), (1e28, 4e-44), (1e-30, 1e38), (1e30, 1.5e-45)])
def test_a_step_far_from_the_size_of_its_gradient_is_not_lost(run, norm, dtype, step, size):
    """step / ||g|| lies outside float32 here: without a ball, the step must keep its length."""
    grad = torch.full((3, 300), size, dtype=dtype) * torch.tensor([[1.0], [-1.0], [0.0]], dtype=dtype)
    zero = torch.zeros(3, 300, dtype=dtype)
    case = Case(zero, zero, grad, torch.full((3,), math.inf, dtype=dtype), torch.tensor(step, dtype=dtype), norm, FREE)
    moved = flat(case.step_on(run))
    length = step / (math.sqrt(300) if norm == "l2" else 300)
    np.testing.assert_allclose(moved, length * np.array([[1.0], [-1.0], [0.0]]) * np.ones(300), rtol=1e-5)


@each_run
@each_projection
@each_oracle
@few()
@given(data=st.data())
def test_step_is_the_oracles_on_small_numbers(run, norm, exact, data):
    """Few distinct values: ties, zeros, points on the sphere and on the box come up all the time."""
    dim = data.draw(st.integers(1, 5))
    grid = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    x, x0 = (torch.from_numpy(data.draw(hnp.arrays(float, (2, dim), elements=grid))) for _ in range(2))
    signed = st.sampled_from([0.0, 1.0, -1.0, 2.0, -3.0, 1e-30])
    grad = torch.from_numpy(data.draw(hnp.arrays(float, (2, dim), elements=signed)))
    eps, step = (torch.tensor(data.draw(st.tuples(grid, grid)), dtype=torch.float64) for _ in range(2))
    options = {"exact": exact, "descend": data.draw(st.booleans())}
    if norm == "l1":
        options["top_q"] = data.draw(st.sampled_from([None, 1, dim]))
    options |= data.draw(st.sampled_from([{}, {"lo": None, "hi": None}, {"lo": 0.2, "hi": 0.8}]))
    for dtype in (torch.float32, torch.float64):
        c = Case(x.to(dtype), x0.to(dtype), grad.to(dtype), eps.to(dtype), step.to(dtype), norm, options)
        want = answer(c)
        assert np.abs(flat(c.step_on(run)) - want).max() <= 16 * unit(dtype)


@each_run
@each_oracle
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_gradients_are_read_as_they_are(run, norm, layout):
    c = case(norm, 4, (3, 5, 7))
    x, x0, half = (t.to(memory_format=layout) for t in (c.x, c.x0, c.grad.bfloat16()))
    got = c.but(x=x, x0=x0, grad=half).step_on(run)
    assert got.dtype == torch.float32
    same(got, c.but(x=x, x0=x0, grad=half.float()).step_on(run))


@each_run
@each_oracle
def test_numbers_and_tensors_of_any_float_type_are_one_budget(run, norm):
    c = case(norm, 3, 20)
    plain = c.but(eps=0.125, step=0.25).step_on(run)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for shape in ((), (3,)):
            eps, step = torch.full(shape, 0.125, dtype=dtype), torch.full(shape, 0.25, dtype=dtype)
            same(c.but(eps=eps, step=step).step_on(run), plain)
            same(c.but(eps=eps.expand(3), step=0.25).step_on(run), plain)
    same(c.but(eps=1, step=2).step_on(run), c.but(eps=1.0, step=2.0).step_on(run))
    spread = torch.stack([c.eps, c.step, torch.full((3,), math.nan)], 1)
    same(c.but(eps=spread[:, 0], step=spread[:, 1]).step_on(run), c.step_on(run))


@each_native
@each_oracle
def test_numbers_need_no_memory(run, norm):
    """A number kept in a tensor would have to outlive every CUDA graph that reads it."""
    c = case(norm, 3, 20).but(eps=0.125, step=0.25)
    with run():
        args = (c.x, c.x0, c.grad, c.eps, c.step, norm)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            ops.pgd_step(*args, out=c.x, exact=True)
    names = {event.key for event in profile.key_averages()}
    assert any("linfair" in name for name in names)
    assert not any(name.startswith("aten::") for name in names)


@each_run
@pytest.mark.parametrize("alias, norm", [("l_inf", "linf"), (math.inf, "linf"), (2, "l2"), ("l_2", "l2"), (1, "l1")])
def test_aliases_of_norms(run, alias, norm):
    c = case(norm, 3, 20)
    same(c.but(norm=alias).step_on(run), c.step_on(run))
