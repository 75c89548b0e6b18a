"""A toy experiment for the tests of the experiments' main loop."""

import dataclasses

import _harness
from linfair import plotting


@dataclasses.dataclass(frozen=True)
class Config:
    n: int = 4
    """cells"""
    slope: float = 2.0
    seeds: tuple[int, ...] = (0, 1)


def cells(cfg):
    return [{"i": i} for i in range(cfg.n)]


def plot(rows, *label):
    fig, ax = plotting.subplots()
    ax.plot([row["x"] for row in rows], [row["y"] for row in rows])
    return fig


class Toy:
    """Counts its cells; `kill_at` raises there, as Ctrl-C would."""

    def __init__(self, out, kill_at=None, **science):
        self.out, self.kill_at, self.calls, self.science = out, kill_at, [], science

    def compute(self, cell, cfg, *data):
        if cell["i"] == self.kill_at:
            raise KeyboardInterrupt
        if cfg.slope < 0:
            raise ValueError(f"slope must be >= 0, got {cfg.slope}; flip\nthe sign")
        self.calls.append(cell["i"])
        return [{"x": cell["i"], "y": cfg.slope * cell["i"], "seed": seed} for seed in cfg.seeds]

    def __call__(self, *argv):
        science = {"cells": cells, "compute": self.compute, "plot": plot} | self.science
        experiment = _harness.Experiment("toy", Config(), Config(n=1, seeds=(0,)), **science)
        return _harness.execute(experiment, [*argv, *(["--out", str(self.out)] if self.out else [])])


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


COMPLETE = ["data/toy.csv", "data/toy.json", "toy.pdf", "toy.png"]


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert message.startswith("toy: ")
    return message
