"""Thousands of hard samples against the reference: what goes wrong in one projection of a thousand."""

import numpy as np
import pytest
import torch

from ops_cases import (
    REFERENCE,
    case,
    each_dtype,
    each_native,
    each_oracle,
    each_projection,
    each_run,
    error,
    flat,
    nearest,
    size,
    unit,
    wide,
)

FAMILIES = {
    "uniform": lambda rng, s: (rng.random(s), rng.standard_normal(s)),
    "on the box": lambda rng, s: (rng.choice([0, 0.01, 0.5, 0.99, 1], s), rng.standard_normal(s) / 2),
    "ties": lambda rng, s: (rng.integers(0, 9, s) / 8, rng.integers(-16, 17, s) / 8),
    "heavy tails": lambda rng, s: (rng.random(s), rng.standard_normal(s) ** 5),
    "eight decades": lambda rng, s: (
        rng.random(s) * (rng.random(s) < 0.5),
        rng.standard_normal(s) * 10.0 ** rng.uniform(-7, 1, s),
    ),
    "outside the box": lambda rng, s: (2 * rng.random(s) - 0.5, rng.standard_normal(s)),
}


each_family = pytest.mark.parametrize("family", list(FAMILIES))


def hard(family: str, norm: str, n: int, dim: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """y, x0, eps: radii from just below what the box leaves of y - x0 to a thousandth of that."""
    rng = np.random.default_rng(dim)
    centre, d = FAMILIES[family](rng, (n, dim))
    reach = np.linalg.norm(np.clip(centre + d, 0, 1) - centre, 2 if norm == "l2" else 1, axis=1)
    eps = reach.clip(1e-6) * rng.choice([0.999, 0.99, 0.9, 0.7, 0.5, 0.2, 0.05, 1e-3], n)
    return [torch.from_numpy(a).to(dtype) for a in (centre + d, centre, eps)]


def agree(ours: torch.Tensor, theirs: torch.Tensor, y: torch.Tensor) -> None:
    """A wrong piece of the dual is off by 1e-2; where the box spends nearly all of eps, conditioning costs 1e3."""
    difference = np.abs(flat(ours) - flat(theirs)).max(1) / np.abs(flat(y)).max(1).clip(1)
    assert difference.max() <= 1e4 * unit(y)


def feasible(z: torch.Tensor, y: torch.Tensor, x0: torch.Tensor, eps: torch.Tensor, norm: str, exact: bool) -> None:
    """In the box, and in the ball up to a few roundings of z, x0 and eps; the box is nearest where the ball misses it,
    and wins where a ball around a centre outside it is clipped. In l1 the threshold of a double is one number, of the
    size of y - x0: its rounding counts too."""
    assert ((z >= 0) & (z <= 1)).all()
    got, centre = flat(z), flat(x0)
    allowed = np.maximum(flat(eps)[:, 0], size(norm, centre.clip(0, 1) - centre))
    rounding = unit(z) * (size(norm, np.abs(got) + np.abs(centre)) + allowed)
    if norm == "l1" and z.dtype is torch.float64:
        rounding += unit(z) * size(norm, flat(y) - centre)
    judged = slice(None) if exact else (x0 == x0.clamp(0, 1)).all(1).numpy()
    assert (size(norm, got - centre) <= allowed + 4 * rounding)[judged].all()


@each_native
@each_dtype
@each_projection
@each_family
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_hard_projections(run, norm, dtype, exact, family):
    for dim, n in ((2, 2000), (4, 3000), (17, 2000), (200, 100)):
        y, x0, eps = hard(family, norm, n, dim, dtype)
        z = run.project(y, x0, eps, norm, exact=exact)
        agree(z, REFERENCE.project(y, x0, eps, norm, exact=exact), y)
        feasible(z, y, x0, eps, norm, exact)


@each_native
@each_oracle
@each_projection
def test_many_small_samples(run, norm, exact):
    """More samples than threads, blocks and buffers are made for, and what happens to one sample in 20000."""
    for n, dim in ((5000, 1), (20001, 2), (40000, 5), (40000, 6), (20000, 8)):
        c = case(norm, n, dim, exact=exact, seed=dim)
        assert error(c.step_on(run), flat(c.step_on(REFERENCE)), np.ones(n)) <= (0 if norm == "linf" else 8)


@each_run
@each_dtype
def test_a_kink_of_the_box_does_not_stop_the_search(run, dtype):
    """With a box the threshold of l1 solves an equation neither convex nor concave: Newton alone may end beside it."""
    y = [0.07251124829053879, 1.0064902305603027, -0.21498684585094452, 0.9930096864700317, 1.2494572401046753]
    x0 = [0.05327455699443817, 0.9994639754295349, 0.47336751222610474, 0.623024046421051, 0.8432636857032776]
    y, x0 = torch.tensor([y], dtype=dtype), torch.tensor([x0], dtype=dtype)
    z = run.project(y, x0, 0.49539047479629517, "l1")
    want = torch.tensor([[0.05327456, 0.99946398, 0.10806084, 0.66996197, 0.92640956]], dtype=dtype)
    torch.testing.assert_close(z, want, rtol=0, atol=1e-7)


@each_run
@each_dtype
@pytest.mark.parametrize("eps", [0.4999985, 0.5000015, 0.500003])
def test_a_budget_at_the_end_of_a_flat_piece(run, dtype, eps):
    """Between thresholds 1 and 9.5 the box alone decides, and sum |z - x0| stays 0.5: no slope leads out of there."""
    y, x0, hi = torch.tensor([[10.0, 1.0]], dtype=dtype), torch.zeros(1, 2, dtype=dtype), torch.tensor([0.5, 0.2])
    z = run.project(y, x0, eps, "l1", lo=-1.0, hi=hi.to(dtype))
    want = nearest("l1", wide(y[0], dtype), wide(x0[0], dtype), wide(eps, dtype), -1.0, wide(hi, dtype), True)
    np.testing.assert_allclose(flat(z)[0], want, rtol=0, atol=8 * unit(dtype) * eps)


@each_run
@each_dtype
def test_the_last_free_coordinate_of_many_far_ones(run, dtype):
    """Three coordinates end on the box, the fourth spends what is left: 3 + .998^2 = 1.999^2. Squares overflow."""
    y = torch.tensor([[1.0, 1.0, 1.0, 0.1]], dtype=dtype) * 1e25
    z = run.project(y, torch.zeros_like(y), 1.999, "l2")
    want = np.ones(4, flat(z).dtype)
    want[3] = np.sqrt(wide(1.999, dtype) ** 2 - 3)
    np.testing.assert_allclose(flat(z)[0], want, rtol=0, atol=16 * unit(dtype))
