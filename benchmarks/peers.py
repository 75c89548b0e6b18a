"""The libraries' own classes around a null network: what torchattacks, foolbox and ART spend on one update.

The null network returns constant logits and passes back a stored gradient; its cost, and that of the loss and of the
gradient call as the library makes it, is measured and removed. Setting an attack up is removed too: a run of many steps
minus a run of one. All three are used as their users do, with one eps and one step size for the batch; they differ in
which tensors of per-sample budgets they take, and none takes them in every norm with a random start.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from _pgd_inputs import CLASSES, EPS, STEP, Inputs
from _timing import Arm, Term
from torch import Tensor, nn

from linfair.runs import version

PACKAGES = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "art": "adversarial-robustness-toolbox",
}
"""Module -> distribution."""
INSTALL = "skipped; to install it follow the head of benchmarks/requirements.txt"
CHECK = 1.25
"""Step of the comparison of values, in units of the radius: it leaves the ball, so that the projection shows."""


class _Constant(torch.autograd.Function):
    """Constant logits whose gradient with respect to the images is a stored tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor, grad: Tensor) -> Tensor:  # pyright: ignore
        ctx.grad = grad
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        return ctx.grad, None, None


class NullNetwork(nn.Module):
    """Takes no time, and gives `s.grad` as the gradient of any loss."""

    def __init__(self, s: Inputs):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1, device=s.x.device))  # libraries ask the parameters for the device
        self.grad = s.grad
        self.logits = torch.zeros(len(s.x), CLASSES, device=s.x.device)

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:  # a library looking at the result
            return self.logits
        return _Constant.apply(x, self.logits, self.grad)  # pyright: ignore[reportReturnType]


Attack = Callable[[int, float], Tensor]
"""(steps, step size) -> images after so many steps from x0, no random start."""
Built = tuple[Attack, Callable[[], object]]
"""(attack, the library's own way to a gradient)"""


def _torchattacks(s: Inputs, norm: str) -> Built | None:
    module = importlib.import_module("torchattacks")
    kinds = {"linf": "PGD", "l2": "PGDL2"}
    if norm not in kinds:
        return None  # it has no l1 PGD
    network, loss = NullNetwork(s).eval(), nn.CrossEntropyLoss()

    def attack(steps: int, step: float) -> Tensor:
        kind = getattr(module, kinds[norm])
        return kind(network, eps=EPS[norm], alpha=step, steps=steps, random_start=False)(s.x0, s.labels)

    def gradient() -> object:
        x = s.x0.detach()
        x.requires_grad = True
        return torch.autograd.grad(loss(network(x), s.labels), x, retain_graph=False, create_graph=False)

    return attack, gradient


def _foolbox(s: Inputs, norm: str) -> Built:
    foolbox, eagerpy = importlib.import_module("foolbox"), importlib.import_module("eagerpy")
    model = foolbox.PyTorchModel(NullNetwork(s).eval(), bounds=(0, 1), device=s.x.device)
    kind = getattr(foolbox.attacks, f"{norm.replace('linf', 'Linf').replace('l', 'L')}ProjectedGradientDescentAttack")
    criterion = foolbox.criteria.Misclassification(s.labels)

    def attack(steps: int, step: float) -> Tensor:
        return kind(steps=steps, abs_stepsize=step, random_start=False).run(model, s.x0, criterion, epsilon=EPS[norm])

    x0, base = eagerpy.astensor(s.x0), kind(steps=1, random_start=False)
    loss = base.get_loss_fn(model, eagerpy.astensor(s.labels))
    return attack, lambda: base.value_and_grad(loss, x0)


def _art(s: Inputs, norm: str) -> Built:
    estimators = importlib.import_module("art.estimators.classification")
    pgd = importlib.import_module(
        "art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch"
    ).ProjectedGradientDescentPyTorch
    classifier = estimators.PyTorchClassifier(
        NullNetwork(s), nn.CrossEntropyLoss(), input_shape=tuple(s.x.shape[1:]), nb_classes=CLASSES,
        clip_values=(0.0, 1.0), device_type="gpu" if s.x.is_cuda else "cpu",
    )  # fmt: skip
    p = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    images, labels = s.x0.cpu().numpy(), nn.functional.one_hot(s.labels, CLASSES).float()
    hot = labels.cpu().numpy()

    def attack(steps: int, step: float) -> Tensor:
        made = pgd(classifier, p, EPS[norm], step, max_iter=steps, batch_size=len(images), verbose=False)
        return torch.from_numpy(made.generate(images, hot))

    return attack, lambda: classifier.loss_gradient(x=s.x0, y=labels)


MAKERS: dict[str, Callable[[Inputs, str], Built | None]] = {
    "torchattacks": _torchattacks,
    "foolbox": _foolbox,
    "art": _art,
}
LABELS = {"torchattacks": "torchattacks", "foolbox": "foolbox", "art": "ART"}


def steps_of(n: int) -> int:
    """Steps of the long run: many where a step is short, few where it takes a third of a second."""
    return 21 if n <= 128 else 11 if n <= 512 else 2


def arms(norm: str, sets: list[Inputs]) -> Iterator[Arm]:
    """One arm a library that is installed and has the norm."""
    for name in PACKAGES:
        made = {} if missing(name) else {id(s): MAKERS[name](s, norm) for s in sets}
        if built := {key: value for key, value in made.items() if value is not None}:
            yield _arm(name, norm, built, steps_of(len(sets[0].x)))


def _arm(name: str, norm: str, built: dict[int, Built], long: int) -> Arm:
    def run(steps: int, size: float = STEP) -> Callable[[Inputs], Tensor]:
        return lambda s: built[id(s)][0](steps, size * EPS[norm])

    share = 1 / (long - 1)
    empty = Term(-1.0, lambda s: built[id(s)][1](), removed=True)
    rescales = norm == "l1"
    return Arm(
        f"lib-{name}",
        f"{LABELS[name]}, own class{'*' if rescales else ''}",
        "libraries",
        (Term(share, run(long)), Term(-share, run(1)), empty),
        once=run(1, CHECK),
        means={"top_q": 1} if (name, norm) == ("art", "l1") else {},
        note="rescales: not a projection; one eps for all" if rescales else "one eps for all",
    )


def missing(name: str) -> bool:
    return version(PACKAGES[name]) is None


def skipped() -> list[str]:
    """One line a library that is not installed."""
    return [f"{LABELS[name]}: {INSTALL}" for name in PACKAGES if missing(name)]


def versions() -> dict[str, str | None]:
    return {LABELS[name]: version(distribution) for name, distribution in PACKAGES.items()}
