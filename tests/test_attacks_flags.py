"""robust_flags: every attack of the suite, confirmation, bad input."""

import copy

import numpy as np
import pytest
import torch

from attack_models import Linear, digits, flags, flags_of, gpu, predictions, small_net
from linfair.attacks import ATTACKS, Attack, corrupt, get_attack, pgd, robust_flags

PGD = [name for name, attack in ATTACKS.items() if attack.kind == "pgd"]
QUICK = [name for name, attack in ATTACKS.items() if attack.kind != "autoattack"]


@pytest.mark.parametrize("attack", QUICK)
def test_every_attack_gives_flags(attack):
    net, images, labels = digits()
    net.train()
    before = copy.deepcopy(net.state_dict())
    found = flags(attack)
    assert found.dtype == bool
    assert found.shape == (120,)
    clean = predictions(net, images[:120]) == labels[:120]
    if attack == "clean":
        assert np.array_equal(found, clean)
    elif ATTACKS[attack].kind == "pgd":
        assert not (found & ~clean).any()
        assert found.sum() < clean.sum()
    else:
        corrupted = corrupt(images[:120] / 16, **ATTACKS[attack].options)
        assert np.array_equal(found, predictions(net, 16 * corrupted) == labels[:120])
    assert np.array_equal(flags(attack), found), "the same seed, the same flags"
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_labels_beyond_the_logits_are_refused():
    net, images, labels = digits()
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.9, one for each logit, got 10; do they begin at 1"):
        robust_flags(net, images[:50], labels[:50] + 1, "clean", levels=16, progress=False)


def test_the_threats_are_what_their_names_say():
    assert ATTACKS["clean"].threat("linf", 0.1) is None
    assert ATTACKS["noise-1"].threat("linf", 0.1) is None
    assert ATTACKS["pgd20"].threat("l2", 0.1) == ("l2", 0.1)
    assert ATTACKS["l2"].threat("linf", 0.1) == ("l2", 0.5)
    assert ATTACKS["l1"].threat("linf", 0.1) == ("l1", 12.0)
    assert ATTACKS["linf12"].threat("l2", 0.1) == ("linf", 12 / 255)
    assert {"clean", "pgd20", "cw20", "apgd", "autoattack", "l2", "l1", "linf12"} < set(ATTACKS)
    assert all(get_attack(name) is attack and name == attack.name for name, attack in ATTACKS.items())
    assert len({attack.title for attack in ATTACKS.values()}) == len(ATTACKS)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_on_a_linear_model_the_flags_are_the_exact_ones(norm):
    """Two classes, no box in reach: robust iff the margin exceeds eps |w|_*."""
    model = Linear(features=64, scale=0.2)
    x = 0.4 + 0.2 * torch.rand(300, 64, generator=torch.Generator().manual_seed(0))
    w = (model.weight[1] - model.weight[0]).detach()
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    with torch.no_grad():
        model.bias[1] = -(x @ w).median()
    margin = x @ w + model.bias[1].detach()
    y = (margin > 0).long()
    eps = float(margin.abs().median() / dual)
    found = robust_flags(model, x, y, "pgd20", eps=eps, norm=norm, progress=False)
    exact = (margin.abs() > eps * dual).numpy()
    clear = (margin.abs() / (eps * dual) - 1).abs() > (0.1 if norm == "l1" else 1e-3)
    assert np.array_equal(found[clear], exact[clear])
    assert not (found < exact).any(), "what is provably robust cannot be broken"
    assert 50 < found.sum() < 250


def test_images_of_any_kind_give_the_same_flags():
    net, images, labels = digits()
    wanted = flags("pgd20")
    x = images[:120] / np.float32(16)
    for given in (x, torch.from_numpy(x), x.astype(np.float64)):
        assert np.array_equal(flags_of(net, given, labels[:120]), wanted)
    assert np.array_equal(flags_of(net, torch.from_numpy(images[:120]), torch.from_numpy(labels[:120])), wanted)


@pytest.mark.parametrize("attack", PGD)
def test_the_cheap_copy_searches_and_the_model_confirms(attack):
    net, images, labels = digits()
    copied = copy.deepcopy(net).bfloat16().eval()

    def half(x):
        return copied(x.bfloat16()).float()

    exact, searched = flags(attack), flags(attack, search_model=half)
    assert np.mean(exact != searched) <= 0.05
    clean = predictions(net, images[:120]) == labels[:120]
    assert not (searched & ~clean).any()


def test_a_copy_that_errs_does_not_break_anything_by_itself():
    def wrong(x):
        return torch.stack([x.flatten(1).sum(1), *([torch.zeros(len(x))] * 9)], 1)

    clean, searched = flags("clean"), flags("pgd20", search_model=wrong)
    assert searched.sum() > 0.8 * clean.sum() > flags("pgd20").sum()


def nan_gradient(x):
    """sqrt(0) has an infinite derivative, and 0 * inf is NaN."""
    return x.flatten(1)[:, :10] + 0 * torch.sqrt(0 * x).sum((1, 2, 3))[:, None]


def test_nan_is_said():
    net, images, _ = digits()
    bad = copy.deepcopy(net)
    with torch.no_grad():
        bad[0].weight[0, 0, 0, 0] = torch.nan
    for attack in ("clean", "pgd20", "noise-1"):
        with pytest.raises(ValueError, match="logits must be numbers, got NaN for"):
            flags(attack, model=bad)
    labels = (images[:20] / np.float32(16)).reshape(20, -1)[:, :10].argmax(1)
    with pytest.raises(ValueError, match=r"gradient must be a number|logits must be numbers"):
        flags_of(nan_gradient, images[:20], labels)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"attack": "fgsm"}, "attack must be one of clean, pgd20"),
        ({"images": np.zeros((2, 1, 8, 8), np.int64)}, "images must be uint8 or floats"),
        ({"images": np.full((2, 1, 8, 8), 2.0)}, r"images must lie in \[0, 1\]"),
        ({"images": np.full((2, 1, 8, 8), 200, np.uint8)}, r"images must lie in \[0, 16\]"),
        ({"images": np.full((2, 1, 8, 8), np.nan)}, r"images must lie in \[0, 1\]"),
        ({"labels": np.zeros(3, int)}, "labels must have shape"),
        ({"labels": np.array([0, -1])}, "labels must lie in"),
        ({"eps": "8//255"}, "eps must be a number or a ratio"),
        ({"norm": "l7"}, "norm"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_wrong_arguments(options, message):
    given = {"images": np.zeros((2, 1, 8, 8), np.uint8), "labels": np.zeros(2, int), "attack": "clean"} | options
    with pytest.raises((TypeError, ValueError), match=message):
        robust_flags(small_net(), levels=16, progress=False, **given)


def test_out_of_memory_says_what_to_try():
    def full(x):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(MemoryError, match="batch_size must fit the memory of cpu, got 64 images; pass 32"):
        flags("clean", model=full, batch_size=64)


def test_nothing_correct_is_all_false():
    net, images, _labels = digits()
    wrong = (predictions(net, images[:40]) + 1) % 10
    assert not flags_of(net, images[:40], wrong).any()
    assert not flags_of(net, images[:40], wrong, "apgd").any()


def test_an_attack_of_ones_own():
    weak = Attack("mine", "PGD-1", "pgd", eps=0.01, options={"steps": 1, "step": 1.0, "loss": "ce"})
    assert flags(weak).sum() > flags("pgd20").sum()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
@pytest.mark.parametrize("attack", ["clean", "pgd20", "cw20", "l2", "l1", "noise-2", "jpeg-2"])
def test_images_may_stay_on_the_host(device, attack):
    net, _images, _labels = digits()
    wanted = flags(attack)
    found = flags(attack, model=copy.deepcopy(net).to(device))
    assert np.mean(found != wanted) < 0.05


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_an_attack_is_one_graph(device):
    """The whole attack captures into a CUDA graph and replays on other images."""
    net = small_net().to(device).eval()
    x = torch.rand(16, 1, 8, 8, device=device)
    y = torch.arange(16, device=device) % 10
    options = {"eps": 0.05, "step": 0.02, "steps": 3, "start": "none"}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        pgd(net, x, y, **options)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = pgd(net, x, y, **options)
    x.copy_(torch.rand_like(x))
    graph.replay()
    torch.testing.assert_close(made, pgd(net, x, y, **options))
