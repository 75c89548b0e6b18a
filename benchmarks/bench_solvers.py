"""Direct solvers beside cvxpy (Clarabel) on the same problems, in one run: times, objectives, certified gaps.

    python benchmarks/bench_solvers.py [--out FILE.json]

Ratios of medians within one run are what counts; absolute times are a machine's own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from linfair.gaussian import ClassGaussians
from linfair.norms import Threat
from linfair.runs import environment, write_json
from linfair.solvers import convex, fast
from linfair.solvers.solution import Solution

ERM_THREATS = (Threat("l2", 0.1), Threat("linf", 0.02), Threat("l1", 0.1))
MINIMAX_THREATS = (Threat("l2", 0.3), Threat("linf", 0.015), Threat("l1", 0.5))


def samples(n: int, d: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping classes, the second with twice the spread."""
    y = rng.integers(0, 2, n)
    shift = rng.standard_normal(d)
    shift /= np.linalg.norm(shift)
    return rng.standard_normal((n, d)) * (1 + y[:, None]) + (2 * y[:, None] - 1) * shift, y


def gaussians(d: int, rng: np.random.Generator) -> ClassGaussians:
    """Wishart covariances, the second four times as large, means 4 apart."""
    root = rng.standard_normal((2, d, 2 * d))
    covs = root @ root.transpose(0, 2, 1) / (2 * d) * np.array([1.0, 4.0])[:, None, None]
    shift = rng.standard_normal(d)
    shift *= 2.0 / np.linalg.norm(shift)
    return ClassGaussians(np.stack([-shift, shift]), covs)


def timed(call: Callable[[], Solution], rounds: int) -> tuple[float, Solution]:
    """Median seconds and the last solution."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        solution = call()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), solution  # pyright: ignore[reportPossiblyUnbound]


def compare(name: str, slow: Callable[[], Solution] | None, quick: Callable[[], Solution]) -> dict[str, object]:
    seconds, found = timed(quick, 9)
    row: dict[str, object] = {"problem": name, "fast_s": seconds, "gap": found.gap, "status": found.status.name}
    if slow is not None:
        row["cvxpy_s"], other = timed(slow, 1 if "ERM" in name else 3)
        row |= {"ratio": row["cvxpy_s"] / seconds, "difference": abs(found.objective - other.objective)}  # pyright: ignore
    shown = (f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in row.items())
    print(", ".join(shown), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the direct solvers beside cvxpy.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "solvers.json")
    options = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    with threadpool_limits(1):
        X, y = samples(2000, 100, rng)
        for t in ERM_THREATS:
            slow, quick = (lambda t=t: convex.robust_erm(X, y, t)), (lambda t=t: fast.robust_erm(X, y, t))
            rows.append(compare(f"robust logistic ERM, n = 2000, d = 100, {t.norm}", slow, quick))
        big, labels = samples(20000, 50, rng)
        for t in ERM_THREATS:
            quick = lambda t=t: fast.robust_erm(big, labels, t)  # noqa: E731
            rows.append(compare(f"robust logistic ERM, n = 20000, d = 50, {t.norm}", None, quick))
        model = gaussians(200, rng)
        for t in MINIMAX_THREATS:
            slow, quick = (lambda t=t: convex.minimax_fair(model, t)), (lambda t=t: fast.minimax_fair(model, t))
            rows.append(compare(f"minimax-fair, d = 200, {t.norm}", slow, quick))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
