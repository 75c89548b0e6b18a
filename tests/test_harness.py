"""The experiments' main loop: skip, resume, redraw, refuse - on a toy experiment."""

import ast
import dataclasses
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import _harness
from linfair import plotting, runs


@dataclasses.dataclass(frozen=True)
class Config:
    n: int = 4
    """cells"""
    slope: float = 2.0
    seeds: tuple[int, ...] = (0, 1)


def cells(cfg):
    return [{"i": i} for i in range(cfg.n)]


def plot(rows, *label):
    fig, ax = plotting.subplots()
    ax.plot([row["x"] for row in rows], [row["y"] for row in rows])
    return fig


class Toy:
    """Counts its cells; `kill_at` raises there, as Ctrl-C would."""

    def __init__(self, out, kill_at=None, **science):
        self.out, self.kill_at, self.calls, self.science = out, kill_at, [], science

    def compute(self, cell, cfg, *data):
        if cell["i"] == self.kill_at:
            raise KeyboardInterrupt
        if cfg.slope < 0:
            raise ValueError(f"slope must be >= 0, got {cfg.slope}; flip\nthe sign")
        self.calls.append(cell["i"])
        return [{"x": cell["i"], "y": cfg.slope * cell["i"], "seed": seed} for seed in cfg.seeds]

    def __call__(self, *argv):
        science = {"cells": cells, "compute": self.compute, "plot": plot} | self.science
        experiment = _harness.Experiment("toy", Config(), Config(n=1, seeds=(0,)), **science)
        return _harness.execute(experiment, [*argv, *(["--out", str(self.out)] if self.out else [])])


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


COMPLETE = ["data/toy.csv", "data/toy.json", "toy.pdf", "toy.png"]


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert message.startswith("toy: ")
    return message


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


DAMAGE = ["", "x,y,seed\n0,0,0\n", "x,y,seed\n0,0", b"x,y\n0,\xff\n"]


@pytest.mark.parametrize("damage", [*DAMAGE, None])
def test_a_damaged_table_is_computed_again(tmp_path, damage):
    Toy(tmp_path)()
    table = tmp_path / "data/toy.csv"
    if damage is None:
        table.unlink()
    else:
        table.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    again = Toy(tmp_path)
    assert again() == 0
    assert len(again.calls) == 4


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["toy.csv", "toy.json"])
def test_plot_only_names_a_damaged_file_and_the_remedy(tmp_path, capsys, name, damage):
    Toy(tmp_path)()
    before = (tmp_path / "toy.pdf").read_bytes()
    (tmp_path / "data" / name).write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    capsys.readouterr()
    again = Toy(tmp_path)
    assert again("--plot-only") == 2
    message = one_line(capsys)
    assert name in message
    assert "recompute with --force" in message
    assert "TRACEBACK" not in message
    assert again.calls == []
    assert (tmp_path / "toy.pdf").read_bytes() == before


def test_plot_only_with_half_a_table_line(tmp_path, capsys):
    Toy(tmp_path)()
    table = tmp_path / "data/toy.csv"
    table.write_bytes(table.read_bytes()[:-4])
    assert Toy(tmp_path)("--plot-only") == 2
    assert "toy.csv" in one_line(capsys)


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


def test_plot_only_without_a_record_is_one_line(tmp_path, capsys):
    assert Toy(tmp_path / "new")("--plot-only") == 2
    assert "run without --plot-only" in one_line(capsys)
    assert not (tmp_path / "new").exists()


def test_quick_keeps_away_from_the_full_record(tmp_path, monkeypatch):
    monkeypatch.setattr(_harness, "FIGURES", tmp_path)
    assert Toy(None)() == 0
    full = (tmp_path / "data/toy.json").read_bytes()
    quick = Toy(None)
    assert quick("--quick") == 0
    assert quick.calls == [0]
    assert (tmp_path / "data/toy.json").read_bytes() == full
    assert json.loads((tmp_path / "quick/data/toy.json").read_text())["quick"] is True


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--nonsense"], "nonsense"),
        (["--n", "many"], "many"),
        (["--device", "cuda"], "cuda"),
        (["--seeds"], "--seeds must hold at least one value, got none"),
        (["--seeds", "3", "-1"], "--seeds must be at least 0, got -1"),
        (["--n", "-3"], "--n must be at least 1, got -3"),
        (["--quick", "--n", "0"], "--n must be at least 1, got 0"),
        (["--data-dir", "x"], "--data-dir"),
        (["--plot-only", "--force"], "exclude each other"),
        (["--slope", "-1"], "slope must be >= 0, got -1.0; flip the sign"),
        (["--table"], "--table is for experiments that have tables"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_files(tmp_path, capsys, argv, expected):
    assert Toy(tmp_path)(*argv) == 2
    assert expected in one_line(capsys)
    assert names(tmp_path) == []


def test_a_mistake_found_late_leaves_no_partial(tmp_path, capsys):
    def fails(cell, cfg):
        if cell["i"] == 2:
            raise ValueError("slope must be small, got a large one; lower it")
        return [{"x": 0, "y": 0}]

    assert Toy(tmp_path, compute=fails)() == 2
    assert "slope must be small" in one_line(capsys)
    assert names(tmp_path) == []
    assert Toy(tmp_path, compute=lambda cell, cfg: [])() == 2
    assert "at least one row" in one_line(capsys)
    assert names(tmp_path) == []


def test_a_mistake_found_late_keeps_the_cells_of_an_earlier_run(tmp_path):
    Toy(tmp_path, kill_at=2)()

    def fails(cell, cfg):
        raise ValueError("code broken since; mend it")

    assert Toy(tmp_path, compute=fails)() == 2
    assert names(tmp_path) == ["data/toy.partial.jsonl"]


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


def test_an_output_folder_that_cannot_be_is_one_line_before_any_work(tmp_path, capsys):
    (tmp_path / "file").touch()
    toy = Toy(tmp_path / "file")
    assert toy() == 2
    assert "--out must be a writable folder" in one_line(capsys)
    assert toy.calls == []


def test_the_traceback_is_there_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("LINFAIR_TRACEBACK", "1")
    with pytest.raises(ValueError, match="slope must be"):
        Toy(tmp_path)("--slope", "-1")


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


def test_every_import_is_a_declared_dependency():
    root = Path(__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    declared = {re.split(r"[^\w-]", name)[0] for name in project["dependencies"] + extras}
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    declared = {modules.get(name, name.replace("-", "_")) for name in declared}
    for folder in ("linfair", "experiments", "benchmarks"):
        own = {path.stem for path in (root / folder).rglob("*.py")} | {"linfair"}
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module or ""]
                used = {module.split(".")[0] for module in modules}
                assert used <= declared | own | sys.stdlib_module_names, path.name
