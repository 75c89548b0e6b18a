"""Twelve-digit values computed outside this package, through the public API."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import known, trained
from linfair.gaussian import ClassGaussians
from linfair.mixing import BetaLambda, FixedLambda, NoMix, UniformMix
from linfair.norms import Threat
from linfair.solvers.closed_form import direction, minimax_risk, optimal_classifier, random_optimum, reduce, threshold
from linfair.solvers.equalisers import mix_easy, two_way_lambda
from linfair.solvers.solution import Status

CASES = json.loads((Path(__file__).parent / "reference_values.json").read_text())["cases"]


def solve(tau, K, r, mix=None, e=0.0):
    """Optimal classifier of a model whose robust margin is tau when attacked with e standard deviations."""
    model = ClassGaussians.two_class([tau + 2 * e], sd_minus=1.0, K=K, r=r)
    threat = Threat("l2", e)
    solution = optimal_classifier(model, threat, mix)
    assert solution.status is Status.OPTIMAL
    u, v = known(solution.classifier).margins(model, threat)
    rob = known(solution.classifier).class_risks(model, threat)
    nat = known(solution.classifier).class_risks(model)
    np.testing.assert_allclose(known(solution.risks).value, rob.value, rtol=1e-12)
    return {
        "u": u,
        "v": v,
        "R_minus": rob.value[0],
        "R_plus": rob.value[1],
        "R_rob_minus": rob.value[0],
        "R_rob_plus": rob.value[1],
        "D_rob": rob.disparity,
        "D_nat": nat.disparity,
        "D_exact": rob.disparity,
        "average": rob.average(model.priors),
    }


def sqrt_d_model(d, eta, sigma, K, eps):
    model, threat = ClassGaussians.xu(d, eta, sigma, K), Threat("linf", eps)
    nat, rob = trained(model), trained(model, threat)
    table = {
        "R_nat_fnat": nat.class_risks(model),
        "R_rob_frob": rob.class_risks(model, threat),
        "R_nat_frob": rob.class_risks(model),
        "R_rob_fnat": nat.class_risks(model, threat),
    }
    out = {
        f"{name}_{side}": risks.value[i] for name, risks in table.items() for i, side in enumerate(("minus", "plus"))
    }
    A, B = (reduce(model, t).tau / (K**2 - 1) for t in (Threat("linf", 0.0), threat))
    u, _ = threshold(A * (K**2 - 1), K)
    return out | {"A": A, "B": B, "q": ((u + A) / K) ** 2 - A**2}  # u = -A + K sqrt(A^2 + q)


def robust_direction(Delta, eps_plus, eps_minus, p):
    w, T = direction(np.array(Delta), Threat(p, [eps_minus, eps_plus]))
    return {"T": T} | {f"w{j + 1}": wj for j, wj in enumerate(w)}


def easy_only(tau, K, r, c_plus):
    assert c_plus == 1
    cure = mix_easy(tau, K, r)
    return {"c_minus": cure.value, "lam_minus": two_way_lambda(cure.value), "risk": cure.risk}


def beta(tau, K, r, beta_a):
    found = random_optimum(tau, K, r, BetaLambda(beta_a))
    out = solve(tau, K, r, BetaLambda(beta_a))
    assert (found.u, found.v) == pytest.approx((out["u"], out["v"]), abs=1e-12)
    return out | {"c_eff": found.c_eff}


def ten_way(tau, K, r, m):
    a = tau / (K + 1)
    leading = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi) * np.log(K / r) / (a * m)
    return solve(tau, K, r, UniformMix(m)) | {"D_leading": leading, "minimax_fair_risk": minimax_risk(tau, K)}


def class_wise(tau, K, r, c_plus, c_minus):
    assert (c_plus, c_minus) == (1, 0.5)
    return solve(tau, K, r, [UniformMix(2), NoMix()])


COMPUTE = {
    "RV01": sqrt_d_model,
    "RV02": robust_direction,
    "RV03": robust_direction,
    "RV04": solve,
    "RV05": solve,
    "RV06": lambda tau, K, r, lam, e: solve(tau, K, r, FixedLambda(lam), e),
    "RV07": class_wise,
    "RV08": easy_only,
    "RV09": beta,
    "RV10": ten_way,
}


def test_every_case_is_computed():
    assert sorted(COMPUTE) == [case["id"] for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_reference_value(case):
    got = COMPUTE[case["id"]](**case["inputs"])
    assert {name: float(got[name]) for name in case["outputs"]} == pytest.approx(case["outputs"], rel=0, abs=1e-9)
