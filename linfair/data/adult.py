"""UCI Adult (Census Income 1994): does a person earn more than 50,000 dollars a year? Nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from linfair.data import DataError
from linfair.data._files import is_official
from linfair.data._records import Records, blobs, parse
from linfair.data._table import Table, cells, parts, require_cells, selected, standardised

MD5 = {"adult.data": "5d7c39d7b8804f071cdd1f2a7c460872", "adult.test": "35238206dfdf7f1fe215bbb874adecdc"}
"""Checksums of the two files as distributed."""

FOLDER = "adult"
PAGE = "https://archive.ics.uci.edu/dataset/2/adult"
FILE_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
NUMERIC = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
CATEGORIES = ("workclass", "marital-status", "occupation", "relationship", "race", "sex", "native-country")
GROUPS = {"sex": ("Female", "Male"), "race": ("Black", "White")}
OUTCOMES = ("<=50K", ">50K")


def load_adult(
    data_dir: str | Path,
    *,
    protected: str = "sex",
    missing: Literal["drop", "keep"] = "drop",
    unverified: bool = False,
) -> Table:
    """Adult from ``adult.data`` (training part) and ``adult.test`` in ``data_dir`` or ``data_dir/adult``.

    y = 1 is an income above 50K. Features are the other columns of the file without ``education``, which names in words
    what ``education-num`` counts. The protected attribute is no feature, but its traces stay: ``relationship`` tells
    husbands from wives, and the other of sex and race is a feature.

    Args:
        protected: "sex", a = 1 for Male and 0 for Female; "race", a = 1 for White and 0 for Black, rows of others left
            out.
        missing: "drop" leaves out rows with a ``?`` (30,162 + 15,060 stay), "keep" makes it a category of its own
            (32,561 + 16,281).
        unverified: accept files whose MD5 is not the published one; the label then says so.

    Raises:
        DataError: a folder or file is missing, a checksum differs, a line has too few or too many columns, an income is
            neither, a number is none, a group with some label does not occur, ``protected`` or ``missing`` is unknown.
    """
    groups = selected(protected, GROUPS)
    if missing not in ("drop", "keep"):
        raise DataError(f"missing must be 'drop' or 'keep', got {missing!r}; choose one of them")
    sources, verified, files = blobs(data_dir, FOLDER, tuple(MD5), PAGE), True, []
    for path, blob in sources.items():
        verified &= is_official(path, blob, MD5[path.name], unverified)
        files.append(_rows(parse(path, blob, FILE_COLUMNS), missing, protected))
    rows, held_out = files[0] + files[1], np.repeat([False, True], [len(file) for file in files])
    y = rows.codes("income", {name + dot: k for k, name in enumerate(OUTCOMES) for dot in ("", ".")})
    a = rows.codes(protected, {name: k for k, name in enumerate(groups)})
    for path, part in zip(sources, (~held_out, held_out), strict=True):
        require_cells(str(path), cells(y[part], a[part]), groups, OUTCOMES)
    x, columns = rows.features(NUMERIC, [column for column in CATEGORIES if column != protected])
    continuous = np.isin(columns, NUMERIC)
    name = f"adult-{protected}" + ("-all-rows" if missing == "keep" else "")
    title = f"UCI Adult ({protected}{', rows with ? too' if missing == 'keep' else ''})"
    table = Table(
        **parts(standardised(x, continuous, ~held_out), y, a, held_out),
        columns=columns,
        continuous=continuous,
        groups=groups,
        outcomes=OUTCOMES,
        protected=protected,
        name=name,
        label=title,
        verified=verified,
        suffix=f"-{name}",
    )
    if verified:
        return table
    mark = f"unverified copy {table.fingerprint}"
    return replace(table, label=f"{title[:-1]}, {mark})", suffix=f"-{name}-{mark.replace(' ', '-')}")


def _rows(rows: Records, missing: str, protected: str) -> Records:
    if missing == "drop":
        rows = rows.where("?" not in row for row in rows.rows)
    return rows.where(group in GROUPS[protected] for group in rows.text(protected))
