"""linfair: class-wise robust fairness of linear classifiers on Gaussian classes, exactly.

Names load when first used, so `import linfair` costs milliseconds and pulls in nothing heavy (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linfair._check import AssumptionError
    from linfair.gaussian import ClassGaussians
    from linfair.linear import ClassErrors, ClassRisks, LinearClassifier
    from linfair.mixing import (
        BetaLambda,
        DirichletMix,
        FixedLambda,
        Law,
        NoMix,
        UniformMix,
        WithOriginal,
        mix_within_class,
    )
    from linfair.norms import Norm, Threat, get_norm
    from linfair.solvers.solution import Solution, Status
    from linfair.theory import THEOREMS

__version__ = "0.1.0"

_HOME = {
    "ClassGaussians": "gaussian",
    "LinearClassifier": "linear",
    "ClassRisks": "linear",
    "ClassErrors": "linear",
    "Threat": "norms",
    "Norm": "norms",
    "get_norm": "norms",
    "Law": "mixing",
    "NoMix": "mixing",
    "FixedLambda": "mixing",
    "BetaLambda": "mixing",
    "UniformMix": "mixing",
    "DirichletMix": "mixing",
    "WithOriginal": "mixing",
    "mix_within_class": "mixing",
    "Solution": "solvers.solution",
    "Status": "solvers.solution",
    "THEOREMS": "theory",
    "AssumptionError": "_check",
}
_MODULES = (
    *("attacks", "compare", "data", "evaluate", "gaussian", "groups", "linear", "metrics", "mixing", "models", "norms"),
    *("ops", "plotting", "runs", "solvers", "theory", "train"),
)

__all__ = [  # noqa: RUF022 - in the order a reader meets them
    "ClassGaussians",
    "Threat",
    "Norm",
    "get_norm",
    "LinearClassifier",
    "ClassRisks",
    "ClassErrors",
    "Law",
    "NoMix",
    "FixedLambda",
    "BetaLambda",
    "UniformMix",
    "DirichletMix",
    "WithOriginal",
    "mix_within_class",
    "Solution",
    "Status",
    "THEOREMS",
    "AssumptionError",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up is a plain attribute
        return value
    raise AttributeError(f"module 'linfair' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})
