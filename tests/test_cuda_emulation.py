"""The CUDA kernels without a GPU: compiled for the host, each thread a fiber, threads and blocks in random order.

What this covers: indices, masks, aliasing, the reductions and their barriers, the choice of kernel, the launch. What it
cannot: the memory system, the device compiler, speed; those are in test_ops_gpu.py.
"""

import ctypes
import functools
import itertools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from linfair.ops import _backend
from ops_cases import REFERENCE, Case, Run, answer, case, each_dtype, each_norm, each_projection, error, flat, same

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "csrc" / "pgd_step_cuda.cu"
EMULATION = ROOT / "tests" / "cuda_emulation"
KERNELS = Run("native")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fibers and sections as Linux has them")
DIMS = [1, 5, 31, 32, 48, 129, 132, 1000, 3072, 3073, 9216, 20000]
"""A warp with the sample in registers up to 128; above, a block, with the sample in registers where 16 bytes fit."""


def run_on(monkeypatch, lib: ctypes.CDLL, device: int = 0) -> None:
    """Lets linfair.ops call the kernels on CPU tensors."""

    def pgd_step(_device, _threads, *rest):
        if said := lib.pgd_step(device, 0, *rest):
            raise RuntimeError(said.decode())
        return True

    monkeypatch.setattr(_backend, "load", lambda cuda=False: SimpleNamespace(pgd_step=pgd_step))
    _backend.native_for.cache_clear()


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    """The kernels as a library, with checks for undefined behaviour where the compiler has them."""
    compiler = os.environ.get("CXX", "").split() or [next(filter(shutil.which, ["g++", "clang++", "c++"]), "")]
    if not shutil.which(compiler[0]):
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("emulation") / "pgd_step.so"
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w", f"-I{EMULATION}", f"-I{SOURCE.parent}"]
    flags += ["-U_FORTIFY_SOURCE"]  # it takes the jumps between fibers for errors
    command = [*compiler, *flags, "-o", str(library), "-x", "c++", str(SOURCE), str(EMULATION / "emulator.cpp")]
    for checks in (["-fsanitize=undefined"], []):
        done = subprocess.run([*command, *checks], capture_output=True, text=True)
        if not done.returncode:
            break
    assert not done.returncode, done.stderr
    lib = ctypes.CDLL(str(library))
    number, index, pointer, real, flag = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_double, ctypes.c_bool
    lib.pgd_step.argtypes = [number, ctypes.c_size_t, number, number, number, index, index, *[pointer, index] * 4]
    lib.pgd_step.argtypes += [*[pointer, index, real] * 2, pointer, pointer, real, real, flag, flag, index]
    lib.pgd_step.restype = ctypes.c_char_p
    lib.seed.argtypes = [ctypes.c_uint64]
    return lib


@pytest.fixture(autouse=True)
def kernels(lib, monkeypatch, capfd):
    lib.seed(0)
    run_on(monkeypatch, lib)
    yield
    _backend.native_for.cache_clear()
    assert "runtime error" not in capfd.readouterr().err  # of the compiler's checks: a misaligned access, an index


def cases(norm: str, n: int, dim: int, dtype: torch.dtype, **options) -> list[Case]:
    """The unit box; none, descending; bounds a feature; and in l1 sparse steps."""
    make = functools.partial(case, norm, n, dim, dtype, seed=dim, ratio=(0.5, 50), **options)
    lo = torch.rand(dim, generator=torch.Generator().manual_seed(dim), dtype=dtype) / 2
    boxed = make(lo=lo, hi=lo + 0.4)
    some = [make(), make(lo=None, hi=None, descend=True), boxed.but(x0=boxed.x0.clamp(lo, lo + 0.4))]
    counts = {1, math.ceil(dim / 100), dim} if norm == "l1" else ()
    return some + [make(top_q=q) for q in sorted(counts) if q > 1 or dim < 5000]


def assert_right(c: Case) -> None:
    """l_inf: the reference's bits. l2, l1: a few roundings of the numbers that the result is made of."""
    got = c.step_on(KERNELS)
    if c.norm == "linf":
        same(got, c.step_on(REFERENCE))
        return
    want = answer(c)
    step = flat(c.step) / c.options.get("top_q", math.inf)
    scale = np.maximum.reduce([np.abs(a).max(1) for a in (flat(c.x0), want, flat(c.x) - flat(c.x0), step)])
    assert error(got, want, scale) <= 8


@each_norm
@each_dtype
@each_projection
@pytest.mark.parametrize("dim", DIMS)
def test_values(norm, dtype, exact, dim):
    for c in cases(norm, 2 if dim > 200 else 11, dim, dtype, exact=exact):
        assert_right(c)


@each_norm
@pytest.mark.parametrize("dim", [5, 1000, 1001])
def test_bfloat16_gradients(norm, dim):
    c = case(norm, 3, dim)
    half = c.grad.bfloat16()
    same(c.but(grad=half).step_on(KERNELS), c.but(grad=half.float()).step_on(KERNELS))


@each_norm
def test_more_samples_than_a_block_has(norm):
    c = case(norm, 1030, 10)
    together = c.step_on(KERNELS)
    same(together[1000:], c.rows(slice(1000, None)).step_on(KERNELS))
    assert_right(c.rows(slice(0, 300)))


@each_norm
@each_dtype
@each_projection
@pytest.mark.parametrize(
    "dim, stride, offset", [(7, 9, 1), (48, 52, 4), (1000, 1004, 0), (1000, 1003, 3), (1001, 1002, 1)]
)
def test_samples_apart_and_unaligned_in_place(norm, dtype, exact, dim, stride, offset):
    """NaN around the samples: not read, and not written over; out may be x or grad."""
    c = case(norm, 5, dim, dtype, exact=exact)
    want = c.step_on(KERNELS)

    def apart(t):
        memory = torch.full((offset + 5 * stride + 8,), math.nan, dtype=t.dtype)
        view = memory[offset : offset + 5 * stride].view(5, stride)[:, :dim]
        view.copy_(t)
        return memory, view

    for place in range(3):
        memories, views = zip(*(apart(t) for t in (c.x, c.grad, torch.zeros_like(c.x), c.x0)), strict=True)
        (x, grad, _, x0), out = views, views[place]
        assert c.but(x=x, x0=x0, grad=grad).step_on(KERNELS, out=out) is out
        torch.testing.assert_close(out, want, rtol=0, atol=16 * torch.finfo(dtype).eps)
        for memory, view in zip(memories, views, strict=True):
            view.zero_()
            assert memory.isnan().sum() == memory.numel() - view.numel()


@pytest.mark.parametrize("norm, options", [("l2", {}), ("l1", {}), ("l1", {"top_q": 2})])
@pytest.mark.parametrize("dim", [20, 400, 401])
def test_odd_gradients(norm, options, dim):
    """Tiny, huge, zero, tied, infinite and NaN gradients, sample by sample as the reference has them."""
    c = case(norm, 9, dim, **options)
    grad = c.grad.clone()
    grad[0] *= 1e-30
    grad[1] *= 1e-42
    grad[2] *= 1e37
    grad[3] = 0
    grad[4] = grad[4].sign()
    grad[5, 3] = math.inf
    grad[6, dim - 1] = math.nan
    grad[7], grad[7, 5] = 0, -1e-45
    got, want = (c.but(grad=grad).step_on(run) for run in (KERNELS, REFERENCE))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5, equal_nan=True)
    for name in ("x", "x0"):
        spoiled = getattr(c, name).clone()
        spoiled[0, 1] = math.nan
        got = c.but(**{name: spoiled}).step_on(KERNELS)
        assert got[0].isnan().all()
        same(got[1:], c.step_on(KERNELS)[1:])


@each_norm
@each_projection
@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("dim", [20, 400, 401])
def test_squares_that_no_float_holds(norm, exact, scale, dim):
    assert_right(case(norm, 5, dim, scale=scale, exact=exact))


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("dim", [20, 400, 401])
def test_a_ball_that_misses_the_box_goes_to_its_nearest_point(norm, dim):
    c = case(norm, 3, dim, exact=True).but(eps=0.5)
    same(c.but(x0=c.x0 + 1.5).step_on(KERNELS), torch.ones_like(c.x0))


@each_norm
@pytest.mark.parametrize("dim", [20, 400, 401])
def test_negative_and_nan_budgets_count_as_0(norm, dim):
    c = case(norm, 3, dim, exact=True)
    same(c.but(eps=torch.tensor([-1.0, math.nan, -0.0])).step_on(KERNELS), c.x0)


@each_norm
def test_projection_alone(norm):
    c = case(norm, 3, 500)
    args = (c.x, c.x0, c.eps / 3, norm)
    torch.testing.assert_close(KERNELS.project(*args), REFERENCE.project(*args), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm, options", [("l2", {"exact": True}), ("l1", {"exact": True}), ("l1", {"top_q": 7})])
@pytest.mark.parametrize("dim", [96, 3072, 3073])
def test_any_order_of_the_threads_gives_the_same_bits(lib, norm, options, dim):
    c = case(norm, 3, dim, **options)
    first = c.step_on(KERNELS)
    for seed in range(1, 7):
        lib.seed(seed)
        same(c.step_on(KERNELS), first)


TILES = (SOURCE.parent / "cuda_tiles.h").read_text().splitlines()
BARRIERS = [i for i, line in enumerate(TILES, 1) if "__syncthreads()" in line]


@pytest.mark.parametrize("line", BARRIERS)
@pytest.mark.parametrize("reached_by", [0, 32], ids=["removed", "for one warp"])
def test_a_broken_barrier_is_noticed(lib, line, reached_by):
    """The emulation must be able to see what it is there for."""
    c = case("l1", 2, 3072)
    right = c.step_on(KERNELS)

    def noticed(seed):
        lib.seed(seed)
        try:
            return not torch.equal(c.step_on(KERNELS), right)
        except RuntimeError as error:
            return "diverged" in str(error)

    assert not any(map(noticed, range(4)))
    lib.break_barrier(line, reached_by)
    try:
        assert all(map(noticed, range(4)))
    finally:
        lib.break_barrier(0, 0)


def test_the_device_is_the_calls_and_then_the_callers_again(lib, monkeypatch):
    c = case("l2", 2, 5)
    want = c.step_on(KERNELS)
    run_on(monkeypatch, lib, device=1)
    same(c.step_on(KERNELS), want)
    assert lib.device() == 0
    run_on(monkeypatch, lib, device=7)
    with pytest.raises(RuntimeError, match="device 7, got 'invalid device ordinal'; check nvidia-smi"):
        c.step_on(KERNELS)
    assert lib.device() == 0


def test_nothing_to_do_is_no_launch(lib):
    for n, dim in itertools.product((0, 3), (0, 3)):
        if not n or not dim:
            before = lib.launches()
            rows, numbers = [None, dim] * 4, [None, 0, 0.1] * 2
            for norm in range(3):
                args = (0, 0, norm, 0, 0, n, dim, *rows, *numbers, None, None, 0.0, 1.0, False, False, 0)
                assert lib.pgd_step(*args) is None
            assert lib.launches() == before
    c = case("l2", 2, 5)
    before = lib.launches()
    c.step_on(KERNELS)
    assert lib.launches() == before + 1


@each_norm
@each_dtype
@pytest.mark.parametrize("dim", [20, 400, 401])
def test_numbers_are_the_budgets_of_all_samples(norm, dtype, dim):
    c = case(norm, 3, dim, dtype, exact=True)
    for eps, step in ((0.3, 0.1), (0.0, 0.1), (math.inf, 0.0), (1e39, 0.1)):
        each = c.but(eps=torch.full((3,), eps, dtype=torch.float64), step=torch.tensor(step, dtype=torch.float64))
        same(c.but(eps=eps, step=step).step_on(KERNELS), each.step_on(KERNELS))
