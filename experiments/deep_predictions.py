"""What the linear theory predicts for deep networks, each prediction with its measured answer.

a: a larger margin helps a hard class only while its robust risk at its own training radius is under 1/2.
b: mixing only the easy classes repairs, mixing only the hard ones backfires.
c: a fixed lambda = 1/2 beats a random one, and m-way mixing beats 2-way up to a sweet spot.
d: mixup without adversarial training can hurt robust fairness.
e: disparity falls with class distance while the ratio of the risks does not vanish.

Effects are changes of class accuracies under PGD-20, with paired bootstrap intervals over test images. Runs are shared
with cifar10_classwise where their recipes agree. Default: scikit-learn's digits; --data-dir: CIFAR-10.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from _deep_bench import Bench, opened
from _deep_options import DeepOptions, dataset
from _deep_recipes import SMALLEST, DeepConfig, recipe, suffix
from _deep_runs import Measure, Run, restrict
from _harness import run
from _predictions import change_row, margin_rows, pair_rows
from _predictions_figure import plot
from cifar10_classwise import STEM as CLASSWISE
from linfair.data import Dataset
from linfair.runs import Row

APPLY = ("weights", "margins", "both")
MIXED = {"easy": -1, "hard": 1}
"""Which classes mix -> predicted change of the disparity."""
LAWS = ("fixed", "few", "many")
"""c: lambda = 1/2 against Beta, some images a mix against two, many against some."""


@dataclass(frozen=True)
class Config(DeepConfig):
    parts: tuple[Literal["a", "b", "c", "d", "e"], ...] = ("a", "b", "c", "d", "e")
    """Which predictions."""
    radii_digits: tuple[str, ...] = ("0.12", "0.2")
    radii_cifar10: tuple[str, ...] = ("2/255", "4/255", "8/255")
    """a: trained and tested at each."""
    share_digits: float = 1.0
    share_cifar10: float = 0.5
    """a: share of the recipe's epochs, as it trains four networks a radius."""
    ways: tuple[int, int] = (4, 16)
    """c: images a mix, the second beyond the sweet spot."""
    weak_digits: str = "0.03"
    weak_cifar10: str = "1/255"
    """d: radius at which networks trained without attack are tested."""
    pivot_digits: int = 8
    pivot_cifar10: int = 3
    """e: the class that is paired with every other."""


QUICK = Config(**SMALLEST, parts=("b", "e"))


@dataclass(frozen=True)
class Plan:
    """The runs of a seed, by what they are for."""

    cfg: Config
    data: Dataset
    seed: int

    def of(self, method: str, **fields: Any) -> Run:
        return Run(method, self.seed, **fields)

    def setting(self, key: str) -> Any:
        """A field of the config that goes by data set."""
        return getattr(self.cfg, f"{key}_{'digits' if self.data.name == 'digits' else 'cifar10'}")

    def margin(self, eps: str) -> tuple[Run, dict[str, Run]]:
        """(parent, what W is applied to -> DAFA) at a radius; in the recipe's own setting the runs of classwise."""
        train = recipe(self.cfg, self.data).train
        epochs = max(round(self.setting("share") * train.epochs), 1)
        at = {"eps": None if eps == train.eps else eps, "epochs": None if epochs == train.epochs else epochs}
        options = {"weights": (("apply", "weights"),), "margins": (("apply", "margins"),), "both": ()}
        return self.of("pgd_at", **at), {a: self.of("dafa_pgd", **at, options=options[a]) for a in APPLY}

    def ways(self) -> list[Run]:
        """m = 4 is the method's default."""
        return [self.of("domain_mixup_mway", options=() if m == 4 else (("m", m),)) for m in self.cfg.ways]

    def pairs(self) -> list[Run]:
        pivot = self.setting("pivot")
        return [self.of("pgd_at", classes=(pivot, k)) for k in range(self.data.n_classes) if k != pivot]

    def measures(self, part: str) -> dict[Run, list[Measure]]:
        """Run -> what is measured on it."""
        robust, own = [Measure("clean"), Measure("pgd20")], Measure("pgd20", own=True)
        if part == "a":
            found: dict[Run, list[Measure]] = {}
            for eps in self.setting("radii"):
                parent, dafa = self.margin(eps)
                found |= {parent: robust} | {r: robust + [own] * (a != "weights") for a, r in dafa.items()}
            return found
        if part == "b":
            return {self.of(m): robust for m in ("pgd_at", "domain_mixup_easy", "domain_mixup_hard")}
        if part == "c":
            fixed = [self.of("domain_mixup_robust"), self.of("domain_mixup_beta")]
            return {r: robust for r in [*fixed, *self.ways()]}
        if part == "d":
            weak = [Measure("clean"), Measure("pgd20", eps=self.setting("weak"))]
            return {self.of(m): weak for m in ("standard", "domain_mixup_natural")}
        matrices = Measure("matrices", recipe(self.cfg, self.data).test.matrices)
        return {self.of("pgd_at"): [*robust, matrices]} | {r: robust for r in self.pairs()}


@dataclass(frozen=True)
class Wanted:
    """What is measured on a run, over all parts that want it."""

    table: dict[Run, tuple[Measure, ...]]

    def __call__(self, run: Run, bench: Bench) -> tuple[Measure, ...]:
        return self.table[run]


def bench(cfg: Config, options: DeepOptions, data: Dataset, stem: Path) -> Bench:
    table: dict[Run, tuple[Measure, ...]] = {}
    for seed in cfg.seeds:
        for part in cfg.parts:
            for r, measures in Plan(cfg, data, seed).measures(part).items():
                table[r] = tuple(dict.fromkeys([*table.get(r, ()), *measures]))
    shared = f"{CLASSWISE}{suffix(cfg, data)}"
    return opened(cfg.of(data), recipe(cfg, data), tuple(table), Wanted(table), options, stem, others=(shared,))


def cells(cfg: Config, bench: Bench) -> list[Row]:
    """One a seed and prediction; of (a) one a radius, of (b) one a choice of classes, of (c) one a comparison."""
    found: list[Row] = []
    for seed in cfg.seeds:
        for part in cfg.parts:
            pieces: list[Row] = [{}]
            if part == "a":
                pieces = [{"eps": eps} for eps in Plan(cfg, bench.data, seed).setting("radii")]
            elif part == "b":
                pieces = [{"mixed": kind} for kind in MIXED]
            elif part == "c":
                pieces = [{"law": law} for law in LAWS]
            found += [{"part": part, "seed": seed, **piece} for piece in pieces]
    return found


def compute(cell: Row, cfg: Config, bench: Bench) -> list[Row]:
    """Rows of one prediction from the records of its runs."""
    seed, part = cell["seed"], cell["part"]
    plan, labels = Plan(cfg, bench.data, seed), bench.data.test_labels
    eps, needs = bench.recipe.train.eps, plan.measures(part)

    def result(r: Run) -> dict[str, Any]:
        return bench.result(r, lambda r, _: tuple(needs[r]))

    def change(title: str, base: str, quantity: str, sign: int, a: Run, b: Run, weak: str | None = None) -> Row:
        key = Measure("pgd20", eps=weak).key
        records = result(a), result(b)
        return change_row(part, title, base, quantity, sign, weak or eps, *records, key, labels, seed)

    if part == "a":
        parent, dafa = plan.margin(cell["eps"])
        rows = [
            row
            for apply, r in dafa.items()
            for row in margin_rows(result(r), result(parent), labels, apply, cell["eps"], seed)
        ]
    elif part == "b":
        kind, base = cell["mixed"], plan.of("pgd_at")
        rows = [
            change(f"mix {kind} classes", "PGD-AT", quantity, MIXED[kind] * way, plan.of(f"domain_mixup_{kind}"), base)
            for quantity, way in (("disparity", 1), ("worst class", -1))
        ]
    elif part == "c":
        fixed, (few, many) = plan.of("domain_mixup_robust"), plan.ways()
        title, base, sign, a, b = {
            "fixed": ("lambda = 1/2", "Beta", -1, fixed, plan.of("domain_mixup_beta")),
            "few": (f"{cfg.ways[0]}-way", "2-way", -1, few, fixed),
            "many": (f"{cfg.ways[1]}-way", f"{cfg.ways[0]}-way", 1, many, few),
        }[cell["law"]]
        rows = [change(title, base, "disparity", sign, a, b)]
    elif part == "d":
        runs = plan.of("domain_mixup_natural"), plan.of("standard")
        rows = [change("mixup, no attack", "standard", "disparity", 1, *runs, weak=plan.setting("weak"))]
    else:
        S = np.array(result(plan.of("pgd_at"))["measurements"]["matrices"]["clean_softmax"])
        pairs = plan.pairs()
        shared = np.array([(S[r.classes] + S[r.classes[::-1]]) / 2 for r in pairs])
        rows = pair_rows(
            [result(r) for r in pairs],
            [restrict(bench.data, r.classes).test_labels for r in pairs],
            shared,
            eps,
            seed,
        )
    return [{"part": row["part"], "seed": seed, **row} for row in rows]


if __name__ == "__main__":
    run(
        name="deep_predictions", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot,
        dataset=dataset, options=DeepOptions, suffix=suffix, bench=bench,
    )  # fmt: skip
