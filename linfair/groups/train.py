"""Training of binary classifiers for accuracy and group fairness, on samples as they are or under attack."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from linfair._check import as_array, as_count, as_labels, as_positive
from linfair.groups.attack import as_tensor, fairness_attack, push, soft_gaps
from linfair.groups.metrics import check_objective

MODELS = ("logistic", "mlp")
ATTACKS = ("none", "accuracy", "fairness", "both")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class GroupTraining:
    """One training run. The same config on the same data and machine gives the same weights.

    Args:
        model: "mlp", ReLU layers of the widths ``hidden`` (a number is one layer), or "logistic", a linear score.
        epochs, batch_size: an epoch is one permutation of the samples in parts of nearly equal size, at most
            ``batch_size``. None is all samples at once, in float64.
        lr: learning rate of Adam; ``schedule`` "constant", or "cosine": from lr to 0 along half a cosine, a step.
        ridge: weight of ||w||^2 / 2 in the loss, over weights and not biases.
        seed: initial weights and order of the samples.
        attack: what the samples trained on are attacked for: "none", "accuracy", "fairness", or "both".
        objective: "EOd" or "DI", of the attack on fairness and of the penalty.
        eps, steps, step: radius in the units of x (l_inf), number and length of the steps, None for eps / 4. For
            "logistic", one step of 2 eps is exact.
        gamma: weight of the penalty, the relaxed objective on the samples attacked for fairness or, without these, on
            those trained on.
    """

    model: str = "mlp"
    hidden: tuple[int, ...] | int = (64, 64)
    epochs: int = 15
    batch_size: int | None = 512
    lr: float = 1e-3
    schedule: str = "constant"
    ridge: float = 1e-4
    seed: int = 0
    attack: str = "none"
    objective: str = "EOd"
    eps: float = 0.2
    steps: int = 5
    step: float | None = None
    gamma: float = 0.0

    def __post_init__(self) -> None:
        check_objective(self.objective)
        for name, choices in {"model": MODELS, "attack": ATTACKS, "schedule": SCHEDULES}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}; pick one")
        counts = {"epochs": 1, "seed": 0, "steps": 0} | ({} if self.batch_size is None else {"batch_size": 1})
        found: dict[str, Any] = {name: as_count(name, getattr(self, name), least=k) for name, k in counts.items()}
        widths = self.hidden if isinstance(self.hidden, Iterable) else (self.hidden,)
        found["hidden"] = tuple(as_count("hidden", width) for width in widths)
        for name in ("lr", "ridge", "eps", "gamma") + (() if self.step is None else ("step",)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {value!r}; pass a float and check its sign")
            found[name] = float(value)
        for name, value in found.items():
            object.__setattr__(self, name, value)


def fit_groups(
    config: GroupTraining,
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike,
    *,
    lo: ArrayLike | None = None,
    hi: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> nn.Sequential:
    """A network from samples [n, d] to scores [n], trained by ``config`` on the CPU, in evaluation mode.

    loss = mean_i weights_i CE(s(x'_i), y_i) + gamma L(g(x'')) + ridge / 2 ||w||^2, with x' the attacked samples (for
    "both", the mean over the two kinds), x'' those of the penalty, and L the sum of the relaxed |gaps|. Attacks and
    gaps are those of a batch; the attack on fairness widens the gap that its clean samples show.

    Full batches, the exact step for "logistic" and a cosine make this adversarial training of a convex loss, which
    comes near its minimum: on the tests' data 1000 steps of 0.05 to about 1e-5, on Adult 1500 steps leave 1e-4.

    Args:
        x, y, a: [n, d] samples, [n] labels and [n] groups, 0 or 1.
        lo, hi, columns: the box and what may move, as in :func:`linfair.groups.attack.push`.
        weights: [n], >= 0; None is all ones.

    Raises:
        TypeError, ValueError: data of another kind, shape or range.
        FloatingPointError: a loss that is not finite.
    """
    X = as_array("x", x, ndim=2)
    n, dtype = len(X), torch.float64 if config.batch_size is None else torch.float32
    each = as_positive("weights", as_array("weights", 1.0 if weights is None else weights), strict=False)
    if each.shape not in ((), (n,)):
        raise ValueError(f"weights must have shape ({n},), got {each.shape}; one weight a sample")
    labels, groups = (torch.from_numpy(as_labels(*part, n, 2)) for part in (("y", y), ("a", a)))
    samples = torch.tensor(X, dtype=dtype)
    data = (samples, labels, groups, as_tensor(each, samples).expand(n))
    box = {name: None if bound is None else as_tensor(bound, samples) for name, bound in (("lo", lo), ("hi", hi))}
    ball = {**box, "columns": columns, "eps": config.eps, "steps": config.steps, "step": config.step}

    draw = torch.Generator().manual_seed(config.seed)
    net = _network(config, X.shape[1], draw).to(dtype)
    optimizer = torch.optim.Adam(net.parameters(), config.lr)
    parts = 1 if config.batch_size is None else math.ceil(n / config.batch_size)
    for step in range(config.epochs * parts):
        if step % parts == 0:
            batches = torch.randperm(n, generator=draw).tensor_split(parts) if parts > 1 else [slice(None)]
        if config.schedule == "cosine":
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (1 + math.cos(math.pi * step / (config.epochs * parts))) / 2
        rows = batches[step % parts]
        loss = _loss(net, config, *(part[rows] for part in data), ball)
        if not loss.isfinite():
            raise FloatingPointError(
                f"loss must stay finite, got {loss.item()} in epoch {step // parts + 1}; lower lr = {config.lr:g}"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def _loss(
    net: nn.Sequential, config: GroupTraining, x: Tensor, y: Tensor, a: Tensor, weights: Tensor, ball: dict[str, Any]
) -> Tensor:
    """The loss of one batch."""
    kinds = []
    if config.attack in ("accuracy", "both"):
        kinds.append(push(net, x, 1 - 2 * y, **ball)[0])
    if config.attack in ("fairness", "both"):
        kinds.append(fairness_attack(net, x, y, a, objective=config.objective, **ball)[0])
    scores = [net(samples) for samples in kinds or [x]]
    losses = [weights * F.binary_cross_entropy_with_logits(s, y.to(s), reduction="none") for s in scores]
    loss = torch.stack(losses).mean()
    if config.gamma > 0:
        loss = loss + config.gamma * soft_gaps(scores[-1].sigmoid(), y, a, config.objective).abs().sum()
    if config.ridge > 0:
        squares = [layer.weight.square().sum() for layer in net if isinstance(layer, nn.Linear)]
        loss = loss + config.ridge / 2 * torch.stack(squares).sum()
    return loss


def _network(config: GroupTraining, d: int, draw: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between and one output; weights and biases uniform in +-1 / sqrt(inputs)."""
    assert isinstance(config.hidden, tuple)
    widths = [d, *(config.hidden if config.model == "mlp" else ()), 1]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layer = nn.utils.skip_init(nn.Linear, n_in, n_out)  # draws nothing from torch's own generator
        for p in layer.parameters():
            nn.init.uniform_(p, -(n_in**-0.5), n_in**-0.5, generator=draw)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten(0))
