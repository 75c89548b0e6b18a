"""Every pair of classes of a real data set: measured class risks beside those of fitted Gaussians.

Four linear classifiers a pair - natural, robust and mixup by robust logistic ERM, minimax-fair from the fitted
Gaussians - meet the exact linear attack on held-out images, without the [0, 1] box, at several radii. Beside each
measured class risk stands that of the same classifier on Gaussians fitted to the training images.

Default: scikit-learn's digits, cross-fitted. With --data-dir: CIFAR-10, official split. --table prints the summary.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np

from _data_options import DataOptions, load
from _harness import run
from _pairs import Measured, Row, binary, erm, measure, pooled, short_theory, splits
from _pairs_figure import plot
from _pairs_tables import tables
from linfair.data import Dataset, load_digits
from linfair.data.cifar10 import load_cifar10
from linfair.mixing import FixedLambda, mix_within_class
from linfair.norms import Threat
from linfair.solvers import fast


@dataclass(frozen=True)
class Config:
    """What goes by data set has its name. Radii are in units of pixels in [0, 1]."""

    classes: int = 10
    """The first so many classes; all their pairs."""
    folds: int = 5
    """Of the cross-fitting of small data."""
    seeds: tuple[int, ...] = (0, 1)
    """Of the mixing; the risks of their classifiers are averaged."""
    ridge: float = 1e-3
    """ridge/2 ||w||^2 in every ERM: on separable pairs the loss alone has no minimiser."""
    copies_digits: int = 2
    copies_cifar10: int = 1
    """Same-class mixes a training image (lambda = 1/2)."""
    dim_digits: int = 30
    dim_cifar10: int = 64
    """Principal components."""
    l2_digits: tuple[str, ...] = ("0", "0.3", "0.6", "0.8")
    linf_digits: tuple[str, ...] = ("0", "0.05", "0.1", "0.15")
    l2_cifar10: tuple[str, ...] = ("0", "0.1", "0.25", "0.5")
    linf_cifar10: tuple[str, ...] = ("0", "1/255", "2/255", "4/255")


QUICK = Config(
    classes=3, folds=2, copies_digits=1, seeds=(0,), dim_digits=8, dim_cifar10=8,
    l2_digits=("0.3", "0.6"), linf_digits=("0.1",), l2_cifar10=("0.1", "0.25"), linf_cifar10=("2/255",),
)  # fmt: skip


def dataset(options: DataOptions) -> Dataset:
    """Digits, or CIFAR-10 from --data-dir."""
    return load(options, lambda folder, **copy: load_digits() if folder is None else load_cifar10(folder, **copy))


def cells(cfg: Config, data: Dataset) -> list[Row]:
    """One a geometry and pair of classes."""
    geometries = ("l2", "linf", "linf-pixels") if data.name == "digits" else ("l2", "linf")
    return [{"geometry": g, "pair": pair} for g in geometries for pair in combinations(range(cfg.classes), 2)]


def compute(cell: Row, cfg: Config, data: Dataset) -> list[Row]:
    """Rows of one pair in one geometry: one a radius and method, folds pooled."""
    geometry, (a, b) = cell["geometry"], cell["pair"]
    norm = geometry.split("-")[0]
    radii, copies, dim = (getattr(cfg, f"{key}_{data.name}") for key in (norm, "copies", "dim"))
    if geometry == "linf-pixels":
        dim = None
    found: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    about = []
    for fold, part in enumerate(splits(data, cfg.folds, dim)):
        pair = binary(part, a, b)
        gap = pair.model.means[1] - pair.model.means[0]
        odds = np.log(pair.model.priors[1] / pair.model.priors[0])
        about.append((pair.swapped, pair.log_K, odds, np.linalg.norm(gap)))
        mixes = []
        for seed in cfg.seeds:
            rng = np.random.default_rng([seed, fold, a, b])
            mixes.append(mix_within_class(pair.X, pair.y, FixedLambda(0.5), rng, copies=copies))
        natural = erm(pair.X, pair.y, Threat(norm, 0.0, part.basis), cfg.ridge)
        for eps in radii:
            threat = Threat(norm, float(Fraction(eps)), part.basis)
            fair = fast.minimax_fair(pair.model, threat).maybe_classifier
            kappa, short = short_theory(pair, fair, threat)
            fitted = {
                "natural": [natural],
                "robust": [erm(pair.X, pair.y, threat, cfg.ridge) if threat.eps else natural],
                "mixup": [erm(X, y, threat, cfg.ridge) for X, y in mixes],
            } | ({} if fair is None else {"minimax": [fair]})
            for method, models in fitted.items():
                nothing = np.full(2, np.nan)
                found[eps, method].append(measure(pair, threat, models, short.get(method, nothing), kappa))
    swapped, log_K, odds, distance = np.mean(about, axis=0)
    minus, plus = (b, a) if swapped > 0.5 else (a, b)
    head = {
        "geometry": geometry,
        "minus": data.class_names[minus],
        "plus": data.class_names[plus],
        "agreeing_folds": max(swapped, 1.0 - swapped),
        "K": round(float(np.exp(log_K)), 6),
        "r": round(float(np.exp(odds)), 6),
        "distance": round(float(distance), 6),
    }
    return [
        head
        | {"eps": eps, "radius": round(float(Fraction(eps)), 6), "method": method}
        | pooled(parts, found[eps, "robust"])
        for (eps, method), parts in found.items()
        if len(parts) == len(about)
    ]


if __name__ == "__main__":
    run(
        name="real_pairs", config=Config(), quick=QUICK, cells=cells, compute=compute, plot=plot, dataset=dataset,
        options=DataOptions, table=tables,
    )  # fmt: skip
