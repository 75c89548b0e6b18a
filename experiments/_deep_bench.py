"""Working through a manifest of deep runs: resumable, within a time budget, by one process or several.

Everything lives in files. The record of a run is `<records>/<run>-<hash>.json`, so that a trial of another recipe or on
other data takes nothing's place; its training and unfinished measurements lie in a folder of that name below `--work`,
where a lock says who is at it. So any number of processes may share a manifest, any of them may be killed, and a record
made on another machine is simply found.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from _deep_lock import LOCK, Busy, locked
from _deep_options import DeepOptions, check, exact_images
from _deep_runs import FAILURES, Measure, Recipe, Run, in_a_line
from _harness import Unfinished, UsageError
from linfair import runs
from linfair.data import Dataset

WORK = Path(__file__).resolve().parents[1] / "runs"


class OutOfTime(Exception):
    """The time budget is used up; what is done is on disk."""


Wanted = Callable[[Run, "Bench"], tuple[Measure, ...]]


@dataclass
class Bench:
    """The runs of a manifest on one data set.

    Args:
        runs: in their order.
        wanted: (run, bench) -> what to measure on it; ``more``: what to add once every run has that.
        records: folder of this experiment's run records; ``others``: folders of further ones, only read.
        exact: the data set whose test images have their original pixels.
    """

    data: Dataset
    recipe: Recipe
    runs: tuple[Run, ...]
    wanted: Wanted
    records: Path
    work_folder: Path
    options: DeepOptions
    others: tuple[Path, ...] = ()
    exact: Dataset | None = None
    more: Wanted | None = None
    deadline: float = float("inf")
    failed: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    """Of the process as it began: a commit made while a run trains has no part in it."""

    def identity(self, run: Run) -> str:
        return run.identity(self.recipe.train, self.data.fingerprint)

    def title(self, run: Run) -> str:
        """What the files of a run are called: its name and the beginning of its identity."""
        return f"{run.name}-{self.identity(run)[:8]}"

    def folder(self, run: Run) -> Path:
        """Where a run trains: the same for every experiment that wants it."""
        return self.work_folder / self.title(run)

    def record(self, run: Run) -> Path:
        """Where the record of a run is written."""
        return self.records / f"{self.title(run)}.json"

    def weights(self, run: Run) -> Path:
        """Where the weights of a teacher lie, beside its record."""
        return self.records / f"{self.title(run)}.pt"

    def read(self, run: Run) -> dict[str, Any] | None:
        """The record of a run, of this experiment or another; None where there is none of this identity.

        None, too, where the weights at hand were trained again, or those of the teacher at hand: the record is then of
        other weights, and what is measured now must not be mixed into it.
        """
        for folder in (self.records, *self.others):
            record = runs.read_json(folder / self.record(run).name)
            if record and record.get("hash") == self.identity(run) and self.describes(record, run):
                return record
        return None

    def describes(self, record: dict[str, Any], run: Run) -> bool:
        """Whether a record, or what kept weights say, is of the weights at hand: by the seconds of its epochs, and by
        the weights of its teacher. Yes where there are none."""
        told, kept = (record.get("teacher") or {}).get("weights"), run.teacher and self.taught_by(run.teacher)
        if told and kept and told != kept:
            return False
        if not self.trained(run):
            return True
        return [row["seconds"] for row in record["history"]] == [row["seconds"] for row in self.log(run)]

    def taught_by(self, teacher: Run) -> str | None:
        """Fingerprint of a teacher's weights; None where they are not at hand."""
        path = self.weights(teacher)
        if not path.exists():
            return None
        from _deep_train import fingerprint

        return fingerprint(path, path.stat().st_mtime_ns)

    def log(self, run: Run) -> list[dict[str, Any]]:
        """The history of a run in its folder, a row an epoch."""
        path = self.folder(run) / "log.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def result(self, run: Run, wanted: Wanted | None = None) -> dict[str, Any]:
        """The record of a run that has all that is wanted, here or by the whole manifest. Raises Unfinished."""
        if self.missing(run, wanted or self.wanted):
            raise Unfinished(run.name)
        return self.read(run) or {}

    def missing(self, run: Run, wanted: Wanted) -> list[Measure]:
        """What is not measured yet, or on fewer images."""
        record = self.read(run)
        found = record["measurements"] if record else {}
        gone = record is not None and not self.trained(run)
        left = [m for m in wanted(run, self) if not self.met(m, found.get(m.key))]
        return [m for m in left if not (gone and m.optional)]

    def met(self, measure: Measure, found: dict[str, Any] | None) -> bool:
        """Whether a measurement on record is what is wanted: on as many images, and on these exact ones."""
        exact = self.exact if measure.data == "exact" else None
        other = found and exact and found.get("fingerprint", exact.fingerprint) != exact.fingerprint
        return measure.met_by(found) and not other

    def trained(self, run: Run) -> bool:
        """Whether the finished weights of a run are at hand."""
        return (self.folder(run) / "model.pt").exists()

    def left(self) -> dict[Run, list[Measure]]:
        """The runs to be trained or measured, with what is to be measured now: `more` once all have what is wanted."""
        return self._left(self.runs)

    def due(self) -> dict[Run, list[Measure]]:
        """What is left of the runs that --only names, whatever the others lack."""
        return self._left([run for run in self.runs if self.chosen(run)])

    def _left(self, chosen: Sequence[Run]) -> dict[Run, list[Measure]]:
        for wanted in filter(None, (self.wanted, self.more)):
            if found := {run: missing for run in chosen if (missing := self.missing(run, wanted))}:
                return found
        return {}

    def remaining(self) -> float:
        """Seconds that are left. Raises OutOfTime once there are none."""
        seconds = self.deadline - time.time()
        if seconds <= 0:
            raise OutOfTime
        return seconds

    def rest(self) -> list[str]:
        return [run.name for run in self.left()]

    def seconds(self) -> float:
        """What training and measuring took, over all runs on record."""
        records = [record for run in self.runs if (record := self.read(run))]
        measured = (about["seconds"] for record in records for about in record["measurements"].values())
        return sum(record["train_seconds"] for record in records) + sum(measured)

    def work(self) -> None:
        """Train and measure until all is done or the time is up. Raises UsageError for runs that failed."""
        import _deep_train  # noqa: F401 - the record names the torch and the backend that all processes had

        if self.options.force:
            self.forget()
        if self.options.minutes is not None:
            self.deadline = time.time() + 60.0 * self.options.minutes
        self.require()
        count = min(self.options.jobs, len(self.due()))
        if count <= 1:
            self.loop()
        else:
            self.share(count)
        if self.failed:
            message = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
            if not self.options.partial:
                raise UsageError(message)
            print(f"failed: {message}", file=sys.stderr)

    def require(self) -> None:
        """Raises UsageError for a package that is missing, before hours of training rather than after them."""
        from linfair.attacks import ATTACKS, autoattack

        asked = {measure.attack for measures in self.due().values() for measure in measures} - {"matrices"}
        if any(ATTACKS[attack].kind == "autoattack" for attack in asked) and self.options.minutes != 0:
            try:
                autoattack.require(self.data.n_classes)
            except (ImportError, ValueError) as error:
                raise UsageError(str(error)) from None

    def loop(self) -> None:
        """One process: take a run that nobody is at, finish it, take the next."""
        from _deep_train import finish

        self.environment = runs.environment()
        threads = 1 if self.data.name == "digits" else max(runs.cores() // self.options.jobs, 1)
        try:
            with threadpool_limits(threads):  # small products are slower on many, and their sums get another order
                while todo := [r for r in self.due() if r.name not in self.failed]:
                    if not any([self.attempt(run, finish) for run in todo if run.name not in self.failed]):
                        time.sleep(min(2.0, self.remaining()))  # others are at all of them, or at a teacher
        except OutOfTime:
            return

    def attempt(self, run: Run, finish: Callable[[Bench, Run], None]) -> bool:
        """Whether there was anything to do: not while another process is at the run or at its teacher."""
        self.remaining()
        try:
            with locked(self.folder(run)):
                finish(self, run)
        except Busy:
            return False
        except FAILURES as error:
            self.failed[run.name] = in_a_line(error)
        return True

    def chosen(self, run: Run) -> bool:
        return not self.options.only or run.method in self.options.only

    def share(self, count: int) -> None:
        """Several processes, each of them a loop."""
        context = multiprocessing.get_context("spawn")  # a fork would inherit the threads and the CUDA of the parent
        box = context.SimpleQueue()
        options = dataclasses.replace(self.options, force=False)
        workers = [
            context.Process(target=_worker, args=(dataclasses.replace(self, options=options), box))
            for _ in range(count)
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException:
            for worker in workers:
                worker.terminate()
            raise
        while not box.empty():
            self.failed |= box.get()
        if broken := sum(worker.exitcode != 0 for worker in workers):
            self.failed[f"{broken} of {count} processes"] = "ended early; the lines above say why, the rest is kept"

    def forget(self) -> None:
        """Drop records and checkpoints of the runs at hand, save those that another process makes anew: --force."""
        from _deep_train import shared_with

        self.others = ()
        for run in filter(self.chosen, self.runs):
            if shared := shared_with(run, self):
                shared.path.unlink(missing_ok=True)
            self.record(run).unlink(missing_ok=True)
            self.weights(run).unlink(missing_ok=True)
            with suppress(Busy), locked(self.folder(run)):
                for path in self.folder(run).iterdir():
                    if path.name != LOCK:
                        path.unlink(missing_ok=True)


def _worker(bench: Bench, box: Any) -> None:
    bench.loop()
    box.put(bench.failed)


def opened(
    data: Dataset,
    recipe: Recipe,
    manifest: tuple[Run, ...],
    wanted: Wanted,
    options: DeepOptions,
    stem: Path,
    others: tuple[str, ...] = (),
    more: Wanted | None = None,
) -> Bench:
    """A bench for the record at `stem`; `others` are stems whose runs may serve. Raises UsageError for bad options."""
    methods = dict.fromkeys(run.method for run in manifest)
    if unknown := [method for method in options.only if method not in methods]:
        raise UsageError(f"--only must be among {', '.join(methods)}, got {', '.join(unknown)}; drop or rename it")
    check(options)
    records = runs.prepare_folder(stem.parent / "runs" / stem.name)
    work = runs.prepare_folder((options.work or (WORK / "quick" if options.quick else WORK)).absolute(), "--work")
    siblings = tuple(stem.parent / "runs" / name for name in others)
    return Bench(data, recipe, manifest, wanted, records, work, options, siblings, exact_images(options, data), more)
