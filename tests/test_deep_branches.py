"""Deep runs that take over the epochs which they share with a run of their parent."""

import dataclasses

import pytest

import _deep_bench
import _deep_lock
import _deep_recipes
import _deep_runs
import _deep_train
from _deep_options import DeepOptions
from _deep_runs import Measure, Run
from linfair.data import load_digits
from linfair.models import read_weights
from train_cases import same_tensors

MARGINS = Run("dafa_pgd", options=(("apply", "margins"),))


def trained_in(folder, *manifest):
    """A bench of real runs, a second each, after its work."""
    bench = _deep_bench.opened(
        _deep_runs.shrink(load_digits(), 200), _deep_recipes.TINY(_deep_recipes.DIGITS), manifest,
        lambda run, bench: (Measure("clean"),), DeepOptions(work=folder / "work"), folder / "data" / "toy",
    )  # fmt: skip
    bench.work()
    return bench


def test_runs_start_from_the_epochs_they_share_with_their_parent(tmp_path):
    parent, both = Run("pgd_at"), Run("dafa_pgd")
    shared, alone = trained_in(tmp_path / "a", both, MARGINS, parent), trained_in(tmp_path / "b", both, MARGINS)
    assert shared.result(parent)["shared"] is None
    for run in (both, MARGINS):
        found = shared.result(run)
        assert found["shared"] == {"run": "pgd_at-s0", "hash": shared.identity(parent), "epochs": 1}
        assert alone.result(run)["shared"] is None
        assert found["history"][0]["seconds"] == shared.result(parent)["history"][0]["seconds"]
        assert found["train_seconds"] == pytest.approx(found["history"][1]["seconds"], abs=0.06)
        a, b = (read_weights(bench.folder(run) / "model.pt")[0] for bench in (shared, alone))
        assert same_tensors(a, b)


def test_the_parent_of_a_run_has_its_options(tmp_path):
    bench = trained_in(tmp_path)
    run = Run("dafa_trades", 1, (("beta", 3.0), ("apply", "weights")), eps="4/255", epochs=6)
    shared = _deep_train.shared_with(run, bench)
    assert shared is not None
    assert shared[:2] == (Run("trades", 1, (("beta", 3.0),), eps="4/255", epochs=6), 4)
    assert shared.path == bench.folder(shared.run) / "epoch-4.pt"
    assert _deep_train.shared_with(Run("absld"), bench) is None
    assert _deep_train.shared_with(Run("pgd_at"), bench) is None


def test_a_run_waits_for_its_parent_where_it_is_trained(tmp_path):
    bench, parent = trained_in(tmp_path), Run("pgd_at")
    bench.runs = (MARGINS, parent)
    with _deep_lock.locked(bench.folder(parent)), pytest.raises(_deep_lock.Busy):
        _deep_train.trained(bench, MARGINS)
    bench.runs = (MARGINS,)
    with _deep_lock.locked(bench.folder(parent)):
        assert _deep_train.trained(bench, MARGINS).shared_epochs == 0


def test_a_run_does_not_wait_for_what_its_parent_did_not_keep(tmp_path):
    bench, parent = trained_in(tmp_path, Run("pgd_at")), Run("pgd_at")
    bench.runs, bench.wanted = (parent, MARGINS), lambda run, bench: (Measure("pgd20"),)
    with _deep_lock.locked(bench.folder(parent)):
        assert _deep_train.trained(bench, MARGINS).shared_epochs == 0


def test_a_run_that_cannot_be_leaves_its_parent_alone(tmp_path):
    bad = Run("dafa_pgd", options=(("wat", 1),))
    bench = trained_in(tmp_path)
    bench.runs, bench.options = (Run("pgd_at"), bad), dataclasses.replace(bench.options, partial=True)
    bench.work()
    assert set(bench.failed) == {bad.name}
    assert bench.rest() == [bad.name]


@pytest.mark.parametrize("child", [MARGINS, Run("absld")])
def test_what_fails_for_another_is_its_own_failure(child, tmp_path, monkeypatch):
    bench, parent, tried = trained_in(tmp_path), Run("trades" if child.teacher else "pgd_at"), []

    def failing(config, *args, **fields):
        tried.append(config.method)
        raise RuntimeError("the loss must be finite, got nan")

    monkeypatch.setattr(_deep_train, "fit", failing)
    bench.runs = (child, parent)
    bench.loop()
    needs = f"needs {parent.name}, which failed"
    assert bench.failed == {parent.name: "the loss must be finite, got nan", child.name: needs}
    assert tried == [parent.method]


def test_force_trains_shared_epochs_again(tmp_path):
    parent = Run("pgd_at")
    bench = trained_in(tmp_path, parent, MARGINS)
    kept = bench.folder(parent) / "epoch-1.pt"
    assert kept.exists()
    bench.options = dataclasses.replace(bench.options, force=True, only=("dafa_pgd",))
    bench.forget()
    assert not kept.exists()
    assert bench.rest() == [MARGINS.name]
