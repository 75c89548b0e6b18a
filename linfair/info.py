"""What is installed here: `python -m linfair.info`. Reads package metadata, imports nothing heavy."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata

from linfair import __version__, runs


def dependencies() -> list[str]:
    """Names of the required packages, as the installed metadata declares them."""
    try:
        declared = metadata.requires("linfair") or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[ <>=!~;\[(]", line, maxsplit=1)[0] for line in declared if "extra ==" not in line]


def report() -> list[tuple[str, str]]:
    """(name, value) lines: versions, platform, CPU, commit, native extension."""
    native = "linfair._C" if runs.backend() == "native" else "pure Python: no native extension in this build"
    commit = runs.commit()
    state = f"{commit['id']}{' (modified)' if commit['dirty'] else ''}" if commit else "not a checkout"
    return [
        ("linfair", __version__),
        ("python", platform.python_version()),
        *((name, runs.version(name) or "missing") for name in dependencies()),
        ("platform", platform.platform()),
        ("cpu", f"{runs.cpu()}, {runs.cores()} cores available"),
        ("commit", state),
        ("backend", native),
    ]


def main(argv: list[str] | None = None) -> int:
    """Print the report, one aligned line an item."""
    argv = sys.argv[1:] if argv is None else argv
    if argv:
        asked_for_help = argv[0] in ("-h", "--help")
        print("usage: python -m linfair.info (no arguments)", file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    lines = report()
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
