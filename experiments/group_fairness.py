"""Attacks on group fairness of tabular classifiers, and what training and repairs do about them.

Logistic regression and a network of two hidden layers, plain, with three repairs (weights before training, a penalty
in it, thresholds after it), and trained on attacked samples with and without these. Each is measured clean, under the
attack on accuracy and under the attacks on fairness, with continuous columns attacked or all of them. Linear
classifiers are attacked exactly, and trained to a certified optimum where the problem is convex; PGD beside both.

Default: Gaussian groups and scikit-learn's diabetes patients. With --data-dir: UCI Adult and ProPublica COMPAS.
--table prints the tables.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from _group_figures import plot
from _group_methods import METHODS, NO_BOX, Config, Method, Part, fitter, reacher, threat, threats
from _group_rows import pgd_columns, row_of, summary
from _group_tables import tables
from _harness import Options, UsageError, run
from linfair.data import DataError, stratified_split
from linfair.data.tabular import Table, load_tables
from linfair.runs import Row

QUICK = Config(seeds=(0,), radii=(0.1, 0.2), updates=60, full_steps=60, check_steps=60, attack_steps=5, restarts=1)


@dataclass(frozen=True)
class GroupOptions(Options):
    """Options of the experiment on group fairness."""

    unverified: bool = False
    """Accept Adult files whose sums differ from the published ones."""


@dataclass(frozen=True)
class Tables:
    """Several tables as one data set of the harness."""

    tables: tuple[Table, ...]
    embedded: bool

    @property
    def label(self) -> str:
        return "; ".join(table.label for table in self.tables)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(" ".join(table.fingerprint for table in self.tables).encode()).hexdigest()[:12]

    @property
    def suffix(self) -> str:
        """Empty for the four tables of Adult and COMPAS as published; else the tables' own."""
        own = "".join(table.suffix for table in self.tables)
        return "-embedded" if self.embedded else "" if own == STANDARD else own

    def __getitem__(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)


EMBEDDED_SEEDS = 3
"""Enough to show a spread; every fresh machine computes them."""
STANDARD = "".join(f"-{name}" for name in Config.sets)


def dataset(options: GroupOptions) -> Tables:
    """The embedded tables, or those in --data-dir."""
    if options.unverified and options.data_dir is None:
        raise UsageError("--unverified is for a copy of Adult, got no --data-dir; pass its folder or drop it")
    try:
        found = load_tables(options.data_dir, unverified=options.unverified)
    except DataError as error:
        raise UsageError(str(error)) from None
    return Tables(found, options.data_dir is None)


def suffix(cfg: Config, data: Tables) -> str:
    """What the tables at hand add to file names."""
    if cfg.sets == Config.sets or data.embedded:
        return data.suffix
    own = {table.name: table.suffix for table in data.tables}  # of a copy it says so
    return "".join(own.get(name, f"-{name}") for name in cfg.sets)


def cells(cfg: Config, data: Tables) -> list[Row]:
    """One a table, model and seed."""
    if cfg.eps not in cfg.radii:
        raise UsageError(f"--radii must hold --eps {cfg.eps:g}, got {', '.join(map(str, cfg.radii))}; add it")
    if not 0 < cfg.held < 1:
        raise UsageError(f"--held must lie between 0 and 1, got {cfg.held:g}; 0.2 holds out a fifth")
    known = [table.name for table in data.tables]
    if cfg.sets != Config.sets and (data.embedded or not set(cfg.sets) <= set(known)):
        where = "the embedded tables" if data.embedded else ", ".join(known)
        raise UsageError(f"--sets must be of --data-dir, which holds {where}, got {', '.join(cfg.sets)}; drop it")
    names = known if cfg.sets == Config.sets else cfg.sets
    seeds = cfg.seeds[:EMBEDDED_SEEDS] if data.embedded else cfg.seeds
    return [{"data": n, "model": m, "seed": seed} for n in names for m in cfg.models for seed in seeds]


def compute(cell: Row, cfg: Config, data: Tables) -> list[Row]:
    """Rows of every method, threat and radius."""
    table, seed = data[cell["data"]], cell["seed"]
    train, test = Part(*table.train()), Part(*table.test())
    fit, held = (train[index] for index in stratified_split(2 * train.a + train.y, cfg.held, seed))
    reach = reacher(cfg, seed, table, test)
    rows: list[Row] = []
    for trained_on in threats(table):
        against = threat(table, trained_on, cfg.eps)
        method = fitter(cfg, cell["model"], seed, fit, held, against)
        for name, about in METHODS.items():
            if about.attack == "none" and trained_on != "all":
                continue  # it meets no attack in training: once is enough
            fitted = method(name)
            for kind, eps in measured(cfg, table, trained_on, about):
                scores = reach(fitted, kind, eps).shifted(np.asarray(fitted.offsets)[test.a])
                row = cell | {"method": name, "threat": kind, "eps": eps} | row_of(scores, test.y, test.a)
                first = seed == cfg.seeds[0] and (kind, eps) == (trained_on, cfg.eps)
                if first and fitted.solution and not about.repair:
                    row |= pgd_columns(cfg, seed, fitted, fit, test, against, about)
                rows.append(row)
    return rows


def measured(cfg: Config, table: Table, trained_on: str, about: Method) -> list[tuple[str, float]]:
    """The threats and radii that a method is measured under; without a box only the radius trained against."""
    kinds = threats(table) if about.attack == "none" else (trained_on,)
    found = [(kind, eps) for kind in kinds for eps in cfg.radii]
    return found + ([(NO_BOX, cfg.eps)] if trained_on == "all" else [])


if __name__ == "__main__":
    run(
        name="group_fairness", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot, dataset=dataset,
        options=GroupOptions, table=tables, suffix=suffix, summary=summary,
    )  # fmt: skip
