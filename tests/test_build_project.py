"""The native build at work, on a small project and as it is installed here: nothing stale is ever left or shipped."""

import os
import re
import shutil
import subprocess
import time
import zipfile

import pytest

import native_build
from builds import CXX, NVCC, STUBS, Project, has_nvcc, needs_cxx, script
from linfair import _native
from native_build import SUFFIX

# --- a small project, built for real ---------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def test_without_any_compiler_it_builds_pure_and_says_why(project):
    out = project.build(CXX="nosuch++")
    assert "built no native extension (a C++ compiler is needed, got no CXX='nosuch++' on PATH; install" in out
    assert project.libraries == []
    assert project.record["built"] is None
    assert "nosuch++" in project.record["reason"]


def test_what_is_demanded_and_missing_fails_in_the_words_of_the_build(project):
    out = project.build(ok=False, CXX="nosuch++", LINFAIR_EXT="1")
    assert out.strip().splitlines()[-1].startswith("error: a C++ compiler is needed, got no CXX='nosuch++'")
    out = project.build(ok=False, LINFAIR_EXT="maybe")
    assert out.strip().splitlines()[-1] == "error: LINFAIR_EXT must be auto, 0 or 1, got 'maybe'; unset it for auto"
    assert "LINFAIR_EXT must be" in project.record["reason"]


@needs_cxx
@pytest.mark.parametrize("switches", [{"LINFAIR_EXT": "0"}, {"CXX": "nosuch++"}])
def test_nothing_stale_survives_what_switches_it_off(project, switches):
    (project.package / "_C.so").touch()  # also loads, and would come back when the other is gone
    project.build()
    assert project.libraries == [f"_C{SUFFIX}"]
    assert project.info == project.record["built"]
    project.build(**switches)
    assert project.libraries == []
    assert project.record["built"] is None


@needs_cxx
def test_nothing_stale_survives_an_error(project):
    project.build()
    project.source("bindings.cpp", "int broken = nothing;")
    out = project.build()
    assert project.libraries == []
    assert "bindings.o: csrc/bindings.cpp:1:14: error:" in project.record["reason"]
    assert "nothing" in out
    (project.package / f"_C{SUFFIX}").touch()
    project.build(ok=False, LINFAIR_EXT="1")
    assert project.libraries == []
    assert project.record["reason"].startswith("the build failed: bindings.o: ")


@needs_cxx
def test_a_library_that_does_not_load_is_not_shipped(project):
    project.source("bindings.cpp", "int gone();\nextern int call;\nint call = gone();\n" + STUBS["bindings.cpp"])
    out = project.build()
    assert project.libraries == []
    assert "does not load" in project.record["reason"]
    assert "gone" in out


@needs_cxx
def test_an_unchanged_step_is_quick_and_a_changed_header_is_seen(project):
    def timed() -> float:
        start = time.perf_counter()
        assert "no work to do" in project.build()
        return time.perf_counter() - start

    project.build()
    file = next((project.root / "build" / "native").glob("*/build.ninja"))
    before = file.stat().st_mtime_ns
    assert min(timed() for _ in range(3)) < 2  # seconds, the start of Python included
    assert "no work to do" in project.build(MAX_JOBS="1")
    assert file.stat().st_mtime_ns == before
    project.source("stub.h", "#define STUB 1\n")
    out = project.build()
    assert "cxx bindings.o" in out
    assert "pgd_step_cpu.o" not in out


@needs_cxx
def test_a_wheel_holds_what_its_own_build_made(project):
    def wheel(**switches) -> tuple[str, list[str]]:
        shutil.rmtree(project.root / "dist", ignore_errors=True)
        project.build("-q", "bdist_wheel", **switches)
        (file,) = (project.root / "dist").iterdir()
        return file.name, sorted(name for name in zipfile.ZipFile(file).namelist() if name.startswith("linfair/"))

    project.build()  # a library in the tree is no part of a wheel
    pure = ["linfair/__init__.py", "linfair/_build.json"]
    assert wheel(LINFAIR_EXT="0") == ("linfair-0-py3-none-any.whl", pure)
    name, files = wheel()
    assert "none-any" not in name
    assert files == [f"linfair/_C{SUFFIX}", *pure]
    assert wheel(CXX="nosuch++") == ("linfair-0-py3-none-any.whl", pure)


@needs_cxx
def test_cuda_that_does_not_compile_leaves_cpp_and_says_why(project, tmp_path):
    home = tmp_path / "cuda"
    script(home / "bin" / "nvcc", NVCC + "\necho 'nvcc fatal : Unsupported host compiler'; exit 1")
    project.build(LINFAIR_CUDA="auto", CUDA_HOME=str(home))
    assert project.info["cuda"] == ""
    assert project.record["reason"] == "pgd_step_cuda.o: nvcc fatal : Unsupported host compiler"
    out = project.build(ok=False, LINFAIR_CUDA="1", CUDA_HOME=str(home))
    assert out.strip().splitlines()[-1] == "error: pgd_step_cuda.o: nvcc fatal : Unsupported host compiler"
    assert project.libraries == []


@needs_cxx
@pytest.mark.skipif(not has_nvcc(), reason="no nvcc")
def test_cuda_on_off_on(project):
    for switch in ("1", "0", "auto"):
        project.build(LINFAIR_CUDA=switch, LINFAIR_CUDA_ARCH="90")
        assert bool(project.info["cuda"]) == (switch != "0")
        assert project.libraries == [f"_C{SUFFIX}"]
    assert len(list((project.root / "build" / "native").glob("*/_C.so"))) == 2


# --- the extension that is installed here ----------------------------------------------------------------------------


def test_the_installed_extension_is_what_this_machine_can_build():
    """Under the switches of now: after changing one, `make -B install`."""
    kept = _native.record()
    if os.environ.get("LINFAIR_EXT") == "0" or not CXX:
        assert _native.status()[0] == "reference"
        return
    assert _native.status()[0] == "native", kept
    info = _native.load().build_info()
    assert info == kept["built"]
    assert info["cpu_paths"] == list(native_build.cpu_paths())
    if os.environ.get("LINFAIR_CUDA") == "0" or not has_nvcc():
        assert not info["cuda"]
    else:
        assert info["cuda"], kept["reason"]
        assert info["cuda_arch"] == os.environ.get("LINFAIR_CUDA_ARCH", "all-major")
    assert _native.outdated() == [], "make install builds it anew"


@pytest.mark.skipif(not (has_nvcc() and shutil.which("cuobjdump")), reason="no nvcc or no cuobjdump")
def test_the_installed_extension_holds_code_for_every_major_architecture():
    module = _native.load(cuda=True)
    if module.build_info()["cuda_arch"] != "all-major":
        return
    listed = subprocess.run(
        ["cuobjdump", "--list-elf", str(module.__file__)], capture_output=True, text=True, check=True
    ).stdout
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    majors = {int(number) // 10 for number in re.findall(r"sm_(\d+)", known)}
    assert {int(number) // 10 for number in re.findall(r"sm_(\d+)", listed)} == majors


def test_the_installed_extension_needs_no_driver_to_import():
    module = _native.load() if _native.status()[0] == "native" else pytest.skip("no extension")
    found = module.cuda_driver()
    assert set(found) == {"driver", "runtime", "devices"}
    if not found["driver"]:
        assert found["devices"] == 0
