"""Attacks on any model from images in [0, 1] to logits, and the flags an evaluation is made of.

=======================  ==============================================================================================
:func:`pgd`              projected gradient descent: budgets a class, targets, restarts, an active set
:class:`PerClass`        one budget a class
:func:`parse_budget`     "8/255" as a number
:func:`parse_radius`     the same, and no radius that reaches every image
:func:`sample_targets`   target classes drawn from class priors
:func:`lent`             a model in eval mode for a while, given back as it was
:func:`no_memory`        whether an error means that memory ran out
:func:`usable_device`    a device that is here
:func:`exact_float32`    no TF32, and no timing of algorithms, while something is measured
:func:`robust_flags`     one flag an image: still classified correctly under an attack; resumes after a kill
:data:`ATTACKS`          the attacks of an evaluation by name; :class:`Attack`, :func:`get_attack`
:func:`corrupt`          noise, blur, contrast, JPEG at three severities (own corruptions, not CIFAR-10-C)
=======================  ==============================================================================================

AutoAttack runs through :mod:`linfair.attacks.autoattack`, which needs ``pip install linfair[eval]``.
"""

from __future__ import annotations

from linfair.attacks._budgets import PerClass, parse_budget, parse_radius
from linfair.attacks._device import no_memory, usable_device
from linfair.attacks._exact import exact_float32
from linfair.attacks._flags import robust_flags
from linfair.attacks._losses import LOSSES, sample_targets
from linfair.attacks._modes import lent
from linfair.attacks._pgd import misclassified, pgd
from linfair.attacks.corruptions import CORRUPTIONS, corrupt
from linfair.attacks.suite import ATTACKS, Attack, get_attack

__all__ = [
    "ATTACKS",
    "CORRUPTIONS",
    "LOSSES",
    "Attack",
    "PerClass",
    "corrupt",
    "exact_float32",
    "get_attack",
    "lent",
    "misclassified",
    "no_memory",
    "parse_budget",
    "parse_radius",
    "pgd",
    "robust_flags",
    "sample_targets",
    "usable_device",
]
