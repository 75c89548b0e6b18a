"""`evaluate`, the function: its flags, its record, what it resumes and what it refuses."""

import warnings
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from evaluate_cases import DIGITS, nearest_mean, net
from linfair.attacks import ATTACKS, robust_flags
from linfair.data import DataError
from linfair.evaluate import EvaluationError, evaluate, select
from linfair.evaluate.run import entry

PIXELS, CLASSES = np.zeros((3, 1, 8, 8), np.uint8), np.arange(3)


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


def test_a_number_beside_selected_images_is_refused():
    with pytest.raises(ValueError, match="n must be None for images that were selected, got 50; pass it to select"):
        evaluate(net(), select(DIGITS, n=50), n=50, progress=False)


def test_labels_beyond_the_named_classes():
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.1, got 0\.\.2"):
        select((np.zeros((3, 1, 8, 8), np.uint8), np.arange(3)), class_names=["a", "b"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digits", r"data must be a Dataset or \(images, labels\), got str"),
        ((PIXELS, CLASSES, CLASSES), r"data must be a Dataset or \(images, labels\), got 3 parts"),
    ],
)
def test_what_is_no_pair_of_arrays(data, message):
    with pytest.raises(DataError, match=message):
        select(data)


def test_class_names_are_text_and_differ():
    images = select((PIXELS, CLASSES), class_names=[7, 8, 9])  # pyright: ignore[reportArgumentType]
    assert images.about["class_names"] == ["7", "8", "9"]
    with pytest.raises(DataError, match="class_names must differ, got a, b, a"):
        select((PIXELS, CLASSES), class_names=["a", "b", "a"])


def test_half_precision_images_are_images():
    half = torch.from_numpy(PIXELS / 255.0).bfloat16()
    assert select((half, CLASSES)).pixels.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": -1}, ValueError, "batch_size must be at least 1, got -1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"attacks": "clean"}, ValueError, r"attacks must be a list of names, got 'clean'; pass \['clean'\]"),
        ({"attacks": ["PGD20"]}, ValueError, "did you mean pgd20"),
        ({"device": "meta"}, ValueError, "device must be usable here, got 'meta'"),
    ],
)
def test_questions_that_cannot_be_asked(changes, error, message):
    model = net()
    with pytest.raises(error, match=message):
        evaluate(model, DIGITS, **({"attacks": ["clean"], "progress": False} | changes))
    assert next(model.parameters()).device.type == "cpu"


def test_a_sigmoid_brings_a_warning_where_gradients_are_needed():
    model = net()
    with pytest.warns(UserWarning, match=r"got numbers in \[0, 1\] only; .* leave out the sigmoid"):
        evaluate(lambda x: model(x).sigmoid(), DIGITS, n=20, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(lambda x: model(x).sigmoid(), DIGITS, n=20, attacks=["clean"], progress=False)
        evaluate(model, DIGITS, n=20, progress=False)


def test_a_record_makes_its_folder(tmp_path):
    found = evaluate(net(), DIGITS, n=20, attacks=["clean"], progress=False)
    assert found.save(tmp_path / "new" / "a.json").is_file()


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


def test_autoattack_of_three_classes_is_refused_before_the_work():
    few = DIGITS.test_images[DIGITS.test_labels < 3], DIGITS.test_labels[DIGITS.test_labels < 3]
    with pytest.raises(ValueError, match=r"at least 4 classes, got 3|pip install"):
        evaluate(lambda x: pytest.fail("the work began"), few, attacks=["autoattack"], progress=False)


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
