"""The experiments' main loop: skip, resume, redraw - on a toy experiment."""

import dataclasses
import json

import pytest

import _harness
from harness_cases import COMPLETE, Config, Toy, names, one_line, plot
from linfair import runs


def test_a_run_leaves_a_record_and_figures(tmp_path):
    toy = Toy(tmp_path)
    assert toy() == 0
    assert names(tmp_path) == COMPLETE
    record = json.loads((tmp_path / "data/toy.json").read_text())
    assert record["hash"] == runs.config_hash("toy", Config())
    assert record["config"] == {"n": 4, "slope": 2, "seeds": [0, 1]}
    assert record["seeds"] == [0, 1]
    assert record["dataset"] == {"label": "synthetic, generated from the seeds", "fingerprint": None}
    assert record["n_rows"] == 8
    assert record["columns"] == ["x", "y", "seed"]
    assert record["quick"] is False
    assert {"schema", "versions", "backend", "commit", "cpu", "cores", "elapsed_seconds"} <= set(record)
    assert str(tmp_path) not in json.dumps(record)


def test_what_is_up_to_date_is_not_computed_again(tmp_path, capsys):
    Toy(tmp_path)()
    again = Toy(tmp_path)
    assert again() == 0
    assert again.calls == []
    assert "up to date" in capsys.readouterr().out
    assert again("--force") == 0
    assert again.calls == [0, 1, 2, 3]


def test_config_fields_are_flags_and_change_the_hash(tmp_path):
    Toy(tmp_path)()
    other = Toy(tmp_path)
    assert other("--seeds", "3", "4", "5", "--n", "2") == 0
    assert other.calls == [0, 1]
    record = json.loads((tmp_path / "data/toy.json").read_text())
    assert record["seeds"] == [3, 4, 5]
    assert record["hash"] == runs.config_hash("toy", Config(n=2, seeds=(3, 4, 5)))


def test_a_killed_run_resumes_to_the_same_record(tmp_path, capsys):
    killed = Toy(tmp_path / "a", kill_at=2)
    assert killed() == 130
    assert "resume" in one_line(capsys)
    assert names(tmp_path / "a") == ["data/toy.partial.jsonl"]
    resumed = Toy(tmp_path / "a")
    assert resumed() == 0
    assert resumed.calls == [2, 3]
    assert names(tmp_path / "a") == COMPLETE
    Toy(tmp_path / "b")()
    for name in ("data/toy.csv", "toy.pdf", "toy.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_killed_force_is_finished_by_the_next_run(tmp_path):
    Toy(tmp_path)()
    assert Toy(tmp_path, kill_at=2)("--force") == 130
    again = Toy(tmp_path)
    assert again() == 0
    assert again.calls == [2, 3]
    assert names(tmp_path) == COMPLETE


def test_a_partial_of_another_config_is_not_used(tmp_path):
    Toy(tmp_path, kill_at=2)()
    other = Toy(tmp_path)
    assert other("--slope", "3") == 0
    assert other.calls == [0, 1, 2, 3]


def test_plot_only_redraws_byte_for_byte_and_computes_nothing(tmp_path):
    Toy(tmp_path)()
    before = {name: (tmp_path / name).read_bytes() for name in COMPLETE}
    (tmp_path / "toy.png").unlink()
    again = Toy(tmp_path)
    assert again("--plot-only") == 0
    assert again.calls == []
    assert {name: (tmp_path / name).read_bytes() for name in COMPLETE} == before


def test_quick_keeps_away_from_the_full_record(tmp_path, monkeypatch):
    monkeypatch.setattr(_harness, "FIGURES", tmp_path)
    assert Toy(None)() == 0
    full = (tmp_path / "data/toy.json").read_bytes()
    quick = Toy(None)
    assert quick("--quick") == 0
    assert quick.calls == [0]
    assert (tmp_path / "data/toy.json").read_bytes() == full
    assert json.loads((tmp_path / "quick/data/toy.json").read_text())["quick"] is True


def test_tables_are_printed_from_the_records_of_a_folder(tmp_path, capsys):
    toy = Toy(tmp_path, table=lambda folder: "".join(p.name + "\n" for p in folder.glob("*.csv")))
    assert toy("--table") == 2
    assert "--table needs a record" in one_line(capsys)
    toy()
    capsys.readouterr()
    assert toy("--table") == 0
    assert capsys.readouterr().out == "toy.csv\n"
    for extra in (["--force"], ["--plot-only"], ["--n", "3"], ["--data-dir", "x"]):
        assert toy("--table", *extra) == 2
        assert "--data-dir" in (message := one_line(capsys)) or "would ignore" in message


def test_help_lists_the_fields_of_the_config(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        Toy(tmp_path)("--help")
    assert not stop.value.code
    text = capsys.readouterr().out
    assert "--slope" in text
    assert "experiment options" in text
    assert "run options" in text
    assert "--plot-only" in text


def test_several_figures_get_a_key_each(tmp_path):
    assert Toy(tmp_path, plot=lambda rows: {"left": plot(rows), "right": plot(rows)})() == 0
    assert [n for n in names(tmp_path) if n.endswith("pdf")] == ["toy_left.pdf", "toy_right.pdf"]


@dataclasses.dataclass(frozen=True)
class DataOptions(_harness.Options):
    unverified: bool = False


@dataclasses.dataclass(frozen=True)
class Data:
    label: str
    fingerprint: str
    suffix: str


def digits_or_cifar(options):
    if options.data_dir is None:
        return Data("digits", "f1", "-digits")
    if not options.data_dir.exists():
        raise FileNotFoundError(f"data_dir must hold CIFAR-10, got '{options.data_dir}', which is missing; download it")
    return Data("CIFAR-10", "f2", "")


def test_records_carry_the_data_set_and_redraw_without_it(tmp_path, capsys):
    labels = []

    def labelled(rows, label):
        labels.append(label)
        return plot(rows)

    toy = Toy(
        tmp_path / "out",
        dataset=digits_or_cifar,
        options=DataOptions,
        cells=lambda cfg, data: [{"i": 1, "data": data.label}],
        plot=labelled,
    )
    assert toy() == 0
    assert toy("--data-dir", str(tmp_path), "--unverified") == 0
    assert [n for n in names(tmp_path / "out") if n.endswith(("json", "pdf"))] == [
        "data/toy-digits.json", "data/toy.json", "toy-digits.pdf", "toy.pdf",
    ]  # fmt: skip
    record = json.loads((tmp_path / "out/data/toy-digits.json").read_text())
    assert record["dataset"] == {"label": "digits", "fingerprint": "f1"}
    assert record["hash"] == runs.config_hash("toy", Config(), "f1")
    labels.clear()
    assert toy("--plot-only") == 0
    assert sorted(labels) == ["CIFAR-10", "digits"]
    capsys.readouterr()
    assert toy("--data-dir", str(tmp_path / "absent")) == 2
    assert "download it" in one_line(capsys)
