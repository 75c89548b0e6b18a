"""The benchmark of the PGD step: arithmetic of the rounds, verdicts, a smoke run, and its record, figure and page."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linfair import plotting, runs

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "bench_pgd_step.py"
RECORD = ROOT / "benchmarks" / "results" / "pgd_step"


@pytest.fixture(autouse=True)
def _beside_the_script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def module(name: str) -> Any:
    return importlib.import_module(name)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


class FakeClock:
    """A call takes what it says, plus one for every call of any arm before it: a machine that slows down."""

    budget = 1.0

    def __init__(self):
        self.seen: list[str] = []

    def seconds(self, call, sets, calls):
        name, took = call(sets[0])
        self.seen.append(name)
        return took


def arm(name: str, *parts: tuple[float, float, bool]):
    timing = module("_timing")
    terms = [timing.Term(weight, lambda _, took=took: (name, took), removed=removed) for weight, took, removed in parts]
    return timing.Arm(name, name, "", tuple(terms))


# --- rounds and verdicts ---------------------------------------------------------------------------------------------


def test_rounds_are_interleaved_and_every_arm_is_timed_once_in_each():
    timing, clock, ticks = module("_timing"), FakeClock(), []
    unit, arms = arm("floor", (1.0, 2.0, False)), [arm(name, (1.0, 5.0, False)) for name in "abc"]
    timing.interleave(clock, unit, arms, [None], 3, lambda: ticks.append(1))
    rounds = [clock.seen[-15:][i : i + 5] for i in (0, 5, 10)]
    assert rounds == [["floor", *order, "floor"] for order in ("abc", "bca", "cab")]
    assert unit.seconds == [2.0] * 3
    assert arms[0].seconds == arms[0].raw == [5.0] * 3
    assert len(ticks) == 3


def test_what_an_arm_does_besides_its_work_is_removed_and_kept_in_raw():
    timing = module("_timing")
    library = arm("library", (0.5, 12.0, False), (-0.5, 2.0, False), (-1.0, 1.0, True))  # 3 steps, 1 step, gradient
    timing.interleave(FakeClock(), arm("floor", (1.0, 2.0, False)), [library], [None], 2, lambda: None)
    assert library.raw == [5.0, 5.0]
    assert library.seconds == [4.0, 4.0]


def test_ratios_are_taken_round_by_round():
    timing = module("_timing")
    slow, fast = arm("slow"), arm("fast")
    slow.seconds, fast.seconds = [2.0, 40.0, 6.0], [1.0, 10.0, 2.0]
    assert timing.ratios(slow, fast) == (3.0, 2.5, 3.5)


@pytest.mark.parametrize(
    "value, bound, at_least, verdict",
    [
        (1.10, 1.15, False, "met"),
        (1.15, 1.15, False, "met"),
        (1.26, 1.15, False, "met within 1.1x"),
        (1.27, 1.15, False, "missed"),
        (26.0, 25.0, True, "met"),
        (23.0, 25.0, True, "met within 1.1x"),
        (22.0, 25.0, True, "missed"),
    ],
)
def test_judge(value, bound, at_least, verdict):
    assert module("_pgd_targets").judge(value, bound, at_least=at_least, slack=1.1) == verdict


def test_verdicts_speak_only_of_what_was_timed():
    targets = module("_pgd_targets")
    arms = {name: arm(name) for name in ("floor", "ours", "compile-inplace", "lib-torchattacks")}
    for seconds, one in zip((1.0, 1.2, 1.0, 20.0), arms.values(), strict=True):
        one.seconds = [seconds] * 15
    found = {v["of"]: v for v in targets.verdicts("linf", 8192, arms, "cpu", "default")}
    assert {of: v["verdict"] for of, v in found.items()} == {
        "floor": "met within 1.1x",
        "compile-inplace": "missed",
        "lib-torchattacks": "missed",
    }
    assert found["lib-torchattacks"]["value"] == pytest.approx(20 / 1.2)
    warm = {v["of"] for v in targets.verdicts("linf", 8192, arms, "cpu", "warm")}
    assert warm == {"floor", "compile-inplace"}, "25x is asked with the default allocator"
    assert list(targets.verdicts("linf", 512, arms, "cpu", "default")) == []
    assert targets.verdict_line(found["floor"]).endswith("target <= 1.15: met within 1.1x")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_targets_name_arms_that_exist(device):
    names = {name for arms in module("_pgd_arms").OURS.values() for name, _, _ in arms}
    assert {target.arm.removesuffix("-kernel") for target in module("_pgd_targets").targets(device)} <= names


# --- the script ------------------------------------------------------------------------------------------------------


def test_a_quick_run_leaves_a_record_and_a_figure_that_redraws_byte_for_byte(tmp_path):
    done = command("--quick", "--sizes", 16, "--norms", "linf", "l1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record, rows = runs.read_record(tmp_path / "pgd_step")
    assert record["hash"] == runs.config_hash("pgd_step", record["config"])
    assert {"floor", "copy", "ours", "eager-clamp", "eager-sort", "ours-exact", "ours-topq"} <= {r["arm"] for r in rows}
    assert all(row["ms"] is not None and row["rounds"] == 3 for row in rows), "no arm failed"
    ours = [row for row in rows if row["group"] == "linfair"]
    assert {row["values"] for row in ours if row["norm"] == "linf"} == {"same bits"}
    assert all(row["values"] == "same bits" or row["values"].startswith("within") for row in ours)
    (rescaled,) = [row for row in rows if row["arm"] == "eager-rescale"]
    assert rescaled["values"].startswith("another point"), "a radial rescale is not the l1 projection"
    assert "linfair, in place" in done.stdout
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {f"pgd_step.{kind}" for kind in ("csv", "json", "pdf", "png")}
    module("bench_pgd_step").show(*_options(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def _options(folder: Path) -> tuple[Any, Path, Path]:
    import argparse

    return argparse.Namespace(quick=True, out=folder), folder / "pgd_step", folder / "pgd_step"


def has_device() -> bool:
    return importlib.import_module("torch").cuda.is_available()


def test_the_device_that_is_not_there_is_one_line(tmp_path):
    if has_device():
        pytest.skip("this machine has a CUDA device")
    done = command("--quick", "--device", "cuda", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "pgd_step: --device cuda needs a CUDA device, got none that torch can use; drop it to measure the CPU"
    )


@pytest.mark.gpu
def test_a_quick_run_on_a_device(tmp_path):
    if not has_device():
        pytest.skip("needs a CUDA device")
    done = command("--quick", "--device", "cuda", "--sizes", 128, 512, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    _, rows = runs.read_record(tmp_path / "pgd_step-cuda")
    ours = [row for row in rows if row["n"] == 512 and row["arm"] == "ours"]
    assert all(row["launches"] == 1 and row["graph_ms"] > 0 for row in ours)


@pytest.mark.parametrize("wrong", [("--rounds", 0), ("--threads", 1, -2), ("--sizes", 0)])
def test_a_count_below_one_is_one_line(wrong):
    done = command(*wrong)
    assert done.returncode == 2
    assert done.stderr == f"pgd_step: {wrong[0]} must be at least 1, got {wrong[-1]}; pass a count\n"


def test_a_missing_record_is_one_line(tmp_path):
    done = command("--plot-only", "--out", tmp_path)
    assert done.returncode == 2
    assert "run without --plot-only" in done.stderr
    assert done.stderr.count("\n") == 1


# --- the committed record --------------------------------------------------------------------------------------------


def test_the_committed_record_is_complete():
    record, rows = runs.read_record(RECORD)
    assert record["quick"] is False
    assert record["hash"] == runs.config_hash("pgd_step", record["config"])
    assert record["config"]["rounds"] >= 15
    assert {row["n"] for row in rows} == {128, 512, 8192}
    assert {row["norm"] for row in rows} == {"linf", "l2", "l1"}
    assert {row["group"] for row in rows} >= set(module("_pgd_report").GROUPS)
    assert record["verdicts"]
    assert '"/' not in json.dumps(record), "a record holds no absolute path"
    drawn = ROOT / "figures" / "pgd_step"
    assert drawn.with_suffix(".pdf").exists()
    assert drawn.with_suffix(".png").exists()


def test_the_page_shows_the_committed_record():
    record, rows = runs.read_record(RECORD)
    page = (ROOT / "docs" / "pgd_step.md").read_text(encoding="utf-8")
    block = page.split("<!-- generated: pgd_step -->\n", 1)[1].split("\n<!-- end -->", 1)[0]
    assert block == module("_pgd_report").markdown(record, rows), "run benchmarks/bench_pgd_step.py --plot-only"


def test_the_figure_is_readable(tmp_path):
    record, rows = runs.read_record(RECORD)
    with plotting.style():
        figure = module("_pgd_report").plot(record, rows)
    assert figure.get_figwidth() == plotting.TEXT_WIDTH
    assert figure.get_figheight() < 10
    sizes = [text.get_fontsize() for ax in figure.axes for text in (ax.title, *ax.get_yticklabels())]
    assert min(map(float, sizes)) >= 7
