"""The bench of the deep experiments: identity of runs, sharing and resuming of work."""

import dataclasses
import json

import numpy as np
import pytest

import _deep_bench
import _deep_recipes
import _deep_runs
import _deep_train
import cifar10_classwise
from _deep_options import DeepOptions
from _deep_runs import Measure, Run
from _harness import Unfinished, UsageError
from linfair import runs
from linfair.data import load_digits
from linfair.train.methods import METHODS

TRAINING = _deep_recipes.SMALL_CNN.train


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
        for m in bench.due()[run]:
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
