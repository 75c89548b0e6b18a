"""Training for every method of the package: one loop, one file a method.

====================  ================================================================================================
:func:`fit`           trains by a :class:`TrainConfig` and returns a :class:`FitResult`; goes on where it was killed
:class:`ClassState`   what is measured per class; :class:`ClassWeights`: what a method's rule may steer
:mod:`.methods`       the methods, by name
====================  ================================================================================================
"""

from __future__ import annotations

from linfair.train.config import TrainConfig, TrainingError
from linfair.train.context import Context, Losses, Threat
from linfair.train.loop import FitResult, fit
from linfair.train.state import ClassState, ClassWeights

__all__ = [
    "ClassState",
    "ClassWeights",
    "Context",
    "FitResult",
    "Losses",
    "Threat",
    "TrainConfig",
    "TrainingError",
    "fit",
]
