"""What every solver returns: the classifier, its exact risks, the objective, a certified gap and a status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from linfair.linear import ClassRisks, LinearClassifier


class Status(IntEnum):
    """How an answer is to be read. Mathematical impossibilities are statuses; exceptions are for malformed input.

    An integer, so that a grid of problems has an array of statuses.
    """

    OPTIMAL = 0
    """The classifier attains the optimum, within ``Solution.gap`` where one is certified."""

    CONSTANT_OPTIMAL = 1
    """No proper hyperplane beats predicting one class for everything: w = 0, risks 0 and 1."""

    NOT_ROBUSTLY_SEPARABLE = 2
    """The attack can make the class laws meet: no hyperplane has a robust risk below 1/2 in both classes."""

    ROBUSTLY_SEPARABLE = 3
    """The infimum of a loss is approached only as w grows without bound; the classifier is the limit direction."""

    INACCURATE = 4
    """The solver stopped early: the answer is feasible and its gap honest, but the gap is not small."""

    LOCAL = 5
    """The best of the local minima found; nothing is certified."""


@dataclass(frozen=True, eq=False)
class Solution:
    """An optimum with what is known about it.

    Attributes:
        maybe_classifier: the optimal classifier, None when there is none; :attr:`classifier` insists.
        maybe_risks: its exact class risks on the model that was solved, None on samples; :attr:`risks` insists.
        objective: value of the minimised objective at the classifier (each solver's docstring says which).
        gap: certified bound on ``objective - optimum``; None when nothing is certified (local solvers).
        status: see :class:`Status`.
        method: which algorithm ran, in words.
        info: further numbers by name (certificates, iterations); each solver lists its own.
    """

    maybe_classifier: LinearClassifier | None
    maybe_risks: ClassRisks | None
    objective: float
    gap: float | None
    status: Status
    method: str
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classifier(self) -> LinearClassifier:
        """The optimal classifier.

        Raises:
            ValueError: there is none: no hyperplane separates the classes under the attack, or the solver failed.
        """
        if self.maybe_classifier is None:
            raise ValueError(f"the solution must have a classifier, got status {self.status.name}; read status first")
        return self.maybe_classifier

    @property
    def risks(self) -> ClassRisks:
        """The exact class risks of the classifier on the model that was solved.

        Raises:
            ValueError: the problem was posed on samples; use ``classifier.class_risks(model, threat)``.
        """
        if self.maybe_risks is None:
            raise ValueError("the solution must have class risks, got a problem on samples; use classifier.class_risks")
        return self.maybe_risks
