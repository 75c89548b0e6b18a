"""Tables with a protected group: what one is, the embedded ones, and the one door to all."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from linfair.data import DataError
from linfair.data.tabular import (
    GAUSSIAN_MEANS,
    GAUSSIAN_PRIORS,
    GAUSSIAN_VARIANCES,
    Table,
    gaussian_groups,
    load_adult,
    load_diabetes_groups,
    load_tables,
)
from tabular_cases import change, compas_rows, write_adult, write_compas


def test_gaussian_groups_follow_their_law():
    centre = GAUSSIAN_PRIORS @ GAUSSIAN_MEANS
    np.testing.assert_allclose(centre, 0.0, atol=1e-12)
    np.testing.assert_allclose(GAUSSIAN_PRIORS @ (GAUSSIAN_VARIANCES + GAUSSIAN_MEANS**2), 1.0, atol=1e-12)
    np.testing.assert_allclose(GAUSSIAN_PRIORS.sum(), 1.0)
    n = 200_000
    data = gaussian_groups(n, seed=1)
    np.testing.assert_allclose(data.counts.ravel() / n, GAUSSIAN_PRIORS, atol=5 * 0.5 / np.sqrt(n))
    assert data.counts[0, 1] / data.counts[0].sum() < data.counts[1, 1] / data.counts[1].sum() - 0.2
    cell = 2 * data.train_a + data.train_y
    for k in range(4):
        own = data.train_x[cell == k]
        bound = 5 * np.sqrt(GAUSSIAN_VARIANCES[k] / len(own))
        assert (abs(own.mean(0) - GAUSSIAN_MEANS[k]) < bound).all()
        assert (abs(own.var(0) / GAUSSIAN_VARIANCES[k] - 1) < 5 * np.sqrt(2 / len(own))).all()
        assert abs(np.corrcoef(own.T) - np.eye(6)).max() < 5 / np.sqrt(len(own))


def test_gaussian_groups_are_fixed_by_the_seed():
    assert gaussian_groups().counts.sum() == 4000
    assert len(gaussian_groups().test_y) == 1200
    first, again, other = (gaussian_groups(300, seed).fingerprint for seed in (0, 0, 1))
    assert first == again != other
    with pytest.raises(ValueError, match="n must be at least 40, got 39"):
        gaussian_groups(39)


def test_diabetes_groups():
    data = load_diabetes_groups()
    assert data.counts.sum() == 442
    assert data.counts.sum(0).tolist() == [221, 221]
    assert data.counts.sum(1).tolist() == [235, 207]
    assert data.columns == ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    assert data.continuous.all()
    np.testing.assert_allclose(data.train_x.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(data.train_x.std(0), 1.0, atol=1e-12)
    assert data.fingerprint == load_diabetes_groups().fingerprint != load_diabetes_groups(seed=1).fingerprint


@pytest.mark.parametrize("make", [gaussian_groups, load_diabetes_groups])
def test_the_box_is_tight_over_both_parts(make):
    data = make()
    both = np.concatenate([data.train_x, data.test_x])
    np.testing.assert_array_equal(data.lo, both.min(0))
    np.testing.assert_array_equal(data.hi, both.max(0))
    assert (data.lo < data.train_x.min(0)).any() or (data.hi > data.train_x.max(0)).any()


def test_every_cell_gives_the_same_share_to_the_test_part():
    data = gaussian_groups()
    held_out = np.bincount(2 * data.test_a + data.test_y)
    assert abs(held_out - 0.3 * data.counts.ravel()).max() <= 0.5


def test_the_door(tmp_path, monkeypatch):
    adult_folder = write_adult(tmp_path, monkeypatch)
    assert [data.name for data in load_tables()] == ["gaussian-groups", "diabetes-sex"]
    assert [data.name for data in load_tables(adult_folder)] == ["adult-sex", "adult-race"]
    write_compas(adult_folder, compas_rows())
    names = ("compas-sex", "adult-race", "compas-race")
    assert tuple(data.name for data in load_tables(adult_folder, names)) == names
    change(adult_folder / "adult.data", "20, Private", "21, Private")
    with pytest.raises(DataError, match="must have MD5"):
        load_tables(adult_folder)
    assert not load_tables(adult_folder, ["adult-sex"], unverified=True)[0].verified


def test_what_the_door_refuses(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(DataError, match="must be of adult-sex, adult-race, compas-race, compas-sex, got 'german'"):
            load_tables(folder, ["adult-sex", "german"])
        with pytest.raises(DataError, match=r"sets must hold at least one name, got none; leave it out"):
            load_tables(folder, [])
        with pytest.raises(
            DataError, match=r"sets must be a list of names, got the text 'adult-sex'; pass \['adult-sex'\]"
        ):
            load_tables(folder, "adult-sex")
    with pytest.raises(DataError, match=r"data_dir must be an existing folder, got '.*nowhere'; leave it out"):
        load_tables(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"data_dir must hold adult\.data or adult\.test or compas-.*csv, got '.*' without"
    ):
        load_tables(tmp_path)
    write_compas(tmp_path, compas_rows())
    with pytest.raises(DataError, match=r"data_dir must hold adult\.data or adult\.test, got"):
        load_tables(tmp_path, ["adult-race"])


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda t: {"columns": t.columns[:-1]}, r"continuous must have shape \(5,\)"),
        (lambda t: {"train_x": t.train_x[:, 1:]}, r"train_x must have shape \(\*, 6\), got \(2800, 5\)"),
        (lambda t: {"test_x": t.test_x * np.nan}, "test_x must be finite"),
        (lambda t: {"test_y": t.test_y[1:]}, r"test_y must have shape \(1200,\)"),
        (lambda t: {"train_a": t.train_a + 1}, r"train_a must lie in 0\.\.1, got 1\.\.2"),
        (lambda t: {"test_a": 0 * t.test_a}, r"the test part must hold .* got 0 of \(group 1, y = 0\)"),
        (lambda t: {"train_y": t.train_a}, r"the training part must hold .* got 0 of \(group 0, y = 1\)"),
        (lambda t: {"continuous": np.arange(6) != 2}, "train_x must be 0 or 1 in x2, got other values"),
    ],
)
def test_wrong_tables(wrong, message):
    data: Table = gaussian_groups()
    with pytest.raises(ValueError, match=message):
        replace(data, **wrong(data))


def test_the_fingerprint_sees_every_array():
    data = gaussian_groups(200)
    marks = {data.fingerprint}
    for name in ("train_x", "test_x", "train_y", "test_y", "train_a", "test_a"):
        array = getattr(data, name).copy()
        array[0] = np.nextafter(array[0], np.inf) if name.endswith("x") else 1 - array[0]
        marks.add(replace(data, **{name: array}).fingerprint)
    assert len(marks) == 7


def test_tables_need_numpy_only():
    code = "import sys, linfair.data.tabular; sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


REAL = {
    "adult-sex": (30162, 15060, 86, [[13026, 1669], [20988, 9539]]),
    "adult-race": (28750, 14381, 82, [[3694, 534], [28696, 10207]]),
    "compas-race": (3695, 1583, 9, [[1514, 1661], [1281, 822]]),
    "compas-sex": (4320, 1852, 13, [[2601, 2396], [762, 413]]),
}


@pytest.mark.skipif("LINFAIR_TABULAR" not in os.environ, reason="LINFAIR_TABULAR names no folder with the real files")
def test_real_files():
    folder = os.environ["LINFAIR_TABULAR"]
    tables = load_tables(folder)
    found = {t.name: (len(t.train_y), len(t.test_y), len(t.columns), t.counts.tolist()) for t in tables}
    assert found == {name: REAL[name] for name in found}
    assert found
    for data in tables:
        assert data.verified == data.name.startswith("adult")
        assert data.suffix == f"-{data.name}"
        assert data.continuous.sum() == (6 if data.verified else 5)
        np.testing.assert_allclose(data.train_x[:, data.continuous].mean(0), 0.0, atol=1e-9)
        np.testing.assert_allclose(data.train_x[:, data.continuous].std(0), 1.0, atol=1e-9)
        for category in {column.split("=")[0] for column in data.columns if "=" in column}:
            own = [column.startswith(f"{category}=") for column in data.columns]
            np.testing.assert_array_equal(data.test_x[:, own].sum(1), 1.0)
    if "adult-sex" in found:
        kept = load_adult(folder, missing="keep")
        assert (len(kept.train_y), len(kept.test_y)) == (32561, 16281)
