"""Tables for group fairness: two that need no files, and the two that the literature uses. Numpy only.

:func:`load_tables` is the one door to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from linfair._check import as_count
from linfair.data import DataError, adult, compas
from linfair.data._records import find
from linfair.data._table import Table, parts, split, standardised
from linfair.data.adult import load_adult
from linfair.data.compas import load_compas

__all__ = [
    "GAUSSIAN_MEANS",
    "GAUSSIAN_PRIORS",
    "GAUSSIAN_VARIANCES",
    "Table",
    "gaussian_groups",
    "load_adult",
    "load_compas",
    "load_diabetes_groups",
    "load_tables",
]

# Cell 2 a + y. Columns: two that tell the label, one that tells it a little, one that tells the group only, one that
# tells the label in group 1 only, one that tells nothing.
_MEANS = np.array(
    [
        [-0.9, -0.7, -0.3, -0.6, 0.0, 0.0],
        [0.5, 0.4, 0.2, -0.6, 0.0, 0.0],
        [-0.5, -0.4, -0.2, 0.6, -0.5, 0.0],
        [0.9, 0.9, 0.3, 0.6, 0.7, 0.0],
    ]
)
_VARIANCES = np.array(
    [
        [1.0, 0.8, 1.0, 1.0, 1.0, 1.0],
        [1.2, 0.8, 1.0, 1.0, 1.0, 1.0],
        [0.8, 1.0, 1.0, 0.8, 1.0, 1.0],
        [1.0, 1.2, 1.0, 0.8, 1.0, 1.0],
    ]
)
GAUSSIAN_PRIORS = np.array([0.45 * 0.7, 0.45 * 0.3, 0.55 * 0.45, 0.55 * 0.55])
"""Share of every cell 2 a + y [4]: 55 % are of group 1; base rates are 0.3 in group 0 and 0.55 in group 1."""
_CENTRE = GAUSSIAN_PRIORS @ _MEANS
_SQUARED_SCALE = GAUSSIAN_PRIORS @ (_VARIANCES + (_MEANS - _CENTRE) ** 2)
GAUSSIAN_MEANS = (_MEANS - _CENTRE) / np.sqrt(_SQUARED_SCALE)
"""Means of the cells 2 a + y [4, 6], in units in which every column has mean 0 and sd 1 over all cells."""
GAUSSIAN_VARIANCES = _VARIANCES / _SQUARED_SCALE
"""Variances of the cells [4, 6], in the same units; covariances are diagonal."""


def gaussian_groups(n: int = 4000, seed: int = 0) -> Table:
    """n samples of four Gaussian cells (group a, label y) in 6 dimensions; 30 % of each cell are the test part.

    ``x | a, y ~ N(GAUSSIAN_MEANS[2 a + y], diag GAUSSIAN_VARIANCES[2 a + y])`` and ``P(a, y) = GAUSSIAN_PRIORS``. The
    units are those of the model, in which every column has mean 0 and sd 1, and not of the sample.

    Raises:
        ValueError: n is too small for a cell to have samples in both parts.
    """
    rng = np.random.default_rng(seed)
    cell = rng.choice(4, as_count("n", n, least=40), p=GAUSSIAN_PRIORS)
    x = GAUSSIAN_MEANS[cell] + np.sqrt(GAUSSIAN_VARIANCES[cell]) * rng.standard_normal((n, 6))
    a, y = np.divmod(cell, 2)
    return Table(
        **parts(x, y, a, split(y, a, seed)),
        columns=tuple(f"x{j}" for j in range(6)),
        continuous=np.ones(6, bool),
        groups=("group 0", "group 1"),
        outcomes=("y = 0", "y = 1"),
        protected="group",
        name="gaussian-groups",
        label="Gaussian groups",
        verified=True,
        suffix="-gaussian-groups",
    )


def load_diabetes_groups(seed: int = 0) -> Table:
    """The 442 diabetes patients bundled with scikit-learn; protected is sex, y = 1 is progression above the median.

    Features are age, body mass index, blood pressure and six blood measurements, all continuous. The source codes sex
    as 1 and 2 without saying which is which, and so do the groups here. 30 % of every group and label are the test
    part, drawn with the seed.
    """
    from sklearn import datasets

    bundle = datasets.load_diabetes(scaled=False)
    names, values = list(bundle.feature_names), np.asarray(bundle.data)  # pyright: ignore[reportAttributeAccessIssue]
    target = np.asarray(bundle.target)  # pyright: ignore[reportAttributeAccessIssue]
    y = (target > np.median(target)).astype(np.int64)
    a = values[:, names.index("sex")].astype(np.int64) - 1
    columns = tuple(name for name in names if name != "sex")
    held_out, continuous = split(y, a, seed), np.ones(len(columns), bool)
    x = values[:, [names.index(name) for name in columns]]
    return Table(
        **parts(standardised(x, continuous, ~held_out), y, a, held_out),
        columns=columns,
        continuous=continuous,
        groups=("sex 1", "sex 2"),
        outcomes=("progression up to the median", "progression above the median"),
        protected="sex",
        name="diabetes-sex",
        label="diabetes (sex)",
        verified=True,
        suffix="-diabetes-sex",
    )


_ADULT, _COMPAS = (adult.FOLDER, tuple(adult.MD5)), (compas.FOLDER, (compas.FILE,))
SETS: dict[str, tuple[tuple[str, tuple[str, ...]], Callable[[Path, bool], Table]]] = {
    "adult-sex": (_ADULT, lambda folder, unverified: load_adult(folder, protected="sex", unverified=unverified)),
    "adult-race": (_ADULT, lambda folder, unverified: load_adult(folder, protected="race", unverified=unverified)),
    "compas-race": (_COMPAS, lambda folder, _: load_compas(folder, protected="race")),
    "compas-sex": (_COMPAS, lambda folder, _: load_compas(folder, protected="sex")),
}
"""Name -> (subfolder, files), loader."""


def load_tables(
    data_dir: str | Path | None = None, sets: Sequence[str] = tuple(SETS), *, unverified: bool = False
) -> tuple[Table, ...]:
    """Without ``data_dir`` the Gaussian groups and the diabetes patients; else those of ``sets`` that lie in it.

    Args:
        data_dir: a folder with the official files of Adult, of COMPAS or of both, or with subfolders "adult" and
            "compas" that hold them.
        sets: "adult-sex", "adult-race", "compas-race", "compas-sex"; the result has their order.
        unverified: as in :func:`load_adult`.

    Raises:
        DataError: no name, an unknown one, no such folder, none of the sets in it, or one of the errors of the loaders.
    """
    if isinstance(sets, str):
        raise DataError(f"sets must be a list of names, got the text {sets!r}; pass [{sets!r}]")
    if not len(sets):
        raise DataError("sets must hold at least one name, got none; leave it out for all of them")
    for name in sets:
        if name not in SETS:
            raise DataError(f"sets must be of {', '.join(SETS)}, got {name!r}; leave it out or choose of them")
    if data_dir is None:
        return gaussian_groups(), load_diabetes_groups()
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(f"data_dir must be an existing folder, got '{folder}'; leave it out to use the embedded data")
    found = [load for place, load in (SETS[name] for name in sets) if find(folder, *place)]
    if not found:
        files = " or ".join(dict.fromkeys(file for name in sets for file in SETS[name][0][1]))
        raise DataError(f"data_dir must hold {files}, got '{folder}' without; leave it out to use the embedded data")
    return tuple(load(folder, unverified) for load in found)
