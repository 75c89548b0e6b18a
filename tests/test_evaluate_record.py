"""Records of evaluations: the flags survive, damage does not pass, and every number is that of linfair.metrics."""

import base64
import json

import numpy as np
import pytest

from linfair import metrics
from linfair.evaluate import Evaluation
from linfair.evaluate.measures import measure
from linfair.evaluate.record import _digest
from linfair.runs import RecordError

NAMES = ("airplane", "cat", "frog")


def made(flags=None, labels=None, names=NAMES, **changes) -> Evaluation:
    """An evaluation of 7 + 5 + 8 images, unless told otherwise."""
    labels = np.repeat([0, 1, 2], [7, 5, 8]) if labels is None else labels
    rng = np.random.default_rng(0)
    flags = {"clean": rng.random(len(labels)) < 0.9, "pgd20": rng.random(len(labels)) < 0.5} if flags is None else flags
    about = {"title": "x", "kind": "pgd", "note": "", "norm": "linf", "eps": "8/255", "radius": 8 / 255, "seconds": 1.0}
    about["options"] = {"steps": 20}
    data = {"label": "toy", "fingerprint": "f", "part": "test", "class_names": names, "total": 99, "images": "i"}
    parts = {
        "model": {"name": "m:Net", "parameters": 3, "weights": {"file": "w.pt", "sha256": "a" * 64}, "state": "b"},
        "data": data | changes.pop("data", {}),
        "threat": {"norm": "linf", "eps": "8/255", "radius": 8 / 255},
        "attacks": {name: dict(about) for name in flags},
        "config": {"n": len(labels), "seed": 0},
        "labels": labels,
        "index": np.arange(len(labels)) * 3,
        "flags": flags,
        "environment": {"cpu": "any"},
    }
    return Evaluation(**(parts | changes))


@pytest.fixture
def saved(tmp_path):
    return made().save(tmp_path / "a.json")


def test_round_trip(saved):
    a, b = made(), Evaluation.load(saved)
    for name in a.flags:
        np.testing.assert_array_equal(a.flags[name], b.flags[name])
        assert b.flags[name].dtype == bool
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.index, b.index)
    assert b.record() == a.record()
    assert (b.model, b.threat, b.config) == (a.model, a.threat, a.config)


@pytest.mark.parametrize("n", [3, 8, 9, 16, 17])
def test_flags_of_any_number_survive(n, tmp_path):
    flags = np.arange(n) % 3 == 1
    path = made({"clean": flags}, np.arange(n) % 3).save(tmp_path / "a.json")
    np.testing.assert_array_equal(Evaluation.load(path).flags["clean"], flags)


def test_a_reader_without_linfair_finds_the_bits_as_documented(saved):
    record = json.loads(saved.read_text())
    entry = base64.b64decode(record["attacks"]["pgd20"]["flags"])
    bits = "".join(f"{byte:08b}" for byte in entry)[:20]
    assert [bit == "1" for bit in bits] == made().flags["pgd20"].tolist()
    labels = base64.b64decode(record["images"]["labels"])
    assert [int.from_bytes(labels[i : i + 4], "little") for i in range(0, 80, 4)] == made().labels.tolist()


def test_the_file_is_strict_json_even_where_a_measure_is_not_defined(tmp_path):
    path = made({"pgd20": np.zeros(20, bool)}).save(tmp_path / "a.json")

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads(path.read_text(), parse_constant=refuse)
    assert record["attacks"]["pgd20"]["measures"]["nsd"] == {"value": None, "low": None, "high": None}
    assert Evaluation.load(path).table()


def test_missing_file(tmp_path):
    with pytest.raises(RecordError, match="got no such file; check the name"):
        Evaluation.load(tmp_path / "none.json")


@pytest.mark.parametrize("position", [0.2, 0.5, 0.99])
def test_a_file_cut_short(saved, position):
    text = saved.read_text()
    saved.write_text(text[: int(len(text) * position)])
    with pytest.raises(RecordError, match="no whole JSON object; evaluate again"):
        Evaluation.load(saved)


def test_another_json_file(tmp_path):
    (tmp_path / "a.json").write_text('{"kind": "something else"}')
    with pytest.raises(RecordError, match="got another file"):
        Evaluation.load(tmp_path / "a.json")


def test_another_schema_is_told_from_damage(saved):
    record = json.loads(saved.read_text())
    saved.write_text(json.dumps(record | {"schema": 99}))
    with pytest.raises(RecordError, match="must have schema 1, got 99"):
        Evaluation.load(saved)


@pytest.mark.parametrize(
    "path", [("images", "labels"), ("attacks", "pgd20", "flags"), ("threat", "eps"), ("model", "name")]
)
def test_any_change_is_noticed(saved, path):
    record = json.loads(saved.read_text())
    place = record
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    place[path[-1]] = ("B" if old[0] == "A" else "A") + old[1:]
    saved.write_text(json.dumps(record))
    with pytest.raises(RecordError, match="contents that differ from their sha256"):
        Evaluation.load(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r["attacks"]["pgd20"].update(flags="AA=="),
        lambda r: r["attacks"]["pgd20"].update(flags="not base64!"),
        lambda r: r["images"].update(n=21),
        lambda r: r["images"].pop("labels"),
        lambda r: r["data"].update(class_names=["one"]),
        lambda r: r.update(attacks=[]),
    ],
)
def test_contents_that_cannot_be_are_damage_too(saved, damage):
    record = json.loads(saved.read_text())
    damage(record)
    record.pop("sha256")
    saved.write_text(json.dumps(record | {"sha256": _digest(record)}))
    with pytest.raises(RecordError, match="must be as it was written"):
        Evaluation.load(saved)


def test_flags_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"pgd20 must have shape \(20,\), got \(19,\)"):
        made({"pgd20": np.ones(19, bool)})


def test_measures_are_those_of_metrics_each_class_by_its_own_count():
    a = made()
    found, flags = a.measures["pgd20"], a.flags["pgd20"]
    accuracy = metrics.class_accuracy(a.labels, flags)
    assert found["average"]["value"] == pytest.approx(accuracy.mean())  # not flags.mean(): 7, 5 and 8 images
    assert [row["value"] for row in found["classes"]] == pytest.approx(accuracy)
    assert [row["n"] for row in found["classes"]] == [7, 5, 8]
    worst = metrics.worst_class(accuracy)
    assert (found["worst"]["value"], found["worst"]["index"]) == pytest.approx((worst.value, worst.index))
    assert found["worst"]["class"] == NAMES[worst.index]
    assert found["bottom_3"]["value"] == pytest.approx(metrics.bottom_k(accuracy))
    assert found["disparity"]["value"] == pytest.approx(metrics.disparity(accuracy))
    assert found["nsd"]["value"] == pytest.approx(metrics.nsd(accuracy))
    np.testing.assert_allclose(a.accuracy("pgd20"), accuracy)


def test_the_interval_of_the_average_has_the_width_of_its_standard_error():
    labels = np.repeat(np.arange(4), 500)
    flags = np.random.default_rng(1).random(2000) < 0.6
    average = measure(labels, flags, list("abcd"))["average"]
    se = np.sqrt(0.6 * 0.4 / 2000)
    assert average["high"] - average["low"] == pytest.approx(2 * 1.96 * se, rel=0.1)


def test_two_classes_have_a_bottom_of_two():
    found = measure(np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1]), ["a", "b"])
    assert found["bottom_3"]["value"] == 0.75


def test_class_rows_are_flat_and_complete():
    rows = made().class_rows()
    assert len(rows) == 2 * 3
    assert set(rows[0]) == {"attack", "class", "index", "n", "accuracy", "low", "high"}
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


@pytest.mark.parametrize("n_classes", [2, 10, 100])
@pytest.mark.parametrize("n_attacks", [1, 9])
def test_the_tables_fit_100_columns(n_classes, n_attacks):
    names = tuple(f"a class with quite a long name {k}" for k in range(n_classes))
    labels = np.repeat(np.arange(n_classes), 2)
    flags = {f"corruption-{k}": np.arange(2 * n_classes) % 2 == 1 for k in range(n_attacks)}
    text = made(flags, labels, names, data={"label": "data of a long name " * 9, "class_names": names}).table()
    assert max(map(len, text.splitlines())) <= 100
    for k in range(n_attacks):
        assert sum(line.startswith(f"corruption-{k} ") for line in text.splitlines()) == 1
    assert text.count(" *") == n_attacks + 1  # one worst class each, and the legend


def test_the_worst_class_is_marked():
    flags = np.repeat([True, False, True], [7, 5, 8])
    lines = made({"pgd20": flags}).table().splitlines()
    assert [line.split()[0] for line in lines if line.endswith(" *")] == ["cat"]
    assert any("0.0 (cat)" in line for line in lines)


def test_notes_are_printed_once():
    attacks = {name: {**about, "note": "a note"} for name, about in made().attacks.items()}
    assert made(attacks=attacks).table().count("a note") == 1
