"""``linfair compare A.json B.json``: two models on the same images, by a paired bootstrap; A is the baseline.

Images are resampled within their class, the same ones for both models, so what makes an image hard for both cancels:
:func:`linfair.metrics.paired_accuracies`.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from linfair import metrics
from linfair.evaluate.measures import LEVEL, N_BOOT, STATISTICS, as_json
from linfair.evaluate.record import Evaluation
from linfair.evaluate.table import TITLES, aligned, clip, number, percent


def compare(
    a: Evaluation, b: Evaluation, attack: str, *, n_boot: int = N_BOOT, level: float = LEVEL, seed: int = 0
) -> dict[str, Any]:
    """B minus A under one attack: every measure and every class with a percentile interval of the difference.

    Returns:
        ``{"attack", "n", "both", "only_a", "only_b", "neither", "measures": {name: {"a", "b", "difference", "low",
        "high"}}, "rho": {"value", "low", "high"}, "classes": [{"name", "n", "a", "b", "difference", "low", "high"}]}``.
        ``rho`` is :func:`linfair.metrics.rho` of B against A; None where A's worst class is at 0, its interval also
        where that happens in a resample.

    Raises:
        ValueError: other images, classes, or another norm or radius of the attack; an attack that a record lacks.
    """
    _same(a, b, attack)
    right_a, right_b = a.flags[attack], b.flags[attack]
    rng = np.random.default_rng(seed)
    drawn = metrics.paired_accuracies(a.labels, right_a, right_b, rng, n_boot=n_boot)
    (acc_a, acc_b), (boot_a, boot_b) = (rows[0] for rows in drawn), (rows[1:] for rows in drawn)
    n = np.bincount(a.labels)

    def difference(statistic: Any) -> dict[str, Any]:
        first, second = float(statistic(acc_a)), float(statistic(acc_b))
        limits = _limits(second - first, statistic(boot_b) - statistic(boot_a), level)
        return {"a": as_json(first), "b": as_json(second), "difference": limits.pop("value"), **limits}

    measures = {name: difference(statistic) for name, statistic in STATISTICS.items()}
    for key, accuracy in (("class_a", acc_a), ("class_b", acc_b)):
        measures["worst"][key] = a.class_names[metrics.worst_class(accuracy).index]
    pairs = [STATISTICS[name] for name in ("average", "worst")]
    value = _rho(*(float(s(acc)) for acc in (acc_b, acc_a) for s in pairs))
    draws = np.array([_rho(*of) for of in zip(*(s(acc) for acc in (boot_b, boot_a) for s in pairs), strict=True)])
    return {
        "attack": attack,
        **{"n": len(a.labels), "level": level, "n_boot": n_boot, "seed": seed},
        **{"both": int((right_a & right_b).sum()), "only_a": int((right_a & ~right_b).sum())},
        **{"only_b": int((right_b & ~right_a).sum()), "neither": int((~right_a & ~right_b).sum())},
        "measures": measures,
        "rho": _limits(value, draws, level),
        "classes": [
            {"name": name, "n": int(n[k]), **difference(lambda acc, k=k: acc[..., k])}
            for k, name in enumerate(a.class_names)
        ],
    }


def _same(a: Evaluation, b: Evaluation, attack: str) -> None:
    """Refuses what cannot be paired."""
    for name, of in (("A", a), ("B", b)):
        if attack not in of.flags:
            raise ValueError(f"{name} must hold {attack}, got {', '.join(of.flags)}; name an attack that both ran")
    for what, first, second in (
        ("data", f"{a.data['label']} ({a.data['fingerprint']})", f"{b.data['label']} ({b.data['fingerprint']})"),
        ("images", f"{len(a.labels)} ({a.data['images']})", f"{len(b.labels)} ({b.data['images']})"),
        ("classes", ", ".join(a.class_names), ", ".join(b.class_names)),
    ):
        if first != second:
            raise ValueError(
                f"A and B must be of the same {what}, got {first} and {second}; "
                "evaluate both with the same --data-dir, --n and --seed"
            )
    (norm, eps, radius), (norm_b, eps_b, radius_b) = (
        [of.attacks[attack][key] for key in ("norm", "eps", "radius")] for of in (a, b)
    )
    if norm != norm_b or not math.isclose(radius or 0.0, radius_b or 0.0, rel_tol=1e-9):
        raise ValueError(
            f"{attack} must have one norm and eps in A and B, got {norm} {eps} and {norm_b} {eps_b}; "
            "evaluate both with the same --norm and --eps"
        )
    settings = [of.attacks[attack].get("options") for of in (a, b)]
    if None not in settings and settings[0] != settings[1]:
        raise ValueError(
            f"{attack} must be one attack in A and B, got {settings[0]} and {settings[1]}; "
            "evaluate both with one version of linfair"
        )


def _rho(average: float, worst: float, base_average: float, base_worst: float) -> float:
    return metrics.rho(average, worst, base_average, base_worst) if base_worst > 0 else np.nan


def _limits(value: float, draws: np.ndarray, level: float) -> dict[str, float | None]:
    """The value and its percentile interval; no interval where a draw is not defined."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) if np.isfinite(draws).all() else (np.nan, np.nan)
    return {"value": as_json(value), "low": as_json(low), "high": as_json(high)}


# --- the command -----------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see linfair compare --help")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="linfair compare", description=(__doc__ or "").split("\n\n")[0].partition(": ")[2])
    parser.add_argument("a", metavar="A.json", help="record of the baseline, from linfair evaluate --out")
    parser.add_argument("b", metavar="B.json", help="record of the model compared with it")
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help="these only (default: all that both ran)")
    parser.add_argument("--n-boot", type=int, default=N_BOOT, help="resamples (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamples (default %(default)s)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="everything as JSON on standard output")
    shape.add_argument("--plain", action="store_true", help="tab-separated rows on standard output")
    options = parser.parse_args(argv)
    for name, least in (("n_boot", 100), ("seed", 0)):
        if getattr(options, name) < least:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} must be at least {least}, got {getattr(options, name)}; pass a larger one")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for bad arguments and records that cannot be compared."""
    try:
        options = _parse(argv)
        a, b = Evaluation.load(options.a), Evaluation.load(options.b)
        shared = options.attacks or [name for name in a.flags if name in b.flags]
        if not shared:
            raise ValueError(
                f"A and B must share an attack, got {', '.join(a.flags)} and {', '.join(b.flags)}; evaluate one again"
            )
        found = [compare(a, b, name, n_boot=options.n_boot, seed=options.seed) for name in dict.fromkeys(shared)]
    except ValueError as error:  # RecordError is one
        print(f"linfair compare: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"a": _who(a), "b": _who(b), "data": dict(a.data), "comparisons": found}))
    elif options.plain:
        print("\n".join("\t".join(row) for row in _plain(found)))
    else:
        width = max(80, shutil.get_terminal_size((100, 24)).columns)
        for name, of, path in (("A", a, options.a), ("B", b, options.b)):
            who = f"{of.model['name']} ({path})"
            print(f"{name}  {clip(who, width - 3)}")
        print(f"   {clip(a.data['label'], width - 30)}, {len(a.labels)} {a.data['part']} images")
        for one in found:
            print(f"\n{_table(one, a, width)}")
        print("accuracy in %; * the interval leaves out 0")
    return 0


def _who(of: Evaluation) -> dict[str, Any]:
    return {"model": dict(of.model), "threat": dict(of.threat)}


def _plain(found: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    header = ("attack", "measure", "a", "b", "difference", "low", "high")
    rows: list[tuple[str, ...]] = [header]
    for one in found:
        every = [*one["measures"].items(), *((f"class {c['name']}", c) for c in one["classes"])]
        for name, row in [*every, ("rho", {"difference": one["rho"]["value"], **one["rho"]})]:
            cells = (row.get(key) for key in header[2:])
            rows.append((one["attack"], name, *("" if v is None else f"{v:.6g}" for v in cells)))
    return rows


def _table(one: dict[str, Any], a: Evaluation, width: int) -> str:
    about = a.attacks[one["attack"]]
    threat = f" ({about['norm']} {about['eps']})" if about.get("eps") else ""
    head = (
        f"{one['attack']}{threat}: right in both {one['both']}, in A only {one['only_a']}, in B only {one['only_b']}, "
        f"in neither {one['neither']}"
    )
    rows: list[tuple[str, ...]] = [("", "A", "B", "B - A", "95 % interval")]
    for name, row in one["measures"].items():
        show = number if name == "nsd" else percent
        classes = (f" ({clip(row[key], 14)})" if name == "worst" else "" for key in ("class_a", "class_b"))
        values = (f"{show(row[key]):>5}{text}" for key, text in zip("ab", classes, strict=True))
        rows.append((TITLES[name], *values, *_signed(row, show)))
    rows.append(("rho", "", "", *_signed({"difference": one["rho"]["value"], **one["rho"]}, number)))
    rows += [
        (f"  {clip(c['name'], 20)}", f"{percent(c['a']):>5}", f"{percent(c['b']):>5}", *_signed(c, percent))
        for c in one["classes"]
    ]
    return f"{textwrap.fill(head, width)}\n{aligned(rows)}"


def _signed(row: dict[str, Any], show: Any) -> tuple[str, str]:
    """The difference with its sign and its interval, marked where it leaves out 0."""

    def sign(value: float | None) -> str:
        text = show(value if value is None else abs(value))
        return text if value is None or float(text) == 0 else f"{'-' if value < 0 else '+'}{text}"

    low, high = row["low"], row["high"]
    clear = low is not None and (low > 0 or high < 0)
    return sign(row["difference"]), "-" if low is None else f"{sign(low)} to {sign(high)}{' *' if clear else ''}"


if __name__ == "__main__":
    sys.exit(main())
