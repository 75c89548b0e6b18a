"""Every experiment keeps the contract of the harness, and every committed record is complete."""

import ast
import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from linfair import runs

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(p for p in (ROOT / "experiments").glob("*.py") if not p.name.startswith("_"))
RECORDS = sorted((ROOT / "figures" / "data").glob("*.json"))

RUNS = sorted((ROOT / "figures" / "data" / "runs").glob("*/*.json"))
RUN_KEYS = {"schema", "run", "hash", "config", "teacher", "dataset", "selected", "history", "environment"}

KEYS = {"schema", "experiment", "hash", "quick", "config", "seeds", "dataset", "n_rows", "columns", "elapsed_seconds"}
KEYS |= {"versions", "backend", "cpu", "cores", "commit"}


def test_there_are_experiments():
    assert SCRIPTS


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_script_keeps_the_contract(path):
    module: Any = importlib.import_module(path.stem)
    assert module.__doc__, "the docstring is the --help text"
    assert dataclasses.is_dataclass(module.QUICK)
    assert type(module.QUICK) is module.Config
    assert module.Config() != module.QUICK, "QUICK must be smaller than the default"
    for name in ("cells", "compute", "plot"):
        assert callable(getattr(module, name)), name
    runs.plain(module.Config())  # JSON-able: no paths
    called = re.search(r"\brun\(\s*name=[\"'](\w+)[\"']", path.read_text(encoding="utf-8"))
    assert called, "the last line is run(name=...)"
    assert called[1] == path.stem


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_script_does_no_work_when_imported(path):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Expr)
    assert all(isinstance(node, allowed) for node in ast.parse(path.read_text(encoding="utf-8")).body)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_script_has_a_committed_record(path):
    assert any(json.loads(r.read_text())["experiment"] == path.stem for r in RECORDS), "run it and commit figures/"


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_committed_record_is_complete(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert set(record) >= KEYS
    assert record["schema"] == runs.SCHEMA
    assert record["quick"] is False
    assert f"{record['experiment']}.py" in {p.name for p in SCRIPTS}, "the script of this record is gone"
    rows = runs.read_csv(path.with_suffix(".csv"))
    assert len(rows) == record["n_rows"]
    assert list(rows[0]) == record["columns"]
    assert record["hash"] == runs.config_hash(record["experiment"], record["config"], record["dataset"]["fingerprint"])
    assert not re.search(r'"(/|[A-Z]:\\\\)', path.read_text(encoding="utf-8")), "a record holds no absolute path"


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_committed_record_has_its_figures(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    base = record.get("stem", record["experiment"])
    suffix = path.stem.removeprefix(base)
    figures = [p for p in (ROOT / "figures").glob(f"{base}*{suffix}.pdf")]
    keyed = re.compile(rf"{re.escape(base)}(_\w+)?{re.escape(suffix)}")
    drawn = [p for p in figures if keyed.fullmatch(p.stem)]
    assert drawn
    assert all(p.with_suffix(".png").exists() for p in drawn)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_default_config_matches_its_committed_record(path):
    """`python experiments/<name>.py` on a fresh clone finds its embedded-default record up to date."""
    config = runs.plain(importlib.import_module(path.stem).Config())
    committed = [json.loads(r.read_text()) for r in RECORDS]
    mine = [r for r in committed if r["experiment"] == path.stem]
    assert any(r["config"] == config for r in mine), "Config changed since the record was made; run it again"


def test_committed_runs_are_complete_and_belong_to_a_record():
    for path in RUNS:
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
        assert set(record) >= RUN_KEYS, path
        assert f"{record['run']}-{record['hash'][:8]}" == path.stem, path
        assert record["measurements"], path
        for about in record["measurements"].values():
            assert {"asked", "n", "eps", "search", "seconds", "device"} <= set(about), path
        owner = json.loads((ROOT / "figures" / "data" / f"{path.parent.name}.json").read_text(encoding="utf-8"))
        assert record["dataset"]["label"] == owner["dataset"]["label"], path
        words = re.sub(r'"flags": "[^"]*"', "", text)  # in base64 anything may begin with a slash
        assert not re.search(r'"(/|[A-Z]:\\\\)', words), f"{path}: a record holds no absolute path"


def test_no_stray_files_in_figures():
    known = {r.stem for r in RECORDS}
    tables = {p.stem for p in (ROOT / "figures" / "data").glob("*.csv")}
    assert tables == known
