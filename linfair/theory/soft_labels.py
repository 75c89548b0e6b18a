"""Class-wise label smoothing, the linear analogue of soft-label distillation with class-wise temperatures (ABSLD)."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from linfair._numeric import find_root
from linfair.theory.theorem import Assumption, Theorem
from linfair.theory.twins import disparity_at, mean_of

_X = np.linspace(-9.0, 9.0, 8001)  # trapezoids resolve a sigmoid as steep as rho K = 100
_P = np.exp(-_X * _X / 2.0)
_P /= _P.sum()


def _margin_u(tau, K, rho, r, lam_minus, lam_plus, samples=None):
    """The robust margin u of class "-" at the stationary threshold of the smoothed logistic loss, weights fixed at rho.

    ``r (lam_+ - E s_+) = lam_- - E s_-`` with s = sigmoid(-margin); margins ``rho (u + x)`` and ``rho (tau - u + K
    x)``.
    """
    minus, plus = samples if samples is not None else (_X, _X)

    def mean(s):
        return s.mean() if samples is not None else _P @ s

    def balance(u):
        s_minus, s_plus = expit(-rho * (u + minus)), expit(-rho * (tau - u + K * plus))
        return (lam_minus - mean(s_minus)) - r * (lam_plus - mean(s_plus))

    far = 50.0 * max(1.0, 1.0 / rho)
    while not balance(-far) < 0.0 < balance(far + tau):  # it rises from below 0 to above: far priors, K, tau < 0
        far *= 2.0
    return find_root(balance, -far, far + tau)


def _shift(tau, K, rho, r, lam):
    u = {
        name: _margin_u(tau, K, rho, r, *lams)
        for name, lams in (("none", (0, 0)), ("easy", (lam, 0)), ("hard", (0, lam)))
    }
    path = np.linspace(0, lam, 20)
    steps = [_margin_u(tau, K, rho, r, 0, x) for x in path[:0:-1]] + [_margin_u(tau, K, rho, r, x, 0) for x in path]
    return {
        "disparity, easy class smoothed": disparity_at(u["easy"], tau, K),
        "disparity, no smoothing": disparity_at(u["none"], tau, K),
        "disparity, hard class smoothed": disparity_at(u["hard"], tau, K),
        "largest step of u from the hard to the easy class smoothed": np.diff(steps).max(),
    }


def _shift_twin(n, rng, tau, K, rho, r, lam):
    found = {"easy": [], "none": [], "hard": []}
    for _ in range(32):
        samples = rng.standard_normal((2, max(n // 4, 50)))
        for name, lams in (("easy", (lam, 0)), ("none", (0, 0)), ("hard", (0, lam))):
            found[name].append(disparity_at(_margin_u(tau, K, rho, r, *lams, samples=samples), tau, K))
    names = {"easy": "easy class smoothed", "none": "no smoothing", "hard": "hard class smoothed"}
    return {f"disparity, {names[k]}": mean_of(v) for k, v in found.items()}


SOFT_LABELS = Theorem(
    id="soft-label-shift",
    kind="theorem",
    title="Smoothing the easy class more moves the boundary in favour of the hard class",
    statement=(
        "Logistic loss with target 1 - lam_y for the own class and fixed weights: the threshold solves pi_+ (lam_+ - "
        "E s_+) = pi_- (lam_- - E s_-), s = sigmoid(-margin). For any data law b rises with lam_- and falls with "
        "lam_+: smoothing a class costs that class and helps the other."
    ),
    setting="Zhao et al. 2024 (ABSLD) steer class-wise temperatures of soft labels",
    ours="The exact linear analogue.",
    assumptions=(
        Assumption("K > 1, 0 < rho <= 100 / K, r > 0", lambda K, rho, r, **_: K > 1 and 0 < rho <= 100 / K and r > 0),
        Assumption("0 < lam < 1/2", lambda lam, **_: 0 < lam < 0.5),
    ),
    defaults={"tau": 6.0, "K": 2.0, "rho": 1.5, "r": 1.0, "lam": 0.05},
    analytic_values=_shift,
    empirical_values=_shift_twin,
    conclusion=lambda value: (
        value["disparity, easy class smoothed"]
        <= value["disparity, no smoothing"]
        <= value["disparity, hard class smoothed"]
        and value["largest step of u from the hard to the easy class smoothed"] < 0  # disparities saturate at -1 and 1
    ),
    twin="trained",
    figure="claims",
)

THEOREMS = (SOFT_LABELS,)
