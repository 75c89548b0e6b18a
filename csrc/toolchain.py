"""What a build has to work with: the switches of the environment, the C++ compiler, nvcc. csrc/README.md lists them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LAUNCHERS = {"ccache", "sccache", "distcc", "icecc"}


class BuildError(Exception):
    """Why something cannot be built, in one line: expected, received, remedy; or the compiler's first error."""


# --- switches --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Switches:
    """LINFAIR_EXT, LINFAIR_CUDA, LINFAIR_CUDA_ARCH, CUDA_HOME, CXX, MAX_JOBS; an empty variable counts as unset."""

    ext: str = "auto"
    cuda: str = "auto"
    arch: str = "all-major"
    cuda_home: str = ""
    cxx: str = ""
    jobs: int = 1

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Switches:
        """The switches of an environment. Raises BuildError for a value that means nothing."""
        ext, cuda = (_choice(env, name) for name in ("LINFAIR_EXT", "LINFAIR_CUDA"))
        if (ext, cuda) == ("0", "1"):
            raise BuildError("LINFAIR_CUDA=1 needs the extension, got LINFAIR_EXT=0; unset one of them")
        jobs = env.get("MAX_JOBS") or str(cores())
        if not re.fullmatch("[1-9][0-9]*", jobs):
            raise BuildError(f"MAX_JOBS must be a positive integer, got '{jobs}'; unset it for one job a core")
        arch = env.get("LINFAIR_CUDA_ARCH") or cls.arch
        arch_flags(arch)
        return cls(ext, cuda, arch, env.get("CUDA_HOME", ""), env.get("CXX", ""), int(jobs))


def _choice(env: Mapping[str, str], name: str) -> str:
    value = env.get(name) or "auto"
    if value not in ("auto", "0", "1"):
        raise BuildError(f"{name} must be auto, 0 or 1, got '{value}'; unset it for auto")
    return value


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def arch_flags(arch: str) -> list[str]:
    """nvcc's flags for LINFAIR_CUDA_ARCH: machine code for each one named, PTX of the newest for later ones."""
    if arch in ("all-major", "all", "native"):
        return [f"-arch={arch}"]
    names = re.split("[;,]", arch)
    for name in names:
        if not re.fullmatch(r"[1-9][0-9]{1,2}[af]?", name):
            raise BuildError(
                "LINFAIR_CUDA_ARCH must be all-major, all, native or numbers such as 90 or 80;90, "
                f"got '{arch}'; unset it for all-major"
            )
    numbers = sorted({name for name in names if name.isdigit()}, key=int)  # the PTX of 90a runs on nothing but 90
    code = [(name, f"sm_{name}") for name in dict.fromkeys(names)] + [
        (name, f"compute_{name}") for name in numbers[-1:]
    ]
    return [f"-gencode=arch=compute_{name},code={target}" for name, target in code]


# --- compilers -------------------------------------------------------------------------------------------------------


def run(command: list[str], **options) -> subprocess.CompletedProcess[str]:
    """Run a command, both its streams captured as one. Raises BuildError where it cannot be started."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    except OSError as error:
        raise BuildError(f"'{command[0]}' must be a program that runs here, got '{error.strerror}'") from None


def version(command: list[str]) -> str:
    """What `command --version` prints. Raises BuildError if it fails."""
    done = run([*command, "--version"])
    if done.returncode:
        raise BuildError(f"'{shlex.join(command)} --version' failed: {first_error(done.stdout)}")
    return done.stdout.strip()


def first_error(output: str) -> str:
    """The line of a compiler's output that says what is wrong, shortened."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(error|fatal|undefined|cannot)\b", line, re.IGNORECASE)]
    line = (telling or lines[-1:] or ["it says nothing"])[0].removeprefix("../../../")
    return line if len(line) <= 200 else f"{line[:197]}..."


def compiles(command: list[str], source: str, *flags: str) -> str:
    """ "" if a small program compiles and links, else what the compiler said."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "probe.cpp").write_text(source)
        done = run([*command, *flags, "probe.cpp", "-o", "probe"], cwd=folder)
    return (done.stdout.strip() or "it says nothing") if done.returncode else ""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, what it says of itself, its flag for threads (OpenMP where it has that)."""

    command: list[str]
    version: str
    threads: str

    @classmethod
    def find(cls, cxx: str) -> Compiler:
        """`cxx`, which may hold a launcher and arguments, else the first compiler on PATH. Raises BuildError."""
        if os.name == "nt":
            raise BuildError("linfair._C builds on Linux and macOS, got Windows; use WSL")
        names = [cxx] if cxx.strip() else ["c++", "g++", "clang++"]
        found = [[path, *rest] for first, *rest in map(shlex.split, names) if (path := shutil.which(first))]
        if not found:
            wanted = f"CXX='{cxx}'" if cxx.strip() else "c++, g++ or clang++"
            raise BuildError(f"a C++ compiler is needed, got no {wanted} on PATH; install g++ or set CXX")
        command = found[0]
        text = version(command)
        if trouble := compiles(command, "int main() { return 0; }"):
            print(trouble)
            raise BuildError(f"'{shlex.join(command)}' compiles nothing ({first_error(trouble)}); mend it or set CXX")
        openmp = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }"
        return cls(command, text, "-pthread" if compiles(command, openmp, "-fopenmp") else "-fopenmp")

    @property
    def name(self) -> str:
        """Such as "g++ 12.2.0"."""
        kind = "clang++" if "clang" in self.version else "g++" if "Free Software" in self.version else "C++"
        number = re.search(r"\d+\.\d+(\.\d+)?(?!\S)", self.version.partition("\n")[0])
        return f"{kind} {number[0]}" if number else kind

    @property
    def host(self) -> str:
        """The compiler without launcher and arguments, as nvcc takes its host compiler."""
        paths = [word for word in self.command if Path(word).name not in LAUNCHERS]
        return shutil.which(paths[0]) or paths[0]


@dataclass(frozen=True)
class Nvcc:
    """The CUDA compiler: its path, what it says of itself, the architectures to compile for."""

    path: str
    version: str
    arch: str

    @classmethod
    def find(cls, switches: Switches) -> Nvcc:
        """nvcc of CUDA_HOME where that is set, else on PATH, else in /usr/local/cuda. Raises BuildError."""
        home = switches.cuda_home
        places = [f"{home}/bin"] if home else [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
        path = shutil.which("nvcc", path=os.pathsep.join(places))
        if not path:
            where = f"in CUDA_HOME={home}" if home else "on PATH or in /usr/local/cuda"
            raise BuildError(f"CUDA needs nvcc, got none {where}; install the CUDA toolkit or set CUDA_HOME")
        text = version([path])
        # nvcc itself would only warn, and compile for some other architecture
        if switches.arch == "native" and ("GPU" not in _gpus()):
            raise BuildError("LINFAIR_CUDA_ARCH=native needs a GPU, got none here; name its architecture, such as 90")
        return cls(path, text, switches.arch)

    @property
    def release(self) -> str:
        """Such as "13.0"."""
        number = re.search(r"release (\d+\.\d+)", self.version)
        return number[1] if number else "of unknown release"


def _gpus() -> str:
    """What nvidia-smi lists; "" where there is none."""
    program = shutil.which("nvidia-smi")
    return run([program, "-L"]).stdout if program else ""
