"""The deep experiments: identity of runs, sharing and resuming of work, tables and predictions from records."""

import base64
import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import _classwise_figures
import _classwise_rows
import _classwise_table
import _deep_bench
import _deep_recipes
import _deep_runs
import _deep_train
import _predictions
import cifar10_classwise
import deep_predictions
from _deep_options import DeepOptions
from _deep_runs import Measure, Run
from _harness import Unfinished, UsageError
from linfair import plotting, runs
from linfair.data import load_digits
from linfair.train.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
TRAINING = _deep_recipes.SMALL_CNN.train


def script(name, *argv, monkeypatch):
    """Run an experiment as from the command line; its exit status."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "experiments" / f"{name}.py"), run_name="__main__")
    return stop.value.code


# --- identity --------------------------------------------------------------------------------------------------------


def test_manifest_has_every_method_in_the_order_of_the_config():
    cfg = cifar10_classwise.Config()
    assert sorted(cfg.methods) == sorted(METHODS)
    names = [r.name for r in cifar10_classwise.manifest(cfg)]
    assert len(set(names)) == len(names)
    assert names[: len(cfg.methods)] == [f"{m}-s0" for m in cfg.methods]
    assert names[len(cfg.methods) :] == [f"{m}-s1" for m in cfg.second_seeds]


def test_only_the_taught_methods_need_a_teacher():
    assert {name for name, method in METHODS.items() if method.needs_teacher} == set(_deep_runs.TAUGHT)
    assert Run("absld", 3, eps="4/255").teacher == Run("trades", 3, eps="4/255")
    assert Run("pgd_at").teacher is None


@pytest.mark.parametrize("field", dataclasses.fields(_deep_runs.Training), ids=lambda f: f.name)
def test_identity_depends_on_every_field_of_the_recipe(field):
    value = getattr(TRAINING, field.name)
    other = {bool: not value, int: 7, float: 0.5, str: "1/255"}.get(type(value), 7)
    run = Run("pgd_at")
    assert run.identity(dataclasses.replace(TRAINING, **{field.name: other}), "f") != run.identity(TRAINING, "f")


def test_identity_depends_on_run_data_and_teacher():
    base = [Run("pgd_at"), Run("pgd_at", 1), Run("trades"), Run("pgd_at", eps="4/255"), Run("pgd_at", classes=(3, 5))]
    base += [Run("dafa_pgd"), Run("dafa_pgd", options=(("apply", "margins"),))]
    assert len({r.identity(TRAINING, "f") for r in base}) == len(base)
    assert len({r.name for r in base}) == len(base)
    assert Run("pgd_at").identity(TRAINING, "f") != Run("pgd_at").identity(TRAINING, "g")
    assert all("/" not in r.name for r in base)


def test_another_radius_keeps_the_share_of_the_step():
    assert Run("pgd_at", eps="2/255").training(TRAINING) == dataclasses.replace(TRAINING, eps="2/255", step="1/255")
    assert Run("pgd_at").training(TRAINING) is TRAINING


def test_fewer_epochs_are_another_run():
    short = Run("pgd_at", epochs=6)
    assert short.training(TRAINING) == dataclasses.replace(TRAINING, epochs=6)
    assert short.identity(TRAINING, "f") == Run("pgd_at").identity(short.training(TRAINING), "f")
    assert short.identity(TRAINING, "f") != Run("pgd_at").identity(TRAINING, "f")
    assert short.name == "pgd_at-epochs6-s0"


def test_restrict_renames_classes_and_keeps_images():
    data = load_digits()
    pair = _deep_runs.restrict(data, (8, 3))
    assert pair.class_names == ("8", "3")
    assert pair.n_classes == 2
    np.testing.assert_array_equal(pair.test_images[pair.test_labels == 0], data.test_images[data.test_labels == 8])
    np.testing.assert_array_equal(pair.train_images[pair.train_labels == 1], data.train_images[data.train_labels == 3])


def test_shrink_keeps_every_class():
    small = _deep_runs.shrink(load_digits(), 100)
    assert set(np.bincount(small.train_labels)) == {10}
    assert set(np.bincount(small.test_labels)) == {2}
    assert small.fingerprint != load_digits().fingerprint


# --- the bench -------------------------------------------------------------------------------------------------------

RUNS = (Run("pgd_at"), Run("trades"), Run("absld"))


def wanted(run, bench):
    return (Measure("clean"), Measure("pgd20", 10))


def later(run, bench):
    return (Measure("apgd", 5),) if run.method == "trades" else ()


def bench_in(tmp_path, monkeypatch, *, done=None, **options):
    """A bench whose runs take no time; `done` collects what was trained."""
    found = _deep_bench.opened(
        load_digits(), _deep_recipes.TINY(_deep_recipes.DIGITS), RUNS, wanted,
        DeepOptions(work=tmp_path / "work", **options), tmp_path / "data" / "toy", ("other",), later,
    )  # fmt: skip

    def finish(bench, run):
        if done is not None:
            done.append(run.name)
        record = bench.read(run) or {"hash": bench.identity(run), "measurements": {}, "train_seconds": 1.0}
        for m in bench.left()[run]:
            record["measurements"][m.key] = {"asked": m.n, "seconds": 0.5}
        runs.write_json(bench.records / f"{run.name}.json", record)

    monkeypatch.setattr(_deep_train, "finish", finish)
    return found


def test_work_goes_through_the_manifest_then_adds_the_rest(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done)
    with pytest.raises(Unfinished):
        bench.result(RUNS[0])
    bench.work()
    assert done == ["pgd_at-s0", "trades-s0", "absld-s0", "trades-s0"]
    assert bench.rest() == []
    assert set(bench.result(RUNS[1])["measurements"]) == {"clean", "pgd20", "apgd"}
    assert bench.seconds() == 3 * 1.0 + 7 * 0.5
    bench.work()
    assert len(done) == 4


def test_more_images_are_measured_again(tmp_path, monkeypatch):
    bench = bench_in(tmp_path, monkeypatch)
    bench.work()
    bench.wanted = lambda run, bench: (Measure("clean"), Measure("pgd20", 20))
    assert bench.rest() == [r.name for r in RUNS]


def test_weights_trained_again_get_a_record_of_their_own(tmp_path, monkeypatch):
    """A teacher trained anew is measured anew, and its runs are never mixed with what is on record."""
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done)
    teacher = RUNS[1]
    history = [{"epoch": 1, "seconds": 1.25}]
    runs.write_json(
        bench.records / "trades-s0.json",
        {"hash": bench.identity(teacher), "history": history, "measurements": {}, "train_seconds": 1.0},
    )
    folder = bench.folder(teacher)
    folder.mkdir(parents=True)
    assert bench.read(teacher) is not None  # no weights at hand: the record stands
    (folder / "model.pt").touch()
    for seconds, expected in ((1.25, True), (1.5, False)):
        (folder / "log.jsonl").write_text(json.dumps({"epoch": 1, "seconds": seconds}) + "\n")
        assert (bench.read(teacher) is not None) == expected
    assert "trades-s0" in bench.rest()


def test_further_attacks_go_to_one_seed_with_weights_at_hand(tmp_path, monkeypatch):
    bench = bench_in(tmp_path, monkeypatch)
    first, second = Run("pgd_at"), Run("pgd_at", 1)
    bench.runs = (first, Run("trades"), second)
    cw = (("cw20", 0, ("pgd_at",)),)
    bench.recipe = dataclasses.replace(bench.recipe, test=dataclasses.replace(bench.recipe.test, more=cw))

    def asked():
        return [r.name for r in bench.runs if cifar10_classwise.more(r, bench)]

    assert asked() == ["pgd_at-s0"]
    bench.folder(second).mkdir(parents=True)
    (bench.folder(second) / "model.pt").touch()
    assert asked() == ["pgd_at-s1"]
    found = {"measurements": {"cw20": {"asked": 0}}, "history": [], "hash": bench.identity(first)}
    runs.write_json(bench.records / "pgd_at-s0.json", found)
    assert asked() == ["pgd_at-s0"]  # it has it already


def test_records_of_others_serve_and_stay(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done)
    other = tmp_path / "data" / "runs" / "other"
    other.mkdir(parents=True)
    found = {m.key: {"asked": m.n, "seconds": 0.0} for m in wanted(RUNS[0], bench)}
    text = {"hash": bench.identity(RUNS[0]), "measurements": found, "train_seconds": 1.0}
    runs.write_json(other / "pgd_at-s0.json", text)
    runs.write_json(other / "absld-s0.json", text)  # of another identity
    bench.work()
    assert done == ["trades-s0", "absld-s0", "trades-s0"]
    assert not (bench.records / "pgd_at-s0.json").exists()


def test_no_minutes_means_no_work(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done, minutes=0.0)
    bench.work()
    assert done == []
    assert bench.rest() == [r.name for r in RUNS]


def test_only_some_methods(tmp_path, monkeypatch):
    done = []
    bench_in(tmp_path, monkeypatch, done=done, only=("trades",)).work()
    assert done == ["trades-s0"]
    with pytest.raises(UsageError, match="--only must be among pgd_at, trades, absld, got wat"):
        bench_in(tmp_path, monkeypatch, only=("wat",))


def test_a_run_of_another_process_is_left_alone(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done, minutes=0.02)
    with _deep_bench.locked(bench.folder(RUNS[0])):
        bench.work()
    assert done == ["trades-s0", "absld-s0"]
    assert bench.rest() == ["pgd_at-s0"]


def test_the_clock_leaves_a_batch_that_would_not_be_finished(tmp_path, monkeypatch):
    bench = bench_in(tmp_path, monkeypatch)
    bench.deadline = _deep_bench.time.time() + 60.0
    clock = _deep_train.Clock(bench, 0.0)
    clock()  # nothing is known of the first batch
    clock.longest = 61.0
    with pytest.raises(_deep_bench.OutOfTime):
        clock()
    with pytest.raises(_deep_bench.OutOfTime):
        _deep_train.Clock(bench, _deep_train.SLOW["autoattack"])()


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, ImportError, MemoryError])
def test_a_failed_run_does_not_stop_the_others(kind, tmp_path, monkeypatch, capsys):
    error = kind("the loss must be finite,\ngot nan")
    bench = bench_in(tmp_path, monkeypatch)
    good = _deep_train.finish

    def finish(bench, run):
        if run.method == "pgd_at":
            raise error
        good(bench, run)

    monkeypatch.setattr(_deep_train, "finish", finish)
    with pytest.raises(UsageError, match="pgd_at-s0: the loss must be finite, got nan"):
        bench.work()
    assert bench.rest() == ["pgd_at-s0"]
    bench.options = dataclasses.replace(bench.options, partial=True)
    bench.failed.clear()
    bench.work()
    assert "must be finite" in capsys.readouterr().err


def test_force_forgets_its_own(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done)
    bench.work()
    (bench.folder(RUNS[0]) / "checkpoint.pt").touch()
    again = bench_in(tmp_path, monkeypatch, done=done, force=True, only=("pgd_at",))
    again.work()
    assert done[4:] == ["pgd_at-s0"]
    assert not (bench.folder(RUNS[0]) / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    "options, expected",
    [({"jobs": 0}, "--jobs"), ({"minutes": -1.0}, "--minutes"), ({"minutes": float("nan")}, "--minutes")],
)
def test_bad_options(tmp_path, monkeypatch, options, expected):
    with pytest.raises(UsageError, match=expected):
        bench_in(tmp_path, monkeypatch, **options)


# --- the experiment itself -------------------------------------------------------------------------------------------


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
    assert sorted(p.stem for p in (quick / "data/runs/classwise-digits").iterdir()) == [
        "absld-s0", "dafa_trades-s0", "pgd_at-s0", "pgd_at-s1",
    ]  # fmt: skip
    drawn = {p.stem for p in quick.glob("*.png")}
    assert drawn == {f"classwise_{key}-digits" for key in ("bars", "worst_average", "distance", "neighbours")}


def test_run_records_say_what_they_are(quick):
    for path in (quick / "data/runs/classwise-digits").iterdir():
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
        text = (quick / f"data/runs/classwise-digits/{name}.json").read_text()
        (tmp_path / f"data/runs/classwise-digits/{name}.json").write_text(text)
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


# --- rows, tables, figures -------------------------------------------------------------------------------------------

NAMES = ["cat", "dog", "car"]


def record_of(method, seed, correct, n=100, **more):
    """A run record with one attack on n images a class."""
    flags = np.concatenate([np.arange(n) < k for k in correct])
    about = {"asked": 0, "n": [n] * 3, "correct": list(correct), "seconds": 1.0}
    about["flags"] = base64.b64encode(np.packbits(flags).tobytes()).decode()
    return {
        "config": {"method": method, "seed": seed, "epochs": 2},
        "dataset": {"classes": NAMES},
        "selected": {"epoch": 2, "score": 1.0},
        "measurements": {"clean": about, "pgd20": about, **more},
        "train_seconds": 1.0,
        "weights": {},
        "environment": {"device": "toy"},
    }


def test_summary_has_a_row_a_method_with_both_errors():
    rows = [("pgd_at", 0, (20, 50, 80)), ("pgd_at", 1, (30, 50, 70)), ("dafa_pgd", 0, (40, 50, 60))]
    base, dafa = _classwise_rows.summary([_classwise_rows.row_of(record_of(*row)) for row in rows])
    assert next(iter(base)) == "method"
    assert base["seeds"] == 2
    assert base["pgd20_worst"] == pytest.approx(0.25)
    assert base["pgd20_worst_class"] == "cat"
    assert base["pgd20_worst_seeds_se"] == pytest.approx(0.05)
    assert base["pgd20_avg_seeds_se"] == pytest.approx(0.0)
    assert base["pgd20_cat"] == pytest.approx(0.25)
    assert base["pgd20_rho"] == pytest.approx(0.0)
    assert base["pgd20_n"] == 300
    se = np.mean([np.sqrt(sum(a * (1 - a) / 100 for a in acc)) / 3 for acc in ((0.2, 0.5, 0.8), (0.3, 0.5, 0.7))])
    assert base["pgd20_avg_se"] == pytest.approx(se, rel=0.1)
    assert dafa["pgd20_rho"] == pytest.approx((0.4 - 0.2) / 0.2)  # against the same seed, at equal average
    assert "pgd20_worst_seeds_se" not in dafa


def test_a_seed_may_bring_what_another_lacks():
    S = {"clean_softmax": np.eye(3).tolist(), "confusion": (100 * np.eye(3)).tolist(), "n": [100] * 3}
    records = [record_of("pgd_at", 0, (20, 50, 80)), record_of("pgd_at", 1, (30, 50, 70), matrices=S)]
    (row,) = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert row["seeds"] == 2
    assert row["similarity_cat"] == 0.0
    assert row["pgd20_seeds"] == 2
    records[1]["measurements"]["cw20"] = records[1]["measurements"]["pgd20"]
    (row,) = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert (row["seeds"], row["cw20_seeds"]) == (2, 1)
    assert "| PGD-AT | CW-20 | 1 | 300 |" in _classwise_table.further_table([row])


def test_gains_are_paired_differences_to_the_parent():
    base, run = record_of("pgd_at", 0, (20, 50, 80)), record_of("dafa_pgd", 0, (40, 50, 60))
    row = _classwise_rows.gains(run, base, np.repeat([0, 1, 2], 100))
    assert row["gain_over"] == "pgd_at"
    assert row["gain_worst"] == pytest.approx(0.2)
    assert row["gain_avg"] == pytest.approx(0.0)
    assert row["gain_disparity"] == pytest.approx(-0.4)
    assert 0.1 < row["gain_worst_low"] < 0.2 < row["gain_worst_high"] < 0.3
    (shown,) = _classwise_rows.summary([_classwise_rows.row_of(run) | row])
    assert "| DAFA (PGD) - PGD-AT | 0 | +20.0 [" in _classwise_table.gain_table([shown])


def test_neighbours_rank_by_clean_similarity():
    S = [[0.7, 0.25, 0.05], [0.3, 0.6, 0.1], [0.02, 0.08, 0.9]]
    confusion = [[20, 70, 10], [30, 50, 20], [0, 10, 90]]
    row = _classwise_rows.neighbours(NAMES, {"clean_softmax": S, "confusion": confusion}, np.array([100] * 3))
    assert row["weak_class"] == "cat"
    assert row["weak_neighbours"] == "dog car"
    assert row["to_neighbour_1"] == pytest.approx(0.7)
    assert row["to_neighbour_2"] == pytest.approx(0.1)
    assert row["similarity_cat"] == pytest.approx(((0.25 + 0.3) / 2 + (0.05 + 0.02) / 2) / 2)
    assert row["leaning_cat"] == pytest.approx((0.3 + 0.02) / 2)


def test_table_and_figures_of_a_record_without_matrices(tmp_path):
    records = [record_of("pgd_at", 0, (20, 50, 80)), record_of("standard", 0, (0, 0, 10))]
    rows = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    text = _classwise_table.main_table(rows)
    assert "| PGD-AT | 1 | 50.0 ± 2.5 | 20.0 ± 4.0 (cat) |" in text
    assert len(text.splitlines()) == 4
    assert _classwise_table.further_table(rows) == ""
    runs.write_csv(tmp_path / "classwise.csv", rows)
    read = runs.read_csv(tmp_path / "classwise.csv")
    with plotting.style():
        assert set(_classwise_figures.plot(read, "toy")) == {"bars", "worst_average"}


def test_every_method_has_a_name_and_a_colour():
    assert set(_classwise_table.TITLES) == set(METHODS)
    assert plotting.YELLOW not in {_classwise_figures.color(method) for method in METHODS}


# --- predictions -----------------------------------------------------------------------------------------------------

LABELS = np.repeat(np.arange(3), 100)


@pytest.mark.parametrize(
    "predicted, low, high, expected",
    [(1, 0.1, 0.2, "agrees"), (-1, 0.1, 0.2, "contradicts"), (1, -0.1, 0.2, "open"), (None, 0.1, 0.2, "none")],
)
def test_verdicts(predicted, low, high, expected):
    assert _predictions.verdict({"predicted": predicted, "low": low, "high": high})["verdict"] == expected


def test_change_of_disparity():
    run, base = record_of("domain_mixup_easy", 0, (40, 50, 60)), record_of("pgd_at", 0, (20, 50, 80))
    row = _predictions.change_row("b", "t", "PGD-AT", "disparity", -1, "8/255", run, base, "pgd20", LABELS, 0)
    assert row["effect"] == pytest.approx(-0.4)
    assert row["verdict"] == "agrees"


def test_margins_turn_at_one_half():
    """cat: risk 0.3 at W eps, helped; dog: 0.6 before and 0.7 at W eps, predicted to lose; car: weight below 1."""
    own = record_of("x", 0, (70, 30, 95))["measurements"]["pgd20"]
    run = record_of("dafa_pgd", 0, (90, 30, 95), pgd20_own=own)
    run["weights"] = {"margin": [1.3, 1.2, 0.5]}
    rows = _predictions.margin_rows(run, record_of("pgd_at", 0, (80, 40, 99)), LABELS, "margins", "8/255", 0)
    cat, dog, under, over = rows
    assert (cat["class"], cat["predicted"], cat["own_risk"]) == ("cat", 1, pytest.approx(0.3))
    assert (dog["class"], dog["predicted"], dog["effect"]) == ("dog", -1, pytest.approx(-0.1))
    assert (under["predicted"], over["predicted"]) == (1, -1)
    assert [row["verdict"] for row in rows] == ["agrees"] * 4
    both = _predictions.margin_rows(run, record_of("pgd_at", 0, (80, 40, 99)), LABELS, "both", "8/255", 0)
    assert [row["predicted"] for row in both] == [1, None]


def test_pairs_find_the_trend_and_the_ratio():
    labels = np.repeat([0, 1], 500)
    rng = np.random.default_rng(0)
    records, similarity = [], np.linspace(0.05, 0.3, 8)
    for s in similarity:
        flags = rng.random(1000) >= np.where(labels == 0, 2 * s, s)
        text = base64.b64encode(np.packbits(flags).tobytes()).decode()
        records.append(
            {"measurements": {"pgd20": {"n": [500, 500], "flags": text}}, "dataset": {"classes": ["cat", f"{s:.2f}"]}}
        )
    *pairs, rank, far = _predictions.pair_rows(records, [labels] * 8, similarity, "8/255", 0)
    assert len(pairs) == 8
    assert rank["effect"] < -0.8
    assert rank["verdict"] == far["verdict"] == "agrees"
    assert far["effect"] == pytest.approx(np.log(2), abs=0.25)


@pytest.mark.parametrize("part", ["a", "b", "c", "d", "e"])
def test_every_part_has_runs_and_shares_those_of_classwise(part):
    cfg, data = deep_predictions.Config(), load_digits()
    plan = deep_predictions.Plan(cfg, data, 0)
    table = plan.measures(part)
    assert table
    shared = {r for r in table if r in set(cifar10_classwise.manifest(cifar10_classwise.Config()))}
    assert shared, "every part builds on runs that the table of methods needs anyway"
    for r in table:
        METHODS[r.method](**dict(r.options))


def test_predictions_run_from_the_command_line(tmp_path, monkeypatch):
    argv = ("--quick", "--parts", "a", "b", "--out", tmp_path, "--work", tmp_path / "w")
    assert script("deep_predictions", *argv, monkeypatch=monkeypatch) == 0
    record, rows = runs.read_record(tmp_path / "data/deep_predictions-digits")
    assert record["experiment"] == "deep_predictions"
    assert {row["part"] for row in rows} == {"a", "b"}
    assert {row["verdict"] for row in rows} <= {"agrees", "contradicts", "open", "none"}
    assert (tmp_path / "deep_predictions-digits.png").exists()
