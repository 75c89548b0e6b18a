"""Measured effects beside predicted signs: paired bootstraps over the test images of runs on record."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linfair.metrics import paired_accuracies, spearman
from linfair.runs import Row

DRAWS = 2000
Statistic = Callable[[np.ndarray], np.ndarray]
STATISTICS: dict[str, Statistic] = {"disparity": lambda a: np.ptp(a, axis=-1), "worst class": lambda a: a.min(-1)}


def flags_of(record: dict[str, Any], key: str) -> np.ndarray:
    """One flag an image, in the order of the test images."""
    about = record["measurements"][key]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(about["flags"]), np.uint8))
    return bits[: sum(about["n"])].astype(bool)


def effect(draws: np.ndarray) -> Row:
    """The measured value and its 95 % interval from [1 + DRAWS] values."""
    low, high = np.nanquantile(draws[1:], [0.025, 0.975]) if np.isfinite(draws[1:]).any() else (np.nan, np.nan)
    return {"effect": _number(draws[0]), "low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 6)


def verdict(row: Row) -> Row:
    """With the sign that was predicted: does the interval agree, contradict, or leave it open?"""
    sign, low, high = row.get("predicted"), row.get("low"), row.get("high")
    if not sign or low is None or high is None:
        return row | {"verdict": "none"}
    inside = low <= 0 <= high
    return row | {"verdict": "open" if inside else "agrees" if sign * low > 0 else "contradicts"}


def margin_rows(
    run: dict[str, Any], base: dict[str, Any], labels: np.ndarray, apply: str, eps: str, seed: int
) -> list[Row]:
    """(a) Every class whose weight DAFA raised: its change against the parent at the radius of the test.

    Raising a margin further helps while the class' robust risk at its own training radius is under 1/2 (B8.3). So the
    way from eps to W eps is predicted to help if that risk is under 1/2 at its end, to hurt if it is over 1/2 at its
    beginning; in between nothing is said, nor of weights together with a margin that hurts. More weight helps always.
    Last come the means over the classes on either side.
    """
    names = run["dataset"]["classes"]
    W = run["weights"].get("margin" if apply != "weights" else "loss", [1.0] * len(names))
    rng = np.random.default_rng(seed)
    ours, theirs = paired_accuracies(labels, flags_of(run, "pgd20"), flags_of(base, "pgd20"), rng, n_boot=DRAWS)
    own = flags_of(run, "pgd20_own") if apply != "weights" else flags_of(run, "pgd20")
    rows: list[Row] = []
    sides: dict[int, list[int]] = {1: [], -1: [], 0: []}
    for k in [k for k, w in enumerate(W) if w > 1]:
        risk = float(1 - own[labels == k].mean())
        before = float(1 - theirs[0, k])
        turn = 1 if risk < 0.5 else -1 if before >= 0.5 else 0
        sides[turn].append(k)
        predicted = 1 if apply == "weights" else turn if apply == "margins" or turn > 0 else 0
        rows.append(
            verdict(
                {"part": "a", "prediction": f"DAFA, {apply}", "baseline": "PGD-AT", "eps": eps, "quantity": "accuracy"}
                | {"class": names[k], "predicted": predicted or None, **effect(ours[:, k] - theirs[:, k])}
                | {"weight": W[k], "own_risk": risk, "test_risk": float(1 - ours[0, k])}
                | {"base_risk": before}
            )
        )
    for sign, side in sides.items() if apply == "margins" else ():
        if side and sign:
            where = f"{len(side)} margins, risk {'< 1/2' if sign > 0 else '> 1/2'}"
            found = effect((ours - theirs)[:, side].mean(1))
            head = {"part": "a", "prediction": where, "baseline": "PGD-AT", "eps": eps, "quantity": "accuracy"}
            rows.append(verdict(head | {"predicted": sign, **found}))
    return rows


def change_row(
    part: str, prediction: str, baseline: str, quantity: str, predicted: int, eps: str,
    run: dict[str, Any], base: dict[str, Any], key: str, labels: np.ndarray, seed: int,
) -> Row:  # fmt: skip
    """(b)-(d) The change of a statistic of the class accuracies between two runs."""
    rng = np.random.default_rng(seed)
    ours, theirs = paired_accuracies(labels, flags_of(run, key), flags_of(base, key), rng, n_boot=DRAWS)
    statistic = STATISTICS[quantity]
    found = effect(statistic(ours) - statistic(theirs))
    head = {"part": part, "prediction": prediction, "baseline": baseline, "eps": eps, "quantity": quantity}
    return verdict(head | {"predicted": predicted, **found})


def pair_rows(
    pairs: Sequence[dict[str, Any]], labels: Sequence[np.ndarray], similarity: np.ndarray, eps: str, seed: int
) -> list[Row]:
    """(e) Two-class runs, the same first class in all: |D| falls with class distance, the ratio does not vanish (B4).

    similarity [P]: mean softmax that the two classes share in the run on all classes. The ratio's size is cross-fitted:
    its sign comes from one half of the images and its value from the other, so that noise alone gives 0. All pairs are
    tested on the same images of the first class, so these are resampled once, for all of them.
    """
    rng = np.random.default_rng(seed)
    D, ratio, drawn = [], [], {}
    rows: list[Row] = []
    for record, y, s in zip(pairs, labels, similarity, strict=True):
        names, wrong = record["dataset"]["classes"], ~flags_of(record, "pgd20")
        errors, counts = np.zeros((2, 2, 1 + DRAWS)), np.zeros((2, 2, 1))  # [half, class, 1 + DRAWS]
        for k, half in np.ndindex(2, 2):
            own = wrong[y == k][half::2]
            if (names[k], half) not in drawn:  # the measured images come first, each once
                resampled = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS)
                drawn[names[k], half] = np.vstack([np.ones((1, len(own))), resampled])
            errors[half, k], counts[half, k] = drawn[names[k], half] @ own, len(own)
        whole = errors.sum(0) / counts.sum(0)
        D.append(np.abs(whole[0] - whole[1]))
        logs = np.log((errors + 0.5) / (counts + 1.0))
        gap = logs[:, 0] - logs[:, 1]
        ratio.append((np.sign(gap[0]) * gap[1] + np.sign(gap[1]) * gap[0]) / 2)
        rows.append(
            {"part": "e", "prediction": "pair", "baseline": names[0], "eps": eps, "quantity": "disparity"}
            | {"class": names[1], **effect(D[-1]), "similarity": float(s), "log_ratio": _number(ratio[-1][0])}
            | {"verdict": "none"}
        )
    D, ratio = np.stack(D, 1), np.stack(ratio, 1)
    picks = np.vstack([np.arange(len(pairs)), rng.integers(len(pairs), size=(DRAWS, len(pairs)))])

    def pick(table: np.ndarray) -> np.ndarray:
        return np.take_along_axis(table, picks, 1)

    far = pick(np.broadcast_to(similarity, D.shape)) <= np.median(similarity)
    with np.errstate(invalid="ignore"):
        rank = spearman(pick(D), pick(np.broadcast_to(-similarity, D.shape)))
        kept = np.where(far, pick(ratio), 0.0).sum(1) / far.sum(1)
    ranked = {"prediction": "disparity against distance", "quantity": "rank correlation", "predicted": -1}
    far_off = {"prediction": "risks of far pairs", "quantity": "log ratio", "predicted": 1}
    head = {"part": "e", "eps": eps}
    return [*rows, verdict(head | ranked | effect(rank)), verdict(head | far_off | effect(kept))]
