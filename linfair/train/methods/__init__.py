"""The training methods: one file a paper, one class a method. See docs/methods.md for their equations and defaults."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from linfair.train.methods.absld import ABSLD
from linfair.train.methods.ard import ARD
from linfair.train.methods.cfa import CFAPGD, CFATRADES
from linfair.train.methods.dafa import DAFAPGD, DAFATRADES
from linfair.train.methods.domain_mixup import (
    DomainMixupBeta,
    DomainMixupEasy,
    DomainMixupHard,
    DomainMixupMWay,
    DomainMixupNatural,
    DomainMixupNaturalBeta,
    DomainMixupNaturalMWay,
    DomainMixupRobust,
)
from linfair.train.methods.faal import FAAL
from linfair.train.methods.fair_tat import FairTAT
from linfair.train.methods.method import Method
from linfair.train.methods.pgd_at import PGDAT
from linfair.train.methods.rslad import RSLAD
from linfair.train.methods.standard import Standard
from linfair.train.methods.trades import TRADES
from linfair.train.methods.wat import WAT

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Standard,
        PGDAT,
        TRADES,
        DomainMixupNatural,
        DomainMixupNaturalBeta,
        DomainMixupNaturalMWay,
        DomainMixupRobust,
        DomainMixupBeta,
        DomainMixupMWay,
        DomainMixupEasy,
        DomainMixupHard,
        DAFAPGD,
        DAFATRADES,
        FairTAT,
        ARD,
        RSLAD,
        ABSLD,
        CFAPGD,
        CFATRADES,
        WAT,
        FAAL,
    )
}

__all__ = ["METHODS", "Method", "get_method", "parent_of"]


def get_method(name: str, **options: Any) -> Method:
    """A method by its name, options being its fields.

    Raises:
        ValueError: unknown name or option, or a value out of range.
    """
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}; pick one of them")
    known = [field.name for field in fields(METHODS[name])]
    for option in options:
        if option not in known:
            raise ValueError(
                f"options of {name} must be among {', '.join(known) or 'none'}, got {option!r}; drop or rename it"
            )
    return METHODS[name](**options)


def parent_of(method: Method) -> Method:
    """The method it was made from, with the values of the fields that both have."""
    cls = METHODS[method.parent]
    return cls(**{field.name: getattr(method, field.name) for field in fields(cls)})
