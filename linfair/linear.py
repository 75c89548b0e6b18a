"""Linear classifiers and their exact natural and robust class risks on Gaussian classes.

Binary, ``f(x) = [w.x + b > 0]`` with class 0 = "-" and class 1 = "+", s_y = -1, +1:

    R_y = Phi(-z_y),   z_y = (s_y (w.mu_y + b) - eps_y ||w||_*) / sqrt(w' Sigma_y w).

C classes, ``f(x) = argmax_k w_k.x + b_k``: the adversary needs to beat one rival only, so the robustly correct region
is ``{(w_y - w_j).x + b_y - b_j > eps_y ||w_y - w_j||_*  for all j != y}`` and R_y is one minus a Gaussian orthant
probability. Under a mixing law risks are scale mixtures, ``E_c Phi(-z_y / sqrt(c))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp

from linfair._check import as_array, as_labels, as_priors
from linfair._union import log_union
from linfair.mixing import Law, laws_of
from linfair.norms import NATURAL, Threat, as_threat

if TYPE_CHECKING:
    from linfair.gaussian import ClassGaussians


@dataclass(frozen=True)
class ClassRisks:
    """Class risks [C] with bounds, in log space so that 1e-300 and below stay meaningful; binary bounds coincide."""

    log_value: np.ndarray
    log_lower: np.ndarray
    log_upper: np.ndarray

    @property
    def value(self) -> np.ndarray:
        return np.exp(self.log_value)

    @property
    def lower(self) -> np.ndarray:
        return np.exp(self.log_lower)

    @property
    def upper(self) -> np.ndarray:
        return np.exp(self.log_upper)

    @property
    def disparity(self) -> float:
        """``R_+ - R_-`` for two classes (signed), largest minus smallest risk for more."""
        risk = self.value
        return float(risk[1] - risk[0]) if len(risk) == 2 else float(risk.max() - risk.min())

    def average(self, priors: ArrayLike) -> float:
        """``sum_y pi_y R_y``."""
        return float(as_priors(priors, len(self.log_value)) @ self.value)


@dataclass(frozen=True)
class ClassErrors:
    """Class-wise error rates of samples: the empirical twin of :class:`ClassRisks`; a class without samples is NaN."""

    rate: np.ndarray
    counts: np.ndarray

    @property
    def se(self) -> np.ndarray:
        """Binomial standard error ``sqrt(R (1 - R) / n_y)`` [C]; of a rate of 0 or 1, which is not exact, with half an
        error more or less."""
        extreme = (self.rate == 0.0) | (self.rate == 1.0)
        rate = np.where(extreme, (self.counts * self.rate + 0.5) / (self.counts + 1.0), self.rate)
        return np.sqrt(rate * (1.0 - rate) / self.counts)

    @property
    def disparity(self) -> float:
        """``R_+ - R_-`` for two classes (signed), largest minus smallest rate for more."""
        return float(self.rate[1] - self.rate[0]) if len(self.rate) == 2 else float(np.ptp(self.rate))

    @property
    def disparity_se(self) -> float:
        """Standard error of the disparity: the classes are independent samples."""
        if len(self.rate) == 2:
            return float(np.hypot(*self.se))
        return float(np.hypot(self.se[self.rate.argmax()], self.se[self.rate.argmin()]))


@dataclass(frozen=True, eq=False, init=False)
class LinearClassifier:
    """A linear classifier: binary from w [d] and a number b, C classes from W [C, d] and b [C].

    Risks and errors ask for a positive margin: a tie, which an attack of any radius breaks, counts as an error.
    """

    w: np.ndarray
    b: np.ndarray

    def __init__(self, w: ArrayLike, b: ArrayLike) -> None:
        w = as_array("w", w)
        if w.ndim not in (1, 2) or (w.ndim == 2 and len(w) < 2):
            raise ValueError(f"w must have shape (d,) or (C, d) with C >= 2, got {w.shape}; use (d,) for two classes")
        object.__setattr__(self, "w", w)
        object.__setattr__(self, "b", as_array("b", b, shape=w.shape[:-1]))

    @property
    def n_classes(self) -> int:
        return 2 if self.w.ndim == 1 else len(self.w)

    def scores(self, X: ArrayLike) -> np.ndarray:
        """``w.x + b``: [n] for two classes, [n, C] otherwise."""
        return as_array("X", X, shape=(None, self.w.shape[-1])) @ self.w.T + self.b

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Class indices [n]."""
        scores = self.scores(X)
        return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)

    def class_risks(
        self, model: ClassGaussians, threat: Threat = NATURAL, mix: Law | Sequence[Law] | None = None
    ) -> ClassRisks:
        """Exact class risks under an attack, and under a mixing law if given.

        Two classes: closed form. More: value, lower and upper with ``max_j Phi(-z_j) <= R_y <= sum_j Phi(-z_j)`` over
        the rivals j; the value is exact for two rivals or when all rivals lie on one line (rank one), otherwise
        integrated to a relative error near 1e-4 and kept within the bounds.
        """
        self._check_model(model)
        radii = as_threat(threat).radii(model.n_classes)
        per_class = []
        for y, law in enumerate(laws_of(mix, model.n_classes)):
            normals, offsets = self._rivals(y)
            mean = normals @ model.means[y] + offsets - radii[y] * threat.dual_norm(normals)
            cov = model.bilinear(normals, y)
            c, log_p = law.log_nodes()
            if len(mean) == 1 and cov[0, 0] > 0:  # one rival: closed form for all nodes at once
                parts = np.tile(log_ndtr(-mean[0] / np.sqrt(c * cov[0, 0]))[:, None], 3)
            else:
                parts = np.array([log_union(mean, cov * scale) for scale in c])
            per_class.append(logsumexp(parts + log_p[:, None], axis=0) if len(c) > 1 else parts[0])
        value, lower, upper = np.array(per_class).T
        return ClassRisks(value, lower, upper)

    def margins(self, model: ClassGaussians, threat: Threat = NATURAL) -> np.ndarray:
        """Two classes: standardized robust margins (z_-, z_+), each class in units of its own sd; R_y = Phi(-z_y)."""
        self._check_model(model)
        if self.w.ndim != 1:
            raise ValueError("margins need a binary classifier, got one weight a class; use class_risks")
        signs = np.array([-1.0, 1.0])
        gain = signs * (model.means @ self.w + self.b) - as_threat(threat).radii(2) * threat.dual_norm(self.w)
        with np.errstate(divide="ignore", invalid="ignore"):
            return gain / model.sds(self.w)

    def _check_model(self, model: ClassGaussians) -> None:
        if (model.n_classes, model.dim) != (self.n_classes, self.w.shape[-1]):
            raise ValueError(
                f"model must have {self.n_classes} classes in {self.w.shape[-1]} dimensions like the classifier, "
                f"got {model.n_classes} in {model.dim}; fit both on the same data"
            )

    def _rivals(self, y: int) -> tuple[np.ndarray, np.ndarray]:
        """Normals and offsets of the half-spaces that keep class y correct, one row a rival."""
        if self.w.ndim == 1:
            sign = 2 * y - 1
            return sign * self.w[None], np.array([sign * self.b])
        others = np.arange(self.n_classes) != y
        return self.w[y] - self.w[others], self.b[y] - self.b[others]

    def robust_margins(self, X: ArrayLike, y: ArrayLike, threat: Threat = NATURAL) -> np.ndarray:
        """Per-sample margin left after the exact worst attack, ``min_j (score gap - eps_y ||w_y - w_j||_*)`` [n]."""
        data = as_array("X", X, shape=(None, self.w.shape[-1]))
        labels = as_labels("y", y, len(data), self.n_classes)
        radii = as_threat(threat).radii(self.n_classes)
        margin = np.empty(len(data))
        for k in np.unique(labels):
            normals, offsets = self._rivals(int(k))
            own = labels == k
            margin[own] = (data[own] @ normals.T + offsets - radii[k] * threat.dual_norm(normals)).min(1)
        return margin

    def class_errors(self, X: ArrayLike, y: ArrayLike, threat: Threat = NATURAL) -> ClassErrors:
        """Class-wise error rates of samples under the exact worst attack (no box)."""
        wrong = self.robust_margins(X, y, threat) <= 0
        labels = np.asarray(y, int)
        counts = np.bincount(labels, minlength=self.n_classes)
        with np.errstate(invalid="ignore"):
            return ClassErrors(np.bincount(labels, wrong, self.n_classes) / counts, counts)

    def attack(self, X: ArrayLike, y: ArrayLike, threat: Threat) -> np.ndarray:
        """Worst-case samples [n, d]: each moved its full radius towards the rival easiest to reach."""
        data = as_array("X", X, shape=(None, self.w.shape[-1]))
        labels = as_labels("y", y, len(data), self.n_classes)
        radii = as_threat(threat).radii(self.n_classes)
        attacked = data.copy()
        for k in np.unique(labels):
            normals, offsets = self._rivals(int(k))
            own = labels == k
            gaps = data[own] @ normals.T + offsets - radii[k] * threat.dual_norm(normals)
            shifts = np.stack([threat.worst_shift(-row) for row in normals])
            attacked[own] += radii[k] * shifts[gaps.argmin(1)]
        return attacked


def log_risk(z: ArrayLike) -> np.ndarray:
    """``log Phi(-z)``, accurate for any margin z."""
    return log_ndtr(-np.asarray(z, float))
