"""The arms that need torch and linfair only: the floor, plain expressions in eager torch, the same compiled, our op.

Every expression is the update of one norm with a budget and a step a sample, box [0, 1], written as the libraries and
papers of the field write it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _pgd_inputs import Inputs, length
from _timing import Arm, Term
from torch import Tensor

DIM = 3 * 32 * 32
TOP_Q = -(-DIM // 100)
"""The sparse l1 step of Tramer and Boneh 2019: the largest hundredth of the gradient."""
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x, x0, grad, eps [n, 1, 1, 1], step [n, 1, 1, 1]) -> the new x."""

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")


# --- the floor -------------------------------------------------------------------------------------------------------


def refill(s: Inputs) -> Tensor:
    return s.x.copy_(s.master)


def compile_floor(folder: Path) -> tuple[Any, str]:
    """(the loop of floor.cpp, its compile command); (None, why not) where there is no compiler."""
    source, library = Path(__file__).with_name("floor.cpp"), folder / "floor.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    try:
        subprocess.run([*compiler, *FLAGS, "-o", library, source], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return None, f"{' '.join(compiler)} failed ({type(error).__name__}): the floor is twice the time of copy_"
    loop = ctypes.CDLL(str(library)).read3_write1  # after torch, whose OpenMP runtime and threads it then shares
    loop.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64, ctypes.c_int]
    loop.restype = None
    return loop, " ".join([compiler[0].rsplit("/")[-1], *FLAGS])


def floor(loop: Any) -> Arm:
    """16 bytes an element: the loop of floor.cpp, or twice copy_ (8 bytes) on a device and without a compiler."""
    if loop is None:
        return Arm("floor", "floor: 2 x copy_", "floor", (Term(2.0, refill),))
    threads = torch.get_num_threads()

    def call(s: Inputs) -> None:
        loop(s.x.data_ptr(), s.x0.data_ptr(), s.grad.data_ptr(), s.x.numel(), threads)

    return Arm("floor", "floor: read 3, write 1", "floor", (Term(1.0, call),))


# --- eager torch -----------------------------------------------------------------------------------------------------


def direction(grad: Tensor, norm: str) -> Tensor:
    return grad.sign() if norm == "linf" else grad / length(grad, norm)


def linf_clamp(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> Tensor:
    """torchattacks, foolbox: the perturbation is clamped."""
    x = x + step * grad.sign()
    return torch.clamp(x0 + torch.clamp(x - x0, -eps, eps), 0, 1)


def linf_minmax(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> Tensor:
    """TRADES, DAFA: the iterate is clamped between two bounds."""
    x = x + step * grad.sign()
    return torch.clamp(torch.min(torch.max(x, x0 - eps), x0 + eps), 0, 1)


def rescale(norm: str) -> Update:
    """The perturbation is scaled back to the radius: the projection onto the l2 ball, none onto the l1 ball."""

    def update(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> Tensor:
        d = x + step * direction(grad, norm) - x0
        return torch.clamp(x0 + d * torch.clamp(eps / length(d, norm), max=1), 0, 1)

    return update


def soft(d: Tensor, tau: Tensor) -> Tensor:
    return d.sign() * (d.abs() - tau).clamp(min=0)


def l1_sort(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> Tensor:
    """Projection onto the l1 ball with a sort (Duchi et al. 2008)."""
    d = (x + step * direction(grad, "l1") - x0).flatten(1)
    radius = eps.flatten(1)
    u = d.abs().sort(dim=1, descending=True).values
    levels = (u.cumsum(1) - radius) / torch.arange(1, d.shape[1] + 1, device=d.device, dtype=d.dtype)
    last = (u > levels).sum(1, keepdim=True) - 1
    tau = torch.where(d.abs().sum(1, keepdim=True) > radius, levels.gather(1, last), 0.0)
    return torch.clamp(x0 + soft(d, tau).view_as(x), 0, 1)


def l1_newton(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> Tensor:
    """Projection onto the l1 ball by 12 Newton steps on sum max(|d| - tau, 0) = eps from tau = 0."""
    d = x + step * direction(grad, "l1") - x0
    a = d.abs()
    tau = torch.zeros_like(eps)
    for _ in range(12):
        above = a > tau
        left = torch.where(above, a - tau, 0.0).sum((1, 2, 3), keepdim=True)
        count = above.to(a.dtype).sum((1, 2, 3), keepdim=True)
        tau = tau + ((left - eps) / count.clamp(min=1)).clamp(min=0)
    return torch.clamp(x0 + soft(d, tau), 0, 1)


def linf_inplace(s: Inputs) -> Tensor:
    """Three passes and no new memory; the bounds are computed before the attack."""
    torch.sign(s.grad, out=s.scratch)
    s.x.addcmul_(s.scratch, s.step_)
    return torch.clamp(s.x, s.lo, s.hi, out=s.x)


def l2_inplace(s: Inputs) -> Tensor:
    s.x.addcmul_(s.grad, s.step_ / length(s.grad, "l2")).sub_(s.x0)
    factor = torch.clamp(s.eps_ / length(s.x, "l2"), max=1)
    return s.x.mul_(factor).add_(s.x0).clamp_(0, 1)


# --- arms ------------------------------------------------------------------------------------------------------------


def fresh(name: str, label: str, group: str, update: Update, note: str = "") -> Arm:
    """An arm whose result is new memory."""

    def call(s: Inputs) -> Tensor:
        return update(s.x, s.x0, s.grad, s.eps_, s.step_)

    return Arm(name, label, group, (Term(1.0, call),), once=call, means={}, reset=refill, note=note)


def inplace(
    name: str, label: str, group: str, call: Callable[[Inputs], object], norm: str,
    means: dict[str, Any] | None = None, note: str = "",
) -> Arm:  # fmt: skip
    """An arm that overwrites x. But for linf, whose time does not depend on the values, x is refilled before each
    call, or the call would work on its own result; the refill is timed by itself and removed."""

    def refilled(s: Inputs) -> None:
        s.x.copy_(s.master)
        call(s)

    def once(s: Inputs) -> Tensor:
        call(s)
        return s.x

    kept, removed = Term(1.0, refilled), Term(-1.0, refill, removed=True)
    terms = (Term(1.0, call),) if norm == "linf" else (kept, removed)
    return Arm(name, label, group, terms, once=once, means=means or {}, reset=refill, note=note)


def eager(norm: str) -> Iterator[Arm]:
    if norm == "linf":
        yield fresh("eager-clamp", "eager, clamped perturbation", "eager torch", linf_clamp)
        yield fresh("eager-minmax", "eager, min and max", "eager torch", linf_minmax)
        yield inplace("eager-inplace", "eager, in place, bounds kept", "eager torch", linf_inplace, norm)
    if norm == "l2":
        yield fresh("eager", "eager", "eager torch", rescale(norm))
        yield inplace("eager-inplace", "eager, in place", "eager torch", l2_inplace, norm)
    if norm == "l1":
        note = "rescales: not a projection"
        yield fresh("eager-rescale", "eager, radial rescale*", "eager torch", rescale(norm), note)
        yield fresh("eager-sort", "eager, sort", "eager torch", l1_sort)


def compiled(norm: str) -> Iterator[Arm]:
    """torch.compile in its default mode, one graph a shape; "in place" ends in x.copy_(...) inside the graph."""
    best = {"linf": linf_minmax, "l2": rescale("l2"), "l1": l1_newton}[norm]
    label = "torch.compile, Newton" if norm == "l1" else "torch.compile"
    if norm == "l1":
        yield fresh("compile-sort", "torch.compile, sort", "torch.compile", torch.compile(l1_sort, dynamic=False))
    yield fresh("compile", label, "torch.compile", torch.compile(best, dynamic=False))

    def write(x: Tensor, x0: Tensor, grad: Tensor, eps: Tensor, step: Tensor) -> None:
        x.copy_(best(x, x0, grad, eps, step))

    graph = torch.compile(write, dynamic=False)

    def call(s: Inputs) -> None:
        graph(s.x, s.x0, s.grad, s.eps_, s.step_)

    yield inplace("compile-inplace", f"{label}, in place", "torch.compile", call, norm)


OURS: dict[str, tuple[tuple[str, str, dict[str, Any]], ...]] = {
    "linf": (("ours", "linfair", {}),),
    "l2": (("ours", "linfair, ball then clip", {}), ("ours-exact", "linfair, exact", {"exact": True})),
    "l1": (
        ("ours", "linfair, ball then clip", {}),
        ("ours-exact", "linfair, exact", {"exact": True}),
        ("ours-topq", f"linfair, top {TOP_Q} of {DIM}", {"top_q": TOP_Q}),
    ),
}
"""(name, label, keywords) of our arms, norm by norm."""


def ours(norm: str) -> Iterator[Arm]:
    from linfair import ops

    for name, label, keywords in OURS[norm]:

        def call(s: Inputs, keywords: dict[str, Any] = keywords) -> Tensor:
            return ops.pgd_step(s.x, s.x0, s.grad, s.eps, s.step, norm, out=s.x, **keywords)

        yield inplace(name, f"{label}, in place" if norm == "linf" else label, "linfair", call, norm, keywords)
    if norm == "linf":

        def new(s: Inputs) -> Tensor:
            return ops.pgd_step(s.x, s.x0, s.grad, s.eps, s.step, norm)

        terms = (Term(1.0, new),)
        yield Arm("ours-new", "linfair, new output", "linfair", terms, once=new, means={}, reset=refill)


def kernels(norm: str) -> Iterator[Arm]:
    """The native module called with pointers: what is left of our time without Python's and torch's own."""
    from linfair import _native

    module, code = _native.load(), {"linf": 0, "l2": 1, "l1": 2}[norm]

    def pointers(s: Inputs) -> tuple[int, ...]:
        return tuple(i for t in (s.x, s.x0, s.grad, s.x) for i in (t.data_ptr(), DIM))

    for name, label, keywords in OURS[norm]:

        def call(s: Inputs, keywords: dict[str, Any] = keywords) -> None:
            cuda = s.x.is_cuda
            where = (s.x.get_device(), torch.cuda.current_stream().cuda_stream if cuda else torch.get_num_threads())
            budgets = (s.eps.data_ptr(), 1, 0.0, s.step.data_ptr(), 1, 0.0)
            how = (0, 0, 0.0, 1.0, False, keywords.get("exact", False), keywords.get("top_q", 0))
            module.pgd_step(*where, code, 0, 0, len(s.x), DIM, *pointers(s), *budgets, *how)

        yield inplace(f"{name}-kernel", f"{label}, kernel alone", "kernel alone", call, norm, keywords)
