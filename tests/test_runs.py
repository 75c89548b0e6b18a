"""Records: hashes, files written whole, resuming, the environment."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from linfair import runs


@dataclasses.dataclass(frozen=True)
class Config:
    n: int = 10
    eps: float = 1.0
    seeds: tuple[int, ...] = (0, 1)


def test_hash_depends_on_the_science_only():
    base = runs.config_hash("a", Config())
    assert base == runs.config_hash("a", Config(eps=1)) == runs.config_hash("a", dataclasses.asdict(Config()))
    assert base == runs.config_hash("a", Config(seeds=np.array([0, 1])))  # pyright: ignore[reportArgumentType]
    others = {
        runs.config_hash("b", Config()),
        runs.config_hash("a", Config(n=11)),
        runs.config_hash("a", Config(eps=1.5)),
        runs.config_hash("a", Config(seeds=(1, 0))),
        runs.config_hash("a", Config(), "fingerprint"),
    }
    assert len(others - {base}) == 5


def test_hash_is_the_same_in_every_process():
    assert runs.config_hash("a", {"x": 1}) == "5da394a80e307e1e10936736047ca1364757679adf71f178cd715d0aee59034d"


def test_hash_refuses_paths():
    with pytest.raises(TypeError, match="keep paths out"):
        runs.config_hash("a", {"folder": Path("x")})


def test_csv_round_trip(tmp_path):
    rows = [{"name": "a", "n": 3, "x": 0.1}, {"name": "b", "n": np.int64(4), "late": np.float64(1e-30), "yes": True}]
    runs.write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text() == "name,n,x,late,yes\na,3,0.1,,\nb,4,,1e-30,1\n"
    assert runs.read_csv(tmp_path / "t.csv") == [
        {"name": "a", "n": 3, "x": 0.1, "late": None, "yes": None},
        {"name": "b", "n": 4, "x": None, "late": 1e-30, "yes": 1},
    ]


def test_csv_keeps_ten_digits_and_nan(tmp_path):
    runs.write_csv(tmp_path / "t.csv", [{"x": 1 / 3, "y": float("nan")}])
    (row,) = runs.read_csv(tmp_path / "t.csv")
    assert row["x"] == 0.3333333333
    assert np.isnan(row["y"])


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "t.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"a": object()})

    def fail():
        with runs.atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert runs.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


RECORD = {"hash": "h", "dataset": {"label": "digits"}, "n_rows": 2, "columns": ["x", "y"]}
TABLE = b"x,y\n1,0.125\n2,0.25\n"


def write_record(folder, record=RECORD, table=TABLE):
    runs.write_json(folder / "t.json", record)
    (folder / "t.csv").write_bytes(table)
    return folder / "t"


def test_a_whole_record_reads_back(tmp_path):
    record, rows = runs.read_record(write_record(tmp_path))
    assert record == RECORD
    assert rows == [{"x": 1, "y": 0.125}, {"x": 2, "y": 0.25}]


@pytest.mark.parametrize(
    "table, reason",
    [
        (TABLE[:-6], "mid-line"),  # the line loses a field
        (TABLE[:-3], "mid-line"),  # 0.25 becomes 0.
        (TABLE[:12], "1 rows where its .json has 2"),
        (b"", "an empty file"),
        (TABLE + b"3\n", "1 fields in line 4"),
        (TABLE.replace(b"2,", b"2,3,"), "3 fields in line 3"),
        (TABLE.replace(b"x,y", b"x,z"), "column names"),
        (TABLE.replace(b"1", b"\xff"), "UTF-8"),
        (TABLE.replace(b"1", b'"1'), "CSV"),
    ],
)
def test_a_damaged_table_is_named_in_one_line(tmp_path, table, reason):
    stem = write_record(tmp_path, table=table)
    with pytest.raises(runs.RecordError, match=reason) as error:
        runs.read_record(stem)
    message = str(error.value)
    assert "t.csv' must be as it was written, got" in message
    assert message.endswith("; recompute with --force")
    assert "\n" not in message


@pytest.mark.parametrize("change", [{"dataset": None}, {"dataset": {}}, {"columns": None}, {"n_rows": None}])
def test_a_record_without_what_a_redraw_needs_is_damaged(tmp_path, change):
    with pytest.raises(runs.RecordError, match="recompute with --force"):
        runs.read_record(write_record(tmp_path, RECORD | change))


def test_a_record_that_is_not_there_is_named(tmp_path):
    stem = write_record(tmp_path)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(runs.RecordError, match=r"got no '.*t\.csv'; run without --plot-only"):
        runs.read_record(stem)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_broken_record_reads_as_none(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    assert runs.read_json(tmp_path / "t.json") is None
    assert runs.read_json(tmp_path / "absent.json") is None


def test_prepare_folder_makes_it_and_leaves_it_empty(tmp_path):
    folder = runs.prepare_folder(tmp_path / "a" / "b")
    assert list(folder.iterdir()) == []


def test_prepare_folder_names_the_obstacle_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(runs.OutputError, match=r"--out must be a writable folder, got .*file.*; pass another") as error:
        runs.prepare_folder(tmp_path / "file" / "data")
    assert "\n" not in str(error.value)


def test_prepare_folder_names_a_read_only_folder(tmp_path, monkeypatch):
    # Permission bits do not stop root, so the refusal is simulated where the probe file is made.
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(runs.OutputError, match="Permission denied"):
        runs.prepare_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_partial_survives_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "x.partial.jsonl"
    partial = runs.Partial(path, "h")
    assert not path.exists()
    partial.add({"seed": 0}, [{"x": np.float64(0.5)}], 1.0)
    partial.add({"seed": 1}, [{"x": 0.25}], 1.0)
    path.write_text(path.read_text()[:-9])
    again = runs.Partial(path, "h")
    assert len(again) == 1
    assert again.get({"seed": 1}) is None
    again.add({"seed": 1}, [{"x": 0.25}], 1.0)
    third = runs.Partial(path, "h")
    assert [third.get({"seed": s})["rows"] for s in (0, 1)] == [[{"x": 0.5}], [{"x": 0.25}]]  # pyright: ignore


@pytest.mark.parametrize("junk", [b"5", b"null", b'["hash"]', b'{"hash": "h"}', b"\xff\xfe", b'{"hash": "\xff"}'])
def test_partial_skips_lines_it_did_not_write(tmp_path, junk):
    path = tmp_path / "x.partial.jsonl"
    runs.Partial(path, "h").add({"seed": 0}, [{"x": 1}], 1.0)
    path.write_bytes(junk + b"\n" + path.read_bytes() + junk)
    again = runs.Partial(path, "h")
    assert len(again) == 1
    assert again.get({"seed": 0}) is not None
    assert path.read_bytes().count(b"\n") == 1


def test_partial_of_another_hash_is_dropped(tmp_path):
    path = tmp_path / "x.partial.jsonl"
    runs.Partial(path, "old").add({"seed": 0}, [{"x": 1}], 1.0)
    assert len(runs.Partial(path, "new")) == 0
    assert not path.exists()


def test_environment_is_json_and_complete(monkeypatch):
    monkeypatch.delitem(sys.modules, "linfair.ops", raising=False)  # another test may have used it
    env = json.loads(json.dumps(runs.environment()))
    assert {"python", "linfair", "numpy", "scipy", "cvxpy", "clarabel", "matplotlib", "scikit-learn"} <= set(
        env["versions"]
    )
    assert env["backend"] == "python"
    assert env["cpu"]
    assert env["cores"] >= 1


def test_commit_knows_clean_from_dirty(tmp_path):
    def git(*args):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", *args], check=True)

    assert runs.commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "figures").mkdir()
    for name in ("code.py", "figures/x.csv"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    first = runs.commit(tmp_path)
    assert first is not None
    assert first["dirty"] is False
    (tmp_path / "figures/x.csv").write_text("2")
    assert runs.commit(tmp_path) == first
    (tmp_path / "code.py").write_text("2")
    assert runs.commit(tmp_path) == {**first, "dirty": True}


def test_commit_can_be_told_where_there_is_no_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("LINFAIR_COMMIT", "abc1234")
    assert runs.commit(tmp_path) == {"id": "abc1234", "dirty": None}


def test_committed_records_were_made_from_a_clean_commit():
    """As committed: a run in a working tree with changes says so in its record, and that record is not for keeps."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return  # a source archive has no commits to look at
    names = [path.name for path in (root / "figures" / "data").glob("*.json")]
    shown = {n: ["git", "-C", str(root), "show", f"HEAD:figures/data/{n}"] for n in names}
    texts = {n: subprocess.run(c, capture_output=True, text=True, check=False).stdout for n, c in shown.items()}
    records = {name: json.loads(text) for name, text in texts.items() if text}
    assert [name for name, record in records.items() if (record["commit"] or {}).get("dirty", True)] == []
