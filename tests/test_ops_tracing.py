"""Where there are shapes and no values: graphs that are compiled again or not, fake tensors, the meta device."""

import math

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

from linfair import ops
from ops_cases import REFERENCE, Run, case, each_norm, same

each_backend = pytest.mark.parametrize("run", [REFERENCE, Run("auto")], ids=str)
C = case("l2", 4, 12)
LABELS = torch.tensor([0, 1, 1, 0])
SCHEDULES = {
    "pgd_step": lambda eps, step: ops.pgd_step(C.x, C.x0, C.grad, eps, step),
    "in place": lambda eps, step: ops.pgd_step(x := C.x.clone(), C.x0, C.grad, eps, step, "l2", out=x),
    "double": lambda eps, step: ops.pgd_step(C.x.double(), C.x0.double(), C.grad.double(), eps, step, "l1"),
    "project": lambda eps, _: ops.project(C.x + C.grad, C.x0, eps, "l1"),
    "random_start": lambda eps, _: ops.random_start(C.x0, eps, "l2"),
    "classwise": lambda eps, step: ops.pgd_step_classwise(C.x, C.x0, C.grad, LABELS, eps, step, "l1"),
}


@pytest.fixture(autouse=True)
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("call", SCHEDULES.values(), ids=list(SCHEDULES))
def test_a_schedule_of_numbers_is_compiled_twice(call):
    """Once for the first number and once for any: a graph a number would soon hit the limit of recompilation."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, backend=counter, fullgraph=True)
    for i in range(1, 20):
        eps, step = 0.3 / i, 0.2 / i
        torch.manual_seed(0)
        got = compiled(eps, step)
        torch.manual_seed(0)
        same(got, call(eps, step))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("eps", [-1.0, math.nan, True, "0.1"])
def test_numbers_are_checked_while_a_graph_is_traced(eps):
    compiled = torch.compile(lambda eps: ops.pgd_step(C.x, C.x0, C.grad, eps, 0.1), backend="aot_eager")
    with pytest.raises((TypeError, ValueError), match=r"^eps must be .*got "):
        compiled(eps)


@pytest.mark.parametrize("fullgraph", [False, True])
def test_writing_over_the_centre_is_refused_while_a_graph_is_traced(fullgraph):
    for call in (
        lambda x, x0: ops.pgd_step(x, x0, C.grad, 0.1, 0.1, out=x0),
        lambda x, x0: ops.project(x, x0, 0.1, out=x0),
        lambda x, _: ops.pgd_step(x, x, C.grad, 0.1, 0.1, out=x),
    ):
        torch._dynamo.reset()
        with pytest.raises(Exception, match=r"out must not share memory with x0, got an overlap; pass x0\.clone\(\)"):
            torch.compile(call, backend="aot_eager", fullgraph=fullgraph)(C.x.clone(), C.x0.clone())


def every_call(x, labels, norm):
    lo, hi, each = torch.zeros_like(x[0]), torch.ones_like(x[0]), torch.ones_like(x[:, 0])
    yield from (ops.random_start(x, eps, norm) for eps in (0.1, each))
    yield ops.random_start(x, 0.1, norm, lo=lo, hi=hi)
    yield from (ops.pgd_step(x, x, x, eps, 0.1, norm, lo=lo, hi=None, exact=True) for eps in (0.1, each))
    yield from (ops.pgd_step_classwise(x, x, x, labels, eps, 0.1, norm) for eps in ((0.1, 0.2), each[:2], 0.1))
    yield ops.project(x, x + 1, 0.1, norm, out=torch.empty_like(x))


@each_backend
@each_norm
def test_fake_tensors_have_no_values_to_check(run, norm):
    with run(), FakeTensorMode():
        results = list(every_call(torch.empty(4, 12), torch.zeros(4, dtype=torch.long), norm))
    assert [tuple(t.shape) for t in results] == [(4, 12)] * 9


@each_backend
@each_norm
@pytest.mark.parametrize("check", ["0", "1"])
def test_the_meta_device_gives_shapes(run, norm, check, monkeypatch):
    monkeypatch.setenv("LINFAIR_CHECK", check)
    with run():
        labels = torch.zeros(4, dtype=torch.long, device="meta")
        results = list(every_call(torch.empty(4, 12, device="meta"), labels, norm))
    assert all(t.is_meta and t.shape == (4, 12) for t in results)
