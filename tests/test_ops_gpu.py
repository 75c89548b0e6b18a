"""The native op on a CUDA device: values against the oracle, the reference and the CPU at every size and layout."""

import math

import numpy as np
import pytest
import torch

from linfair import ops
from linfair.norms import get_norm
from ops_cases import (
    FREE,
    REFERENCE,
    Case,
    Run,
    answer,
    case,
    each_dtype,
    each_norm,
    each_oracle,
    each_projection,
    error,
    flat,
    same,
    unit,
)
from test_ops_hard import agree, each_family, hard

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NATIVE = Run("native")


def on(c: Case, device: str | torch.device = "cuda") -> Case:
    values = {"x": c.x, "x0": c.x0, "grad": c.grad, "eps": c.eps, "step": c.step, **c.options}
    return c.but(**{k: v.to(device) for k, v in values.items() if isinstance(v, torch.Tensor)})


def moved_scale(c: Case, want: np.ndarray) -> np.ndarray:
    """What the numbers of a sample's result are made of, [N]."""
    x, x0 = flat(c.x), flat(c.x0)
    parts = [np.abs(x0).max(1), np.abs(want).max(1), np.abs(x - x0).max(1) if c.norm == "l1" else np.zeros(len(x))]
    return np.maximum.reduce(parts)


def test_native_is_what_runs():
    assert ops.backend("cuda") == "native"
    assert ops.backend(torch.device("cuda", 0)) == "native"


SIZES = [
    # samples, features, ||d|| / eps, scale, tail
    (64, 1, (0.5, 10), 1.0, 1),
    (33, 3, (0.5, 10), 1.0, 1),
    (16, 127, (1, 100), 1e-3, 3),
    (16, 1025, (0.5, 4), 255.0, 1),
    (12, 3072, (0.5, 1000), 1.0, 1),
    (8, 3073, (1, 100), 1.0, 5),
    (3, 16384, (2, 1000), 1.0, 2),
    (2, 50001, (1, 4), 1.0, 1),
    (2, 150528, (0.5, 100), 1.0, 2),
    (300, 784, (0.5, 10), 1.0, 1),
]


@each_norm
@each_dtype
@each_projection
@pytest.mark.parametrize("n, dim, ratio, scale, tail", SIZES)
def test_values(norm, dtype, exact, n, dim, ratio, scale, tail):
    """l_inf: the bits of the CPU. l2, l1: at most twice the float32 reference's error, and in the ball and the box."""
    for seed, options in enumerate(({}, FREE, {"descend": True})):
        c = case(norm, n, dim, dtype, seed=seed, ratio=ratio, scale=scale, tail=tail, exact=exact, **options)
        got = on(c).step_on(NATIVE).cpu()
        if norm == "linf":
            same(got, c.step_on(REFERENCE))
            continue
        want = answer(c)
        scales = moved_scale(c, want)
        assert error(got, want, scales) <= 2 * error(c.step_on(REFERENCE), want, scales) + 4
        reach = get_norm(norm).of(flat(got) - flat(c.x0))
        rounding = get_norm(norm).of(np.abs(flat(got)) + np.abs(flat(c.x0))) + flat(c.eps)[:, 0]
        assert (reach <= flat(c.eps)[:, 0] + 4 * unit(dtype) * rounding).all()
        if options != FREE:
            assert got.min() >= 0
            assert got.max() <= scale


@pytest.mark.parametrize("top_q", [1, 3, 31, 1000])
@pytest.mark.parametrize("dim", [1000, 3072, 20000])
def test_sparse_steps(top_q, dim):
    for half in (False, True):  # bfloat16 gradients have many ties
        c = case("l1", 8, dim, top_q=top_q, exact=True, ratio=(1, 10))
        c = c.but(grad=c.grad.bfloat16() if half else c.grad)
        want = answer(c)
        assert error(on(c).step_on(NATIVE).cpu(), want, moved_scale(c, want)) <= 16 + math.sqrt(dim)
        free = c.but(x=torch.zeros_like(c.x), x0=torch.zeros_like(c.x), eps=math.inf, **FREE)
        assert np.array_equal(flat(on(free).step_on(NATIVE).cpu()) != 0, answer(free) != 0)


@each_norm
@each_projection
def test_bfloat16_gradients(norm, exact):
    for dim in (1, 7, 3072, 3073, 20000):
        c = on(case(norm, 8, dim, exact=exact))
        half = c.grad.bfloat16()
        same(c.but(grad=half).step_on(NATIVE), c.but(grad=half.float()).step_on(NATIVE))


@each_norm
@each_dtype
@each_projection
def test_layouts(norm, dtype, exact):
    """channels_last, a mix of layouts, one centre for all samples, every other sample, bounds a pixel."""
    lo = torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0), dtype=dtype) / 4
    c = case(norm, 6, (3, 9, 8), dtype, exact=exact)
    c = c.but(lo=lo, hi=lo + 0.6, x0=c.x0.clamp(lo, lo + 0.6))
    want, d = flat(c.step_on(REFERENCE)), on(c)
    last = [t.contiguous(memory_format=torch.channels_last) for t in (d.x, d.x0, d.grad)]
    spread = [torch.stack([t, t], -1)[..., 0] for t in (d.x, d.x0, d.grad)]
    for x, x0, grad in (
        (d.x, d.x0, d.grad),
        last,
        (last[0], d.x0, d.grad),
        (d.x, last[1], spread[2]),
        (spread[0], d.x0, last[2]),
    ):
        got = d.but(x=x, x0=x0, grad=grad).step_on(NATIVE)
        assert error(got.cpu().contiguous(), want, np.ones(6)) <= (0 if norm == "linf" else 16)
        if x is last[0]:
            assert got.is_contiguous(memory_format=torch.channels_last)
    every = [torch.stack([t, t], 1).flatten(0, 1)[::2] for t in (d.x, d.x0, d.grad)]
    same(d.but(x=every[0], x0=every[1], grad=every[2]).step_on(NATIVE), d.step_on(NATIVE))
    one = d.x0[:1].expand_as(d.x)
    same(d.but(x0=one).step_on(NATIVE), d.but(x0=one.clone()).step_on(NATIVE))


@each_norm
@each_dtype
@pytest.mark.parametrize("dim", [1, 5, 64, 3071, 3072])
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_unaligned_pointers(norm, dtype, dim, shift):
    """16-byte accesses must not be tried where the pointers or the sample strides forbid them."""
    c = on(case(norm, 5, dim, dtype))
    buffers = [torch.full((5 * (dim + 1) + 8,), 7.0, dtype=dtype, device="cuda") for _ in range(4)]
    views = [b[shift : shift + 5 * (dim + 1)].view(5, dim + 1)[:, :dim] for b in buffers]
    for view, t in zip(views, (c.x, c.x0, c.grad), strict=False):
        view.copy_(t)
    for mixed in ([c.x, *views[1:3]], [views[0], c.x0, c.grad], views[:3]):
        got = c.but(x=mixed[0], x0=mixed[1], grad=mixed[2]).step_on(NATIVE, out=views[3])
        assert error(got.cpu(), flat(c.step_on(NATIVE).cpu()), np.ones(5)) <= (0 if norm == "linf" else 16)
    views[3].fill_(7.0)
    assert (buffers[3] == 7).all()  # nothing was written beside the samples


@each_norm
@each_projection
def test_grids_beyond_their_limits(norm, exact):
    """More samples than a grid has blocks in y or z."""
    for n, dim in ((70000, 5), (66000, 1), (140000, 2)):
        c = case(norm, n, dim, exact=exact)
        got = on(c).step_on(NATIVE).cpu()
        assert error(got, flat(c.step_on(REFERENCE)), np.ones(n)) <= (0 if norm == "linf" else 16)


@each_dtype
@each_projection
@each_family
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_hard_projections(norm, dtype, exact, family):
    for dim, n in ((4, 20000), (17, 20000), (200, 5000), (3072, 20)):
        y, x0, eps = hard(family, norm, n, dim, dtype)
        ours = NATIVE.project(y.cuda(), x0.cuda(), eps.cuda(), norm, exact=exact)
        agree(ours.cpu(), REFERENCE.project(y, x0, eps, norm, exact=exact), y)


@each_norm
@each_dtype
@each_projection
def test_nan_is_never_hidden(norm, dtype, exact):
    for dim, place in ((5, 3), (3072, 3000), (3072, 0), (20000, 19999)):
        for name in ("x", "x0", "grad"):
            c = case(norm, 4, dim, dtype, exact=exact)
            dirty = getattr(c, name).clone()
            dirty[2, place] = math.nan
            clean, got = on(c).step_on(NATIVE), on(c.but(**{name: dirty})).step_on(NATIVE)
            expected = torch.zeros_like(clean, dtype=torch.bool)
            expected[(2, place) if norm == "linf" else 2] = True
            assert torch.equal(got.isnan(), expected)
            same(got[~expected], clean[~expected])
    if norm != "linf":
        c.grad[1, 0] = math.inf
        assert on(c).step_on(NATIVE)[1].isnan().all()


@each_norm
@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e-30, 1.0, 1e30, 3e38])
def test_a_step_has_its_length_whatever_the_size_of_the_gradient(norm, size):
    for dim in (3, 3072, 40000):
        rng = np.random.default_rng(dim)
        grad = torch.from_numpy(rng.uniform(0.2, 1.0, (3, dim)) * rng.choice([-1, 1], (3, dim)) * size).float().cuda()
        zero = torch.zeros_like(grad)
        moved = ops.pgd_step(zero, zero, grad, math.inf, 0.5, norm, **FREE)
        np.testing.assert_allclose(get_norm(norm).of(flat(moved.cpu())), 0.5, rtol=(8 + math.sqrt(dim)) * unit(grad))
        same(ops.pgd_step(zero, zero, zero, math.inf, 0.5, norm, **FREE), zero)


@each_norm
@each_dtype
@each_projection
def test_samples_do_not_know_each_other_and_runs_repeat(norm, dtype, exact):
    for dim in (7, 3072, 20000):
        c = on(case(norm, 9, dim, dtype, exact=exact))
        whole = c.step_on(NATIVE)
        order = torch.tensor([4, 0, 8, 3, 1, 7, 2, 6, 5], device="cuda")
        same(c.rows(order).step_on(NATIVE), whole[order])
        same(c.rows(slice(3, 4)).step_on(NATIVE), whole[3:4])
        for _ in range(3):
            same(c.step_on(NATIVE), whole)


@each_oracle
def test_class_budgets_are_reached(norm):
    c = on(case(norm, 8, 3072, **FREE))
    labels = torch.tensor([2, 0, 1, 2, 0, 3, 1, 2], device="cuda")
    eps, step = torch.tensor([0.05, 0.4, 0.2, 0.0], device="cuda"), torch.tensor([0.01, 0.07, 0.1, 0.3], device="cuda")
    x = c.x0.clone()
    for _ in range(60):
        ops.pgd_step_classwise(x, c.x0, c.grad, labels, eps, step, norm, out=x, **FREE)
    reached = get_norm(norm).of(flat(x.cpu()) - flat(c.x0.cpu()))
    np.testing.assert_allclose(reached, eps[labels].double().cpu(), rtol=1e-3, atol=2e-4)
    assert reached[5] == 0


@each_norm
def test_random_starts(norm):
    x0 = torch.rand(500, 3, 8, 8, device="cuda")
    g = torch.Generator("cuda").manual_seed(3)
    eps = torch.linspace(0, 0.5, 500, device="cuda")
    out = ops.random_start(x0, eps, norm, generator=g, **FREE)
    sizes = get_norm(norm).of(flat(out.cpu()) - flat(x0.cpu()))
    assert (sizes <= eps.double().cpu().numpy() + 1e-4).all()
    u = (sizes[100:] / eps.double().cpu().numpy()[100:]) ** 192  # uniform up to the rounding of 192 coordinates
    assert abs(np.median(u) - 0.5) < 0.15
    same(out, ops.random_start(x0, eps, norm, generator=g.manual_seed(3), **FREE))
    for centre, wrong in ((x0, torch.Generator()), (x0.cpu(), g)):
        with pytest.raises((TypeError, ValueError), match=r"generator .*(cuda.*cpu|cpu.*cuda)"):
            ops.random_start(centre, 0.1, norm, generator=wrong)
