"""A theorem here is an object: statement, assumptions as code, analytic side, empirical twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from linfair._check import AssumptionError, as_count

DEFAULT_N = 40_000
"""Samples a class behind one empirical value, as an order of magnitude: trained twins divide them among replicates."""

Z_LIMIT = 4.5
"""A twin passes within this many standard errors: one false alarm in 150,000 comparisons."""


class Estimate(NamedTuple):
    """An empirical value with its standard error; an error of 0 claims exact equality."""

    value: float
    se: float


class Assumption(NamedTuple):
    """A hypothesis in words and as a test of the parameters."""

    text: str
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Comparison:
    """One quantity of a theorem: analytic against empirical."""

    name: str
    analytic: float
    empirical: float
    se: float
    sign_only: bool

    @property
    def z(self) -> float:
        """``(empirical - analytic) / se``; 0 or infinite where the standard error is 0."""
        gap = self.empirical - self.analytic
        return gap / self.se if self.se > 0 else 0.0 if gap == 0 else float(np.copysign(np.inf, gap))

    @property
    def passed(self) -> bool:
        """``|z| < 4.5``, equality at zero error, or the same sign where only signs are comparable."""
        if self.sign_only:
            return bool(np.sign(self.empirical) == np.sign(self.analytic))
        return abs(self.z) < Z_LIMIT


@dataclass(frozen=True)
class Report:
    """The outcome of checking one theorem: its comparisons and whether its statement holds for the analytic values."""

    theorem: Theorem
    values: Mapping[str, float]
    comparisons: tuple[Comparison, ...]
    statement_holds: bool

    @property
    def passed(self) -> bool:
        return self.statement_holds and all(c.passed for c in self.comparisons)


@dataclass(frozen=True, eq=False)
class Theorem:
    """A theorem, or the limit of a claim (a counterexample with its numbers).

    Attributes:
        id: name on the command line, in the docs and in records.
        kind: "theorem", or "limit" for a claim that is false or needs a condition.
        title: one line; for a limit, the claim in its natural reading.
        statement: what is true, with the formula; for a limit, why and where the claim fails.
        setting: the papers in whose setting it stands.
        ours: what is derived here rather than taken from the literature.
        assumptions: hypotheses; :meth:`analytic` and :meth:`empirical` refuse parameters that break one.
        defaults: parameters used when none are given.
        analytic_values: ``(**parameters) -> {quantity: value}``.
        empirical_values: ``(n, rng, **parameters) -> {quantity: Estimate}``, a subset of the same quantities.
        conclusion: the statement as a test of the analytic values. For a limit: that the claim fails at these
            parameters; others within the assumptions need not contradict it.
        twin: how the empirical values arise: "Monte Carlo" (known classifier, fresh samples), "trained" (classifiers
            trained on samples, compared with the population minimiser of their own loss), "trained, sign only",
            "exact".
        figure: file stem in ``figures/``.
    """

    id: str
    kind: Literal["theorem", "limit"]
    title: str
    statement: str
    setting: str
    ours: str
    assumptions: tuple[Assumption, ...]
    defaults: Mapping[str, Any]
    analytic_values: Callable[..., Mapping[str, Any]] = field(repr=False)
    empirical_values: Callable[..., Mapping[str, Estimate]] = field(repr=False)
    conclusion: Callable[[Mapping[str, float]], bool] = field(repr=False)
    twin: Literal["Monte Carlo", "trained", "trained, sign only", "exact"]
    figure: str

    def parameters(self, **changes: Any) -> dict[str, Any]:
        """The defaults with changes, checked against the assumptions.

        Raises:
            TypeError: a parameter the theorem does not have.
            AssumptionError: a hypothesis fails; the message names it.
        """
        unknown = sorted(set(changes) - set(self.defaults))
        if unknown:
            raise TypeError(f"{self.id} has no parameter {', '.join(unknown)}; it takes {', '.join(self.defaults)}")
        parameters = {**self.defaults, **changes}
        for assumption in self.assumptions:
            if not assumption.holds(**parameters):
                given = ", ".join(f"{k} = {v}" for k, v in parameters.items())
                raise AssumptionError(f"{self.id} assumes {assumption.text}, got {given}; change the parameters")
        return parameters

    def analytic(self, **changes: Any) -> dict[str, float]:
        """The analytic values by name."""
        return {name: float(value) for name, value in self.analytic_values(**self.parameters(**changes)).items()}

    def empirical(self, n: int = DEFAULT_N, seed: int = 0, **changes: Any) -> dict[str, Estimate]:
        """The same quantities estimated from about n samples a class."""
        rng = np.random.default_rng(seed)
        return dict(self.empirical_values(as_count("n", n, least=100), rng, **self.parameters(**changes)))

    def check(self, n: int = DEFAULT_N, seed: int = 0, **changes: Any) -> Report:
        """Both sides compared."""
        analytic = self.analytic(**changes)
        sign_only = self.twin == "trained, sign only"
        comparisons = tuple(
            Comparison(name, analytic[name], float(estimate.value), float(estimate.se), sign_only)
            for name, estimate in self.empirical(n, seed, **changes).items()
        )
        return Report(self, analytic, comparisons, bool(self.conclusion(analytic)))


def limit(**fields: Any) -> Theorem:
    """The limit of a claim: a :class:`Theorem` of kind "limit", ours unless ``ours`` says otherwise."""
    fields.setdefault("ours", "The counterexample.")
    return Theorem(kind="limit", **fields)
