"""The experiments' main loop: damaged records and mistakes, each one line with its remedy."""

import pytest

from harness_cases import Toy, names, one_line

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


def test_plot_only_without_a_record_is_one_line(tmp_path, capsys):
    assert Toy(tmp_path / "new")("--plot-only") == 2
    assert "run without --plot-only" in one_line(capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--nonsense"], "nonsense"),
        (["--n", "many"], "many"),
        (["--device", "cuda"], "cuda"),
        (["--seeds"], "--seeds must hold at least one value, got none"),
        (["--seeds", "3", "-1"], "--seeds must be at least 0, got -1"),
        (["--seeds", "3", "3"], "--seeds must all differ, got 3, 3"),
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
