"""Bad input is refused in one line that names the argument, says what came and what to do; nothing is written."""

import math
import re

import numpy as np
import pytest
import torch

from ops_cases import Case, Run, case, each_norm, each_run, same

N, D = 5, 12
LABELS = torch.tensor([0, 1, 2, 1, 0])


def refuse(call, *fragments: str) -> None:
    """``call`` raises one line with every fragment (regular expressions), 'got' and a remedy after a semicolon."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in (*fragments, r"\bgot\b", r"; \w+"):
        assert re.search(fragment, message), (fragment, message)


def refuse_step(c: Case, run: Run, *fragments: str, **changes) -> None:
    """The step is refused, and so is the step into out, which keeps its values."""
    out = torch.full((N, D), 7.0)
    refuse(lambda: c.but(**changes).step_on(run), *fragments)
    refuse(lambda: c.but(**changes).step_on(run, out=out), *fragments)
    assert (out == 7).all()


def start(*args):
    from linfair.ops import random_start

    return random_start(*args)


@each_run
@pytest.mark.parametrize("name", ["x0", "grad"])
def test_tensors_of_another_shape_type_or_device(run, name):
    c = case("l2", N, D)
    t = getattr(c, name)
    for wrong in (t[:-1], t[:, :-1], t[:, None], t[0], t.T):
        refuse_step(c, run, rf"^{name} ", r"\(5, 12\)", re.escape(str(tuple(wrong.shape))), **{name: wrong})
    wrong_types = [torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]
    for dtype in wrong_types + ([torch.bfloat16] if name == "x0" else []):
        refuse_step(c, run, rf"^{name} ", "float32", str(dtype).removeprefix("torch."), **{name: t.to(dtype)})
    refuse_step(c, run, rf"^{name} ", "cpu", "meta", **{name: t.to("meta")})
    for wrong in (t.numpy(), t.tolist(), 0.5, None):
        refuse_step(c, run, rf"^{name} ", "tensor", type(wrong).__name__, **{name: wrong})


@each_run
def test_bfloat16_gradients_go_with_float32_only(run):
    c = case("l2", N, D, torch.float64)
    refuse(lambda: c.but(grad=c.grad.bfloat16()).step_on(run), "^grad ", "float64", "bfloat16")


@each_run
@each_norm
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_types_of_x(run, norm, dtype):
    t = torch.ones(N, D).to(dtype)
    name = str(dtype).removeprefix("torch.")
    refuse(lambda: run.pgd_step(t, t, t, 0.1, 0.1, norm), "^x ", "float32", "float64", name)
    refuse(lambda: run.project(t, t, 0.1, norm), "^y ", "float32", "float64", name)
    refuse(lambda: start(t, 0.1, norm), "^x0 ", "float32", "float64", name)


@each_run
def test_x_is_a_tensor_of_samples(run):
    number = torch.tensor(0.5)
    refuse(lambda: run.pgd_step(number, number, number, 0.1, 0.1), "^x ", r"\(\)")
    refuse(lambda: run.project(number, number, 0.1), "^y ", r"\(\)")
    refuse(lambda: start(number, 0.1), "^x0 ", r"\(\)")
    refuse(lambda: run.project(np.zeros((2, 3)), torch.zeros(2, 3), 0.1), "^y ", "tensor", "ndarray")


BAD_BUDGETS = [
    # value, what the message says of it
    (-0.1, "-0.1"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    (torch.tensor([0.1, 0.1, -0.25, 0.1, 0.1]), "-0.25"),
    (torch.tensor([0.1, 0.1, 0.1, 0.1, math.nan]), "nan"),
    (torch.tensor(-0.5, dtype=torch.float64), "-0.5"),
    (torch.full((5, 1), 0.1), r"\(5, 1\)"),
    (torch.full((4,), 0.1), r"\(4,\)"),
    (torch.full((1,), 0.1), r"\(1,\)"),
    (torch.full((5, 12), 0.1), r"\(5, 12\)"),
    (torch.ones(5, dtype=torch.int64), "int64"),
    (torch.ones(5, dtype=torch.bool), "bool"),
    (torch.ones(5, dtype=torch.complex64), "complex64"),
    (torch.ones(5, device="meta"), "meta"),
    ("0.1", "str"),
    (None, "None"),
    ([0.1] * 5, "list"),
]


@each_run
@each_norm
@pytest.mark.parametrize("value, said", BAD_BUDGETS, ids=[said for _, said in BAD_BUDGETS])
def test_eps_and_step(run, norm, value, said):
    c = case(norm, N, D)
    for name in ("eps", "step"):
        refuse_step(c, run, rf"^{name} ", said, **{name: value})
    refuse(lambda: run.project(c.x, c.x0, value, norm), "^eps ", said)
    refuse(lambda: start(c.x0, value, norm), "^eps ", said)


@each_run
def test_true_is_no_number(run):
    c = case("l2", N, D)
    for name in ("eps", "step", "lo", "hi"):
        refuse_step(c, run, rf"^{name} ", "True|bool", **{name: True})


@each_run
@each_norm
def test_a_step_is_finite(run, norm):
    """An infinite radius is no ball; an infinite step is no step."""
    c = case(norm, N, D)
    for step in (math.inf, torch.tensor([1.0, 2.0, math.inf, 1.0, 1.0])):
        refuse_step(c, run, "^step ", "finite", "inf", step=step)
    refuse_step(c, run, "^step ", "inf", step=1e39)  # no float32
    refuse(lambda: start(c.x0, math.inf, norm), "^eps ", "finite", "inf")  # nothing is uniform in all of space


@each_run
@each_norm
def test_bounds(run, norm):
    c = case(norm, N, D, exact=True)
    t = torch.zeros(D)
    refuse_step(c, run, r"\blo\b", r"\bhi\b", lo=0.6, hi=0.4)
    refuse_step(c, run, r"\blo\b", r"\bhi\b", lo=t, hi=t.index_fill(0, torch.tensor([D - 1]), -0.5))
    refuse_step(c, run, r"\blo\b", r"\bhi\b", lo=2.0)
    refuse_step(c, run, r"\blo\b", r"\bhi\b", hi=t - 1)
    for name in ("lo", "hi"):
        refuse_step(c, run, rf"\b{name}\b", "nan", **{name: math.nan})
        refuse_step(c, run, rf"\b{name}\b", "nan", **{name: t.index_fill(0, torch.tensor([3]), math.nan)})
        for wrong in (torch.zeros(N, D), torch.zeros(1), torch.tensor(0.5), torch.zeros(D, 1)):
            refuse_step(c, run, rf"^{name} ", r"\(12,\)", re.escape(str(tuple(wrong.shape))), **{name: wrong})
        refuse_step(c, run, rf"^{name} ", "meta", **{name: t.to("meta")})
        refuse_step(c, run, rf"^{name} ", "int64", **{name: t.long()})
        refuse_step(c, run, rf"^{name} ", "str", **{name: "0"})
        refuse_step(c, run, rf"^{name} ", "list", **{name: [0.0] * D})


@each_run
def test_norms_and_top_q(run):
    c = case("l1", N, D)
    for wrong in ("l3", 3, "l0", None):
        refuse_step(c, run, "^norm ", "linf", re.escape(repr(wrong)), norm=wrong)
        refuse(lambda wrong=wrong: start(c.x0, 0.1, wrong), "^norm ", re.escape(repr(wrong)))
        refuse(lambda wrong=wrong: run.project(c.x, c.x0, 0.1, wrong), "^norm ", re.escape(repr(wrong)))
    for wrong in (0, -1, D + 1, True, 2.0, 0.1, "1"):
        refuse_step(c, run, "^top_q ", re.escape(repr(wrong)), top_q=wrong)
    for norm in ("l2", "linf"):
        refuse_step(c.but(norm=norm), run, "^top_q ", "l1", norm, top_q=1)
    empty = torch.zeros(2, 0)
    refuse(lambda: run.pgd_step(empty, empty, empty, 0.1, 0.1, "l1", top_q=1), "^top_q ")


@each_run
@each_norm
def test_gradients_stop_here(run, norm):
    c = case(norm, N, D)
    lo = torch.zeros(D)
    for name, t in (("x", c.x), ("x0", c.x0), ("grad", c.grad), ("eps", c.eps), ("step", c.step), ("lo", lo)):
        wanting = c.but(**{name: t.clone().requires_grad_()})
        refuse_step(wanting, run, rf"^{name} ", "grad", r"detach\(\)")
        with torch.no_grad():
            same(wanting.step_on(run), c.step_on(run))
        with torch.inference_mode():
            same(wanting.step_on(run), c.step_on(run))
    with torch.no_grad():
        start(c.x0.clone().requires_grad_(), 0.1, norm)
    refuse(lambda: run.project(c.x.clone().requires_grad_(), c.x0, 0.1, norm), "^y ", r"detach\(\)")
    refuse(lambda: start(c.x0.clone().requires_grad_(), 0.1, norm), "^x0 ", r"detach\(\)")
    assert not c.step_on(run).requires_grad


@each_run
def test_out(run):
    c = case("l2", N, D)
    for wrong in (torch.zeros(N, D - 1), torch.zeros(D), torch.zeros(1, D)):
        refuse(lambda t=wrong: c.step_on(run, out=t), "^out ", r"\(5, 12\)", re.escape(str(tuple(wrong.shape))))
    for dtype in (torch.float64, torch.float16, torch.int64):
        wrong = torch.zeros(N, D, dtype=dtype)
        refuse(lambda t=wrong: c.step_on(run, out=t), "^out ", "float32", str(dtype).removeprefix("torch."))
    refuse(lambda: c.step_on(run, out=torch.zeros(N, D, device="meta")), "^out ", "cpu", "meta")
    refuse(lambda: c.step_on(run, out=torch.zeros(N, D, requires_grad=True)), "^out ", r"detach\(\)|no_grad")
    refuse(lambda: c.step_on(run, out=np.zeros((N, D))), "^out ", "tensor", "ndarray")


@each_run
def test_labels(run):
    c = case("l2", N, D)

    def step(labels, eps=(0.1, 0.2, 0.3), step=(0.1, 0.1, 0.1)):
        return lambda: run.pgd_step_classwise(c.x, c.x0, c.grad, labels, eps, step, "l2")

    refuse(step(torch.tensor([0, 1, 3, 1, 0])), "^labels ", "3", "0..2|3 classes")
    refuse(step(torch.tensor([0, -1, 2, 1, 0])), "^labels ", "-1")
    for dtype in (torch.float32, torch.bool):
        refuse(step(LABELS.to(dtype)), "^labels ", "int", str(dtype).removeprefix("torch."))
    for wrong in (LABELS[:-1], LABELS[:, None], LABELS[0]):
        refuse(step(wrong), "^labels ", r"\(5,\)", re.escape(str(tuple(wrong.shape))))
    refuse(step(LABELS.to("meta")), "^labels ", "cpu", "meta")
    refuse(step(LABELS.tolist()), "^labels ", "tensor", "list")
    for name in ("eps", "step"):
        budget = f"^{name}_per_class "
        refuse(step(LABELS, **{name: torch.ones(3, 1)}), budget, r"\(3, 1\)")
        refuse(step(LABELS, **{name: (0.1, -0.2, 0.3)}), budget, "-0.2", r"class 1\b")
        refuse(step(LABELS, **{name: -0.2}), budget, "-0.2")
        refuse(step(LABELS, **{name: True}), budget, "True")
        refuse(step(LABELS, **{name: torch.tensor([0.1, math.nan, 0.3])}), budget, "nan", r"class 1\b")
        refuse(step(LABELS, **{name: torch.ones(3, dtype=torch.int64)}), budget, "int64")
        unused = (0.1, 0.2, 0.3, -0.4)  # class 3 has no sample in this batch; it may in the next
        refuse(step(LABELS, **{name: unused}), budget, "-0.4", r"class 3\b")
        refuse(step(LABELS, **{name: torch.tensor(unused)}), budget, "-0.4", r"class 3\b")
        refuse(step(LABELS, **{name: torch.ones(3, device="meta")}), budget, "cpu", "meta")
        refuse(step(LABELS, **{name: "0.1"}), budget, "str")
        refuse(step(LABELS, **{name: torch.ones(3, requires_grad=True)}), budget, r"detach\(\)")
    refuse(step(LABELS, eps=(0.1, 0.2)), "^(labels|eps_per_class|step_per_class) ", "2|3")
