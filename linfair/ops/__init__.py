"""The attack step of the package: PGD steps and projections with one budget a sample, fused in C++ and CUDA.

==========================  ===========================================================================================
:func:`pgd_step`            one step along the gradient and back into ball and box, in one pass over memory
:func:`project`             the projection alone
:func:`random_start`        a uniform point of the ball
:func:`pgd_step_classwise`  the step with one budget a class
:func:`backend`             which implementation runs, "native" or "reference"; :func:`use_backend` chooses
==========================  ===========================================================================================

The step and the projection are registered with torch (`torch.ops.linfair`): they trace, compile in one graph and
capture in CUDA graphs. Their specification is :mod:`linfair.ops.reference`, in pure torch with numbered equations; the
native backend equals it bit for bit in l_inf and to rounding in l2 and l1.

An attack of ten steps::

    x = random_start(x0, eps, generator=g)
    for _ in range(10):
        x.requires_grad_()
        grad = torch.autograd.grad(loss(model(x), y), x)[0]
        x = x.detach()
        pgd_step(x, x0, grad, eps, eps / 4, out=x)
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from linfair._native import BackendUnavailable
from linfair.norms import Norm
from linfair.ops import _args, _register, _tensors
from linfair.ops._backend import backend, use_backend
from linfair.ops._random import random_start

__all__ = [
    "BackendUnavailable",
    "backend",
    "pgd_step",
    "pgd_step_classwise",
    "project",
    "random_start",
    "use_backend",
]


def pgd_step(
    x: Tensor,
    x0: Tensor,
    grad: Tensor,
    eps: Tensor | float,
    step: Tensor | float,
    norm: str | float | Norm = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    descend: bool = False,
    exact: bool = False,
    top_q: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """One step of projected gradient descent on a batch: along the gradient, into the ball around x0, into the box.

    With g = grad, s = step (-step to descend), and norms, sums and maxima over one sample:

    ======  ===================================================  ====================================================
    norm    the step                                             into ball and box
    ======  ===================================================  ====================================================
    l_inf   v = x + s sign(g), sign(0) = 0                       min(max(v, x0 - eps), x0 + eps), then
                                                                 min(max(., lo), hi): exact
    l2      v = x + s g / ||g||_2, 0/0 := 0                      z = x0 + d min(1, eps / ||d||_2), d = v - x0
    l1      v = x + s g / ||g||_1, 0/0 := 0; with top_q = q the  z = x0 + sign(d) max(|d| - tau, 0), tau >= 0 with
            k entries of largest |g| move by s sign(g) / k each  sum_i |z_i - x0_i| = eps where ||d||_1 > eps
    ======  ===================================================  ====================================================

    l2 and l1, ``exact=False``: the Euclidean projection onto the ball, then the box clips it. That is feasible, but not
    the nearest feasible point. ``exact=True`` gives the nearest: the Euclidean projection of v onto ball and box,
    z = clip(x0 + t d) with sum_i (z_i - x0_i)^2 = eps^2 (l2), or z = clip(x0 + sign(d) max(|d| - tau, 0)) with
    sum_i |z_i - x0_i| = eps (l1), unless clip(v) lies in the ball already.

    No gradient is too small to have a direction: norms are those of g / max|g|. Everything is fused on the native
    backend: x, x0 and grad are read once (l2 and l1 keep a sample in cache or on chip), out is written once; nothing is
    allocated but the result (l1 on the CPU also keeps two numbers an element of a sample and thread for the next call),
    and on CUDA nothing waits for the host. No tensor is copied if samples are dense and laid out alike (contiguous,
    channels_last, every other sample, ...); any other strides are correct and cost a copy.

    Args:
        x: [N, ...], float32 or float64: the iterates.
        x0: like x: the centres of the balls, in the box. Where one is not, the result is in the box all the same.
        grad: like x, or bfloat16 beside a float32 x: the gradients of what is to rise.
        eps: radius >= 0 in the units of x, infinite for no ball: a number, or a tensor [] or [N] of any float type.
        step: length >= 0 of the step in the units of x: likewise, finite.
        norm: "linf", "l2" or "l1" (aliases as in :func:`linfair.norms.get_norm`).
        lo, hi: the box: a number, None (no bound), or a tensor of one sample's shape, ``x.shape[1:]``.
        descend: step against the gradient (a targeted attack).
        exact: see above; nothing to choose in l_inf.
        top_q: l1 only, 1 <= top_q <= D: move only the entries with |g| at least the top_q-th largest |g| and not zero,
            ties included. 1 is the steepest ascent of the l1 norm, ceil(D / 100) the step of Tramer & Boneh 2019.
        out: where to write: a tensor like x in any layout, x itself (in place) or grad itself. None allocates, in the
            memory layout of x. Any other overlap with what is read is refused; in a compiled graph, which knows no
            memory, that is ``out=x0`` only, and the graph reads before it writes.

    Returns:
        ``out``, or a new tensor.

    NaN is never hidden, for a NaN turned into 0 looks like robustness. l_inf: an element is NaN where x, x0 or grad is.
    l2, l1: a sample with a NaN in x, x0 or grad is NaN throughout, and so is one with an infinite gradient, which has
    no direction (top_q aside). Other samples do not notice. Unspecified are the sign of a zero, and in l2 and l1 a
    sample with an infinite x or x0, or with an x - x0 beyond the range of its type.

    The op has no derivative: what requires grad while gradients are recorded is refused, and so are the tensors that
    torch.func differentiates or maps and those with a tangent; ``detach()`` makes constants of them. Under
    torch.compile a number that changes from call to call, such as an eps on a schedule, costs one compilation more,
    not one a call.

    Raises:
        TypeError: no tensors, other types, top_q that is no int.
        ValueError: other shapes or devices; a tensor that is differentiated or mapped (above); an overlap with out; eps
            or step negative or NaN, lo > hi. Values are checked in Python numbers and CPU tensors; in CUDA tensors with
            the environment variable LINFAIR_CHECK=1, which waits for the device. Without it a negative eps counts as 0.
        BackendUnavailable: see :func:`use_backend`.

    Sources: Madry et al. 2018 (PGD); Duchi et al. 2008 (projection onto the l1 ball); Tramer & Boneh 2019 (top_q).
    """
    name = _args.norm_name(norm)
    if not (isinstance(x, Tensor) and isinstance(x0, Tensor) and isinstance(grad, Tensor)):
        _args.require_tensors(x=x, x0=x0, grad=grad)
    eps_each, eps_all = _args.budget("eps", eps, x)
    step_each, step_all = _args.budget("step", step, x, True)
    low, high, lo_value, hi_value = _args.box(lo, hi)
    if not (isinstance(exact, bool) and isinstance(descend, bool)):
        _args.require_flags(exact=exact, descend=descend)
    if top_q is not None:
        _args.require_count(top_q, name)
    ball = (eps_each, step_each, eps_all, step_all, name, lo_value, hi_value, low, high, exact, descend, top_q)
    if out is None:
        return _register.pgd_step(x, x0, grad, *ball)
    if not isinstance(out, Tensor):
        _args.require_tensors(out=out)
    _register.pgd_step_out(out, None if out is x else x, x0, grad, *ball)
    return out


def project(
    y: Tensor,
    x0: Tensor,
    eps: Tensor | float,
    norm: str | float | Norm = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    exact: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """The second half of :func:`pgd_step`: the nearest point to y of the ball around x0 met with the box.

    z = argmin ||z - y||_2 over ||z - x0|| <= eps, lo <= z <= hi. With ``exact=False``, the nearest point of the ball,
    clipped to the box: the same in l_inf, feasible but not the nearest feasible point in l2 and l1. A y that is
    feasible comes back bit for bit.

    Args:
        y: [N, ...], float32 or float64: the points to bring back.
        x0, eps, norm, lo, hi: as in :func:`pgd_step`.
        exact: the projection onto ball and box (the default here), or the ball, then the box (that of a step).
        out: as in :func:`pgd_step`; may be y.

    Returns:
        ``out``, or a new tensor in the memory layout of y.

    NaN, raises, sources: as :func:`pgd_step`.
    """
    name = _args.norm_name(norm)
    if not (isinstance(y, Tensor) and isinstance(x0, Tensor)):
        _args.require_tensors(y=y, x0=x0)
    eps_each, eps_all = _args.budget("eps", eps, y)
    low, high, lo_value, hi_value = _args.box(lo, hi)
    if not isinstance(exact, bool):
        _args.require_flags(exact=exact)
    ball = (eps_each, eps_all, name, lo_value, hi_value, low, high, exact)
    if out is None:
        return _register.project(y, x0, *ball)
    if not isinstance(out, Tensor):
        _args.require_tensors(out=out)
    _register.project_out(out, None if out is y else y, x0, *ball)
    return out


def pgd_step_classwise(
    x: Tensor,
    x0: Tensor,
    grad: Tensor,
    labels: Tensor,
    eps_per_class: Tensor | Sequence[float] | float,
    step_per_class: Tensor | Sequence[float] | float,
    norm: str | float | Norm = "linf",
    *,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    descend: bool = False,
    exact: bool = False,
    top_q: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """:func:`pgd_step` with the budgets of each sample's class, ``eps_per_class[labels]``, ``step_per_class[labels]``.

    The radius that a sample of class y can reach is eps_y, never another class's nor a uniform one.

    Args:
        labels: [N], any integer type, on the device of x: 0 <= label < C.
        eps_per_class, step_per_class: [C], in the units of x: tensors on the device of x, or sequences (copied to it at
            every call and built into a compiled graph: tensors spare both); or a number for all classes.
        x, x0, grad, norm, lo, hi, descend, exact, top_q, out: as in :func:`pgd_step`.

    Returns:
        ``out``, or a new tensor.

    Raises:
        TypeError, ValueError, BackendUnavailable: as :func:`pgd_step`; ValueError also for a label out of range. On
            CUDA without LINFAIR_CHECK=1, such a label trips torch's device assertion.
    """
    _args.require_tensors(x=x)
    _tensors.check_samples("x", x)
    _args.check_labels(labels, x)
    tables = {
        "eps_per_class": _args.class_budget("eps_per_class", eps_per_class, x),
        "step_per_class": _args.class_budget("step_per_class", step_per_class, x, finite=True),
    }
    eps, step = _args.of_class(tables, labels)
    return pgd_step(x, x0, grad, eps, step, norm, lo=lo, hi=hi, descend=descend, exact=exact, top_q=top_q, out=out)
