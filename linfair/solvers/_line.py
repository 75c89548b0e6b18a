"""Average risk along a line in the plane of two standardized margins, ``y = height - slope x``."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from linfair.solvers._pair import CERTAIN


def lowest(height: float, slope: float, allowed: float) -> float | None:
    """The least x <= 0 with ``Phi(-x) - Phi(-(height - slope x)) <= allowed``; None where there is none."""

    def room(x: float) -> float:
        return allowed - float(ndtr(-x) - ndtr(slope * x - height))

    if room(0.0) < 0.0:
        return None
    return -np.inf if room(-CERTAIN) >= 0.0 else float(brentq(room, -CERTAIN, 0.0, xtol=1e-13))  # pyright: ignore


def least_on_line(priors: np.ndarray, height: float, slope: float, low: float, high: float) -> tuple[float, float]:
    """The least of ``pi_0 Phi(-x) + pi_1 Phi(-(height - slope x))`` over ``low <= x <= high``, slope >= 0, and its x.

    Where the derivative vanishes, ``(slope^2 - 1) x^2 - 2 height slope x + height^2 = 2 log(slope pi_1 / pi_0)``.
    """
    at = [low, high]
    if slope > 0.0:
        constant = height**2 - 2.0 * np.log(slope * priors[1] / priors[0])
        roots = np.roots([slope**2 - 1.0, -2.0 * height * slope, constant])
        at += [float(x) for x in roots[np.isreal(roots)].real if low < x < high]
    risks = [priors[0] * ndtr(-x) + priors[1] * (ndtr(slope * x - height) if np.isfinite(x) else 0.0) for x in at]
    return min((float(risk), x) for risk, x in zip(risks, at, strict=True))
