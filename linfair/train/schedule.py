"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence

SCHEDULES = ("one_cycle", "step", "constant")
WARM_UP = 0.3
"""Fraction of a one-cycle run that the learning rate rises."""


def learning_rate(
    schedule: str, step: int, total: int, *, peak: float, milestones: Sequence[float] = (0.5, 0.75)
) -> float:
    """The learning rate of step 0..total-1.

    "one_cycle": half a cosine from peak / 25 up to the peak at step 0.3 total - 1, another down to peak / 250000 at the
    last step (Smith & Topin 2018; of four steps or more, the numbers of :class:`torch.optim.lr_scheduler.OneCycleLR`).
    "step": peak / 10^k behind the k-th milestone, fractions of the run. "constant": the peak.
    """
    if schedule == "constant":
        return peak
    if schedule == "step":
        return peak * 0.1 ** sum(step >= milestone * total for milestone in milestones)
    top = WARM_UP * total - 1.0
    if step <= top:
        return _cosine(peak / 25.0, peak, step / top if top > 0 else 1.0)
    return _cosine(peak, peak / 250000.0, (step - max(top, 0.0)) / max(total - 1.0 - max(top, 0.0), 1.0))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * part)) / 2.0
