"""Runs of the deep experiments: the manifest, and what their identity depends on."""

import dataclasses

import numpy as np
import pytest

import _deep_recipes
import _deep_runs
import cifar10_classwise
from _deep_runs import Run
from linfair.data import load_digits
from linfair.train.methods import METHODS

TRAINING = _deep_recipes.SMALL_CNN.train


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
