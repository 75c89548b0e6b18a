"""UCI Adult and COMPAS: generated files in the official layouts read back, and what wrong files answer."""

import numpy as np
import pytest

from linfair.data import DataError, adult, compas
from linfair.data.tabular import load_adult, load_compas
from tabular_cases import LEFT_OUT, change, compas_rows, write_adult, write_compas


@pytest.fixture
def adult_folder(tmp_path, monkeypatch):
    return write_adult(tmp_path, monkeypatch)


def test_adult_is_verified_and_split_as_published(adult_folder):
    data = load_adult(adult_folder)
    assert (data.name, data.label, data.verified, data.suffix) == ("adult-sex", "UCI Adult (sex)", True, "-adult-sex")
    assert (data.groups, data.outcomes, data.protected) == (("Female", "Male"), ("<=50K", ">50K"), "sex")
    expected_y, expected_a = [0, 0, 1, 1] * 6, [1, 1, 1, 1, 0, 0, 0, 0] * 3
    for x, y, a in (data.train(), data.test()):
        np.testing.assert_array_equal(y, expected_y)
        np.testing.assert_array_equal(a, expected_a)
        assert x.shape == (24, len(data.columns))
        assert (x.dtype, y.dtype, a.dtype) == (np.float64, np.int64, np.int64)
    np.testing.assert_array_equal(data.counts, [[12, 12], [12, 12]])


def test_adult_features_in_numbers(adult_folder):
    data = load_adult(adult_folder)
    numeric = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    categories = ("workclass=Private", "marital-status=Divorced", "occupation=Sales", "relationship=Unmarried")
    races = ("race=Black", "race=Other", "race=White")
    assert data.columns == (*numeric, *categories, *races, "native-country=Cuba", "native-country=Peru")
    np.testing.assert_array_equal(data.continuous, [True] * 6 + [False] * 9)
    ages, sd = np.arange(24), np.sqrt((24**2 - 1) / 12)
    for k in (0, 1, 3):  # fnlwgt and capital-gain grow with age; the test rows are ten years older
        np.testing.assert_allclose(data.train_x[:, k], (ages - 11.5) / sd, atol=1e-12)
        np.testing.assert_allclose(data.test_x[:, k], (ages + 10 - 11.5) / sd, atol=1e-12)
        np.testing.assert_allclose([data.lo[k], data.hi[k]], [-11.5 / sd, (33 - 11.5) / sd], atol=1e-12)
    assert not data.train_x[:, 4:6].any()  # constant columns are 0, not NaN
    np.testing.assert_array_equal(data.train_x[:, 10:13], np.repeat(np.eye(3)[[2, 0, 1]], 8, axis=0))
    np.testing.assert_array_equal(data.train_x[:, 13:], np.tile([1.0, 0.0], (24, 1)))
    np.testing.assert_array_equal(data.test_x[0, 13:], [0.0, 1.0])
    np.testing.assert_array_equal(data.lo[6:], 0.0)
    np.testing.assert_array_equal(data.hi[6:], 1.0)


def test_adult_by_race(adult_folder):
    data = load_adult(adult_folder, protected="race")
    assert (data.name, data.groups) == ("adult-race", ("Black", "White"))
    np.testing.assert_array_equal(data.train_a, [1] * 8 + [0] * 8)
    assert {"sex=Female", "sex=Male"} < set(data.columns)
    assert not any(column.startswith(("race", "education=")) for column in data.columns)


def test_missing_entries_are_dropped_or_a_category(adult_folder):
    dropped, kept = load_adult(adult_folder), load_adult(adult_folder, missing="keep")
    assert (len(kept.train_y), len(kept.test_y)) == (25, 25)
    assert kept.counts.sum() == dropped.counts.sum() + 2
    column = kept.columns.index("workclass=?")
    np.testing.assert_array_equal(kept.train_x[:, column], [0.0] * 24 + [1.0])
    assert (kept.name, kept.suffix) == ("adult-sex-all-rows", "-adult-sex-all-rows")
    assert kept.label != dropped.label
    assert kept.fingerprint != dropped.fingerprint


def test_a_subfolder_holds_the_same_data(adult_folder):
    fingerprint = load_adult(adult_folder).fingerprint
    (adult_folder / "adult").mkdir()
    for file in adult.MD5:
        (adult_folder / file).rename(adult_folder / "adult" / file)
    assert load_adult(adult_folder).fingerprint == fingerprint


def test_a_changed_file_asks_and_is_labelled(adult_folder):
    official = load_adult(adult_folder)
    change(adult_folder / "adult.test", "Peru", "Laos")
    with pytest.raises(DataError, match=r"adult\.test must have MD5 \w{32}, got \w{32}.*--unverified"):
        load_adult(adult_folder)
    same = load_adult(adult_folder, unverified=True)
    assert not same.verified
    assert same.fingerprint == official.fingerprint  # a renamed category is the same column
    assert same.label == f"UCI Adult (sex, unverified copy {same.fingerprint})"
    assert same.suffix == f"-adult-sex-unverified-copy-{same.fingerprint}"
    change(adult_folder / "adult.data", "20, Private", "21, Private")
    assert load_adult(adult_folder, unverified=True).fingerprint != official.fingerprint


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("adult.data", "25, Private", "25", r"adult\.data line 6 must have 15 columns, got 14; copy"),
        ("adult.test", "31, Private", "31, Private, x", r"adult\.test line 3 must have 15 columns, got 16"),
        ("adult.data", "23, Private", "old, Private", r"line 4 must hold a number as age, got 'old'"),
        ("adult.data", "23, Private", "nan, Private", r"line 4 must hold a number as age, got 'nan'"),
        (
            "adult.data",
            ", 40, Cuba, <=50K",
            ", ?, Cuba, <=50K",
            r"line 1 must hold a number as hours-per-week, got '\?'",
        ),
        ("adult.test", ">50K.", "50K.", r"adult\.test line 4 must hold <=50K or .* as income, got '50K\.'"),
        ("adult.test", "31, Private", "\ud800, Private", "must be comma-separated text, got 'utf-8' codec"),
    ],
)
def test_wrong_lines(adult_folder, file, old, new, message):
    path = adult_folder / file
    path.write_bytes(path.read_text().replace(old, new, 1).encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=message) as caught:
        load_adult(adult_folder, unverified=True, missing="keep")
    assert "\n" not in str(caught.value)


def test_files_without_rows_or_groups(adult_folder):
    path = adult_folder / "adult.test"
    text = path.read_text()
    path.write_text("|1x3 Cross validator\n\n")
    with pytest.raises(DataError, match=r"adult\.test must hold rows of data, got none"):
        load_adult(adult_folder, unverified=True)
    path.write_text(text.replace(" Female", " Male"))
    with pytest.raises(DataError, match=r"adult\.test must hold at least 1 row.*got 0 of \(Female, <=50K\); use the"):
        load_adult(adult_folder, unverified=True)
    path.write_text(text.replace(" White", " Grey").replace(" Black", " Grey"))
    with pytest.raises(DataError, match=r"adult\.test must hold .* got 0 of \(Black, <=50K\)"):
        load_adult(adult_folder, unverified=True, protected="race")
    path.unlink()
    with pytest.raises(DataError, match=r"adult\.test must be a readable file, got missing"):
        load_adult(adult_folder)


@pytest.mark.parametrize("load", [load_adult, load_compas])
def test_no_folder_and_unknown_arguments(load, tmp_path):
    with pytest.raises(
        DataError, match=r"data_dir must be an existing folder, got '.*nowhere'; put the files of https"
    ):
        load(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match=r"data_dir must hold (adult\.data and adult\.test|compas-.*csv), got '.*' without"
    ):
        load(tmp_path)
    with pytest.raises(DataError, match=r"protected must be one of (sex, race|race, sex), got 'age'; choose one"):
        load(tmp_path, protected="age")


def test_unknown_missing(tmp_path):
    with pytest.raises(DataError, match="missing must be 'drop' or 'keep', got 'fill'"):
        load_adult(tmp_path, missing="fill")  # pyright: ignore[reportArgumentType]


def test_compas_by_race(tmp_path):
    write_compas(tmp_path, compas_rows())
    data = load_compas(tmp_path)
    assert (data.name, data.groups, data.protected) == ("compas-race", ("African-American", "Caucasian"), "race")
    assert (data.label, data.verified) == ("ProPublica COMPAS (race, 80 rows)", False)
    assert data.suffix == "-compas-race-80-rows"
    assert data.columns == (*compas.NUMERIC, "c_charge_degree=F", "sex=Female", "sex=Male")
    np.testing.assert_array_equal(data.continuous, [True] * 5 + [False] * 3)
    np.testing.assert_array_equal(data.counts, [[20, 20], [20, 20]])
    np.testing.assert_array_equal(np.bincount(2 * data.test_a + data.test_y), [6, 6, 6, 6])
    np.testing.assert_allclose(data.train_x[:, 0].mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(data.train_x[:, 0].std(), 1.0, atol=1e-12)
    assert not data.test_x[:, 1:5].any()  # constant, and the second priors_count is not read
    age = np.concatenate([data.train_x[:, 0], data.test_x[:, 0]])
    group = np.concatenate([data.train_a, data.test_a])
    assert age[group == 0].mean() > age[group == 1].mean()  # generated with the length of the name


def test_compas_by_sex(tmp_path):
    (tmp_path / "compas").mkdir()
    write_compas(tmp_path / "compas", compas_rows())
    data = load_compas(tmp_path, protected="sex")
    assert (data.groups, data.counts.tolist()) == (("Male", "Female"), [[30, 30], [30, 30]])
    assert data.columns[6:] == ("race=African-American", "race=Caucasian", "race=Hispanic")
    np.testing.assert_array_equal(data.train_x[:, 6:].sum(1), 1.0)
    assert data.fingerprint == load_compas(tmp_path, protected="sex").fingerprint
    assert data.fingerprint != load_compas(tmp_path).fingerprint


@pytest.mark.parametrize("wrong", LEFT_OUT, ids=str)
def test_each_filter_of_compas(tmp_path, wrong):
    rows = compas_rows()
    rows[0] |= wrong
    write_compas(tmp_path, rows)
    np.testing.assert_array_equal(load_compas(tmp_path).counts, [[20, 20], [19, 20]])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"two_year_recid": 2}, "line 2 must hold 0 or 1 as two_year_recid, got '2'"),
        ({"priors_count": "many"}, "line 2 must hold a number as priors_count, got 'many'"),
        ({"days_b_screening_arrest": "soon"}, "line 2 must hold a number as days_b_screening_arrest, got 'soon'"),
    ],
)
def test_wrong_compas_entries(tmp_path, wrong, message):
    rows = compas_rows()
    rows[0] |= wrong
    write_compas(tmp_path, rows)
    with pytest.raises(DataError, match=message):
        load_compas(tmp_path)


def test_wrong_compas_files(tmp_path):
    rows = compas_rows()
    path = write_compas(tmp_path, [{k: v for k, v in row.items() if k != "is_recid"} for row in rows])
    with pytest.raises(DataError, match="must have a column is_recid, got a header without; use the file of https"):
        load_compas(tmp_path)
    write_compas(tmp_path, rows[:51])
    with pytest.raises(DataError, match=r"csv must hold at least 2 row.*got 1 of \(African-American, new offence\)"):
        load_compas(tmp_path)
    path.write_text("")
    with pytest.raises(DataError, match="must hold rows of data, got none"):
        load_compas(tmp_path)
