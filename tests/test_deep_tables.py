"""Tables, figures and predictions of the deep experiments from records of runs."""

import base64

import numpy as np
import pytest

import _classwise_figures
import _classwise_rows
import _classwise_table
import _deep_runs
import _predictions
import cifar10_classwise
import deep_predictions
from linfair import plotting, runs
from linfair.data import load_digits
from linfair.train.methods import METHODS

NAMES = ["cat", "dog", "car"]


def record_of(method, seed, correct, n=100, **more):
    """A run record with one attack on n images a class."""
    flags = np.concatenate([np.arange(n) < k for k in correct])
    about = {"asked": 0, "n": [n] * 3, "correct": list(correct), "seconds": 1.0}
    about["flags"] = base64.b64encode(np.packbits(flags).tobytes()).decode()
    return {
        "config": {"method": method, "seed": seed, "epochs": 2},
        "dataset": {"classes": NAMES},
        "selected": {"epoch": 2, "score": 1.0},
        "measurements": {"clean": about, "pgd20": about, **more},
        "train_seconds": 1.0,
        "weights": {},
        "environment": {"device": "toy"},
    }


def test_summary_has_a_row_a_method_with_both_errors():
    rows = [("pgd_at", 0, (20, 50, 80)), ("pgd_at", 1, (30, 50, 70)), ("dafa_pgd", 0, (40, 50, 60))]
    base, dafa = _classwise_rows.summary([_classwise_rows.row_of(record_of(*row)) for row in rows])
    assert next(iter(base)) == "method"
    assert base["seeds"] == 2
    assert base["pgd20_worst"] == pytest.approx(0.25)
    assert base["pgd20_worst_class"] == "cat"
    assert base["pgd20_worst_seeds_se"] == pytest.approx(0.05)
    assert base["pgd20_avg_seeds_se"] == pytest.approx(0.0)
    assert base["pgd20_cat"] == pytest.approx(0.25)
    assert base["pgd20_rho"] == pytest.approx(0.0)
    assert base["pgd20_n"] == 300
    se = np.mean([np.sqrt(sum(a * (1 - a) / 100 for a in acc)) / 3 for acc in ((0.2, 0.5, 0.8), (0.3, 0.5, 0.7))])
    assert base["pgd20_avg_se"] == pytest.approx(se, rel=0.1)
    assert dafa["pgd20_rho"] == pytest.approx((0.4 - 0.2) / 0.2)  # against the same seed, at equal average
    assert "pgd20_worst_seeds_se" not in dafa


def test_a_seed_may_bring_what_another_lacks():
    S = {"clean_softmax": np.eye(3).tolist(), "confusion": (100 * np.eye(3)).tolist(), "n": [100] * 3}
    records = [record_of("pgd_at", 0, (20, 50, 80)), record_of("pgd_at", 1, (30, 50, 70), matrices=S)]
    (row,) = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert row["seeds"] == 2
    assert row["similarity_cat"] == 0.0
    assert row["pgd20_seeds"] == 2
    records[1]["measurements"]["cw20"] = records[1]["measurements"]["pgd20"]
    (row,) = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert (row["seeds"], row["cw20_seeds"]) == (2, 1)
    assert "| PGD-AT | CW-20 | 1 | 300 |" in _classwise_table.further_table([row])


def test_seeds_on_different_numbers_of_images_say_so():
    records = [record_of("pgd_at", seed, (20, 50, 80)) for seed in (0, 1)]
    for record, times in zip(records, (4, 1), strict=True):
        about = record["measurements"]["pgd20"]
        record["measurements"]["cw20"] = about | {k: [times * v for v in about[k]] for k in ("correct", "n")}
    rows = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert (rows[0]["cw20_n"], rows[0]["cw20_n_most"]) == (300, 1200)
    assert "pgd20_n_most" not in rows[0]
    assert "| PGD-AT | CW-20 | 2 | 300 to 1200 |" in _classwise_table.further_table(rows)


def test_methods_compare_on_the_same_images():
    labels = np.repeat([0, 1, 2], 400)
    many, few = (_deep_runs.stratified(labels, n, 3) for n in (600, 150))
    right = np.arange(1200) % 4 == 0
    record = record_of("pgd_at", 0, [int((right & (labels == k))[many].sum()) for k in range(3)], n=200)
    about = record["measurements"]["clean"] | {"asked": 600}
    about["flags"] = base64.b64encode(np.packbits(right[many]).tobytes()).decode()
    record["measurements"]["apgd"] = about
    row = _classwise_rows.row_of(_classwise_rows.on_equal_images(record, {"clean": 0, "apgd": 150, "l2": 9}, labels))
    assert (row["clean_n"], row["apgd_n"], row["apgd_more_n"]) == (600, 150, 600)
    assert row["apgd_dog"] == pytest.approx(right[few][labels[few] == 1].mean())
    assert row["apgd_more_dog"] == pytest.approx(right[many][labels[many] == 1].mean())
    (row,) = _classwise_rows.summary([row])
    assert "| PGD-AT | APGD-CE + APGD-T | 1 | 600 |" in _classwise_table.further_table([row])
    assert "APGD, 150 images" in _classwise_table.short_table([row])
    with pytest.raises(ValueError, match=r"apgd of .* must be on the recipe's 700 images"):
        _classwise_rows.on_equal_images(record | {"run": "pgd_at-s0"}, {"apgd": 700}, labels)


def test_rho_needs_every_seed():
    rows = [("pgd_at", 0, (20, 50, 80)), ("trades", 0, (30, 50, 70)), ("trades", 1, (30, 50, 70))]
    rows = [_classwise_rows.row_of(record_of(*row)) for row in rows]
    assert _classwise_rows.summary(rows[:2])[1]["pgd20_rho"] is not None
    assert _classwise_rows.summary(rows)[1]["pgd20_rho"] is None


def test_a_class_without_a_hit_has_an_error():
    row = _classwise_rows.row_of(record_of("pgd_at", 0, (0, 50, 100)))
    half = 0.5 / 101
    assert [row["clean_cat_se"], row["clean_car_se"]] == pytest.approx([np.sqrt(half * (1 - half)) / 10] * 2)
    assert row["clean_dog_se"] == pytest.approx(0.05)
    assert row["clean_cat_se"] <= row["clean_worst_se"] < 2 * row["clean_cat_se"]
    lost = _classwise_rows.row_of(record_of("pgd_at", 0, (0, 0, 0)))
    assert lost["clean_worst_se"] == lost["clean_cat_se"]  # the least of three draws would say a third of it
    assert _classwise_table.worst(row, "clean") == "0.0 ± 0.7 (cat)"
    assert _classwise_table.percent({"avg": 0.5}, "avg") == "50.0"


def test_gains_are_paired_differences_to_the_parent():
    base, run = record_of("pgd_at", 0, (20, 50, 80)), record_of("dafa_pgd", 0, (40, 50, 60))
    row = _classwise_rows.gains(run, base, np.repeat([0, 1, 2], 100))
    assert row["over_pgd_at_s0_worst"] == pytest.approx(0.2)
    assert row["over_pgd_at_s0_avg"] == pytest.approx(0.0)
    assert row["over_pgd_at_s0_disparity"] == pytest.approx(-0.4)
    assert 0.1 < row["over_pgd_at_s0_worst_low"] < 0.2 < row["over_pgd_at_s0_worst_high"] < 0.3
    assert row["over_pgd_at_s0_device"] is None


def test_gains_across_machines_are_marked():
    base, run = record_of("pgd_at", 0, (20, 50, 80)), record_of("dafa_pgd", 0, (40, 50, 60))
    run["environment"] = {"device": "another"}
    row = _classwise_rows.row_of(run) | _classwise_rows.gains(run, base, np.repeat([0, 1, 2], 100))
    assert row["over_pgd_at_s0_device"] == "another, toy"
    assert "| DAFA (PGD) - PGD-AT † | 0 |" in _classwise_table.gain_table(_classwise_rows.summary([row]))


def test_every_seed_keeps_its_gain():
    rows = []
    for seed, accuracies in enumerate(((40, 50, 60), (10, 50, 60))):
        base, run = record_of("pgd_at", seed, (20, 50, 80)), record_of("dafa_pgd", seed, accuracies)
        gains = _classwise_rows.gains(run, base, np.repeat([0, 1, 2], 100))
        rows += [_classwise_rows.row_of(base), _classwise_rows.row_of(run) | gains]
    lines = _classwise_table.gain_table(_classwise_rows.summary(rows)).splitlines()[2:]
    assert [line[:31] for line in lines] == ["| DAFA (PGD) - PGD-AT | 0 | +20", "| DAFA (PGD) - PGD-AT | 1 | -10"]


def test_gains_over_several_parents_stand_side_by_side():
    run, labels = record_of("absld", 1, (40, 50, 60)), np.repeat([0, 1, 2], 100)
    row = _classwise_rows.row_of(run)
    for parent, accuracies in (("rslad", (30, 50, 60)), ("trades", (20, 50, 60))):
        row |= _classwise_rows.gains(run, record_of(parent, 1, accuracies), labels)
    lines = _classwise_table.gain_table(_classwise_rows.summary([row])).splitlines()[2:]
    assert [line[:26] for line in lines] == ["| ABSLD - RSLAD | 1 | +10.", "| ABSLD - TRADES | 1 | +20"]


def test_a_worst_class_is_named_by_every_seed():
    """The number is the mean of 20 (cat) and 30 (dog); no class has it as its own mean."""
    records = [record_of("pgd_at", seed, counts) for seed, counts in enumerate(((20, 50, 80), (60, 30, 80)))]
    records[1]["environment"] = {"device": "another"}
    (row,) = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    assert row["pgd20_worst"] == pytest.approx(0.25)
    assert row["pgd20_worst_class"] == "cat/dog"
    assert row["device"].endswith(", another")


def test_neighbours_rank_by_clean_similarity():
    S = [[0.7, 0.25, 0.05], [0.3, 0.6, 0.1], [0.02, 0.08, 0.9]]
    confusion = [[20, 70, 10], [30, 50, 20], [0, 10, 90]]
    row = _classwise_rows.neighbours(NAMES, {"clean_softmax": S, "confusion": confusion}, np.array([100] * 3))
    assert row["weak_class"] == "cat"
    assert row["weak_neighbours"] == "dog car"
    assert row["to_neighbour_1"] == pytest.approx(0.7)
    assert row["to_neighbour_2"] == pytest.approx(0.1)
    assert row["similarity_cat"] == pytest.approx(((0.25 + 0.3) / 2 + (0.05 + 0.02) / 2) / 2)
    assert row["leaning_cat"] == pytest.approx((0.3 + 0.02) / 2)


def test_table_and_figures_of_a_record_without_matrices(tmp_path):
    records = [record_of("pgd_at", 0, (20, 50, 80)), record_of("standard", 0, (0, 0, 10))]
    rows = _classwise_rows.summary([_classwise_rows.row_of(r) for r in records])
    text = _classwise_table.main_table(rows)
    assert "| PGD-AT | 1 | 50.0 ± 2.5 | 20.0 ± 4.0 (cat) |" in text
    assert len(text.splitlines()) == 4
    assert _classwise_table.further_table(rows) == ""
    runs.write_csv(tmp_path / "classwise.csv", rows)
    read = runs.read_csv(tmp_path / "classwise.csv")
    with plotting.style():
        assert set(_classwise_figures.plot(read, "toy")) == {"bars", "worst_average"}


def test_bars_of_methods_without_attacks_are_those_of_clean_images(tmp_path):
    """One robust method and one natural one beside PGD-AT: a row each, of other heights and another axis."""
    clean = record_of("pgd_at", 0, (60, 70, 90))["measurements"]["clean"]
    records = [record_of(method, 0, (20, 50, 80), clean=clean) for method in ("pgd_at", "trades", "standard")]
    runs.write_csv(tmp_path / "a.csv", _classwise_rows.summary([_classwise_rows.row_of(r) for r in records]))
    rows = runs.read_csv(tmp_path / "a.csv")
    with plotting.style():
        robust, natural = _classwise_figures.bars(rows).axes
    assert [ax.get_ylabel() for ax in (robust, natural)] == ["PGD-20 accuracy (%)", "clean accuracy (%)"]
    for ax, row, key in ((robust, rows[1], "pgd20"), (natural, rows[2], "clean")):
        heights = sorted(bar.get_height() for bar in ax.containers[1])
        assert heights == pytest.approx(sorted(_classwise_figures.by_class(row, key)))


def test_every_method_has_a_name_and_a_colour():
    assert set(_classwise_table.TITLES) == set(METHODS)
    assert plotting.YELLOW not in {_classwise_figures.color(method) for method in METHODS}


# --- predictions -----------------------------------------------------------------------------------------------------

LABELS = np.repeat(np.arange(3), 100)


@pytest.mark.parametrize(
    "predicted, low, high, expected",
    [(1, 0.1, 0.2, "agrees"), (-1, 0.1, 0.2, "contradicts"), (1, -0.1, 0.2, "open"), (None, 0.1, 0.2, "none")],
)
def test_verdicts(predicted, low, high, expected):
    assert _predictions.verdict({"predicted": predicted, "low": low, "high": high})["verdict"] == expected


def test_change_of_disparity():
    run, base = record_of("domain_mixup_easy", 0, (40, 50, 60)), record_of("pgd_at", 0, (20, 50, 80))
    row = _predictions.change_row("b", "t", "PGD-AT", "disparity", -1, "8/255", run, base, "pgd20", LABELS, 0)
    assert row["effect"] == pytest.approx(-0.4)
    assert row["verdict"] == "agrees"


def test_margins_turn_at_one_half():
    """cat: risk 0.3 at W eps, helped; dog: 0.6 before and 0.7 at W eps, predicted to lose; car: weight below 1."""
    own = record_of("x", 0, (70, 30, 95))["measurements"]["pgd20"]
    run = record_of("dafa_pgd", 0, (90, 30, 95), pgd20_own=own)
    run["weights"] = {"margin": [1.3, 1.2, 0.5]}
    rows = _predictions.margin_rows(run, record_of("pgd_at", 0, (80, 40, 99)), LABELS, "margins", "8/255", 0)
    cat, dog, under, over = rows
    assert (cat["class"], cat["predicted"], cat["own_risk"]) == ("cat", 1, pytest.approx(0.3))
    assert (dog["class"], dog["predicted"], dog["effect"]) == ("dog", -1, pytest.approx(-0.1))
    assert (under["predicted"], over["predicted"]) == (1, -1)
    assert [row["verdict"] for row in rows] == ["agrees"] * 4
    both = _predictions.margin_rows(run, record_of("pgd_at", 0, (80, 40, 99)), LABELS, "both", "8/255", 0)
    assert [row["predicted"] for row in both] == [1, None]


def test_pairs_find_the_trend_and_the_ratio():
    labels = np.repeat([0, 1], 500)
    rng = np.random.default_rng(0)
    records, similarity = [], np.linspace(0.05, 0.3, 8)
    for s in similarity:
        flags = rng.random(1000) >= np.where(labels == 0, 2 * s, s)
        text = base64.b64encode(np.packbits(flags).tobytes()).decode()
        records.append(
            {"measurements": {"pgd20": {"n": [500, 500], "flags": text}}, "dataset": {"classes": ["cat", f"{s:.2f}"]}}
        )
    *pairs, rank, far = _predictions.pair_rows(records, [labels] * 8, similarity, "8/255", 0)
    assert len(pairs) == 8
    assert rank["effect"] < -0.8
    assert rank["verdict"] == far["verdict"] == "agrees"
    assert far["effect"] == pytest.approx(np.log(2), abs=0.25)


def test_pairs_share_the_images_of_their_first_class():
    """With second classes that are never mistaken, all that is drawn is the first, which every pair has."""
    flags = np.concatenate([np.arange(40) % 3 > 0, np.ones(40, bool)])
    about = {"n": [40, 40], "flags": base64.b64encode(np.packbits(flags).tobytes()).decode()}
    records = [{"measurements": {"pgd20": about}, "dataset": {"classes": ["cat", name]}} for name in ("dog", "car")]
    one, other, *_ = _predictions.pair_rows(records, [np.repeat([0, 1], 40)] * 2, np.array([0.1, 0.2]), "8/255", 0)
    assert one["effect"] == pytest.approx(14 / 40)
    assert one["low"] < one["effect"] < one["high"]
    assert [one[k] for k in ("low", "high")] == [other[k] for k in ("low", "high")]


@pytest.mark.parametrize("part", ["a", "b", "c", "d", "e"])
def test_every_part_has_runs_and_shares_those_of_classwise(part):
    cfg, data = deep_predictions.Config(), load_digits()
    plan = deep_predictions.Plan(cfg, data, 0)
    table = plan.measures(part)
    assert table
    shared = {r for r in table if r in set(cifar10_classwise.manifest(cifar10_classwise.Config()))}
    assert shared, "every part builds on runs that the table of methods needs anyway"
    for r in table:
        METHODS[r.method](**dict(r.options))
