"""Roots of functions of a number and sums of exponentials, with plain float results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq


def find_root(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of a function with a change of sign between low and high, to rounding."""
    return float(brentq(function, low, high, xtol=1e-14, rtol=1e-14))  # pyright: ignore[reportArgumentType]


def log_sum_exp(values: ArrayLike) -> float:
    """``log sum_i exp(values_i)`` without overflow.

    In numpy: scipy's function takes 0.3 ms to begin, more than a risk, its gradient and a step of L-BFGS together.
    """
    return float(np.logaddexp.reduce(np.asarray(values)))
