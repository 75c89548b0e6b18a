"""What training measures per class (:class:`ClassState`) and what a method's rule may steer (:class:`ClassWeights`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

WIDE = 9
"""Where the columns of ClassState's table begin that come once a class."""


class _Columns:
    """A field of :class:`ClassState`: a view of some columns of its table. Assignment writes into the table."""

    def __init__(self, start: int, wide: int = 0, doc: str = ""):
        self.start, self.wide, self.__doc__ = start, wide, doc

    def __get__(self, state: ClassState | None, owner: type | None = None) -> Tensor:
        if state is None:
            return self  # pyright: ignore[reportReturnType]
        first = self.start + max(self.wide - 1, 0) * state.n_classes
        return state.sums[:, first : first + state.n_classes] if self.wide else state.sums[:, first]

    def __set__(self, state: ClassState, value: Tensor) -> None:
        self.__get__(state).copy_(torch.as_tensor(value))


class ClassState:
    """Sums over the samples of one epoch, a row a class, float64 on the device; counts are exact.

    One table [C, 9 + 2C] holds all of them, so a step is one small matrix product: ``sums += onehot(y)^T @ features``.
    Nothing is read back before somebody asks.
    """

    n = _Columns(0, doc="[C] samples seen")
    clean_n = _Columns(1, doc="[C] samples with natural logits")
    robust_n = _Columns(2, doc="[C] samples with adversarial logits")
    clean_correct = _Columns(3, doc="[C] classified correctly, natural")
    robust_correct = _Columns(4, doc="[C] classified correctly under attack")
    clean_loss = _Columns(5, doc="[C] sum of the cross-entropy, natural")
    robust_loss = _Columns(6, doc="[C] sum of the cross-entropy under attack")
    survived = _Columns(7, doc="[C] sum of the attack's iterates that were still classified correctly")
    kl = _Columns(8, doc="[C] sum of KL(p(x) || p(x')), of samples with both logits")
    softmax = _Columns(WIDE, 1, doc="[C, C] row: true class, the sum of the softmax of its attacked samples")
    confusion = _Columns(WIDE, 2, doc="[C, C] row: true class, column: class predicted under attack")

    def __init__(self, n_classes: int, device: torch.device | str = "cpu"):
        self.n_classes = n_classes
        self.sums = torch.zeros(n_classes, WIDE + 2 * n_classes, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(
        self,
        labels: Tensor,
        logits_adv: Tensor | None = None,
        logits_nat: Tensor | None = None,
        survived: Tensor | None = None,
    ) -> None:
        """Add a batch: labels [N], logits [N, C] where there are any, survived [N]. Does not synchronise."""
        own = torch.nn.functional.one_hot(labels, self.n_classes).double()
        features = own.new_zeros(len(labels), self.sums.shape[1])
        features[:, 0] = 1.0
        log_p_nat, log_p_adv = (None if v is None else v.float().log_softmax(1) for v in (logits_nat, logits_adv))
        for logits, log_p, count, correct, loss in (
            (logits_nat, log_p_nat, 1, 3, 5),
            (logits_adv, log_p_adv, 2, 4, 6),
        ):
            if logits is None or log_p is None:
                continue
            predicted = logits.argmax(1)
            features[:, count] = 1.0
            features[:, correct] = predicted == labels
            features[:, loss] = -log_p.gather(1, labels[:, None])[:, 0]
            if logits is logits_adv:
                features[:, WIDE : WIDE + self.n_classes] = log_p.exp()
                features.scatter_(1, WIDE + self.n_classes + predicted[:, None], 1.0)
        if log_p_nat is not None and log_p_adv is not None:
            features[:, 8] = (log_p_nat.exp() * (log_p_nat - log_p_adv)).sum(1)
        if survived is not None:
            features[:, 7] = survived
        self.sums.addmm_(own.T, features)

    @property
    def clean_accuracy(self) -> Tensor:
        """[C], each class by its own count; NaN for a class without natural logits."""
        return self.clean_correct / self.clean_n

    @property
    def robust_accuracy(self) -> Tensor:
        """[C], each class by its own count; NaN for a class without adversarial logits."""
        return self.robust_correct / self.robust_n

    @property
    def mean_clean_loss(self) -> Tensor:
        """[C] mean cross-entropy, natural, each class by its own count."""
        return self.clean_loss / self.clean_n

    @property
    def mean_robust_loss(self) -> Tensor:
        """[C] mean cross-entropy under attack, each class by its own count."""
        return self.robust_loss / self.robust_n

    @property
    def mean_kl(self) -> Tensor:
        """[C] mean ``KL(p(x) || p(x'))``, each class by its own count; NaN for a class without both kinds of logits."""
        return self.kl / torch.where(self.clean_n > 0, self.robust_n, 0.0)

    @property
    def mean_softmax(self) -> Tensor:
        """[C, C] row: true class, the mean softmax of its attacked samples; rows sum to 1."""
        return self.softmax / self.robust_n[:, None]

    def reset(self) -> None:
        """Forget the epoch."""
        self.sums.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        return {"sums": self.sums}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state["sums"].shape != self.sums.shape:
            raise ValueError(
                f"sums must have shape {tuple(self.sums.shape)}, got {tuple(state['sums'].shape)}; "
                "the state belongs to another number of classes"
            )
        self.sums.copy_(state["sums"])


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """What a rule may steer, float32, one entry a class. Neutral weights leave a method what its parent is.

    A rule returns new weights: ``dataclasses.replace(weights, loss=...)``.

    Args:
        loss: [C] weight of a sample's loss.
        kl: [C] weight of a sample's KL term.
        margin: [C] scales eps.
        step: [C] scales the step of the attack.
        temperature_adv, temperature_nat: [C] temperatures of a distillation, never one buffer.
        mix: [C] 1 where a class takes part in mixing, 0 where not.
        target_prior: [C, C] row: true class, the weights of the classes a targeted attack draws from.
        cost: [C] what a rule has added up over the epochs, 0 at first; it steers nothing by itself.
    """

    loss: Tensor
    kl: Tensor
    margin: Tensor
    step: Tensor
    temperature_adv: Tensor
    temperature_nat: Tensor
    mix: Tensor
    target_prior: Tensor
    cost: Tensor

    @classmethod
    def neutral(cls, n_classes: int, device: torch.device | str = "cpu") -> ClassWeights:
        """Ones everywhere; targets are uniform over the wrong classes, and nothing has cost anything."""
        neutral = {f.name: torch.ones(n_classes, device=device) for f in fields(cls)}
        neutral["target_prior"] = (1.0 - torch.eye(n_classes, device=device)) / max(n_classes - 1, 1)
        neutral["cost"] = torch.zeros(n_classes, device=device)
        return cls(**neutral)

    @property
    def n_classes(self) -> int:
        return len(self.loss)

    def is_neutral(self) -> bool:
        """Whether nothing is steered, whatever has been added up. Reads the device."""
        neutral = replace(ClassWeights.neutral(self.n_classes), cost=self.cost.cpu())
        return all(torch.equal(v.cpu(), getattr(neutral, name)) for name, v in self.state_dict().items())

    def to(self, device: torch.device | str) -> ClassWeights:
        """The same as float32 on `device`."""
        return ClassWeights(**{k: v.to(device, torch.float32) for k, v in self.state_dict().items()})

    def state_dict(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> ClassWeights:
        return cls(**{f.name: state[f.name] for f in fields(cls)})
