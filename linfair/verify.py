"""``linfair verify``: every theorem and every limit of a claim, analytic value beside empirical twin.

A row passes if ``|z| < 4.5``, or the values are equal where the standard error is 0, and the statement holds for the
analytic values. Trained twins are compared with the population minimiser of their own loss; where there is none to
compare with, the verdict is on the sign and the row says so.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import NoReturn

from linfair.theory import THEOREMS, Comparison, Report, Theorem
from linfair.theory.theorem import DEFAULT_N

HEADER = ("id", "quantity", "analytic", "empirical", "+- se", "z", "twin", "verdict")
LEAST_N = 2000
"""Below, the bias of trained twins, which their standard error does not hold, passes for a disagreement."""
NUMBERS = (2, 3, 4, 5)  # columns that align right


class _Mistake(Exception):
    """The command line asks for something that cannot be; the message is one line with the remedy."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Mistake(f"{message}; see linfair verify --help")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="linfair verify", description="Check every theorem against samples.")
    parser.add_argument("--only", action="append", metavar="ID", help="this theorem only (may be repeated)")
    parser.add_argument("--n", type=int, default=DEFAULT_N, help="samples a class, roughly (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all samples (default %(default)s)")
    parser.add_argument("--all", action="store_true", help="a row for every compared quantity, not one a theorem")
    parser.add_argument("--json", action="store_true", help="everything as JSON on standard output")
    parser.add_argument("--list", action="store_true", help="ids and titles, nothing is checked")
    options = parser.parse_args(argv)
    for unknown in sorted(set(options.only or ()) - set(THEOREMS)):
        near = difflib.get_close_matches(unknown, THEOREMS)
        remedy = f"did you mean {' or '.join(near)}?" if near else "linfair verify --list shows them all"
        raise _Mistake(f"--only must name a theorem or a limit, got '{unknown}'; {remedy}")
    if options.n < LEAST_N:
        raise _Mistake(f"--n must be at least {LEAST_N}, got {options.n}; trained twins are biased by about 1 / n")
    if options.seed < 0:
        raise _Mistake(f"--seed must be >= 0, got {options.seed}; pass a whole number")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if every verdict passes, 1 if one fails, 2 for bad arguments."""
    try:
        options = _parse(argv)
    except _Mistake as mistake:
        print(f"linfair verify: {mistake}", file=sys.stderr)
        return 2
    began = time.perf_counter()
    chosen = [THEOREMS[i] for i in options.only] if options.only else list(THEOREMS.values())
    if options.list:
        print(_listing(chosen, options.json))
        return 0
    reports = [theorem.check(options.n, options.seed) for theorem in _progress(chosen)]
    passed = all(report.passed for report in reports)
    if options.json:
        print(json.dumps({"n": options.n, "seed": options.seed, "passed": passed, "reports": [*map(as_json, reports)]}))
        return 0 if passed else 1
    for kind, title in (("theorem", "Theorems"), ("limit", "Limits of the claims")):
        rows = [row for r in reports if r.theorem.kind == kind for row in _rows(r, options.all)]
        if rows:
            print(f"{title}\n{_table(rows)}\n")
    failed = [report.theorem.id for report in reports if not report.passed]
    limits = sum(report.theorem.kind == "limit" for report in reports)
    print(
        f"{len(reports) - len(failed)} passed, {len(failed)} failed: {len(reports) - limits} theorems and {limits} "
        f"limits of claims, n = {options.n}, seed = {options.seed}, {time.perf_counter() - began:.0f} s"
    )
    if failed:
        print("failed: " + ", ".join(failed))
    return 0 if passed else 1


def as_json(report: Report) -> dict:
    """One report as JSON types, which have no infinity (z of a wrong value at zero error) and no NaN: null."""
    theorem = report.theorem
    return {
        "id": theorem.id,
        "kind": theorem.kind,
        "title": theorem.title,
        "twin": theorem.twin,
        "passed": report.passed,
        "statement_holds": report.statement_holds,
        "analytic": {name: _finite(value) for name, value in report.values.items()},
        "comparisons": [
            {
                "quantity": c.name,
                "analytic": _finite(c.analytic),
                "empirical": _finite(c.empirical),
                "se": _finite(c.se),
                "z": _finite(c.z),
                "passed": c.passed,
            }
            for c in report.comparisons
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _rows(report: Report, every: bool) -> Iterable[tuple[str, ...]]:
    """The first quantity stands for the theorem; the verdict is that of all of its quantities and of the statement."""
    shown = report.comparisons if every else report.comparisons[:1]
    for i, c in enumerate(shown):
        verdict = "pass" if (c.passed if every else report.passed) else "FAIL"
        if not report.statement_holds:
            verdict = "FAIL (statement)"
        yield (report.theorem.id if i == 0 else "", c.name, *_numbers(c, report.theorem), report.theorem.twin, verdict)


def _numbers(c: Comparison, theorem: Theorem) -> tuple[str, str, str, str]:
    z = "sign" if theorem.twin == "trained, sign only" else "equal" if c.se == 0 and c.passed else f"{c.z:.2f}"
    shown = (f"{value:.6f}" for value in (c.analytic, c.empirical, c.se))
    analytic, empirical, se = ("0.000000" if text == "-0.000000" else text for text in shown)
    return analytic, empirical, se, z


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in [HEADER, *rows]) for i in range(len(HEADER))]

    def line(row: Sequence[str]) -> str:
        cells = (c.rjust(w) if i in NUMBERS else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join([line(HEADER), "  ".join("-" * w for w in widths), *map(line, rows)])


def _listing(theorems: list[Theorem], as_json: bool) -> str:
    if as_json:
        return json.dumps([{"id": t.id, "kind": t.kind, "title": t.title} for t in theorems])
    width = max(len(t.id) for t in theorems)
    return "\n".join(f"{t.id:<{width}}  {t.kind:<7}  {t.title}" for t in theorems)


def _progress(theorems: list[Theorem]) -> Iterable[Theorem]:
    from tqdm import tqdm

    return tqdm(theorems, unit="theorem", leave=False, disable=not sys.stderr.isatty())


if __name__ == "__main__":
    sys.exit(main())
