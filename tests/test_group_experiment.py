"""The experiment on group fairness: its methods, its rows and what its command line refuses."""

import dataclasses
import re

import numpy as np
import pytest

import _group_tables
import group_fairness as experiment
from _group_methods import METHODS, NO_BOX, threat, threats
from _group_rows import CHECKS, MEASURES, summary
from _harness import Experiment, UsageError, execute
from linfair.data.tabular import gaussian_groups, load_diabetes_groups

TINY = dataclasses.replace(
    experiment.QUICK, radii=(0.2,), updates=20, full_steps=200, check_steps=1500, attack_steps=4, restarts=2
)
DATA = experiment.Tables((gaussian_groups(400),), embedded=True)


@pytest.fixture(scope="module")
def rows():
    return [
        row for cell in experiment.cells(TINY, DATA) for row in experiment.compute(cell, TINY, DATA)
    ]  # both models, one seed


def test_every_method_is_measured_with_and_without_a_box(rows):
    found = {(row["model"], row["method"], row["threat"]) for row in rows}
    assert found == {(model, method, kind) for model in TINY.models for method in METHODS for kind in ("all", NO_BOX)}


def test_an_attack_opens_gaps_and_costs_accuracy(rows):
    for row in rows:
        assert row["robust_accuracy"] <= row["accuracy"], row
        assert row["worst_EOd"] >= max(row["EOd"], row["di_attack_EOd"]) - 1e-12, row
        assert row["worst_DI"] >= max(row["DI"], row["di_attack_DI"]) - 1e-12, row


def test_pgd_reaches_the_exact_attack_and_the_certified_optimum(rows):
    checked = [row for row in rows if "pgd_gap" in row]
    assert {row["method"] for row in checked} == {"baseline", "at"}
    for row in checked:
        assert row["pgd_gap"] <= 1e-4
        assert 0 <= row["certified_gap"] <= 1e-8
        assert 0 <= row["pgd_training_gap"] <= 1e-4


def test_repairs_repair(rows):
    def value(method, key):
        return next(r for r in rows if (r["model"], r["method"], r["threat"]) == ("logistic", method, "all"))[key]

    assert value("in", "EOd") < value("baseline", "EOd")
    assert value("at_in", "worst_EOd") < value("at", "worst_EOd")
    assert value("at", "robust_accuracy") > value("baseline", "robust_accuracy")


def test_summary_is_over_seeds():
    head = {
        "data": "x",
        "model": "mlp",
        "method": "at",
        "threat": "all",
        "eps": 0.2,
        "majority": 0.6,
        "separation": 0.5,
    }
    rows = [head | dict.fromkeys(MEASURES, value) | {"pgd_gap": value} for value in (0.2, 0.4)]
    (row,) = summary(rows)
    assert row["seeds"] == 2
    assert row["EOd"] == pytest.approx(0.3)
    assert row["EOd_se"] == pytest.approx(0.1)
    assert row["pgd_gap"] == 0.4
    assert row[CHECKS[1]] is None
    assert summary(rows[:1])[0]["EOd_se"] is None


def test_tables_show_every_method_and_the_published_rows(rows):
    found = summary(rows)
    text = _group_tables.main_table(found, "gaussian-groups", "all")
    assert text.count("\n") == 1 + len(METHODS) * len(TINY.models)
    fake = [row | {"data": "adult-race"} for row in found]
    lines = _group_tables.published_table(fake, "logistic").splitlines()
    assert len(lines) == 2 + len(_group_tables.PUBLISHED)
    assert "31.8 / 200.0 / 100.0" in lines[2]
    assert re.fullmatch(r"(\| [^|]+){8}\|", lines[2]), lines[2]
    assert _group_tables.checks_table(found).count("\n") == 3
    assert "none" not in text.lower()


def test_continuous_columns_are_a_threat_of_their_own():
    table = load_diabetes_groups()
    assert threats(table) == ("all",)
    mixed = dataclasses.replace(
        table,
        train_x=np.column_stack([table.train_x, table.train_y]),
        test_x=np.column_stack([table.test_x, table.test_y]),
        columns=(*table.columns, "c=1"),
        continuous=np.append(table.continuous, False),
    )
    assert threats(mixed) == ("continuous", "all")
    assert threat(mixed, "continuous", 0.2).radii[-1] == 0
    assert threat(mixed, "all", 0.2).radii[-1] == 0.2
    assert threat(mixed, NO_BOX, 0.2).lo is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"eps": 0.15}, "--radii must hold --eps 0.15"),
        ({"held": 0.0}, "--held must lie between 0 and 1"),
        ({"sets": ("adult-sex",)}, "--sets must be of --data-dir"),
    ],
)
def test_flags_that_do_not_fit(change, message):
    with pytest.raises(UsageError, match=message):
        experiment.cells(dataclasses.replace(TINY, **change), DATA)


def test_only_the_published_tables_have_the_plain_name():
    tables = [dataclasses.replace(DATA.tables[0], name=n, suffix=f"-{n}") for n in experiment.Config().sets]
    full = experiment.Tables(tuple(tables), embedded=False)
    assert experiment.suffix(TINY, full) == ""
    assert experiment.suffix(TINY, DATA) == "-embedded"
    assert experiment.suffix(dataclasses.replace(TINY, sets=("compas-race",)), full) == "-compas-race"
    tables[0] = dataclasses.replace(tables[0], suffix="-adult-sex-unverified-copy-123")
    changed = experiment.Tables(tuple(tables), embedded=False)
    assert experiment.suffix(TINY, changed).startswith("-adult-sex-unverified-copy-123")
    one = dataclasses.replace(TINY, sets=("adult-sex",))
    assert experiment.suffix(one, changed) == "-adult-sex-unverified-copy-123", "never the name of the official data"
    assert full["adult-race"] is full.tables[1]


@pytest.mark.parametrize("flags", [["--unverified"], ["--models", "svm"], ["--data-dir", "nowhere"]])
def test_bad_flags_end_in_one_line(flags, tmp_path, capsys):
    science = {"cells": experiment.cells, "compute": experiment.compute, "plot": experiment.plot}
    script = Experiment(
        name="group_fairness", config=experiment.Config(), quick=experiment.QUICK, dataset=experiment.dataset,
        options=experiment.GroupOptions, **science,
    )  # fmt: skip
    assert execute(script, [*flags, "--quick", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
