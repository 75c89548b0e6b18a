"""The one main loop of all experiment scripts: compute what is missing, keep the record, draw from the record.

A script gives its science and nothing else:

    Config            frozen dataclass: what determines the numbers (no paths); QUICK is its smallest sensible instance
    cells(cfg)        independent pieces of work, each a JSON-able dict
    compute(cell, cfg) -> rows: flat dicts of text and numbers
    plot(rows) -> Figure, or {"key": Figure} for several files `<name>_<key>`

and, where it reads a real data set, `dataset(options)`: something with `.label`, `.fingerprint` and `.suffix` ("" for
CIFAR-10, "-digits", ... in file names). Then the functions take one more argument: cells(cfg, data),
compute(cell, cfg, data), plot(rows, label). A script with flags of its own passes `options=` a subclass of Options;
one that prints its records passes `table=`, a function of their folder, for --table. Files are called
`<stem><suffix>`: `stem=` replaces the name, `suffix=`, a function of (config, data), what the data set adds.
`summary=`, a function of all rows, makes the table on record from what compute gave.

Work of hours keeps records of its own: `bench=`, a function of (config, options, data, stem), gives an object whose
work() computes until it is done or its time is up. It takes the place of the data set in cells and in compute, which
then reads a finished cell and raises Unfinished for the others.

Mistakes of the user end in one line and exit status 2; LINFAIR_TRACEBACK=1 shows where any error came from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import tyro
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import _records
from _records import Dataset
from linfair import plotting, runs

FIGURES = Path(__file__).resolve().parents[1] / "figures"


class UsageError(ValueError):
    """The command line asks for something that cannot be; the message is one line with the remedy."""


class Unfinished(Exception):
    """A cell that is left for a later call."""


@dataclass(frozen=True)
class Options:
    """How to run: nothing here changes the numbers, save which data set is read."""

    quick: bool = False
    """The smallest sensible run, kept apart from the full record."""
    plot_only: bool = False
    """Redraw every record of this experiment, compute nothing."""
    force: bool = False
    """Compute everything again, even what is up to date."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the numerics run; cuda for the deep experiments."""
    data_dir: Path | None = None
    """Folder of a real data set, for the experiments that read one."""
    table: bool = False
    """Print the tables of the records, for the experiments that have some; compute nothing."""
    out: Path | None = None
    """Folder of the figures and of data/ with the records [figures; with --quick figures/quick]."""


class Bench(Protocol):
    """What works through a long experiment: `work` until done or out of time, `rest` names what is left then."""

    def work(self) -> None: ...
    def rest(self) -> list[str]: ...
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Experiment:
    """A script's science, as the module docstring says."""

    name: str
    config: Any
    quick: Any
    cells: Callable[..., list[dict[str, Any]]]
    compute: Callable[..., list[runs.Row]]
    plot: Callable[..., Any]
    dataset: Callable[[Any], Dataset] | None = None
    options: type[Options] = Options
    table: Callable[[Path], str] | None = None
    stem: str = ""
    suffix: Callable[[Any, Any], str] | None = None
    summary: Callable[[list[runs.Row]], list[runs.Row]] | None = None
    bench: Callable[[Any, Any, Any, Path], Bench] | None = None

    @property
    def base(self) -> str:
        """What the files of every data set begin with."""
        return self.stem or self.name


def parse(experiment: Experiment, argv: list[str]) -> tuple[Any, Options]:
    """(config, options) of a command line; fields of the config are flags too, over the full or the quick default."""
    default = experiment.quick if "--quick" in argv else experiment.config
    # The names of the two fields are the headings of --help: "experiment options" and "run options".
    both = dataclasses.make_dataclass("Arguments", [("experiment", type(default)), ("run", experiment.options)])
    boxed = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxed):
            args = tyro.cli(
                both,
                args=argv,
                default=both(default, experiment.options()),
                prog=f"experiments/{experiment.name}.py",
                description=sys.modules[experiment.compute.__module__].__doc__,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if stop.code:  # tyro draws a box of several lines; its first paragraph is the message
            inside = [line.strip("│ ") for line in boxed.getvalue().splitlines() if line.startswith("│")]
            rules = [i for i, line in enumerate(inside) if line.startswith("──")]
            message = " ".join(inside[: rules[0] if rules else None]) or boxed.getvalue()
            raise UsageError(f"{message.rstrip('.')}; see --help") from None
        raise
    config, options = args.experiment, args.run
    _check_numbers(config)
    if options.data_dir and experiment.dataset is None:
        raise UsageError("--data-dir is for experiments on real data, this one generates its own; drop it")
    if options.plot_only and options.force:
        raise UsageError("--plot-only and --force exclude each other, got both; drop one")
    if options.device != "cpu" and experiment.bench is None:
        raise UsageError(f"--device {options.device} is for the deep experiments, this one runs on the cpu; drop it")
    if options.table and experiment.table is None:
        raise UsageError("--table is for experiments that have tables, this one has figures only; drop it")
    alone = experiment.options(table=True, quick=options.quick, out=options.out)
    if options.table and (config, options) != (default, alone):
        raise UsageError("--table prints what is on record, got flags that it would ignore; keep only --quick or --out")
    return config, options


def _check_numbers(config: Any) -> None:
    """Seeds are >= 0 and differ; every other integer counts something and is >= 1; a sequence is not empty."""
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), f"--{field.name.replace('_', '-')}"
        values = value if isinstance(value, tuple) else (value,)
        least = 0 if field.name in ("seed", "seeds") else 1
        if not values:
            raise UsageError(f"{flag} must hold at least one value, got none; drop it for the default")
        if field.name == "seeds" and len(set(values)) < len(values):
            raise UsageError(
                f"{flag} must all differ, got {', '.join(map(str, values))}; a seed twice is no second run"
            )
        for number in values:
            if isinstance(number, int) and not isinstance(number, bool) and number < least:
                raise UsageError(f"{flag} must be at least {least}, got {number}; drop it for the default")


def _compute(experiment: Experiment, config: Any, options: Options, data: Dataset | None, stem: Path) -> None:
    """Compute the missing cells, then write <stem>.csv and <stem>.json."""
    fingerprint = data.fingerprint if data else None
    run_hash = runs.config_hash(experiment.name, config, fingerprint)
    partial = runs.Partial(stem.with_name(f"{stem.name}.partial.jsonl"), run_hash)
    if options.force:
        partial.clear()
    resumed = len(partial) > 0
    # A partial beside a complete record is a --force that was killed: finish it.
    if not options.force and not resumed and _records.hash_on_record(stem) == run_hash:
        print(f"{experiment.name}: up to date, {_records.shown(stem)}.csv")
        return
    more = (data,) if data else ()
    cells = experiment.cells(config, *more)
    kept = sum(partial.get(cell) is not None for cell in cells)
    if kept:
        print(f"{experiment.name}: resuming, {kept} of {len(cells)} cells are done")
    try:
        for cell in tqdm(cells, desc=experiment.name, unit="cell", disable=None, leave=False):
            if partial.get(cell) is None:
                start = time.perf_counter()
                with threadpool_limits(1):  # threads of many small products fight each other, and reorder sums
                    rows = experiment.compute(cell, config, *more)
                partial.add(cell, rows, time.perf_counter() - start)
        done = [entry for cell in cells if (entry := partial.get(cell))]
        rows = [row for entry in done for row in entry["rows"]]
        if not rows:
            raise UsageError("the experiment must give at least one row, got none; widen its config")
    except ValueError:
        if not resumed:  # this config cannot be finished: its cells are of no use
            partial.clear()
        raise
    seconds = sum(entry["seconds"] for entry in done)
    _records.write(experiment, config, data, stem, rows, seconds, quick=options.quick)
    partial.clear()


def _gather(experiment: Experiment, config: Any, options: Options, data: Dataset | None, stem: Path) -> bool:
    """Let the bench work, then write the record of what is finished; False where there is no record to write."""
    assert experiment.bench
    bench = experiment.bench(config, options, data, stem)
    cells = experiment.cells(config, bench)
    bench.work()
    rows: list[runs.Row] = []
    left: list[dict[str, Any]] = []
    for cell in cells:
        try:
            rows += experiment.compute(cell, config, bench)
        except Unfinished:
            left.append(cell)
    if names := bench.rest():
        command = "the same command without --force" if options.force else "the same command"
        print(f"{experiment.name}: {command} goes on with {len(names)} runs that are left: {', '.join(names)}")
    if not rows or (left and not getattr(options, "partial", False)):
        return False
    _records.write(experiment, config, data, stem, rows, bench.seconds(), quick=options.quick, left=left)
    return True


def _draw(experiment: Experiment, stem: Path, out: Path) -> None:
    """Draw from the record on disk, never from memory: a redraw later gives the same bytes."""
    record, rows = runs.read_record(Path(_records.shown(stem)))
    with plotting.style():
        figures = experiment.plot(rows, *((record["dataset"]["label"],) if experiment.dataset else ()))
        if not isinstance(figures, dict):
            figures = {"": figures}
        suffix = stem.name.removeprefix(experiment.base)
        for key, figure in figures.items():
            name = f"{experiment.base}_{key}{suffix}" if key else stem.name
            written = plotting.save(figure, out / name)
            print(f"{experiment.name}: drew {', '.join(map(_records.shown, written))}")


def execute(experiment: Experiment, argv: list[str]) -> int:
    """Run a command line; returns the exit status (0 done, 2 a mistake of the user, 130 interrupted)."""
    try:
        config, options = parse(experiment, argv)
        out = (options.out or (FIGURES / "quick" if options.quick else FIGURES)).absolute()
        folder = out / "data"
        if options.table and experiment.table:
            text = experiment.table(folder)
            if not text:
                raise UsageError(
                    f"--table needs a record, got none in '{_records.shown(folder)}'; run without --table first"
                )
            sys.stdout.write(text)
            return 0
        if options.plot_only:
            for stem in _records.stems(experiment, folder) or [folder / experiment.base]:
                _draw(experiment, stem, out)
            return 0
        data = experiment.dataset(options) if experiment.dataset else None
        runs.prepare_folder(folder)
        suffix = experiment.suffix(config, data) if experiment.suffix else data.suffix if data else ""
        stem = folder / f"{experiment.base}{suffix}"
        if experiment.bench is None:
            _compute(experiment, config, options, data, stem)
        elif not _gather(experiment, config, options, data, stem):
            return 0
        _draw(experiment, stem, out)
        return 0
    except KeyboardInterrupt:
        print(
            f"{experiment.name}: interrupted, finished cells are kept; run the same command to resume", file=sys.stderr
        )
        return 130
    except (ValueError, OSError) as error:
        if os.environ.get("LINFAIR_TRACEBACK"):
            raise
        hint = (
            "" if isinstance(error, UsageError | runs.RecordError | OSError) else " (LINFAIR_TRACEBACK=1 shows where)"
        )
        print(f"{experiment.name}: {' '.join(str(error).split())}{hint}", file=sys.stderr)
        return 2


def run(**science: Any) -> None:
    """The last line of a script: `run(name=..., config=..., quick=..., cells=..., compute=..., plot=...)`; exits."""
    sys.exit(execute(Experiment(**science), sys.argv[1:]))
