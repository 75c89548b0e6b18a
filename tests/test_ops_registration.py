"""The ops as torch sees them: schema and fakes by opcheck, and torch.compile without a break."""

import math
import shutil

import pytest
import torch

from linfair import ops
from ops_cases import REFERENCE, Case, Run, case, each_norm, same

ON = [REFERENCE, Run("auto")]
each_backend = pytest.mark.parametrize("run", ON, ids=str)


def registered() -> dict[str, torch._ops.OpOverload]:
    """Every overload below torch.ops.linfair."""
    names = {n for n in torch._C._dispatch_get_all_op_names() if n.startswith("linfair::")}
    found = {}
    for name in sorted(names):
        packet, _, overload = name.removeprefix("linfair::").partition(".")
        found[name] = getattr(getattr(torch.ops.linfair, packet), overload or "default")
    return found


OPS = registered()


def arguments(op: torch._ops.OpOverload, c: Case) -> tuple[tuple, dict]:
    """``c`` spelt in the schema of ``op``: a number goes to ``<name>_value``, a tensor to ``<name>``, and the ops that
    write get an ``out`` of their own. A schema with a word unknown here asks for a line in this table."""
    known = {"x": c.x, "y": c.x, "x0": c.x0, "grad": c.grad, "norm": c.norm, "out": torch.empty_like(c.x)}
    known |= {"descend": False, "exact": False, "top_q": None, **c.options}
    defaults = {"eps": c.eps, "step": c.step, "lo": c.options.get("lo", 0.0), "hi": c.options.get("hi", 1.0)}
    for name, value in defaults.items():
        number = {"lo": -math.inf, "hi": math.inf}.get(name, 0.0) if value is None or torch.is_tensor(value) else value
        known |= {name: value if torch.is_tensor(value) else None, f"{name}_value": number}
    given = {a.name: known[a.name] for a in op._schema.arguments}
    names = [a.name for a in op._schema.arguments if not a.kwarg_only]
    return tuple(given[name] for name in names), {k: v for k, v in given.items() if k not in names}


SAMPLES = {
    "plain": case("linf", 4, 12),
    "numbers": case("linf", 4, 12).but(eps=0.1, step=0.2),
    "l2 exact": case("l2", 3, (3, 4, 5), exact=True),
    "l1 sparse": case("l1", 3, 12, top_q=3, descend=True),
    "double without a box": case("l1", 3, 12, torch.float64, lo=None, hi=None, exact=True),
    "bounds": case("l2", 3, 12, lo=torch.zeros(12), hi=torch.ones(12)),
    "empty": case("linf", 0, 12),
}
SAMPLES["channels_last"] = SAMPLES["l2 exact"].but(
    **{k: getattr(SAMPLES["l2 exact"], k).contiguous(memory_format=torch.channels_last) for k in ("x", "x0", "grad")}
)
SAMPLES["strided"] = SAMPLES["plain"].but(x=torch.stack([SAMPLES["plain"].x] * 2, -1)[..., 0])
SAMPLES["bfloat16"] = SAMPLES["plain"].but(grad=SAMPLES["plain"].grad.bfloat16())


def test_ops_are_registered():
    assert any("pgd_step" in name for name in OPS)
    assert any("project" in name for name in OPS)


def test_what_an_op_writes_is_in_its_schema():
    for name, op in OPS.items():
        c = SAMPLES["plain"]
        args, kwargs = arguments(op, c)
        before = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
        op(*args, **kwargs)
        for spec, was, now in zip(op._schema.arguments, before, args, strict=False):
            if isinstance(was, torch.Tensor) and not (spec.alias_info and spec.alias_info.is_write):
                assert torch.equal(was, now), (name, spec.name)


@each_backend
@pytest.mark.parametrize("op", OPS.values(), ids=list(OPS))
@pytest.mark.parametrize("sample", list(SAMPLES))
def test_opcheck(run, op, sample):
    """Schema (what is mutated and aliased), fake against real, autograd registration, and AOT dispatch."""
    with run():
        torch.library.opcheck(op, *arguments(op, SAMPLES[sample]))


@each_backend
@pytest.mark.parametrize("op", [op for name, op in OPS.items() if "out" in name], ids=lambda op: op.__name__)
def test_opcheck_in_place(run, op):
    """Where the schema lets x be None, out holds it."""
    args, kwargs = arguments(op, SAMPLES["l2 exact"])
    schema = op._schema.arguments
    optional = {a.name for a in schema if a.name in ("x", "y") and "Optional" in str(a.type)}
    given = {a.name: value for a, value in zip(schema, args, strict=False)}
    given["out"] = SAMPLES["l2 exact"].x.clone()
    with run():
        torch.library.opcheck(op, tuple(None if name in optional else a for name, a in given.items()), kwargs)


def fresh(c, **options):
    return ops.pgd_step(c.x, c.x0, c.grad, c.eps, c.step, c.norm, **{**c.options, **options})


def in_place(c):
    x = c.x.clone()
    return ops.pgd_step(x, c.x0, c.grad, c.eps, c.step, c.norm, **c.options, out=x) * 1.0, x


def over_the_gradient(c):
    grad = c.grad.clone()
    return ops.pgd_step(c.x, c.x0, grad, c.eps, c.step, c.norm, **c.options, out=grad) * 1.0, grad


def into(c):
    out = torch.zeros_like(c.x)
    ops.pgd_step(c.x, c.x0, c.grad, c.eps, c.step, c.norm, **c.options, out=out)
    return out + 0.0


def classwise(c):
    labels, eps, step = torch.tensor([1, 0, 1, 2]), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.3])
    return ops.pgd_step_classwise(c.x, c.x0, c.grad, labels, eps, step, c.norm, **c.options)


def projected(c):
    return ops.project(c.x * 2 - 0.5, c.x0, c.eps, c.norm, lo=None)


def numbers(c):
    return ops.pgd_step(c.x, c.x0, c.grad, 0.125, 0.25, c.norm, **c.options)


def attack(c):
    """Three steps with a gradient that follows x (and has no rounding of its own), as an attack is compiled."""
    x = c.x.clone()
    for _ in range(3):
        x = ops.pgd_step(x, c.x0, torch.where(x > 0.5, c.grad, -c.grad), c.eps, c.step, c.norm, **c.options)
    return x


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def check_compiled(function, c: Case, backend: str) -> None:
    with torch.no_grad():
        want = function(c)
        tensors = {k: getattr(c, k) for k in ("x", "x0", "grad", "eps", "step")}
        compiled = torch.compile(lambda t: function(c.but(**t)), fullgraph=True, backend=backend)
        got = compiled(tensors)
    for a, b in zip(*((r,) if isinstance(r, torch.Tensor) else r for r in (got, want)), strict=True):
        same(a, b)
        assert a.stride() == b.stride()


@each_norm
@pytest.mark.parametrize(
    "function",
    [fresh, in_place, over_the_gradient, into, classwise, projected, numbers, attack],
    ids=lambda f: f.__name__,
)
def test_compiles_whole_and_changes_nothing(dynamo, norm, function):
    c = case(norm, 4, (3, 4, 4), exact=function is not fresh)
    check_compiled(function, c.but(top_q=2) if norm == "l1" and function is into else c, "aot_eager")


def test_compiles_in_channels_last(dynamo):
    c = SAMPLES["channels_last"]
    check_compiled(fresh, c, "aot_eager")
    check_compiled(fresh, c.but(grad=c.grad.contiguous()), "aot_eager")


def test_compiles_with_dynamic_shapes(dynamo):
    step = torch.compile(
        lambda x, x0, g, e, s: ops.pgd_step(x, x0, g, e, s, "l2"), fullgraph=True, backend="aot_eager", dynamic=True
    )
    for n, dim in ((4, 12), (7, 12), (3, 40)):
        c = case("l2", n, dim)
        same(step(c.x, c.x0, c.grad, c.eps, c.step), fresh(c))


@each_norm
def test_random_start_and_class_budgets_compile(dynamo, norm):
    labels, eps = torch.tensor([1, 0, 1, 2]), torch.tensor([0.1, 0.2, 0.3])

    def start(x0):
        x = ops.random_start(x0, eps[labels], norm)
        return ops.pgd_step_classwise(x, x0, x - 0.4, labels, eps, 0.05, norm)

    x0 = torch.full((4, 30), 0.5)
    torch.manual_seed(0)
    got = torch.compile(start, fullgraph=True, backend="aot_eager")(x0)
    torch.manual_seed(0)
    same(got, start(x0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing inductor
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles with g++")
@pytest.mark.parametrize("norm, function", [("linf", attack), ("l2", in_place)])
def test_compiles_with_inductor(dynamo, norm, function):
    check_compiled(function, case(norm, 4, (3, 4, 4)), "inductor")
