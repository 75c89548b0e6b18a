"""Class-wise budgets are kept (the radius reached is the class's own), and NaN is never hidden."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linfair.norms import get_norm
from ops_cases import FREE, case, each_dtype, each_norm, each_projection, each_run, few, flat, same, unit

LABELS = torch.tensor([2, 0, 1, 2, 0, 3, 1, 2])
EPS = [0.05, 0.4, 0.2, 0.0]
STEP = [0.01, 0.07, 0.1, 0.3]


@each_run
@each_dtype
@each_norm
@each_projection
def test_classwise_is_the_step_with_the_budgets_of_the_labels(run, norm, dtype, exact):
    c = case(norm, 8, 30, dtype)
    eps, step = torch.tensor(EPS, dtype=dtype), torch.tensor(STEP, dtype=dtype)
    want = c.but(eps=eps[LABELS], step=step[LABELS], exact=exact).step_on(run)
    tensors = (c.x, c.x0, c.grad)
    for labels in (LABELS, LABELS.to(torch.int32), LABELS.to(torch.uint8)):
        for budgets in ((eps, step), (EPS, STEP), (tuple(EPS), step), (eps.double(), np.asarray(STEP).tolist())):
            same(run.pgd_step_classwise(*tensors, labels, *budgets, norm, exact=exact), want)
    uniform = run.pgd_step_classwise(*tensors, LABELS, 0.25, STEP, norm, exact=exact)
    same(uniform, run.pgd_step(*tensors, 0.25, step[LABELS], norm, exact=exact))


@each_run
def test_classwise_passes_every_keyword_on(run):
    c = case("l1", 8, 30)
    out, lo = torch.empty_like(c.x), c.x0[0] / 2
    options = {"lo": lo, "hi": None, "descend": True, "exact": True, "top_q": 3}
    got = run.pgd_step_classwise(c.x, c.x0, c.grad, LABELS, EPS, STEP, "l1", out=out, **options)
    assert got is out
    eps, step = torch.tensor(EPS)[LABELS], torch.tensor(STEP)[LABELS]
    same(got, run.pgd_step(c.x, c.x0, c.grad, eps, step, "l1", **options))


@each_run
@each_dtype
@each_norm
@each_projection
def test_every_class_reaches_its_own_radius(run, norm, dtype, exact):
    """Many steps up one slope end on the class's own sphere: a class that may go farther does, none goes farther
    than it may. A loop that projects to the uniform radius, or steps a second time without the weights, fails."""
    c = case(norm, 8, 40, dtype, **FREE)
    x = c.x0.clone()
    for _ in range(60):
        run.pgd_step_classwise(x, c.x0, c.grad, LABELS, EPS, STEP, norm, exact=exact, out=x, **FREE)
        reached = get_norm(norm).of(flat(x) - flat(c.x0))
        assert (reached <= np.array(EPS)[LABELS] * (1 + 1e-5) + 64 * unit(dtype)).all()
    np.testing.assert_allclose(reached, np.array(EPS)[LABELS], rtol=1e-4, atol=0 if dtype == torch.float64 else 1e-5)


@each_run
@each_norm
def test_names_of_classes_do_not_matter(run, norm):
    c = case(norm, 8, 30)
    new_name = torch.tensor([3, 1, 0, 2])
    eps, step = torch.empty(4), torch.empty(4)
    eps[new_name], step[new_name] = torch.tensor(EPS), torch.tensor(STEP)
    same(
        run.pgd_step_classwise(c.x, c.x0, c.grad, new_name[LABELS], eps, step, norm),
        run.pgd_step_classwise(c.x, c.x0, c.grad, LABELS, EPS, STEP, norm),
    )


@each_run
@each_norm
def test_no_samples_and_no_classes_drawn(run, norm):
    empty, none = torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)
    assert run.pgd_step_classwise(empty, empty, empty, none, EPS, STEP, norm).shape == (0, 5)


# NaN policy


def spoil(c, name, value, index=(1, 2)):
    tensor = getattr(c, name).clone()
    tensor[index] = value
    return c.but(**{name: tensor})


@each_run
@each_dtype
@each_norm
@each_projection
@pytest.mark.parametrize("name", ["x", "x0", "grad"])
@pytest.mark.parametrize("dim", [3, 16, 100])
def test_nan_is_never_hidden(run, norm, dtype, exact, name, dim):
    """l_inf: the element; l2 and l1: the sample. All others come out as they were."""
    options = [{}, FREE] + ([{"top_q": 1}, {"top_q": 3}] if norm == "l1" else [])
    for more in options:
        c = case(norm, 4, dim, dtype, exact=exact, **more)
        clean, got = c.step_on(run), spoil(c, name, math.nan).step_on(run)
        expected = torch.zeros_like(clean, dtype=torch.bool)
        expected[(1, 2) if norm == "linf" else 1] = True
        assert torch.equal(got.isnan(), expected)
        same(got[~expected], clean[~expected])


@each_run
@each_dtype
@each_norm
@each_projection
@few(max_examples=15)
@given(dim=st.sampled_from([1, 5, 16, 19, 37, 64, 131]), place=st.integers(0, 130), name=st.sampled_from(["x", "grad"]))
def test_nan_is_seen_wherever_it_stands(run, norm, dtype, exact, dim, place, name):
    c = case(norm, 2, dim, dtype, exact=exact)
    got = spoil(c, name, math.nan, (0, place % dim)).step_on(run).isnan()
    assert got[0, place % dim]
    assert got.sum() == (1 if norm == "linf" else dim)


@each_run
@each_dtype
@each_norm
@each_projection
def test_nan_is_seen_in_a_ball_of_any_radius_and_in_a_projection(run, norm, dtype, exact):
    for eps in (0.0, 1e-3, math.inf):
        c = case(norm, 3, 20, dtype, exact=exact).but(eps=eps)
        for name in ("x", "x0", "grad"):
            assert spoil(c, name, math.nan).step_on(run)[1, 2].isnan()
        for y, x0 in ((spoil(c, "x", math.nan).x, c.x0), (c.x, spoil(c, "x0", math.nan).x0)):
            got = run.project(y, x0, eps, norm, exact=exact).isnan()
            assert got[1, 2]
            assert got.sum() == (1 if norm == "linf" else 20)
    assert spoil(c, "grad", math.nan).but(step=0.0).step_on(run)[1, 2].isnan()


@each_run
@each_dtype
@each_projection
@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_gradient(run, dtype, exact, sign):
    """It has a sign and a largest coordinate, but no l2 or dense l1 direction."""
    for norm in ("l2", "l1"):
        c = case(norm, 4, 20, dtype, exact=exact)
        got = spoil(c, "grad", sign * math.inf).step_on(run)
        assert got[1].isnan().all()
        same(got[[0, 2, 3]], c.step_on(run)[[0, 2, 3]])
    for norm, top_q in (("linf", None), ("l1", 1)):
        c = case(norm, 4, 20, dtype, exact=exact, top_q=top_q)
        same(spoil(c, "grad", sign * math.inf).step_on(run), spoil(c, "grad", sign * 1e30).step_on(run))
