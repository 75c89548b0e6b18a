"""ProPublica's COMPAS records of Broward County, Florida: does a defendant reoffend within two years?

Nothing is downloaded. No checksum is published, so the data are never verified: the header is checked, and the label
says how many rows were kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linfair.data import DataError
from linfair.data._records import Records, blobs, parse
from linfair.data._table import Table, cells, parts, require_cells, selected, split, standardised

FILE = "compas-scores-two-years.csv"
FOLDER = "compas"
PAGE = "https://github.com/propublica/compas-analysis"
NUMERIC = ("age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count")
CATEGORIES = ("c_charge_degree", "sex", "race")
FILTERS = ("days_b_screening_arrest", "is_recid", "score_text")
LABEL = "two_year_recid"
GROUPS = {"race": ("African-American", "Caucasian"), "sex": ("Male", "Female")}
OUTCOMES = ("no new offence", "new offence")
ROWS = {"race": 5278, "sex": 6172}
"""What the usual filter keeps of the 7,214 rows."""


def load_compas(data_dir: str | Path, *, protected: str = "race") -> Table:
    """COMPAS from ``compas-scores-two-years.csv`` in ``data_dir`` or ``data_dir/compas``.

    y = 1 is a new offence within two years. The usual filter keeps rows with at most 30 days between screening and
    arrest, a known outcome (``is_recid`` not -1), no ordinary traffic offence and a score. Features: age, the three
    counts of juvenile offences, the number of priors, the degree of the charge, and the other of sex and race. Left
    out: the scores themselves, ``is_recid`` (it contains the label) and ``age_cat`` (it repeats age). Of every group
    and label 30 % are the test part, always the same rows.

    Args:
        protected: "race", a = 1 for Caucasian and 0 for African-American, rows of others left out (5,278 rows); "sex",
            a = 1 for Female and 0 for Male (6,172 rows). Group 1 is the one with fewer new offences: y = 1 is the
            outcome nobody wants, and the favoured group has a = 1 as in Adult.

    Raises:
        DataError: the folder or file is missing, the header lacks a column, a line has too few or too many columns, a
            label or number is none, fewer than two rows of a group with some label, ``protected`` is unknown.
    """
    groups = selected(protected, GROUPS)
    ((path, blob),) = blobs(data_dir, FOLDER, (FILE,), PAGE).items()
    rows = parse(path, blob)
    if lacking := [column for column in (*NUMERIC, *CATEGORIES, *FILTERS, LABEL) if column not in rows.columns]:
        raise DataError(f"{path} must have a column {lacking[0]}, got a header without; use the file of {PAGE}")
    rows = _usual(rows)
    rows = rows.where(group in groups for group in rows.text(protected))
    y = rows.codes(LABEL, {"0": 0, "1": 1})
    a = rows.codes(protected, {name: k for k, name in enumerate(groups)})
    require_cells(str(path), cells(y, a), groups, OUTCOMES, least=2)
    x, columns = rows.features(NUMERIC, [column for column in CATEGORIES if column != protected])
    continuous, held_out = np.isin(columns, NUMERIC), split(y, a, seed=0)
    name = f"compas-{protected}"
    return Table(
        **parts(standardised(x, continuous, ~held_out), y, a, held_out),
        columns=columns,
        continuous=continuous,
        groups=groups,
        outcomes=OUTCOMES,
        protected=protected,
        name=name,
        label=f"ProPublica COMPAS ({protected}, {len(y):,} rows)",
        verified=False,
        suffix=f"-{name}" if len(y) == ROWS[protected] else f"-{name}-{len(y)}-rows",
    )


def _usual(rows: Records) -> Records:
    rows = rows.where(days != "" for days in rows.text("days_b_screening_arrest"))
    near = np.abs(rows.numbers("days_b_screening_arrest")) <= 30
    known, degree, score = (rows.text(column) for column in ("is_recid", "c_charge_degree", "score_text"))
    return rows.where(
        n and k != "-1" and d != "O" and s != "N/A" for n, k, d, s in zip(near, known, degree, score, strict=True)
    )
