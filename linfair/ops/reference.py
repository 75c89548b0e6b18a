"""The PGD step and its projections in pure torch: the specification of the op, and what runs where nothing is compiled.

Samples are rows: x, x0, g are [N, D], eps and step broadcast against them ([N, 1] or []), lo and hi too ([D], [] or
None). Letters: v is the point after the step, d = v - x0 what the ball constrains, z the result, s the signed step.
Every line runs in the dtype of x on its device and none waits for the device.

NaN: l_inf works on each element alone. l2 and l1 couple the elements of a sample, so that one NaN in x, x0 or g makes
its whole sample NaN, and so does an infinite g without a direction. Nothing turns a NaN into a number.

Sources: Madry et al. 2018 (PGD), Duchi et al. 2008 (l1 ball), Tramer & Boneh 2019 (sparse l1 step).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Bound = Tensor | None
Budget = Tensor | float


# --- steps: v = x + s dir(g) -----------------------------------------------------------------------------------------


def step_linf(x: Tensor, g: Tensor, s: Tensor) -> Tensor:
    """(1) v = x + s sign(g), the steepest ascent of the l_inf norm; sign(0) = 0, sign(NaN) = NaN."""
    return x + s * torch.where(g.isnan(), g, g.sign())


def step_l2(x: Tensor, g: Tensor, s: Tensor) -> Tensor:
    """(2) v = x + s g / ||g||_2, with 0/0 := 0; no norm is too small to be divided by."""
    u = _scaled(g)
    return x + s * (u / _or_one(_sum(u * u).sqrt()))


def step_l1(x: Tensor, g: Tensor, s: Tensor, top_q: int | None = None) -> Tensor:
    """The l1 step along the gradient, or along its largest entries.

    (3) v = x + s g / ||g||_1 without ``top_q``, with 0/0 := 0.
    (4) v_i = x_i + s sign(g_i) / k for the k entries with |g_i| >= t and g_i != 0, t the top_q-th largest |g|.
        Ties at t all move; every k gives a step of l1 size s. top_q = 1 is the steepest ascent of the l1 norm.
    """
    if top_q is None:
        u = _scaled(g)
        return x + s * (u / _or_one(_sum(u.abs())))
    a = g.abs()
    moved = (a >= a.topk(top_q, dim=1).values[:, -1:]) & (g != 0)
    v = x + torch.where(moved, s / _sum(moved) * g.sign(), 0)
    return _with_nan(v, g)


# --- projections: z from v -------------------------------------------------------------------------------------------


def project_linf(v: Tensor, x0: Tensor, eps: Tensor, lo: Bound, hi: Bound, exact: bool = True) -> Tensor:
    """(5) z = clip(min(max(v, x0 - eps), x0 + eps)): exact for x0 in the box, whatever ``exact`` says."""
    return _clip(torch.minimum(torch.maximum(v, x0 - eps), x0 + eps), lo, hi)


def project_l2(v: Tensor, x0: Tensor, eps: Tensor, lo: Bound, hi: Bound, exact: bool = True) -> Tensor:
    """The ball, then the box; or the nearest point of both.

    (6) not exact: z = clip(x0 + d min(1, eps / ||d||_2)); v itself, to the bit, inside the ball.
    (7) exact: z = clip(x0 + t d), t = 1 or the root in (0, 1) of  sum_i (z_i - x0_i)^2 = eps^2.

    In (7) |z_i - x0_i| = min(max(t a_i, q_i), p_i), with a = |d|, q = |clip(x0) - x0| (0 for x0 in the box) and
    p = |clip(v) - x0|. The sum is monotone in t and, between neighbours of the breakpoints q_i / a_i and p_i / a_i,
    one parabola. If the ball misses the box, z = clip(x0).
    """
    d = v - x0
    if not exact:
        length = _length(d, 2)
        return _clip(torch.where(length <= eps, v, x0 + d * (eps / length)), lo, hi)
    a, q, p = _reach(v, x0, lo, hi)
    unit = _or_one(eps)  # budgets are compared in units of eps: eps^2 may underflow
    whole = (eps > 0).to(d.dtype)

    def moved(t: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(t * a, q), p)

    def spent(z: Tensor) -> Tensor:
        return _sum((z / unit).square())

    turns = torch.cat([torch.zeros_like(a[:, :1]), q / _or_one(a), p / _or_one(a)], 1).sort(1).values
    left, right = _piece(turns, lambda t: spent(moved(t)) <= whole)
    here = moved((left + right) / 2)
    free = (q < here) & (here < p)
    rest = (whole - spent(torch.where(free, 0, here))).clamp(min=0)
    length = _length(torch.where(free, a, 0), 2)
    t = torch.where(length > 0, rest.sqrt() * (eps / length), left)
    t = torch.minimum(torch.maximum(t, left), right)
    return _with_nan(torch.where(_length(p, 2) <= eps, _clip(v, lo, hi), _clip(x0 + t * d, lo, hi)), d)


def project_l1(v: Tensor, x0: Tensor, eps: Tensor, lo: Bound, hi: Bound, exact: bool = True) -> Tensor:
    """The ball, then the box; or the nearest point of both.

    (8) not exact: z = clip(x0 + sign(d) max(|d| - tau, 0)), tau = 0 or the root of  sum_i max(|d_i| - tau, 0) = eps;
        v itself, to the bit, inside the ball.
    (9) exact: the same z, tau = 0 or the root of  sum_i |z_i - x0_i| = eps.

    (8) by sorting (Duchi et al. 2008). In (9) |z_i - x0_i| = min(max(a_i - tau, q_i), p_i), with a = |d| and q, p as
    in (7): the sum falls with tau and, between neighbours of the breakpoints a_i - p_i and a_i - q_i, is linear. If
    the ball misses the box, z = clip(x0).
    """
    d = v - x0
    if not exact:
        return _clip(torch.where(_length(d, 1) <= eps, v, x0 + d.sign() * _duchi(d.abs(), eps)), lo, hi)
    a, q, p = _reach(v, x0, lo, hi)

    def moved(tau: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(a - tau, q), p)

    turns = torch.cat([torch.zeros_like(a[:, :1]), a - p, a - q], 1).sort(1).values
    left, right = _piece(turns, lambda tau: _sum(moved(tau)) > eps)
    here = moved((left + right) / 2)
    free = (q < here) & (here < p)
    further = ((_sum(moved(left)) - eps) / _or_one(_sum(free))).clamp(min=0)  # of the size of eps, as tau is not
    further = torch.minimum(torch.where(free.any(1, keepdim=True), further, 0), right - left)
    z = _clip(x0 + d.sign() * ((a - left) - further).clamp(min=0), lo, hi)
    z = torch.where(_length(q, 1) >= eps, _clip(x0, lo, hi), z)
    return _with_nan(torch.where(_length(p, 1) <= eps, _clip(v, lo, hi), z), d)


def _duchi(a: Tensor, eps: Tensor) -> Tensor:
    """(8) max(a - tau, 0) for a >= 0 of sum > eps.

    b = a - max(a) and tau - max(a) lie in [-eps, 0] where it matters: rounding is that of eps, however large a.
    """
    b = a - a.amax(1, keepdim=True)
    turns = torch.cat([(-eps).expand(len(b), 1), torch.maximum(b, -eps)], 1).sort(1).values
    tau = _piece(turns, lambda level: _sum((b - level).clamp(min=0)) > eps)[0]
    for _ in range(2):  # Newton: exact on this piece, then what rounding of the long sum left over
        over = (b - tau).clamp(min=0)
        tau = tau + (_sum(over) - eps) / _or_one(_sum(over > 0))
    return (b - tau).clamp(min=0)


# --- shared ----------------------------------------------------------------------------------------------------------


def _sum(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True)


def _or_one(values: Tensor) -> Tensor:
    """A divisor: ``values``, and 1 for 0, so that 0/0 gives 0."""
    return torch.where(values == 0, 1, values)


def _scaled(g: Tensor) -> Tensor:
    """g / max|g|, whose squares neither underflow nor overflow; inf/inf = NaN says that there is no direction."""
    return g / _or_one(g.abs().amax(1, keepdim=True))


def _length(d: Tensor, p: int) -> Tensor:
    """||d||_p [N, 1] without underflow or overflow on the way."""
    largest = d.abs().amax(1, keepdim=True)
    u = d.abs() / _or_one(largest)
    length = largest * (_sum(u) if p == 1 else _sum(u * u).sqrt())
    return torch.where(largest.isinf(), largest, length)


def _clip(z: Tensor, lo: Bound, hi: Bound) -> Tensor:
    """min(max(z, lo), hi)."""
    z = z if lo is None else torch.maximum(z, lo)
    return z if hi is None else torch.minimum(z, hi)


def _reach(v: Tensor, x0: Tensor, lo: Bound, hi: Bound) -> tuple[Tensor, Tensor, Tensor]:
    """|d|, |clip(x0) - x0|, |clip(v) - x0|: how far each element wants to go, has to go, and may go."""
    return (v - x0).abs(), (_clip(x0, lo, hi) - x0).abs(), (_clip(v, lo, hi) - x0).abs()


def _with_nan(z: Tensor, source: Tensor) -> Tensor:
    """z, and NaN in every sample in which ``source`` has one."""
    return torch.where(source.isnan().any(1, keepdim=True), math.nan, z)


def _piece(turns: Tensor, before: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The neighbours in ``turns`` [N, K], sorted, between which ``before`` [N, 1] turns from true to false.

    A binary search with a fixed number of rounds; the ends of ``turns`` where it never turns.
    """
    low = torch.zeros(len(turns), 1, dtype=torch.long, device=turns.device)
    high, last = torch.full_like(low, turns.shape[1]), turns.shape[1] - 1
    for _ in range(turns.shape[1].bit_length()):
        middle = (low + high) // 2
        right = (low < high) & before(turns.gather(1, middle.clamp(max=last)))
        low, high = torch.where(right, middle + 1, low), torch.where(right, high, middle)
    return turns.gather(1, (low - 1).clamp(min=0)), turns.gather(1, low.clamp(max=last))


# --- the whole op ----------------------------------------------------------------------------------------------------

STEPS = {"linf": step_linf, "l2": step_l2, "l1": step_l1}
PROJECTIONS = {"linf": project_linf, "l2": project_l2, "l1": project_l1}


def pgd_step(
    x: Tensor,
    x0: Tensor,
    grad: Tensor | None,
    eps: Budget,
    step: Budget,
    norm: str = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    descend: bool = False,
    exact: bool = False,
    top_q: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """:func:`linfair.ops.pgd_step` for any shape, layout and device; arguments are not checked, negative eps is 0.

    ``grad=None`` takes no step. The result has the memory layout of x.
    """
    result = torch.empty_like(x) if out is None else out
    if x.numel() == 0:
        return result
    rows = (x.shape[0], math.prod(x.shape[1:]))

    def budget(value: Budget) -> Tensor:
        return like(value, x).reshape(-1, 1) if isinstance(value, Tensor) else like(value, x)

    def bound(value: Tensor | float | None) -> Bound:
        return None if value is None else like(value, x).reshape(rows[1:] if isinstance(value, Tensor) else ())

    v, centre, radius = x.reshape(rows), x0.reshape(rows), budget(eps)
    if grad is not None:
        s = -budget(step) if descend else budget(step)
        options = {} if top_q is None else {"top_q": top_q}
        v = STEPS[norm](v, grad.reshape(rows).to(x.dtype), s, **options)
    radius = torch.where(radius > 0, radius, 0)
    z = PROJECTIONS[norm](v, centre, radius, bound(lo), bound(hi), exact)
    return result.copy_(z.reshape(x.shape))


def project(
    y: Tensor,
    x0: Tensor,
    eps: Budget,
    norm: str = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    exact: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """:func:`linfair.ops.project` for any shape, layout and device; arguments are not checked, negative eps is 0."""
    return pgd_step(y, x0, None, eps, 0.0, norm, lo=lo, hi=hi, exact=exact, out=out)


def like(value: Budget, x: Tensor) -> Tensor:
    """``value`` in the dtype of x; a number beyond its range is infinite. Filled on the device: nothing waits."""
    if isinstance(value, Tensor):
        return value if value.dtype is x.dtype else value.to(x.dtype)
    number = value if abs(value) <= torch.finfo(x.dtype).max else math.copysign(math.inf, value)
    return torch.full((), number, dtype=x.dtype, device=x.device)
