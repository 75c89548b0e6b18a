"""What the tests of the build share: compilers that are shell scripts, and a small project to build for real."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import native_build
from native_build import SUFFIX
from toolchain import BuildError, Nvcc, Switches

ROOT = Path(__file__).resolve().parents[1]
CXX = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_cxx = pytest.mark.skipif(not CXX, reason="no C++ compiler")


def has_nvcc() -> bool:
    try:
        return bool(Nvcc.find(Switches(cuda_home=os.environ.get("CUDA_HOME", ""))))
    except BuildError:
        return False


def script(path: Path, text: str) -> str:
    """An executable shell script at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


GNU = 'case "$*" in *--version*) echo "c++ (Some 12.2.0-14) 12.2.0"; echo "Free Software Foundation"; exit;; esac'
CLANG = 'case "$*" in *--version*) echo "Some clang version 14.0.6"; exit;; esac'
NVCC = 'case "$*" in *--version*) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit;; esac'


STUBS = {
    "pgd_step_cpu.cpp": "int cpu() { return 1; }",
    "pgd_step_leaf.cpp": "",
    "pgd_step_cuda.cu": "__global__ void kernel(int* x) { *x = 1; }\nint cuda() { return 1; }",
    "bindings.cpp": """
#include <Python.h>
#include "stub.h"
static PyObject* info(PyObject*, PyObject*) {
    return Py_BuildValue("{s:s,s:s}", "cuda", LINFAIR_CUDA_TEXT, "config", LINFAIR_BUILD_CONFIG);
}
static PyMethodDef methods[] = {{"build_info", info, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", "", -1, methods, nullptr, nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&module); }
""",
    "stub.h": "",
}


class Project:
    """A copy of the build with stub sources; `build(**switches)` runs one command of setup.py in it."""

    def __init__(self, root: Path):
        self.root, self.package = root, root / "linfair"
        (root / "csrc").mkdir(parents=True)
        self.package.mkdir()
        (self.package / "__init__.py").touch()
        (root / "pyproject.toml").write_text(
            '[project]\nname = "linfair"\nversion = "0"\n[tool.setuptools]\npackages = ["linfair"]\n'
        )
        for path in (ROOT / "setup.py", *(ROOT / "csrc").glob("*.py")):
            shutil.copy(path, root / path.relative_to(ROOT))
        for name, text in STUBS.items():
            self.source(name, text)

    def source(self, name: str, text: str) -> None:
        (self.root / "csrc" / name).write_text(text)

    def build(self, *command: str, ok: bool = True, **switches: str) -> str:
        """The output of `setup.py command` under these switches alone."""
        names = ("LINFAIR_EXT", "LINFAIR_CUDA", "LINFAIR_CUDA_ARCH", "CUDA_HOME", "CXX", "MAX_JOBS", "NVCC_CCBIN")
        env = {k: v for k, v in os.environ.items() if k not in names} | {"LINFAIR_CUDA": "0"} | switches
        command = ("setup.py", *(command or ("build_ext", "--inplace")))
        done = subprocess.run([sys.executable, *command], cwd=self.root, env=env, capture_output=True, text=True)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def libraries(self) -> list[str]:
        return sorted(path.name for path in self.package.glob("_C*"))

    @property
    def record(self) -> dict:
        return json.loads((self.package / "_build.json").read_text())

    @property
    def info(self) -> dict:
        """build_info() of the library in the tree."""
        return native_build.build_info(self.package / f"_C{SUFFIX}")
