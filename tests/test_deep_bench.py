"""The bench of the deep experiments: sharing and resuming of work."""

import dataclasses
import json

import pytest

import _deep_bench
import _deep_lock
import _deep_measure
import _deep_recipes
import _deep_train
import cifar10_classwise
from _deep_options import DeepOptions
from _deep_runs import Measure, Run
from _harness import Unfinished, UsageError
from linfair import runs
from linfair.data import load_digits

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
        for m in bench.due()[run]:
            record["measurements"][m.key] = {"asked": m.n, "seconds": 0.5}
        runs.write_json(bench.record(run), record)

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
        bench.record(teacher),
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
    runs.write_json(bench.record(first), found)
    assert asked() == ["pgd_at-s0"]  # it has it already


def test_a_trial_takes_nothings_place(tmp_path, monkeypatch):
    bench = bench_in(tmp_path, monkeypatch)
    bench.work()
    before = {path.name: path.read_bytes() for path in bench.records.iterdir()}
    trial = bench_in(tmp_path, monkeypatch)
    trial.recipe = dataclasses.replace(trial.recipe, train=dataclasses.replace(trial.recipe.train, epochs=1))
    assert trial.rest() == [r.name for r in RUNS]
    trial.work()
    assert {name: (bench.records / name).read_bytes() for name in before} == before
    assert len(list(bench.records.iterdir())) == 2 * len(before)
    assert bench.rest() == trial.rest() == []


def test_other_exact_images_are_measured_anew(tmp_path, monkeypatch):
    bench, data = bench_in(tmp_path, monkeypatch), load_digits()
    few = dataclasses.replace(data, test_images=data.test_images[:200], test_labels=data.test_labels[:200])
    measure, found = Measure("clean", data="exact"), {"asked": 0, "fingerprint": few.fingerprint}
    for exact, met in ((few, True), (data, False), (None, True)):
        bench.exact = exact
        assert bench.met(measure, found) == met
    assert not bench.met(measure, None)
    assert bench.met(Measure("clean"), {"asked": 0})


def test_exact_images_that_do_not_fit_are_refused_before_the_work(tmp_path, monkeypatch):
    batches = tmp_path / "cifar-10-batches-bin"
    batches.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        (batches / f"{name}.bin").write_bytes(b"".join(bytes([k]) + bytes(3072) for k in range(10)))
    with pytest.raises(UsageError, match=r"--exact-dir must hold \(1, 8, 8\) images of 10 classes as digits does, got"):
        bench_in(tmp_path, monkeypatch, exact_dir=tmp_path)


def test_a_missing_package_is_said_before_the_work(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr("linfair.attacks.autoattack.installed", lambda: None)
    bench = bench_in(tmp_path, monkeypatch, done=done)
    bench.wanted = lambda run, bench: (Measure("clean"), Measure("apgd", 10))
    with pytest.raises(UsageError, match=r"pip install linfair\[eval\]"):
        bench.work()
    assert done == []
    bench.options = dataclasses.replace(bench.options, minutes=0.0)
    bench.work()  # what is there can be gathered without


def test_records_of_others_serve_and_stay(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done)
    other = tmp_path / "data" / "runs" / "other"
    other.mkdir(parents=True)
    found = {m.key: {"asked": m.n, "seconds": 0.0} for m in wanted(RUNS[0], bench)}
    text = {"hash": bench.identity(RUNS[0]), "measurements": found, "train_seconds": 1.0}
    runs.write_json(other / bench.record(RUNS[0]).name, text)
    runs.write_json(other / bench.record(RUNS[2]).name, text)  # of another identity
    bench.work()
    assert done == ["trades-s0", "absld-s0", "trades-s0"]
    assert not bench.record(RUNS[0]).exists()


def test_no_minutes_means_no_work(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done, minutes=0.0)
    bench.work()
    assert done == []
    assert bench.rest() == [r.name for r in RUNS]


def test_only_some_methods(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done, only=("trades",))
    bench.work()
    assert done == ["trades-s0", "trades-s0"]
    assert "apgd" in bench.result(RUNS[1])["measurements"], "further attacks do not wait for runs that are not chosen"
    assert bench.rest() == ["pgd_at-s0", "absld-s0"]
    with pytest.raises(UsageError, match="--only must be among pgd_at, trades, absld, got wat"):
        bench_in(tmp_path, monkeypatch, only=("wat",))


def test_a_run_of_another_process_is_left_alone(tmp_path, monkeypatch):
    done = []
    bench = bench_in(tmp_path, monkeypatch, done=done, minutes=0.02)
    with _deep_lock.locked(bench.folder(RUNS[0])):
        bench.work()
    assert done == ["trades-s0", "absld-s0"]
    assert bench.rest() == ["pgd_at-s0"]


def test_the_clock_leaves_a_batch_that_would_not_be_finished(tmp_path, monkeypatch):
    bench = bench_in(tmp_path, monkeypatch)
    bench.deadline = _deep_bench.time.time() + 60.0
    clock = _deep_measure.Clock(bench, 0.0)
    clock()  # nothing is known of the first batch
    clock.longest = 61.0
    with pytest.raises(_deep_bench.OutOfTime):
        clock()
    with pytest.raises(_deep_bench.OutOfTime):
        _deep_measure.Clock(bench, _deep_measure.SLOW["autoattack"])()


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
