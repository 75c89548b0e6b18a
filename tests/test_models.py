"""The networks and the copy attacks run on: every registered model, folded, is the model in evaluation mode."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from linfair.models import MODELS, attack_copy, build
from model_cases import Plain, norms, stir, trained
from waiting import synchronising_is_an_error

PARAMETERS = {
    "linear": 30_730,
    "small_cnn": 604_074,
    "resnet18": 11_173_962,
    "preact_resnet18": 11_172_170,
    "wrn28_10": 36_479_194,
    "wrn34_10": 46_160_474,
}
"""For ten classes of 3 x 32 x 32 images; of the larger nets, what the papers and their reference code count."""

SHAPES = [(1, 8, 8), (3, 32, 32), (3, 96, 96)]


def same(a, b, rounding=1e-5):
    assert (a - b).abs().max() <= rounding * b.abs().max()


def logits_and_gradient(model, x, y):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits.float(), y, reduction="sum"), x)
    return logits.detach(), gradient


@pytest.mark.parametrize("name", MODELS)
def test_parameter_counts(name):
    with torch.device("meta"):
        model = build(name, 10)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_shapes_training_and_gradients(name, shape):
    model = trained(name, shape)
    x = torch.rand(3, *shape, requires_grad=True)
    logits = model.train()(x)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_folded_copy_is_the_model_in_evaluation_mode(name, shape, channels_last):
    mean, std = ([0.4, 0.5, 0.6][: shape[0]], [0.2, 0.3, 0.25][: shape[0]])
    model = trained(name, shape, mean=mean, std=std).train()
    x, y = torch.rand(4, *shape), torch.tensor([0, 1, 2, 3])
    copy = attack_copy(model, channels_last=channels_last)
    assert norms(copy.net) == []
    logits, gradient = logits_and_gradient(copy, x, y)
    assert model.training, "the model itself is left alone"
    expected, expected_gradient = logits_and_gradient(model.eval(), x, y)
    same(logits, expected)
    same(gradient, expected_gradient, 1e-4)
    assert gradient.dtype == torch.float32


@pytest.mark.parametrize("name", MODELS)
def test_the_folded_copy_at_full_width(name):
    torch.manual_seed(1)
    model = stir(build(name, 10))
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        same(attack_copy(model)(x), model.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_refresh_follows_the_model_in_place(name):
    model = trained(name, mean=[0.5] * 3, std=[0.25] * 3)
    copy = attack_copy(model)
    x = torch.rand(2, 3, 32, 32)
    before = copy(x)
    memory = [t.data_ptr() for t in (*copy.net.parameters(), *copy.net.buffers())]
    model.load_state_dict(trained(name, seed=1, mean=[0.3] * 3, std=[0.5] * 3).state_dict())
    torch.testing.assert_close(copy(x), before, rtol=0, atol=0)
    copy.refresh()
    assert memory == [t.data_ptr() for t in (*copy.net.parameters(), *copy.net.buffers())]
    with torch.no_grad():
        same(copy(x), model.eval()(x))
    for norm in norms(model):
        nn.init.constant_(norm.running_var, 2.0)  # pyright: ignore[reportArgumentType]
    copy.refresh()
    with torch.no_grad():
        same(copy(x), model(x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_copies(name, layout):
    model = trained(name)
    x, y = torch.rand(8, 3, 32, 32).contiguous(memory_format=layout), torch.arange(8) % 5
    copy = attack_copy(model, dtype=torch.bfloat16)
    logits, gradient = logits_and_gradient(copy, x, y)
    expected, expected_gradient = logits_and_gradient(model.eval(), x, y)
    assert logits.dtype == gradient.dtype == torch.float32
    same(logits, expected, 0.03)
    assert F.cosine_similarity(gradient.flatten(), expected_gradient.flatten(), 0) > 0.95
    if name != "linear":
        assert {p.dtype for n, p in copy.net.named_parameters() if n.startswith("features")} == {torch.bfloat16}
        if layout == torch.channels_last:
            assert gradient.is_contiguous(memory_format=layout), "an attack in channels_last copies nothing"


def test_an_autocast_around_a_copy_changes_nothing():
    model, x = trained("small_cnn"), torch.rand(2, 3, 32, 32)
    for dtype in (torch.float32, torch.bfloat16):
        copy = attack_copy(model, dtype=dtype)
        expected = copy(x)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(copy(x), expected, rtol=0, atol=0)


def test_a_copy_never_touches_the_gradients_of_its_model():
    model = trained("small_cnn")
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    kept = deepcopy([(p.grad, p.requires_grad) for p in model.parameters()])
    statistics = deepcopy(list(model.buffers()))
    copy = attack_copy(model)
    logits_and_gradient(copy, torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    assert all(p.grad is None and not p.requires_grad for p in copy.net.parameters())
    torch.testing.assert_close([(p.grad, p.requires_grad) for p in model.parameters()], kept, rtol=0, atol=0)
    torch.testing.assert_close(list(model.buffers()), statistics, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_modules_from_outside_are_copied_as_they_are(dtype):
    torch.manual_seed(0)
    model = Plain()
    stir(model).train()
    copy = attack_copy(model, dtype=dtype)
    x, y = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    rounding = 1e-5 if dtype == torch.float32 else 0.05
    for _ in range(2):
        logits, gradient = logits_and_gradient(copy, x, y)
        expected, expected_gradient = logits_and_gradient(model.eval(), x, y)
        assert logits.dtype == gradient.dtype == torch.float32
        same(logits, expected, rounding)
        same(gradient, expected_gradient, 4 * rounding)
        with torch.no_grad():
            model.head.weight.neg_()
        nn.init.constant_(model.norm.running_mean, 0.5)  # pyright: ignore[reportArgumentType]
        assert (copy(x) - model(x)).abs().max() > rounding
        copy.refresh()


def test_a_copy_of_a_model_of_vectors():
    model, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), torch.rand(2, 6)
    with torch.no_grad():
        same(attack_copy(model)(x), model(x))


def test_what_cannot_be_copied():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got function"):
        attack_copy(lambda x: x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"dtype must be one of torch\.float32.*got torch\.int8"):
        attack_copy(trained("linear"), dtype=torch.int8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_copies_on_cuda(name):
    model = trained(name).cuda()
    x, y = torch.rand(4, 3, 32, 32, device="cuda"), torch.arange(4, device="cuda")
    expected, expected_gradient = logits_and_gradient(model.eval(), x, y)
    for dtype, rounding in ((torch.float32, 5e-3), (torch.bfloat16, 0.05)):
        copy = attack_copy(model, dtype=dtype)
        logits_and_gradient(copy, x, y)  # what the first call loads may wait
        with synchronising_is_an_error():
            copy.refresh()
            logits, gradient = logits_and_gradient(copy, x, y)
        same(logits, expected, rounding)
        assert F.cosine_similarity(gradient.flatten(), expected_gradient.flatten(), 0) > 0.95


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "vgg"}, "model must be one of linear, small_cnn.*got 'vgg'"),
        ({"n_classes": 1}, "n_classes must be at least 2, got 1"),
        ({"image_shape": (3, 4, 32)}, r"image_shape must be \(C, H, W\).*got \(3, 4, 32\)"),
        ({"image_shape": (32, 32)}, "image_shape must be"),
        ({"mean": [0.5]}, r"mean must have shape \(3\), got \(1,\)"),
        ({"std": [0.5, 0.0, 0.5]}, "std must be > 0, got 0"),
        ({"name": "linear", "width": 8}, "width must be None for the linear model, got 8"),
        ({"width": 0}, "width must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_built(change, message):
    with pytest.raises(ValueError, match=message):
        build(**({"name": "small_cnn", "n_classes": 10} | change))
