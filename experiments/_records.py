"""The two files of a record as the harness writes, finds and names them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from linfair import runs


class Dataset(Protocol):
    """What the harness needs to know of a data set, and its record says."""

    @property
    def label(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def suffix(self) -> str: ...


class Experiment(Protocol):
    """What a record says of an experiment."""

    @property
    def name(self) -> str: ...
    @property
    def stem(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def summary(self) -> Callable[[list[runs.Row]], list[runs.Row]] | None: ...
    @property
    def bench(self) -> Callable[..., Any] | None: ...


def shown(path: Path) -> str:
    """A path as a user reads it: from the current folder where it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def hash_on_record(stem: Path) -> str | None:
    """The hash of a complete record; None where it is missing or damaged."""
    try:
        return runs.read_record(stem)[0].get("hash")
    except runs.RecordError:
        return None


def stems(experiment: Experiment, folder: Path) -> list[Path]:
    """Stems of an experiment's records, whatever their data set; of damaged ones too."""
    own = re.compile(rf"{re.escape(experiment.base)}(-.*)?\.(json|csv)")
    return sorted({path.with_suffix("") for path in folder.glob("*") if own.fullmatch(path.name)})


def write(
    experiment: Experiment,
    config: Any,
    data: Dataset | None,
    stem: Path,
    rows: list[runs.Row],
    seconds: float,
    *,
    quick: bool,
    left: list[dict[str, Any]] | None = None,
) -> None:
    """Write <stem>.csv and <stem>.json; what a bench gathered only if it says anything new."""
    used = sorted({row["seed"] for row in rows if row.get("seed") is not None})
    rows = experiment.summary(rows) if experiment.summary else rows
    plain, fingerprint = runs.plain(config), data.fingerprint if data else None
    record = {
        "schema": runs.SCHEMA,
        "experiment": experiment.name,
        **({"stem": experiment.stem} if experiment.stem else {}),
        "hash": runs.config_hash(experiment.name, config, fingerprint),
        "quick": quick,
        "config": plain,
        "seeds": used or plain.get("seeds"),
        "dataset": {"label": data.label if data else "synthetic, generated from the seeds", "fingerprint": fingerprint},
        **({"unfinished": left} if left else {}),
        "n_rows": len(rows),
        "columns": runs.columns(rows),
        "elapsed_seconds": round(seconds, 2),
    }
    table, description = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.json")
    before = table.read_bytes() if table.exists() else b""
    runs.write_csv(table, rows)
    old = runs.read_json(description) or {}
    news = [key for key in {*record, "unfinished"} if record.get(key) != old.get(key)]
    if experiment.bench and not news and before == table.read_bytes():
        print(f"{experiment.name}: up to date, {shown(table)}")
        return
    runs.write_json(description, record | runs.environment())
    print(f"{experiment.name}: {len(rows)} rows in {record['elapsed_seconds']} s, {shown(table)}")
