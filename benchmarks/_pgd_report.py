"""The record of bench_pgd_step.py as a table to read, a block of Markdown and a figure. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _pgd_targets import Target, missed, targets, verdict_line

from linfair import plotting
from linfair.runs import Row, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
GROUPS = {
    "libraries": plotting.ORANGE,
    "eager torch": plotting.GREY,
    "torch.compile": plotting.SKY,
    "linfair": plotting.BLUE,
}
"""In the order in which they are drawn and listed, with colours."""
MARKERS = ("o", "s", "D", "^")
FORMULA = {"linf": r"$\ell_\infty$", "l2": r"$\ell_2$", "l1": r"$\ell_1$"}
STAR = "      * rescales: not a projection"


def settings(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """(threads, allocator), in the order measured."""
    return list(dict.fromkeys((row["threads"], row["allocator"]) for row in rows))


def words(threads: int, allocator: str, device: str) -> str:
    """A setting in words."""
    if device != "cpu":
        return device.upper()
    return f"{threads} thread{'s' * (threads > 1)}, {allocator} allocator"


def bound(row: Row, device: str) -> Target | None:
    """The target of an arm against the floor, if it has one."""
    found = [t for t in targets(device) if (t.norm, t.arm, t.of, t.n) == (row["norm"], row["arm"], "floor", row["n"])]
    return found[0] if found else None


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


# --- text ------------------------------------------------------------------------------------------------------------


def _verdict_of(row: Row, record: Record) -> tuple[str, str]:
    """("<= 1.15", "met") of an arm against the floor; ("", "") where nothing is asked."""
    if (target := bound(row, record["config"]["device"])) is None:
        return "", ""
    keys = ("norm", "n", "arm", "threads", "allocator")
    for verdict in record["verdicts"]:
        if verdict["of"] == "floor" and all(verdict[key] == row[key] for key in keys):
            asked = f"{target.bound:.0%} of copy" if target.faster else f"<= {target.bound:g}"
            return asked, verdict["verdict"]
    return "", ""


def table(record: Record, rows: Sequence[Row]) -> str:
    """One line an arm: ms, times the floor with its quartiles, target, verdict; then the targets between arms."""
    device, lines = record["config"]["device"], []
    for setting in settings(rows):
        of_setting = [row for row in rows if (row["threads"], row["allocator"]) == setting]
        for n, norm in dict.fromkeys((row["n"], row["norm"]) for row in of_setting):
            block = [row for row in of_setting if (row["n"], row["norm"]) == (n, norm)]
            floor = next(row for row in block if row["arm"] == "floor")
            title = f"{norm}, N = {n} ({n * 12 / 1024:.3g} MiB an array), {words(*setting, device)}"
            lines += ["", f"{title}; floor {floor['ms']:.3g} ms = {floor['gb_s']:.0f} GB/s"]
            lines.append(f"  {'arm':36s} {'ms':>8s} {'x floor':>8s}  {'quartiles':15s} {'target':14s} values, note")
            lines += [f"  {_line(row, record)}".rstrip() for row in block]
    skipped = dict.fromkeys(line for setting in record["settings"] for line in setting["skipped"])
    return "\n".join([*lines, "", *skipped, *verdict_lines(record)])


def _line(row: Row, record: Record) -> str:
    if row["ms"] is None:
        return f"{row['label']:36s} {'-':>8s} {'-':>8s}  {row['note']}"
    target, verdict = _verdict_of(row, record)
    spread = f"{_number(row['x_q1'])} to {_number(row['x_q3'])}"
    numbers = f"{_number(row['ms']):>8s} {_number(row['x_floor']):>8s}  {spread:15s} {target:14s}"
    return f"{row['label']:36s} {numbers} {', '.join(filter(None, (verdict, row['values'], row['note'])))}"


def verdict_lines(record: Record) -> Iterator[str]:
    device = record["config"]["device"]
    if not record["verdicts"]:
        yield "no verdicts: the native extension is not built for this device (python -m linfair.info says why)"
        return
    for setting in settings(record["verdicts"]):
        mine = [v for v in record["verdicts"] if (v["threads"], v["allocator"]) == setting]
        failed = missed(mine)
        summary = "all targets met" if not failed else f"{failed} of {len(mine)} targets missed"
        yield f"{words(*setting, device)}: {summary}"
        yield from (f"  {verdict_line(v)}" for v in mine)


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown(record: Record, rows: Sequence[Row]) -> str:
    """Times the floor, one column a size and setting, and the targets; for the page of the op."""
    device = record["config"]["device"]
    versions = record["versions"]
    commit = record["commit"] or {"id": "no checkout", "dirty": False}
    libraries = {k: v for k, v in record["settings"][0]["libraries"].items() if v}
    stamp = ", ".join([f"torch {versions.get('torch')}", *(f"{k} {v}" for k, v in libraries.items())])
    loads = [load[0] for s in record["settings"] for load in (s["load_before"], s["load_after"])]
    gpu = (record["settings"][0].get("device") or {}).get("name")
    lines = [
        f"{f'{gpu}; ' if gpu else ''}{record['cpu']}, {record['cores']} cores, "
        f"{record['config']['rounds']} rounds; {stamp}; "
        f"commit {commit['id']}{' with changes' if commit['dirty'] else ''}; "
        f"load average {min(loads):.1f} to {max(loads):.1f}."
    ]
    for setting in settings(rows):
        mine = {(r["norm"], r["n"], r["arm"]): r for r in rows if (r["threads"], r["allocator"]) == setting}
        sizes = list(dict.fromkeys(n for _, n, _ in mine))
        lines += ["", f"**{words(*setting, device)}** (times the floor)", ""]
        lines += [f"| | {' | '.join(f'N = {n}' for n in sizes)} | values |", f"|---|{'---:|' * len(sizes)}---|"]
        for norm, arm in dict.fromkeys((norm, arm) for norm, _, arm in mine):
            found = [mine.get((norm, n, arm)) for n in sizes]
            lines.append(_markdown_row(norm, arm, found, record))
    for setting in settings(record["verdicts"]) if record["verdicts"] else []:
        lines += ["", f"**Targets, {words(*setting, device)}**", ""]
        lines += ["| | N | asked | measured | |", "|---|---:|---|---|---|"]
        for v in record["verdicts"]:
            if (v["threads"], v["allocator"]) == setting:
                spread = f"{v['value']:.3g} ({v['q1']:.3g} to {v['q3']:.3g})"
                asked = f"{'≥' if v['at_least'] else '≤'} {v['bound']:.3g}"
                claim = f"{v['norm']}: {v['claim'].rstrip(':')}".replace("*", "\\*")
                lines.append(f"| {claim} | {v['n']} | {asked} | {spread} | {v['verdict']} |")
    return "\n".join(lines)


def _markdown_row(norm: str, arm: str, found: Sequence[Row | None], record: Record) -> str:
    some = next(row for row in found if row)
    if arm == "floor":
        cells = [f"{row['ms']:.3g} ms" if row else "" for row in found]
    else:
        cells = ["" if not row else "failed" if row["ms"] is None else _number(row["x_floor"]) for row in found]
    bold = "**" if some["group"] == "linfair" else ""
    remark = some["values"] or (some["note"] if some["ms"] is None else "")
    label = some["label"].replace("*", "\\*")
    return f"| {norm}: {bold}{label}{bold} | {' | '.join(cells)} | {(remark or '').replace('|', '/')} |"


def fill(page: Path, name: str, content: str) -> None:
    """Replace the generated block of that name in a page."""
    text = page.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
    write_text(page, block.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text))


# --- figure ----------------------------------------------------------------------------------------------------------


def plot(record: Record, rows: Sequence[Row]) -> Figure:
    """Times over the floor: a panel a norm and setting, a line an arm, a marker a size; ticks mark our targets."""
    device = record["config"]["device"]
    columns = settings(rows)
    norms = list(dict.fromkeys(row["norm"] for row in rows))
    sizes = list(dict.fromkeys(row["n"] for row in rows))
    labels = {norm: _labels(rows, norm) for norm in norms}
    height = 0.9 + 0.155 * sum(map(len, labels.values())) + 0.25 * len(norms)
    figure, axes = plotting.subplots(
        len(norms), len(columns), width=plotting.TEXT_WIDTH, height=height, sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": [len(labels[norm]) for norm in norms]},
    )  # fmt: skip
    for i, norm in enumerate(norms):
        for j, setting in enumerate(columns):
            mine = [r for r in rows if r["norm"] == norm and (r["threads"], r["allocator"]) == setting]
            _panel(axes[i, j], mine, labels[norm], sizes, device, named=j == 0)
            axes[i, j].set_title(FORMULA[norm] if i else f"{FORMULA[norm]}: {words(*setting, device)}")
    figure.supxlabel(f"time over the floor: 16 bytes an element{STAR * ('l1' in norms)}", fontsize=7.5)
    handles = [_handle(MARKERS[k % len(MARKERS)], f"N = {n}") for k, n in enumerate(sizes)]
    handles.append(_handle("|", "target"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.2)
    return figure


def _labels(rows: Sequence[Row], norm: str) -> list[tuple[str, str]]:
    """(label, group) of the arms that are drawn, ours last; a line stands for an arm in all panels of its row."""
    found = dict.fromkeys((r["label"], r["group"]) for r in rows if r["norm"] == norm and r["group"] in GROUPS)
    return sorted(found, key=lambda pair: list(GROUPS).index(pair[1]))


def _panel(
    ax: Any, rows: Sequence[Row], labels: Sequence[tuple[str, str]], sizes: Sequence[int], device: str, *, named: bool
) -> None:
    place = {pair: len(labels) - 1 - i for i, pair in enumerate(labels)}
    spread = 0.22 if len(sizes) > 1 else 0.0
    for row in rows:
        if (row["label"], row["group"]) not in place:
            continue
        y, k = place[row["label"], row["group"]], sizes.index(row["n"])
        y += spread * (1 - 2 * k / max(len(sizes) - 1, 1))
        color = GROUPS[row["group"]]
        if row["ms"] is None or row["x_floor"] <= 0:
            if k == 0 and row["ms"] is None:
                ax.text(1.1, place[row["label"], row["group"]], "fails", va="center", fontsize=7, color=plotting.GREY)
            continue
        ax.plot([row["x_q1"], row["x_q3"]], [y, y], color=color, linewidth=0.8, solid_capstyle="butt")
        ax.plot(row["x_floor"], y, MARKERS[k % len(MARKERS)], color=color, markersize=3.2, markeredgewidth=0)
        if target := bound(row, device):
            asked = 1 / target.bound if target.faster else target.bound
            ax.plot(asked, y, "|", color=plotting.BLACK, markersize=5, markeredgewidth=0.8)
    ax.axvline(1, color=plotting.BLACK, linewidth=0.6, zorder=0)
    ax.set_xscale("log")
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.set_yticks([place[pair] for pair in labels], [label for label, _ in labels] if named else [""] * len(labels))
    for tick, (_, group) in zip(ax.get_yticklabels(), labels, strict=True):
        tick.set_color(GROUPS[group] if group == "linfair" else plotting.BLACK)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.4, zorder=0)


def _handle(marker: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, color=plotting.BLACK, linestyle="", markersize=4, label=label)
