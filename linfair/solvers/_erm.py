"""Robust empirical risk: the problem that the convex and the fast solver share, and its certificates bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from linfair._check import as_array, as_binary_data, as_positive
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat, as_threat

Loss = Literal["logistic", "hinge"]
BLOCK = 2**17
"""Entries of X weighted at a time, so that the copy stays in cache."""


@dataclass(frozen=True, eq=False)
class Units:
    """What standardising took from the samples: their mean [d] and one scale."""

    mean: np.ndarray
    scale: float

    def classifier(self, w: np.ndarray, b: float) -> LinearClassifier:
        """The classifier of the original samples, from one of the standardised samples."""
        original = w / self.scale
        return LinearClassifier(original, np.array(b - original @ self.mean))


@dataclass(frozen=True, eq=False)
class Erm:
    """``min_{w,b} sum_i c_i l(m_i) + ridge/2 ||w||_2^2`` with margins ``m_i = s_i (w.x_i + b) - eps_i ||w||_*``.

    Attributes:
        X: samples [n, d]; signs: s [n], -1 for class 0 and +1 for class 1; radii: eps [n]; shares: c [n], weights
        over n.
    """

    X: np.ndarray
    signs: np.ndarray
    radii: np.ndarray
    shares: np.ndarray
    threat: Threat
    loss: Loss
    ridge: float

    @classmethod
    def build(
        cls, X: ArrayLike, y: ArrayLike, threat: Threat, loss: Loss, ridge: float, weights: ArrayLike | None
    ) -> Erm:
        """Checked problem data. Under l2 a lift with orthonormal columns changes no norm and is dropped."""
        data, labels = as_binary_data(X, y)
        if loss not in get_args(Loss):
            raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}; pick the training loss")
        ridge = float(as_positive("ridge", as_array("ridge", ridge, ndim=0), strict=False))
        shares = np.ones(len(data)) if weights is None else as_array("weights", weights, shape=(len(data),))
        as_positive("weights", shares)
        radii = as_threat(threat).radii(2)
        reduced = feature_threat(threat, data.shape[1])
        if not radii.any():
            reduced = NATURAL
        return cls(data, 2.0 * labels - 1.0, radii[labels], shares / len(data), reduced, loss, ridge)

    def standardised(self) -> tuple[Erm, Units]:
        """The same problem, of the same value, with samples of mean 0 and a mean square entry of 1."""
        mean = self.X.mean(0)
        X = self.X - mean
        scale = float(np.sqrt(np.mean(X**2))) or 1.0
        X /= scale
        return replace(self, X=X, radii=self.radii / scale, ridge=self.ridge / scale**2), Units(mean, scale)

    def margins(self, w: np.ndarray, b: float) -> np.ndarray:
        return self.signs * (self.X @ w + b) - self.radii * self.threat.dual_norm(w)

    def objective(self, w: np.ndarray, b: float) -> float:
        m = self.margins(w, b)
        loss = np.logaddexp(0.0, -m) if self.loss == "logistic" else np.maximum(1.0 - m, 0.0)
        return float(self.shares @ loss + self.ridge / 2.0 * (w @ w))

    def separated(self, w: np.ndarray, b: float) -> bool:
        """Every robust margin is positive, beyond rounding."""
        m = self.margins(w, b)
        return bool(m.min() > 1e-12 * np.abs(m).max())

    def alpha(self, w: np.ndarray, b: float) -> np.ndarray:
        """Dual point ``-l'(m_i)`` of the logistic loss, [n] in (0, 1)."""
        return expit(-self.margins(w, b))

    def moments(self, a: np.ndarray) -> tuple[float, np.ndarray, float]:
        """``sum a_i s_i``, ``g = sum a_i s_i x_i`` [d] and ``sum a_i eps_i`` of sample weights a [n]."""
        signed = a * self.signs
        return float(signed.sum()), signed @ self.X, float(a @ self.radii)

    def gram(self, a: np.ndarray, v: np.ndarray) -> np.ndarray:
        """``sum a_i r_i r_i'`` [d+1, d+1] of the rows ``r_i = (s_i x_i - eps_i v, s_i)``, for a >= 0 and a shift v
        [d].
        """
        n, d = self.X.shape
        half = np.sqrt(a)
        block = max(1, BLOCK // d)
        inner, border = np.zeros((d, d)), np.zeros(d)
        buffer = np.empty((min(block, n), d))
        for start in range(0, n, block):
            part = slice(start, start + block)
            rows = np.multiply(half[part, None], self.X[part], out=buffer[: len(half[part])])
            inner += rows.T @ rows
            border += half[part] @ rows
        out = np.empty((d + 1, d + 1))
        out[:d, :d] = inner
        out[d, :d] = out[:d, d] = border
        out[d, d] = a.sum()
        reach = a * self.radii
        if reach.any():
            signed = reach * self.signs
            cross = np.append(signed @ self.X, signed.sum())
            shift = np.append(v, 0.0)
            out -= np.outer(cross, shift) + np.outer(shift, cross)
            out += float(reach @ self.radii) * np.outer(shift, shift)
        return out

    def rows_times(self, step: np.ndarray, v: np.ndarray) -> np.ndarray:
        """``r_i . step`` [n] for the rows of :meth:`gram`."""
        return self.signs * (self.X @ step[:-1] + step[-1]) - self.radii * (v @ step[:-1])

    def best_constant(self) -> float:
        """The b that is best at w = 0."""
        minus, plus = self.shares[self.signs < 0].sum(), self.shares[self.signs > 0].sum()
        return float(np.log(plus / minus) if self.loss == "logistic" else np.sign(plus - minus))

    def constant(self) -> tuple[float, np.ndarray] | None:
        """``(b, alpha)`` when w = 0 is optimal under the logistic loss and no lift hides it: ``||Delta||_p <= ebar``.

        Delta is the difference of the (weighted) class means: at w = 0 the loss derivative is one number a class.
        """
        plus = self.signs > 0
        total = np.array([self.shares[~plus].sum(), self.shares[plus].sum()])
        means = [self.shares[own] @ self.X[own] / self.shares[own].sum() for own in (~plus, plus)]
        reach = float(self.radii[~plus][0] + self.radii[plus][0])
        if self.threat.lift is not None or self.threat.ball.of(means[1] - means[0]) > reach:
            return None
        return self.best_constant(), np.where(plus, total[0], total[1]) / total.sum()


def feature_threat(threat: Threat, dim: int) -> Threat:
    """The threat in ``dim`` features; an l2 lift is dropped, for its orthonormal columns keep lengths."""
    if threat.lift is None:
        return threat
    if threat.lift.shape[1] != dim:
        raise ValueError(
            f"lift must have one column a feature ({dim}), got shape {threat.lift.shape}; pass the basis that made them"
        )
    return Threat("l2", threat.eps) if threat.norm == "l2" else threat
