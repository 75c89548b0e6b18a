"""push and reach: exact on linear scores, feasible, never worse than what was seen; the attack on fairness."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from attack_models import generator, gpu
from group_cases import Linear, box, cells, net, table, weights
from linfair.groups import attacked, fairness_attack, fairness_direction, push, reach, soft_gaps
from linfair.groups.metrics import group_rates

X, Y, A = table()
BOX = box(X)
x = torch.from_numpy(X)
WAY = torch.from_numpy(np.where(np.arange(len(X)) % 3 == 0, 1, -1))
MOVES = np.array([True, False, True, True, False, True])


def furthest(w, eps, moves=True):
    """clip(x + eps sign(way w), lo, hi) in the columns that move: the best that l_inf and the box allow."""
    ways = WAY.numpy()[:, None] * np.sign(w)
    return np.where(moves, np.clip(X + np.reshape(eps, (-1, 1)) * ways, BOX["lo"], BOX["hi"]), X)


@pytest.mark.parametrize("moves", [None, MOVES])
@pytest.mark.parametrize("eps", [0.3, np.linspace(0, 1, len(X))])
def test_one_long_step_is_exact_on_a_linear_score(moves, eps):
    w = weights()
    each = torch.from_numpy(eps) if isinstance(eps, np.ndarray) else eps
    best, scores = push(Linear(w), x, WAY, eps=each, step=2 * each, steps=1, columns=moves, **BOX)
    expected = furthest(w, eps, True if moves is None else moves)
    np.testing.assert_allclose(best, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores, expected @ w + 0.1, rtol=0, atol=1e-12)
    _, many = push(Linear(w), x, WAY, eps=each, columns=moves, **BOX)
    np.testing.assert_allclose(many, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm, dual", [("l2", 2), ("linf", 1)])
def test_without_a_box_the_gain_is_the_dual_norm(norm, dual):
    w = weights()
    _, scores = push(Linear(w), x, WAY, eps=0.5, norm=norm)
    np.testing.assert_allclose(scores.numpy() - X @ w - 0.1, 0.5 * WAY.numpy() * np.linalg.norm(w, dual), atol=1e-12)


@pytest.mark.parametrize("norm, order", [("linf", np.inf), ("l2", 2), ("l1", 1)])
@pytest.mark.parametrize("moves", [None, MOVES])
def test_ball_box_and_fixed_columns_are_kept(norm, order, moves):
    eps = torch.linspace(0, 1, len(x), dtype=x.dtype)
    options = {"eps": eps, "norm": norm, "columns": moves, "restarts": 2, "generator": generator(), **BOX}
    best, scores = push(net(), x, WAY, **options)
    assert (torch.linalg.vector_norm(best - x, order, dim=1) <= eps + 1e-12).all()
    assert (best.numpy() >= BOX["lo"]).all()
    assert (best.numpy() <= BOX["hi"]).all()
    if moves is not None:
        assert torch.equal(best[:, ~moves], x[:, ~moves])
    np.testing.assert_allclose(scores, net().eval()(best).detach().squeeze(1), rtol=0, atol=1e-12)
    clean = net().eval()(x).detach().squeeze(1)
    assert (WAY * scores >= WAY * clean).all()
    assert (WAY * scores > WAY * clean + 0.01).float().mean() > 0.8


def test_the_best_iterate_is_kept():
    """A step that jumps over the top of a hill is undone."""

    def hill(z):
        return -(z - 0.1).square().sum(1)

    z = torch.zeros(1, 1, dtype=torch.float64)
    best, scores = push(hill, z, [1], eps=1.0, step=0.5, steps=3)
    assert (best.item(), scores.item()) == (0.0, pytest.approx(-0.01))
    assert push(hill, z, [1], eps=1.0, step=0.1, steps=3)[1].item() == pytest.approx(0.0)


@pytest.mark.parametrize("columns", [None, [True, False]])
def test_restarts_find_another_hill(columns):
    def hills(z):
        return torch.where(z[:, 0] < 0.5, -((z[:, 0] - 0.2) ** 2), 1 - (z[:, 0] - 0.9) ** 2)

    z = torch.zeros(1, 2, dtype=torch.float64)
    settings = {"eps": 1.0, "step": 0.05, "columns": columns}
    single, many = (
        push(hills, z, [1], restarts=restarts, generator=generator(), **settings)[1].item() for restarts in (1, 30)
    )
    assert single == pytest.approx(0.0)
    assert many > 0.9


def test_the_generator_decides():
    state = torch.get_rng_state()
    first, again, other = (
        push(net(), x, WAY, eps=0.5, steps=2, restarts=2, generator=generator(s))[0] for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_comes_back_as_it_was():
    model = net()
    model(x).sum().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    with torch.no_grad():
        push(model, x, WAY, eps=0.1, steps=1)
        reach(model, X, eps=0.1, steps=1)
    assert model.training
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert p.requires_grad
        assert p.grad is not None
        assert torch.equal(p.grad, grad)
    assert not x.requires_grad


def test_two_logits_are_one_score():
    two = net(outputs=2).eval()

    def one(z):
        return two(z)[:, 1:] - two(z)[:, :1]

    for found, expected in zip(push(two, x, WAY, eps=0.2), push(one, x, WAY, eps=0.2), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reach_holds_both_ends(dtype):
    model = Linear(weights(), dtype=dtype)
    whole, parts = (reach(model, X, eps=0.3, batch_size=size, steps=1, step=0.6, **BOX) for size in (10_000, 37))
    for way, scores in ((1, whole.up), (-1, whole.down)):
        expected = np.clip(X + 0.3 * way * np.sign(weights()), BOX["lo"], BOX["hi"]) @ weights() + 0.1
        np.testing.assert_allclose(scores, expected, atol=1e-12 if dtype == torch.float64 else 1e-5)
    for name in ("clean", "down", "up"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-5)
        assert getattr(whole, name).dtype == np.float64


def test_reach_splits_budgets_with_their_samples():
    eps = np.linspace(0, 1, len(X))
    whole, parts = (reach(Linear(weights()), X, eps=eps, step=eps / 4, batch_size=size) for size in (10_000, 37))
    np.testing.assert_allclose(whole.up, parts.up, atol=1e-12)
    np.testing.assert_allclose(whole.up - whole.clean, eps * np.abs(weights()).sum(), atol=1e-12)


def test_batches_decide_the_draws_of_restarts():
    """As the docstring says: with one restart the batches change nothing, with more the starts."""
    for restarts, equal in ((1, True), (2, False)):
        options = {"eps": 0.5, "steps": 1, "restarts": restarts}
        whole, parts = (reach(net(), X, batch_size=size, generator=generator(), **options) for size in (10_000, 37))
        assert np.allclose(whole.up, parts.up, rtol=0, atol=1e-12) == equal
        assert np.allclose(whole.down, parts.down, rtol=0, atol=1e-12) == equal


def test_budgets_may_be_text():
    first, again = (push(net(), x, WAY, eps=eps, step=step) for eps, step in ((0.2, 0.125), ("1/5", "0.125")))
    assert torch.equal(first[0], again[0])
    whole, again = (reach(net(), X, eps=eps, steps=2) for eps in (0.2, "0.2"))
    np.testing.assert_array_equal(whole.up, again.up)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_budget_nothing_moves(norm):
    found = reach(net(dtype=torch.float32), X, eps=0.0, norm=norm, restarts=2, **BOX)
    np.testing.assert_array_equal(found.up, found.clean)
    np.testing.assert_array_equal(found.down, found.clean)


@pytest.mark.parametrize("seed", range(5))
def test_relaxed_gaps_are_those_of_the_metrics(seed):
    y, a = cells(seed, 30)
    values = np.random.default_rng(seed).random(30)
    rates = group_rates(values, y, a)
    args = torch.from_numpy(values), torch.from_numpy(y), torch.from_numpy(a)
    np.testing.assert_allclose(soft_gaps(*args, "EOd"), rates[1] - rates[0], atol=1e-15)
    np.testing.assert_allclose(soft_gaps(*args, "DI"), [values[a == 1].mean() - values[a == 0].mean()], atol=1e-15)


def test_a_gap_without_one_of_the_groups_is_zero():
    g = torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    gaps = soft_gaps(g, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), "EOd")
    torch.testing.assert_close(gaps, torch.tensor([0.7, 0.0]))
    gaps.sum().backward()
    torch.testing.assert_close(g.grad, torch.tensor([-1.0, 1.0, 0.0]))


@pytest.mark.parametrize("objective", ["DI", "EOd"])
@pytest.mark.parametrize("a", [A, 1 - A, np.where(Y == 1, A, 1 - A)], ids=["as it is", "swapped", "swapped at y = 0"])
def test_the_attack_on_fairness_pushes_as_the_metrics_say(objective, a):
    model = net(seed=4).eval()
    ends = reach(model, X, eps=0.4)
    way = fairness_direction(expit(ends.clean), Y, a, objective)
    _, scores = fairness_attack(model, x, Y, a, objective=objective, eps=0.4)
    np.testing.assert_allclose(scores, ends.pushed(way), atol=1e-12)
    if objective == "DI":
        assert attacked(ends, Y, a)["di_attack_accuracy"] == ((scores.numpy() > 0) == Y).mean()


def test_nan_is_not_hidden():
    spoiled = x.clone()
    spoiled[3, 0] = torch.nan
    _, scores = push(net(), spoiled, WAY, eps=0.1, steps=3)
    assert scores.isnan().nonzero().squeeze(1).tolist() == [3]

    def cliff(z):
        return torch.where(z[:, 0] > x[:, 0] + 0.05, torch.nan, z[:, 0])

    _, scores = push(cliff, x, WAY, eps=0.1, steps=5)
    assert torch.equal(scores.isnan(), WAY > 0)
    with pytest.raises(ValueError, match="must be finite"):
        reach(net(), spoiled, eps=0.1, steps=1)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": X}, TypeError, "x must be a float32 or float64 tensor, got ndarray"),
        ({"x": x[0]}, ValueError, r"x must have shape \(n, d\)"),
        ({"direction": WAY[1:]}, ValueError, "direction must have shape"),
        ({"direction": WAY * 2}, ValueError, r"\+1 and -1"),
        ({"eps": -1.0}, ValueError, "eps must be >= 0"),
        ({"eps": torch.ones(3)}, ValueError, "eps must be a number or have shape"),
        ({"eps": None}, TypeError, "eps must be a number, .* got None; pass 0 for no attack"),
        ({"eps": "small"}, ValueError, "eps must be a number or a ratio, got 'small'"),
        ({"step": "-1/4"}, ValueError, "step must be >= 0, got -1/4"),
        ({"lo": 0.0}, ValueError, "x must lie in the box"),
        ({"hi": 0.0}, ValueError, "x must lie in the box"),
        ({"lo": 1.0, "hi": 0.0}, ValueError, "the box must not be empty, got lo > hi in column 0; swap"),
        ({"lo": np.array([-9, -9, 3, -9, -9, -9.0]), "hi": 2.0}, ValueError, "must not be empty, .* in column 2; swap"),
        ({"hi": BOX["hi"][:2]}, ValueError, "hi must be a number or have shape"),
        ({"columns": [1, 0, 1, 1, 1, 1]}, ValueError, "columns must be bool"),
        ({"columns": MOVES[:2]}, ValueError, "columns must be bool of shape"),
        ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
        ({"steps": 2.5}, TypeError, "steps must be a whole number, got 2.5"),
        ({"restarts": 0}, ValueError, "restarts must be at least 1, got 0"),
        ({"restarts": True}, TypeError, "restarts must be a whole number, got True"),
        ({"norm": "l3"}, ValueError, "norm"),
        ({"model": nn.Linear(6, 3).double()}, ValueError, "model must give scores"),
        ({"model": lambda z: z.detach().sum(1)}, RuntimeError, "scores must depend on x"),
    ],
)
def test_bad_input(change, error, message):
    settings = {"model": net(), "x": x, "direction": WAY, "eps": 0.1} | change
    with pytest.raises(error, match=message):
        push(**settings)


def test_bad_batches_and_objectives():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        reach(net(), X, eps=0.1, batch_size=0)
    with pytest.raises(ValueError, match="objective must be one of DI, EOd"):
        fairness_attack(net(), x, Y, A, objective="DP", eps=0.1)


@pytest.mark.parametrize("as_given", [list, np.asarray, torch.tensor])
@pytest.mark.parametrize("objective", ["DI", "EOd"])
@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"y": 2 * Y}, ValueError, r"y must lie in 0\.\.1, got 0\.\.2"),
        ({"a": 2 * A - 1}, ValueError, r"a must lie in 0\.\.1, got -1\.\.1"),
        ({"a": A / 2}, TypeError, "a must hold integers"),
        ({"y": Y[:1]}, ValueError, r"y must have shape \(400,\), one label a sample, got \(1,\)"),
        ({"a": A[1:]}, ValueError, r"a must have shape \(400,\), one label a sample, got \(399,\)"),
    ],
)
def test_bad_labels_and_groups(change, error, message, objective, as_given):
    labels = {name: as_given(value) for name, value in ({"y": Y, "a": A} | change).items()}
    with pytest.raises(error, match=message):
        fairness_attack(net(), x, objective=objective, eps=0.1, **labels)


@pytest.mark.parametrize("columns", [None, MOVES])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("case", [pytest.param(0, marks=gpu)])
def test_a_gpu_reaches_what_the_cpu_reaches(case, norm, columns):
    model, options = net(seed=case), {"eps": 0.3, "norm": norm, "columns": columns, **BOX}
    here = reach(model, X, **options)
    there = reach(model.cuda(), X, **options)
    draw = torch.Generator("cuda").manual_seed(0)
    again = reach(model, X, restarts=2, generator=draw, **options)
    for name in ("clean", "down", "up"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-8)
    assert (again.up >= there.up - 1e-12).all()
    best, _ = push(model, x.cuda(), WAY.cuda(), **options)
    assert best.is_cuda
    fair, _ = fairness_attack(model, x.cuda(), Y, A, objective="EOd", **options)
    assert fair.is_cuda
    labels, groups = torch.tensor(Y).cuda(), torch.tensor(A).cuda()
    torch.testing.assert_close(fairness_attack(model, x.cuda(), labels, groups, objective="EOd", **options)[0], fair)
    with pytest.raises(ValueError, match=r"a must have shape \(400,\), got \(399,\)"):
        fairness_attack(model, x.cuda(), labels, groups[1:], **options)
    with pytest.raises(ValueError, match=r"a must lie in 0\.\.1"):
        fairness_attack(model, x.cuda(), labels, 2 * A, **options)
