"""What the op on a CUDA device accepts, refuses, writes and leaves to the device."""

import os
import subprocess
import sys

import pytest
import torch

from linfair import ops
from ops_cases import case, each_dtype, each_norm, each_projection, same
from test_ops_gpu import NATIVE, on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@each_norm
@each_dtype
def test_shapes_at_the_edge(norm, dtype):
    for shape in ((0, 3, 4, 4), (0,), (4, 0), (5,), (1, 1)):
        t = torch.full(shape, 0.5, dtype=dtype, device="cuda")
        got = ops.pgd_step(t, t, t, torch.full(shape[:1], 0.1, device="cuda"), 0.2, norm)
        assert got.shape == shape
        torch.testing.assert_close(got, t + 0.1)


@each_norm
@each_projection
def test_in_place_and_out(norm, exact):
    for dim in (5, 3072, 20000):
        c = on(case(norm, 6, dim, exact=exact))
        want = c.step_on(NATIVE)
        same(c.step_on(NATIVE, out=torch.empty_like(c.x)), want)
        same(c.but(x=(x := c.x.clone())).step_on(NATIVE, out=x), want)
        same(c.but(grad=(grad := c.grad.clone())).step_on(NATIVE, out=grad), want)
        same(x, want)
        for name in ("x0", "eps", "step"):
            buffer = torch.rand(8 * dim, device="cuda")
            part = buffer[: (c.x.numel() if name == "x0" else 6)].view_as(getattr(c, name))
            with pytest.raises(ValueError, match=rf"out .*\b{name}\b"):
                c.but(**{name: part}).step_on(NATIVE, out=buffer[: 6 * dim].view(6, dim))


@pytest.mark.parametrize("name", ["x0", "grad", "eps", "step", "lo", "hi"])
def test_tensors_of_another_device_are_refused(name):
    c = on(case("l2", 4, 12, lo=torch.zeros(12), hi=torch.ones(12)))
    value = c.options[name].cpu() if name in c.options else getattr(c, name).cpu()
    with pytest.raises((TypeError, ValueError), match=rf"^{name} .*(cuda.*cpu|cpu.*cuda).*; \w+"):
        c.but(**{name: value}).step_on(NATIVE)


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)


SETUP = "import torch; from linfair import ops; x = torch.full((2, 3), 0.5, device='cuda'); "


def test_values_are_checked_when_asked_for():
    """By default the kernel takes a negative or NaN radius for 0; LINFAIR_CHECK=1 synchronises and says so."""
    step = SETUP + "y = ops.pgd_step(x, x, x, torch.tensor([{}, 0.1], device='cuda'), 0.2, '{}'); print(y.tolist())"
    for norm in ("linf", "l2", "l1"):
        for bad in ("-0.3", "float('nan')"):
            done = python(step.format(bad, norm), LINFAIR_CHECK="0")
            assert done.returncode == 0, done.stderr
            assert "[[0.5, 0.5, 0.5], [0." in done.stdout
            done = python(step.format(bad, norm), LINFAIR_CHECK="1")
            assert done.returncode != 0
            assert "ValueError: eps " in done.stderr
    done = python(SETUP + "ops.pgd_step(x, x, x, 0.1, 0.1, lo=x[0], hi=x[0] - 1)", LINFAIR_CHECK="1")
    assert "ValueError" in done.stderr
    assert "lo" in done.stderr


def test_a_bad_label_stops_the_process_or_raises():
    """torch's device assert poisons the context, so it is met in a process of its own."""
    labels = "torch.tensor([0, 7], device='cuda')"
    code = SETUP + f"ops.pgd_step_classwise(x, x, x, {labels}, (0.1, 0.2), 0.1); torch.cuda.synchronize()"
    done = python(code, LINFAIR_CHECK="0")
    assert done.returncode != 0
    assert "assert" in done.stderr
    done = python(code, LINFAIR_CHECK="1")
    assert done.returncode != 0
    assert "ValueError: labels " in done.stderr
