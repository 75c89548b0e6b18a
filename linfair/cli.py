"""The console script `linfair`: one word chooses the command, the rest of the line is the command's own."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from linfair import __version__

COMMANDS = {
    "verify": "set every theorem and every limit beside its simulation",
    "evaluate": "class-wise accuracy of a classifier under attack",
    "compare": "two evaluations image by image, by a paired bootstrap",
    "info": "versions, hardware and backend",
}


def usage() -> str:
    """The help text, made from COMMANDS."""
    lines = [f"  {name:<9} {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: linfair COMMAND [options]", "", *lines, "", "linfair COMMAND --help shows its options"])


def main(argv: list[str] | None = None) -> int:
    """Run `linfair <command> ...`; returns the exit status (2 for a command that does not exist)."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            return _run(argv)
        finally:  # also where --help of a command leaves by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] == "--version":
        print(f"linfair {__version__}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        print(f"command must be one of {', '.join(COMMANDS)}, got '{name}'; see linfair --help", file=sys.stderr)
        return 2
    return import_module(f"linfair.{name}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
