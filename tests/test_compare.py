"""`linfair compare`: the paired bootstrap against plain resampling, what is refused, and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest

from linfair import metrics
from linfair.compare import compare, main
from linfair.evaluate import Evaluation
from test_evaluate_record import NAMES, made

RNG = np.random.default_rng(7)
LABELS = np.repeat([0, 1, 2], [300, 200, 400])
HARD = RNG.random(900)  # what makes an image hard for both models
A = made({"pgd20": np.array([0.6, 0.3, 0.8])[LABELS] > HARD, "clean": HARD < 0.9}, LABELS)
B = made({"pgd20": HARD + 0.1 * RNG.standard_normal(900) < np.array([0.55, 0.5, 0.75])[LABELS]}, LABELS)


def resampled(a, b, statistic, n_boot=4000):
    """B - A over plain resamples of images within their class, the same for both models."""
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(n_boot):
        picks = [rng.choice(np.flatnonzero(k == a.labels), (k == a.labels).sum()) for k in range(3)]
        draws.append(
            statistic(np.array([b.flags["pgd20"][p].mean() for p in picks]))
            - statistic(np.array([a.flags["pgd20"][p].mean() for p in picks]))
        )
    return np.quantile(draws, [0.025, 0.975])


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("average", lambda acc: acc.mean(-1)),
        ("worst", lambda acc: acc.min()),
        ("disparity", np.ptp),
        ("nsd", lambda acc: acc.std() / acc.mean()),
    ],
)
def test_the_interval_is_that_of_plain_resampling(name, statistic):
    found = compare(A, B, "pgd20", n_boot=4000)["measures"][name]
    assert [found["low"], found["high"]] == pytest.approx(resampled(A, B, statistic), abs=0.012)
    assert found["difference"] == pytest.approx(statistic(B.accuracy("pgd20")) - statistic(A.accuracy("pgd20")))


def test_pairing_narrows_the_interval():
    paired = compare(A, B, "pgd20")["measures"]["average"]
    alone = [e.measures["pgd20"]["average"] for e in (A, B)]
    unpaired = np.sqrt(sum((one["high"] - one["low"]) ** 2 for one in alone))
    assert paired["high"] - paired["low"] < 0.7 * unpaired


def test_a_model_against_itself_differs_in_nothing():
    found = compare(A, A, "pgd20")
    assert all(row["difference"] == row["low"] == row["high"] == 0 for row in found["measures"].values())
    assert found["rho"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (found["only_a"], found["only_b"], found["both"] + found["neither"]) == (0, 0, 900)


def test_swapping_the_models_swaps_the_sign():
    there, back = compare(A, B, "pgd20"), compare(B, A, "pgd20")
    for one, other in zip(there["classes"], back["classes"], strict=True):
        assert one["difference"] == pytest.approx(-other["difference"])
        assert (one["a"], one["b"]) == (other["b"], other["a"])
    assert (there["only_a"], there["only_b"]) == (back["only_b"], back["only_a"])


def test_counts_and_worst_classes():
    found, right_a, right_b = compare(A, B, "pgd20"), A.flags["pgd20"], B.flags["pgd20"]
    assert found["both"] == (right_a & right_b).sum()
    assert found["only_a"] == (right_a & ~right_b).sum()
    assert found["only_b"] == (~right_a & right_b).sum()
    assert found["neither"] == (~right_a & ~right_b).sum()
    for key, of in (("class_a", A), ("class_b", B)):
        assert found["measures"]["worst"][key] == NAMES[int(of.accuracy("pgd20").argmin())]


def test_rho_is_that_of_metrics_with_a_as_the_baseline():
    found = compare(A, B, "pgd20")
    average, worst = found["measures"]["average"], found["measures"]["worst"]
    assert found["rho"]["value"] == pytest.approx(metrics.rho(average["b"], worst["b"], average["a"], worst["a"]))
    assert found["rho"]["low"] < found["rho"]["value"] < found["rho"]["high"]


def test_rho_is_not_defined_where_the_baseline_has_a_class_at_0():
    none = made({"pgd20": LABELS != 1}, LABELS)
    assert compare(none, B, "pgd20")["rho"] == {"value": None, "low": None, "high": None}


def test_the_seed_fixes_the_interval():
    assert compare(A, B, "pgd20", seed=1) == compare(A, B, "pgd20", seed=1)
    assert compare(A, B, "pgd20", seed=1)["rho"] != compare(A, B, "pgd20", seed=2)["rho"]


def other_threat(**changes):
    return made({"pgd20": A.flags["pgd20"]}, LABELS, attacks={"pgd20": {**A.attacks["pgd20"], **changes}})


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (
            made({"pgd20": A.flags["pgd20"]}, LABELS, data={"fingerprint": "g"}),
            r"of the same data, got toy \(f\) and toy",
        ),
        (
            made({"pgd20": A.flags["pgd20"]}, LABELS, data={"images": "j"}),
            r"of the same images, got 900 \(i\) and 900 \(j",
        ),
        (made({"apgd": A.flags["pgd20"]}, LABELS), "B must hold pgd20, got apgd"),
        (other_threat(radius=0.031, eps="0.031"), "one norm and eps in A and B, got linf 8/255 and linf 0.031"),
        (other_threat(norm="l2"), "one norm and eps in A and B, got linf 8/255 and l2 8/255"),
        (other_threat(options={"steps": 10}), r"pgd20 must be one attack in A and B, got \{'steps': 20\} and"),
        (made({"pgd20": A.flags["pgd20"]}, LABELS, data={"class_names": ("a", "b", "c")}), "of the same classes"),
    ],
    ids=["data", "images", "attack", "eps", "norm", "options", "classes"],
)
def test_what_cannot_be_paired_is_refused(b, message):
    with pytest.raises(ValueError, match=message):
        compare(A, b, "pgd20")


def test_the_same_radius_written_differently_is_the_same():
    assert compare(A, other_threat(eps="16/510"), "pgd20")["n"] == 900


@pytest.fixture
def records(tmp_path):
    return [str(of.save(tmp_path / f"{name}.json")) for name, of in (("a", A), ("b", B))]


@pytest.mark.parametrize("columns", [80, 100])
def test_the_command_prints_a_table_that_fits(columns, records, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(records) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert "* the interval leaves out 0" in out
    assert sum(line.startswith("pgd20 (linf 8/255): right in both") for line in out.splitlines()) == 1
    assert "clean" not in out  # B did not run it
    worst = next(line for line in out.splitlines() if line.startswith("worst class"))
    assert worst.endswith(" *")  # cat gains 20 points
    assert worst.count("(cat)") == 2


def test_plain_and_json_say_the_same(records, capsys):
    assert main([*records, "--plain"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(len(row) == 7 for row in rows)
    assert main([*records, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert found["measures"] == compare(A, B, "pgd20")["measures"]
    average = next(row for row in rows if row[1] == "average")
    assert float(average[4]) == pytest.approx(found["measures"]["average"]["difference"], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}"], "the following arguments are required: B.json"),
        (["{a}", "nowhere.json"], "got no such file"),
        (["{a}", "{b}", "--attacks", "clean"], "B must hold clean, got pgd20"),
        (["{a}", "{b}", "--n-boot", "5"], "--n-boot must be at least 100, got 5"),
        (["{a}", "{b}", "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["{a}", "{b}", "--json", "--plain"], "not allowed with"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, message, records, capsys):
    assert main([word.format(a=records[0], b=records[1]) for word in arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_nothing_in_common(records, tmp_path, capsys):
    other = made({"apgd": A.flags["pgd20"]}, LABELS).save(tmp_path / "c.json")
    assert main([records[0], str(other)]) == 2
    assert "A and B must share an attack, got pgd20, clean and apgd" in capsys.readouterr().err


def test_comparing_needs_no_torch(records):
    code = f"import sys; from linfair.compare import main; main({records!r}); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_comparison_is_of_loaded_records(records):
    a, b = map(Evaluation.load, records)
    assert compare(a, b, "pgd20") == compare(A, B, "pgd20")
