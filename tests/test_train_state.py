"""Class sums against a loop over samples, and the weights a rule may steer."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from linfair.train.state import ClassState, ClassWeights

C = 4


def batch(n: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(C - 1, (n,), generator=g)  # class C - 1 never occurs
    nat, adv = torch.randn(2, n, C, generator=g)
    return labels, adv, nat, torch.randint(11, (n,), generator=g)


def filled(*batches) -> ClassState:
    state = ClassState(C)
    for labels, adv, nat, survived in batches:
        state.update(labels, adv, nat, survived)
    return state


def test_sums_are_those_of_a_loop_over_samples():
    batches = [batch(n, seed) for seed, n in enumerate((50, 31, 1))]
    state = filled(*batches)
    want = {name: np.zeros(C) for name in ("n", "clean_correct", "robust_correct", "clean_loss", "robust_loss", "kl")}
    survived, softmax, confusion = np.zeros(C), np.zeros((C, C)), np.zeros((C, C))
    for labels, adv, nat, steps in batches:
        for y, a, b, k in zip(labels.tolist(), adv.double().numpy(), nat.double().numpy(), steps.tolist(), strict=True):
            p, q = np.exp(a) / np.exp(a).sum(), np.exp(b) / np.exp(b).sum()
            want["n"][y] += 1
            want["clean_correct"][y] += b.argmax() == y
            want["robust_correct"][y] += a.argmax() == y
            want["clean_loss"][y] -= np.log(q[y])
            want["robust_loss"][y] -= np.log(p[y])
            want["kl"][y] += (q * np.log(q / p)).sum()
            survived[y] += k
            softmax[y] += p
            confusion[y, a.argmax()] += 1
    for name, value in (want | {"survived": survived, "softmax": softmax, "confusion": confusion}).items():
        np.testing.assert_allclose(getattr(state, name), value, rtol=1e-6, err_msg=name)
    assert state.clean_n.tolist() == state.robust_n.tolist() == state.n.tolist()
    seen = slice(0, C - 1)
    np.testing.assert_allclose(state.robust_accuracy[seen], (want["robust_correct"] / want["n"].clip(1))[seen])
    np.testing.assert_allclose(state.mean_clean_loss[seen], (want["clean_loss"] / want["n"].clip(1))[seen], rtol=1e-6)
    np.testing.assert_allclose(state.mean_softmax[seen].sum(1), 1.0, rtol=1e-6)
    assert state.robust_accuracy[-1].isnan()
    assert state.mean_softmax[-1].isnan().all()


def test_each_kind_has_its_own_count():
    labels, adv, nat, _ = batch(20, 0)
    state = ClassState(C)
    state.update(labels, logits_adv=adv)
    state.update(labels, logits_nat=nat)
    counts = torch.bincount(labels, minlength=C)
    assert state.n.tolist() == (2 * counts).tolist()
    assert state.robust_n.tolist() == state.clean_n.tolist() == counts.tolist()
    assert (state.clean_loss[:-1] > 0).all()
    assert not state.kl.any(), "never both at once"
    assert filled(batch(20, 0)).mean_kl[-1].isnan()
    only = ClassState(C)
    only.update(labels, logits_nat=nat)
    assert only.robust_accuracy.isnan().all()
    assert only.mean_kl.isnan().all()
    assert not only.softmax.any()


def test_order_of_batches_and_names_of_classes_do_not_matter():
    batches = [batch(40, seed) for seed in range(3)]
    a, b = filled(*batches), filled(*reversed(batches))
    torch.testing.assert_close(a.sums, b.sums, rtol=1e-12, atol=0)
    names = torch.tensor([2, 0, 3, 1])  # class k becomes names[k]
    back = names.argsort()
    c = filled(*((names[y], adv[:, back], nat[:, back], k) for y, adv, nat, k in batches))
    torch.testing.assert_close(c.robust_loss[names], a.robust_loss)
    torch.testing.assert_close(c.softmax[names][:, names], a.softmax)
    assert torch.equal(c.confusion[names][:, names], a.confusion)


def test_bfloat16_logits_and_graphs():
    labels, adv, _, _ = batch(16, 0)
    state = ClassState(C)
    state.update(labels, adv.bfloat16().requires_grad_())
    assert state.sums.dtype == torch.float64
    assert not state.sums.requires_grad


def test_state_comes_back():
    state = filled(batch(30, 0))
    other = ClassState(C)
    other.load_state_dict(state.state_dict())
    assert torch.equal(other.sums, state.sums)
    other.reset()
    assert not other.sums.any()
    with pytest.raises(ValueError, match="number of classes"):
        ClassState(C + 1).load_state_dict(state.state_dict())


def test_fields_are_views():
    state = ClassState(C)
    state.n = torch.arange(C)
    state.softmax[1, 2], state.kl[3] = 5.0, 7.0
    assert state.sums[:, 0].tolist() == [0, 1, 2, 3]
    assert state.sums[1, 9 + 2] == 5.0
    assert state.sums[3, 8] == 7.0
    with pytest.raises(RuntimeError):
        state.n = torch.zeros(C + 1)


def test_neutral_weights():
    weights = ClassWeights.neutral(C)
    assert weights.is_neutral()
    assert weights.n_classes == C
    assert torch.equal(weights.target_prior.diagonal(), torch.zeros(C))
    torch.testing.assert_close(weights.target_prior.sum(1), torch.ones(C))
    assert ClassWeights.neutral(1).is_neutral()


@pytest.mark.parametrize("name", [f.name for f in fields(ClassWeights)])
def test_every_field_counts_and_comes_back(name):
    neutral = ClassWeights.neutral(C)
    steered = replace(neutral, **{name: getattr(neutral, name).double() + 0.25})
    assert steered.is_neutral() == (name == "cost"), "which steers nothing"
    back = ClassWeights.from_state_dict(steered.state_dict()).to("cpu")
    assert getattr(back, name).dtype == torch.float32
    assert torch.equal(getattr(back, name), getattr(neutral, name) + 0.25)
