"""Try the build for real: ways to install x toolchains, each judged by what an interpreter then finds.

    python benchmarks/build_matrix.py [--only WORD] [--write docs/build.md]

Works on a copy of the tree in a temporary folder; isolated builds fetch setuptools, pybind11 and ninja. What must be
missing is hidden in a mount namespace of the case's own, so those cases need root on Linux and are left out elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "csrc",
    "linfair",
)
SWITCHES = ("LINFAIR_EXT", "LINFAIR_CUDA", "LINFAIR_CUDA_ARCH", "CUDA_HOME", "CXX", "MAX_JOBS", "NVCC_CCBIN")
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")

PROBE = """
import json
from linfair import _native
name, why = _native.status()
info = _native.load().build_info() if name == "native" else {}
print(json.dumps([name, _native.record()["reason"], info]))
"""


@dataclass
class Case:
    """One attempt: what there is, how it is installed, the right outcome, the switches, what is hidden."""

    what: str
    how: str
    expect: str
    env: dict[str, str] = field(default_factory=dict)
    hide: list[str] = field(default_factory=list)


def toolkit() -> list[str]:
    """Folders that make nvcc disappear when hidden."""
    found = {shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"} - {None}
    return sorted({str(Path(os.path.realpath(p)).parent) for p in found if Path(p).exists()})


def cases() -> list[Case]:
    """In the order of one developer's day: later ones find the build folders of earlier ones."""
    include = [sysconfig.get_path("include")]
    openmp = subprocess.run(
        ["clang++", "-print-file-name=include/omp.h"], capture_output=True, text=True
    ).stdout.split()
    failing = {"NVCC_CCBIN": "/bin/false"}
    both, cpp, none = "C++ and CUDA", "C++", "none"
    return [
        Case("nvcc, fresh tree", "editable, isolated", both),
        Case("nvcc, unchanged", "editable, isolated", both),
        Case("nvcc, unchanged", "editable, not isolated", both),
        Case("CUDA switched off", "editable, not isolated", cpp, {"LINFAIR_CUDA": "0"}),
        Case("CUDA switched on again", "editable, not isolated", both, {"LINFAIR_CUDA": "1"}),
        Case("everything switched off", "editable, not isolated", none, {"LINFAIR_EXT": "0"}),
        Case("everything switched on again", "editable, not isolated", both, {"LINFAIR_EXT": "1"}),
        Case("nvcc", "wheel, isolated", both),
        Case("nvcc", "wheel, not isolated", both),
        Case("everything switched off, library of before in the tree", "wheel, isolated", none, {"LINFAIR_EXT": "0"}),
        Case("nvcc", "sdist, then wheel from it, isolated", both),
        Case("no nvcc", "editable, isolated", cpp, hide=toolkit()),
        Case("no nvcc, CUDA demanded", "editable, isolated", "fails", {"LINFAIR_CUDA": "1"}, toolkit()),
        Case("nvcc fails (its host compiler does)", "editable, not isolated", cpp, failing),
        Case("nvcc fails, CUDA demanded", "editable, not isolated", "fails", {**failing, "LINFAIR_CUDA": "1"}),
        Case("no compiler", "editable, isolated", none, {"PATH": ""}),
        Case("no compiler", "wheel, isolated", none, {"PATH": ""}),
        Case("no compiler, extension demanded", "editable, isolated", "fails", {"PATH": "", "LINFAIR_EXT": "1"}),
        Case("no Python.h", "editable, isolated", none, hide=include),
        Case("clang++, nvcc", "editable, not isolated", both, {"CXX": "clang++"}),
        Case("clang++ without OpenMP", "editable, not isolated", cpp, {"CXX": "clang++", "LINFAIR_CUDA": "0"}, openmp),
        Case("ccache g++", "editable, not isolated", cpp, {"CXX": "ccache g++", "LINFAIR_CUDA": "0"}),
        Case("a switch that means nothing", "editable, not isolated", "fails", {"LINFAIR_CUDA": "maybe"}),
    ]  # fmt: skip


class Workshop:
    """A copy of the tree and two environments: one with pip alone, one with the build's requirements."""

    def __init__(self, folder: Path):
        self.folder, self.tree = folder, folder / "tree"
        self.tree.mkdir()
        for name in TREE:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("*.so", "_build.json", "__pycache__")
                shutil.copytree(ROOT / name, self.tree / name, ignore=ignore)
            else:
                shutil.copy(ROOT / name, self.tree)
        for name in ("bare", "tools"):
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run(
            [self.python("tools"), "-m", "pip", "install", "-q", "setuptools>=77", "pybind11", "ninja"], check=True
        )

    def python(self, venv: str) -> str:
        return str(self.folder / venv / "bin" / "python")

    def run(self, case: Case) -> tuple[bool, str, str]:
        """(success, output, the wheel's name) of a case's commands."""
        venv = "tools" if "not isolated" in case.how else "bare"
        pip = [self.python(venv), "-m", "pip", "--disable-pip-version-check"]
        flags = ["-v", "--no-deps", *(["--no-build-isolation"] if venv == "tools" else [])]
        env = {k: v for k, v in os.environ.items() if k not in SWITCHES} | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        env = env | case.env
        env["PATH"] = os.pathsep.join(filter(None, [str(self.folder / venv / "bin"), env["PATH"]]))
        self.call([*pip, "uninstall", "-y", "linfair"], env, [])
        dist = self.folder / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        if case.how.startswith("editable"):
            ok, output = self.call([*pip, "install", *flags, "-e", str(self.tree)], env, case.hide)
            return ok, output, ""
        source = self.tree
        if case.how.startswith("sdist"):
            make = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"
            self.call([self.python("tools"), "-c", make, str(dist)], env, [])
            source = next(dist.glob("*.tar.gz"))
        ok, output = self.call([*pip, "wheel", *flags, "-w", str(dist), str(source)], env, case.hide)
        wheel = next(dist.glob("*.whl"))
        self.call([*pip, "install", "--no-deps", str(wheel)], env, [])
        return ok, output, wheel.name

    def call(self, command: list[str], env: dict[str, str], hide: list[str]) -> tuple[bool, str]:
        if hide:  # a folder under an empty one, a file under an empty file
            mounts = "; ".join(
                f"mount -t tmpfs none '{path}'" if Path(path).is_dir() else f"mount --bind /dev/null '{path}'"
                for path in hide
            )
            command = [
                "/usr/bin/unshare",
                "-m",
                "/bin/sh",
                "-c",
                f'set -e; P=$PATH; PATH=/usr/bin:/bin; {mounts}; PATH=$P exec "$@"',
                "sh",
                *command,
            ]
        done = subprocess.run(
            command, env=env, cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return done.returncode == 0, done.stdout

    def found(self, case: Case) -> tuple[str, str]:
        """(what an interpreter finds, why not more), asked outside the tree."""
        venv = "tools" if "not isolated" in case.how else "bare"
        done = subprocess.run(
            [self.python(venv), "-c", PROBE], cwd=self.folder, capture_output=True, text=True, check=True
        )
        name, reason, info = json.loads(done.stdout)
        if not info:
            return "none" if name == "reference" else str(name), reason
        what = "C++ and CUDA" if info["cuda"] else "C++"
        notes = f"{info['compiler']}, {'OpenMP' if info['openmp'] else 'no OpenMP'}"
        return what, "; ".join(filter(None, [notes, reason]))


def attempt(shop: Workshop, case: Case) -> list[str]:
    """The cells of one row."""
    start = time.perf_counter()
    ok, output, wheel = shop.run(case)
    seconds = time.perf_counter() - start
    step = re.findall(r"linfair: built .* in ([\d.]+) s", output)
    if ok:
        outcome, notes = shop.found(case)
    else:
        outcome, notes = "fails", (re.findall(r"^\s*error: (.*)", output, re.MULTILINE) or [output[-300:]])[0]
    libraries = [path.name for path in (shop.tree / "linfair").glob("_C*")]
    if case.how.startswith("editable") and bool(libraries) != (outcome.startswith("C++")):
        outcome += " with a stale library"
    tag = "-".join(wheel.removesuffix(".whl").split("-")[2:])
    switches = " ".join(f"{k}={v or chr(39) * 2}" for k, v in case.env.items())
    verdict = outcome if outcome == case.expect else f"**WRONG: {outcome}**"
    detail = "; ".join(filter(None, [tag, notes])).replace("|", "/")
    detail = detail.replace(sysconfig.get_path("include"), "Python's include folder")
    return [
        case.what,
        f"`{switches}`" if switches else "",
        case.how,
        verdict,
        detail,
        step[-1] if step else "",
        f"{seconds:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="cases whose row holds this word")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    args = parser.parse_args()
    header = ["there is", "switches", "installed as", "built", "notes", "build_ext, s", "all, s"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder).resolve())
        for case in cases():
            if args.only not in f"{case.what} {case.how}":
                continue
            if case.hide and (sys.platform != "linux" or os.geteuid()):
                print(f"left out, needs root on Linux: {case.what}", file=sys.stderr)
                continue
            rows.append(attempt(shop, case))
            print(" | ".join(rows[-1]), flush=True)
    lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
    if args.write:
        text = args.write.read_text(encoding="utf-8")
        before, rest = text.split(MARKS[0])
        facts = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores"
        table = "\n".join([MARKS[0], "", f"{facts}.", "", *lines, "", MARKS[1]])
        args.write.write_text(before + table + rest.split(MARKS[1])[1], encoding="utf-8")
    return any("WRONG" in row[3] or "stale" in row[3] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
