"""One PGD update - step, ball, box - of a batch of 3x32x32 float32 images: libraries, eager torch, torch.compile, ours.

    python benchmarks/bench_pgd_step.py                  the full record: 1 and 2 threads, N = 128, 512, 8192
    python benchmarks/bench_pgd_step.py --quick          a look of seconds: N = 128, no torch.compile, no libraries
    python benchmarks/bench_pgd_step.py --plot-only      the table, figure and page again, from the record
    python benchmarks/bench_pgd_step.py --device cuda    with events; the floor is twice the measured copy

Everything is timed in interleaved rounds and divided by the floor of its round: a loop that reads three arrays and
writes one. Compare ratios within a run, never milliseconds across runs. Each setting and size has a process of its own,
because threads and allocator are chosen when a process starts. "default allocator" is glibc as it comes: it returns
large blocks to the system, and fresh results then cost page faults. --warm-malloc adds a setting that keeps them.

The libraries are those of benchmarks/requirements.txt, best in an environment of their own; missing ones are skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _pgd_report

from linfair import plotting, runs

ROOT = Path(__file__).resolve().parents[1]
NAME = "pgd_step"
NORMS = ("linf", "l2", "l1")
WARM = {
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_MMAP_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "67108864",
}


class UsageError(ValueError):
    """The command line asks for what cannot be; the message is one line with the remedy."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="N = 128, 1 thread, 3 rounds, no torch.compile, no libraries"
    )
    parser.add_argument("--plot-only", action="store_true", help="compute nothing: show and draw the record")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", metavar="T", help="CPU threads, one setting each [1 2]")
    parser.add_argument("--warm-malloc", action="store_true", help="one more setting: malloc keeps its memory")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="batch sizes [128 512 8192]")
    parser.add_argument("--norms", nargs="+", choices=NORMS, default=NORMS, metavar="NORM", help="[linf l2 l1]")
    parser.add_argument("--rounds", type=int, help="interleaved rounds [15]")
    parser.add_argument("--force", action="store_true", help="begin anew after a killed run")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-peers", action="store_true", help="leave the libraries out")
    parser.add_argument("--out", type=Path, help="folder of record and figure [benchmarks/results, figures]")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for flag, values in (("--threads", options.threads), ("--sizes", options.sizes), ("--rounds", [options.rounds])):
        for value in values or ():
            if value is not None and value < 1:
                raise UsageError(f"{flag} must be at least 1, got {value}; pass a count")
    return options


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """What determines the numbers, machine and code apart."""
    quick, cpu = options.quick, options.device == "cpu"
    threads = options.threads or ([1] if quick or not cpu else [1, 2])
    settings = [[t, "default"] for t in threads] + ([[max(threads), "warm"]] if options.warm_malloc else [])
    return {
        "device": options.device,
        "settings": settings,
        "sizes": options.sizes or ([128] if quick else [128, 512, 8192]),
        "norms": list(options.norms),
        "rounds": options.rounds or (3 if quick else 15),
        "compile": not (quick or options.no_compile),
        "peers": not (quick or options.no_peers),
    }


def stems(options: argparse.Namespace) -> tuple[Path, Path]:
    """(record, figure) without their endings."""
    name = NAME if options.device == "cpu" else f"{NAME}-{options.device}"
    folder = options.out or (ROOT / "figures" / "quick" if options.quick else None)
    return (folder or ROOT / "benchmarks" / "results") / name, (folder or ROOT / "figures") / name


# --- processes -------------------------------------------------------------------------------------------------------


def cells(config: dict[str, Any]) -> list[dict[str, Any]]:
    """What a process measures at a time: one setting and size, all norms."""
    return [{"threads": t, "allocator": a, "n": n} for t, a in config["settings"] for n in config["sizes"]]


def run_cell(config: dict[str, Any], cell: dict[str, Any]) -> dict[str, Any]:
    """Measure one cell in a fresh process."""
    environment = {k: v for k, v in os.environ.items() if k not in WARM}
    environment |= {"OMP_NUM_THREADS": str(cell["threads"]), **(WARM if cell["allocator"] == "warm" else {})}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--worker", json.dumps(config | cell), str(result)]
        done = subprocess.run(command, env=environment, check=False)
        record = runs.read_json(result)
    if done.returncode == 2:  # it has said why
        raise SystemExit(2)
    if done.returncode or record is None:
        raise UsageError(f"the process that measures ended with status {done.returncode}; its message is above")
    return record


def work(config: dict[str, Any], result: Path) -> None:
    """The measuring process."""
    import torch
    from tqdm import tqdm

    if config["device"] == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a CUDA device, got none that torch can use; drop it to measure the CPU")
    import _pgd_worker

    total = len(config["norms"]) * config["rounds"]
    with tqdm(total=total, desc=_words(config), unit="round", disable=None, leave=False) as bar:
        runs.write_json(result, _pgd_worker.measure(config, bar.update))


def _words(cell: dict[str, Any]) -> str:
    return f"N = {cell['n']}, {_pgd_report.words(cell['threads'], cell['allocator'], cell.get('device', 'cpu'))}"


def compute(options: argparse.Namespace, stem: Path) -> None:
    """Measure every cell, then write <stem>.csv and <stem>.json. A killed run resumes, unless the code has changed."""
    config = configuration(options)
    state = {"config": config, "commit": runs.commit()}
    partial = runs.Partial(stem.with_name(f"{stem.name}.partial.jsonl"), runs.config_hash(NAME, state))
    if options.force:
        partial.clear()
    for cell in cells(config):
        if partial.get(cell):
            print(f"{_words(config | cell)}: measured before, kept; --force measures it again", flush=True)
            continue
        began = time.perf_counter()
        result = run_cell(config, cell)
        partial.add(cell, [result], time.perf_counter() - began)
        print(f"{_words(config | cell)}: measured in {time.perf_counter() - began:.0f} s", flush=True)
    done = [entry for cell in cells(config) if (entry := partial.get(cell))]
    results = [entry["rows"][0] for entry in done]
    rows = [row for result in results for row in result["rows"]]
    record = {
        "schema": runs.SCHEMA,
        "experiment": NAME,
        "hash": runs.config_hash(NAME, config),
        "quick": options.quick,
        "config": config,
        "seeds": None,
        "dataset": {"label": "synthetic images, generated from fixed seeds", "fingerprint": None},
        "n_rows": len(rows),
        "columns": runs.columns(rows),
        "elapsed_seconds": round(sum(entry["seconds"] for entry in done), 2),
        **results[-1]["environment"],
        "settings": [result["setting"] for result in results],
        "verdicts": [verdict for result in results for verdict in result["verdicts"]],
    }
    runs.write_csv(stem.with_name(f"{stem.name}.csv"), rows)
    runs.write_json(stem.with_name(f"{stem.name}.json"), record)
    partial.clear()


def show(options: argparse.Namespace, stem: Path, drawn: Path) -> None:
    """Table, figure and page from the record on disk: a redraw later gives the same bytes."""
    record, rows = runs.read_record(stem)
    print(_pgd_report.table(record, rows))
    with plotting.style():
        plotting.save(_pgd_report.plot(record, rows), drawn)
    if not (options.quick or options.out):
        _pgd_report.fill(ROOT / "docs" / f"{NAME}.md", stem.name, _pgd_report.markdown(record, rows))


def main() -> int:
    try:
        options = parse()
        if options.worker:
            work(json.loads(options.worker[0]), Path(options.worker[1]))
            return 0
        stem, drawn = stems(options)
        if not options.plot_only:
            for folder in {stem.parent, drawn.parent}:
                runs.prepare_folder(folder)
            compute(options, stem)
        show(options, stem, drawn)
        return 0
    except (UsageError, OSError, runs.RecordError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
