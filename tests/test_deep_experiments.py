"""The deep experiments from the command line: a quick run on digits, its records, figures and ways to be resumed."""

import base64
import dataclasses
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import _deep_bench
import _deep_recipes
import _deep_train
import cifar10_classwise
from linfair import runs
from linfair.data.cifar10 import MD5

ROOT = Path(__file__).resolve().parents[1]


def script(name, *argv, monkeypatch):
    """Run an experiment as from the command line; its exit status."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "experiments" / f"{name}.py"), run_name="__main__")
    return stop.value.code


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A finished --quick run of cifar10_classwise on digits: its --out; its --work lies beside it."""
    out = tmp_path_factory.mktemp("classwise") / "out"
    with pytest.MonkeyPatch.context() as patch:
        assert script("cifar10_classwise", "--quick", "--out", out, "--work", out.parent / "w", monkeypatch=patch) == 0
    return out


def test_quick_leaves_record_runs_and_figures(quick):
    record, rows = runs.read_record(quick / "data" / "classwise-digits")
    assert record["experiment"] == "cifar10_classwise"
    assert record["stem"] == "classwise"
    assert "unfinished" not in record
    assert record["columns"][0] == "method"
    assert [row["method"] for row in rows] == list(cifar10_classwise.QUICK.methods)
    assert [row["seeds"] for row in rows] == [2, 1, 1]
    kept = sorted(p.name for p in (quick / "data/runs/classwise-digits").iterdir())
    assert [re.sub(r"-[0-9a-f]{8}\.", ".", name) for name in kept] == [
        "absld-s0.json", "dafa_trades-s0.json", "pgd_at-s0.json", "pgd_at-s1.json", "trades-s0.pt",
    ]  # fmt: skip
    drawn = {p.stem for p in quick.glob("*.png")}
    assert drawn == {f"classwise_{key}-digits" for key in ("bars", "worst_average", "distance", "neighbours")}


def test_run_records_say_what_they_are(quick):
    for path in (quick / "data/runs/classwise-digits").glob("*.json"):
        record = json.loads(path.read_text())
        assert {"environment", "history", "config", "dataset", "selected", "hash", "teacher"} <= set(record)
        assert (record["teacher"] is not None) == (record["config"]["method"] == "absld")
        assert len(record["history"]) == record["config"]["epochs"]
        assert str(quick.parent) not in path.read_text()
        for about in record["measurements"].values():
            if "flags" in about:
                bits = np.unpackbits(np.frombuffer(base64.b64decode(about["flags"]), np.uint8))
                assert bits.sum() == sum(about["correct"]) <= sum(about["n"])
        found = record["measurements"]
        assert found["clean"]["n"] == found["pgd20"]["n"] == [10] * 10
        np.testing.assert_allclose(np.sum(found["matrices"]["clean_softmax"], 1), 1.0, atol=1e-4)
        np.testing.assert_array_equal(np.sum(found["matrices"]["confusion"], 1), found["matrices"]["n"])
        assert np.all(np.array(found["pgd20"]["correct"]) <= np.array(found["clean"]["correct"]))


def test_records_alone_are_enough(quick, tmp_path, monkeypatch, capsys):
    """Copied from another machine, without any checkpoint: nothing is trained, the same table comes out."""
    (tmp_path / "data").mkdir()
    (quick / "data/runs").rename(tmp_path / "data/runs")
    try:
        argv = ("--quick", "--out", tmp_path, "--work", tmp_path / "w")
        monkeypatch.setattr(_deep_train, "fit", lambda *_, **__: pytest.fail("trained again"))
        assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 0
        table = (tmp_path / "data/classwise-digits.csv").read_bytes()
        assert table == (quick / "data/classwise-digits.csv").read_bytes()
        before = (tmp_path / "data/classwise-digits.json").read_bytes()
        capsys.readouterr()
        assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 0
        assert "up to date" in capsys.readouterr().out
        assert (tmp_path / "data/classwise-digits.json").read_bytes() == before
    finally:
        (tmp_path / "data/runs").rename(quick / "data/runs")


def test_stopped_at_every_look_at_the_clock_it_comes_to_the_same_table(quick, tmp_path, monkeypatch, capsys):
    argv = ("--quick", "--minutes", 60, "--out", tmp_path, "--work", tmp_path / "w")
    looks = 0
    full = _deep_bench.Bench.remaining

    def remaining(self):
        nonlocal looks
        looks += 1
        if looks > 6:
            raise _deep_bench.OutOfTime
        return min(full(self), 0.05)  # fit stops after a step or two

    monkeypatch.setattr(_deep_bench.Bench, "remaining", remaining)
    calls, said = 0, "the same command goes on with"
    while "the same command goes on with" in said:
        looks, calls = 0, calls + 1
        assert calls < 60
        assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 0
        said = capsys.readouterr().out
    assert calls > 3
    table = (tmp_path / "data/classwise-digits.csv").read_bytes()
    assert table == (quick / "data/classwise-digits.csv").read_bytes()


def test_a_partial_record_says_what_is_missing_and_is_drawn(quick, tmp_path, monkeypatch):
    (tmp_path / "data/runs/classwise-digits").mkdir(parents=True)
    for name in ("pgd_at-s0", "dafa_trades-s0"):
        (path,) = (quick / "data/runs/classwise-digits").glob(f"{name}-*.json")
        shutil.copy(path, tmp_path / "data/runs/classwise-digits")
    argv = ("--quick", "--minutes", 0, "--out", tmp_path, "--work", tmp_path / "w")
    assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 0
    assert not (tmp_path / "data/classwise-digits.csv").exists()
    assert script("cifar10_classwise", *argv, "--partial", monkeypatch=monkeypatch) == 0
    record, rows = runs.read_record(tmp_path / "data/classwise-digits")
    assert [row["method"] for row in rows] == ["pgd_at", "dafa_trades"]
    assert record["unfinished"] == [{"method": "absld", "seed": 0}, {"method": "pgd_at", "seed": 1}]
    assert (tmp_path / "classwise_bars-digits.png").exists()


@pytest.mark.slow
def test_two_processes_come_to_the_same_table(quick, tmp_path):
    path = ROOT / "experiments" / "cifar10_classwise.py"
    argv = ["--quick", "--jobs", "2", "--out", str(tmp_path), "--work", str(tmp_path / "w")]
    subprocess.run([sys.executable, str(path), *argv], check=True, capture_output=True, timeout=300)
    table = (tmp_path / "data/classwise-digits.csv").read_bytes()
    assert table == (quick / "data/classwise-digits.csv").read_bytes()


def test_a_preset_needs_its_data(tmp_path, monkeypatch, capsys):
    argv = ("--preset", "resnet18", "--out", tmp_path, "--work", tmp_path / "w")
    assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 2
    assert "--preset resnet18 is for CIFAR-10" in capsys.readouterr().err


@pytest.mark.slow
def test_a_preset_from_end_to_end(tmp_path, monkeypatch):
    """ResNet-18 of four channels on noise in the layout of CIFAR-10."""
    folder, rng = tmp_path / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    for name in MD5:
        table = np.column_stack([np.arange(60) % 10, rng.integers(0, 256, (60, 3072))])
        table.astype(np.uint8).tofile(folder / f"{name}.bin")
    argv = ["--preset", "resnet18", "--quick", "--images", "200", "--only", "pgd_at", "--partial", "--unverified"]
    argv += ["--data-dir", tmp_path, "--data-label", "noise", "--out", tmp_path / "out", "--work", tmp_path / "w"]
    assert script("cifar10_classwise", *argv, monkeypatch=monkeypatch) == 0
    record, rows = runs.read_record(tmp_path / "out/data/classwise-resnet18")
    assert [(row["method"], row["seeds"]) for row in rows] == [("pgd_at", 2)]
    assert "noise" in record["dataset"]["label"]
    assert (tmp_path / "out" / "classwise_bars-resnet18.png").exists()


def test_names_of_records():
    @dataclasses.dataclass
    class Data:
        name: str
        suffix: str

    small, large = cifar10_classwise.Config(), cifar10_classwise.Config(preset="resnet18")
    assert _deep_recipes.suffix(small, Data("cifar10", "")) == ""  # pyright: ignore[reportArgumentType]
    assert _deep_recipes.suffix(small, Data("cifar10", "-cifar10-jpeg-copy")) == ""  # pyright: ignore[reportArgumentType]
    assert _deep_recipes.suffix(large, Data("cifar10", "")) == "-resnet18"  # pyright: ignore[reportArgumentType]
    assert _deep_recipes.suffix(small, Data("digits", "-digits")) == "-digits"  # pyright: ignore[reportArgumentType]


def test_predictions_run_from_the_command_line(tmp_path, monkeypatch):
    argv = ("--quick", "--parts", "a", "b", "--out", tmp_path, "--work", tmp_path / "w")
    assert script("deep_predictions", *argv, monkeypatch=monkeypatch) == 0
    record, rows = runs.read_record(tmp_path / "data/deep_predictions-digits")
    assert record["experiment"] == "deep_predictions"
    assert {row["part"] for row in rows} == {"a", "b"}
    assert {row["verdict"] for row in rows} <= {"agrees", "contradicts", "open", "none"}
    assert (tmp_path / "deep_predictions-digits.png").exists()
