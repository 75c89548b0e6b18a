"""The native extension `linfair._C`: loaded late and once, never silently missing. Imports nothing heavy."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module, util
from pathlib import Path
from sysconfig import get_config_var
from types import ModuleType
from typing import Any

INTERFACE = 2  # of bindings.cpp: an extension with another number was built from other sources
REBUILD = "rebuild with LINFAIR_EXT=1 pip install -e ."
_RECORD = Path(__file__).with_name("_build.json")


class BackendUnavailable(RuntimeError):
    """The native backend was asked for and cannot run; the message is one line: why, and the remedy."""


def built() -> bool:
    """Whether an extension is installed. If it is, a failure to load it is an error and no reason to go on without."""
    return util.find_spec("linfair._C") is not None


def record() -> dict[str, Any]:
    """What the build wrote down: what was built, or why not. Empty where it is missing or unreadable."""
    try:
        found = json.loads(_RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def outdated() -> list[str]:
    """Names of the sources beside this package, in a checkout, that have changed since the last build."""
    try:
        built_at = _RECORD.stat().st_mtime
    except OSError:
        return []
    sources = sorted(_RECORD.parents[1].glob("csrc/*.*"))
    return [p.name for p in sources if p.suffix in (".h", ".cpp", ".cu", ".py") and p.stat().st_mtime > built_at]


def load(cuda: bool = False) -> ModuleType:
    """The extension; with `cuda`, one built with CUDA. Raises BackendUnavailable, the first failure again each time."""
    found = _load()
    if isinstance(found, str):
        raise BackendUnavailable(found)
    if cuda and not found.build_info()["cuda"]:
        why = record().get("reason") or "not recorded why"
        raise BackendUnavailable(
            f"CUDA tensors need linfair._C built with CUDA, got one without ({why}); "
            "rebuild with LINFAIR_CUDA=1 pip install -e ."
        )
    return found


def status(cuda: bool = False) -> tuple[str, str]:
    """("native", with what), ("reference", why there is no extension) or ("broken", why the one there is unusable)."""
    try:
        info = load(cuda).build_info()
    except BackendUnavailable as error:
        return ("broken" if built() and isinstance(_load(), str) else "reference"), str(error)
    return "native", "C++ and CUDA" if info["cuda"] else "C++"


@cache
def _load() -> ModuleType | str:
    """The extension, or why it cannot be used."""
    if not built():
        return f"the native backend needs linfair._C, got none ({_absent()}); {REBUILD}"
    try:
        module = import_module("linfair._C")
    except Exception as error:  # whatever a foreign library raises at import, its user gets one kind of error
        text = str(error).strip().partition("\n")[0]
        remedy = "" if "LINFAIR_CPU" in text else f"; {REBUILD}"  # that message holds its own
        return f"linfair._C is installed but does not load ({text}){remedy}"
    number = getattr(module, "INTERFACE", 0)
    if number != INTERFACE:
        return f"linfair._C must have interface {INTERFACE}, got {number}: built from other sources; {REBUILD}"
    return module


def _absent() -> str:
    """Why no extension is installed, as far as the build's record tells."""
    kept = record()
    if not kept:
        return "no record of a build"
    if kept.get("suffix") != get_config_var("EXT_SUFFIX"):
        return f"last built for another Python, {kept.get('suffix')}"
    return kept.get("reason") or "it was built, and its file is gone"
