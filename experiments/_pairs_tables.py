"""The tables of real_pairs, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from _pairs_summary import (
    METHODS,
    SHOWN,
    Pairs,
    changes,
    expected_rank,
    grouped,
    if_exact,
    if_fair,
    inside,
    jackknife,
    rank,
    rho,
    same_sign,
)
from linfair import metrics, runs

Methods = dict[str, Pairs]
Columns = dict[str, Callable[[Methods], str]]


def text(value: float | metrics.Interval | None) -> str:
    """Two decimals, an interval in brackets, "-" for what does not exist."""
    if value is None or np.isnan(value.value if isinstance(value, metrics.Interval) else value):
        return "-"
    if isinstance(value, metrics.Interval):
        return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
    return f"{value:.2f}"


def correlation(p: Pairs, x: np.ndarray, y: np.ndarray) -> str:
    """rho with its interval over pairs and its standard error over classes."""
    return f"{text(rank(x, y))} ± {text(jackknife(p, x, y))}"


def size(methods: Methods, name: str) -> str:
    """rms disparity, analytic / held out with limits."""
    return "{:.3f} / {:.3f} [{:.3f}, {:.3f}]".format(*methods[name].rms(2.0)) if name in methods else "-"


def change(methods: Methods, name: str) -> str:
    """Analytic against held-out change of D: rho, then the share with the same sign."""
    if name not in methods or not np.any(methods[name]["change"]):
        return "-"
    foretold, found = changes(methods[name], methods["robust"])
    return f"{text(rho(foretold, found))}; {text(same_sign(foretold, found))}"


def against(methods: Methods, name: str, kind: str) -> str:
    """rho of a predicted and the held-out disparity."""
    if name not in methods:
        return "-"
    return text(rho(methods[name].D(kind), methods[name].D("test")))


def D(p: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Analytic and held-out disparity."""
    return p.D("analytic"), p.D("test")


FIT: Columns = {
    "pairs": lambda m: str(len(m["robust"])),
    "mean risk: analytic": lambda m: f"{m['robust'].both('analytic').mean():.3f}",
    "train": lambda m: f"{m['robust'].both('train').mean():.3f}",
    "held out": lambda m: f"{m['robust'].both('test').mean():.3f}",
    "in 95% range": lambda m: text(inside(m["robust"])),
    "rho of class risks": lambda m: text(rho(m["robust"].both("analytic"), m["robust"].both("test"))),
}
DISPARITY: Columns = {
    "robust: rho of D": lambda m: correlation(m["robust"], *D(m["robust"])),
    "rho if exact": lambda m: text(expected_rank(m["robust"].D("analytic"), if_exact(m["robust"]))),
    "same sign": lambda m: text(same_sign(*D(m["robust"]))),
    "natural: rho of D": lambda m: correlation(m["natural"], *D(m["natural"])),
    "natural: same sign": lambda m: text(same_sign(*D(m["natural"]))),
}
SHAPE: Columns = {
    f"{name}: {kind}": lambda m, name=name, kind=kind: against(m, name, kind)
    for name in ("natural", "robust", "minimax")
    for kind in ("analytic", "skewed", "train")
    if (name, kind) != ("minimax", "analytic")  # is 0 for every pair
}
RULES: Columns = {
    "D > 0 (wider class pays)": lambda m: text(same_sign(np.ones(len(m["robust"])), m["robust"].D("test"))),
    "sign of log(K/r)": lambda m: text(same_sign(np.log(m["robust"]["K"] / m["robust"]["r"]), m["robust"].D("test"))),
    "rho of D and K/r": lambda m: text(rank(m["robust"]["K"] / m["robust"]["r"], m["robust"].D("test"))),
    "short theory: same sign": lambda m: text(same_sign(m["robust"].D("short"), m["robust"].D("test"))),
    "short theory: rho of D": lambda m: text(rank(m["robust"].D("short"), m["robust"].D("test"))),
}
DISTANCE: Columns = {
    "rho of abs D and kappa*": lambda m: correlation(m["robust"], m["robust"]["kappa"], np.abs(m["robust"].D("test"))),
    "analytic D": lambda m: text(rho(m["robust"]["kappa"], np.abs(m["robust"].D("analytic")))),
    "analytic D + noise": lambda m: text(expected_rank(m["robust"]["kappa"], np.abs(if_exact(m["robust"])))),
    "noise alone": lambda m: text(expected_rank(m["robust"]["kappa"], np.abs(if_fair(m["robust"])))),
    "rho of abs D and mean distance": lambda m: text(rank(m["robust"]["distance"], np.abs(m["robust"].D("test")))),
}
SIZE: Columns = {f"{name}": lambda m, name=name: size(m, name) for name in METHODS}
CHANGE: Columns = {f"{n} - robust": lambda m, n=n: change(m, n) for n in METHODS if n != "robust"}

TABLES = {
    "Class risks of the robust classifier": FIT,
    "Disparity D, analytic against held out": DISPARITY,
    "rho of held-out D and: analytic D, analytic D with skewness, D on the training images": SHAPE,
    "Rules of thumb for D (robust classifier)": RULES,
    "Disparity and class distance (robust classifier)": DISTANCE,
    "Size of the disparity, rms over pairs: analytic / held out without noise": SIZE,
    "Change of D against the robust classifier: rho; same sign": CHANGE,
}


def settings(rows: Sequence[runs.Row]) -> Iterator[tuple[str, str, Methods]]:
    """Radius 0 only once, where linf and l2 on the same features agree, and at least three pairs."""
    for (geometry, eps), methods in grouped(rows).items():
        if len(methods["robust"]) >= 3 and (geometry != "linf" or eps != "0"):
            yield geometry, eps, {name: p for name, p in methods.items() if len(p) >= 3}


def markdown(title: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table under a bold title."""
    lines = [f"**{title}**", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body)]) + "\n"


def table(rows: Sequence[runs.Row]) -> str:
    """All tables of one record."""
    found = list(settings(rows))
    return "\n".join(
        markdown(title, ("geometry", "eps", *columns), [(g, e, *(f(m) for f in columns.values())) for g, e, m in found])
        for title, columns in TABLES.items()
    )


def summary(records: Sequence[tuple[str, Sequence[runs.Row]]]) -> str:
    """One row a data set and geometry, at the radius the figure shows."""
    columns = {
        "rho of class risks": FIT["rho of class risks"],
        **{k: DISPARITY[k] for k in ("robust: rho of D", "rho if exact", "same sign")},
        "sign of log(K/r)": RULES["sign of log(K/r)"],
        **{k: DISTANCE[k] for k in ("rho of abs D and kappa*", "noise alone")},
    }
    body = []
    for label, rows in records:
        sets = grouped(rows)
        for geometry in dict.fromkeys(g for g, _ in sets):
            own = [(eps, m) for (g, eps), m in sets.items() if g == geometry]
            eps, m = own[min(SHOWN, len(own) - 1)]
            body.append([label.split(",")[0], f"{geometry} {eps}", FIT["pairs"](m), *(f(m) for f in columns.values())])
    return markdown("Robust classifier at one radius", ("data", "attack", "pairs", *columns), body)


def tables(folder: Path) -> str:
    """The summary and the tables of every record of real_pairs in a folder."""
    records = []
    for path in sorted(folder.glob("real_pairs*.csv"), key=lambda p: ("digits" not in p.name, p.name)):
        record = runs.read_json(path.with_suffix(".json"))
        if record:
            records.append((record["dataset"]["label"], runs.read_csv(path)))
    parts = [f"### {label}\n\n{table(rows)}" for label, rows in records]
    return "\n".join([summary(records), *parts]) if records else ""
