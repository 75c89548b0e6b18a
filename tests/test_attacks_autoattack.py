"""AutoAttack through its adapter: strength, feasibility, resuming, few classes, either package or none."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from attack_models import EPS, Linear, digits, flags
from linfair.attacks import Attack, robust_flags
from linfair.attacks import autoattack as adapter

needs_package = pytest.mark.skipif(not adapter.installed(), reason="needs pyautoattack")


@needs_package
def test_apgd_is_at_least_as_strong_as_pgd():
    _net, _images, _labels = digits()
    pgd20, apgd = flags("pgd20", n=40), flags("apgd", n=40)
    assert apgd.sum() <= pgd20.sum() + 1
    assert 0 < apgd.sum() < 40
    state = torch.get_rng_state()
    assert np.array_equal(flags("apgd", n=40), apgd)
    assert torch.equal(torch.get_rng_state(), state)


@needs_package
def test_what_apgd_finds_is_in_ball_and_box():
    net, images, labels = digits()
    x = torch.from_numpy(images[:30] / np.float32(16)).float()
    y = torch.from_numpy(labels[:30])
    model = copy.deepcopy(net).eval().requires_grad_(False)
    for norm, eps in (("linf", EPS), ("l2", 0.6)):
        made = adapter.run_component("apgd-ce", model, x, y, eps=eps, norm=norm, seed=0)
        length = torch.linalg.vector_norm((made - x).flatten(1), torch.inf if norm == "linf" else 2, dim=1)
        assert (length <= eps * (1 + 1e-5)).all()
        assert made.min() >= 0
        assert made.max() <= 1
        broken = model(made).argmax(1) != y
        assert broken.any()
        assert torch.equal(length > 0, broken & (model(x).argmax(1) == y))


@needs_package
def test_the_standard_version_runs_its_four_attacks(tmp_path):
    auto, apgd = flags("autoattack", n=8, state=tmp_path / "s"), flags("apgd", n=8)
    assert auto.sum() <= apgd.sum()
    lines = (tmp_path / "s").read_text()
    for part in adapter.COMPONENTS:
        assert f'"part": "{part}"' in lines


@needs_package
def test_autoattack_resumes_part_by_part(tmp_path, monkeypatch):
    wanted, calls, real = flags("apgd", n=30), [], adapter.run_component

    def watched(component, *args, **options):
        calls.append(component)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(component, *args, **options)

    monkeypatch.setattr("linfair.attacks._flags.run_component", watched)
    with pytest.raises(KeyboardInterrupt):
        flags("apgd", n=30, state=tmp_path / "s")
    assert np.array_equal(flags("apgd", n=30, state=tmp_path / "s"), wanted)
    assert calls == ["apgd-ce", "apgd-t", "apgd-t"]
    assert np.array_equal(flags("apgd", n=30, state=tmp_path / "s"), wanted)
    assert len(calls) == 3


@needs_package
def test_autoattack_searches_with_a_copy_and_tries_again_where_it_errs(monkeypatch):
    """A copy that is wrong everywhere finds nothing, so the model itself is attacked."""
    monkeypatch.setattr(adapter, "COMPONENTS", ("apgd-ce",))
    only = Attack("mine", "APGD-CE", "autoattack", options={"components": ("apgd-ce",)})

    def useless(x):
        return torch.eye(10)[3].expand(len(x), 10) + 0 * x.flatten(1)[:, :10]

    exact, searched = flags(only, n=30), flags(only, n=30, search_model=useless)
    assert abs(int(exact.sum()) - int(searched.sum())) <= 5
    assert exact.sum() < flags("clean", n=30).sum()


@needs_package
def test_few_classes():
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    six = nn.Sequential(nn.Flatten(), Linear(classes=6, features=16))
    y = six(x).argmax(1)
    found = robust_flags(six, x, y, "apgd", eps=0.05, progress=False)
    assert 0 < found.sum() < 20
    three = nn.Sequential(nn.Flatten(), Linear(classes=3, features=16))
    with pytest.raises(ValueError, match="at least 4 classes, got 3"):
        robust_flags(three, x, three(x).argmax(1), "apgd", progress=False)


class Recorder:
    """The interface of the original package."""

    made: list = []  # noqa: RUF012 - shared on purpose

    def __init__(self, model, *, norm, eps, seed, verbose, version, device):
        self.apgd_targeted, self.fab = (type("Part", (), {"n_target_classes": 9})() for _ in range(2))
        self.settings = (norm, eps, seed, version, device)
        self.made.append(self)

    def run_standard_evaluation(self, x, y, bs):
        assert bs == len(x)
        return x


@pytest.fixture
def without(monkeypatch):
    """Hides packages from import_module as the adapter calls it."""
    real = adapter.import_module

    def hide(*names, **given):
        def fake(name):
            if name in names:
                raise ImportError(name)
            return given.get(name) or real(name)

        monkeypatch.setattr(adapter, "import_module", fake)

    return hide


def test_the_original_package_will_do(without):
    without("pyautoattack", autoattack=type("Package", (), {"AutoAttack": Recorder}))
    x = torch.rand(3, 1, 4, 4)
    model = Linear(classes=5, features=16)
    assert adapter.run_component("fab-t", model, x, torch.zeros(3).long(), eps=0.1, norm="l2", seed=7).equal(x)
    made = Recorder.made[-1]
    assert made.attacks_to_run == ["fab-t"]
    assert made.settings == ("L2", 0.1, 7, "standard", "cpu")
    assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == 4


def test_without_a_package_the_remedy_is_said(without):
    without("pyautoattack", "autoattack")
    with pytest.raises(ImportError, match=r"pip install linfair\[eval\]"):
        flags("apgd", n=10)


def test_what_square_alone_breaks_is_said(monkeypatch):
    """Attacks that find nothing where Square finds all: gradients that are masked."""
    only = Attack("mine", "two", "autoattack", options={"components": ("apgd-ce", "square")})

    def component(part, model, x, y, **_):
        return torch.where(torch.tensor(part == "square"), 1.0 - x, x)

    monkeypatch.setattr("linfair.attacks._flags.run_component", component)
    with pytest.warns(UserWarning, match=r"Square, which sees no gradients, broke \d+ of 30 images"):
        left = flags(only, n=30)
    assert left.sum() < flags("clean", n=30).sum()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("PGD", {}, "kind must be one of clean, pgd, autoattack, corruption, got 'PGD'"),
        ("pgd", {"step": 1.0, "loss": "ce"}, "options of kind 'pgd' must hold steps"),
        ("autoattack", {}, "must hold components"),
    ],
)
def test_attacks_that_cannot_be(kind, options, message):
    with pytest.raises(ValueError, match=message):
        Attack("mine", "mine", kind, options=options)
