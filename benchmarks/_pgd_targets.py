"""What the op must reach, and the verdicts. A ratio is the median over interleaved rounds within one run.

On a CPU a target is missed when the ratio is more than 1.1 times off it; on a device there is no such slack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _timing import Arm, ratios

SLACK = 1.1
IN_CACHE, OUT_OF_CACHE = 128, 8192
"""Batch sizes that the targets speak of: arrays of 1.5 MiB and of 96 MiB."""
CALL_MICROSECONDS = 10.0
"""What a call may cost before it does anything, measured on one image."""


@dataclass(frozen=True)
class Target:
    """time(arm) / time(of) <= bound, or with `faster` time(of) / time(arm) >= bound."""

    norm: str
    arm: str
    of: str
    bound: float
    n: int
    faster: bool = False
    allocator: str | None = None
    """The setting of the allocator that the target is meant for; None for any."""


def _floor(norm: str, arm: str, inside: float, outside: float) -> tuple[Target, ...]:
    """Asked of the op as it is called and of its kernel alone: in cache the call is a good part of the floor."""
    sizes = ((IN_CACHE, inside), (OUT_OF_CACHE, outside))
    return tuple(Target(norm, name, "floor", bound, n) for name in (arm, f"{arm}-kernel") for n, bound in sizes)


def _faster(norm: str, arm: str, of: str, inside: float, outside: float) -> tuple[Target, Target]:
    return Target(norm, arm, of, inside, IN_CACHE, True), Target(norm, arm, of, outside, OUT_OF_CACHE, True)


CPU = (
    *_floor("linf", "ours", 1.15, 1.15),
    *_floor("l2", "ours", 1.5, 1.2),
    *_floor("l2", "ours-exact", 3.5, 2.0),
    *_floor("l1", "ours", 3.0, 2.3),
    *_floor("l1", "ours-exact", 4.0, 2.3),
    *_faster("l1", "ours", "eager-sort", 80, 80),
    *_faster("linf", "ours", "compile-inplace", 1.8, 1.0),
    Target("linf", "ours", "lib-torchattacks", 5, IN_CACHE, True),
    Target("linf", "ours", "lib-torchattacks", 25, OUT_OF_CACHE, True, "default"),
    Target("l2", "ours", "lib-torchattacks", 5, IN_CACHE, True),
    Target("l2", "ours", "lib-torchattacks", 25, OUT_OF_CACHE, True, "default"),
)
CUDA = (
    Target("linf", "ours", "floor", 0.92, OUT_OF_CACHE, True),
    Target("l2", "ours", "floor", 0.85, OUT_OF_CACHE, True),
    Target("l1", "ours", "floor", 0.60, OUT_OF_CACHE, True),
    Target("linf", "ours", "compile-inplace", 1 / SLACK, OUT_OF_CACHE, True),
)
"""The floor of a device is the measured copy: floor / ours is the share of its bandwidth."""


def targets(device: str) -> tuple[Target, ...]:
    return CPU if device == "cpu" else CUDA


def judge(value: float, bound: float, *, at_least: bool, slack: float) -> str:
    """One of "met", "met within 1.1x", "missed"."""
    excess = bound / value if at_least else value / bound
    if excess <= 1:
        return "met"
    return f"met within {slack:g}x" if excess <= slack else "missed"


def verdicts(norm: str, n: int, arms: Mapping[str, Arm], device: str, allocator: str) -> Iterator[dict[str, Any]]:
    """One row a target of this norm and size whose two arms were both timed."""
    for target in targets(device):
        here = (target.norm, target.n) == (norm, n) and target.allocator in (None, allocator)
        if not here or target.arm not in arms or target.of not in arms:
            continue
        pair = (arms[target.of], arms[target.arm]) if target.faster else (arms[target.arm], arms[target.of])
        value, low, high = ratios(*pair)
        slack = SLACK if device == "cpu" else 1.0
        yield {
            "norm": norm,
            "n": n,
            "arm": target.arm,
            "of": target.of,
            "claim": claim(target, arms),
            "bound": target.bound,
            "at_least": target.faster,
            "value": value,
            "q1": low,
            "q3": high,
            "verdict": judge(value, target.bound, at_least=target.faster, slack=slack),
        }


def claim(target: Target, arms: Mapping[str, Arm]) -> str:
    """The target in words."""
    ours, other = arms[target.arm].label, arms[target.of].label
    if target.of != "floor":
        return f"{ours}: faster than {other} by"
    return f"{ours}: share of the copy bandwidth" if target.faster else f"{ours}: times the floor"


def verdict_line(row: Mapping[str, Any]) -> str:
    """A verdict as a line of text."""
    sign = ">=" if row["at_least"] else "<="
    spread = f"{row['value']:.3g} ({row['q1']:.3g} to {row['q3']:.3g})"
    place = f"{row['norm']:4s} N = {row['n']:<5d}"
    return f"{place} {row['claim']} {spread}, target {sign} {row['bound']:.3g}: {row['verdict']}"


def missed(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["verdict"] == "missed" for row in rows)
