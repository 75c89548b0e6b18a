"""The attacks of an evaluation, by name: what they are, in which norm and radius."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from linfair.attacks import corruptions
from linfair.attacks.autoattack import COMPONENTS

NEEDS = {
    "clean": (),
    "pgd": ("steps", "step", "loss"),
    "autoattack": ("components",),
    "corruption": ("kind", "severity"),
}
"""Kind of an attack -> the options that it cannot do without."""


@dataclass(frozen=True)
class Attack:
    """One attack of an evaluation.

    Args:
        name: as it is asked for and stored.
        title: as tables show it.
        kind: "clean", "pgd", "autoattack" or "corruption".
        norm, eps: its own threat; None for that of the evaluation.
        options: pgd: steps, step as a share of eps, loss, restarts (an l1 step moves the hundredth of the entries of
            largest gradient); autoattack: the components; corruption: kind and severity.
        note: what a table must say about it.
    """

    name: str
    title: str
    kind: str
    norm: str | None = None
    eps: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in NEEDS:
            raise ValueError(f"kind must be one of {', '.join(NEEDS)}, got {self.kind!r}; pick one of them")
        if missing := [option for option in NEEDS[self.kind] if option not in self.options]:
            raise ValueError(f"options of kind {self.kind!r} must hold {missing[0]}, got {list(self.options)}; add it")

    def threat(self, norm: str, eps: float) -> tuple[str, float] | None:
        """(norm, radius) where the evaluation asks for ``norm`` and ``eps``; None for what has no radius."""
        if self.kind in ("clean", "corruption"):
            return None
        return self.norm or norm, eps if self.eps is None else self.eps


def _pgd(steps: int, step: float, loss: str = "ce", restarts: int = 1) -> dict[str, Any]:
    return {"steps": steps, "step": step, "loss": loss, "restarts": restarts}


_UNSEEN = "unseen threat"
_ALL = [
    Attack("clean", "clean", "clean"),
    Attack("pgd20", "PGD-20", "pgd", options=_pgd(20, 1 / 4)),
    Attack("cw20", "CW-20", "pgd", options=_pgd(20, 1 / 4, "margin"), note="PGD on the margin loss"),
    Attack("apgd", "APGD-CE + APGD-T", "autoattack", options={"components": COMPONENTS[:2]}),
    Attack("autoattack", "AutoAttack", "autoattack", options={"components": COMPONENTS}, note="standard version"),
    Attack("l2", "l2 0.5, PGD-50", "pgd", "l2", 0.5, _pgd(50, 1 / 10), _UNSEEN),
    Attack("l1", "l1 12, PGD-50 x 5", "pgd", "l1", 12.0, _pgd(50, 1 / 2, restarts=5), f"{_UNSEEN}; APGD is stronger"),
    Attack("linf12", "linf 12/255, PGD-50", "pgd", "linf", 12 / 255, _pgd(50, 1 / 10), _UNSEEN),
    *(
        Attack(
            f"{kind}-{severity}",
            f"{kind} {severity}",
            "corruption",
            options={"kind": kind, "severity": severity},
            note=corruptions.LABEL,
        )
        for kind in corruptions.CORRUPTIONS
        for severity in corruptions.SEVERITIES
    ),
]
ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}


def get_attack(attack: str | Attack) -> Attack:
    """The attack by name; an :class:`Attack` is itself. Raises ValueError listing the names."""
    if isinstance(attack, Attack):
        return attack
    if attack not in ATTACKS:
        raise ValueError(f"attack must be one of {', '.join(ATTACKS)}, got {attack!r}; pick one of them")
    return ATTACKS[attack]
