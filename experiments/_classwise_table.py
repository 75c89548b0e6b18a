"""classwise.csv as Markdown, for --table, the README and the docs: reads records only, imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from linfair import runs
from linfair.runs import Row

TITLES = {
    "standard": "standard", "pgd_at": "PGD-AT", "trades": "TRADES", "domain_mixup_natural": "Domain Mixup, natural",
    "domain_mixup_natural_beta": "Domain Mixup, natural, Beta",
    "domain_mixup_natural_mway": "Domain Mixup, natural, 4-way",
    "domain_mixup_robust": "Domain Mixup", "domain_mixup_beta": "Domain Mixup, Beta",
    "domain_mixup_mway": "Domain Mixup, 4-way", "domain_mixup_easy": "Domain Mixup, easy classes",
    "domain_mixup_hard": "Domain Mixup, hard classes", "dafa_pgd": "DAFA (PGD)", "dafa_trades": "DAFA (TRADES)",
    "fair_tat": "FAIR-TAT", "ard": "ARD", "rslad": "RSLAD", "absld": "ABSLD",
    "cfa_pgd": "CFA (PGD)", "cfa_trades": "CFA (TRADES)", "wat": "WAT", "faal": "FAAL",
}  # fmt: skip
ATTACKS = {
    "clean": "clean", "pgd20": "PGD-20", "apgd": "APGD-CE + APGD-T", "autoattack": "AutoAttack", "cw20": "CW-20",
    "linf12": "ℓ∞ 12/255", "l2": "ℓ2 0.5", "l1": "ℓ1 12", "exact_clean": "clean, exact pixels",
    "exact_pgd20": "PGD-20, exact pixels", "pgd20_float32": "PGD-20 in float32 alone",
}  # fmt: skip
OURS = ("noise", "blur", "contrast", "jpeg")
"""Corruptions of our own."""


def title(method: str) -> str:
    """The name of a method as text shows it."""
    return TITLES.get(method, method)


def percent(row: Row, key: str, digits: int = 1) -> str:
    """A share in percent with its standard error, of seeds and test images together where both are known."""
    value = row.get(key)
    if value is None:
        return "-"
    known = row.get(f"{key}_se") is not None
    return f"{100 * value:.{digits}f}" + (f" ± {100 * total_error(row, key):.{digits}f}" if known else "")


def total_error(row: Row, key: str) -> float:
    """Standard error over test images and, with several seeds, over seeds."""
    parts = [row.get(f"{key}_se") or 0.0, row.get(f"{key}_seeds_se") or 0.0]
    return sum(part**2 for part in parts) ** 0.5


def worst(row: Row, attack: str) -> str:
    """The worst class: accuracy and name."""
    name = row.get(f"{attack}_worst_class")
    return f"{percent(row, f'{attack}_worst')} ({name})" if name is not None else "-"


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and the others numbers."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in body)])


def images(row: Row, attack: str) -> str:
    """On how many images; a range where seeds differ."""
    few, most = row[f"{attack}_n"], row.get(f"{attack}_n_most")
    return str(few) if most is None else f"{few} to {most}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def in_main(rows: Sequence[Row], attack: str) -> bool:
    """Whether every method was measured under an attack."""
    return all(row.get(f"{attack}_avg") is not None for row in rows)


def main_table(rows: Sequence[Row]) -> str:
    """Methods as rows: clean, PGD-20 and APGD, average and worst class, disparity, NSD, rho, seeds."""
    apgd = in_main(rows, "apgd")
    header = ["method", "seeds", "clean avg", "clean worst", "PGD-20 avg", "PGD-20 worst", "disparity", "NSD", "rho"]
    header += ["APGD images", "APGD avg", "APGD worst"] if apgd else []
    body = []
    for row in rows:
        line = [title(row["method"]), row["seeds"], percent(row, "clean_avg"), worst(row, "clean")]
        line += [percent(row, "pgd20_avg"), worst(row, "pgd20"), percent(row, "pgd20_disparity")]
        line += [number(row.get("pgd20_nsd")), number(row.get("pgd20_rho"))]
        body.append(line + ([images(row, "apgd"), percent(row, "apgd_avg"), worst(row, "apgd")] if apgd else []))
    return markdown(header, body)


def short_table(rows: Sequence[Row]) -> str:
    """Methods as rows: clean, PGD-20 and APGD, average and worst class; for the README."""
    few = f"APGD, {images(rows[0], 'apgd')} images" if in_main(rows, "apgd") else "APGD"
    header = ["method", "seeds", "clean", "PGD-20", "worst class", few, "worst class"]
    body = [
        [title(row["method"]), row["seeds"]]
        + [percent(row, "clean_avg"), percent(row, "pgd20_avg"), worst(row, "pgd20")]
        + [percent(row, "apgd_avg"), worst(row, "apgd")]
        for row in rows
    ]
    return markdown(header, body)


def gain_table(rows: Sequence[Row]) -> str:
    """Differences to the parent under PGD-20 in points, with paired 95 % intervals: a row a method and seed; a dagger
    where the two were trained on different hardware."""
    body = []
    for row in rows:
        found = [re.fullmatch(r"over_(.+)_s(\d+)_avg", key) for key, value in row.items() if value is not None]
        for base, seed in (match.groups() for match in found if match):
            other = " †" if row.get(f"over_{base}_s{seed}_device") else ""
            line = [f"{title(row['method'])} - {title(base)}{other}", seed]
            for name in ("worst", "avg", "disparity"):
                value, low, high = (100 * row[f"over_{base}_s{seed}_{name}{end}"] for end in ("", "_low", "_high"))
                line.append(f"{value:+.1f} [{low:.1f}, {high:.1f}]")
            body.append(line)
    return markdown(["PGD-20, points", "seed", "worst class", "average", "disparity"], body)


def class_table(rows: Sequence[Row], attack: str = "pgd20") -> str:
    """Class accuracies in percent."""
    names = str(rows[0]["classes"]).split(" ")
    body = [[title(r["method"]), r["seeds"], *(percent(r, f"{attack}_{name}") for name in names)] for r in rows]
    return markdown(["method", "seeds", *names], body)


def further_table(rows: Sequence[Row]) -> str:
    """What only some methods were measured under: a row a method and attack; empty where there is none."""
    body = []
    for row in rows:
        keys = [key.removesuffix("_worst_class") for key in row if key.endswith("_worst_class")]
        for key in keys:
            shown = key in ("clean", "pgd20") or (key == "apgd" and in_main(rows, key))
            if not shown and row.get(f"{key}_avg") is not None:
                name = ATTACKS.get(key.removesuffix("_more"), f"{key} (own)" if key.startswith(OURS) else key)
                line = [percent(row, f"{key}_avg"), worst(row, key), percent(row, f"{key}_disparity")]
                body.append([title(row["method"]), name, row[f"{key}_seeds"], images(row, key), *line])
    return markdown(["method", "attack", "seeds", "images", "avg", "worst", "disparity"], body) if body else ""


def read(stem: Path) -> tuple[str, list[Row]]:
    """(data label, rows) of a record."""
    record, rows = runs.read_record(stem)
    for row in rows:  # class names that are digits come back as numbers
        row["classes"] = str(row["classes"])
    return record["dataset"]["label"], rows


def tables(folder: Path) -> str:
    """The tables of every record in a folder."""
    parts = []
    for path in sorted(folder.glob("classwise*.csv"), key=lambda p: ("digits" in p.name, p.name)):
        label, rows = read(path.with_suffix(""))
        by_class = f"PGD-20, class by class:\n\n{class_table(rows)}"
        parts.append(f"### {label} ({path.stem})\n\n{main_table(rows)}\n\n{by_class}\n")
        if further := further_table(rows):
            parts.append(f"Further attacks:\n\n{further}\n")
    return "\n".join(parts)
