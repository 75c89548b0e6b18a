"""Which backend runs: chosen by name, forced for a block, and refused loudly where it cannot load."""

import importlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import linfair
from linfair import ops
from linfair.ops import _backend
from ops_cases import BUILT, NATIVE, REFERENCE, case

built = pytest.mark.skipif(not BUILT, reason="linfair._C is not built")
PACKAGE = Path(linfair.__file__).parent
STEP = "torch.equal(ops.pgd_step(x := torch.full((2, 3), 0.5), x, -x, 0.1, 0.2), x - 0.1)"


NOT_INSTALLED = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "Editable" not in getattr(f, "__name__", "")]
"""


def python(code: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess:
    """Run ``code`` in a fresh interpreter; with the package of ``folder``, and none else, where one is given."""
    clean = {k: v for k, v in os.environ.items() if k not in ("LINFAIR_CPU", "LINFAIR_CHECK")}
    path = os.pathsep.join(filter(None, [str(folder or PACKAGE.parent), clean.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED * bool(folder) + textwrap.dedent(code)],
        env={**clean, "PYTHONPATH": path, **env},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def succeeds(code: str, folder: Path | None = None, **env: str) -> list[str]:
    done = python(code, folder, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def pure(tmp_path: Path) -> Path:
    """A folder with the package as it is without a compiler."""
    left_out = shutil.ignore_patterns("*.so", "*.pyd", "_build.json", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "linfair", ignore=left_out)
    return tmp_path


def test_auto_is_native_where_built():
    with ops.use_backend("auto"):
        assert ops.backend() == ops.backend("cpu") == ("native" if BUILT else "reference")
        assert ops.backend(torch.device("cpu")) == ops.backend()


def test_use_backend_holds_for_the_block_only():
    before = ops.backend()
    with ops.use_backend("reference"):
        assert ops.backend() == "reference"
        with ops.use_backend("auto"):
            assert ops.backend() == ("native" if BUILT else "reference")
        assert ops.backend() == "reference"
    assert ops.backend() == before
    with pytest.raises(ZeroDivisionError), ops.use_backend("reference"):
        _ = 1 / 0
    assert ops.backend() == before


def test_use_backend_as_a_statement_holds_until_the_next():
    try:
        ops.use_backend("reference")
        assert ops.backend() == "reference"
    finally:
        ops.use_backend("auto")
    assert ops.backend() == ("native" if BUILT else "reference")


def test_use_backend_can_be_entered_again():
    before = ops.backend()
    chosen = ops.use_backend("reference")
    for _ in range(2):
        with chosen:
            assert ops.backend() == "reference"
            with ops.use_backend("auto"), chosen:
                assert ops.backend() == "reference"
            assert ops.backend() == "reference"
        assert ops.backend() == before


def test_a_choice_made_while_another_is_looked_up_holds(monkeypatch):
    """As by another thread: what was found for the one must not be remembered for the other."""

    def status(cuda):
        ops.use_backend("reference")
        return "native", ""

    monkeypatch.setattr(_backend, "load", lambda cuda=False: object())
    monkeypatch.setattr(_backend, "status", status)
    _backend.native_for.cache_clear()
    try:
        with ops.use_backend("auto"):
            assert ops.backend() == "native"  # it was asked for before
            assert ops.backend() == "reference"
    finally:
        _backend.native_for.cache_clear()


@pytest.mark.parametrize("wrong", ["cuda", "", "Native", None])
def test_unknown_backends(wrong):
    before = ops.backend()
    with pytest.raises(ValueError, match=r"auto.*native.*reference.*got .*; \w+"):
        ops.use_backend(wrong)
    assert ops.backend() == before


def test_public_names():
    steps = {"pgd_step", "pgd_step_classwise", "project", "random_start"}
    assert steps | {"backend", "use_backend", "BackendUnavailable"} <= set(ops.__all__)
    assert linfair.ops is ops
    assert issubclass(ops.BackendUnavailable, Exception)


@built
def test_the_chosen_backend_is_the_one_that_runs():
    """The reference leaves the library unloaded; the library gives the same bits on every path, not the reference's."""
    code = f"""
        import sys, torch
        from linfair import ops
        ops.use_backend("reference")
        print({STEP}, "linfair._C" in sys.modules)
        ops.use_backend("native")
        print({STEP}, "linfair._C" in sys.modules)
    """
    assert succeeds(code) == ["True", "False", "True", "True"]
    c = case("l2", 20, 3072)
    assert (NATIVE[-1].pgd_step(c.x, c.x0, c.grad, c.eps, c.step, "l2") != c.step_on(REFERENCE)).any()


def test_without_the_extension_the_reference_runs(pure):
    code = f"""
        import torch
        from linfair import ops
        print(ops.backend(), {STEP}, ops.__file__)
        try:
            with ops.use_backend("native"):
                {STEP}
        except ops.BackendUnavailable as error:
            print("refused", len(str(error).splitlines()), "; " in str(error), "linfair._C" in str(error))
        print(ops.backend(), {STEP})
    """
    out = succeeds(code, pure)
    assert out[:2] == ["reference", "True"]
    assert out[2].startswith(str(pure))
    assert out[3:] == ["refused", "1", "True", "True", "reference", "True"]


def test_a_broken_extension_is_never_hidden(pure):
    from importlib.machinery import EXTENSION_SUFFIXES

    (pure / "linfair" / f"_C{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library")
    code = f"""
        import torch
        from linfair import ops
        for _ in range(2):  # the failure is cached, not forgotten
            try:
                {STEP}
            except ops.BackendUnavailable as error:
                print("refused", len(str(error).splitlines()), "; " in str(error))
        with ops.use_backend("reference"):
            print(ops.backend(), {STEP})
    """
    assert succeeds(code, pure) == ["refused", "1", "True"] * 2 + ["reference", "True"]


# Instruction sets


def native():
    return importlib.import_module("linfair._C")


@built
def test_paths_are_listed_best_last_and_can_be_forced():
    paths = native().cpu_paths()
    assert paths[0] == "default"
    assert set(paths) <= set(native().build_info()["cpu_paths"])
    assert paths == [p for p in ("default", "avx2", "avx512") if p in paths]
    before = native().cpu_path()
    try:
        for path in paths:
            native().use_cpu_path(path)
            assert native().cpu_path() == path
        native().use_cpu_path("auto")
        assert native().cpu_path() == paths[-1]
        with pytest.raises(ValueError, match="default"):
            native().use_cpu_path("mmx")
        assert native().cpu_path() == paths[-1]
    finally:
        native().use_cpu_path(before)


@built
@pytest.mark.parametrize("path", [run.path for run in NATIVE] or ["default"])
def test_the_environment_forces_a_path(path):
    assert succeeds("from linfair import _C; print(_C.cpu_path())", LINFAIR_CPU=str(path)) == [path]


@built
def test_a_wrong_path_in_the_environment_names_the_choices():
    done = python("import linfair._C", LINFAIR_CPU="sse9")
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    for word in ("LINFAIR_CPU", "sse9", *native().cpu_paths()):
        assert word in last
    code = f"""
        import torch
        from linfair import ops
        try:
            {STEP}
        except ops.BackendUnavailable as error:
            print("refused", "LINFAIR_CPU" in str(error), "sse9" in str(error))
    """
    assert succeeds(code, LINFAIR_CPU="sse9") == ["refused", "True", "True"]


def test_cpu_values_are_checked_whatever_the_environment_says():
    code = """
        import torch
        from linfair import ops
        x = torch.zeros(2, 3)
        try:
            ops.pgd_step(x, x, x, torch.tensor([0.1, -1.0]), 0.1)
        except ValueError as error:
            print("refused", "-1" in str(error))
    """
    assert succeeds(code, LINFAIR_CHECK="0") == ["refused", "True"]
