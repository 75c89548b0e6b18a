"""Whole runs of ``fit`` against the papers' algorithms written out: loops over samples, plain torch, float64.

What the tests of the parts cannot see: that a rule measures the epoch it should, on the logits of the loss, and that
its weights reach attack and loss of the epochs that follow.
"""

import pytest
import torch
from torch.nn import functional as F

from linfair import ops
from linfair.attacks import sample_targets
from linfair.train import TrainConfig, fit, network, run
from linfair.train.batches import STEP, Images, counter_seed
from linfair.train.mixup import mix_pairs
from train_cases import digits, teacher

C, EPOCHS, EPS, STEP_SIZE, LR = 10, 3, 1 / 8, 1 / 16, 0.1
DISTILLED = ("ard", "rslad", "absld")
COMPARED = ("pgd_at", "trades", "domain_mixup_easy", "domain_mixup_hard", "dafa_pgd", "dafa_trades", "fair_tat")


def by_image(values):
    return values.double()[:, None, None, None]


class ByHand:
    """One method: what it steers (neutral at first), its attack, its loss, its rule."""

    def __init__(self, name, model, teach):
        self.name, self.model, self.teach = name, model, teach
        self.kl = "trades" in name or name in ("rslad", "absld")
        self.w, self.margin, self.step, self.mixed = (torch.ones(C) for _ in range(4))
        self.tau_adv, self.tau_nat = torch.ones(C), torch.ones(C)
        self.prior = (1 - torch.eye(C)) / (C - 1)

    def soft(self, x, y, tau):
        return (self.teach(x) / tau[y, None]).softmax(1).detach()

    def attack(self, x, y, g):
        self.model.eval()
        eps, length = by_image(EPS * self.margin[y]), by_image(STEP_SIZE * self.step[y])
        into = lambda z: torch.minimum(torch.maximum(z, x - eps), x + eps).clamp(0, 1).detach()  # noqa: E731
        if self.name == "fair_tat":
            aims = sample_targets(y, self.prior, g)
        if self.kl:
            clean = self.model(x).float().softmax(1).detach().double()
            reference = clean if self.teach is None else self.soft(x, y, self.tau_adv)
            z = into(x + 0.001 * torch.randn(x.shape, generator=g, dtype=x.dtype))
        else:
            z = ops.random_start(x, EPS * self.margin[y], generator=g)
        for _ in range(3):
            logits = self.model(z.requires_grad_())
            if self.kl:
                goal = F.kl_div(logits.log_softmax(1), reference, reduction="sum")
            elif self.name == "fair_tat":
                goal = -F.cross_entropy(logits, aims, reduction="sum")
            else:
                goal = F.cross_entropy(logits, y, reduction="sum")
            z = into(z + length * torch.autograd.grad(goal, z)[0].sign())
        self.model.train()
        return z

    def loss(self, x, z, y):
        """(loss, logits under attack, natural logits)"""
        n, w, far = len(y), self.w[y], lambda a, q: F.kl_div(a.log_softmax(1), q, reduction="batchmean")
        if "trades" in self.name:
            nat, adv = self.model(x), self.model(z)
            return (w * F.cross_entropy(nat, y, reduction="none")).sum() / n + 6 * far(adv, nat.softmax(1)), adv, nat
        adv = self.model(z)
        if self.name == "ard":
            return 30**2 * far(adv / 30, (self.teach(x) / 30).softmax(1).detach()), adv, adv
        if self.teach is not None:
            nat = self.model(x)
            q_adv, q_nat = self.soft(x, y, self.tau_adv), self.soft(x, y, self.tau_nat)
            return 5 / 6 * far(adv, q_adv) + 1 / 6 * far(nat, q_nat), adv, nat
        return (w * F.cross_entropy(adv, y, reduction="none")).sum() / n, adv, adv

    def rule(self, epoch, seen):
        """``seen``: (label, logits under attack, natural logits) of every sample of the epoch."""
        of = [[s for s in seen if s[0] == k] for k in range(C)]
        right = torch.tensor([sum(a.argmax() == y for y, a, _ in part) / len(part) for part in of])
        if self.name.startswith("dafa") and epoch == 1:  # 0.64 of 3 epochs are 2
            similar = torch.stack([torch.stack([a.softmax(0) for _, a, _ in part]).mean(0) for part in of])
            w = torch.ones(C, dtype=torch.float64)
            for i in range(C):
                for j in range(C):
                    if similar[i, i] < similar[j, j]:
                        w[i] += similar[i, j] * similar[j, j]
                    elif similar[i, i] > similar[j, j]:
                        w[i] -= similar[j, i] * similar[i, i]
            self.w = self.margin = self.step = w.float()
        if self.name == "fair_tat":
            wrong = [int(a.argmax()) for y, a, _ in seen if a.argmax() != y]
            share = torch.tensor([wrong.count(k) / len(wrong) for k in range(C)])
            self.prior, self.margin = (2 * share).softmax(0), 0.5 + right
        if self.name.startswith("domain_mixup") and epoch == 0:  # a quarter of 3 epochs is 1
            middle = right.sort().values[4:6].mean()
            self.mixed = (right > middle if self.name.endswith("easy") else right < middle).float()
        if self.name == "absld":
            for tau, which in ((self.tau_adv, 1), (self.tau_nat, 2)):
                mean = torch.stack([torch.stack([F.cross_entropy(s[which], s[0]) for s in part]).mean() for part in of])
                gap = mean - mean.mean()
                tau.copy_((tau - 0.1 * 215 / EPOCHS * gap / gap.abs().max()).clamp(0.5, 5))


@pytest.mark.parametrize("name", COMPARED + DISTILLED)
def test_a_run_is_the_algorithm_of_the_paper(name, monkeypatch):
    monkeypatch.setattr(Images, "floats", lambda self, pixels: pixels.double() / self.levels)
    monkeypatch.setattr(network.Autocast, "forward", lambda self, x: self.model(x))
    monkeypatch.setattr(run, "new_model", lambda *args: network.new_model(*args).double())
    monkeypatch.setattr(run, "frozen_teacher", lambda module, *_: module)
    data = digits(240)
    teach = teacher(data).double() if name in DISTILLED else None
    config = TrainConfig(
        method=name, width=4, epochs=EPOCHS, batch_size=50, lr=LR, schedule="constant", eps=EPS, step=STEP_SIZE,
        ema=0.0, precision="float32", fold=False, validation=0.1, validation_steps=0, select="last",
    )  # fmt: skip
    result = fit(config, data, teacher=teach, progress=False)
    twin = run.Run(config, data, torch.device("cpu"), teach)
    model, batches = twin.model, twin.batches
    method, velocity = ByHand(name, model, teach), [torch.zeros_like(p) for p in model.parameters()]
    for epoch in range(EPOCHS):
        batches.start(epoch)
        seen = []
        for step in range(batches.steps):
            g = torch.Generator().manual_seed(counter_seed(STEP, 0, epoch, step))
            x, y = batches.batch(step)
            if name.startswith("domain_mixup"):
                x = torch.where(by_image(method.mixed[y]) > 0, mix_pairs(x, y, 0.5, generator=g), x)
            loss, adv, nat = method.loss(x, method.attack(x, y, g), y)
            grads = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, v, grad in zip(model.parameters(), velocity, grads, strict=True):
                    p -= LR * v.mul_(0.9).add_(grad + 5e-4 * p)
            seen += zip(y, adv.detach(), nat.detach(), strict=True)
        method.rule(epoch, seen)
    for got, want in zip(result.model.state_dict().values(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    assert (result.history[-1]["weights"] == {}) == (name in ("pgd_at", "trades", "ard", "rslad"))
