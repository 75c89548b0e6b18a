"""Laws of the projections: feasible, idempotent, nearest, and the two kinds told apart."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linfair.norms import get_norm
from ops_cases import (
    P,
    answer,
    case,
    each_dtype,
    each_norm,
    each_oracle,
    each_projection,
    each_run,
    error,
    few,
    flat,
    nearest,
    same,
    unit,
    wide,
)

SHAPES = [(6, 1), (6, 2), (4, 17), (4, 48), (2, 3072)]


def points(norm, n, dim, dtype, seed=0, **options):
    """y, x0 in the box, eps: y is out of the ball, about a third of it out of the box."""
    c = case(norm, n, dim, dtype, seed=seed, ratio=(1.0, 20), lo=None, hi=None, **options)
    return c.x + c.step[:, None] * c.grad, c.x0, c.eps


def inside(norm, z, x0, eps):
    """||z - x0|| <= eps up to the rounding of each z and of eps."""
    z, x0, eps = flat(z), flat(x0), wide(eps, z.dtype)
    rounding = np.linalg.norm(np.abs(z) + np.abs(x0), get_norm(norm).p, axis=1) + eps
    return (np.linalg.norm(z - x0, get_norm(norm).p, axis=1) - eps) / rounding


@each_run
@each_dtype
@each_norm
@each_projection
def test_results_are_in_the_ball_and_exactly_in_the_box(run, norm, dtype, exact):
    for n, dim in SHAPES:
        y, x0, eps = points(norm, n, dim, dtype, seed=dim)
        z = run.project(y, x0, eps, norm, exact=exact)
        assert z.min() >= 0
        assert z.max() <= 1
        assert (inside(norm, z, x0, eps) <= 4 * unit(dtype)).all()
        free = run.project(y, x0, eps, norm, lo=None, hi=None, exact=exact)
        assert (inside(norm, free, x0, eps) <= 4 * unit(dtype)).all()
        np.testing.assert_allclose(  # a projection from outside ends on the sphere
            get_norm(norm).of(flat(free) - flat(x0)), wide(eps, dtype), rtol=1e3 * math.sqrt(dim) * unit(dtype)
        )


@each_run
@each_dtype
@each_norm
@each_projection
def test_projecting_twice_is_projecting_once(run, norm, dtype, exact):
    for n, dim in SHAPES:
        y, x0, eps = points(norm, n, dim, dtype, seed=dim)
        once = run.project(y, x0, eps, norm, exact=exact)
        twice = run.project(once, x0, eps, norm, exact=exact)
        scale = np.maximum(np.abs(flat(x0)).max(1), np.abs(flat(once)).max(1))
        assert error(twice, flat(once), scale) <= (0 if norm == "linf" else 6 + math.sqrt(dim))


@each_run
@each_dtype
@each_norm
@each_projection
def test_points_inside_stay_bit_for_bit(run, norm, dtype, exact):
    for n, dim in SHAPES:
        c = case(norm, n, dim, dtype, seed=dim)
        reach = torch.from_numpy(np.asarray(get_norm(norm).of(flat(c.x) - flat(c.x0)), float)).to(dtype)
        same(run.project(c.x, c.x0, 1.001 * reach, norm, exact=exact), c.x)
        same(run.project(c.x0, c.x0, 0.0, norm, exact=exact), c.x0)
        beyond = run.project(4 * c.x - 1, c.x0, math.inf, norm, exact=exact)
        same(beyond, (4 * c.x - 1).clamp(0, 1))  # an infinite radius is no ball: the box alone
        same(run.project(4 * c.x - 1, c.x0, math.inf, norm, lo=None, hi=None, exact=exact), 4 * c.x - 1)


@each_run
@each_projection
def test_the_sphere_belongs_to_the_ball(run, exact):
    y, x0 = torch.tensor([[3.0, -4.0]]), torch.zeros(1, 2)
    for norm, eps in (("l2", 5.0), ("l1", 7.0), ("linf", 4.0)):
        same(run.project(y, x0, eps, norm, lo=None, hi=None, exact=exact), y)


@each_run
@each_dtype
@each_oracle
def test_no_feasible_point_lies_on_the_far_side(run, norm, dtype):
    """<y - p, z - p> <= 0 for every feasible z: the variational inequality of a Euclidean projection."""
    rng = np.random.default_rng(0)
    for n, dim in SHAPES:
        y, x0, eps = points(norm, n, dim, dtype, seed=dim)
        p = flat(run.project(y, x0, eps, norm, exact=True))
        far, centre, radii = flat(y), flat(x0), wide(eps, dtype)
        for i in range(n):
            drawn = centre[i] + radii[i] * rng.standard_normal((6, dim)) * 3.0 ** rng.integers(-3, 4, (6, 1))
            feasible = [nearest(norm, z, centre[i], radii[i], 0, 1, True) for z in drawn]
            feasible += [centre[i], nearest(norm, far[i], centre[i], radii[i], 0, 1, False)]
            slack = 8 * math.sqrt(dim) * unit(dtype) * np.abs(far[i] - p[i]).sum() * np.abs(centre[i]).max().clip(1)
            for z in feasible:
                assert (far[i] - p[i]) @ (z - p[i]) <= slack


@each_run
@each_oracle
def test_exact_is_never_farther_and_sometimes_nearer(run, norm):
    y, x0, eps = points(norm, 40, 12, torch.float64)
    there = flat(y)
    exact, clipped = (flat(run.project(y, x0, eps, norm, exact=exact)) for exact in (True, False))
    gain = np.linalg.norm(there - clipped, axis=1) - np.linalg.norm(there - exact, axis=1)
    assert (gain >= -1e-14).all()
    assert (gain > 1e-3).any() == (norm != "linf")


@each_run
def test_ball_then_clip_by_hand(run):
    """x0 = (.9, .5), y = (1.7, 1.1): d = (.8, .6) has length 1 and sum 1.4."""
    y, x0 = torch.tensor([[1.7, 1.1]], dtype=torch.float64), torch.tensor([[0.9, 0.5]], dtype=torch.float64)

    def project(norm, exact):
        return run.project(y, x0, 0.5, norm, exact=exact)[0].tolist()

    assert project("l2", False) == pytest.approx([1.0, 0.8], abs=1e-15)
    assert project("l2", True) == pytest.approx([1.0, 0.5 + math.sqrt(0.25 - 0.01)], abs=1e-15)
    assert project("l1", False) == pytest.approx([1.0, 0.65], abs=1e-15)
    assert project("l1", True) == pytest.approx([1.0, 0.9], abs=1e-15)
    assert project("linf", False) == project("linf", True) == pytest.approx([1.0, 1.0], abs=1e-15)


@each_run
@each_dtype
@each_projection
def test_the_default_of_project_is_exact_and_of_the_step_is_not(run, dtype, exact):
    c = case("l2", 8, 12, dtype, ratio=(2, 4))
    same(run.project(3 * c.x - 1, c.x0, c.eps, "l2"), run.project(3 * c.x - 1, c.x0, c.eps, "l2", exact=True))
    same(c.step_on(run), c.step_on(run, exact=False))
    same(run.project(c.x, c.x0, 0.1), run.project(c.x, c.x0, 0.1, "linf", lo=0.0, hi=1.0))


@each_run
@each_oracle
def test_cvxpy_agrees(run, norm):
    cvxpy = pytest.importorskip("cvxpy")
    for seed, dim in ((0, 3), (1, 8)):
        y, x0, eps = points(norm, 2, dim, torch.float64, seed=seed)
        for box in (True, False):
            ours = run.project(y, x0, eps, norm, exact=True, **({} if box else {"lo": None, "hi": None}))
            for i in range(2):
                z = cvxpy.Variable(dim)
                ball = cvxpy.norm(z - x0[i].numpy(), P[norm]) <= eps[i].item()
                limits = [ball, z >= 0, z <= 1] if box else [ball]
                cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(z - y[i].numpy())), limits).solve(
                    solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9
                )
                np.testing.assert_allclose(ours[i].numpy(), z.value, atol=1e-4)


@each_run
@each_dtype
@each_norm
@each_projection
def test_the_box_wins_where_the_centre_is_outside(run, norm, dtype, exact):
    x0 = torch.tensor([[-0.5, 0.5, 1.5], [-0.5, 0.5, 1.5], [2.0, 2.0, 2.0]], dtype=dtype)
    y, eps = x0 + torch.tensor([0.7, 0.4, -0.9], dtype=dtype), torch.tensor([0.05, 2.0, 0.1], dtype=dtype)
    z = run.project(y, x0, eps, norm, exact=exact)
    assert z.min() >= 0
    assert z.max() <= 1
    if norm == "linf":
        r = eps[:, None]
        same(z, torch.minimum(torch.maximum(y, x0 - r), x0 + r).clamp(0, 1))
    elif exact:
        same(z[[0, 2]], x0[[0, 2]].clamp(0, 1))  # the ball misses the box
    if exact or norm == "linf":
        assert (inside(norm, z, x0, eps)[1] <= 4 * unit(dtype)).all()  # and here it does not


@each_run
@each_dtype
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_ball_that_misses_the_box_gives_its_nearest_point_bit_for_bit(run, norm, dtype):
    rng = np.random.default_rng(0)
    for dim in (1, 2, 5, 17, 300):
        x0 = torch.from_numpy(3 * rng.random((200, dim)) - 1).to(dtype)
        x0[:, 0] = 1.5
        gap = np.asarray(get_norm(norm).of(flat(x0 - x0.clamp(0, 1))), float)
        eps = torch.from_numpy(gap * rng.choice([1e-3, 0.5, 0.9, 0.999], 200)).to(dtype)
        y = x0 + torch.from_numpy(rng.standard_normal((200, dim))).to(dtype)
        same(run.project(y, x0, eps, norm), x0.clamp(0, 1))


@each_run
@each_dtype
@each_norm
@each_projection
def test_radius_zero_is_the_centre(run, norm, dtype, exact):
    c = case(norm, 5, 33, dtype, exact=exact)
    same(c.but(eps=0.0).step_on(run), c.x0)
    outside = c.x0 * 3 - 1
    same(c.but(eps=torch.zeros(5), x0=outside).step_on(run), outside.clamp(0, 1))
    moved = c.but(eps=torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])).step_on(run)
    same(moved[::2], c.x0[::2])
    assert (moved[1::2] != c.x0[1::2]).any()


@each_run
@each_dtype
@each_oracle
@few()
@given(over=st.integers(-3, 6), dim=st.sampled_from([1, 2, 3, 9, 64]), seed=st.integers(0, 9))
def test_around_the_sphere_nothing_jumps(run, norm, dtype, over, dim, seed):
    """A point within a few roundings of the sphere moves by a few roundings."""
    c = case(norm, 3, dim, dtype, seed=seed, lo=None, hi=None)
    reach = torch.from_numpy(np.asarray(np.linalg.norm(flat(c.x) - flat(c.x0), P[norm], axis=1), float)).to(dtype)
    eps = reach * (1 - over * torch.finfo(dtype).eps)
    for exact in (False, True):
        z = run.project(c.x, c.x0, eps, norm, lo=None, hi=None, exact=exact)
        assert error(z, flat(c.x), np.abs(flat(c.x)).max(1) + wide(eps, dtype)) <= 32


@each_run
@each_oracle
def test_the_step_then_its_projection_are_the_fused_step(run, norm):
    """project() of the step taken apart, against the oracle of the step: one definition for both."""
    c = case(norm, 6, 30, torch.float64, exact=True, ratio=(1.5, 5))
    free = c.but(eps=math.inf, lo=None, hi=None)
    np.testing.assert_allclose(flat(run.project(free.step_on(run), c.x0, c.eps, norm)), answer(c), atol=1e-14)
