"""pgd and its model: nothing is left behind, precision, the active set, no waiting for the device."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from attack_models import RADII, Watch, batch, distance, generator, gpu, right, run, small_net
from linfair.attacks import PerClass, misclassified, pgd
from waiting import synchronising_is_an_error


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(mode, fails):
    x, y = batch()
    net = small_net().train()
    net[1].eval()  # frozen statistics inside a model in training
    net[0].weight.requires_grad_(False)
    net[6].weight.grad = torch.ones_like(net[6].weight)
    before = copy.deepcopy(net.state_dict())
    flags = {name: m.training for name, m in net.named_modules()}
    wants = {name: p.requires_grad for name, p in net.named_parameters()}

    def broken(logits, y):
        assert net[2].training == (mode == "train")
        if fails:
            raise RuntimeError("stop here")
        return nn.functional.cross_entropy(logits, y, reduction="none")

    if fails:
        with pytest.raises(RuntimeError, match="stop here"):
            run(net, x, y, mode=mode, loss=broken)
    else:
        run(net, x, y, mode=mode, loss=broken)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert {name: m.training for name, m in net.named_modules()} == flags
    assert {name: p.requires_grad for name, p in net.named_parameters()} == wants
    assert all(p.grad is None for name, p in net.named_parameters() if name != "6.weight")
    assert torch.equal(net[6].weight.grad, torch.ones_like(net[6].weight))


def test_training_mode_sees_batch_statistics():
    x, y = batch()
    net = small_net()
    net[5].p = 0.0
    assert not torch.equal(run(net, x, y, mode="train"), run(net, x, y))


def test_the_caller_may_record_no_gradients():
    x, y = batch()
    net = small_net()
    expected = run(net, x, y)
    with torch.no_grad():
        inside = run(net, x, y)
    assert torch.equal(inside, expected)
    assert not inside.requires_grad
    leaf = x.clone().requires_grad_()
    assert torch.equal(run(net, leaf, y), expected)
    assert leaf.grad is None


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("confirmed", [False, True])
def test_the_active_set_gives_the_same_flags(restarts, confirmed):
    """It drops a sample at its first misclassified iterate; without it, the same iterates are all looked at."""
    x, _ = batch(200, dtype=torch.float64)
    net = small_net().double().eval()
    y = net(x).argmax(1)
    draw = generator(5)
    options = {"eps": 0.02, "step": 0.01}
    broken = torch.zeros(len(x), dtype=torch.bool)
    for _ in range(restarts):
        watch = Watch(net)
        final = run(watch, x, y, generator=draw, **options)
        for seen in [*watch.seen, final]:
            broken |= ~right(net, seen, y)
    watch = Watch(net)
    options |= {"confirm": net} if confirmed else {}
    kept = run(watch, x, y, generator=generator(5), restarts=restarts, active_set=True, **options)
    assert torch.equal(right(net, kept, y), ~broken)
    assert 10 < broken.sum() < 190
    assert (distance(kept, x, "linf") <= 0.02 + 1e-9).all()
    assert sum(map(len, watch.seen)) < 200 * 6 * restarts, "nothing was dropped"


def test_half_precision_passes_keep_float_images():
    x, y = batch()
    net = small_net()
    final = run(net, x, y, autocast=torch.bfloat16)
    exact = run(net, x, y)
    assert final.dtype == torch.float32
    assert (final == exact).float().mean() > 0.5
    assert not torch.equal(final, exact), "the forward passes ran in float32"
    half = copy.deepcopy(net).bfloat16()
    cast = run(lambda images: half.eval()(images.bfloat16()), x, y)
    assert cast.dtype == torch.float32
    assert (distance(cast, x, "linf") <= RADII["linf"] + 1e-6).all()


def test_confirm_alone_decides():
    """A copy that holds everything broken drops nothing; one that finds breaks gets them only where both agree."""
    x, _ = batch(100, dtype=torch.float64)
    net = small_net().double().eval()
    y = net(x).argmax(1)
    options = {"eps": 0.02, "step": 0.01, "start": "none", "active_set": True}
    alone = right(net, run(net, x, y, **options), y)

    asked = Watch(net)
    kept = run(lambda images: net(images).roll(1, 1), x, y, confirm=asked, **options)
    assert right(net, kept, y).sum() > alone.sum(), "it climbs another model's loss"
    assert len(asked.seen[0]) == 100, "what the copy gets wrong is looked at again"
    assert torch.equal(right(net, run(net, x, y, confirm=net, **options), y), alone)


def test_nan_is_never_robust():
    logits = torch.tensor([[torch.nan, 0.0], [1.0, 0.0], [torch.nan, torch.nan]])
    assert misclassified(logits, torch.zeros(3, dtype=torch.int64)).tolist() == [True, False, True]
    x, y = batch(4)
    final = run(lambda images: (images * torch.nan).flatten(1)[:, :10], x, y)
    assert final.isnan().all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
def test_nothing_waits_for_the_device(device):
    x, y = (t.to(device) for t in batch())
    net = small_net().to(device)
    eps = PerClass(torch.full((10,), 0.05, device=device))
    prior = torch.ones(10, 10, device=device)
    draw = generator(0, device)
    if device == "cuda":
        pgd(net, x, y, eps=eps, step=eps, steps=1)  # what the first call sets up may wait
    with synchronising_is_an_error() if device == "cuda" else nullcontext():
        options = {"eps": eps, "step": eps, "steps": 3, "generator": draw}
        pgd(net, x, y, **options)
        pgd(net, x, y, target_prior=prior, restarts=2, **options)
        _, survived = pgd(net, x, y, return_survived=True, **options)
    assert survived.device == x.device
