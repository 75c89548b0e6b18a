"""Weights on disk: they return bit for bit, and only into the network they belong to."""

import pickle

import pytest
import torch

from linfair.models import MODELS, build, load_weights, save_weights
from model_cases import Plain, trained


@pytest.mark.parametrize("name", MODELS)
def test_weights_return(name, tmp_path):
    model, other = trained(name, mean=[0.5] * 3), trained(name, seed=1, mean=[0.0] * 3)
    path = save_weights(model, tmp_path / "deep" / "w.pt", model=name, seed=3, history=[{"epoch": 0, "loss": 1.5}])
    assert load_weights(other, path) == {"model": name, "seed": 3, "history": [{"epoch": 0, "loss": 1.5}]}
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["w.pt"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model_state_dict": {f"module.{k}": v for k, v in w.items()}},
        lambda w: {"n_averaged": torch.tensor(7), **{f"module.{k}": v for k, v in w.items()}},
        lambda w: {"model": {f"module._orig_mod.{k}": v for k, v in w.items()}},
    ],
)
def test_checkpoints_of_other_projects(tmp_path, wrap):
    model, other = Plain(), Plain()
    torch.save(wrap(model.state_dict()), tmp_path / "w.pt")
    assert load_weights(other, tmp_path / "w.pt") == {}
    assert torch.equal(model.head.weight, other.head.weight)


@pytest.mark.parametrize(
    "saved, message",
    [
        (
            lambda: trained("resnet18"),
            r"also holds features\.2\.1\.first\.conv\.weight.* and 51 more and holds other shapes: head",
        ),
        (
            lambda: build("small_cnn", 7, width=8),
            r"holds other shapes: head\.weight \(7, 32\) for \(5, 32\), head\.bias",
        ),
        (lambda: build("small_cnn", 5), r"other shapes: features\.0\.conv\.weight \(32, 3, 3, 3\) for \(8, 3, 3, 3\)"),
        (lambda: trained("small_cnn", mean=[0.5] * 3), r"also holds normalise\.mean, normalise\.std; build"),
    ],
)
def test_the_wrong_checkpoint(tmp_path, saved, message):
    path = save_weights(saved(), tmp_path / "w.pt")
    model = trained("small_cnn")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_checkpoint_of_a_training_is_no_result(tmp_path):
    """It holds the last step's weights, neither the average nor the chosen epoch."""
    model = trained("linear")
    torch.save({"identity": {}, "counters": {}, "model": model.state_dict()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"got .*checkpoint\.pt, its checkpoint; pass model\.pt of that folder"):
        load_weights(model, tmp_path / "checkpoint.pt")


class Harmful:
    def __reduce__(self):
        return print, ("ran",)


def test_files_that_hold_no_weights(tmp_path, capsys):
    model, path = trained("linear"), tmp_path / "w.pt"
    with pytest.raises(ValueError, match=r"existing file, got .*w\.pt; check"):
        load_weights(model, path)
    whole = save_weights(model, path).read_bytes()
    for content in (whole[:-100], b"", b"text", pickle.dumps({"a": Harmful()})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="whole file of tensors"):
            load_weights(model, path)
    torch.save({"lr": 0.1}, path)
    with pytest.raises(ValueError, match="state dict of tensors"):
        load_weights(model, path)
    assert capsys.readouterr().out == ""


def test_only_plain_meta_data_is_saved(tmp_path):
    import numpy as np

    with pytest.raises(TypeError, match=r"meta\['history'\]\[0\]\['loss'\] must be a plain value.*got float64"):
        save_weights(trained("linear"), tmp_path / "w.pt", history=[{"loss": np.float64(1.0)}])
    assert not list(tmp_path.iterdir())
