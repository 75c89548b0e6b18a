"""The model a user names: modules, classes, factories, functions, our own networks, and every way to get it wrong."""

import hashlib
import sys

import numpy as np
import pytest
import torch

from linfair.evaluate import EvaluationError, Plugged, plug
from linfair.models import build, save_weights

SHAPE = (1, 8, 8)
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.fc = nn.Linear(64, 10, bias)
    def forward(self, x):
        return self.fc(x.flatten(1))

class Zoo:
    @staticmethod
    def small():
        return Net(bias=False)

class Wants(nn.Module):
    def __init__(self, width): ...

def make(): return Net()
def images_to_logits(x): return x.flatten(1)[:, :10]
def fails(): raise KeyError("gone")
def gives(): return 3
ready = Net()
number = 3
"""


@pytest.fixture(autouse=True)
def mynet(tmp_path, monkeypatch):
    """A folder of the user's own, with mynet.py in it."""
    (tmp_path / "mynet.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needs.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("mynet", "broken", "needs"):
        sys.modules.pop(name, None)


def plugged(name, weights=None) -> Plugged:
    return plug(name, weights, 10, SHAPE)


@pytest.mark.parametrize("name", ["mynet:Net", "mynet:make", "mynet:ready", "mynet:Zoo.small"])
def test_a_module_comes_from_a_class_a_factory_or_an_instance(name):
    model = plugged(name).model
    assert isinstance(model, torch.nn.Module)
    assert model(torch.rand(2, *SHAPE)).shape == (2, 10)


def test_a_function_of_images_is_left_alone():
    model = plugged("mynet:images_to_logits")
    assert model.model(torch.ones(2, *SHAPE)).tolist() == [[1.0] * 10] * 2
    assert model.about() == {"name": "mynet:images_to_logits", "parameters": None, "weights": None, "state": None}


def test_weights_are_loaded_and_hashed(mynet):
    torch.manual_seed(1)
    weight, bias = torch.rand(10, 64), torch.rand(10)
    torch.save({"fc.weight": weight, "fc.bias": bias}, "w.pt")
    made = plugged("mynet:Net", "w.pt")
    torch.testing.assert_close(made.model(torch.ones(1, *SHAPE)), (weight.sum(1) + bias)[None])
    about = made.about()
    assert about["weights"] == {"file": "w.pt", "sha256": hashlib.sha256((mynet / "w.pt").read_bytes()).hexdigest()}
    assert about["parameters"] == 650


def test_the_state_tells_models_apart():
    first, second = plugged("mynet:Net"), plugged("mynet:Net")
    assert first.about()["state"] != second.about()["state"]  # two random starts
    second.model.load_state_dict(first.model.state_dict())
    assert first.about()["state"] == second.about()["state"]


@pytest.mark.parametrize("options", [{}, {"width": 8}, {"mean": [0.3], "std": [0.2]}, {"width": 16, "mean": [0.5]}])
def test_our_own_networks_are_rebuilt_from_their_weights(options, tmp_path):
    net = build("small_cnn", 10, SHAPE, **options).eval()
    save_weights(net, tmp_path / "w.pt")
    back = plugged("small_cnn", tmp_path / "w.pt").model.eval()
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(back(x), net(x), rtol=0, atol=0)


def state_of(n_classes=10):
    return {"fc.weight": torch.ones(n_classes, 64), "fc.bias": torch.ones(n_classes)}


def saved(content, name="w.pt"):
    torch.save(content, name)
    return name


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("nowhere:Net", None, "got no module 'nowhere' in "),
        ("mynet:Nett", None, "got no 'Nett' in mynet, which has Net, Zoo, Wants, make, images_to_logits"),
        ("mynet", None, "must be module:callable or one of linear, small_cnn"),
        (":Net", None, "must be module:callable, got ':Net'"),
        ("mynet:", None, "must be module:callable, got 'mynet:'"),
        ("broken:f", None, "got SyntaxError: "),
        ("needs:f", None, "got ModuleNotFoundError: No module named 'no_such_package' while importing it"),
        ("mynet:number", None, "got int"),
        ("mynet:Wants", None, "got a class that needs width"),
        ("mynet:fails", None, "got KeyError: 'gone' when called"),
        ("mynet:gives", None, "must return a model, got int"),
        ("small_cnn", None, "--model small_cnn needs --weights, got none"),
        ("mynet:images_to_logits", "w.pt", "--weights are for a torch module, got mynet:images_to_logits"),
    ],
)
def test_mistakes_are_named_in_one_line(name, weights, message):
    with pytest.raises(EvaluationError) as caught:
        plugged(name, weights)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "nowhere.pt", "got nowhere.pt"),
        (lambda: saved(torch.nn.Linear(2, 2)), "save the state dict"),
        (lambda: saved({"fc.weight": torch.ones(10, 64)}), "lacks fc.bias"),
        (
            lambda: saved({"fc.weight": torch.ones(10, 64), "fc.bias": torch.ones(10), "a": torch.ones(1)}),
            "also holds a",
        ),
        (lambda: saved(state_of(7)), "fc.weight (7, 64) for (10, 64)"),
    ],
    ids=["missing", "a pickled module", "lacking", "too many", "another shape"],
)
def test_weights_that_cannot_be_used(make, message):
    with pytest.raises(ValueError) as caught:
        plugged("mynet:Net", make())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_checkpoint():
    np.save("w.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"w\.npy"):
        plugged("mynet:Net", "w.npy")
