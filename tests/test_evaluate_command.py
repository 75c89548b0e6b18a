"""`linfair evaluate` from outside the package: what it prints, keeps and refuses."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate_cases import DIGITS, nearest_mean, net
from linfair.attacks import ATTACKS
from linfair.evaluate import Evaluation, EvaluationError, evaluate, main

MYNET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        return self.fc(x.flatten(1))

class Colour(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 8)
    def forward(self, x):
        return self.conv(x).flatten(1)

def seven(x): return torch.zeros(len(x), 7)
def flat(x): return torch.zeros(len(x))
def whole(x): return torch.zeros(len(x), 10, dtype=torch.int64)
def pair(x): return torch.zeros(len(x), 10), x
def nan(x): return torch.full((len(x), 10), torch.nan)
constant = nn.Parameter(torch.ones(10))
def aside(x): return x.detach().flatten(1)[:, :10] * constant - 1
def stepped(x): return (x + 0 * torch.sgn(x)).flatten(1)[:, :10].to(torch.int32).float() * constant - 1
def writes(x): return x.sub_(0.1).flatten(1)[:, :10]
def likely(x): return x.flatten(1)[:, :10].softmax(1)
def elsewhere(x): raise RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cpu!")
def sure(x): return x.flatten(1)[:, :10].sigmoid()
def deaf(x): return x.detach().flatten(1)[:, :10] - 1
def on_gpu(x): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\\n See documentation")
def on_cpu(x): return torch.empty(1 << 60)
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> Path:
    """A folder of somebody else: a model, its weights, nothing of ours."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mynet.py").write_text(MYNET)
    torch.save({f"fc.{key}": value for key, value in nearest_mean().state_dict().items()}, folder / "weights.pt")
    return folder


@pytest.fixture
def inside(outside, monkeypatch):
    monkeypatch.chdir(outside)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield outside
    sys.modules.pop("mynet", None)


def test_from_outside_the_package(outside):
    words = ["--model", "mynet:Net", "--weights", "weights.pt", "--n", "100", "--out", "a.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "linfair.evaluate", *words]
    done = subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "model   mynet:Net, weights weights.pt (sha256 " in done.stdout
    assert "data    digits, 100 of 364 test images" in done.stdout
    found = Evaluation.load(outside / "a.json")
    assert np.bincount(found.labels).tolist() == [10] * 10
    assert found.table() in done.stdout
    here = evaluate(net(), DIGITS, n=100, progress=False)  # the same model inside: the same flags
    for name in ("clean", "pgd20"):
        np.testing.assert_array_equal(found.flags[name], here.flags[name])
    assert not any(path.name.endswith(".partial") for path in outside.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--model must be given, got none"),
        ("--model mynet:Nothing", "got no 'Nothing' in mynet"),
        ("--model mynet:Net --weights gone.pt", "got gone.pt"),
        ("--model mynet:Colour --weights weights.pt", "lacks conv.weight"),
        ("--model mynet:Colour", "model must take images [n, 1, 8, 8] on cpu, got RuntimeError: Given groups=1"),
        ("--model mynet:seven", "logits must have shape (100, 10), one a class, got (100, 7)"),
        ("--model mynet:flat", "logits must have shape (100, 10), one a class, got (100,)"),
        ("--model mynet:whole", "must return a tensor of float logits, got torch.int64"),
        ("--model mynet:pair", "must return a tensor of float logits, got tuple"),
        ("--model mynet:nan", "logits must be numbers, got NaN for 100 images"),
        ("--model mynet:deaf", "the gradient must reach the images, got RuntimeError: "),
        ("--model mynet:aside", "the gradient must reach the images, got RuntimeError: "),
        ("--model mynet:stepped", "the gradient must reach the images, got RuntimeError: "),
        ("--model mynet:writes", "keep no_grad, detach, numpy and changes of the images in place out of it"),
        ("--model mynet:likely", "model must return logits, got probabilities (rows that sum to 1)"),
        ("--model mynet:Net --eps 8", "--eps must be at most 1 in linf, as pixels are, got 8; did you mean 8/255?"),
        ("--model mynet:Net --unverified", "--unverified is for the copy in --data-dir, got none"),
        ("--model mynet:Net --data-label x", "--data-label is for the copy in --data-dir, got none"),
        ("--model mynet:on_gpu --batch-size 64", "batch_size must fit into memory, got 64 and OutOfMemoryError"),
        ("--model mynet:on_gpu --batch-size 64", "; try 32"),
        ("--model mynet:on_cpu --batch-size 9", "; try 4"),
        ("--model mynet:Net --data-dir nowhere", "data_dir must be an existing folder, got 'nowhere'"),
        (
            "--model mynet:Net --data-dir cut --unverified",
            "must be a whole number of 3073-byte records, got 5000 bytes",
        ),
        ("--model mynet:Net --data-dir wrong --unverified", "must hold labels 0..9, got 0..200"),
        ("--model mynet:Net --out .", "--out must be a file, got the folder '.'"),
        ("--model mynet:Net --out mynet.py/a.json", "folder of --out must be a writable folder"),
        ("--model mynet:Net --n 7", "n must be a multiple of the 10 classes"),
        ("--model mynet:Net --eps much", "--eps must be a number or a ratio, got 'much'"),
        ("--model mynet:Net --eps -1", "--eps must be >= 0, got -1"),
        ("--model mynet:Net --norm l9", "norm must be one of l1, l2, linf, got 'l9'"),
        ("--model mynet:Net --device nowhere", "device must be usable here, got 'nowhere'"),
        ("--model mynet:Net --device nowhere --search bfloat16", "device must be usable here, got 'nowhere'"),
        ("--model mynet:elsewhere", "pass the --device that its weights are on"),
        ("--model mynet:Net --attacks pdg20", "got 'pdg20'; did you mean pgd20?"),
        ("--model mynet:Net --attacks zzz", "got 'zzz'; linfair evaluate --list shows them all"),
        ("--model mynet:Net --batch-size 0", "--batch-size must be at least 1, got 0"),
        ("--model mynet:Net --json --plain", "--json and --plain exclude each other"),
        ("--model mynet:seven --search bfloat16", "--search bfloat16 needs a torch module"),
        ("--model mynet:Net --nonsense", "unrecognized arguments: --nonsense; see linfair evaluate --help"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, message, inside, capsys):
    for folder, size in (("cut", 5000), ("wrong", 3073 * 10)):
        batches = inside / folder / "cifar-10-batches-bin"
        batches.mkdir(parents=True, exist_ok=True)
        for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
            (batches / f"{name}.bin").write_bytes(b"\0" * (size - 3073) + b"\xc8" + b"\0" * 3072)
    arguments = words.split()
    if "--n" not in arguments and "--data-dir" not in arguments:
        arguments += ["--n", "100"]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("linfair evaluate: ")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_autoattack_without_its_package_is_refused_before_the_work(inside, monkeypatch, capsys):
    def never(*arguments, **options):
        raise AssertionError("the work began")

    monkeypatch.setattr("linfair.attacks.autoattack.installed", lambda: None)
    monkeypatch.setattr("linfair.evaluate.command.evaluate", never)
    assert main(["--model", "mynet:Net", "--attacks", "clean", "autoattack"]) == 2
    assert "pip install linfair[eval]" in capsys.readouterr().err


def test_out_is_proved_before_the_work(inside, monkeypatch, capsys):
    def never(*arguments, **options):
        raise AssertionError("the work began")

    monkeypatch.setattr("linfair.evaluate.command.evaluate", never)
    assert main(["--model", "mynet:Net", "--out", "mynet.py/a.json"]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_record_is_kept_whether_asked_for_or_not(inside, capsys):
    words = ["--model", "mynet:Net", "--weights", "weights.pt", "--n", "50", "--attacks", "clean"]
    names = []
    for more in ([], [], ["--seed", "1"], ["--json"], ["--plain"]):
        assert main([*words, *more]) == 0
        names.append(re.findall(r"record: (evaluate-mynet-Net-[0-9a-f]{8}\.json)$", capsys.readouterr().out.rstrip()))
    assert names[0] == names[1] != names[2]
    assert names[3] == names[4] == []
    assert {path.name for path in inside.glob("evaluate-*")} == {names[0][0], names[2][0]}
    assert len(Evaluation.load(names[0][0]).labels) == 50


@pytest.mark.filterwarnings("always:model must return logits")
def test_a_warning_is_one_line(inside, capsys):
    assert main(["--model", "mynet:sure", "--n", "50", "--plain"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith("linfair evaluate: warning: model must return logits, got numbers in [0, 1] only; if ")


def test_records_of_changed_code_lie_side_by_side(inside, capsys):
    """A function has no weights to tell it by, so its name stays when its answers change."""
    records = []
    for k in (3, 7, 7, 3):
        (inside / "const.py").write_text(
            f"import torch\ndef one(x): return 0 * x.flatten(1)[:, :10] + torch.eye(10)[{k}]"
        )
        sys.modules.pop("const", None)
        importlib.invalidate_caches()
        assert main(["--model", "const:one", "--n", "50", "--attacks", "clean"]) == 0
        records.append(re.findall(r"record: (.*)$", capsys.readouterr().out.rstrip())[0])
    first, second = records[0], records[0].replace(".json", "-2.json")
    assert records == [first, second, second, first]
    assert Evaluation.load(first).flags["clean"].sum() == Evaluation.load(second).flags["clean"].sum() == 5


def test_json_and_plain_say_what_the_record_says(inside, capsys):
    words = ["--model", "mynet:Net", "--weights", "weights.pt", "--n", "50", "--attacks", "clean", "pgd20"]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main([*words, "--plain"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["attack", "class", "n", "accuracy", "low", "high"]
    assert len(rows) == 1 + 2 * (5 + 10)
    measures = record["attacks"]["pgd20"]["measures"]
    shown = {row[1]: float(row[3]) for row in rows if row[0] == "pgd20"}
    assert shown["(average)"] == pytest.approx(measures["average"]["value"], rel=1e-5)
    assert shown["3"] == pytest.approx(measures["classes"][3]["value"], rel=1e-5)


def test_search_in_bfloat16_counts_only_what_float32_confirms(inside, capsys):
    words = ["--model", "mynet:Net", "--weights", "weights.pt", "--eps", "16/255", "--attacks", "pgd20", "--json"]
    flags = []
    for search in ("float32", "bfloat16"):
        assert main([*words, "--search", search]) == 0
        flags.append(json.loads(capsys.readouterr().out)["attacks"]["pgd20"]["measures"]["average"]["value"])
    assert abs(flags[0] - flags[1]) <= 0.03


def test_where_an_error_came_from_can_be_seen(inside, monkeypatch):
    monkeypatch.setenv("LINFAIR_TRACEBACK", "1")
    with pytest.raises(EvaluationError):
        main(["--model", "mynet:seven"])


def test_the_list_names_every_attack(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(ATTACKS)


def test_interrupted(inside, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("linfair.evaluate.command.evaluate", stop)
    assert main(["--model", "mynet:Net", "--json"]) == 130
    assert "interrupted; nothing is kept without --out" in capsys.readouterr().err
    assert main(["--model", "mynet:Net", "--out", "a.json"]) == 130
    assert "interrupted; nothing is kept yet" in capsys.readouterr().err
    Path("a.json.partial").touch()
    assert main(["--model", "mynet:Net", "--out", "a.json"]) == 130
    assert "interrupted; the same command goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [80, 100])
def test_the_tables_fit_the_terminal(columns, inside, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = "--model mynet:Net --weights weights.pt --n 50 --attacks clean pgd20 cw20 l2 noise-1 jpeg-3 --out wide.json"
    assert main(words.split()) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns
