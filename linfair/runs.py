"""Records of runs: what was computed, from what, with what; written whole or not at all.

A record is two files: `<stem>.csv` with the numbers and `<stem>.json` with everything needed to judge them. A run is
known by its hash, sha256 of the canonical JSON of (experiment, config, data fingerprint, schema): no paths, no dates.
The hash does not see the code; after a change of the code, recompute with --force.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import numbers
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from linfair import _native

SCHEMA = 1
Row = dict[str, Any]

_PACKAGES = ("numpy", "scipy", "cvxpy", "clarabel", "matplotlib", "scikit-learn", "pyautoattack")


class OutputError(OSError):
    """An output folder cannot be written; the message is one line with the remedy."""


class RecordError(ValueError):
    """A record is missing or damaged; the message is one line with the remedy."""


# --- the identity of a run -------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses and mappings to dicts, sequences to lists, numpy scalars to numbers.

    Integral floats become ints, so that 1 and 1.0 in a config are the same run. Paths are refused with TypeError.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    if tolist := getattr(value, "tolist", None):
        return plain(tolist())
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(v) for v in value]
    raise TypeError(f"a config holds numbers, text and sequences of them, got {type(value).__name__}; keep paths out")


def config_hash(experiment: str, config: Any, fingerprint: str | None = None) -> str:
    """sha256 (hex) of the canonical JSON of what determines the numbers."""
    key = {"experiment": experiment, "config": plain(config), "data": fingerprint, "schema": SCHEMA}
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- the environment -------------------------------------------------------------------------------------------------


def version(package: str) -> str | None:
    """Installed version without importing the package; None where it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def backend(device: str = "cpu") -> str:
    """What runs the numerics on `device`: "native (avx512)", on CUDA "native", or "reference" once linfair.ops takes
    part; else "python"."""
    ops = sys.modules.get("linfair.ops")
    name = ops.backend(device) if ops else "python"
    return f"native ({_native.load().cpu_path()})" if (name, device) == ("native", "cpu") else name


def cpu() -> str:
    """CPU model as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


RECORDS = (":(exclude)figures", ":(exclude)benchmarks/results")


def commit(root: Path | None = None) -> dict[str, Any] | None:
    """{"id": short commit, "dirty": whether tracked code differs from it}; None outside a checkout.

    Records do not count as code: the first of a series would make all later ones look dirty. A copy of the tree without
    .git can be told its commit by the environment variable LINFAIR_COMMIT; whether it differs is then None, unknown.
    """
    root = root or Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        told = os.environ.get("LINFAIR_COMMIT")
        return {"id": told, "dirty": None} if told else None

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *RECORDS)
        return {"id": git("rev-parse", "--short", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def environment() -> dict[str, Any]:
    """Versions, hardware, backend and commit. torch is listed only when the run has imported it."""
    packages = (*_PACKAGES, *(["torch"] if "torch" in sys.modules else []))
    return {
        "versions": {"python": platform.python_version(), "linfair": version("linfair")}
        | {name: version(name) for name in packages},
        "backend": backend(),
        "cpu": cpu(),
        "cores": cores(),
        "commit": commit(),
    }


# --- files -----------------------------------------------------------------------------------------------------------


def prepare_folder(folder: Path, flag: str = "--out") -> Path:
    """Make `folder` and prove that it can be written, before any work is spent. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / ".writable") as probe:
            probe.touch()
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{flag} must be a writable folder, got '{folder}' ({reason}); pass another {flag}") from None
    return folder


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` if the block succeeds and vanishes if it does not."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record atomically, indented, keys in the order given."""
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The record at `path`; None where it is missing or not JSON."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def columns(rows: Sequence[Row]) -> list[str]:
    """Union of the keys, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return str(int(value))
    return f"{float(value):.10g}"


def _parse(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write flat rows atomically: floats as %.10g, booleans as 0/1, a missing value as an empty field."""
    names = columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    write_text(path, buffer.getvalue())


def read_csv(path: Path) -> list[Row]:
    """Rows back from `write_csv`: numbers parsed, empty fields as None. Raises RecordError for a damaged file."""
    try:
        text = path.read_bytes().decode("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"not a CSV in UTF-8 ({error})") from None
    if not text.endswith("\n"):
        raise _damaged(path, "an end in mid-line" if text else "an empty file")
    names = lines[0]
    for i, fields in enumerate(lines, 1):
        if len(fields) != len(names):
            raise _damaged(path, f"{len(fields)} fields in line {i} below {len(names)} column names")
    return [dict(zip(names, map(_parse, fields), strict=True)) for fields in lines[1:]]


def read_record(stem: Path) -> tuple[dict[str, Any], list[Row]]:
    """(record, rows) of `<stem>.json` and `<stem>.csv`. Raises RecordError where they are missing or do not agree."""
    path, table = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.csv")
    for file in (path, table):
        if not file.exists():
            raise RecordError(f"a record is a .json and a .csv, got no '{file}'; run without --plot-only to compute it")
    record = read_json(path)
    if record is None:
        raise _damaged(path, "not a JSON object")
    label = record["dataset"].get("label") if isinstance(record.get("dataset"), dict) else None
    if not isinstance(label, str) or not isinstance(record.get("columns"), list):
        raise _damaged(path, "no dataset label or no columns")
    rows = read_csv(table)
    if len(rows) != record.get("n_rows"):
        raise _damaged(table, f"{len(rows)} rows where its .json has {record.get('n_rows')}")
    if rows and list(rows[0]) != record["columns"]:
        raise _damaged(table, "column names that differ from those in its .json")
    return record, rows


def _damaged(path: Path, received: str) -> RecordError:
    return RecordError(f"'{path}' must be as it was written, got {received}; recompute with --force")


# --- resuming --------------------------------------------------------------------------------------------------------


class Partial:
    """Finished cells of an unfinished run, one JSON line each; survives a kill at any moment.

    Lines of another hash and damaged ones, as a kill leaves them, are dropped. No file without a finished cell.
    """

    def __init__(self, path: Path, run_hash: str):
        self.path, self.hash = path, run_hash
        self._done: dict[str, dict[str, Any]] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            entry = self._entry(line)
            if entry and entry["hash"] == run_hash:
                self._done[self.key(entry["cell"])] = entry
        if len(self._done) < len(lines):
            self._rewrite()

    @staticmethod
    def key(cell: Any) -> str:
        return json.dumps(plain(cell), sort_keys=True)

    @staticmethod
    def _entry(line: bytes) -> dict[str, Any] | None:
        """A whole line as `add` wrote it, else None."""
        try:
            entry = json.loads(line.decode("utf-8"))
        except ValueError:
            return None
        whole = isinstance(entry, dict) and {"hash", "cell", "rows", "seconds"} <= set(entry)
        return entry if whole else None

    def __len__(self) -> int:
        return len(self._done)

    def get(self, cell: Any) -> dict[str, Any] | None:
        """{"cell", "rows", "seconds", "hash"} of a finished cell, else None."""
        return self._done.get(self.key(cell))

    def add(self, cell: Any, rows: Sequence[Row], seconds: float) -> None:
        """Append a finished cell and push it to the disk."""
        flat = [{k: v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in rows]
        entry = {"hash": self.hash, "cell": plain(cell), "rows": flat, "seconds": seconds}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._done[self.key(cell)] = entry

    def clear(self) -> None:
        """Forget everything and delete the file."""
        self._done.clear()
        self.path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        if self._done:
            write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in self._done.values()))
        else:
            self.path.unlink(missing_ok=True)
