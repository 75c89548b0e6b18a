"""The op as a citizen of CUDA: no synchronisation, streams, graphs, devices, 64-bit sizes, compilation."""

import math

import pytest
import torch

from linfair import ops
from ops_cases import (
    REFERENCE,
    Run,
    case,
    each_dtype,
    each_norm,
    each_projection,
    error,
    flat,
    same,
)
from test_ops_gpu import NATIVE, on
from test_ops_registration import OPS, SAMPLES, arguments, attack, check_compiled, fresh, in_place
from waiting import synchronising_is_an_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SIZES = [5, 3072, 20000]
TENSORS = ["x", "x0", "grad", "eps", "step"]


@each_norm
@each_projection
def test_nothing_synchronises(norm, exact):
    for dim in SIZES:
        c = on(case(norm, 6, dim, exact=exact))
        c.step_on(NATIVE)
        labels, budget = torch.zeros(6, dtype=torch.long, device="cuda"), torch.full((1,), 0.1, device="cuda")
        generator = torch.Generator("cuda").manual_seed(0)
        ops.random_start(c.x0, c.eps, norm, generator=generator)
        with synchronising_is_an_error():
            out = c.step_on(NATIVE)
            c.step_on(NATIVE, out=out)
            c.but(eps=0.1, step=0.05).step_on(NATIVE, out=out)
            NATIVE.project(c.x, c.x0, c.eps, norm, exact=exact)
            NATIVE.pgd_step_classwise(c.x, c.x0, c.grad, labels, budget, budget, norm, out=out)
            ops.random_start(c.x0, c.eps, norm, generator=generator)
            if norm == "l1":
                c.step_on(NATIVE, top_q=3)


@each_norm
@each_projection
def test_graphs_replay_with_new_numbers(norm, exact):
    """Captured once; replayed on other values, budgets included, since eps and step are read on the device."""
    for dim in SIZES:
        sources = [on(case(norm, 6, dim, seed=seed, exact=exact)) for seed in (0, 1)]
        c = sources[0].but(**{k: getattr(sources[0], k).clone() for k in TENSORS})
        out = torch.empty_like(c.x)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            c.step_on(NATIVE, out=out)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            c.step_on(NATIVE, out=out)
        for source in (*sources, sources[0]):
            for k in TENSORS:
                getattr(c, k).copy_(getattr(source, k))
            graph.replay()
            same(out, source.step_on(NATIVE))


@each_norm
@each_projection
def test_graphs_keep_their_number_budgets(norm, exact):
    """Calls with other numbers, and memory handed out anew, between capture and replay change nothing."""
    c = on(case(norm, 6, 3072, exact=exact)).but(eps=0.25, step=0.125)
    want, out = c.step_on(NATIVE), torch.empty_like(c.x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        c.step_on(NATIVE, out=out)
    for i in range(300):
        c.but(eps=i / 7, step=i / 9).step_on(NATIVE)
    torch.cuda.empty_cache()
    torch.full((1 << 20,), 99.0, device="cuda")
    out.zero_()
    graph.replay()
    same(out, want)


@pytest.mark.slow
@each_norm
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing inductor
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")  # torch's own, on making the memory pool of its graphs
def test_number_budgets_in_the_graphs_of_the_compiler(norm):
    c = on(case(norm, 4, (3, 8, 8)))
    torch._dynamo.reset()

    def step(x, eps, length):
        return ops.pgd_step(x, c.x0, c.grad, eps, length, norm)

    compiled = torch.compile(step, mode="reduce-overhead", fullgraph=True)
    for i in range(1, 8):
        for eps, length in ((0.25, 0.125), (0.3 / i, 0.1 / i)):
            torch.compiler.cudagraph_mark_step_begin()
            same(compiled(c.x, eps, length).clone(), step(c.x, eps, length))
    torch._dynamo.reset()


@each_norm
def test_the_reference_runs_where_torch_must_be_deterministic(norm):
    c = on(case(norm, 4, 300))
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        for exact in (False, True):
            c.step_on(REFERENCE, exact=exact)
    finally:
        torch.use_deterministic_algorithms(before)


@each_norm
def test_the_current_stream_is_used(norm):
    """Work queued behind a long kernel on a side stream sees that kernel's result."""
    c = on(case(norm, 64, 3072))
    want = c.step_on(NATIVE)
    x = torch.zeros_like(c.x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.copy_(c.x)
        got = c.but(x=x).step_on(NATIVE)
    stream.synchronize()
    same(got, want)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
@each_norm
def test_a_device_that_is_not_current(norm):
    c = case(norm, 6, 3072)
    there = on(c, "cuda:1")
    assert torch.cuda.current_device() == 0
    got = there.step_on(NATIVE)
    assert torch.cuda.current_device() == 0
    assert got.device == there.x.device
    same(got.cpu(), on(c, "cuda:0").step_on(NATIVE).cpu())
    with pytest.raises((TypeError, ValueError), match=r"x0 .*cuda:[01].*cuda:[01]"):
        there.but(x0=on(c, "cuda:0").x0).step_on(NATIVE)


@each_norm
@each_dtype
def test_reference_on_the_device_agrees(norm, dtype):
    for exact in (False, True):
        c = on(case(norm, 8, 500, dtype, exact=exact))
        ours, theirs = c.step_on(NATIVE).cpu(), c.step_on(REFERENCE).cpu()
        scale = abs(flat(theirs)).max(1).clip(1)
        assert error(ours, flat(theirs), scale) <= (0 if norm == "linf" else 32)


def room(elements: int, bytes_each: int) -> bool:
    return torch.cuda.mem_get_info()[0] > elements * bytes_each + 2**31


@pytest.mark.slow
@pytest.mark.parametrize("n, dim", [(2**15 + 1, 2**16 + 1), (3, 2**30 + 5)], ids=["many samples", "long samples"])
def test_more_than_2_to_the_31_elements(n, dim):
    """l_inf in place with a bfloat16 gradient, the ends looked at; int32 indices would wrap."""
    if not room(n * dim, 4 + 4 + 2):
        pytest.skip("not enough device memory")
    x0 = torch.full((n, dim), 0.5, device="cuda")
    x, grad = x0.clone(), torch.ones((n, dim), dtype=torch.bfloat16, device="cuda")
    eps = torch.linspace(0.1, 0.3, n, device="cuda")
    with NATIVE():
        ops.pgd_step(x, x0, grad, eps, 0.5, out=x)
    for i in (0, 1, n // 2, n - 2, n - 1):
        for j in (0, dim // 2, dim - 1):
            assert x[i, j] == 0.5 + eps[i]
    assert x.amin() == 0.5 + eps[0]
    assert x.amax() == 0.5 + eps[-1]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_samples_that_start_beyond_2_to_the_31(norm):
    """Sample strides over 2^31 elements: only the ends of a large buffer are touched."""
    stride = 2**31 + 8
    if not room(3 * stride, 4):
        pytest.skip("not enough device memory")
    buffer = torch.empty(stride + 4096, device="cuda")
    c = on(case(norm, 2, 3072, exact=True))
    x = buffer.as_strided((2, 3072), (stride, 1)).copy_(c.x)
    same(c.but(x=x).step_on(NATIVE, out=x), c.step_on(NATIVE))


@pytest.mark.parametrize("op", OPS.values(), ids=list(OPS))
@pytest.mark.parametrize("sample", list(SAMPLES))
def test_opcheck(op, sample):
    with NATIVE():
        torch.library.opcheck(op, *arguments(op, on(SAMPLES[sample])))


@each_norm
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing inductor
def test_compiles_whole(norm, backend):
    for function in (fresh, in_place, attack):
        torch._dynamo.reset()
        check_compiled(function, on(case(norm, 4, (3, 8, 8), exact=True)), backend)


@each_norm
def test_runs_are_told_apart(norm):
    """Forcing the reference on CUDA is possible, and the budget inf means the same on both."""
    c = on(case(norm, 4, 64)).but(eps=math.inf)
    with Run("reference")():
        assert ops.backend("cuda") == "reference"
        theirs = ops.pgd_step(c.x, c.x0, c.grad, c.eps, c.step, c.norm)
    torch.testing.assert_close(c.step_on(NATIVE), theirs, rtol=1e-5, atol=1e-6)
