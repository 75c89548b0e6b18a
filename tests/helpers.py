"""Short names shared by the tests of two isotropic classes (notation of test_closed_form.py)."""

from typing import TypeVar

from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import NATURAL, Threat
from linfair.solvers.closed_form import optimal_classifier, threshold
from oracle import Phi

T = TypeVar("T")

PRIMAL = {"l1": 1, "l2": 2, "linf": float("inf")}
DUAL = {"l1": float("inf"), "l2": 2, "linf": 1}
"""Exponents of each norm and of its dual."""


def known(value: T | None) -> T:
    """A field of a solution, None only when there is nothing to give."""
    assert value is not None
    return value


def trained(model: ClassGaussians, threat: Threat = NATURAL, mix=None) -> LinearClassifier:
    """The optimal classifier."""
    return known(optimal_classifier(model, threat, mix).classifier)


def disparity(u, v):
    """R_+ - R_- of two margins."""
    return Phi(-v) - Phi(-u)


def D(tau, K, r=1.0, c=1.0):
    """Robust disparity of the interior optimum when both classes are mixed by c."""
    return disparity(*threshold(tau, K, r, c_minus=c, c_plus=c))


def D_nat(tau, K, e, r=1.0, c=1.0):
    """Its natural disparity: a robust margin is e sds (of class -) short of the natural one."""
    u, v = threshold(tau, K, r, c_minus=c, c_plus=c)
    return disparity(u + e, v + e / K)
