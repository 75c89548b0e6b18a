"""Group fairness of binary classifiers under attack: metrics, attacks, training, repairs.

====================================  ================================================================================
:class:`~metrics.Reach`               how far an attack moves each score, down and up; all attacked metrics follow
:func:`~metrics.attacked`             accuracy, DI and EOd: clean, under the published attack, and at their worst
:func:`~attack.push`                  PGD on the scores, each sample in its own direction
:func:`~attack.reach`                 both directions for all samples, as a Reach
:func:`~attack.fairness_attack`       PGD on the relaxed DI or EOd
:func:`~train.fit_groups`             training, plain or on attacked samples, with a fairness penalty
:func:`~repairs.reweigh`              sample weights that make label and group independent
:func:`~repairs.group_thresholds`     one threshold a group, for clean or attacked scores
====================================  ================================================================================

Label y and protected group a are 0 or 1, the prediction is 1 where the score s(x) > 0, and g = 1 / (1 + exp(-s)). Names
load when first used: :mod:`.metrics` and :mod:`.repairs` do without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linfair.groups.attack import fairness_attack, push, reach, soft_gaps
    from linfair.groups.metrics import Reach, attacked, di, eod, eop, fairness_direction, group_rates
    from linfair.groups.repairs import group_thresholds, reweigh
    from linfair.groups.train import GroupTraining, fit_groups

_HOME = {
    **dict.fromkeys(("fairness_attack", "push", "reach", "soft_gaps"), "attack"),
    **dict.fromkeys(("Reach", "attacked", "di", "eod", "eop", "fairness_direction", "group_rates"), "metrics"),
    **dict.fromkeys(("group_thresholds", "reweigh"), "repairs"),
    **dict.fromkeys(("GroupTraining", "fit_groups"), "train"),
}

__all__ = [
    "GroupTraining",
    "Reach",
    "attacked",
    "di",
    "eod",
    "eop",
    "fairness_attack",
    "fairness_direction",
    "fit_groups",
    "group_rates",
    "group_thresholds",
    "push",
    "reach",
    "reweigh",
    "soft_gaps",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # the next look-up is a plain attribute
        return value
    raise AttributeError(f"module 'linfair.groups' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
