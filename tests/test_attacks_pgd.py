"""pgd: feasibility, exact radii and optima on linear models, invariances, what each loss and target does."""

import pytest
import torch

from attack_models import RADII, Linear, Watch, batch, distance, each_norm, generator, right, run, small_net
from linfair.attacks import PerClass, pgd
from linfair.norms import NORMS


def test_every_norm_is_tested():
    assert set(RADII) == set(NORMS)


@each_norm
@pytest.mark.parametrize("start", ["uniform", "gaussian", "none"])
@pytest.mark.parametrize("exact", [False, True])
def test_every_iterate_is_in_ball_and_box(norm, start, exact):
    x, y = batch()
    watch = Watch(small_net())
    final = run(watch, x, y, norm, start=start, exact=exact)
    assert len(watch.seen) == 4
    for seen in [*watch.seen, final]:
        assert (seen >= 0).all()
        assert (seen <= 1).all()
        assert (distance(seen, x, norm) <= RADII[norm] * (1 + 1e-5)).all()
    assert distance(final, x, norm).max() > 0.5 * RADII[norm]


@each_norm
def test_a_given_start_is_projected(norm):
    x, y = batch()
    far = (x + 0.7).clamp(max=1.5)
    watch = Watch(small_net())
    run(watch, x, y, norm, start=far)
    assert (distance(watch.seen[0], x, norm) <= RADII[norm] * (1 + 1e-5)).all()
    assert (watch.seen[0] <= 1).all()
    near = run(small_net(), x, y, norm, steps=0)
    torch.testing.assert_close(run(small_net(), x, y, norm, steps=0, start=near), near)


@each_norm
def test_the_radius_reached_is_that_of_the_class(norm):
    """On a linear model every step points one way, so that each class ends on the sphere of its own radius."""
    model = Linear(classes=3, features=64)
    x, y = batch(60, classes=3)
    x = 0.4 + 0.2 * x  # away from the box
    eps = RADII[norm] * torch.tensor([0.25, 1.0, 0.5])
    final = run(model, x, y, norm, eps=PerClass(eps), step=PerClass((eps / 2).tolist()), steps=12, lo=None, hi=None)
    torch.testing.assert_close(distance(final, x, norm).float(), eps[y], rtol=1e-4, atol=0)
    assert set(y.tolist()) == {0, 1, 2}


@each_norm
@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("start", ["uniform", "none"])
def test_on_two_linear_classes_it_is_the_optimum(norm, loss, start):
    """max_{|d| <= eps} (f_1 - f_0)(x + d) = (f_1 - f_0)(x) + eps |w_1 - w_0|_* without a box."""
    model = Linear(features=64)
    x, y = batch(16, classes=2, dtype=torch.float64)
    eps = 0.3 * RADII[norm]
    step = {"top_q": 1, "steps": 60} if norm == "l1" else {"steps": 60}
    final = run(model, x, y, norm, eps=eps, step=eps / 4, loss=loss, start=start, lo=None, hi=None, **step)
    w = (model.weight[1] - model.weight[0]).detach().double()
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    sign = 1 - 2 * y.double()  # a sample of class 0 wants a larger f_1 - f_0
    gain = sign * ((final - x).flatten(1) @ w)
    torch.testing.assert_close(gain, torch.full_like(gain, float(eps * dual)), rtol=5e-3, atol=0)


def test_linf_with_a_box_is_the_optimum():
    model = Linear(features=64)
    x, y = batch(16, classes=2, dtype=torch.float64)
    w = (model.weight[1] - model.weight[0]).detach().double().reshape(x.shape[1:])
    sign = (1 - 2 * y.double()).reshape(-1, 1, 1, 1)
    best = (x + 0.2 * sign * w.sign()).clamp(0, 1)
    torch.testing.assert_close(run(model, x, y, eps=0.2, step=0.1, steps=6), best)


def test_a_sparse_step_passes_over_the_walls_of_the_box():
    """The steepest entry can only move 0.1 before the wall; the budget that is left goes to the next ones."""
    model = Linear(features=64)
    w = (model.weight[1] - model.weight[0]).detach().reshape(1, 1, 8, 8)
    x = torch.where(w > 0, 0.9, 0.1).float()
    with torch.no_grad():
        model.bias[0] = (x * w).sum()  # on the boundary, where no loss is flat
    y = torch.zeros(1, dtype=torch.int64)
    for options in ({}, {"targets": torch.ones(1, dtype=torch.int64)}):
        final = run(model, x, y, "l1", eps=0.55, step=0.01, steps=300, top_q=1, exact=True, start="none", **options)
        moved = (final - x).abs().flatten().sort(descending=True).values
        assert (moved[:4] > 0.08).all()
        gain = float(((final - x) * w).sum())
        top = w.abs().flatten().sort(descending=True).values
        assert gain > 0.99 * float(0.1 * top[:5].sum() + 0.05 * top[5])


@pytest.mark.parametrize("loss", ["ce", "margin", "kl", lambda f, y: -f.gather(1, y[:, None]).squeeze(1)])
@pytest.mark.parametrize("start", ["none", "tensor"])
def test_a_sample_does_not_feel_its_batch(loss, start):
    x, y = batch(dtype=torch.float64)
    net = small_net().double()
    reference = torch.softmax(net.eval()(x), 1) if loss == "kl" else None
    begun = run(net, x, y, steps=0) if start == "tensor" or loss == "kl" else None

    def attack(rows):
        r = None if reference is None else reference[rows]
        return run(net, x[rows], y[rows], loss=loss, reference=r, start="none" if begun is None else begun[rows])

    whole = attack(slice(None))
    parts = torch.cat([attack(slice(i, i + 5)) for i in range(0, len(x), 5)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    assert (whole - x).abs().max() > 0.04


@each_norm
def test_the_generator_decides(norm):
    x, y = batch()
    net = small_net()
    state = torch.get_rng_state()
    first, again, other = (run(net, x, y, norm, generator=generator(s)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_restarts_keep_the_worst_end():
    x, _ = batch(64, dtype=torch.float64)
    net = small_net().double().eval()
    y = net(x).argmax(1)

    def margin(images):
        f = net(images).detach()
        return f.scatter(1, y[:, None], -torch.inf).amax(1) - f.gather(1, y[:, None]).squeeze(1)

    draw = generator(2)
    single = torch.stack([margin(run(net, x, y, generator=draw, steps=1)) for _ in range(3)])
    best = margin(run(net, x, y, generator=generator(2), steps=1, restarts=3))
    torch.testing.assert_close(best, single.amax(0))
    assert (best > single[0]).any()


def test_targets_are_approached():
    x, y = batch(64)
    net = small_net().eval()
    targets = (y + 3) % 10

    def log_p(images):
        return torch.log_softmax(net(images), 1).gather(1, targets[:, None]).detach()

    final = run(net, x, y, targets=targets)
    assert (log_p(final) > log_p(x)).all()
    assert (log_p(run(net, x, y, targets=targets, loss="margin")) > log_p(x)).all()


def test_a_class_prior_with_one_choice_is_that_target():
    x, y = batch(64)
    net = small_net().eval()
    only = torch.zeros(10, 10)
    only[torch.arange(10), (torch.arange(10) + 3) % 10] = 0.1
    drawn = run(net, x, y, target_prior=only, start="none")
    assert torch.equal(drawn, run(net, x, y, targets=(y + 3) % 10, start="none"))


def test_survived_counts_the_correct_iterates():
    x, _ = batch(100)
    watch = Watch(small_net().eval())
    y = watch.net(x).argmax(1)
    final, survived = run(watch, x, y, return_survived=True, eps=0.03, step=0.01)
    expected = torch.stack([right(watch.net, seen, y) for seen in watch.seen]).sum(0)
    assert len(watch.seen) == 4
    assert torch.equal(survived, expected)
    assert torch.equal(final, run(watch.net, x, y, eps=0.03, step=0.01))
    assert len(set(survived.tolist())) > 2


def test_kl_moves_away_from_the_reference():
    x, y = batch(32)
    net = small_net().eval()
    reference = torch.softmax(net(x), 1).detach()

    def kl(images):
        return (reference * (reference.log() - torch.log_softmax(net(images), 1))).sum(1).mean()

    moved = run(net, x, y, loss="kl", reference=reference, start="gaussian", steps=8)
    assert kl(moved) > 10 * kl(run(net, x, y, loss="kl", reference=reference, start="gaussian", steps=0))


def test_nobody_is_asked_about_no_image():
    """A reshape to (0, -1) cannot be; the last image may break at any step."""

    class Strict(Linear):
        def forward(self, x):
            return super().forward(x.reshape(len(x), -1))

    x, y = torch.rand(5, 12, generator=generator()), torch.zeros(5, dtype=torch.int64)
    net = Strict()
    wrong = 1 - net(x).argmax(1)
    for steps in (0, 1, 2):
        assert torch.equal(pgd(net, x, wrong, eps=0.0, step=0.0, steps=steps, start="none", active_set=True), x)
    assert pgd(net, x, y, eps=10.0, step=10.0, steps=3, lo=None, hi=None, active_set=True).shape == x.shape
