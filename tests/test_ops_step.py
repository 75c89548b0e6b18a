"""Laws of the step: directions at any scale of the gradient, ties, signs, budgets a sample, batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linfair.norms import get_norm
from ops_cases import (
    FREE,
    NATIVE,
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
    same,
    unit,
)


def free_step(run, grad, norm, step=1.0, **options):
    """The step alone: from 0, no ball, no box."""
    zero = torch.zeros_like(grad)
    return run.pgd_step(zero, zero, grad, math.inf, step, norm, **FREE, **options)


@each_run
@each_norm
@pytest.mark.parametrize(
    "dtype, size",
    [(torch.float32, s) for s in (1e-42, 1e-38, 1e-30, 1e-12, 1.0, 1e19, 1e30, 3e38)]
    + [(torch.float64, s) for s in (1e-320, 1e-300, 1e-160, 1.0, 1e160, 1e300)],
)
def test_a_step_has_its_length_whatever_the_size_of_the_gradient(run, norm, dtype, size):
    """Peers clamp small norms and lose the step; squares of 1e-30 underflow, of 1e30 overflow; here neither happens."""
    for dim in (1, 5, 100, 3072):
        rng = np.random.default_rng(dim)
        grad = torch.from_numpy(rng.uniform(0.2, 1.0, (3, dim)) * rng.choice([-1, 1], (3, dim)) * size).to(dtype)
        for step in (1e-6, 0.5, 255.0):
            moved = free_step(run, grad, norm, step)
            rtol = (8 + math.sqrt(dim)) * unit(dtype)
            np.testing.assert_allclose(get_norm(norm).of(flat(moved)), step, rtol=rtol, err_msg=f"{dim}")
            assert (moved.sign() == grad.sign()).all()


@each_run
@each_dtype
@each_oracle
def test_directions_of_spread_out_gradients_are_the_oracles(run, norm, dtype):
    """Entries over 60 orders of magnitude, subnormals among them."""
    rng = np.random.default_rng(0)
    grad = torch.from_numpy(rng.standard_normal((8, 40)) * 10.0 ** rng.uniform(-42, 18, (8, 40))).to(dtype)
    c = case(norm, 8, 40, dtype, **FREE).but(grad=grad, eps=math.inf)
    want = answer(c)
    assert error(c.step_on(run), want, np.abs(want).max(1)) <= 8


@each_run
@each_dtype
@each_norm
@each_projection
@few(max_examples=10)
@given(power=st.integers(-100, 100))
def test_a_gradient_times_a_power_of_two_changes_nothing(run, norm, dtype, exact, power):
    """Foolbox's 1/batch on the gradient, a loss scaler, a mean for a sum: all the same attack."""
    c = case(norm, 4, 100, dtype, exact=exact)
    same(c.but(grad=c.grad * 2.0**power).step_on(run), c.step_on(run))


@each_run
@each_dtype
@each_norm
@each_projection
def test_a_zero_gradient_moves_nothing(run, norm, dtype, exact):
    c = case(norm, 6, 50, dtype, exact=exact)
    for zero in (torch.zeros_like(c.grad), -torch.zeros_like(c.grad)):
        same(c.but(grad=zero).step_on(run), run.project(c.x, c.x0, c.eps, norm, **c.options))
        same(c.but(grad=zero, eps=math.inf, **FREE).step_on(run), c.x)
    partly = c.but(grad=torch.cat([c.grad[:3], torch.zeros_like(c.grad[3:])]))
    same(partly.step_on(run)[:3], c.step_on(run)[:3])
    same(c.but(step=0.0).step_on(run), run.project(c.x, c.x0, c.eps, norm, **c.options))


@each_run
@each_norm
@each_projection
def test_descent_is_ascent_of_the_negative(run, norm, exact):
    c = case(norm, 6, 50, exact=exact)
    same(c.step_on(run, descend=True), c.but(grad=-c.grad).step_on(run))
    assert (c.step_on(run, descend=True) != c.step_on(run)).any()


@each_run
@each_dtype
@each_norm
@each_projection
def test_samples_do_not_know_each_other(run, norm, dtype, exact):
    """Any order, any subset, one by one: the same bits."""
    for dim in (7, 100, 3072):
        c = case(norm, 9, dim, dtype, seed=dim, exact=exact)
        whole = c.step_on(run)
        order = torch.from_numpy(np.random.default_rng(0).permutation(9))
        same(c.rows(order).step_on(run), whole[order])
        same(c.rows(slice(3, 7)).step_on(run), whole[3:7])
        for i in range(9):
            same(c.rows(slice(i, i + 1)).step_on(run), whole[i : i + 1])


@pytest.mark.skipif(not NATIVE, reason="linfair._C is not built")
@each_norm
@each_projection
def test_threads_do_not_change_a_bit(norm, exact):
    c = case(norm, 33, 3072, exact=exact)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(c.step_on(NATIVE[-1]))
    finally:
        torch.set_num_threads(before)
    same(results[1], results[0])
    same(results[2], results[0])


@each_run
@each_dtype
@each_oracle
@each_projection
def test_names_of_features_do_not_matter(run, norm, dtype, exact):
    c = case(norm, 5, 300, dtype, exact=exact)
    order = torch.from_numpy(np.random.default_rng(1).permutation(300))
    lo = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=dtype) / 4
    c = c.but(lo=lo, hi=lo + 0.7)
    renamed = c.but(x=c.x[:, order], x0=c.x0[:, order], grad=c.grad[:, order], lo=lo[order], hi=lo[order] + 0.7)
    want = flat(c.step_on(run)[:, order])
    assert error(renamed.step_on(run), want, np.ones(5)) <= (0 if norm == "linf" else 16)


@each_run
@each_norm
def test_one_budget_a_sample(run, norm):
    """Every sample gets its own radius and its own step: row i is the whole batch's row i under the numbers of i."""
    c = case(norm, 5, 20)
    each = c.step_on(run)
    for i in range(5):
        alone = c.but(eps=float(c.eps[i]), step=float(c.step[i])).step_on(run)
        same(each[i], alone[i])
    assert len({float(e) for e in c.eps}) == 5


class TestTopQ:
    """The sparse l1 step."""

    @each_run
    def test_by_hand(self, run):
        g = torch.tensor([[3.0, -1.0, 0.0, 2.0, -3.0], [0.0, 0.0, 5.0, 0.0, 0.0]])
        want = {
            1: [[0.5, 0, 0, 0, -0.5], [0, 0, 1.0, 0, 0]],  # the tie at 3 goes in whole
            2: [[0.5, 0, 0, 0, -0.5], [0, 0, 1.0, 0, 0]],
            3: [[1 / 3, 0, 0, 1 / 3, -1 / 3], [0, 0, 1.0, 0, 0]],
            4: [[0.25, -0.25, 0, 0.25, -0.25], [0, 0, 1.0, 0, 0]],
            5: [[0.25, -0.25, 0, 0.25, -0.25], [0, 0, 1.0, 0, 0]],  # zeros never move
        }
        for q, rows in want.items():
            torch.testing.assert_close(free_step(run, g, "l1", top_q=q), torch.tensor(rows), rtol=1e-7, atol=0)

    @each_run
    @each_dtype
    def test_moves_the_step_in_all_along_the_signs_of_the_largest(self, run, dtype):
        for dim in (1, 6, 100, 3072):
            grad = case("l1", 4, dim, dtype, seed=dim).grad
            for q in {1, math.ceil(dim / 100), min(dim, 50), dim}:
                moved = free_step(run, grad, "l1", step=0.7, top_q=q)
                assert (moved != 0).sum(1).tolist() == [q] * 4
                np.testing.assert_allclose(np.abs(flat(moved)).sum(1), 0.7, rtol=4 * unit(dtype))
                assert (moved * grad >= 0).all()
                rest = torch.where(moved == 0, grad.abs(), 0).amax(1)
                assert (torch.where(moved != 0, grad.abs(), math.inf).amin(1) >= rest).all()

    @each_run
    @few()
    @given(
        rows=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, -1.0, 2.0, -3.0, 1e-42])] * 6), min_size=1, max_size=5),
        q=st.integers(1, 6),
    )
    def test_ties_and_zeros_are_the_oracles(self, run, rows, q):
        grad = torch.tensor(rows)
        c = case("l1", len(rows), 6, top_q=q, ratio=(1, 3)).but(grad=grad)
        for exact in (False, True):
            c = c.but(exact=exact)
            assert error(c.step_on(run), answer(c), np.ones(len(rows))) <= 16

    @each_run
    def test_the_steepest_ascent_of_l1_is_one_coordinate(self, run):
        """<g, delta> / ||delta||_1 is largest on the largest entry; the dense step gains less."""
        grad = case("l1", 10, 30).grad
        sparse, dense = (free_step(run, grad, "l1", top_q=q) for q in (1, None))
        torch.testing.assert_close((sparse * grad).sum(1), grad.abs().amax(1))
        assert ((dense * grad).sum(1) < (sparse * grad).sum(1)).all()

    @each_run
    def test_of_bfloat16_gradients_ties_are_many(self, run):
        c = case("l1", 4, 2000, top_q=20)
        half = c.grad.bfloat16()
        same(c.but(grad=half).step_on(run), c.but(grad=half.float()).step_on(run))
        assert (free_step(run, c.grad * 0 + half, "l1", top_q=20) != 0).sum(1).max() > 20
