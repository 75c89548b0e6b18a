"""The report of what is installed and what runs: complete, and never a traceback, whatever is missing or broken."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from linfair import _native, info, runs

PACKAGE = Path(_native.__file__).parent


class Extension(SimpleNamespace):
    """What linfair._C tells of itself, and no more."""

    def __init__(self, cuda="13.0", driver="13.0", devices=1, interface=_native.INTERFACE):
        about = {
            "compiler": "g++ 12",
            "flags": "-O3",
            "cpu_paths": ["default", "avx2"],
            "openmp": True,
            "config": "c0ffee",
        }
        super().__init__(
            INTERFACE=interface,
            build_info=lambda: {**about, "cuda": cuda, "cuda_arch": "all-major"},
            cpu_paths=lambda: ["default"],
            cpu_path=lambda: "default",
            cuda_driver=lambda: {"driver": driver, "runtime": cuda, "devices": devices},
        )


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(extension, record)` makes this process believe in an extension (None: absent; an Exception: broken)."""

    def pretend(extension, record=None):
        (tmp_path / "linfair").mkdir(exist_ok=True)
        path = tmp_path / "linfair" / "_build.json"
        path.write_text(json.dumps(record or {}))

        def load(name):
            if isinstance(extension, Exception):
                raise extension
            return extension

        monkeypatch.setattr(_native, "_RECORD", path)
        monkeypatch.setattr(_native, "built", lambda: extension is not None)
        monkeypatch.setattr(_native, "import_module", load)
        monkeypatch.delenv("LINFAIR_CPU", raising=False)
        _native._load.cache_clear()

    yield pretend
    _native._load.cache_clear()


def record(reason: str, suffix: str | None = None) -> dict:
    return {"suffix": suffix or _native.get_config_var("EXT_SUFFIX"), "built": None, "reason": reason}


def lines(capsys) -> dict[str, str]:
    """The printed report by name, wrapped values joined."""
    assert info.main([]) == 0
    text = re.sub(r"\n {5,}", " ", capsys.readouterr().out)
    return dict(re.findall(r"^  (\S+(?: \S+)?) +(.*)$", text, re.MULTILINE))


def test_the_report_is_complete(capsys):
    found = lines(capsys)
    assert {"linfair", "commit", "python", "numpy", "cvxpy", "torch", "cpu", "built", "cpu tensors"} <= set(found)
    assert "pytest" not in found  # extras are not dependencies
    assert all(found.values())


def test_it_takes_no_arguments(capsys):
    assert info.main(["x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert info.main(["--help"]) == 0


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_lines_fit_the_terminal(machine, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    machine(None, record("word " * 60))
    assert info.main([]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= max(columns, 60)


def test_a_cuda_build_tells_toolkit_architectures_and_driver(machine, capsys):
    machine(Extension())
    found = lines(capsys)
    assert found["built"] == "C++ and CUDA, configuration c0ffee"
    assert found["compiler"] == "g++ 12 -O3"
    assert found["cpu paths"] == "default, avx2; this CPU runs default"
    assert found["cuda"] == "toolkit 13.0, architectures all-major; driver for CUDA 13.0, 1 device"
    assert found["cpu tensors"] == "native (default): the best path that this CPU runs"
    assert found["cuda tensors"] == "native"


def test_a_cuda_build_without_a_driver_says_so(machine, capsys):
    machine(Extension(driver="", devices=0))
    found = lines(capsys)
    assert found["cuda"].endswith("; no driver here")
    assert found["cuda tensors"] == "native, but there is no device here"


def test_a_forced_path_is_named(machine, capsys, monkeypatch):
    machine(Extension())
    monkeypatch.setenv("LINFAIR_CPU", "default")
    assert lines(capsys)["cpu tensors"] == "native (default): named by LINFAIR_CPU"


def test_a_build_without_cuda_says_why(machine, capsys):
    machine(Extension(cuda=""), record("nvcc fatal : no such host compiler"))
    found = lines(capsys)
    assert found["built"] == "C++, configuration c0ffee"
    assert found["cuda"] == "not built: nvcc fatal : no such host compiler"
    assert found["cuda tensors"] == "reference (pure torch): the extension has no CUDA, see above"
    with pytest.raises(_native.BackendUnavailable, match=r"without \(nvcc fatal .*\); rebuild with LINFAIR_CUDA=1"):
        _native.load(cuda=True)
    assert _native.load().INTERFACE == _native.INTERFACE


@pytest.mark.parametrize(
    "kept, why",
    [
        ({}, "no record of a build"),
        (record("no g++; install g++"), "no g++; install g++"),
        (record("", suffix=".cpython-27.so"), r"last built for another Python, .cpython-27.so"),
        (record(""), "it was built, and its file is gone"),
    ],
)
def test_no_extension_is_explained_with_the_remedy(machine, capsys, kept, why):
    machine(None, kept)
    with pytest.raises(_native.BackendUnavailable) as error:
        _native.load()
    message = str(error.value)
    assert message == f"the native backend needs linfair._C, got none ({why}); {_native.REBUILD}"
    assert _native.status() == _native.status(cuda=True) == ("reference", message)
    found = lines(capsys)
    assert found["built"] == "no"
    assert found["why"] == message
    assert found["cpu tensors"].startswith("reference")
    assert found["cuda tensors"].startswith("reference")


@pytest.mark.parametrize(
    "extension, message",
    [
        (
            ImportError("libgomp.so.1: no such file\nmore"),
            r"\(libgomp.so.1: no such file\); rebuild with",
        ),
        (
            ImportError("LINFAIR_CPU must be one of a, b, got 'c'"),
            r"\(LINFAIR_CPU must .* got 'c'\)$",
        ),
        (RuntimeError("boom"), r"does not load \(boom\); rebuild with"),
        (
            Extension(interface=0),
            rf"must have interface {_native.INTERFACE}, got 0: built from other sources; rebuild",
        ),
        (SimpleNamespace(), rf"must have interface {_native.INTERFACE}, got 0"),
    ],
)
def test_a_broken_extension_is_an_error_and_no_fallback(machine, capsys, extension, message):
    machine(extension)
    for _ in range(2):
        with pytest.raises(_native.BackendUnavailable, match=message) as error:
            _native.load()
    assert "\n" not in str(error.value)
    assert _native.status()[0] == _native.status(cuda=True)[0] == "broken"
    found = lines(capsys)
    assert found["built"] == "yes, but unusable"
    assert found["cpu tensors"] == found["cuda tensors"] == "unusable: the extension is, see above"


def test_a_failure_is_remembered(machine, monkeypatch):
    machine(ImportError("first"))
    _native.status()
    monkeypatch.setattr(_native, "import_module", lambda name: pytest.fail("tried again"))
    assert "first" in _native.status()[1]


def test_sources_newer_than_the_build_are_named(machine, tmp_path, capsys):
    machine(Extension())
    (tmp_path / "csrc").mkdir()
    for name, age in (("norms.h", 1), ("README.md", 1), ("bindings.cpp", -1)):
        (tmp_path / "csrc" / name).touch()
        then = (tmp_path / "linfair" / "_build.json").stat().st_mtime + age
        os.utime(tmp_path / "csrc" / name, (then, then))
    assert _native.outdated() == ["norms.h"]
    assert lines(capsys)["outdated"].startswith("norms.h changed since the build; rebuild with")


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_a_damaged_record_is_no_record(machine, tmp_path, damage):
    machine(None)
    (tmp_path / "linfair" / "_build.json").write_text(damage)
    assert "no record of a build" in _native.status()[1]
    (tmp_path / "linfair" / "_build.json").unlink()
    assert _native.record() == {}
    assert _native.outdated() == []


def test_it_runs_where_nothing_but_the_package_is_installed(tmp_path):
    """Neither torch nor numpy, an extension that is no library: a report and no traceback."""
    shutil.copytree(PACKAGE, tmp_path / "linfair", ignore=shutil.ignore_patterns("_C.*", "_build.json", "__pycache__"))
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import sys; sys.path.insert(0, '.'); import linfair.info as i; i.main([])",
    ]
    bare = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (bare.returncode, bare.stderr) == (0, "")
    assert "none: linfair.ops needs torch" in bare.stdout
    (tmp_path / "linfair" / f"_C{_native.get_config_var('EXT_SUFFIX')}").write_text("junk")
    broken = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (broken.returncode, broken.stderr) == (0, "")
    assert "unusable" in broken.stdout


def test_runs_record_what_ran(machine, monkeypatch):
    machine(Extension())
    monkeypatch.delitem(sys.modules, "linfair.ops", raising=False)
    assert runs.backend() == "python"
    for name, device, recorded in [
        ("native", "cpu", "native (default)"),
        ("native", "cuda", "native"),
        ("reference", "cpu", "reference"),
    ]:
        monkeypatch.setitem(sys.modules, "linfair.ops", SimpleNamespace(backend=lambda _, name=name: name))
        assert runs.backend(device) == recorded
