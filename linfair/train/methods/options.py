"""Defaults of hyper-parameters that bring their range along: ``warmup: float = share(0.64)``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import field
from typing import Any

from linfair._check import as_count, as_positive, as_share


def _checked(default: Any, check: Callable[[str, Any], Any]) -> Any:
    return field(default=default, metadata={"check": check})


def positive(default: float) -> Any:
    """A hyper-parameter above 0."""
    return _checked(default, as_positive)


def nonnegative(default: float) -> Any:
    """A hyper-parameter of at least 0."""
    return _checked(default, lambda name, value: as_positive(name, value, strict=False))


def share(default: float) -> Any:
    """A hyper-parameter in [0, 1]."""
    return _checked(default, as_share)


def count(default: int) -> Any:
    """A hyper-parameter that counts, from 1 on."""
    return _checked(default, as_count)


def choice(default: str, known: Collection[str]) -> Any:
    """A hyper-parameter that is one of a few words."""

    def check(name: str, value: str) -> None:
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}; pick one of them")

    return _checked(default, check)
