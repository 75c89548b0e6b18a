"""Analytic curves and their empirical twins: how their rows are made and found.

Every row has `panel`, `curve`, `kind` ("analytic" or "trained"), `x`, `value`; a trained one also the standard error
`se` over `runs` independent runs of `n` training samples and, where theory gives one, `expected` and
`z = (value - expected) / se`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from linfair.runs import Row


def line(panel: str, curve: str, x: ArrayLike, values: ArrayLike, **more: Any) -> list[Row]:
    """An analytic curve, one row a point; points that do not exist (NaN) are left out."""
    pairs = zip(*np.broadcast_arrays(np.asarray(x, float), np.asarray(values, float)), strict=True)
    return [
        {"panel": panel, "curve": curve, "kind": "analytic", "x": float(at), "value": float(value)} | more
        for at, value in pairs
        if np.isfinite(value)
    ]


def point(
    panel: str, curve: str, x: float, results: ArrayLike, n: int, expected: float | None = None, **more: Any
) -> Row:
    """Mean of the results of independent runs with its standard error, None of one run, beside what theory expects."""
    runs = np.asarray(results, float)
    value, se = float(runs.mean()), float(runs.std(ddof=1) / np.sqrt(len(runs))) if len(runs) > 1 else None
    row: Row = {"panel": panel, "curve": curve, "kind": "trained", "x": x, "value": value}
    row |= {"se": se, "n": n, "runs": len(runs)}
    if expected is not None:
        row |= {"expected": float(expected), "z": (value - float(expected)) / se if se else None}
    return row | more


def series(rows: Sequence[Row], column: str = "value", **match: Any) -> tuple[np.ndarray, np.ndarray]:
    """(x, column) of the rows whose entries equal those of `match`, in their order."""
    found = [row for row in rows if all(row.get(key) == value for key, value in match.items())]
    return np.array([row["x"] for row in found], float), np.array([row[column] for row in found], float)


def constant(rows: Sequence[Row], column: str, **match: Any) -> Any:
    """The one value of a column among the matching rows."""
    (value,) = {row[column] for row in rows if all(row.get(key) == v for key, v in match.items())}
    return value
