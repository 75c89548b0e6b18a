"""Interleaved rounds: every arm once a round, so that a drift of the machine meets them all.

What an arm costs is a sum of timed terms with weights, all timed in the same round: one term for a plain call; an
in-place call that is given fresh values each time is (copy and call) - (copy); a library's update is (a long run - a
short run) / (their difference in steps) - (the gradient it asks for).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

Call = Callable[[Any], object]
"""Takes one set of inputs."""


@dataclass(frozen=True)
class Term:
    """weight * (seconds of `call`). Terms with `removed` are what the arm had to do besides its work."""

    weight: float
    call: Call
    removed: bool = False


@dataclass
class Arm:
    """One competitor: how it is called, what it should compute, what came out."""

    name: str
    label: str
    group: str
    terms: tuple[Term, ...]
    once: Callable[[Any], Any] | None = None
    """One update of fresh inputs, returned; for the comparison of values and the count of launches."""
    means: dict[str, Any] | None = None
    """Keywords of the reference whose values `once` should give; None for arms that compute no update."""
    reset: Call | None = None
    """Called untimed before the arm is timed."""
    note: str = ""
    values: str = ""
    launches: int | None = None
    graph_seconds: float | None = None
    calls: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Net of what was removed, one a round."""
    raw: list[float] = field(default_factory=list)
    """With what was removed, one a round."""


BATCHES = 5
"""A round's time of a short call is the median over so many batches of calls: one stall does not count."""


class CpuClock:
    """Wall time of a loop of calls."""

    budget = 0.01
    """Seconds that one measurement should at least take: short calls are repeated."""

    def seconds(self, call: Call, sets: Sequence[Any], calls: int) -> float:
        """Mean over `calls` calls, which take the sets in turn."""
        turns = [sets[i % len(sets)] for i in range(calls)]
        began = time.perf_counter()
        for inputs in turns:
            call(inputs)
        return (time.perf_counter() - began) / calls


class CudaClock:
    """Time between two events on the current stream, so the device's own time once the queue is full."""

    budget = 0.02

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda

    def seconds(self, call: Call, sets: Sequence[Any], calls: int) -> float:
        turns = [sets[i % len(sets)] for i in range(calls)]
        first, last = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._cuda.synchronize()
        first.record()
        for inputs in turns:
            call(inputs)
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1000 / calls


Clock = CpuClock | CudaClock


def calibrate(clock: Clock, arm: Arm, sets: Sequence[Any]) -> None:
    """Choose how often each term is repeated: as often as the budget asks, 1 to 500 times."""
    for term in arm.terms:
        took = clock.seconds(term.call, sets, 1)
        if took < clock.budget:
            took = min(took, clock.seconds(term.call, sets, 3))
        arm.calls.append(int(np.clip(round(clock.budget / max(took, 1e-9)), 1, 500)))


def measure(clock: Clock, arm: Arm, sets: Sequence[Any]) -> None:
    """One round of one arm: appends to `seconds` and `raw`."""
    net = raw = 0.0
    for term, calls in zip(arm.terms, arm.calls, strict=True):
        if arm.reset:
            for inputs in sets:
                arm.reset(inputs)
        if calls > 1:
            term.call(sets[0])  # what ran before has the caches
        batches = min(BATCHES, calls)
        took = term.weight * median([clock.seconds(term.call, sets, calls // batches) for _ in range(batches)])
        net += took
        raw += 0.0 if term.removed else took
    arm.seconds.append(net)
    arm.raw.append(raw)


def interleave(
    clock: Clock, unit: Arm, arms: Sequence[Arm], sets: Sequence[Any], rounds: int, tick: Callable[[], object]
) -> None:
    """`rounds` rounds over all arms, each from another starting arm; the unit is timed at both ends of each round."""
    for arm in (unit, *arms):
        calibrate(clock, arm, sets)
    for turn in range(rounds):
        start = turn * len(arms) // rounds
        measure(clock, unit, sets)
        for arm in (*arms[start:], *arms[:start]):
            measure(clock, arm, sets)
        measure(clock, unit, sets)
        for times in (unit.seconds, unit.raw):
            after, before = times.pop(), times.pop()
            times.append((before + after) / 2)
        tick()


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """(median, lower, upper quartile)."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)


def ratios(above: Arm, below: Arm) -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two arms, round by round."""
    return quartiles(np.divide(above.seconds, below.seconds).tolist())
