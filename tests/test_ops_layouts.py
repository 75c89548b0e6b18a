"""Any strides give the right result, layouts are kept, and out= writes where it says and nowhere else."""

import itertools

import numpy as np
import pytest
import torch

from ops_cases import (
    Case,
    answer,
    case,
    each_dtype,
    each_norm,
    each_oracle,
    each_projection,
    each_run,
    error,
    flat,
    same,
)

SHAPE = (3, 6, 5)
LAST = torch.channels_last


def _in(shape, view):
    """A function that copies a tensor into a view of a larger buffer full of a number that must survive."""

    def place(t):
        buffer = torch.full(shape(t.shape), 777.0, dtype=t.dtype)
        return view(buffer).copy_(t)

    return place


LAYOUTS = {
    "contiguous": lambda t: t.clone(memory_format=torch.contiguous_format),
    "channels_last": lambda t: t.clone(memory_format=LAST),
    "every other sample": _in(lambda s: (2 * s[0], *s[1:]), lambda b: b[::2]),
    "every other column": _in(lambda s: (*s[:-1], 2 * s[-1]), lambda b: b[..., 1::2]),
    "samples innermost": _in(lambda s: s[::-1], lambda b: b.permute(3, 2, 1, 0)),
    "inner transposed": _in(lambda s: (s[0], s[1], s[3], s[2]), lambda b: b.transpose(2, 3)),
    "unaligned": _in(lambda s: (int(np.prod(s)) + 1,), lambda b: b[1:].view(-1, *SHAPE)),
    "padded samples": _in(lambda s: (s[0], int(np.prod(s[1:])) + 3), lambda b: b[:, 1:-2].view(-1, *SHAPE)),
    "channels_last, every other sample": _in(lambda s: (2 * s[0], s[2], s[3], s[1]), lambda b: b[::2].movedim(-1, 1)),
}
each_layout = pytest.mark.parametrize("layout", list(LAYOUTS))


def arranged(c: Case, x: str, x0: str, grad: str) -> Case:
    return c.but(x=LAYOUTS[x](c.x), x0=LAYOUTS[x0](c.x0), grad=LAYOUTS[grad](c.grad))


def agree(a: Case, b: Case, run, tolerance: float, **more) -> None:
    """Sums in another order round otherwise; elementwise l_inf does not."""
    got, want = a.step_on(run, **more).contiguous(), flat(b.step_on(run))
    assert error(got, want, np.ones(len(got))) <= (0 if a.norm == "linf" else tolerance)


@each_run
@each_dtype
@each_norm
@each_layout
def test_layout_does_not_change_the_result(run, norm, dtype, layout):
    for exact in (False, True):
        c = case(norm, 4, SHAPE, dtype, exact=exact)
        for odd in itertools.product(("contiguous", layout), repeat=3):
            agree(arranged(c, *odd), c, run, 16)
        agree(arranged(c, layout, "contiguous", "channels_last"), c, run, 16)
        agree(arranged(c, "channels_last", layout, "contiguous"), c, run, 16)


@each_run
@each_dtype
@each_oracle
@each_layout
def test_bounds_are_read_in_the_order_of_the_sample(run, norm, dtype, layout):
    g = torch.Generator().manual_seed(0)
    lo = torch.rand(SHAPE, generator=g, dtype=dtype) / 4
    hi = lo + torch.rand(SHAPE, generator=g, dtype=dtype)
    c = case(norm, 3, SHAPE, dtype, exact=True)
    c = c.but(x0=c.x0.clamp(lo, hi), lo=lo, hi=hi)
    want = answer(c)
    c = arranged(c, layout, "contiguous", layout)
    for box in (
        {},
        {"lo": lo.permute(1, 2, 0).contiguous().permute(2, 0, 1)},
        {"lo": lo.double(), "hi": torch.stack([hi, hi], -1)[..., 0]},
    ):
        assert error(c.step_on(run, **box).contiguous(), want, np.ones(3)) <= 16


@each_run
@each_norm
def test_results_keep_the_layout_of_x(run, norm):
    c = case(norm, 4, SHAPE)
    for layout in ("contiguous", "channels_last", "samples innermost", "inner transposed"):
        got = arranged(c, layout, "channels_last", "contiguous").step_on(run)
        assert got.stride() == LAYOUTS[layout](c.x).stride()
        assert run.project(LAYOUTS[layout](c.x), c.x0, 0.1, norm).stride() == got.stride()
    got = arranged(c, "padded samples", "contiguous", "contiguous").step_on(run)
    assert got.is_contiguous()


@each_run
@each_norm
@each_projection
def test_one_centre_or_one_gradient_for_all_samples_needs_no_copy(run, norm, exact):
    c = case(norm, 5, SHAPE, exact=exact)
    for layout in ("contiguous", "channels_last"):
        c = c.but(x=LAYOUTS[layout](c.x))
        x0, grad = (t[:1].expand_as(c.x) for t in (c.x0, c.grad))
        agree(c.but(x0=x0, grad=grad), c.but(x0=x0.clone(), grad=grad.clone()), run, 16)
        everywhere = c.x0[:, :, :1, :1].expand_as(c.x)
        agree(c.but(x0=everywhere), c.but(x0=everywhere.clone()), run, 16)
        agree(c.but(x=c.x[:1].expand_as(c.x)), c.but(x=c.x[:1].expand_as(c.x).clone()), run, 16)


@each_run
@each_dtype
@each_norm
@each_projection
def test_shapes_at_the_edge(run, norm, dtype, exact):
    for shape in ((0, 3, 4, 4), (0,), (4, 0), (2, 3, 0, 5), (0, 0)):
        t = torch.zeros(shape, dtype=dtype)
        got = run.pgd_step(t, t, t, 0.1, 0.1, norm, exact=exact)
        assert (got.shape, got.dtype) == (t.shape, dtype)
        assert run.project(t, t, torch.zeros(shape[0]), norm, exact=exact).shape == t.shape
    c = case(norm, 6, 1, dtype, exact=exact)
    column = c.step_on(run)
    scalars = c.but(x=c.x[:, 0], x0=c.x0[:, 0], grad=c.grad[:, 0])
    same(scalars.step_on(run), column[:, 0])
    for shape in ((1, 3, 32, 32), (1, 1), (2, 1, 1, 1), (3, 2, 2, 2, 2, 2)):
        c = case(norm, shape[0], shape[1:], dtype, exact=exact)
        got = c.step_on(run)
        assert got.shape == shape
        assert error(got, answer(c), np.ones(shape[0])) <= 64


@each_run
@each_dtype
@each_norm
@each_projection
def test_out_is_written_and_returned_and_inputs_are_left_alone(run, norm, dtype, exact):
    for layout in ("contiguous", "channels_last"):
        c = arranged(case(norm, 4, SHAPE, dtype, exact=exact), layout, layout, layout)
        inputs = [t.clone() for t in (c.x, c.x0, c.grad, c.eps, c.step)]
        want = c.step_on(run)
        out = torch.full_like(c.x, 7.0)
        assert c.step_on(run, out=out) is out
        same(out, want)
        for before, after in zip(inputs, (c.x, c.x0, c.grad, c.eps, c.step), strict=True):
            same(before, after)
        for name in ("x", "grad"):
            copy = c.but(**{name: getattr(c, name).clone()})
            target = getattr(copy, name)
            assert copy.step_on(run, out=target) is target
            same(target, want)
            for other in {"x", "x0", "grad"} - {name}:
                same(getattr(copy, other), getattr(c, other))
        moved = c.x.clone()
        assert run.project(moved, c.x0, c.eps, norm, exact=exact, out=moved) is moved
        same(moved, run.project(c.x, c.x0, c.eps, norm, exact=exact))


@each_run
@each_norm
@each_layout
def test_out_of_any_layout(run, norm, layout):
    """What lies between the elements of out stays what it was."""
    c = case(norm, 4, SHAPE)
    out = LAYOUTS[layout](torch.zeros_like(c.x))
    whole = torch.as_strided(out, (out.untyped_storage().nbytes() // 4,), (1,), 0)
    between = whole == 777
    assert c.step_on(run, out=out) is out
    assert error(out.contiguous(), flat(c.step_on(run)), np.ones(4)) <= (0 if norm == "linf" else 16)
    assert torch.equal(whole == 777, between)
    for name in ("x", "grad"):  # in place where that tensor is laid out so
        odd = c.but(**{name: LAYOUTS[layout](getattr(c, name))})
        agree(odd, c, run, 16, out=getattr(odd, name))


@each_run
@each_norm
def test_disjoint_parts_of_one_buffer_do_not_overlap(run, norm):
    c = case(norm, 4, 30)
    buffer = torch.zeros(4, 4, 30)
    out, x, x0, grad = buffer
    for part, t in ((x, c.x), (x0, c.x0), (grad, c.grad)):
        part.copy_(t)
    c.but(x=x, x0=x0, grad=grad).step_on(run, out=out)
    same(out, c.step_on(run))


@each_run
@each_norm
@pytest.mark.parametrize("name", ["x", "x0", "grad"])
@pytest.mark.parametrize(
    "halves",
    [
        lambda: torch.zeros(8, 12).chunk(2, dim=1),
        lambda: torch.zeros(8, 6).unflatten(0, (4, 2)).transpose(0, 1).unbind(),
        lambda: torch.zeros(8, 6, 2).unbind(-1),
    ],
    ids=["halves of rows", "every other row", "every other column"],
)
def test_interleaved_parts_of_one_buffer_do_not_overlap(run, norm, name, halves):
    """Their ends overlap, their elements do not."""
    part, out = halves()
    c = case(norm, len(part), 6)
    c = c.but(**{name: part.copy_(getattr(c, name))})
    before = part.clone()
    assert c.step_on(run, out=out) is out
    assert error(out, flat(c.step_on(run)), np.ones(len(part))) <= (0 if norm == "linf" else 16)
    same(part, before)


@each_run
@each_norm
@pytest.mark.parametrize("name", ["x", "x0", "grad", "eps", "step", "lo", "hi"])
def test_any_other_overlap_is_refused(run, norm, name):
    c = case(norm, 6, 6)
    size = {"eps": 6, "step": 6, "lo": 6, "hi": 6}.get(name, 36)
    buffer = torch.rand(50)
    part = buffer[5 : 5 + size].view(*((6,) if size == 6 else (6, 6)))
    if name == "hi":
        part += 1
    c = c.but(**{name: part})
    before = buffer.clone()
    outs = [buffer[shift : shift + 36].view(6, 6) for shift in (0, 4, 6)]
    outs += [buffer[5:41].view(6, 6).T] + ([part] if name == "x0" else [])
    for out in outs:
        with pytest.raises(ValueError, match=rf"out .*\b{name}\b"):
            c.step_on(run, out=out)
    for out in (torch.zeros(1, 6).expand(6, 6), torch.zeros(6, 1).expand(6, 6), torch.zeros(11).unfold(0, 6, 1)):
        with pytest.raises(ValueError, match="out "):
            c.step_on(run, out=out)
    same(buffer, before)
