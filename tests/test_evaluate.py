"""`linfair evaluate` from outside the package, and the function behind it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from linfair.attacks import ATTACKS, robust_flags
from linfair.data import DataError, load_digits
from linfair.evaluate import Evaluation, EvaluationError, evaluate, main, select
from linfair.evaluate.run import entry

DIGITS = load_digits()
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
def aside(x): return x.detach().flatten(1)[:, :10] * constant
def stepped(x): return (x + 0 * torch.sgn(x)).flatten(1)[:, :10].to(torch.int32).float() * constant
def writes(x): return x.sub_(0.1).flatten(1)[:, :10]
def likely(x): return x.flatten(1)[:, :10].softmax(1)
def elsewhere(x): raise RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cpu!")
def deaf(x): return x.detach().flatten(1)[:, :10]
def on_gpu(x): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\\n See documentation")
def on_cpu(x): return torch.empty(1 << 60)
"""


def nearest_mean() -> nn.Linear:
    """The classifier of the nearest class mean as one linear layer: right on about nine digits in ten."""
    x, y = DIGITS.train()
    means = np.stack([x[y == k].mean(0) for k in range(10)])
    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(means))
        layer.bias.copy_(torch.from_numpy(-(means**2).sum(1) / 2))
    return layer


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nearest_mean())


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


def test_the_flags_are_those_of_the_attack():
    found = evaluate(net(), DIGITS, attacks=("clean", "pgd20", "cw20"), n=50, progress=False)
    x, y = DIGITS.test()
    logits = x @ nearest_mean().weight.detach().numpy().T + nearest_mean().bias.detach().numpy()
    np.testing.assert_array_equal(found.flags["clean"], (logits.argmax(1) == y)[found.index])
    pixels = DIGITS.test_images[found.index]
    for name in ("pgd20", "cw20"):
        direct = robust_flags(net(), pixels, found.labels, name, levels=16, progress=False)
        np.testing.assert_array_equal(found.flags[name], direct)
        assert not (found.flags[name] & ~found.flags["clean"]).any()
    np.testing.assert_array_equal(found.labels, DIGITS.test_labels[found.index])


def test_the_record_says_what_was_done():
    record = evaluate(net(), DIGITS, attacks=["pgd20", "l2", "noise-1"], n=50, eps="4/255", progress=False).record()
    assert record["data"]["fingerprint"] == DIGITS.fingerprint
    assert record["threat"] == {"norm": "linf", "eps": "4/255", "radius": pytest.approx(4 / 255)}
    attacks = record["attacks"]
    assert (attacks["pgd20"]["norm"], attacks["pgd20"]["eps"]) == ("linf", "4/255")
    assert (attacks["l2"]["norm"], attacks["l2"]["eps"], attacks["l2"]["radius"]) == ("l2", "0.5", 0.5)
    assert (attacks["noise-1"]["norm"], attacks["noise-1"]["eps"]) == (None, None)
    assert record["environment"]["versions"]["torch"] == torch.__version__
    assert record["model"]["parameters"] == 650
    assert attacks["pgd20"]["options"] == {"steps": 20, "step": 0.25, "loss": "ce", "restarts": 1}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_its_entry(name):
    about = entry(name, "l2", "8/255")
    assert about["title"]
    assert (about["norm"] is None) == (about["eps"] is None) == (about["radius"] is None)
    assert ATTACKS[name].norm in (None, about["norm"])


def test_the_model_comes_back_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nearest_mean()).train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, DIGITS, n=50, progress=False)
    assert [m.training for m in (model, *model)] == [True, True, False, True]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_arrays_and_tensors_are_data_too():
    x, y = (DIGITS.test_images / 16)[:100].astype(np.float32), DIGITS.test_labels[:100]
    found = evaluate(net(), (torch.from_numpy(x), torch.from_numpy(y)), attacks=["clean"], progress=False)
    whole = evaluate(net(), DIGITS, attacks=["clean"], progress=False)
    np.testing.assert_array_equal(found.flags["clean"], whole.flags["clean"][:100])
    assert found.data["part"] == "given"


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((20, 64), np.uint8), np.arange(20) % 10, "images must have shape"),
        (np.zeros((19, 1, 8, 8), np.uint8), np.arange(20) % 10, "images must have shape"),
        (np.zeros((20, 1, 8, 8), np.int64), np.arange(20) % 10, "images must be uint8 or float, got int64"),
        (np.full((20, 1, 8, 8), 16.0), np.arange(20) % 10, r"must lie in \[0, 1\], got 16..16; normalise inside"),
        (np.full((20, 1, 8, 8), np.nan), np.arange(20) % 10, r"must lie in \[0, 1\], got nan"),
        (np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 10 - 1, r"labels must lie in 0\.\.8, got -1\.\.8"),
        (np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 5 * 2, "got none of 1"),
        (np.zeros((20, 1, 8, 8), np.uint8), np.ones(20), "labels must be whole numbers"),
    ],
)
def test_arrays_that_are_no_images(pixels, labels, message):
    with pytest.raises(DataError, match=message):
        select((pixels, labels))


def test_labels_beyond_the_named_classes():
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.1, got 0\.\.2"):
        select((np.zeros((3, 1, 8, 8), np.uint8), np.arange(3)), class_names=["a", "b"])


def test_one_image_with_nan_logits_is_named():
    def model(x):
        return torch.where(x.flatten(1)[:, :10] > 0.99, torch.nan, x.flatten(1)[:, :10])

    x = np.zeros((20, 1, 8, 8), np.float32)
    x[13, 0, 0, 3] = 1.0
    with pytest.raises(EvaluationError, match="got NaN for 1 images, the first 13"):
        evaluate(model, (x, np.arange(20) % 10), attacks=["clean"], batch_size=8, progress=False)


def test_a_killed_evaluation_goes_on(tmp_path, monkeypatch):
    """Stopped in the second attack, started again: the first is not computed again, the flags are the same."""
    import linfair.evaluate.run as run

    state, real = tmp_path / "state", run.robust_flags

    def stops(model, images, labels, name, **options):
        if name == "cw20":
            raise KeyboardInterrupt
        return real(model, images, labels, name, **options)

    options = {"attacks": ["pgd20", "cw20"], "n": 50, "batch_size": 20, "progress": False}
    model = net()
    monkeypatch.setattr(run, "robust_flags", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, DIGITS, state=state, **options)
    kept = state.read_bytes()
    monkeypatch.setattr(run, "robust_flags", real)
    found = evaluate(model, DIGITS, state=state, **options)
    assert state.read_bytes().startswith(kept)
    whole = evaluate(model, DIGITS, **options)
    for name in ("pgd20", "cw20"):
        np.testing.assert_array_equal(found.flags[name], whole.flags[name])


# --- the command -----------------------------------------------------------------------------------------------------


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


def test_autoattack_of_three_classes_is_refused_before_the_work():
    few = DIGITS.test_images[DIGITS.test_labels < 3], DIGITS.test_labels[DIGITS.test_labels < 3]
    with pytest.raises(ValueError, match=r"at least 4 classes, got 3|pip install"):
        evaluate(lambda x: pytest.fail("the work began"), few, attacks=["autoattack"], progress=False)


def test_out_is_proved_before_the_work(inside, monkeypatch, capsys):
    def never(*arguments, **options):
        raise AssertionError("the work began")

    monkeypatch.setattr("linfair.evaluate.command.evaluate", never)
    assert main(["--model", "mynet:Net", "--out", "mynet.py/a.json"]) == 2
    assert "--out" in capsys.readouterr().err


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
    assert main(["--model", "mynet:Net"]) == 130
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


def test_probabilities_will_do_where_nothing_is_attacked():
    model = nn.Sequential(net(), nn.Softmax(1))
    found = evaluate(model, DIGITS, attacks=["clean", "noise-1"], n=50, progress=False)
    assert found.flags["clean"].mean() > 0.8
    with pytest.raises(EvaluationError, match="got probabilities"):
        evaluate(model, DIGITS, n=50, progress=False)
    evaluate(nn.Sequential(net(), nn.LogSoftmax(1)), DIGITS, n=50, progress=False)


def test_a_model_that_writes_into_its_images_changes_no_data():
    images = select(DIGITS, n=50)
    before = images.pixels.copy()
    evaluate(lambda x: x.sub_(0.5).flatten(1)[:, :10], images, attacks=["clean", "noise-1"], progress=False)
    np.testing.assert_array_equal(images.pixels, before)


def test_float32_is_float32_for_every_answer():
    seen, cudnn = set(), cast(Any, torch.backends.cudnn)

    class Watched(nn.Flatten):
        def forward(self, x):
            seen.add(cudnn.conv.fp32_precision)
            return super().forward(x)[:, :10]

    evaluate(Watched(), DIGITS, attacks=["clean"], n=50, progress=False)
    assert seen == {"ieee"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_flags_are_nearly_those_of_the_cpu():
    here, there = (evaluate(net(), DIGITS, device=device, progress=False) for device in ("cpu", "cuda"))
    assert (here.flags["pgd20"] != there.flags["pgd20"]).mean() < 0.02
    assert there.config["device"] == "cuda"
    assert there.environment["device"] == torch.cuda.get_device_name()
