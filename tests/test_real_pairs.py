"""Pairs of real classes: no leaks, exact attacks in pixel space, statistics that recover what was put in."""

import dataclasses
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import _pairs
import _pairs_summary as summary
import _pairs_tables
import real_pairs
from _harness import UsageError
from linfair import plotting, runs
from linfair.data import load_digits
from linfair.gaussian import ClassGaussians
from linfair.linear import LinearClassifier
from linfair.norms import Threat
from linfair.solvers import fast
from linfair.solvers.closed_form import optimal_classifier

ROOT = Path(__file__).resolve().parents[1]
QUICK = dataclasses.replace(real_pairs.QUICK, classes=2)


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def rows(digits):
    return [r for cell in real_pairs.cells(QUICK, digits) for r in real_pairs.compute(cell, QUICK, digits)]


def test_every_image_is_held_out_once_and_never_trained_on(digits):
    X = digits.pooled()[0]
    seen = 0
    for part in _pairs.splits(digits, 5, None):
        assert len(part.train) + len(part.test) == len(X)
        np.testing.assert_allclose(part.train.mean(0), 0.0, atol=1e-12)
        seen += len(part.test)
    assert seen == len(X)


def test_principal_components_are_orthonormal_and_ordered(digits):
    for part in _pairs.splits(digits, 2, 8):
        assert part.basis is not None
        np.testing.assert_allclose(part.basis.T @ part.basis, np.eye(8), atol=1e-12)
        assert (np.diff(part.train.var(0)) < 0).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_attack_in_pixels_is_the_dual_norm_in_features(digits, norm):
    """Moving every pixel by its worst shift and projecting again gives exactly the errors counted in features."""
    part = next(_pairs.splits(digits, 5, 8))
    pair, P = _pairs.binary(part, 3, 8), part.basis
    assert P is not None
    threat = Threat(norm, 0.15, P)
    fitted = _pairs.erm(pair.X, pair.y, threat, 1e-3)
    w = P @ fitted.w
    shift = np.sign(w) if norm == "linf" else w / np.linalg.norm(w)
    pixels = pair.held_X @ P.T - np.outer(2 * pair.held_y - 1, 0.15 * shift)
    attacked = LinearClassifier(w, fitted.b).predict(pixels) != pair.held_y
    counted = fitted.robust_margins(pair.held_X, pair.held_y, threat) <= 0
    np.testing.assert_array_equal(attacked, counted)
    np.testing.assert_allclose(fitted.predict(pixels @ P) != pair.held_y, counted)
    assert threat.dual_norm(fitted.w) == pytest.approx(np.abs(w).sum() if norm == "linf" else np.linalg.norm(w))


def test_the_wider_class_is_plus(digits):
    part = next(_pairs.splits(digits, 5, 8))
    for a, b in ((0, 1), (1, 0)):
        pair = _pairs.binary(part, a, b)
        w = np.linalg.solve(pair.model.covs.sum(0), pair.model.means[1] - pair.model.means[0])
        sd = pair.model.sds(w)
        assert sd[1] >= sd[0]
        own = part.train_labels == (a if pair.swapped else b)
        np.testing.assert_allclose(pair.model.means[1], part.train[own].mean(0))
        np.testing.assert_array_equal(np.bincount(pair.y)[1], own.sum())


def test_rows(rows, digits):
    assert {(r["geometry"], r["method"]) for r in rows} == {
        (g, m) for g in ("l2", "linf", "linf-pixels") for m in summary.METHODS
    }
    for r in rows:
        assert {r["minus"], r["plus"]} == {"0", "1"}
        assert (r["n_minus"], r["n_plus"]) in ((178, 182), (182, 178))
        for side in _pairs.SIDES:
            assert all(0.0 <= r[f"{kind}_{side}"] <= 1.0 for kind in ("analytic", "skewed", "train", "test"))
        if r["method"] == "minimax":
            assert r["analytic_minus"] == pytest.approx(r["analytic_plus"], abs=1e-5)
        if r["method"] == "robust":
            assert r["change"] == r["change_se"] == 0.0


def test_geometries_agree_without_attack(digits):
    """At radius 0 the norm does not matter, only the features."""
    cfg = dataclasses.replace(QUICK, l2_digits=("0",), linf_digits=("0",))
    l2, linf = (real_pairs.compute({"geometry": g, "pair": (0, 1)}, cfg, load_digits()) for g in ("l2", "linf"))
    for a, b in zip(l2, linf, strict=True):
        assert a["analytic_plus"] == pytest.approx(b["analytic_plus"], abs=2e-5)
        assert a["test_plus"] == pytest.approx(b["test_plus"], abs=0.006)


def test_short_theory_is_exact_for_isotropic_classes():
    model = ClassGaussians.two_class([2.0, 1.0, 0.0], 0.7, K=1.8, r=1.3)
    threat = Threat("l2", 0.2)
    pair = _pairs.Pair(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(0), model, False, 0.0)
    kappa, short = _pairs.short_theory(pair, fast.minimax_fair(model, threat).classifier, threat)
    best = optimal_classifier(model, threat)
    assert best.risks is not None
    np.testing.assert_allclose(short["robust"], best.risks.value, rtol=1e-6)
    assert kappa == pytest.approx((np.sqrt(5.0) - 0.4) / 0.7 / 2.8, rel=1e-6)


def test_skewness_corrects_the_gaussian_risk():
    """Scores with gamma-distributed tails: one more moment brings the risk closer to the truth, in both classes."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.gamma(6.0, 1.0, 20_000) - 8.0, 8.0 - rng.gamma(6.0, 1.0, 20_000)])[:, None]
    y = np.repeat([0, 1], 20_000)
    pair = _pairs.Pair(X, y, X, y, ClassGaussians.fit(X, y), False, 0.0)
    fitted, threat = LinearClassifier(np.ones(1), np.array(0.5)), Threat("l2", 0.3)
    truth = fitted.class_errors(X, y, threat).rate
    plain = np.abs(fitted.class_risks(pair.model, threat).value - truth)
    better = np.abs(_pairs.skewed_risks(pair, threat, fitted) - truth)
    assert (better < plain).all()
    assert better.sum() < 0.3 * plain.sum()


def generated(n_pairs=45, n=400, spread=0.1, seed=0):
    """Rows whose held-out counts are drawn from their analytic risks."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_pairs):
        risk = np.clip(0.25 + spread * rng.standard_normal(2), 0.02, 0.9)
        row = {"geometry": "l2", "eps": "0.1", "radius": 0.1, "method": "robust", "kappa": 1.0 + rng.random()}
        row |= {"constant": 0, "minus": str(i), "plus": str(i + 1), "K": 1.2, "change": 0.0}
        for side, p in zip(_pairs.SIDES, risk, strict=True):
            rate = rng.binomial(n, p) / n
            row |= {f"n_{side}": n, f"analytic_{side}": p, f"test_{side}": rate}
            row[f"se_{side}"] = np.sqrt(rate * (1 - rate) / n)
        rows.append(row)
    return summary.Pairs(rows)


def test_statistics_of_an_exact_theory():
    pairs = generated(n_pairs=300)
    assert summary.inside(pairs) >= 0.94
    rho = summary.rank(pairs.D("analytic"), pairs.D("test")).value
    assert rho == pytest.approx(summary.expected_rank(pairs.D("analytic"), summary.if_exact(pairs)), abs=0.03)
    analytic, measured, low, high = pairs.rms(2.0)
    assert low < analytic < high
    assert measured == pytest.approx(analytic, rel=0.1)


def test_noise_alone_leaves_no_disparity():
    pairs = generated(n_pairs=300, spread=0.0)
    assert pairs.D("test").std() > 0.02
    _, measured, low, _ = pairs.rms(2.0)
    assert measured < 0.012
    assert low == 0.0


def test_signs_leave_out_ties():
    found = summary.same_sign(np.array([1.0, 1.0, -1.0, 1.0]), np.array([0.1, 0.0, 0.2, 0.3]))
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert summary.same_sign(np.ones(2), np.zeros(2)) is None


def test_figure_and_tables_of_few_pairs(rows, tmp_path):
    with plotting.style():
        paths = plotting.save(real_pairs.plot(rows, "digits"), tmp_path / "few")
    assert all(p.stat().st_size > 10_000 for p in paths)
    assert _pairs_tables.tables(tmp_path) == ""


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data_dir": Path("/nowhere")}, "data_dir must be an existing folder"),
        ({"data_label": "my copy"}, "--data-label is for"),
        ({"unverified": True}, "--unverified is for"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        real_pairs.dataset(real_pairs.DataOptions(**options))
    assert "\n" not in str(caught.value)


def test_table_reads_the_folder_it_is_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["real_pairs.py", "--table", "--out", str(ROOT / "figures")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "experiments" / "real_pairs.py"), run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out == _pairs_tables.tables(ROOT / "figures" / "data")
    monkeypatch.setattr("sys.argv", ["real_pairs.py", "--table", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "experiments" / "real_pairs.py"), run_name="__main__")
    assert stop.value.code == 2
    assert "--table needs a record, got none in" in capsys.readouterr().err


def test_the_page_has_the_tables_of_the_records():
    """Same words; numbers within what another machine's rounding moves (a held-out image or two)."""
    page = (ROOT / "docs" / "real_images.md").read_text(encoding="utf-8")
    shown = page.split("<!-- tables -->")[1]
    expected = _pairs_tables.tables(ROOT / "figures" / "data")
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("#", shown).split() == number.sub("#", expected).split(), "run experiments/real_pairs.py --table"
    was, now = ([float(x) for x in number.findall(text)] for text in (shown, expected))
    np.testing.assert_allclose(was, now, atol=0.06)


def test_committed_records_are_labelled():
    for path in (ROOT / "figures" / "data").glob("real_pairs*.json"):
        record = runs.read_json(path)
        assert record is not None
        fingerprint = record["dataset"]["fingerprint"]
        assert len(fingerprint) == 12
        assert record["dataset"]["label"] in ("digits", "CIFAR-10") or fingerprint in record["dataset"]["label"]
