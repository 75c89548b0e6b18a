"""The generated parts of the docs.

From THEOREMS: statements, assumptions, values at the defaults, calls, tables. From figures/data/classwise.csv: the
tables of the training methods; from group_fairness*.csv those of group fairness. From benchmarks/results/attack.json:
the speed of whole attacks.

    python docs/render.py            write what has changed
    python docs/render.py --check    list stale pages; exit status 1 if there are any

A generated part stands between ``<!-- generated: name -->`` and ``<!-- end -->``; everything outside is written by hand
and kept. A new theorem gets a page, a new limit a place at the end of limits.md, both with headings to fill in.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linfair.runs import write_text
from linfair.theory import THEOREMS, Theorem

DOCS = Path(__file__).resolve().parent
DIGITS = {"targeted-three-classes": 3, "mixup-any-covariance": 4}
"""Significant digits of values from iterative solvers on problems that are not smooth or not convex; 6 elsewhere."""

PAGE = "{statement}\n\n## Why\n\n## Read it\n\n{numbers}\n\n## Sources\n"
LIMIT = "\n{block}\n\n**Why it fails.**\n\n**Where it holds.**\n"
BLOCK = re.compile(r"<!-- generated: (?P<name>\S+) -->\n(?:.*?\n)??<!-- end -->", re.S)
VALUE = re.compile(r"\| (-?\d[-+.e\d]*) \|$", re.M)


# --- the look of a formula -------------------------------------------------------------------------------------------

LETTERS = dict(
    Phi="Φ", phi="φ", Sigma="Σ", sigma="σ", tau="τ", Lam="Λ", lam="λ", alpha="α", delta="δ", kappa="κ", eps="ε",
    eta="η", rho="ρ", pi="π", sqrt="√", ebar="ε̄", dtau="dτ", l_inf="ℓ∞", l_p="ℓ_p", infinity="∞",
) | {"lambda": "λ"}  # fmt: skip
SIGNS = {
    "<=": "≤", ">=": "≥", "->": "→", ">>": "≫", "!=": "≠", "||": "‖", " ~ ": " ∼ ", "+-": "±", "-+": "∓", "R^_": "R̂_",
}  # fmt: skip


def typeset(text: str) -> str:
    """Plain-text mathematics as Markdown: Greek letters, signs, scripts, and what Markdown would eat escaped."""
    for plain, sign in SIGNS.items():
        text = text.replace(plain, sign)
    text = re.sub(r"(?<![A-Za-z])(" + "|".join(LETTERS) + r")(?![A-Za-z])", lambda m: LETTERS[m[1]], text)
    text = text.replace("√ ", "√").replace("<", "&lt;").replace("*", r"\*").replace("|", r"\|")
    for mark, tag in (("_", "sub"), (r"\^", "sup")):
        script = mark + r"(?:\{([^{}]*)\}|\(([-/\d]+)\)|(\\\*|[-+](?!\w)|-?[0-9A-Za-z]+))"
        text = re.sub(script, lambda m, tag=tag: f"<{tag}>{m[1] or m[2] or m[3]}</{tag}>", text)
    return text


def prose(text: str, folder: str) -> str:
    """Typeset text in which ids of theorems and limits are links, for a page in docs/ or docs/theorems/."""
    ids = "|".join(sorted(THEOREMS, key=len, reverse=True))
    parts = re.split(rf"(?<![\w-])({ids})(?![\w-])", text)
    return "".join(link(part, folder) if part in THEOREMS else typeset(part) for part in parts)


def link(theorem_id: str, folder: str) -> str:
    up = "../" if folder == "theorems" else ""
    if THEOREMS[theorem_id].kind == "limit":
        return f"[{theorem_id}]({up}limits.md#{theorem_id})"
    return f"[{theorem_id}]({'' if up else 'theorems/'}{theorem_id}.md)"


def number(value: float, digits: int = 6) -> str:
    """Rounded so that solvers and machines agree; rounding noise is 0."""
    return "0" if abs(value) < 1e-9 else f"{value:.{digits}g}"


def verdict(theorem: Theorem) -> str:
    """What the statement says first: "False", "Only for eps < eta", "True for r <= K, false beyond"."""
    if theorem.kind == "theorem":
        return "True if " + "; ".join(a.text for a in theorem.assumptions)
    return re.split(r"[:;]|\.\s+(?=[A-Z])|\.$", theorem.statement)[0]


# --- blocks ----------------------------------------------------------------------------------------------------------


def literal(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    return f"{value:.10g}" if isinstance(value, float) and not value.is_integer() else json.dumps(value)


def arguments(theorem: Theorem) -> list[str]:
    return [f"{name}={literal(value)}" for name, value in theorem.defaults.items()]


def values(theorem: Theorem) -> str:
    digits = DIGITS.get(theorem.id, 6)
    rows = [f"| {typeset(name)} | {number(value, digits)} |" for name, value in theorem.analytic().items()]
    return "\n".join(["| quantity | analytic value |", "|---|---:|", *rows])


def statement_block(theorem: Theorem) -> str:
    return "\n".join(
        [
            f"# {typeset(theorem.title)}",
            "",
            f"`{theorem.id}` · [all theorems](README.md) · [notation](../index.md#notation)",
            "",
            f"> {prose(theorem.statement, 'theorems')}",
            "",
            f"- **Assumes:** {'; '.join(typeset(a.text) for a in theorem.assumptions)}.",
            f"- **Setting:** {prose(theorem.setting, 'theorems')}.",
            f"- **Ours:** {prose(theorem.ours, 'theorems')}",
        ]
    )


def numbers_block(theorem: Theorem) -> str:
    return "\n".join(
        [
            "## At the defaults",
            "",
            values(theorem),
            "",
            f"The empirical twin is of the kind [{theorem.twin}](README.md#twins).",
            "",
            "```python",
            "from linfair.theory import THEOREMS",
            "",
            f'theorem = THEOREMS["{theorem.id}"]',
            "values = theorem.analytic(",
            *(f"    {argument}," for argument in arguments(theorem)),
            ")",
            "print(values)",
            "print(theorem.empirical(n=2000, seed=0))",
            "```",
            "",
            "```sh",
            f"linfair verify --only {theorem.id}",
            "```",
            "",
            f"![{theorem.figure}](../../figures/{theorem.figure}.png)",
        ]
    )


def limit_block(theorem: Theorem) -> str:
    return "\n".join(
        [
            f'<a id="{theorem.id}"></a>',
            "",
            f"### {typeset(theorem.title)}?",
            "",
            f"> {prose(theorem.statement, '')}",
            "",
            values(theorem),
            "",
            f"- **Setting:** {prose(theorem.setting, '')}. **Assumes:** "
            f"{'; '.join(typeset(a.text) for a in theorem.assumptions)}.",
            f'- **Call:** `THEOREMS["{theorem.id}"].analytic({", ".join(arguments(theorem))})`',
            f"- **Check:** `linfair verify --only {theorem.id}` ({theorem.twin}). "
            f"**Figure:** [{theorem.figure}](../figures/{theorem.figure}.png).",
        ]
    )


def table(kind: str, folder: str = "") -> str:
    rows = [
        f"| {typeset(t.title)} | {prose(verdict(t), folder)} | {link(t.id, folder)} |"
        for t in THEOREMS.values()
        if t.kind == kind
    ]
    return "\n".join(["| claim | verdict | where |", "|---|---|---|", *rows])


def theorem_table() -> str:
    rows = [
        f"| [{t.id}]({t.id}.md) | {typeset(t.title)} | {t.twin} | [{t.figure}](../../figures/{t.figure}.png) |"
        for t in THEOREMS.values()
        if t.kind == "theorem"
    ]
    return "\n".join(["| id | title | twin | figure |", "|---|---|---|---|", *rows])


def method_blocks() -> dict[str, str]:
    """The tables of the training methods on CIFAR-10, from the committed record."""
    sys.path.insert(0, str(DOCS.parent / "experiments"))
    import _classwise_table as tables

    label, rows = tables.read(DOCS.parent / "figures" / "data" / "classwise")
    return {
        "classwise-short": f"{tables.short_table(rows)}\n\n{label}.",
        "classwise-main": tables.main_table(rows),
        "classwise-classes": tables.class_table(rows),
        "classwise-apgd": tables.class_table(rows, "apgd"),
        "classwise-gains": tables.gain_table(rows),
        "classwise-further": tables.further_table(rows),
    }


def group_blocks() -> dict[str, str]:
    """The tables of group fairness on real data and on the embedded, from the committed records."""
    import _group_tables as tables

    data = DOCS.parent / "figures" / "data"
    _, rows = tables.read(data / "group_fairness")
    _, embedded = tables.read(data / "group_fairness-embedded")
    found = {f"groups-published-{model}": tables.published_table(rows, model) for model in tables.MODELS}
    for name in dict.fromkeys(row["data"] for row in rows):
        found |= {f"groups-{name}-{kind}": tables.main_table(rows, name, kind) for kind in ("continuous", "all")}
    return found | {"groups-checks": tables.checks_table([*rows, *embedded])}


def attack_block() -> str:
    """Speed of whole attacks beside the libraries, from the committed record of benchmarks/bench_attack.py."""
    record = json.loads(read(DOCS.parent / "benchmarks" / "results" / "attack.json"))
    lines = ["| network | attack | by | images/s | over torchattacks |", "|---|---|---|---:|---:|"]
    for row in record["rows"]:
        speed = f"{row['images_per_second']:,.0f} | {row['ratio']:.2f}"
        lines.append(f"| {row['model']} | PGD-{row['steps']} | {row['label']} | {speed} |")
    machine, versions = record["machine"], {**record["peers"], "torch": record["versions"]["torch"]}
    stamp = ", ".join(f"{name} {version}" for name, version in versions.items())
    flags = ", ".join(machine["cpu_flags"])
    where = f"{machine['device']}, {machine['threads']} threads ({flags}); {stamp}; commit {record['commit']['id']}"
    return "\n".join([*lines, "", f"Batches of {record['config']['batch']}, medians of interleaved rounds. {where}."])


def accuracy_block() -> str:
    """What a search in bf16 costs in accuracy, from the committed record of bench_attack.py --weights."""
    record = json.loads(read(DOCS.parent / "benchmarks" / "results" / "attack-accuracy.json"))
    lines = ["| search in | images | accuracy under PGD-20 (%) | loss reached | seconds |", "|---|---:|---:|---:|---:|"]
    for row in record["accuracy"]:
        found = f"{row['n']} | {100 * row['pgd20']:.2f} | {row['loss']:.4f} | {row['seconds']:.0f}"
        lines.append(f"| {row['arm']} | {found} |")
    about, machine = record["accuracy"][0], record["machine"]
    where = f"{machine['device']}, {machine['threads']} threads; commit {record['commit']['id']}"
    trained = f"{about['model']} after {record['weights']['epochs']} epochs of {record['weights']['method']}"
    return "\n".join([*lines, "", f"{trained}, {about['data']}; breaks confirmed in float32. {where}."])


# --- pages -----------------------------------------------------------------------------------------------------------


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """The text with every generated block replaced; blocks that no longer exist go."""

    def block(match: re.Match[str]) -> str:
        return wrap(match["name"], blocks[match["name"]]) if match["name"] in blocks else ""

    return BLOCK.sub(block, text)


def wrap(name: str, content: str) -> str:
    return f"<!-- generated: {name} -->\n{content}\n<!-- end -->"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def pages() -> dict[Path, str]:
    """Every page that holds a generated part, as it should be."""
    found: dict[Path, str] = {}
    for theorem in THEOREMS.values():
        if theorem.kind == "theorem":
            path = DOCS / "theorems" / f"{theorem.id}.md"
            blocks = {"statement": statement_block(theorem), "numbers": numbers_block(theorem)}
            template = PAGE.format(**{name: wrap(name, content) for name, content in blocks.items()})
            found[path] = fill(read(path) or template, blocks)
    limits = {t.id: limit_block(t) for t in THEOREMS.values() if t.kind == "limit"}
    text = read(DOCS / "limits.md")
    present = {match["name"] for match in BLOCK.finditer(text)}
    text += "".join(LIMIT.format(block=wrap(name, limits[name])) for name in limits if name not in present)
    found[DOCS / "limits.md"] = fill(text, limits | {"claims": table("limit")})
    for path, blocks in {
        DOCS / "theorems" / "README.md": {"theorems": theorem_table()},
        DOCS / "index.md": {"claims": table("limit"), "theorems": table("theorem")},
        DOCS / "evaluate.md": {"attack": attack_block(), "attack-accuracy": accuracy_block()},
        DOCS / "classwise.md": (methods := method_blocks()),
        DOCS / "groups.md": group_blocks(),
        DOCS.parent / "README.md": methods,
    }.items():
        found[path] = fill(read(path) or "\n\n".join(wrap(*block) for block in blocks.items()) + "\n", blocks)
    return found


def same(old: str, new: str) -> bool:
    """Equal up to the last printed digit of a value in a table, where two machines may round differently."""
    if VALUE.sub("|", old) != VALUE.sub("|", new):
        return False
    pairs = zip(map(float, VALUE.findall(old)), map(float, VALUE.findall(new)), strict=True)
    return all(abs(a - b) <= 1.1e-5 * max(abs(a), abs(b)) for a, b in pairs)


def stale() -> dict[Path, str]:
    """The pages that differ from what they should be, with what they should be."""
    return {path: text for path, text in pages().items() if not same(read(path), text)}


def orphans() -> list[Path]:
    """Pages of theorems that no longer exist."""
    return [p for p in sorted((DOCS / "theorems").glob("*.md")) if p.stem != "README" and p.stem not in THEOREMS]


def main() -> int:
    parser = argparse.ArgumentParser(description="Render the generated parts of the docs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    changed = stale()
    for path, text in changed.items():
        print(f"{'stale' if check else 'wrote'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            write_text(path, text)
    for path in orphans():
        print(f"no such theorem: {path.relative_to(DOCS.parent)}; delete the page", file=sys.stderr)
    return int(bool(orphans()) or (check and bool(changed)))


if __name__ == "__main__":
    sys.exit(main())
