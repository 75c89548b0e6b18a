"""Compile `linfair._C` with ninja. Each configuration has a folder that stays, so nothing unchanged is compiled twice.

What can be built is decided here; where the result goes, in setup.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain import BuildError, Compiler, Nvcc, Switches, arch_flags, first_error, run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "native"
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")

# The same bits on every path: no contraction, no finite-math flags.
FLAGS = shlex.split(
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fopenmp-simd -Wall -Wextra -Wno-psabi"
)
NVCC_FLAGS = shlex.split("-std=c++17 -O3 --fmad=false -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wno-psabi")
X86_PATHS = {
    "avx2": ["-mavx2", "-mfma"],
    # gcc 12 warns of its own avx512 headers (its bug 105593); clang does not know that warning
    "avx512": shlex.split(
        "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mfma "
        "-Wno-maybe-uninitialized -Wno-unknown-warning-option"
    ),
}


def cpu_paths() -> dict[str, list[str]]:
    """The instruction sets to compile the leaf loops for, with the flags of each."""
    x86 = platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 2**32
    return {"default": [], **(X86_PATHS if x86 else {})}


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A configuration: the hash that names its folder, and its build.ninja."""

    config: str
    ninja: str


def plan(host: Compiler, nvcc: Nvcc | None, includes: list[str]) -> Plan:
    """What to compile, and how. The hash covers every command, the compilers' versions and Python's ABI."""
    paths = cpu_paths()
    defines = [f"-DLINFAIR_HAVE_{name.upper()}" for name in paths if name != "default"]
    defines += ["-DLINFAIR_WITH_CUDA"] if nvcc else []
    texts = {
        "COMPILER": host.name,
        "BUILD_FLAGS": shlex.join(FLAGS),
        "BUILD_CONFIG": "@config@",
        "CUDA_TEXT": nvcc.release if nvcc else "",
        "CUDA_ARCH_TEXT": nvcc.arch if nvcc else "",
    }
    about = [f'-DLINFAIR_{name}="{text}"' for name, text in texts.items()]
    edges = [("pgd_step_cpu.o", "cxx", "pgd_step_cpu.cpp", [*defines, host.threads])]
    for name, flags in paths.items():
        macro = "default_" if name == "default" else name  # `default` is a word of C++
        edges.append((f"leaf_{name}.o", "cxx", "pgd_step_leaf.cpp", [f"-DLINFAIR_PATH={macro}", *flags]))
    edges.append(("bindings.o", "cxx", "bindings.cpp", [*defines, *about, *includes]))
    edges += [("pgd_step_cuda.o", "nvcc", "pgd_step_cuda.cu", [])] if nvcc else []

    commands = {"cxx": [*host.command, *FLAGS], "link": [*host.command, *_shared(), host.threads]}
    if nvcc:
        own = [nvcc.path] if os.environ.get("NVCC_CCBIN") else [nvcc.path, f"-ccbin={host.host}"]
        commands["nvcc"] = [*own, *NVCC_FLAGS, *arch_flags(nvcc.arch)]
        # The runtime inside the library: it then imports where there is no GPU, and beside any torch.
        commands["link"] = [*own, "--cudart=static", *_shared(), f"-Xcompiler={host.threads}"]
    text = _ninja_text(commands, edges)
    facts = [text, host.version, nvcc.version if nvcc else "", SUFFIX]
    facts += [os.environ.get(f"NVCC_{name}_FLAGS", "") for name in ("PREPEND", "APPEND")]
    config = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return Plan(config, text.replace("@config@", config))


def _shared() -> list[str]:
    return ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]


def _ninja_text(commands: dict[str, list[str]], edges: list[tuple[str, str, str, list[str]]]) -> str:
    """build.ninja: a rule a command, an edge (target, rule, source, more flags) an object, and the link."""

    def line(words: list[str]) -> str:
        return shlex.join(words).replace("$", "$$")

    lines = ["ninja_required_version = 1.8"]
    for rule, command in commands.items():
        lines += ["", f"rule {rule}", f"  description = {rule} $out"]
        if rule == "link":
            lines += [f"  command = {line(command)} $in -o $out"]
        else:
            lines += [f"  command = {line(command)} $more -MD -MF $out.d -c $in -o $out"]
            lines += ["  deps = gcc", "  depfile = $out.d"]
    lines.append("")
    for target, rule, source, more in edges:
        lines += [f"build {target}: {rule} ../../../csrc/{source}", f"  more = {line(more)}"]
    lines += [f"build _C.so: link {' '.join(edge[0] for edge in edges)}", "default _C.so", ""]
    return "\n".join(lines)


# --- the work --------------------------------------------------------------------------------------------------------


def headers(folder: Path) -> list[str]:
    """Include flags of Python and pybind11; the latter's headers are copied to where every isolated build finds them.

    An isolated build has its own pybind11 in a new temporary folder each time, and ninja would see new files.
    Raises BuildError where either is missing.
    """
    python = Path(sysconfig.get_path("include"))
    if not (python / "Python.h").exists():
        raise BuildError(f"Python.h is needed, got none in {python}; install Python's headers (Debian: python3-dev)")
    try:
        import pybind11
    except ImportError:
        raise BuildError("pybind11 is needed, got none; pip install pybind11, or build isolated") from None
    copy = folder / f"pybind11-{pybind11.__version__}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            shutil.copytree(pybind11.get_include(), Path(fresh, "include"))
            Path(fresh, "include").rename(copy)
    return ["-isystem", f"../{copy.name}", "-isystem", str(python)]


def ninja(folder: Path, jobs: int) -> None:
    """Bring a build folder up to date, its output shown as it comes. Raises BuildError with the first error."""
    try:
        from ninja import BIN_DIR as place
    except ImportError:
        place = ""
    program = shutil.which("ninja", path=place) or shutil.which("ninja")
    if not program:
        raise BuildError("ninja is needed, got none; pip install ninja, or build isolated")
    # nvcc's threads by the environment: on its command line, another MAX_JOBS would compile everything anew.
    threads = f"{os.environ.get('NVCC_APPEND_FLAGS', '')} --threads {jobs}".strip()
    command = [program, "-C", str(folder), "-j", str(jobs)]
    output = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"NVCC_APPEND_FLAGS": threads},
    ) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            output.append(text)
    if process.returncode:
        said = "".join(output)
        target = re.search(r"^FAILED: (?:\[.*?\] )?(\S+) *\n.*\n", said, re.MULTILINE)  # then comes the command line
        raise BuildError(f"{target[1]}: {first_error(said[target.end() :])}" if target else first_error(said))


_LOAD = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("linfair._C", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.build_info()))
"""


def build_info(library: Path) -> dict[str, Any]:
    """build_info() of a finished library, loaded in a process of its own. Raises BuildError if it does not load."""
    env = {name: value for name, value in os.environ.items() if name != "LINFAIR_CPU"}
    done = run([sys.executable, "-I", "-S", "-c", _LOAD, str(library)], env=env)
    if done.returncode:
        print(done.stdout)
        raise BuildError(f"the library is compiled but does not load: {done.stdout.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One build at a time: ninja does not keep two apart."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def compiled(switches: Switches, cuda: bool) -> tuple[Path, dict[str, Any]]:
    """(library, its build_info()) of one configuration. Raises BuildError."""
    host = Compiler.find(switches.cxx)
    nvcc = Nvcc.find(switches) if cuda else None
    with locked(FOLDER):
        made = plan(host, nvcc, headers(FOLDER))
        folder = FOLDER / made.config
        folder.mkdir(exist_ok=True)
        file = folder / "build.ninja"
        if not file.exists() or file.read_text() != made.ninja:
            file.write_text(made.ninja)
        ninja(folder, switches.jobs)
        return folder / "_C.so", build_info(folder / "_C.so")


# --- the outcome -----------------------------------------------------------------------------------------------------


def record(reason: str, info: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is written beside the library: what it is (None: there is none), and why there is not more."""
    return {"suffix": SUFFIX, "built": info, "reason": reason}


def build(switches: Switches) -> tuple[Path | None, dict[str, Any]]:
    """(library or None, its record). Raises BuildError only where LINFAIR_EXT=1 or LINFAIR_CUDA=1 is not met."""
    if switches.ext == "0":
        return None, record("switched off by LINFAIR_EXT=0")
    reason = "switched off by LINFAIR_CUDA=0"
    if switches.cuda != "0":
        try:
            library, info = compiled(switches, cuda=True)
            return library, record("", info)
        except BuildError as error:
            if switches.cuda == "1":
                raise
            reason = str(error)
    try:
        library, info = compiled(switches, cuda=False)
        return library, record(reason, info)
    except BuildError as error:
        if switches.ext == "1":
            raise
        return None, record(str(error))


def summary(kept: dict[str, Any]) -> str:
    """A record in one line."""
    built, reason = kept["built"], kept["reason"]
    what = "C++ and CUDA" if built and built["cuda"] else "C++ only" if built else "no native extension"
    return f"linfair: built {what}" + (f" ({reason})" if reason else "")
