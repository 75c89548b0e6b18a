"""Derivatives and maps of torch.func: refused, for a derivative that is zero in silence looks like robustness."""

import pytest
import torch
from torch.autograd import forward_ad

from linfair import ops
from ops_cases import REFERENCE, Run, same

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, on a first jvp
each_backend = pytest.mark.parametrize("run", [REFERENCE, Run("auto")], ids=str)
X, X0, GRAD = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0])
CALLS = {
    "pgd_step": lambda x: ops.pgd_step(x, X0, GRAD, 0.1, 0.1),
    "out": lambda x: ops.pgd_step(x, X0, GRAD, 0.1, 0.1, "l2", out=torch.empty_like(X)),
    "x0": lambda x: ops.pgd_step(X, x, GRAD, 0.1, 0.1, "l1"),
    "grad": lambda x: ops.pgd_step(X, X0, x, 0.1, 0.1, "l2"),
    "eps": lambda x: ops.pgd_step(X, X0, GRAD, x[:, 0], 0.1, "l1"),
    "lo": lambda x: ops.pgd_step(X, X0, GRAD, 0.1, 0.1, lo=x[0]),
    "project": lambda x: ops.project(x, X0, 0.1, "l1"),
    "random_start": lambda x: ops.random_start(x, 0.1),
    "classwise": lambda x: ops.pgd_step_classwise(X, X0, GRAD, LABELS, x[0, :2], 0.1),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
DERIVATIVES = {
    "grad": lambda f: torch.func.grad(lambda x: f(x).sum())(X),
    "vjp": lambda f: torch.func.vjp(f, X),
    "jvp": lambda f: torch.func.jvp(f, (X,), (X,)),
    "jacrev": lambda f: torch.func.jacrev(f)(X),
    "jacfwd": lambda f: torch.func.jacfwd(f)(X),
    "hessian": lambda f: torch.func.hessian(lambda x: f(x).sum())(X),
}


@each_backend
@each_call
@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=list(DERIVATIVES))
def test_derivatives_are_refused(run, call, derivative):
    with (
        run(),
        pytest.raises((ValueError, RuntimeError), match=r"must not require grad|must not carry|must be a batch"),
    ):
        derivative(call)


@each_backend
@each_call
def test_tangents_are_refused(run, call):
    with run(), forward_ad.dual_level():
        with pytest.raises(ValueError, match=r"must not carry a forward gradient, got a tangent; pass \w+\.detach\(\)"):
            call(forward_ad.make_dual(X, torch.ones_like(X)))
        torch.manual_seed(0)
        got = call(forward_ad.make_dual(X, torch.ones_like(X)).detach())
    with run():
        torch.manual_seed(0)
        same(got, call(X))


@each_backend
@each_call
def test_what_is_detached_is_a_constant(run, call):
    """An attack inside a function that is differentiated for something else, as the training step of an outer loop."""

    def outer(x):
        torch.manual_seed(0)
        result = call(x.detach())
        return (result * x).sum()

    with run():
        torch.manual_seed(0)
        want = call(X)
        same(torch.func.grad(outer)(X), want)
        torch.testing.assert_close(torch.func.jvp(outer, (X,), (torch.ones_like(X),))[1], want.sum())


@each_backend
def test_in_place_inside_a_derivative(run):
    def outer(x):
        z = x.detach().clone()
        assert ops.pgd_step(z, X0, GRAD, 0.1, 0.1, out=z) is z
        return (z * x).sum()

    with run():
        same(torch.func.grad(outer)(X), ops.pgd_step(X, X0, GRAD, 0.1, 0.1))


@each_backend
def test_maps_are_refused(run):
    many = torch.stack([X, X0])
    for call in (CALLS["pgd_step"], CALLS["project"], CALLS["x0"], CALLS["out"]):
        with run(), pytest.raises(ValueError, match=r"^\w+ must be a batch of samples, got .*vmap.*; put the mapped"):
            torch.func.vmap(call)(many)
    fixed = torch.func.vmap(lambda y: y + ops.pgd_step(X, X0, GRAD, 0.1, 0.1))
    with run():
        same(fixed(many), many + CALLS["pgd_step"](X))


def test_derivatives_are_refused_in_a_graph_too():
    torch._dynamo.reset()
    f = torch.func.grad(lambda x: ops.pgd_step(x, X0, GRAD, 0.1, 0.1).sum())
    with pytest.raises(Exception, match="must not require grad"):
        torch.compile(f, backend="aot_eager")(X)
    torch._dynamo.reset()
