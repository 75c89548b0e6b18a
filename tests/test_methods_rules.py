"""The feedback rules: the worked vectors of their equations, conservation, symmetry in the names of the classes."""

from dataclasses import replace

import pytest
import torch

from linfair.train.methods import METHODS, get_method
from linfair.train.methods.absld import temperatures
from linfair.train.methods.cfa import kl_balance
from linfair.train.methods.dafa import dafa_weights
from linfair.train.methods.fair_tat import target_prior
from linfair.train.methods.wat import hedge
from linfair.train.state import ClassState, ClassWeights
from train_cases import with_accuracies

EPOCHS = 12
STEERING = {
    "domain_mixup_easy", "domain_mixup_hard", "dafa_pgd", "dafa_trades", "fair_tat", "absld", "cfa_pgd", "cfa_trades",
    "wat",
}  # fmt: skip
each_method = pytest.mark.parametrize("name", METHODS)
S = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8]], dtype=torch.float64)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, atol=1e-5):
    return torch.allclose(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=0, atol=atol)


def measured(c=5, seed=0, n=400, rename=None):
    """A state after one epoch; ``rename[k]`` is the new name of class k."""
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(c), torch.randint(0, c, (n,), generator=g)])
    adv, nat = (torch.randn(len(y), c, generator=g) + strength * torch.eye(c)[y] for strength in (1.0, 2.0))
    adv += torch.linspace(-1, 1, c) * torch.eye(c)[y]  # classes differ in difficulty
    state = ClassState(c)
    if rename is None:
        state.update(y, adv, nat)
    else:
        back = rename.argsort()
        state.update(rename[y], adv[:, back], nat[:, back])
    return state


def renamed(weights, rename):
    back = rename.argsort()
    return ClassWeights(
        **{k: (v[back] if v.dim() == 1 else v[back][:, back]).contiguous() for k, v in weights.state_dict().items()}
    )


@pytest.mark.parametrize("strength, want", [(1.0, (1.29, 0.87, 0.84)), (1.5, (1.435, 0.805, 0.76)), (0.0, (1, 1, 1))])
def test_dafa_worked_vector(strength, want):
    assert close(dafa_weights(S, strength), vector(*want), 1e-12)


def test_dafa_conserves_the_sum_and_keeps_the_floor():
    g = torch.Generator().manual_seed(0)
    for strength in (0.5, 1.0, 5.0, 100.0):
        for c in (2, 3, 10, 100):
            similarity = (2 * torch.randn(c, c, generator=g, dtype=torch.float64)).softmax(1)
            w = dafa_weights(similarity, strength)
            assert w.sum() == pytest.approx(c, rel=1e-12)
            assert w.min() >= 0.1 - 1e-12
    assert close(dafa_weights(S, 5.0), vector(2.45, 0.35, 0.2), 1e-12)


def test_dafa_floor_worked_by_hand():
    """Strength 8 asks for (3.32, -0.04, -0.28): above the floor 0.1 only class 0 has something, 0.9 * 3 in all."""
    assert close(dafa_weights(S, 8.0), vector(2.8, 0.1, 0.1), 1e-12)


def test_an_exact_tie_moves_nothing():
    tied = vector(0.6, 0.3, 0.1, 0.25, 0.6, 0.15, 0.3, 0.1, 0.6).reshape(3, 3)
    assert torch.equal(dafa_weights(tied, 1.0).float(), torch.ones(3))
    one_pair = tied.clone()
    one_pair[2, 2] = (
        0.8  # class 2 is easier than both and gives 0.8 S_i2 to each; the tie of 0 and 1 still gives nothing
    )
    assert close(dafa_weights(one_pair, 1.0), vector(1.08, 1.12, 0.8), 1e-12)


@pytest.mark.parametrize("name", ["dafa_pgd", "dafa_trades"])
@pytest.mark.parametrize(
    "apply, steered", [("both", {"loss", "margin", "step"}), ("weights", {"loss"}), ("margins", {"margin", "step"})]
)
def test_dafa_steers_what_is_asked(name, apply, steered):
    state, neutral = measured(), ClassWeights.neutral(5)
    weights = get_method(name, apply=apply, warmup=0.0).rule(state, neutral, 0, EPOCHS)
    want = dafa_weights(state.mean_softmax, 1.0).float()
    for field, value in weights.state_dict().items():
        assert torch.equal(value, want if field in steered else getattr(neutral, field)), field
    assert weights.loss.sum() + weights.margin.sum() + weights.step.sum() == pytest.approx(15, abs=1e-5)


@pytest.mark.parametrize("epochs, last", [(110, 70), (12, 8), (6, 4), (2, 1), (1, 1)])
def test_dafa_acts_once_at_the_end_of_its_warm_up(epochs, last):
    neutral, method = ClassWeights.neutral(5), get_method("dafa_trades")
    acted = [epoch for epoch in range(epochs) if method.rule(measured(), neutral, epoch, epochs) is not neutral]
    assert acted == [last - 1]


def test_absld_worked_vector():
    tau = temperatures(torch.ones(4, dtype=torch.float64), vector(1.0, 0.8, 1.6, 2.0), 0.1, 0.5, 5.0)
    assert close(tau, vector(1.05385, 1.08462, 0.96154, 0.9), 5e-6)


def test_absld_temperatures_keep_their_bounds_and_equal_losses_move_nothing():
    tau = vector(1.0, 2.0, 0.6)
    for loss in (3.0, 0.1):  # the mean of three times 0.1 is another number
        assert torch.equal(temperatures(tau, vector(loss, loss, loss), 0.1, 0.5, 5.0), tau)
    assert close(temperatures(tau, vector(1.0, 0.0, 2.0), 9.0, 0.5, 5.0), vector(1.0, 5.0, 0.5))
    unseen = temperatures(tau, vector(float("nan"), 1.0, 3.0), 0.1, 0.5, 5.0)
    assert close(unseen, vector(1.0, 2.1, 0.5))


def test_absld_moves_each_set_by_its_own_losses():
    """The release divides one buffer by both sets; here neither result nor memory is shared."""
    state, neutral = measured(), ClassWeights.neutral(5)
    weights = get_method("absld").rule(state, neutral, 0, 215)
    ones = torch.ones(5, dtype=torch.float64)
    assert close(weights.temperature_adv, temperatures(ones, state.mean_robust_loss, 0.1, 0.5, 5.0), 1e-6)
    assert close(weights.temperature_nat, temperatures(ones, state.mean_clean_loss, 0.1, 0.5, 5.0), 1e-6)
    assert not close(weights.temperature_adv, weights.temperature_nat)
    own = [weights.temperature_adv.data_ptr(), weights.temperature_nat.data_ptr()]
    assert len({*own, neutral.temperature_adv.data_ptr(), neutral.temperature_nat.data_ptr()}) == 4
    assert (weights.temperature_adv - 1).abs().max() == pytest.approx(0.1, abs=1e-6)
    short = get_method("absld").rule(state, neutral, 0, 430)
    assert close(short.temperature_adv - 1, (weights.temperature_adv - 1) / 2, 1e-6)


def test_fair_tat_prior_worked_vector():
    falls = vector(0.05, 0.05, 0.15, 0.20, 0.15, 0.15, 0.10, 0.05, 0.05, 0.05)
    confusion = torch.zeros(10, 10, dtype=torch.float64)
    confusion[0] = falls * 1000
    confusion[1, 0], confusion[0, 0] = confusion[0, 0].clone(), 0.0  # an error into class 0 comes from another class
    confusion += torch.diag(vector(*range(10)) * 100)  # what was right does not count
    prior = target_prior(confusion, 2.0)
    want = vector(0.1024, 0.1024, 0.1250, 0.0, 0.1250, 0.1250, 0.1131, 0.1024, 0.1024, 0.1024)
    assert close(prior[3], want, 5e-5)
    soft = (2 * falls).softmax(0)
    assert close(soft, vector(0.0899, 0.0899, 0.1098, 0.1214, 0.1098, 0.1098, 0.0994, 0.0899, 0.0899, 0.0899), 5e-5)
    assert close(prior, soft * (1 - torch.eye(10)) / (1 - soft)[:, None], 1e-12)


def test_fair_tat_without_errors_keeps_uniform_targets():
    assert close(target_prior(torch.eye(4, dtype=torch.float64) * 9, 2.0), ClassWeights.neutral(4).target_prior, 1e-7)


def test_fair_tat_margins():
    state, neutral = measured(), ClassWeights.neutral(5)
    weights = get_method("fair_tat").rule(state, neutral, 0, EPOCHS)
    assert close(weights.margin, 0.5 + state.robust_accuracy, 1e-6)
    assert torch.equal(weights.step, neutral.step)
    assert torch.equal(weights.loss, neutral.loss)
    state.robust_n = state.robust_n * torch.tensor([1, 1, 0, 1, 1])
    state.robust_correct = state.robust_correct * torch.tensor([1, 1, 0, 1, 1])
    unseen = get_method("fair_tat").rule(state, weights, 1, EPOCHS)
    assert unseen.margin[2] == weights.margin[2]


def test_cfa_worked_vector():
    state, neutral = with_accuracies((0.6, 0.3, 0.45)), ClassWeights.neutral(3)
    weights = get_method("cfa_trades", base=0.5).rule(state, neutral, EPOCHS - 1, EPOCHS)
    assert close(8 * weights.margin, vector(8.8, 6.4, 7.6))
    assert close(6 * weights.kl / weights.loss, vector(6.6, 4.8, 5.7))
    share = 6 * weights.kl / (weights.loss + 6 * weights.kl)
    assert close(share, vector(0.86842, 0.82759, 0.85075), 5e-6)
    assert close(weights.loss + 6 * weights.kl, torch.full((3,), 7.0), 1e-5)
    assert replace(weights, margin=neutral.margin, loss=neutral.loss, kl=neutral.kl).is_neutral()
    plain = get_method("cfa_pgd").rule(state, neutral, EPOCHS - 1, EPOCHS)
    assert close(plain.margin, weights.margin)
    assert replace(plain, margin=neutral.margin).is_neutral()
    assert close(torch.stack(kl_balance(torch.ones(3), 6.0)), torch.ones(2, 3), 0)


@pytest.mark.parametrize("epochs, first", [(200, 10), (12, 1), (30, 2)])
def test_cfa_acts_in_every_epoch_after_its_warm_up(epochs, first):
    neutral, method = ClassWeights.neutral(5), get_method("cfa_pgd")
    acted = [epoch for epoch in range(epochs) if method.rule(measured(), neutral, epoch, epochs) is not neutral]
    assert acted == list(range(first - 1, epochs))


def test_cfa_keeps_what_it_had_for_a_class_not_seen():
    state, before = with_accuracies((0.6, 0.3, 0.45)), ClassWeights.neutral(3)
    before = get_method("cfa_trades").rule(state, before, 1, EPOCHS)
    state.robust_n, state.robust_correct = vector(100, 0, 100), vector(50, 0, 50)
    after = get_method("cfa_trades").rule(state, before, 2, EPOCHS)
    for field in ("margin", "loss", "kl"):
        assert getattr(after, field)[1] == getattr(before, field)[1]
        assert getattr(after, field)[0] != getattr(before, field)[0]


def test_wat_worked_vector():
    h = hedge(vector(3, 5, 8), 0.1)
    assert close(h, vector(0.58446, 0.71386, 0.96361, 0.73806), 5e-6)
    assert h.sum() == pytest.approx(3, rel=1e-12)
    assert close(hedge(vector(3, 5, 8) + 1e6, 0.1), h, 1e-9)


def with_costs(loss, kl):
    """A state with these mean natural cross-entropies and divergences."""
    state = with_accuracies([0.5] * len(loss))
    state.clean_loss, state.kl = 100.0 * vector(*loss), 100.0 * vector(*kl)
    return state


def test_wat_adds_costs_up_and_weighs_classes_by_hedge():
    first, second = with_costs((1.0, 0.5, 2.0), (0.1, 0.2, 0.3)), with_costs((0.4, 1.5, 2.0), (0.3, 0.1, 0.2))
    neutral, method = ClassWeights.neutral(3), get_method("wat")
    weights = method.rule(first, neutral, 0, 25)
    assert close(weights.cost, vector(1.6, 1.7, 3.8), 1e-6)
    weights = method.rule(second, weights, 1, 25)
    assert close(weights.cost, vector(3.8, 3.8, 7.0), 1e-6)
    h = hedge(vector(3.8, 3.8, 7.0), 0.2)  # a quarter of the release's epochs, twice the rate
    want = h[:3] + h[3]
    assert close(weights.loss, 3 * want / want.sum(), 1e-6)
    assert torch.equal(weights.kl, weights.loss)
    assert replace(weights, loss=neutral.loss, kl=neutral.kl, cost=neutral.cost).is_neutral()


def test_wat_moves_nothing_where_classes_cost_the_same_and_counts_the_natural_loss_alone_at_radius_0():
    neutral, even = ClassWeights.neutral(3), with_costs((1.0, 1.0, 1.0), (0.2, 0.2, 0.2))
    weights = get_method("wat").rule(even, neutral, 0, EPOCHS)
    assert torch.equal(weights.loss, neutral.loss)
    uneven = with_costs((1.0, 2.0, 3.0), (0.0, 1.0, 0.0))
    assert torch.equal(get_method("wat", rate=0.0).rule(uneven, neutral, 0, EPOCHS).loss, neutral.loss)
    even.robust_n, even.kl = torch.zeros(2, 3)
    assert close(get_method("wat").rule(even, neutral, 0, EPOCHS).cost, vector(1, 1, 1))


@pytest.mark.parametrize(
    "name, accuracy, mixed",
    [
        ("domain_mixup_easy", (0.2, 0.9, 0.5, 0.4), (0, 1, 1, 0)),
        ("domain_mixup_hard", (0.2, 0.9, 0.5, 0.4), (1, 0, 0, 1)),
        ("domain_mixup_easy", (0.2, 0.9, 0.5), (0, 1, 0)),
        ("domain_mixup_hard", (0.2, 0.9, 0.5), (1, 0, 0)),
        ("domain_mixup_easy", (0.5, 0.5, 0.5), (0, 0, 0)),
    ],
)
def test_which_classes_are_mixed(name, accuracy, mixed):
    state = with_accuracies(accuracy)
    neutral, method = ClassWeights.neutral(len(accuracy)), get_method(name)
    acted = [epoch for epoch in range(EPOCHS) if method.rule(state, neutral, epoch, EPOCHS) is not neutral]
    assert acted == [2], "a quarter of 12 epochs"
    weights = method.rule(state, neutral, 2, EPOCHS)
    assert close(weights.mix, vector(*mixed))
    assert replace(weights, mix=neutral.mix).is_neutral()


@each_method
def test_renaming_the_classes_renames_the_result(name):
    rename = torch.tensor([3, 0, 4, 1, 2])
    method, plain = get_method(name), ClassWeights.neutral(5)
    other = renamed(plain, rename)
    for epoch in range(EPOCHS):
        plain = method.rule(measured(seed=epoch), plain, epoch, EPOCHS)
        other = method.rule(measured(seed=epoch, rename=rename), other, epoch, EPOCHS)
        for field, want in renamed(plain, rename).state_dict().items():
            assert close(getattr(other, field), want, 1e-5), (field, epoch)
    assert plain.is_neutral() != (name in STEERING)


@each_method
def test_weights_stay_float32_and_usable(name):
    weights = ClassWeights.neutral(5)
    for epoch in range(EPOCHS):
        weights = get_method(name).rule(measured(seed=epoch), weights, epoch, EPOCHS)
    for field, value in weights.state_dict().items():
        assert value.dtype == torch.float32, field
        assert value.isfinite().all(), field
        assert (value >= 0).all(), field
    assert torch.equal(weights.target_prior.diagonal(), torch.zeros(5))
