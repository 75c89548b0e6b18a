"""What is installed here and what runs: `python -m linfair.info`. Imports neither torch nor anything heavy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import textwrap
from importlib import metadata
from typing import Any

from linfair import __version__, _native, runs

Line = tuple[str, str]


def dependencies() -> list[str]:
    """Names of the required packages, as the installed metadata declares them."""
    try:
        declared = metadata.requires("linfair") or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[ <>=!~;\[(]", line, maxsplit=1)[0] for line in declared if "extra ==" not in line]


def report() -> list[tuple[str, list[Line]]]:
    """(section, its (name, value) lines): versions, hardware, the native extension, the backends in use and why."""
    commit = runs.commit()
    state = f"{commit['id']}{' (modified)' if commit['dirty'] else ''}" if commit else "not a checkout"
    packages = [(name, runs.version(name) or "missing") for name in dependencies()]
    return [
        ("versions", [("linfair", __version__), ("commit", state), ("python", platform.python_version()), *packages]),
        ("hardware", [("platform", platform.platform()), ("cpu", f"{runs.cpu()}, {runs.cores()} cores available")]),
        ("native extension linfair._C", extension()),
        ("backend of linfair.ops", [("cpu tensors", on_cpu()), ("cuda tensors", on_cuda())]),
    ]


def extension() -> list[Line]:
    """How the extension was compiled, told by itself; where there is none or it is broken, why, and the remedy."""
    name, why = _native.status()
    if name != "native":
        return [("built", "no" if name == "reference" else "yes, but unusable"), ("why", why)]
    module = _native.load()
    info: dict[str, Any] = module.build_info()
    lines = [
        ("built", f"{why}, configuration {info['config']}"),
        ("compiler", f"{info['compiler']} {info['flags']}"),
        ("cpu paths", f"{', '.join(info['cpu_paths'])}; this CPU runs {', '.join(module.cpu_paths())}"),
        ("threads", "OpenMP" if info["openmp"] else "of C++: the compiler has no OpenMP"),
        ("cuda", cuda(module, info)),
    ]
    if changed := _native.outdated():
        lines.append(("outdated", f"{', '.join(changed)} changed since the build; {_native.REBUILD}"))
    return lines


def cuda(module: Any, info: dict[str, Any]) -> str:
    """Toolkit and architectures of a CUDA build and the driver it meets; else why it was built without."""
    if not info["cuda"]:
        return f"not built: {_native.record().get('reason') or 'the reason was not recorded'}"
    found = module.cuda_driver()
    count = f"{found['devices']} device{'' if found['devices'] == 1 else 's'}"
    driver = f"driver for CUDA {found['driver']}, {count}" if found["driver"] else "no driver here"
    return f"toolkit {info['cuda']}, architectures {info['cuda_arch']}; {driver}"


def on_cpu() -> str:
    """The backend for tensors on the CPU, and why it is that one."""
    name, _ = _native.status()
    if not runs.version("torch"):
        return "none: linfair.ops needs torch"
    if name == "broken":
        return "unusable: the extension is, see above"
    if name == "reference":
        return "reference (pure torch): there is no native extension"
    reason = "named by LINFAIR_CPU" if os.environ.get("LINFAIR_CPU") else "the best path that this CPU runs"
    return f"native ({_native.load().cpu_path()}): {reason}"


def on_cuda() -> str:
    """The backend for tensors on a CUDA device, and why it is that one."""
    name, _ = _native.status(cuda=True)
    if not runs.version("torch"):
        return "none: linfair.ops needs torch"
    if name == "broken":
        return "unusable: the extension is, see above"
    if name == "reference":
        return "reference (pure torch): the extension has no CUDA, see above"
    return "native" if _native.load().cuda_driver()["devices"] else "native, but there is no device here"


def main(argv: list[str] | None = None) -> int:
    """Print the report: sections of aligned lines, wrapped to the terminal."""
    argv = sys.argv[1:] if argv is None else argv
    if argv:
        asked_for_help = argv[0] in ("-h", "--help")
        print("usage: python -m linfair.info (no arguments)", file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    sections = report()
    width = max(len(name) for _, lines in sections for name, _ in lines)
    columns = max(shutil.get_terminal_size((120, 24)).columns, width + 40)
    for i, (title, lines) in enumerate(sections):
        print(f"{chr(10) if i else ''}{title}")
        for name, value in lines:
            first, later = f"  {name:<{width}}  ", " " * (width + 4)
            print(textwrap.fill(value, columns, initial_indent=first, subsequent_indent=later, break_on_hyphens=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
