"""group_fairness.csv as Markdown, for --table and the docs: reads records only, imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from _classwise_table import markdown
from linfair import runs
from linfair.runs import Row

PUBLISHED = (
    {"method": "baseline", "accuracy": 31.75, "EOd": 200.0, "DI": 100.0},
    {"method": "pre", "accuracy": 31.75, "EOd": 200.0, "DI": 100.0},
    {"method": "in", "accuracy": 33.67, "EOd": 194.73, "DI": 91.24},
    {"method": "post", "accuracy": 31.75, "EOd": 200.0, "DI": 100.0},
    {"method": "at", "accuracy": 72.67, "EOd": 62.47, "DI": 36.58},
    {"method": "at_pre", "accuracy": 75.67, "EOd": 24.47, "DI": 15.49},
    {"method": "at_in", "accuracy": 74.35, "EOd": 27.35, "DI": 17.12},
    {"method": "at_post", "accuracy": 74.67, "EOd": 28.17, "DI": 17.43},
)
"""Adult, AutoAttack on DI at eps 0.2, in percent: Chai and Wang 2023, discussion on OpenReview (IrZTJ7t2GW)."""
TITLES = {
    "baseline": "plain", "pre": "pre", "in": "in", "post": "post", "at": "AT", "at_pre": "AT (pre)",
    "at_in": "AT (in)", "at_post": "AT (post)", "at_fair": "AT, fairness attack", "at_both": "AT, both attacks",
    "at_both_pre": "AT, both (pre)", "at_both_in": "AT, both (in)", "at_both_post": "AT, both (post)",
    "at_post_attacked": "AT (post, attacked)", "at_both_post_attacked": "AT, both (post, attacked)",
}  # fmt: skip
MODELS = {"logistic": "logistic regression", "mlp": "two-layer network"}
THREATS = {"continuous": "continuous columns", "all": "all columns", "all, no box": "all columns, no box"}
DATA = {
    "adult-sex": "Adult, sex", "adult-race": "Adult, white and black", "compas-race": "COMPAS, race",
    "compas-sex": "COMPAS, sex", "gaussian-groups": "Gaussian groups", "diabetes-sex": "diabetes, sex",
}  # fmt: skip


def title(method: str) -> str:
    """The name of a method as text shows it."""
    return TITLES.get(method, method)


def data_title(name: str) -> str:
    """The name of a data set as text shows it."""
    return DATA.get(name, name)


def percent(row: Row, key: str) -> str:
    """A share in percent with its standard error over seeds."""
    error = row.get(f"{key}_se")
    return f"{100 * row[key]:.1f}" + (f" ± {100 * error:.1f}" if error and error >= 5e-4 else "")


def pick(rows: Sequence[Row], **match: object) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in match.items())]


def trained_radius(rows: Sequence[Row]) -> float:
    """The radius that was trained against: the only one that is also measured without a box."""
    return next(row["eps"] for row in rows if row["threat"] == "all, no box")


def published_table(rows: Sequence[Row], model: str) -> str:
    """The published row set beside ours on Adult: accuracy, EOd and DI under the attack on DI, in percent."""
    eps = trained_radius(rows)
    header = ["", "published: accuracy / EOd / DI"]
    places = [(d, t) for d in ("adult-race", "adult-sex") for t in ("all, no box", "all", "continuous")]
    header += [f"{data_title(d)}; {THREATS[t]}" for d, t in places]
    body = []
    for published in PUBLISHED:
        line = [title(published["method"]), " / ".join(f"{published[k]:.1f}" for k in ("accuracy", "EOd", "DI"))]
        for data, threat in places:
            found = pick(rows, data=data, model=model, method=published["method"], threat=threat, eps=eps)
            keys = ("di_attack_accuracy", "di_attack_EOd", "di_attack_DI")
            line.append(" / ".join(f"{100 * found[0][key]:.1f}" for key in keys) if found else "-")
        body.append(line)
    return markdown(header, body)


COLUMNS = {
    "accuracy": "accuracy", "DI": "DI", "EOd": "EOd", "robust_accuracy": "robust accuracy",
    "fairness_robustness": "fairness robustness", "worst_DI": "attacked DI",
    "worst_EOd": "attacked EOd",
}  # fmt: skip


def main_table(rows: Sequence[Row], data: str, threat: str) -> str:
    """Every method of both models on one data set at the radius trained against, in percent."""
    eps = trained_radius(rows)
    found = pick(rows, data=data, threat=threat, eps=eps)
    header = ["model", "method", *COLUMNS.values()]
    body = [[MODELS[row["model"]], title(row["method"]), *(percent(row, key) for key in COLUMNS)] for row in found]
    return markdown(header, body)


def checks_table(rows: Sequence[Row]) -> str:
    """PGD beside the exact attack, and PGD training beside the certified optimum."""
    header = ["data", "trained", "threat", "PGD - exact, largest metric", "certified gap", "PGD training - lower bound"]
    body = [
        [data_title(row["data"]), title(row["method"]), THREATS[row["threat"]]]
        + [f"{row[key]:.1e}" for key in ("pgd_gap", "certified_gap", "pgd_training_gap")]
        for row in rows
        if row.get("pgd_gap") is not None
    ]
    return markdown(header, body)


def read(stem: Path) -> tuple[str, list[Row]]:
    """Label of the data and rows of a record."""
    record, rows = runs.read_record(stem)
    return record["dataset"]["label"], rows


def tables(folder: Path) -> str:
    """All tables of the records in a folder."""
    parts = []
    for path in sorted(folder.glob("group_fairness*.json")):
        label, rows = read(path.with_suffix(""))
        parts.append(f"# {label}\n")
        for data in dict.fromkeys(row["data"] for row in rows):
            for threat in dict.fromkeys(row["threat"] for row in pick(rows, data=data)):
                parts.append(f"## {data_title(data)}, {THREATS[threat]}, eps = {trained_radius(rows)}, percent\n")
                parts.append(main_table(rows, data, threat) + "\n")
        if pick(rows, data="adult-race") or pick(rows, data="adult-sex"):
            for model in dict.fromkeys(row["model"] for row in rows):
                parts.append(f"## Beside the published rows, {MODELS[model]}\n\n{published_table(rows, model)}\n")
        parts.append(f"## Logistic regression: PGD and exact\n\n{checks_table(rows)}\n")
    return "\n".join(parts)
