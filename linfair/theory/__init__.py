"""Theorems and the limits of claims as objects, each with an analytic side and an empirical twin.

``THEOREMS`` maps ids to :class:`Theorem` objects, theorems first. A new one goes into a file of its own, in a tuple
named ``THEOREMS``, and the file into ``MODULES``; tests, ``linfair verify`` and the docs pick it up.
"""

from importlib import import_module

from linfair._check import AssumptionError
from linfair.theory.theorem import Assumption, Comparison, Estimate, Report, Theorem

MODULES = (
    "natural_robust",
    "same_class_mixup",
    "m_way",
    "equalisers",
    "class_distance",
    "radius",
    "minimax",
    "risk_frontier",
    "surrogate_losses",
    "group_attack",
    "group_alignment",
    "soft_labels",
    "targeted",
    "finite_sample",
    "counterexamples_mixup",
    "counterexamples_m_way",
    "counterexamples_training",
    "counterexamples_distance",
    "counterexamples_cures",
    "counterexamples_groups",
)

_ALL = [theorem for name in MODULES for theorem in import_module(f"linfair.theory.{name}").THEOREMS]
THEOREMS: dict[str, Theorem] = {t.id: t for t in sorted(_ALL, key=lambda t: t.kind != "theorem")}
"""Every theorem and limit by id."""

if len(THEOREMS) != len(_ALL):
    raise ImportError("two theorems share an id; rename one")

__all__ = ["THEOREMS", "Assumption", "AssumptionError", "Comparison", "Estimate", "Report", "Theorem"]
