"""Training methods on small batches: what they reduce to, what they minimise, where budgets arrive, repeatability."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from linfair.attacks import pgd, sample_targets
from linfair.models import build
from linfair.train.context import Context, Threat
from linfair.train.methods import METHODS, Method, get_method
from linfair.train.methods.ard import ARD
from linfair.train.methods.faal import worst_weights
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.methods.standard import Standard
from linfair.train.state import ClassState, ClassWeights

C, EPS = 10, 8 / 255
DOCS = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
THREAT = Threat(EPS, 4 / 255, 3)
each_method = pytest.mark.parametrize("name", METHODS)
attacking = pytest.mark.parametrize("name", [n for n in METHODS if not issubclass(METHODS[n], Standard)])


def batch(n=64, seed=0, low=0.0, high=1.0):
    g = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(n, 1, 8, 8, generator=g), torch.randint(0, C, (n,), generator=g)


def network(seed=0, name="small_cnn", **sizes):
    torch.manual_seed(seed)
    return build(name, C, (1, 8, 8), **sizes).train()


def context(model=None, seed=0, threat=THREAT):
    model = network(name="linear") if model is None else model
    teacher = network(7, "linear").eval()
    epoch, epochs = 9, 10  # the last one, when every method does what it is for
    return Context(model, model, teacher, threat, torch.Generator().manual_seed(seed), epoch, epochs, C)


def random_weights(seed=0):
    g = torch.Generator().manual_seed(seed)
    neutral = ClassWeights.neutral(C).state_dict()
    scaled = {k: v * (0.5 + torch.rand(v.shape, generator=g)) for k, v in neutral.items()}
    return ClassWeights(**{**scaled, "mix": (torch.rand(C, generator=g) > 0.5).float()})


def train(method: Method, steps=2, weights=None, model=None):
    """Parameters, buffers, losses and statistics after a few steps of SGD, as the loop makes them."""
    model = network() if model is None else model
    weights = ClassWeights.neutral(C) if weights is None else weights
    optimizer, state, losses = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), ClassState(C), []
    for step in range(steps):
        ctx, (images, y) = context(model, seed=step), batch(seed=step)
        x = method.transform(images, y, weights, ctx)
        x_adv = method.attack(x, y, weights, ctx)
        optimizer.zero_grad()
        out = method.loss(x, x_adv, y, weights, ctx)
        out.loss.backward()
        optimizer.step()
        state.update(y, out.logits_adv, out.logits_nat)
        losses.append(out.loss.detach())
    return list(model.parameters()), list(model.buffers()), losses, state


@each_method
def test_two_steps_are_finite_and_repeatable(name):
    runs = [train(get_method(name), weights=random_weights()) for _ in range(2)]
    for first, second in zip(*(run[0] + run[1] + run[2] + [run[3].sums] for run in runs), strict=True):
        assert first.isfinite().all()
        assert torch.equal(first, second)
    assert not torch.equal(runs[0][0][0], next(network().parameters())), "nothing was learnt"
    assert runs[0][3].n.sum() == 128


@dataclass(frozen=True)
class TargetedPGDAT(PGDAT):
    def attack(self, x, y, weights, ctx):
        uniform = 1 - torch.eye(C)
        return pgd(ctx.model, x, y, eps=EPS, step=4 / 255, steps=3, target_prior=uniform, generator=ctx.generator)


REDUCTIONS = {
    "dafa_pgd": ({}, get_method("pgd_at")),
    "dafa_trades": ({}, get_method("trades")),
    "domain_mixup_natural": ({"lam": 1.0}, get_method("standard")),
    "domain_mixup_robust": ({"lam": 1.0}, get_method("pgd_at")),
    "domain_mixup_natural_mway": ({"m": 1}, get_method("standard")),
    "domain_mixup_mway": ({"m": 1}, get_method("pgd_at")),
    "domain_mixup_easy": ({}, get_method("domain_mixup_robust")),
    "domain_mixup_hard": ({}, get_method("domain_mixup_robust")),
    "absld": ({}, get_method("rslad")),
    "cfa_pgd": ({}, get_method("pgd_at")),
    "cfa_trades": ({}, get_method("trades")),
    "wat": ({}, get_method("trades")),
    "faal": ({"warmup": 0.0, "radius": 0.0}, get_method("pgd_at")),
    "fair_tat": ({"inner": "untargeted"}, get_method("pgd_at")),
    "ard": ({"alpha": 0.0}, get_method("standard")),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_neutral_weights_and_options_give_the_parent_bit_for_bit(name):
    options, parent = REDUCTIONS[name]
    assert ClassWeights.neutral(C).is_neutral()
    mine, theirs = train(get_method(name, **options)), train(parent)
    for a, b in zip(mine[0] + mine[1] + mine[2], theirs[0] + theirs[1] + theirs[2], strict=True):
        assert torch.equal(a, b)


def test_neutral_fair_tat_is_a_targeted_pgd_at():
    for a, b in zip(train(get_method("fair_tat"))[0], train(TargetedPGDAT())[0], strict=True):
        assert torch.equal(a, b)


def test_trades_without_its_second_term_learns_what_standard_training_learns():
    for a, b in zip(train(get_method("trades", beta=0.0))[0], train(get_method("standard"))[0], strict=True):
        assert torch.equal(a, b)


def p(logits):
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def divergence(q, r):
    return (q * (q / r).log()).sum(1)


def written_out(name, model, teacher, x, x_adv, y, w):
    """The equations of the papers, in probabilities, with the class-wise weights of linfair."""
    ce = {"nat": -p(model(x))[range(len(y)), y].log(), "adv": -p(model(x_adv))[range(len(y)), y].log()}
    nat, adv, soft = p(model(x)), p(model(x_adv)), teacher(x).detach()
    if "trades" in name or name == "wat":
        return (w.loss[y] * ce["nat"]).mean() + 6 * (w.kl[y] * divergence(nat, adv)).mean()
    if name == "ard":
        return 900 * (w.kl[y] * divergence(p(soft / 30), p(model(x_adv) / 30))).mean()
    if name == "faal":
        missed = adv.masked_fill(torch.eye(C)[y] > 0, -1.0).amax(1) - adv[range(len(y)), y]
        means, present = torch.stack([missed[y == k].mean() for k in range(C)]), torch.bincount(y, minlength=C) > 0
        worst = worst_weights(means.detach(), present, 0.5)
        assert worst.max() > 2 / C, "else nothing is tested"
        return present.sum() * (worst[y] * w.loss[y] * ce["adv"]).mean()
    if name in ("rslad", "absld"):
        q_adv, q_nat = p(soft / w.temperature_adv[y][:, None]), p(soft / w.temperature_nat[y][:, None])
        return (w.kl[y] * (5 * divergence(q_adv, adv) + divergence(q_nat, nat))).mean() / 6
    return (w.loss[y] * ce["nat" if issubclass(METHODS[name], Standard) else "adv"]).mean()


@each_method
def test_loss_and_gradients_are_those_of_the_paper(name):
    ctx, w = context(), random_weights(1)
    ctx.model.double()  # pyright: ignore[reportFunctionMemberAccess]
    ctx.teacher.double()  # pyright: ignore
    (x, y), (x_adv, _) = batch(), batch(seed=3)
    x, x_adv = x.double(), x_adv.double()
    out = get_method(name).loss(x, x_adv, y, w, ctx)
    want = written_out(name, ctx.model, ctx.teacher, x, x_adv, y, w)
    params = list(ctx.model.parameters())  # pyright: ignore[reportFunctionMemberAccess]
    assert torch.allclose(out.loss, want, rtol=1e-6)
    for a, b in zip(torch.autograd.grad(out.loss, params), torch.autograd.grad(want, params), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-9)
    for logits, images in ((out.logits_adv, x_adv), (out.logits_nat, x)):
        assert logits is None or torch.equal(logits, ctx.model(images))


def test_faal_begins_after_its_warm_up():
    (x, y), (x_adv, _), w = batch(), batch(seed=3), random_weights(1)
    early, late = (get_method("faal").loss(x, x_adv, y, w, replace(context(), epoch=e)).loss for e in (7, 8))
    assert torch.equal(early, get_method("pgd_at").loss(x, x_adv, y, w, context()).loss)
    assert not torch.isclose(early, late)


def test_faal_release_takes_class_sums_and_counts_absent_classes():
    """Every image is classified well but class 9 has none: it scores 0, above all others, and takes their weight."""
    y = torch.arange(36) % 9
    ctx, (x, _), w = context(nn.Flatten()), batch(36), ClassWeights.neutral(C)
    x = torch.zeros(36, C).scatter(1, y[:, None], torch.linspace(2, 4, 36)[:, None]).requires_grad_()
    means, sums = (get_method("faal", release=release).loss(x, x, y, w, ctx).loss for release in (False, True))
    log_p = x.double().log_softmax(1)
    own, other = (log_p.exp()[range(36), k] for k in (y, (y + 1) % 9))
    score = torch.stack([(other - own)[y == k].sum() for k in range(C)]).detach()
    worst = worst_weights(score, torch.ones(C, dtype=torch.bool), 0.5)
    assert worst.argmax() == 9
    want = -(worst[y] * log_p[range(36), y]).mean() * C
    assert torch.isclose(sums.double(), want, rtol=1e-5)
    assert sums < 0.7 * means


def test_ard_adds_the_natural_cross_entropy():
    ctx, w, ((x, y), (x_adv, _)) = context(), ClassWeights.neutral(C), (batch(), batch(seed=3))
    parts = [get_method("ard", alpha=alpha).loss(x, x_adv, y, w, ctx) for alpha in (1.0, 0.0, 0.25)]
    assert torch.allclose(parts[2].loss, 0.25 * parts[0].loss + 0.75 * parts[1].loss)
    assert parts[1].logits_adv is None
    assert parts[0].logits_nat is None


@attacking
def test_margins_and_steps_reach_the_attack(name):
    """A linear network and steps beyond the radius: every sample ends at its own radius, or one step of its own off."""
    method, (images, y), w = get_method(name), batch(low=0.4, high=0.6), random_weights(2)
    for threat, length, slack in (
        (Threat(EPS, 1.0, 2), EPS * w.margin, 1e-6),
        (Threat(1.0, 0.02, 1, start="none"), 0.02 * w.step, 6e-3),
    ):
        ctx = context(threat=threat)
        x = method.transform(images, y, w, ctx)
        x_adv = method.attack(x, y, w, ctx)
        assert x_adv is not None
        moved = (x_adv - x).abs().flatten(1).amax(1)
        assert torch.allclose(moved, length[y], rtol=0, atol=slack)


@attacking
def test_attack_leaves_the_network_as_it_was(name):
    model, (x, y) = network(width=8), batch()
    before = [t.clone() for t in model.state_dict().values()]
    for mode in ("eval", "train"):
        ctx = replace(context(model), attack_bn=mode)
        get_method(name).attack(x, y, ClassWeights.neutral(C), ctx)
        assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
        assert all(q.grad is None for q in model.parameters())
        assert all(m.training for m in model.modules())


def test_kl_attacks_start_beside_the_image_and_raise_their_divergence():
    model, (x, y), w = network(), batch(low=0.2, high=0.8), ClassWeights.neutral(C)
    teacher = network(7, "linear").eval()
    for name in ("trades", "dafa_trades", "wat", "rslad", "absld"):
        start = get_method(name).attack(x, y, w, context(model, threat=Threat(EPS, EPS / 4, 0)))
        end = get_method(name).attack(x, y, w, context(model, threat=Threat(EPS, EPS / 4, 5)))
        assert start is not None
        assert end is not None
        assert (start - x).std() == pytest.approx(0.001, rel=0.1)
        model.eval()
        reference = teacher(x) if METHODS[name].needs_teacher else model(x)
        assert (
            divergence(p(reference), p(model(end))) > divergence(p(reference), p(model(start)))
        ).float().mean() > 0.9
        model.train()


def test_fair_tat_descends_towards_targets_of_its_prior():
    ctx, (x, y) = context(), batch(low=0.2, high=0.8)
    w = replace(ClassWeights.neutral(C), target_prior=torch.eye(C).roll(1, 1))  # class k is always sent to k + 1
    targets = (y + 1) % C
    assert torch.equal(sample_targets(y, w.target_prior, torch.Generator().manual_seed(0)), targets)
    x_adv = get_method("fair_tat").attack(x, y, w, ctx)
    assert x_adv is not None
    assert (p(ctx.model(x_adv))[range(64), targets] > p(ctx.model(x))[range(64), targets]).all()


def test_distillation_without_a_teacher_says_so():
    ctx, (x, y) = replace(context(), teacher=None), batch()
    for name, method in METHODS.items():
        if method.needs_teacher:
            with pytest.raises(ValueError, match=r"teacher must be a network.*pass fit"):
                get_method(name).loss(x, x, y, ClassWeights.neutral(C), ctx)


def test_teacher_takes_no_gradient():
    ctx, (x, y) = context(), batch()
    assert isinstance(ctx.teacher, nn.Module)
    ARD().loss(x, x, y, ClassWeights.neutral(C), ctx).loss.backward()
    assert all(q.grad is None for q in ctx.teacher.parameters())


def test_the_method_of_ones_own_in_the_docs_works():
    space: dict = {}
    exec(DOCS.read_text(encoding="utf-8").rsplit("```python\n", 1)[1].split("```")[0], space)
    method, state = space["Mine"](), train(get_method("pgd_at"))[3]
    weights = method.rule(state, ClassWeights.neutral(C), 0, 1)
    assert weights.loss.sum() == pytest.approx(1.5 * C, rel=1e-5)
    assert train(method, weights=weights)[2][0].isfinite()
