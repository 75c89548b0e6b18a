"""The parts of the loop, each against its definition: batches, schedule, average, weight perturbation, config."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from linfair.train.awp import perturbed
from linfair.train.batches import CHUNK, PADDING, Batches, Images, augmented, channel_moments, counter_seed
from linfair.train.config import TrainConfig
from linfair.train.ema import EMA
from linfair.train.schedule import learning_rate

# --- batches ---------------------------------------------------------------------------------------------------------


def images(n=37, channels=3, size=8, levels=255, seed=0, channels_last=True) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, levels + 1, (n, channels, size, size + 1), dtype=np.uint8)
    return Images.of(pixels, np.arange(n), levels, torch.device("cpu"), channels_last)


@pytest.mark.parametrize("n", [5, CHUNK + 3])
def test_augmentation_is_pad_crop_mirror(n):
    source = images(n=40)
    rng = np.random.default_rng(1)
    order = rng.integers(0, 40, n)
    draws = rng.integers(0, [9, 9, 2], (n, 3))
    wide = ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING))
    padded = np.pad(source.images.numpy(), wide)
    got = augmented(
        torch.from_numpy(padded).permute(0, 2, 3, 1).contiguous(), torch.from_numpy(order), torch.from_numpy(draws)
    )
    for k in (0, 1, 2, n // 2, n - 1):
        i, (row, column, mirror) = order[k], draws[k]
        crop = padded[i, :, row : row + 8, column : column + 9]
        np.testing.assert_array_equal(got[k].permute(2, 0, 1), crop[:, :, ::-1] if mirror else crop)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("augment", [True, False])
def test_an_epoch_is_whole_batches_of_a_permutation(augment, channels_last):
    source = images(channels_last=channels_last)
    batches = Batches(source, 8, seed=3, augment=augment)
    assert batches.steps == 4
    batches.start(0)
    seen = [batches.batch(step) for step in range(batches.steps)]
    labels = torch.cat([y for _, y in seen])
    assert len(labels.unique()) == 32
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for x, y in seen:
        assert x.shape == (8, 3, 8, 9)
        assert x.dtype == torch.float32
        assert x.is_contiguous(memory_format=layout)
        if not augment:
            assert torch.equal(x, source.images[y] / 255)
    assert augment != torch.equal(seen[0][0], source.images[seen[0][1]] / 255)


def test_epochs_depend_on_counters_only():
    def epoch(seed, number, first=None):
        batches = Batches(images(), 8, seed=seed)
        if first is not None:
            batches.start(first)
        batches.start(number)
        return batches.batch(2)

    x, y = epoch(0, 5)
    again, same = epoch(0, 5, first=4)
    assert torch.equal(x, again)
    assert torch.equal(y, same)
    for other in (epoch(0, 6), epoch(1, 5)):
        assert not torch.equal(y, other[1])


def test_a_small_part_is_one_batch():
    batches = Batches(images(n=5), 64)
    batches.start(0)
    assert (batches.steps, batches.batch_size) == (1, 5)
    assert sorted(batches.batch(0)[1].tolist()) == [0, 1, 2, 3, 4]


def test_counter_seeds_differ():
    seeds = {counter_seed(a, b, c) for a in range(3) for b in range(20) for c in range(20)}
    assert len(seeds) == 1200
    assert counter_seed(1, 2, 3) == counter_seed(1, 2, 3)


@pytest.mark.parametrize("levels", [16, 255])
def test_channel_moments(levels):
    pixels = images(n=20, levels=levels).images.numpy().copy()
    pixels[:, 2] = 3  # a constant channel keeps its scale
    mean, std = channel_moments(pixels, levels)
    exact = pixels / levels
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)))
    np.testing.assert_allclose(std[:2], exact.std((0, 2, 3))[:2])
    assert std[2] == 1.0


# --- schedule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [4, 10, 37, 200])
def test_one_cycle_is_that_of_torch(total):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=total, cycle_momentum=False)
    for step in range(total):
        assert learning_rate("one_cycle", step, total, peak=0.4) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step + 1 < total:
            scheduler.step()


def test_other_schedules_and_the_shortest_runs():
    got = [learning_rate("step", step, 8, peak=1.0, milestones=(0.5, 0.75)) for step in range(8)]
    assert got == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert learning_rate("constant", 5, 8, peak=0.3) == 0.3
    assert learning_rate("one_cycle", 0, 1, peak=0.3) == 0.3
    for total in (2, 3):
        assert all(0 < learning_rate("one_cycle", step, total, peak=0.3) <= 0.3 for step in range(total))


# --- average and weight perturbation ---------------------------------------------------------------------------------


def small_net(seed=0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3))


def grad(p: torch.Tensor) -> torch.Tensor:
    assert p.grad is not None
    return p.grad


def step_of(model: nn.Module, seed: int) -> None:
    x = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    F.cross_entropy(model(x), torch.arange(6) % 3).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.5 * grad(p)


def test_ema_averages_every_entry():
    model = small_net()
    ema = EMA(model, 0.6)
    want = {k: v.clone().double() for k, v in model.state_dict().items()}
    for step in range(20):
        step_of(model, step)
        ema.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        for k, v in model.state_dict().items():
            want[k] = decay * want[k] + (1 - decay) * v if v.is_floating_point() else v.clone().double()
    got = ema.model.state_dict()
    assert decay == 0.6
    assert "1.running_var" in got
    for k, v in got.items():
        torch.testing.assert_close(v.double(), want[k], rtol=1e-5, atol=1e-7)
    assert got["1.num_batches_tracked"] == 20
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert model.training


def test_ema_counts_a_shared_tensor_once():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    ema = EMA(nn.Sequential(first, second), 0.9)
    before = first.weight.detach().clone()
    with torch.no_grad():
        first.weight += 1.0
    ema.update(10**6)
    torch.testing.assert_close(ema.model.state_dict()["0.weight"], before + 0.1)


def test_awp_perturbs_layer_by_layer_and_restores():
    model, gamma = small_net(), 0.05
    x, y = torch.randn(6, 1, 5, 5), torch.arange(6) % 3
    before = copy.deepcopy(model)
    F.cross_entropy(model(x), y).backward()
    buffers = {k: v.clone() for k, v in model.named_buffers()}
    grads = {k: grad(p).clone() for k, p in model.named_parameters()}
    loss = F.cross_entropy(before(x), y)
    with perturbed(model, gamma):
        for (name, p), old in zip(model.named_parameters(), before.parameters(), strict=True):
            g = grads[name]
            moved = old + gamma * old.norm() * g / g.norm() if p.ndim > 1 else old
            torch.testing.assert_close(p, moved)
            assert p.grad is None
        worse = F.cross_entropy(model(x), y)
        worse.backward()
        gradient_there = {k: grad(p).clone() for k, p in model.named_parameters()}
    assert worse > loss
    for (name, p), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(p, old)
        assert torch.equal(grad(p), gradient_there[name])
        assert not torch.equal(grad(p), grads[name])
    for name, b in model.named_buffers():
        if b.is_floating_point():
            assert torch.equal(b, buffers[name])
    assert model.get_submodule("1").momentum == 0.1


@pytest.mark.parametrize("size", [1e-30, 1e-24, 1e20])
def test_awp_has_the_same_length_for_every_size_of_the_gradient(size):
    model, gamma = small_net(), 0.005
    before = copy.deepcopy(model)
    for p in model.parameters():
        p.grad = torch.full_like(p, size)
    with perturbed(model, gamma):
        for p, old in zip(model.parameters(), before.parameters(), strict=True):
            if p.ndim > 1:
                torch.testing.assert_close((p - old).norm(), gamma * old.norm(), rtol=1e-3, atol=0.0)


def test_awp_without_a_gradient_moves_nothing_and_survives_an_error():
    model = small_net()
    before = copy.deepcopy(model.state_dict())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)

    def interrupted():
        with perturbed(model, 1e3):
            weight = model.get_parameter("0.weight")
            assert torch.equal(weight, before["0.weight"])
            weight.data += 1.0
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# --- config ----------------------------------------------------------------------------------------------------------

BAD = {
    "schedule": "cosine",
    "start": "corner",
    "attack_bn": "off",
    "precision": "float16",
    "select": "test",
    "norm": "l7",
    "eps": "-8/255",
    "step": "fast",
    "epochs": 0,
    "batch_size": 2.5,
    "steps": -1,
    "seed": -1,
    "lr": -0.1,
    "weight_decay": float("nan"),
    "awp": -1.0,
    "clip": -1.0,
    "momentum": 1.0,
    "ema": 1.0,
    "validation": 1.0,
    "awp_start": 2.0,
    "milestones": (0.5, 80),
    "validation_steps": -1,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_names_its_field(name):
    with pytest.raises(ValueError, match=rf"^{name} must .*got"):
        TrainConfig(**{name: BAD[name]})


def test_a_radius_that_reaches_every_image_is_refused():
    with pytest.raises(ValueError, match="eps must be at most 1 in linf, as pixels are, got 8; did you mean 8/255"):
        TrainConfig(eps="8")
    assert TrainConfig(eps=2.0, norm="l2").eps == 2.0


def test_choosing_needs_a_validation_part():
    with pytest.raises(ValueError, match="select must be 'last'"):
        TrainConfig(validation=0.0)
    assert TrainConfig(validation=0.0, select="last").validation == 0.0
    assert dataclasses.replace(TrainConfig(), seed=1).seed == 1
