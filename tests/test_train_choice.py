"""How the loop chooses a checkpoint: on held-out images, under the attack it names, among epochs that count."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from linfair import attacks
from linfair.train import fit, validation
from linfair.train.batches import VALIDATION, counter_seed
from linfair.train.run import Run
from linfair.train.validation import class_sums, selection_score
from train_cases import CONFIG, digits, quick, same_tensors, saved, timeless, with_accuracies


def test_the_test_part_is_never_looked_at():
    data = digits(160)
    noise = np.random.default_rng(0).integers(0, 17, data.test_images.shape, dtype=np.uint8)
    other = dataclasses.replace(data, test_images=noise, test_labels=data.test_labels[::-1])
    a, b = quick(data), quick(other)
    assert same_tensors(a.model.state_dict(), b.model.state_dict())
    assert timeless(a.history) == timeless(b.history)


def test_training_never_sees_the_validation_part():
    run = Run(replace(CONFIG, validation=0.2, augment=False), digits(), torch.device("cpu"), None)
    train, held_out = ({image.tobytes() for image in part.images.numpy()} for part in (run.train, run.validation))
    assert len(held_out) > 250
    assert not train & held_out
    assert len(run.train) + len(run.validation) == len(digits().train_labels)
    counts = torch.bincount(run.validation.labels, minlength=10)
    assert counts.max() - counts.min() <= 2
    other = Run(replace(CONFIG, validation=0.2, seed=7), digits(), torch.device("cpu"), None)
    assert torch.equal(other.validation.images, run.validation.images), "every seed chooses on the same images"


@pytest.mark.parametrize("select", ["average", "average+worst", "last"])
def test_the_best_epoch_is_kept(select, monkeypatch, tmp_path):
    """Validation is scripted: epochs 2 and 4 are best by worst class, the later of them counts; 3 is by average."""
    robust = [[0.1, 0.1], [0.5, 0.5], [0.2, 0.9], [0.5, 0.5], [0.3, 0.3]]
    weights = []

    def scripted(model, *args, **options):
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return with_accuracies(robust[len(weights) - 1])

    monkeypatch.setattr("linfair.train.run.class_sums", scripted)
    result = fit(replace(CONFIG, epochs=5, select=select), digits(160), folder=tmp_path, progress=False)
    best = {"average": 3, "average+worst": 4, "last": 5}[select]
    assert saved(tmp_path)["best"]["epoch"] == result.selected == best
    assert same_tensors(result.model.state_dict(), weights[best - 1])
    assert not same_tensors(weights[0], weights[1])


def test_epochs_before_the_rule_steers_are_not_chosen(monkeypatch):
    """The first epoch is the best, but DAFA steers from the third of four on: what came before is PGD-AT."""
    robust = iter([[0.9, 0.9], [0.8, 0.8], [0.5, 0.6], [0.4, 0.4]] * 2)
    monkeypatch.setattr("linfair.train.run.class_sums", lambda *a, **k: with_accuracies(next(robust)))
    config = replace(CONFIG, epochs=4, method="dafa_pgd", options={"warmup": 0.5})
    result = fit(config, digits(160), progress=False)
    assert result.selected == 3
    assert result.history[2]["weights"]
    assert not result.history[1]["weights"]
    assert fit(replace(config, method="pgd_at", options={}), digits(160), progress=False).selected == 1


def test_validation_takes_no_more_images_at_a_time_than_training(monkeypatch):
    sizes = []
    monkeypatch.setattr(validation, "pgd", lambda model, x, *a, **k: sizes.append(len(x)) or x)
    run = Run(replace(CONFIG, validation=0.2, batch_size=64), digits(), torch.device("cpu"), None)
    run._record()
    assert max(sizes) == 64
    assert sum(sizes) == len(run.validation)


def test_scores():
    assert selection_score("average+worst", [0.5, 0.25, None]) == 0.375 + 0.25
    assert selection_score("average", [0.5, 0.25]) == 0.375
    assert selection_score("last", [0.5]) is None
    assert selection_score("average", [None]) is None


def test_a_method_without_attack_is_chosen_on_clean_accuracy():
    rows = quick(digits(), method="standard").history
    assert all(
        row["score"] == pytest.approx(np.mean(row["validation_clean"]) + min(row["validation_clean"])) for row in rows
    )


@pytest.mark.parametrize("options", [{"validation_steps": 0}, {"eps": 0.0}], ids=str)
def test_without_an_attack_in_validation_clean_accuracy_chooses(options):
    for row in quick(digits(), **options).history:
        assert row["validation_robust"] == [None] * 10
        clean = row["validation_clean"]
        assert row["score"] == pytest.approx(np.mean(clean) + min(clean))


def test_without_validation_the_last_weights_come_back():
    result = quick(validation=0.0, select="last", ema=0.0)
    assert result.history[-1]["validation_clean"] == [None] * 10
    assert result.finished


def test_validation_attacks_the_weights_it_judges(monkeypatch):
    gaps = []

    def compare(model, attacked, images, *args, **options):
        x = images.batch(0, 50)[0]
        gaps.append((attacked(x) - model.eval()(x)).abs().max().item())
        return with_accuracies([1.0, 1.0])

    monkeypatch.setattr("linfair.train.run.class_sums", compare)
    for ema in (0.0, 0.5):
        quick(precision="float32", ema=ema, epochs=3)
    assert len(gaps) == 6
    assert max(gaps) < 1e-3


def test_a_rule_may_read_the_validation_images(monkeypatch):
    """WAT's costs are CE + beta KL of the averaged weights there, added up."""
    states = []

    def kept(*args, **options):
        states.append(class_sums(*args, **options))
        return states[-1]

    monkeypatch.setattr("linfair.train.run.class_sums", kept)
    result = quick(digits(), method="wat", options={"beta": 2.0}, epochs=3)
    costs = [state.mean_clean_loss + 2.0 * state.mean_kl for state in states]
    for row, want in zip(result.history[1:], (costs[0], costs[0] + costs[1]), strict=True):
        torch.testing.assert_close(torch.tensor(row["weights"]["cost"]).double(), want, rtol=1e-5, atol=0)
    torch.testing.assert_close(result.weights.cost.double(), sum(costs), rtol=1e-5, atol=0)


def test_validation_is_the_attack_it_says(monkeypatch):
    asked = []
    monkeypatch.setattr(validation, "pgd", lambda *a, **k: asked.append(k) or attacks.pgd(*a, **k))
    run = Run(replace(CONFIG, precision="float32", fold=False, ema=0.0), digits(), torch.device("cpu"), None)
    for _ in range(5):
        run.advance()
    part = run.validation
    state = class_sums(run.model, run.target.call, part, 10, run.threat, 10, counter_seed(VALIDATION, 0, 0))
    assert len(asked) == 1
    assert (asked[0]["eps"], asked[0]["step"], asked[0]["steps"], asked[0]["norm"]) == (1 / 8, 1 / 32, 10, "linf")
    x, y = part.batch(0, len(part))
    g = torch.Generator().manual_seed(counter_seed(VALIDATION, 0, 0))
    worst = attacks.pgd(run.model, x, y, eps="1/8", step=1 / 32, steps=10, generator=g)
    log_p = [run.model.eval()(images).log_softmax(1) for images in (x, worst)]
    divergence = (log_p[0].exp() * (log_p[0] - log_p[1])).sum(1)
    for value, got in (
        (log_p[0].argmax(1) == y, state.clean_accuracy),
        (log_p[1].argmax(1) == y, state.robust_accuracy),
        (divergence, state.mean_kl),
    ):
        want = torch.stack([value[y == k].double().mean() for k in range(10)])
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)
    assert state.clean_accuracy.mean() > state.robust_accuracy.mean()
