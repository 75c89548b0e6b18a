"""What the convex programs share: a dual norm with its multiplier, and a solve that cannot raise or warn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from linfair.norms import Threat
from linfair.solvers._smooth import into_ball

CLARABEL = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}


def bound_dual_norm(threat: Threat, w: Any, attacked: bool = True) -> tuple[Any, Any, list[Any]]:
    """A variable at least ``||w||_*``, the equation whose multiplier holds zeta, and all constraints."""
    import cvxpy as cp

    if not attacked:
        return 0.0, None, []
    size = cp.Variable()
    u = cp.Variable(w.shape[0] if threat.lift is None else len(threat.lift))
    link = u == (w if threat.lift is None else threat.lift @ w)
    return size, link, [link, cp.norm(u, threat.ball.q) <= size]  # pyright: ignore[reportArgumentType]


def zeta_of(threat: Threat, link: Any, price: float) -> np.ndarray | None:
    """zeta from the multiplier of ``u = P w`` in a minimisation, which is ``-price zeta``."""
    if link is None or link.dual_value is None or not price > 0.0:
        return None
    return into_ball(threat, -np.asarray(link.dual_value) / price)


def solved(problem: Any, solver: str) -> bool:
    """Solve without warnings; False when the solver gave nothing to work with."""
    import cvxpy as cp

    if solver not in cp.installed_solvers():
        raise ValueError(
            f"solver must be one of {', '.join(cp.installed_solvers())}, got {solver!r}; install it or pick another"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver=solver, **(CLARABEL if solver == "CLARABEL" else {}))
        except (cp.SolverError, ArithmeticError, ValueError):
            return False
    return problem.status in {"optimal", "optimal_inaccurate", "user_limit"}


def root_of(cov: np.ndarray) -> np.ndarray:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
