"""Which class pays, and which training repairs it: every method of the harness at one budget, class by class.

One cell is one run, trained and then evaluated on the test images: clean, PGD-20, AutoAttack's APGD-CE + APGD-T.
Checkpoints are chosen on a held-out part of the training images.

Default: scikit-learn's digits and a tiny network. With --data-dir: CIFAR-10 with a small residual network, or with
--preset resnet18. Long runs go on where they stopped: --minutes 9 stops in time, --jobs 3 shares the runs among
processes, --partial draws what is there. --table prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from _classwise_figures import plot
from _classwise_rows import NATURAL, gains, on_equal_images, row_of, summary
from _classwise_table import tables
from _deep_bench import Bench, opened
from _deep_options import DeepOptions, dataset
from _deep_recipes import SMALLEST, DeepConfig, recipe, suffix
from _deep_runs import Measure, Run
from _harness import run
from linfair.data import Dataset
from linfair.runs import Row

STEM = "classwise"
PARENTS = {
    "dafa_trades": ("trades",), "cfa_trades": ("trades",), "wat": ("trades",), "rslad": ("trades",), "ard": ("trades",),
    "absld": ("rslad", "trades"),
    **{m: ("standard",) for m in NATURAL if m != "standard"},
}  # fmt: skip
"""What a method is compared with image by image: its parent, and its teacher if it has one; PGD-AT if none is named."""


@dataclass(frozen=True)
class Config(DeepConfig):
    methods: tuple[str, ...] = (
        "pgd_at", "trades", "domain_mixup_robust", "dafa_trades", "dafa_pgd", "fair_tat", "absld", "standard",
        "domain_mixup_beta", "domain_mixup_mway", "domain_mixup_easy", "domain_mixup_hard", "domain_mixup_natural",
        "rslad", "ard", "domain_mixup_natural_beta", "domain_mixup_natural_mway", "cfa_pgd", "cfa_trades", "wat",
        "faal",
    )  # fmt: skip
    """In the order in which they are run."""
    second_seeds: tuple[str, ...] = (
        "pgd_at", "trades", "domain_mixup_robust", "dafa_trades", "dafa_pgd", "fair_tat", "absld", "rslad", "ard",
    )  # fmt: skip
    """Methods that get another seed, after all the others; those that distil with the TRADES run they learn from."""


QUICK = Config(**SMALLEST, methods=("pgd_at", "dafa_trades", "absld"), second_seeds=("pgd_at",))


def manifest(cfg: Config) -> tuple[Run, ...]:
    """Every method with each seed, then the second seeds."""
    first = [Run(method, seed) for seed in cfg.seeds for method in cfg.methods]
    another = max(cfg.seeds) + 1
    return (*first, *(Run(method, another) for method in cfg.second_seeds if method in cfg.methods))


def wanted(run: Run, bench: Bench) -> tuple[Measure, ...]:
    """What is measured on every run: the attacks of the recipe, where they lead, PGD-20 on exact pixels."""
    test = bench.recipe.test
    found = [Measure(attack, n) for attack, n in test.attacks] + [Measure("matrices", test.matrices, optional=True)]
    if bench.exact is not None:
        found += [Measure(attack, data="exact", optional=True) for attack in ("clean", "pgd20")]
    return tuple(found)


def more(run: Run, bench: Bench) -> tuple[Measure, ...]:
    """Further attacks on a few methods, on one run of each."""
    found = []
    for attack, n, methods in bench.recipe.test.more:
        name, _, search = attack.partition("@")
        measure = Measure(name, n, search=search or None)
        if run.method in {best(bench) if m == "best" else m for m in methods} and run == subject(measure, run, bench):
            found.append(measure)
    return tuple(found)


def subject(measure: Measure, run: Run, bench: Bench) -> Run:
    """The seed of a method that a further attack is made on: measured before, else with weights at hand, else first."""
    seeds = [r for r in bench.runs if r.method == run.method]
    records = {r: bench.read(r) or {"measurements": {}} for r in seeds}
    measured = [r for r in seeds if measure.met_by(records[r]["measurements"].get(measure.key))]
    return [*measured, *filter(bench.trained, seeds), *seeds][0]


def best(bench: Bench) -> str | None:
    """The method with the best validation score in the first seed, of those that train under attack."""
    first = [r for r in bench.runs if r.seed == bench.runs[0].seed and r.method not in NATURAL]
    scores = {r.method: record["selected"]["score"] for r in first if (record := bench.read(r))}
    return max(scores, key=scores.__getitem__) if scores else None


def bench(cfg: Config, options: DeepOptions, data: Dataset, stem: Path) -> Bench:
    return opened(cfg.of(data), recipe(cfg, data), manifest(cfg), wanted, options, stem, more=more)


def cells(cfg: Config, bench: Bench) -> list[Row]:
    """One a run."""
    return [{"method": r.method, "seed": r.seed} for r in manifest(cfg)]


def compute(cell: Row, cfg: Config, bench: Bench) -> list[Row]:
    """One row from the record of a finished run, with what it gains over its parents of the same seed."""
    record = bench.result(Run(**cell))
    row = row_of(on_equal_images(record, dict(bench.recipe.test.attacks), bench.data.test_labels))
    for parent in PARENTS.get(cell["method"], ("pgd_at",)):
        base = bench.read(Run(parent, cell["seed"]))
        if base and "pgd20" in base["measurements"] and parent != cell["method"]:
            row |= gains(record, base, bench.data.test_labels)
    return [row]


if __name__ == "__main__":
    run(
        name="cifar10_classwise", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot,
        dataset=dataset, options=DeepOptions, table=tables, stem=STEM, suffix=suffix, summary=summary, bench=bench,
    )  # fmt: skip
