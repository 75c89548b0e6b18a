"""The CUDA half of the built extension, GPU or not: what it was compiled to, and what it says where there is none."""

import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch

from linfair import _native

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def native() -> ModuleType:
    return _native.load() if _native.status()[0] == "native" else pytest.skip("no extension")


def step_on_device_0(native: ModuleType) -> None:
    memory = [torch.zeros(4, 3) for _ in range(4)]
    x, x0, grad, out = (t.data_ptr() for t in memory)
    rows, number = (x, 3, x0, 3, grad, 3, out, 3), (0, 0, 0.1)
    native.pgd_step(0, 0, 0, 0, 0, 4, 3, *rows, *number, *number, 0, 0, 0.0, 1.0, False, False, 0)


def test_a_call_without_a_gpu_says_so_and_what_to_do(native):
    if not native.build_info()["cuda"]:
        with pytest.raises(RuntimeError, match=r"built without CUDA; .*pip install -e"):
            step_on_device_0(native)
        return
    if native.cuda_driver()["devices"]:
        pytest.skip("there is a GPU: tests marked gpu run on it")
    for _ in range(2):  # the second call does not trip over the first one's error
        with pytest.raises(RuntimeError) as error:
            step_on_device_0(native)
        assert re.fullmatch(r"linfair needs a working CUDA device 0, got '[^']+'; check nvidia-smi.*", str(error.value))


@pytest.mark.skipif(not shutil.which("cuobjdump"), reason="no cuobjdump")
def test_no_float32_kernel_keeps_a_sample_in_local_memory(native):
    """Registers that spill to local memory would go through the memory that the kernels are written to spare."""
    if not native.build_info()["cuda"]:
        pytest.skip("built without CUDA")
    command = ["cuobjdump", "--dump-resource-usage", "--gpu-architecture", "sm_90", str(native.__file__)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+)", said)
    resident = {name: int(stack) for name, _, stack in kernels if "linf_kernel" in name or "8ResidentIf" in name}
    if native.build_info()["cuda_arch"] == "all-major":
        assert len(resident) >= 10
    assert {name: stack for name, stack in resident.items() if stack} == {}


@pytest.mark.parametrize("place", ["benchmarks/gpu_checks.sh", "docs/gpu.md"])
def test_a_machine_with_a_gpu_runs_every_test_that_needs_one(place):
    marked = {p.name for p in ROOT.glob("tests/test_ops_*.py") if "pytest.mark.gpu" in p.read_text()}
    said = re.search(r"pytest -m gpu (tests/\S+)", (ROOT / place).read_text())
    assert said
    assert {p.name for p in ROOT.glob(said[1])} == marked
    assert len(marked) >= 3
