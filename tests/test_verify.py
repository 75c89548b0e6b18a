"""`linfair verify`: the table, its exit status, JSON, and twenty seeds of every theorem."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from linfair import verify
from linfair.theory import THEOREMS, Estimate

CHEAP = ["--only", "xu-gap", "--only", "limit-sign-flip", "--n", "2000"]


def test_one_row_a_theorem_aligned(capsys):
    assert verify.main(CHEAP) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith(("xu-gap", "limit-sign-flip"))]
    assert len(rows) == 2
    assert all(row.endswith("pass") for row in rows)
    assert "2 passed, 0 failed: 1 theorems and 1 limits of claims, n = 2000, seed = 0" in out
    header = next(line for line in out.splitlines() if line.startswith("id"))
    assert header.index("twin") == rows[0].index("Monte Carlo")


def test_all_shows_every_compared_quantity(capsys):
    assert verify.main([*CHEAP, "--all"]) == 0
    assert "natural error of +, robust training" in capsys.readouterr().out


def test_json_goes_to_standard_output(capsys):
    assert verify.main([*CHEAP, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["passed"] is True
    assert [r["id"] for r in record["reports"]] == ["xu-gap", "limit-sign-flip"]
    assert {"quantity", "analytic", "empirical", "se", "z", "passed"} == set(record["reports"][0]["comparisons"][0])


def test_a_failing_twin_gives_exit_status_1(monkeypatch, capsys):
    wrong = {"robust disparity, robust training": Estimate(0.0, 1e-3)}
    broken = dataclasses.replace(THEOREMS["xu-gap"], empirical_values=lambda n, rng, **p: wrong)
    monkeypatch.setitem(THEOREMS, "xu-gap", broken)
    assert verify.main(["--only", "xu-gap"]) == 1
    assert "1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "no-such-theorem"], "got 'no-such-theorem'; linfair verify --list shows them all"),
        (["--only", "xu-gaps"], "--only must name a theorem or a limit, got 'xu-gaps'; did you mean xu-gap"),
        (["--n", "abc"], "invalid int value: 'abc'; see linfair verify --help"),
        (["--nonsense"], "unrecognized arguments: --nonsense; see linfair verify --help"),
        (["--only"], "expected one argument"),
        (["--n", "10"], "--n must be at least 2000, got 10; trained twins are biased"),
        (["--seed", "-1"], "--seed must be >= 0, got -1"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(arguments, message, capsys):
    assert verify.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert len(err) < 200


def test_json_has_no_infinity(monkeypatch, capsys):
    endless = {"robust disparity, robust training": Estimate(math.inf, math.nan)}
    broken = dataclasses.replace(THEOREMS["xu-gap"], empirical_values=lambda n, rng, **p: endless)
    monkeypatch.setitem(THEOREMS, "xu-gap", broken)
    assert verify.main(["--only", "xu-gap", "--json"]) == 1
    (compared,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["reports"][0]["comparisons"]
    assert compared["empirical"] is compared["se"] is compared["z"] is None


def test_list_names_every_theorem_and_checks_none(monkeypatch, capsys):
    monkeypatch.setattr(type(THEOREMS["xu-gap"]), "check", None)
    assert verify.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(THEOREMS)
    assert all(theorem.title in line for theorem, line in zip(THEOREMS.values(), lines, strict=True))
    assert verify.main(["--list", "--json", "--only", "xu-gap"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry == {"id": "xu-gap", "kind": "theorem", "title": THEOREMS["xu-gap"].title}


def test_the_module_and_the_console_script_agree():
    commands = ([sys.executable, "-m", "linfair.verify"], [sys.executable, "-m", "linfair.cli", "verify"])
    outputs = [
        subprocess.run([*c, *CHEAP, "--json"], capture_output=True, text=True, check=True).stdout for c in commands
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_seeds_none_chosen(seed):
    failed = {
        theorem.id: [(c.name, round(c.z, 2)) for c in report.comparisons if not c.passed]
        for theorem in THEOREMS.values()
        if not (report := theorem.check(n=10_000, seed=seed)).passed
    }
    assert not failed
