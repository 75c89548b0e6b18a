"""How far an estimated class risk is from the analytic one, on n samples."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from linfair.theory.theorem import Assumption, Estimate, Theorem
from linfair.theory.twins import mean_of

RISK = Assumption("0 < risk < 1 and n_y >= 10", lambda risk, n_y, **_: 0 < risk < 1 and n_y >= 10)


def dkw(n_y, delta):
    """``sqrt(log(2/delta) / (2 n_y))``: uniform over all thresholds with probability 1 - delta (Massart's constant)."""
    return np.sqrt(np.log(2.0 / delta) / (2.0 * np.asarray(n_y)))


def _kolmogorov(rng, n_y, runs):
    """``sup_t |F_n(t) - F(t)|`` of ``runs`` samples of n_y uniform scores."""
    x = np.sort(rng.random((runs, n_y)), axis=1)
    grid = np.arange(1, n_y + 1) / n_y
    return np.maximum(grid - x, x - (grid - 1 / n_y)).max(1)


def _band(n_y, delta):
    from scipy.stats import kstwo

    bound = dkw(n_y, delta)
    return {"probability of leaving the band": kstwo.sf(bound, n_y), "nominal delta": delta, "half-width": bound}


def _band_twin(n, rng, n_y, delta):
    runs = max(n // 10, 400)
    left = float((_kolmogorov(rng, n_y, runs) > dkw(n_y, delta)).mean())
    return {"probability of leaving the band": Estimate(left, np.sqrt(max(left * (1 - left), 1 / runs) / runs))}


DKW_BAND = Theorem(
    id="dkw-band",
    kind="theorem",
    title="Class risks of all thresholds lie in one band of width n^(-1/2)",
    statement=(
        "Along a fixed direction, with probability 1 - delta, |R^_y(b) - R_y(b)| <= sqrt(log(2/delta)/(2 n_y)) for "
        "every threshold b at once (Dvoretzky-Kiefer-Wolfowitz with Massart's constant), attacked or not: an attack "
        "shifts the score by a constant."
    ),
    setting="the classical inequality, applied to class-wise robust risks",
    ours="The application; the exact probability is Kolmogorov's.",
    assumptions=(Assumption("0 < delta < 1 and n_y >= 10", lambda delta, n_y, **_: 0 < delta < 1 and n_y >= 10),),
    defaults={"n_y": 200, "delta": 0.1},
    analytic_values=_band,
    empirical_values=_band_twin,
    conclusion=lambda value: value["probability of leaving the band"] <= value["nominal delta"],
    twin="Monte Carlo",
    figure="sample_gap",
)


def _plug_in(risk, n_y):
    z = -float(ndtri(risk))
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return {
        "standard deviation of the plug-in": density * np.sqrt((1 + z * z / 2) / n_y),
        "standard deviation of the error rate": np.sqrt(risk * (1 - risk) / n_y),
    }


def _plug_in_twin(n, rng, risk, n_y):
    z = -float(ndtri(risk))
    batches = []
    for _ in range(50):
        x = z + rng.standard_normal((max(n // 200, 40), n_y))
        plug_in = ndtr(-x.mean(1) / x.std(1))
        batches.append((plug_in.std(ddof=1), (x <= 0).mean(1).std(ddof=1)))
    plug_in, rate = np.transpose(batches)
    return {
        "standard deviation of the plug-in": mean_of(plug_in),
        "standard deviation of the error rate": mean_of(rate),
    }


PLUG_IN = Theorem(
    id="plug-in-risk",
    kind="theorem",
    title="The fitted Gaussian estimates a small risk better than counting errors",
    statement=(
        "The plug-in Phi(-m/s) of a fixed linear classifier has asymptotic variance phi(z)^2 (1 + z^2/2)/n_y, z the "
        "margin in sds; counting errors has R(1-R)/n_y. The plug-in wins for Gaussian scores, the more the smaller "
        "the risk."
    ),
    setting="classical asymptotics (delta method)",
    ours="The application to class-wise robust risks. Asymptotic in n_y.",
    assumptions=(RISK,),
    defaults={"risk": 0.05, "n_y": 2000},
    analytic_values=_plug_in,
    empirical_values=_plug_in_twin,
    conclusion=lambda value: value["standard deviation of the plug-in"] < value["standard deviation of the error rate"],
    twin="Monte Carlo",
    figure="sample_gap",
)

THEOREMS = (DKW_BAND, PLUG_IN)
