"""Teachers of deep runs: their weights lie beside their records, and every student learns from that file."""

import dataclasses
import json
import shutil

import pytest
import torch

import _deep_bench
import _deep_lock
import _deep_measure
import _deep_recipes
import _deep_runs
import _deep_train
from _deep_options import DeepOptions
from _deep_runs import Measure, Run
from linfair.data import load_digits
from linfair.models import read_weights
from linfair.models.weights import FORMAT

TEACHER, STUDENTS = Run("trades", 1), (Run("rslad", 1), Run("ard", 1))


def bench_in(folder, *manifest, **options):
    """A bench of real runs, a second each."""
    return _deep_bench.opened(
        _deep_runs.shrink(load_digits(), 200), _deep_recipes.TINY(_deep_recipes.DIGITS), manifest,
        lambda run, bench: (Measure("clean"),), DeepOptions(work=folder / "work", **options), folder / "data" / "toy",
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A student and the teacher it made train."""
    bench = bench_in(tmp_path_factory.mktemp("first"), STUDENTS[0])
    bench.work()
    return bench


def carried(first, folder, *manifest):
    """A bench elsewhere that has the teacher's file and nothing more."""
    bench = bench_in(folder, *manifest)
    shutil.copy(first.weights(TEACHER), bench.weights(TEACHER))
    return bench


def taught(bench, run):
    """What a record says of the teacher's weights."""
    return bench.result(run)["teacher"]["weights"]


def test_another_machine_learns_from_the_same_teacher(first, tmp_path):
    there = carried(first, tmp_path, *STUDENTS)
    there.work()
    assert {taught(there, run) for run in STUDENTS} == {taught(first, STUDENTS[0])}
    assert not there.folder(TEACHER).exists()
    ours, theirs = (bench.result(STUDENTS[0])["measurements"] for bench in (first, there))
    assert ours["clean"]["flags"] == theirs["clean"]["flags"]


def test_the_file_is_the_trained_network_with_kernels_in_half_precision(first):
    trained, _ = read_weights(first.folder(TEACHER) / "model.pt")
    kept, meta = read_weights(first.weights(TEACHER))
    assert (meta["run"], meta["hash"]) == (TEACHER.name, first.identity(TEACHER))
    for name, tensor in kept.items():
        kernel = name.endswith("weight") and tensor.dim() > 1
        assert tensor.dtype == (torch.float16 if kernel else trained[name].dtype)
        assert torch.equal(tensor, trained[name].half() if kernel else trained[name])
    x = torch.from_numpy(first.data.test_images[:32] / first.data.levels).float()
    with torch.no_grad():
        exact, rounded = _deep_train.trained(first, TEACHER).model(x), _deep_train._teacher(first, TEACHER)(x)
    assert 0 < (exact - rounded).abs().max() < 1e-2 * exact.abs().max()


def test_weights_trained_again_take_the_place_of_those_kept(first, tmp_path):
    there = carried(first, tmp_path, TEACHER, STUDENTS[0])
    there.options = dataclasses.replace(there.options, only=("trades",))
    there.work()  # no record says that this teacher was measured
    there.options = dataclasses.replace(there.options, only=())
    there.work()
    assert read_weights(there.weights(TEACHER))[1]["history"] == [
        {"seconds": row["seconds"]} for row in there.log(TEACHER)
    ]


def test_a_record_is_of_the_teacher_at_hand(first, tmp_path):
    """A teacher trained again makes the students of the old one stale, also where they were trained elsewhere."""
    there = carried(first, tmp_path, STUDENTS[0])
    shutil.copy(first.record(STUDENTS[0]), there.record(STUDENTS[0]))
    assert there.rest() == []
    kept, meta = read_weights(there.weights(TEACHER))
    changed = {name: value + 1 if value.dtype == torch.float16 else value for name, value in kept.items()}
    torch.save({"format": FORMAT, "weights": changed, "meta": meta}, there.weights(TEACHER))
    assert there.rest() == [STUDENTS[0].name]
    there.weights(TEACHER).unlink()
    assert there.rest() == []  # nothing at hand to compare with


def test_new_weights_are_not_measured_into_an_old_record(first, tmp_path):
    """What stays in the folder where a user deletes the checkpoint alone is no longer what is trained."""
    bench = bench_in(tmp_path, TEACHER)
    bench.work()
    old = bench.result(TEACHER)
    (bench.folder(TEACHER) / "checkpoint.pt").unlink()
    bench.wanted = lambda run, bench: (Measure("clean"), Measure("pgd20"))
    bench.work()
    new = bench.result(TEACHER)
    seconds = [[row["seconds"] for row in record["history"]] for record in (old, new)]
    assert seconds[0] != seconds[1]
    assert seconds[1] == [row["seconds"] for row in bench.log(TEACHER)]
    assert list(new["measurements"]) == ["clean", "pgd20"]


def test_a_measurement_takes_the_seconds_of_all_its_batches(first):
    run, measure = STUDENTS[0], Measure("pgd20")
    model = _deep_train.trained(first, run).model
    _deep_measure.measured(first, run, model, measure, {})
    state = first.folder(run) / "pgd20-0.jsonl"
    lines = [json.loads(line) | {"seconds": 2.5} for line in state.read_text().splitlines()]
    state.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = _deep_measure.measured(first, run, model, measure, {})  # every batch is there already
    assert again["seconds"] == 2.5 * len(lines)


def test_a_teacher_of_another_recipe_does_not_serve(first, tmp_path):
    there = carried(first, tmp_path, STUDENTS[0])
    longer = dataclasses.replace(there.recipe.train, epochs=3)
    there.recipe = dataclasses.replace(there.recipe, train=longer)
    there.work()
    assert there.trained(TEACHER)
    assert read_weights(there.weights(TEACHER))[1]["hash"] == there.identity(TEACHER)


def test_a_student_waits_for_a_teacher_in_training(tmp_path):
    bench = bench_in(tmp_path, STUDENTS[0])
    with _deep_lock.locked(bench.folder(TEACHER)), pytest.raises(_deep_lock.Busy):
        _deep_train._teacher(bench, TEACHER)


def test_force_drops_the_weights_kept(first, tmp_path):
    there = carried(first, tmp_path, TEACHER, STUDENTS[0])
    there.options = dataclasses.replace(there.options, only=("rslad",))
    there.forget()
    assert there.weights(TEACHER).exists()
    there.options = dataclasses.replace(there.options, only=("trades",))
    there.forget()
    assert not there.weights(TEACHER).exists()


def test_a_damaged_file_is_named_with_the_remedy(tmp_path):
    bench = bench_in(tmp_path, STUDENTS[0], partial=True)
    bench.weights(TEACHER).write_bytes(b"no weights")
    bench.work()
    assert bench.weights(TEACHER).name in bench.failed[STUDENTS[0].name]
    assert bench.failed[STUDENTS[0].name].endswith("or delete it to train the teacher again")


def test_a_teacher_that_could_not_be_measured_still_teaches(tmp_path, monkeypatch):
    bench, measured = bench_in(tmp_path, TEACHER, STUDENTS[0], partial=True), _deep_measure.measured

    def failing(bench, run, *args):
        if run == TEACHER:
            raise MemoryError("no memory")
        return measured(bench, run, *args)

    monkeypatch.setattr(_deep_train, "measured", failing)
    bench.work()
    assert bench.failed == {TEACHER.name: "no memory"}
    assert bench.result(STUDENTS[0])["teacher"]["run"] == TEACHER.name
