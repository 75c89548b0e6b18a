"""From run records to the table of methods: numpy only, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from _deep_runs import stratified
from _predictions import DRAWS, effect, flags_of
from linfair import metrics
from linfair.runs import Row

BASE = "pgd_at"
"""The method that rho compares with."""
NATURAL = ("standard", "domain_mixup_natural", "domain_mixup_natural_beta", "domain_mixup_natural_mway")
"""Trained without an attack."""
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "avg": lambda a: a.mean(-1),
    "worst": lambda a: a.min(-1),
    "bottom3": lambda a: metrics.bottom_k(a, min(3, a.shape[-1])),
    "disparity": metrics.disparity,
    "nsd": metrics.nsd,
}
ERRORS = ("avg", "worst", "disparity")
OVER = "over_"
"""What the columns of gains begin with."""


def row_of(record: dict[str, Any]) -> Row:
    """The numbers of one run, flat. Accuracies are fractions; `_se` is the standard error over test images."""
    names = record["dataset"]["classes"]
    found = record["measurements"]
    row: Row = {
        "method": record["config"]["method"],
        "seed": record["config"]["seed"],
        "classes": " ".join(names),
        "epochs": record["config"]["epochs"],
        "selected_epoch": record["selected"]["epoch"],
        "validation": record["selected"]["score"],
    }
    for key, about in found.items():
        if key != "matrices":
            row |= columns(key, names, np.array(about["correct"]), np.array(about["n"]))
    if "matrices" in found:
        row |= neighbours(names, found["matrices"], np.array(found["matrices"]["n"]))
    row["device"] = record["environment"]["device"]
    return row


def on_equal_images(record: dict[str, Any], asked: Mapping[str, int], labels: np.ndarray) -> dict[str, Any]:
    """A record with every attack of `asked` on so many test images and no more, so that runs compare on the same ones.

    What was measured on more images stays, as `<attack>_more`. labels: of all test images; 0 images: all of them.
    """
    found = dict(record["measurements"])
    for key, n in asked.items():
        about = found.get(key)
        if about is None or about["asked"] == n:
            continue
        all_of_them, some = (stratified(labels, k, len(about["n"])) for k in (about["asked"], n))
        if not np.isin(some, all_of_them).all():
            raise ValueError(
                f"{key} of {record['run']} must be on the recipe's {n or 'all'} images, got others; force it"
            )
        kept = flags_of(record, key)[np.searchsorted(all_of_them, some)]
        counts = {"n": labels[some], "correct": labels[some][kept]}
        found[f"{key}_more"] = about
        found[key] = {"asked": n} | {name: np.bincount(k, minlength=len(about["n"])) for name, k in counts.items()}
    return record | {"measurements": found}


def columns(key: str, names: list[str], correct: np.ndarray, n: np.ndarray) -> Row:
    """Class measures of one attack from the counts of every class.

    Errors take a rate of 0 or 1, which is not exact, half an image off. A worst class at 0 has at least its own error:
    the least of several such draws hardly varies.
    """
    accuracy = correct / n
    likely = np.where((correct == 0) | (correct == n), (correct + 0.5) / (n + 1), accuracy)
    draws = np.random.default_rng(0).binomial(n, likely, (DRAWS, len(n))) / n
    row: Row = {f"{key}_n": int(n.sum())}
    for name, statistic in STATISTICS.items():
        value = float(statistic(accuracy))
        row[f"{key}_{name}"] = None if np.isnan(value) else value
        if name in ERRORS:
            row[f"{key}_{name}_se"] = float(np.std(statistic(draws)))
    errors, worst = np.sqrt(likely * (1 - likely) / n), int(accuracy.argmin())
    if correct[worst] == 0:
        row[f"{key}_worst_se"] = max(row[f"{key}_worst_se"], float(errors[worst]))
    row[f"{key}_worst_class"] = names[worst]
    row |= {f"{key}_{name}": float(a) for name, a in zip(names, accuracy, strict=True)}
    return row | {f"{key}_{name}_se": float(error) for name, error in zip(names, errors, strict=True)}


def neighbours(names: list[str], found: dict[str, Any], n: np.ndarray) -> Row:
    """Class similarity on clean images, and where the attacked images of the worst class go.

    similarity_k is the mean over j of (S_kj + S_jk) / 2, S the mean softmax of clean images; leaning_k the mean over j
    of S_jk alone, which no image of class k enters. Neighbours of the worst class by falling (S_kj + S_jk) / 2.
    """
    S, confusion = np.array(found["clean_softmax"]), np.array(found["confusion"])
    both = (S + S.T) / 2
    others = ~np.eye(len(S), dtype=bool)
    k = int((confusion.diagonal() / n).argmin())
    order = [j for j in np.argsort(-both[k], kind="stable") if j != k]
    means = {
        "similarity": [float(both[i][others[i]].mean()) for i in range(len(S))],
        "leaning": [float(S[:, i][others[i]].mean()) for i in range(len(S))],
    }
    row: Row = {f"{key}_{name}": v for key, values in means.items() for name, v in zip(names, values, strict=True)}
    row["weak_class"] = names[k]
    row["weak_neighbours"] = " ".join(names[j] for j in order)
    row |= {f"to_neighbour_{r}": float(confusion[k, j] / n[k]) for r, j in enumerate(order, 1)}
    return row


def gains(run: dict[str, Any], base: dict[str, Any], labels: np.ndarray) -> Row:
    """PGD-20 accuracy of one run minus that of another on the same images: paired bootstrap, 95 %.

    Columns over_<other method>_s<seed>_<quantity>, so that every seed keeps its own; `_device`: both runs' where they
    differ, as then rounding does too.
    """
    flags = flags_of(run, "pgd20"), flags_of(base, "pgd20")
    ours, theirs = metrics.paired_accuracies(labels, *flags, np.random.default_rng(0), n_boot=DRAWS)
    row: Row = {}
    head = f"{OVER}{base['config']['method']}_s{run['config']['seed']}"
    for name in ERRORS:
        found = effect(STATISTICS[name](ours) - STATISTICS[name](theirs))
        ends = {"": "effect", "_low": "low", "_high": "high"}
        row |= {f"{head}_{name}{end}": found[part] for end, part in ends.items()}
    devices = dict.fromkeys(record["environment"]["device"] for record in (run, base))
    return row | {f"{head}_device": ", ".join(devices) if len(devices) > 1 else None}


def summary(rows: list[Row]) -> list[Row]:
    """One row a method: means over its seeds, and `_seeds_se`, the standard error over seeds where there are several.

    `_se` is the mean over the seeds of the standard error over test images. rho is taken seed by seed. `_n_most` stands
    beside `_n` where some seeds were measured on more images. `_worst` is the mean of the seeds' worst classes, and
    `_worst_class` names them all where they are not the same: "cat/deer".
    """
    base = {row["seed"]: row for row in rows if row["method"] == BASE}
    methods = dict.fromkeys(row["method"] for row in rows)
    return [ordered(_method([row for row in rows if row["method"] == m], base)) for m in methods]


def _method(rows: list[Row], base: dict[int, Row]) -> Row:
    first: Row = {}
    for row in rows:  # a run whose weights are gone may lack what another seed has
        first |= {key: value for key, value in row.items() if key not in first}
    found: Row = {"method": first["method"], "seeds": len(rows), "classes": first["classes"]}
    attacks = [key.removesuffix("_worst_class") for key in first if key.endswith("_worst_class")]
    names = str(first["classes"]).split(" ")
    for key, value in first.items():
        if key in found or key == "seed":
            continue
        values = [row[key] for row in rows if row.get(key) is not None]
        if key == "device" or key.endswith("_worst_class"):
            found[key] = (", " if key == "device" else "/").join(dict.fromkeys(map(str, values)))
        elif isinstance(value, str) or not values or key.startswith(("to_neighbour", OVER)):  # of one seed
            found[key] = value
        else:
            found[key] = int(min(values)) if key.endswith("_n") or key == "epochs" else float(np.mean(values))
            if key.endswith("_n") and max(values) > min(values):
                found[f"{key}_most"] = int(max(values))
            if any(key == f"{a}_{name}" for a in attacks for name in (*ERRORS, *names)) and len(values) > 1:
                found[f"{key}_seeds_se"] = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    for attack in attacks:
        found[f"{attack}_seeds"] = sum(row.get(f"{attack}_avg") is not None for row in rows)
        found[f"{attack}_rho"] = _rho(rows, base, attack)
    return found


def _rho(rows: list[Row], base: dict[int, Row], attack: str) -> float | None:
    """Mean over the seeds; None where one has no base on as many images, or a base whose worst is at 0."""
    values = []
    for row in [row for row in rows if row.get(f"{attack}_avg") is not None]:
        against = base.get(row["seed"], {})
        if row[f"{attack}_n"] != against.get(f"{attack}_n") or not against.get(f"{attack}_worst"):
            return None
        values.append(metrics.rho(*(r[f"{attack}_{name}"] for r in (row, against) for name in ("avg", "worst"))))
    return float(np.mean(values)) if values else None


def ordered(row: Row) -> Row:
    """Averages and worst classes of clean, PGD-20 and APGD first, then other summaries, then class columns."""
    names = str(row["classes"]).split(" ")
    head = ["method", "seeds"]
    for attack in ("clean", "pgd20", "apgd"):
        measures = [f"{m}{e}" for m in ("avg", "worst", "disparity") for e in ("", "_se", "_seeds_se")]
        head += [f"{attack}_{m}" for m in (*measures, "worst_class", "bottom3", "nsd", "rho", "n")]
    ends = tuple(f"_{name}{end}" for name in names for end in ("", "_se", "_seeds_se"))
    by_class = [key for key in row if key.endswith(ends) and key not in head]
    by_class = [key for key in by_class if not key.startswith("to_neighbour")]
    first = [key for key in head if key in row]
    last = sorted(by_class, key=lambda key: not key.startswith("pgd20_"))
    return {key: row[key] for key in [*first, *(k for k in row if k not in {*first, *last}), *last]}
