"""Nanoseconds a grid point of the vectorised closed forms, beside scipy's routes to the same numbers, in one run.

    python benchmarks/bench_closed_form.py [--points 1000000] [--rounds 15] [--out FILE.json]

Rounds are interleaved and medians reported, because machines are noisy: compare within a run, never across.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import lambertw, ndtr

from linfair.runs import environment, write_json
from linfair.solvers import equalisers, surrogates
from linfair.solvers.closed_form import optimum, threshold


def one_by_one(tau: np.ndarray, K: np.ndarray) -> None:
    """The threshold by scalar minimisation of the average risk, point by point."""
    for t, k in zip(tau, K, strict=True):
        minimize_scalar(lambda u, t=t, k=k: ndtr(-u) + ndtr(-(t - u) / k), bounds=(0.0, t), method="bounded")


def contestants(points: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name -> (points it handles, call)."""
    rng = np.random.default_rng(0)
    tau, K, r = rng.uniform(1, 8, points), rng.uniform(1.1, 4, points), rng.uniform(0.3, 1, points)
    s, few = rng.uniform(1.01, 50, points), slice(0, 2000)
    return {
        "u, v": (points, lambda: threshold(tau, K, r)),
        "u, v under mixing": (points, lambda: threshold(tau, K, r, c_minus=0.5, c_plus=0.5)),
        "u, v, both risks, existence": (points, lambda: optimum(tau, K, r)),
        "Lambert W_-1": (points, lambda: equalisers.lambert_w_minus1(s)),
        "Lambert W_-1, scipy.special.lambertw": (points, lambda: lambertw(-np.exp(-s), -1)),
        "easy-class equaliser": (points, lambda: equalisers.mix_easy(tau, K, r)),
        "hinge minimiser": (points, lambda: surrogates.hinge(tau, K)),
        "u by scalar minimisation (scipy)": (2000, lambda: one_by_one(tau[few], K[few])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the vectorised closed forms.")
    parser.add_argument("--points", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "closed_form.json")
    options = parser.parse_args()
    calls = contestants(options.points)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, (points, call) in calls.items():
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) / points * 1e9)
    median = {name: float(np.median(t)) for name, t in times.items()}
    for name, value in median.items():
        print(f"{name:40s} {value:12.1f} ns a point")
    record = {"points": options.points, "rounds": options.rounds, "median_ns_a_point": median}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, record | {"environment": environment()})


if __name__ == "__main__":
    main()
