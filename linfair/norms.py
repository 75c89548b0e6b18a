"""The three attack norms and the threat model built on them.

An l_p attack of radius eps meets a linear score through the dual norm:
``max_{||delta||_p <= eps} w.delta = eps ||w||_q`` with ``1/p + 1/q = 1``. Everything the package needs of a norm is
in one row of ``NORMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from linfair._check import as_array, as_positive


def _l1_ball(x: np.ndarray, radius: float) -> np.ndarray:
    """Euclidean projection onto the l1 ball: soft-threshold at the level that spends exactly the radius."""
    magnitude = np.abs(x)
    if magnitude.sum() <= radius:
        return x.copy()
    ordered = np.sort(magnitude)[::-1]
    levels = (np.cumsum(ordered) - radius) / np.arange(1, len(x) + 1)
    theta = levels[np.flatnonzero(ordered >= levels)[-1]]
    return np.sign(x) * np.maximum(magnitude - theta, 0.0)


def _l2_ball(x: np.ndarray, radius: float) -> np.ndarray:
    length = float(np.linalg.norm(x))
    return x.copy() if length <= radius else x * (radius / length)


def _linf_ball(x: np.ndarray, radius: float) -> np.ndarray:
    return np.clip(x, -radius, radius)


def _one_hot(w: np.ndarray) -> np.ndarray:
    shift = np.zeros_like(w)
    j = int(np.argmax(np.abs(w)))
    shift[j] = np.sign(w[j])
    return shift


def _unit(w: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(w))
    return w / length if length > 0 else np.zeros_like(w)


@dataclass(frozen=True)
class Norm:
    """One l_p norm with its dual exponent ``q``, the projection onto its ball and the attack on linear scores."""

    name: str
    p: float
    q: float
    project: Callable[[np.ndarray, float], np.ndarray] = field(repr=False)
    """``project(x [d], radius)``: Euclidean projection of x onto ``{||z||_p <= radius}``."""
    dual_maximiser: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    """``dual_maximiser(w [d])``: delta with ``||delta||_p <= 1`` and ``w.delta = ||w||_q``; 0 for w = 0."""

    def of(self, x: ArrayLike, axis: int = -1) -> np.ndarray:
        """``||x||_p`` along an axis."""
        return np.linalg.norm(np.asarray(x, float), ord=self.p, axis=axis)

    def dual_of(self, w: ArrayLike, axis: int = -1) -> np.ndarray:
        """``||w||_q`` along an axis."""
        return np.linalg.norm(np.asarray(w, float), ord=self.q, axis=axis)


NORMS = {
    "l1": Norm("l1", 1.0, np.inf, _l1_ball, _one_hot),
    "l2": Norm("l2", 2.0, 2.0, _l2_ball, _unit),
    "linf": Norm("linf", np.inf, 1.0, _linf_ball, np.sign),
}
ALIASES = {"1": "l1", "2": "l2", "inf": "linf", "l_1": "l1", "l_2": "l2", "l_inf": "linf", "1.0": "l1", "2.0": "l2"}


def get_norm(name: str | float | Norm) -> Norm:
    """The norm of that name or exponent: "l1", "l2", "linf", 1, 2, inf, "l_inf", ..."""
    if isinstance(name, Norm):
        return name
    key = str(name).lower()
    key = ALIASES.get(key, key)
    if key not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}; pick the norm that bounds the attack")
    return NORMS[key]


@dataclass(frozen=True, eq=False)
class Threat:
    """An attacker who may move a sample of class y by any ``delta`` with ``||delta||_p <= eps_y``.

    Args:
        norm: "l1", "l2" or "linf" (aliases as in :func:`get_norm`).
        eps: one radius for every class, or one a class, in the units of x.
        lift: None, or P [p, d] with orthonormal columns where the classifier reads features ``z = P' x`` and the
            attack lives in x: weights w then feel a shift of ``||P w||_q`` instead of ``||w||_q``.

    Raises:
        ValueError: unknown norm, negative radius, non-finite input, columns of ``lift`` that are not orthonormal.
    """

    norm: str = "linf"
    eps: float | Sequence[float] = 0.0
    lift: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", get_norm(self.norm).name)
        eps = as_positive("eps", self.eps, strict=False)
        if eps.ndim > 1:
            raise ValueError(f"eps must be a number or one number a class, got shape {eps.shape}; flatten it")
        object.__setattr__(self, "eps", float(eps) if eps.ndim == 0 else tuple(eps.tolist()))
        if self.lift is not None:
            lift = as_array("lift", self.lift, ndim=2)
            if np.abs(lift.T @ lift - np.eye(lift.shape[1])).max() > 1e-8:
                raise ValueError(
                    "lift must have orthonormal columns, got lift' lift far from the identity; use a QR or SVD basis"
                )
            object.__setattr__(self, "lift", lift)

    @property
    def ball(self) -> Norm:
        return get_norm(self.norm)

    def radii(self, n_classes: int) -> np.ndarray:
        """One radius a class, [n_classes]."""
        eps = np.asarray(self.eps, float)
        if eps.ndim == 1 and len(eps) != n_classes:
            raise ValueError(
                f"eps must have shape (num_classes,) = ({n_classes},), got ({len(eps)},); "
                "pass a float for one radius for all classes"
            )
        return np.broadcast_to(eps, (n_classes,)).copy()

    def scaled(self, factor: float) -> Threat:
        """The same threat with every radius multiplied by ``factor``."""
        eps = np.asarray(self.eps, float) * factor
        return Threat(self.norm, float(eps) if eps.ndim == 0 else tuple(eps.tolist()), self.lift)

    def dual_norm(self, w: np.ndarray) -> np.ndarray:
        """What a unit radius takes from the score of ``w [..., d]``: ``||w||_q``, with a lift ``||P w||_q``."""
        return self.ball.dual_of(w if self.lift is None else w @ self._basis(w).T)

    def worst_shift(self, w: np.ndarray) -> np.ndarray:
        """The unit-radius shift of the features that raises ``w.z`` most, [d]: ``w.worst_shift(w) = dual_norm(w)``."""
        if self.lift is None:
            return self.ball.dual_maximiser(w)
        lift = self._basis(w)
        return self.ball.dual_maximiser(lift @ w) @ lift

    def _basis(self, w: np.ndarray) -> np.ndarray:
        assert self.lift is not None
        if self.lift.shape[1] != w.shape[-1]:
            raise ValueError(
                f"lift must have {w.shape[-1]} columns, one a feature of w, got shape {self.lift.shape}; transpose it?"
            )
        return self.lift


NATURAL = Threat("l2", 0.0)
"""No attack."""


def as_threat(threat: Threat) -> Threat:
    """``threat`` itself; raises TypeError for anything else, such as the name of a norm."""
    if not isinstance(threat, Threat):
        got = repr(threat) if isinstance(threat, str | int | float) else type(threat).__name__
        norm = threat if isinstance(threat, str) else "linf"
        raise TypeError(f'threat must be a Threat, got {got}; pass Threat("{norm}", eps)')
    return threat
