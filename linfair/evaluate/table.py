"""Evaluations as text: aligned columns that fit a terminal, percent with their 95 % intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linfair.evaluate.record import Evaluation

GAP = "  "
TITLES = {"average": "average", "worst": "worst class", "bottom_3": "bottom-3", "disparity": "disparity", "nsd": "NSD"}


def tables(evaluation: Evaluation, width: int = 100) -> str:
    """Title, the measures of every attack, the classes under every attack."""
    return "\n\n".join([title(evaluation, width), summary(evaluation, width), classes(evaluation, width)])


def title(evaluation: Evaluation, width: int = 100) -> str:
    """What was evaluated on what, one line each."""
    model, data, threat = evaluation.model, evaluation.data, evaluation.threat
    weights = model["weights"]
    of = f", weights {weights['file']} (sha256 {weights['sha256'][:12]})" if weights else ""
    n = len(evaluation.labels)
    part = f"all {n}" if n == data["total"] else f"{n} of {data['total']}"
    lines = [
        ("model", f"{model['name']}{of}"),
        ("data", f"{data['label']}, {part} {data['part']} images (fingerprint {data['fingerprint']})"),
        ("threat", f"{threat['norm']}, eps {threat['eps']}"),
    ]
    return "\n".join(clip(f"{name:<8}{value}", width) for name, value in lines)


def summary(evaluation: Evaluation, width: int = 100) -> str:
    """A row for every attack: average, worst class, bottom-3, disparity, NSD; below each its interval."""
    measures = evaluation.measures
    left = [("attack",), *((cell,) for attack in measures for cell in (attack, ""))]
    columns = []
    for key, header in TITLES.items():
        show, cells = number if key == "nsd" else percent, [header]
        for found in measures.values():
            whose = f" ({clip(found[key]['class'], 16)})" if key == "worst" else ""
            cells += [f"{show(found[key]['value'])}{whose}", span(found[key], show)]
        columns.append(cells)
    note = "accuracy in %; below each value its 95 % bootstrap interval (images resampled within their class)"
    table = "\n\n".join(blocks(left, columns, width, right=set()))
    return "\n".join([table, *textwrap.wrap(note, width), *notes(evaluation, width)])


def notes(evaluation: Evaluation, width: int = 100) -> list[str]:
    """What must be said of some attacks, a line for each note."""
    by_note: dict[str, list[str]] = {}
    for about in evaluation.attacks.values():
        if about["note"]:
            by_note.setdefault(about["note"], []).append(about["title"])
    return [line for note, of in by_note.items() for line in textwrap.wrap(f"{'; '.join(of)}: {note}", width)]


def classes(evaluation: Evaluation, width: int = 100) -> str:
    """A row for every class, a column for every attack; as many blocks of columns as the width asks for."""
    found = evaluation.measures
    first = next(iter(found.values()))["classes"]
    left = [("class", "n"), *((clip(row["name"], 20), str(row["n"])) for row in first)]
    columns = []
    for attack, of in found.items():
        cells = [f"{percent(r['value']):>5} {percent(r['low']):>5}-{percent(r['high'])}" for r in of["classes"]]
        cells[of["worst"]["index"]] += " *"
        columns.append([attack, *cells])
    return (
        "\n\n".join(blocks(left, columns, width, right={1}))
        + "\naccuracy in % and its 95 % Wilson interval; * worst class"
    )


def blocks(left: Sequence[tuple[str, ...]], columns: Sequence[Sequence[str]], width: int, right: set[int]) -> list[str]:
    """Tables of the same left cells and as many columns each as fit, at least one."""

    def table(chosen: Sequence[Sequence[str]]) -> str:
        return aligned([(*row, *cells) for row, cells in zip(left, zip(*chosen, strict=True), strict=True)], right)

    tabled: list[str] = []
    chosen: list[Sequence[str]] = []
    for column in columns:
        if chosen and len(table([*chosen, column]).split("\n")[1]) > width:
            tabled.append(table(chosen))
            chosen = []
        chosen.append(column)
    return [*tabled, table(chosen)]


def aligned(rows: Sequence[Sequence[str]], right: set[int] | None = None) -> str:
    """Rows as text, a rule below the first; columns are left-aligned, those in `right` right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        pairs = enumerate(zip(row, widths, strict=True))
        return GAP.join(cell.rjust(w) if i in (right or ()) else cell.ljust(w) for i, (cell, w) in pairs).rstrip()

    header, *body = rows
    return "\n".join([line(header), GAP.join("-" * w for w in widths), *map(line, body)])


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def span(limits: dict[str, Any], show: Callable[[float | None], str] = percent) -> str:
    """An interval, "-" where it is not defined."""
    return "-" if limits["low"] is None else f"{show(limits['low'])}-{show(limits['high'])}"


def clip(text: str, width: int) -> str:
    """Text of at most `width` characters, shortened in the middle."""
    if len(text) <= width:
        return text
    head = (width - 3) // 2
    return f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"
