"""The plan of the native build: its switches and messages, the compilers it finds, what falls back to what.

The compilers are shell scripts. test_build_project.py builds for real, and `benchmarks/build_matrix.py` tries every way
to install, each in an environment of its own.
"""

import os
import sys
from pathlib import Path

import pytest

import native_build
import toolchain
from builds import CLANG, GNU, NVCC, script
from toolchain import BuildError, Compiler, Nvcc, Switches

# --- switches --------------------------------------------------------------------------------------------------------


def test_unset_and_empty_switches_are_the_defaults():
    assert Switches.read({}) == Switches.read(dict.fromkeys(("LINFAIR_EXT", "CUDA_HOME", "CXX", "MAX_JOBS"), ""))
    assert Switches.read({}) == Switches("auto", "auto", "all-major", "", "", toolchain.cores())


def test_every_switch_is_read():
    env = {"LINFAIR_EXT": "1", "LINFAIR_CUDA": "0", "LINFAIR_CUDA_ARCH": "90", "CUDA_HOME": "c", "CXX": "x y"}
    assert Switches.read({**env, "MAX_JOBS": "3"}) == Switches("1", "0", "90", "c", "x y", 3)


@pytest.mark.parametrize(
    "env, words",
    [
        ({"LINFAIR_EXT": "yes"}, ["LINFAIR_EXT", "auto, 0 or 1", "'yes'", "unset it"]),
        ({"LINFAIR_CUDA": "12"}, ["LINFAIR_CUDA", "auto, 0 or 1", "'12'", "unset it"]),
        ({"LINFAIR_CUDA": "1", "LINFAIR_EXT": "0"}, ["LINFAIR_CUDA=1", "LINFAIR_EXT=0", "unset one"]),
        ({"MAX_JOBS": "0"}, ["MAX_JOBS", "positive integer", "'0'", "unset it"]),
        ({"MAX_JOBS": "two"}, ["MAX_JOBS", "'two'"]),
        ({"LINFAIR_CUDA_ARCH": "hopper"}, ["LINFAIR_CUDA_ARCH", "80;90", "'hopper'", "unset it"]),
        ({"LINFAIR_CUDA_ARCH": "80;"}, ["LINFAIR_CUDA_ARCH", "'80;'"]),
        ({"LINFAIR_CUDA_ARCH": "9.0"}, ["LINFAIR_CUDA_ARCH", "'9.0'"]),
    ],
)
def test_a_switch_that_means_nothing_is_refused_in_one_line(env, words):
    with pytest.raises(BuildError) as error:
        Switches.read(env)
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    "arch, flags",
    [
        ("all-major", "-arch=all-major"),
        ("native", "-arch=native"),
        ("90", "-gencode=arch=compute_90,code=sm_90 -gencode=arch=compute_90,code=compute_90"),
        (
            "100;80,80",
            "-gencode=arch=compute_100,code=sm_100 -gencode=arch=compute_80,code=sm_80 "
            "-gencode=arch=compute_100,code=compute_100",
        ),
        ("90a", "-gencode=arch=compute_90a,code=sm_90a"),
    ],
)
def test_architectures_become_flags_of_nvcc(arch, flags):
    assert toolchain.arch_flags(arch) == flags.split()


# --- compilers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, name, threads",
    [
        (GNU, "g++ 12.2.0", "-fopenmp"),
        (CLANG + '\ncase "$*" in *-fopenmp*) exit 1;; esac', "clang++ 14.0.6", "-pthread"),
        ('case "$*" in *--version*) echo icpx; exit;; esac', "C++", "-fopenmp"),
    ],
)
def test_a_compiler_is_known_by_its_words_and_probed_for_openmp(tmp_path, text, name, threads):
    found = Compiler.find(script(tmp_path / "cxx", text))
    assert (found.name, found.threads) == (name, threads)


def test_cxx_may_hold_a_launcher_and_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    script(tmp_path / "ccache", 'exec "$@"')
    compiler = script(tmp_path / "mycxx", GNU)
    found = Compiler.find("ccache mycxx '-DNAME=a b'")
    assert found.command == [str(tmp_path / "ccache"), "mycxx", "-DNAME=a b"]
    assert found.host == compiler
    made = native_build.plan(found, Nvcc("nvcc", "release 13.0,", "90"), [])
    assert f"-ccbin={compiler}" in made.ninja
    assert "'-DNAME=a b'" in made.ninja


@pytest.mark.parametrize("cxx", ["", "nosuch++ -O1"])
def test_no_compiler_is_named_with_the_remedy(tmp_path, monkeypatch, cxx):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"got no .*(clang\+\+|nosuch\+\+).* on PATH; install g\+\+ or set CXX"):
        Compiler.find(cxx)


def test_a_compiler_that_compiles_nothing_is_told_from_missing_openmp(tmp_path):
    broken = script(tmp_path / "cxx", GNU + "\necho 'ld: error: no crt1.o'; exit 1")
    with pytest.raises(BuildError, match=r"compiles nothing \(ld: error: no crt1.o\); mend it or set CXX"):
        Compiler.find(broken)


def test_cuda_home_comes_before_the_path(tmp_path, monkeypatch):
    for name in ("path", "home"):
        script(tmp_path / name / "bin" / "nvcc", NVCC.replace("13.0,", "11.8," if name == "home" else "13.0,"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert Nvcc.find(Switches()).release == "13.0"
    assert Nvcc.find(Switches(cuda_home=str(tmp_path / "home"))).release == "11.8"
    with pytest.raises(BuildError, match=r"CUDA needs nvcc, got none in CUDA_HOME=.*; install the CUDA toolkit or set"):
        Nvcc.find(Switches(cuda_home=str(tmp_path)))


def test_native_needs_a_gpu(tmp_path, monkeypatch):
    script(tmp_path / "bin" / "nvcc", NVCC)
    switches = Switches(arch="native", cuda_home=str(tmp_path))
    monkeypatch.setattr(toolchain, "_gpus", lambda: "")
    with pytest.raises(BuildError, match="LINFAIR_CUDA_ARCH=native needs a GPU, got none here; name its architecture"):
        Nvcc.find(switches)
    monkeypatch.setattr(toolchain, "_gpus", lambda: "GPU 0: some card")
    assert Nvcc.find(switches).arch == "native"


@pytest.mark.parametrize(
    "output, line",
    [
        (
            "In file included\na.cpp:1:2: error: no such thing\nb.cpp:1: error: another\n",
            "a.cpp:1:2: error: no such thing",
        ),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_20'\n", "nvcc fatal   : Unsupported gpu architecture"),
        ("/usr/bin/ld: cannot find -lgomp\ncollect2: error\n", "/usr/bin/ld: cannot find -lgomp"),
        ("one\ntwo\n", "two"),
        ("\n", "it says nothing"),
        ("error: " + "x" * 500, "error: xxx"),
    ],
)
def test_the_first_error_is_found_and_short(output, line):
    found = toolchain.first_error(output)
    assert found.startswith(line)
    assert len(found) <= 200


# --- the plan --------------------------------------------------------------------------------------------------------

HOST = Compiler(["/bin/c++"], "c++ (X) 12.2.0\nFree Software Foundation", "-fopenmp")
CUDA = Nvcc("/opt/bin/nvcc", "release 13.0,", "all-major")


def test_each_configuration_has_a_folder_of_its_own(monkeypatch):
    def config(host=HOST, nvcc: Nvcc | None = CUDA, includes=("-isystem", "p")):
        return native_build.plan(host, nvcc, list(includes)).config

    configs = [
        config(),
        config(nvcc=None),
        config(nvcc=Nvcc(CUDA.path, CUDA.version, "90")),
        config(nvcc=Nvcc(CUDA.path, "release 12.8,", CUDA.arch)),
        config(host=Compiler(HOST.command, HOST.version.replace("12.2", "13.1"), HOST.threads)),
        config(host=Compiler(["/bin/c++", "-g"], HOST.version, HOST.threads)),
        config(host=Compiler(HOST.command, HOST.version, "-pthread")),
        config(includes=("-isystem", "q")),
    ]
    assert len(set(configs)) == len(configs)
    assert configs[0] == config()
    monkeypatch.setattr(native_build, "SUFFIX", ".cpython-399.so")
    assert config() != configs[0]


def test_other_processors_get_the_default_path_only(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    made = native_build.plan(HOST, None, [])
    assert "leaf_default.o" in made.ninja
    assert "avx" not in made.ninja
    assert "HAVE_" not in made.ninja
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert all(f"-DLINFAIR_HAVE_{name}" in native_build.plan(HOST, None, []).ninja for name in ("AVX2", "AVX512"))


def test_macos_links_a_bundle(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert "-bundle -undefined dynamic_lookup" in native_build.plan(HOST, None, []).ninja


def test_arithmetic_is_never_fast():
    made = native_build.plan(HOST, CUDA, [])
    assert "fast-math" not in made.ninja
    assert "-march" not in made.ninja
    assert all(flag in native_build.FLAGS for flag in ("-O3", "-ffp-contract=off"))


def test_header_paths_do_not_move_between_isolated_builds(tmp_path, monkeypatch):
    pybind11 = pytest.importorskip("pybind11")
    seen = []
    for name in ("first", "second"):
        (tmp_path / name / "pybind11").mkdir(parents=True)
        monkeypatch.setattr(pybind11, "get_include", lambda name=name: str(tmp_path / name))
        seen.append(native_build.headers(tmp_path))
    assert seen[0] == seen[1]
    assert (tmp_path / f"pybind11-{pybind11.__version__}" / "pybind11").is_dir()
    assert len(list(tmp_path.iterdir())) == 3


def test_missing_headers_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(BuildError, match=r"Python.h is needed, got none in .*; install Python's headers"):
        native_build.headers(tmp_path)
    (tmp_path / "Python.h").touch()
    monkeypatch.setitem(sys.modules, "pybind11", None)
    with pytest.raises(BuildError, match="pybind11 is needed, got none; pip install pybind11"):
        native_build.headers(tmp_path)


# --- what falls back to what -----------------------------------------------------------------------------------------

WITH, WITHOUT = {"cuda": "13.0"}, {"cuda": ""}


@pytest.mark.parametrize(
    "switches, broken, expected",
    [
        (Switches(), "", (WITH, "")),
        (Switches(), "cuda", (WITHOUT, "no cuda")),
        (Switches(), "cuda c++", (None, "no c++")),
        (Switches(cuda="0"), "cuda", (WITHOUT, "switched off by LINFAIR_CUDA=0")),
        (Switches(cuda="0"), "c++", (None, "no c++")),
        (Switches(cuda="1"), "", (WITH, "")),
        (Switches(cuda="1"), "cuda", "no cuda"),
        (Switches(ext="1"), "cuda", (WITHOUT, "no cuda")),
        (Switches(ext="1"), "cuda c++", "no c++"),
        (Switches(ext="0"), "", (None, "switched off by LINFAIR_EXT=0")),
    ],
)
def test_auto_takes_what_there_is_and_1_insists(monkeypatch, switches, broken, expected):
    def compiled(_, cuda):
        for part in ("cuda", "c++"):
            if part in broken and (cuda or part == "c++"):
                raise BuildError(f"no {part}")
        return Path("_C.so"), WITH if cuda else WITHOUT

    monkeypatch.setattr(native_build, "compiled", compiled)
    if isinstance(expected, str):
        with pytest.raises(BuildError, match=expected.replace("+", r"\+")):
            native_build.build(switches)
        return
    library, kept = native_build.build(switches)
    assert (kept["built"], kept["reason"]) == expected
    assert (library is None) == (kept["built"] is None)
    assert native_build.summary(kept).count("\n") == 0
