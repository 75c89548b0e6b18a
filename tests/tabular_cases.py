"""Generated files in the layouts of UCI Adult and of ProPublica's COMPAS."""

import csv
import hashlib
from pathlib import Path

from linfair.data import adult

RACES = ("White", "Black", "Other")


def adult_row(age, race, sex, income, workclass="Private", country="Cuba"):
    left = [age, workclass, 1000 + 7 * age, "HS-grad", 9 + age % 3, "Divorced", "Sales", "Unmarried"]
    return ", ".join(map(str, [*left, race, sex, 10 * age, 0, 40, country, income]))


def adult_lines(dot: str, first_age: int) -> list[str]:
    """Two rows of each race, sex and income, then one with a missing class of work."""
    lines = [
        adult_row(first_age + k, race, sex, income + dot)
        for k, (race, sex, income) in enumerate(
            (race, sex, income)
            for race in RACES
            for sex in ("Male", "Female")
            for income in ("<=50K", ">50K")
            for _ in "12"
        )
    ]
    return [*lines, adult_row(first_age + 90, "White", "Male", ">50K" + dot, workclass="?")]


def write_adult(folder: Path, monkeypatch) -> Path:
    """The official layout, whose checksums count as published from here on."""
    test = adult_lines(".", 30)
    test[0] = test[0].replace("Cuba", "Peru")
    (folder / "adult.data").write_text("\n".join(adult_lines("", 20)) + "\n\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(test) + "\n\n")
    for file in adult.MD5:
        checksum = hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(adult.MD5, file, checksum)
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


COMPAS = {
    **{"id": 1, "sex": "Male", "age": 30, "age_cat": "25 - 45", "race": "Caucasian", "juv_fel_count": 0},
    **{"juv_misd_count": 1, "juv_other_count": 0, "priors_count": 2, "days_b_screening_arrest": "-1.0"},
    **{"c_charge_degree": "F", "is_recid": 0, "decile_score": 3, "score_text": "Low", "two_year_recid": 0},
}
LEFT_OUT = (
    *({"days_b_screening_arrest": "31.0"}, {"days_b_screening_arrest": "-31.0"}, {"days_b_screening_arrest": ""}),
    *({"is_recid": -1}, {"c_charge_degree": "O"}, {"score_text": "N/A"}),
)


def compas_rows() -> list[dict]:
    """Ten rows of each of three races, two sexes and two labels, then six that the usual filter leaves out."""
    cells = [
        {"race": race, "sex": sex, "two_year_recid": y}
        for race in ("Caucasian", "African-American", "Hispanic")
        for sex in ("Male", "Female")
        for y in (0, 1)
    ]
    edges = ["-30.0", "30.0", *["0.0"] * 8]
    rows = [
        {**COMPAS, **cell, "age": 20 + 3 * k + len(cell["race"]), "days_b_screening_arrest": edges[k]}
        for cell in cells
        for k in range(10)
    ]
    return rows + [{**COMPAS, **wrong} for wrong in LEFT_OUT]


def write_compas(folder, rows, again="priors_count"):
    """As the published file: more columns than are used, and one of them a second time with other values."""
    path = folder / "compas-scores-two-years.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], again])
        writer.writerows([*row.values(), 99] for row in rows)
    return path
