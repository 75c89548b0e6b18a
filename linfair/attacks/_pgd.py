"""Projected gradient descent on a model, one budget a sample, through the fused step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from linfair import ops
from linfair.attacks._budgets import PerClass, per_sample
from linfair.attacks._losses import Loss, get_loss, margin, sample_targets
from linfair.attacks._modes import lent
from linfair.norms import Norm

Model = Callable[[Tensor], Tensor]
STARTS = ("uniform", "gaussian", "none")
NOISE = 0.001
"""Standard deviation of the Gaussian start (Zhang et al. 2019)."""


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | str | Tensor | PerClass,
    step: float | str | Tensor | PerClass,
    steps: int,
    norm: str | float | Norm = "linf",
    loss: str | Loss = "ce",
    reference: Tensor | None = None,
    targets: Tensor | None = None,
    target_prior: Tensor | None = None,
    start: str | Tensor = "uniform",
    restarts: int = 1,
    active_set: bool = False,
    confirm: Model | None = None,
    lo: Tensor | float | None = 0.0,
    hi: Tensor | float | None = 1.0,
    exact: bool = False,
    top_q: int | None = None,
    generator: torch.Generator | None = None,
    autocast: torch.dtype | None = None,
    mode: str = "eval",
    return_survived: bool = False,
) -> Any:
    """Adversarial images by projected gradient descent (Madry et al. 2018).

    x_{k+1} = P(x_k + step_i d_k), k = 0..steps-1, where d_k is the direction of the gradient of the sample's loss
    (:func:`linfair.ops.pgd_step`) and P the projection onto its ball of radius eps_i around x_i and onto [lo, hi].
    Losses are summed over the batch, so that a sample's path does not depend on the others.

    Args:
        model: images [N, ...] -> logits [N, C]. A module is attacked in ``mode``; all modes, buffers, ``.grad`` and
            ``requires_grad`` are afterwards what they were, also after an error.
        x: [N, ...], float32 or float64, in [lo, hi].
        y: [N], true classes, int64.
        eps, step: radius and step length in the units of x: a number, text as "8/255", a tensor [N] or [], or
            :class:`PerClass`.
        steps: number of gradients per restart.
        norm, lo, hi, exact, top_q: as in :func:`linfair.ops.pgd_step`; ``top_q`` counts entries that the box lets move.
        loss: what to raise: "ce", "margin" (max_{j != y} f_j - f_y), "kl" (KL(reference || softmax f)), or a callable
            (logits, labels) -> [N].
        reference: [N, C], probabilities for "kl".
        targets: [N], classes: lower ``loss`` at these instead of raising it at y.
        target_prior: [C, C] or [C]: draw the targets by :func:`sample_targets`, anew in each restart.
        start: "uniform" (:func:`linfair.ops.random_start`), "gaussian" (x + 0.001 N(0, 1)), "none" (x), or a tensor
            like x; the last three are projected.
        restarts: number of runs; of their ends, a sample keeps that of the largest max_{j != y} f_j - f_y.
        active_set: a sample stops at its first misclassified iterate and costs nothing more, in later restarts too.
            For evaluations: it waits for the device at each step.
        confirm: with active_set, the model that decides what is misclassified, where ``model`` is a cheaper copy.
            It is asked about an iterate that ``model`` gets wrong, and about the last one.
        generator: on the device of x, for starts and targets; None is torch's own.
        autocast: dtype for the forward passes of ``model`` under torch.autocast; None for none.
        mode: "eval", or "train" for batch statistics in the forward passes; the running ones are put back.
        return_survived: also count, for each sample, the iterates x_0..x_{steps-1} that are classified correctly.

    Returns:
        Images like x without gradient; with ``return_survived`` (images, counts [N] int64).

    Without ``active_set`` nothing waits for the device. An iterate with a NaN logit counts as misclassified; a NaN
    gradient makes a NaN image, which the caller can see.

    Raises:
        TypeError, ValueError: an argument of another kind, shape or range; options that exclude each other.
        RuntimeError: logits that do not depend on the images.
    """
    _check(x, y, steps, restarts, start)
    _check_beside(x, y=y, targets=targets, reference=reference)
    targeted = targets is not None or target_prior is not None
    if targets is not None and target_prior is not None:
        raise ValueError("targets and target_prior exclude each other, got both; pass one")
    if targeted and isinstance(loss, str) and loss == "kl":
        raise ValueError("loss must not be 'kl' beside targets, got both; use 'ce' or 'margin'")
    if return_survived and (active_set or restarts > 1):
        raise ValueError("return_survived needs restarts=1 and active_set=False, got others; count in a run of its own")
    if confirm is not None and not active_set:
        raise ValueError("confirm needs active_set=True, got False; judge the result by the other model instead")
    get_loss(loss, reference)
    x0, y = x.detach(), y.detach()
    radius, length = per_sample("eps", eps, y, x0), per_sample("step", step, y, x0)
    ball = {"norm": norm, "lo": lo, "hi": hi}
    options = {**ball, "exact": exact, "top_q": top_q, "descend": targeted}
    job = _Job(model, x0, y, radius, length, loss, reference, autocast, options)

    def begin() -> tuple[Tensor, Tensor]:
        """Where a restart begins, and the labels of its loss."""
        aims = y if targets is None else targets
        if target_prior is not None:
            aims = sample_targets(y, target_prior, generator)
        if isinstance(start, str) and start == "uniform":
            return ops.random_start(x0, radius, **ball, generator=generator), aims
        begun = start.detach().to(x0) if isinstance(start, Tensor) else x0
        if isinstance(start, str) and start == "gaussian":
            begun = x0 + NOISE * torch.empty_like(x0).normal_(generator=generator)
        return ops.project(begun, x0, radius, **ball, exact=exact), aims

    with lent(model, mode), lent(confirm):
        if active_set:
            return _until_broken(job, begin, steps, restarts, confirm)
        if restarts > 1:
            return _best_of(job, begin, steps, restarts)
        end, survived = _straight(job, *begin(), steps, return_survived)
    return (end, survived) if return_survived else end


def misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """argmax_j f_j != y, or a NaN among the logits, [N] bool."""
    return (logits.argmax(1) != y) | logits.isnan().any(1)


@dataclass(frozen=True)
class _Job:
    """What stays the same during an attack. ``rows``: the places in the batch of the images at hand, None for all."""

    model: Model
    x0: Tensor
    y: Tensor
    eps: float | Tensor
    step: float | Tensor
    loss: str | Loss
    reference: Tensor | None
    autocast: torch.dtype | None
    options: dict[str, Any]

    def logits(self, images: Tensor) -> Tensor:
        kind = images.device.type
        with nullcontext() if self.autocast is None else torch.autocast(kind, self.autocast):
            logits = self.model(images)
        return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()

    def losses(self, logits: Tensor, aims: Tensor, rows: Tensor | None = None) -> Tensor:
        reference = None if self.reference is None else _pick(self.reference, rows)
        return get_loss(self.loss, reference)(logits, aims)

    def gradient(self, images: Tensor, aims: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(logits, gradient of the summed losses)."""
        with torch.enable_grad():
            images.requires_grad_()
            logits = self.logits(images)
            (grad,) = torch.autograd.grad(self.losses(logits, aims, rows).sum(), images)
        images.requires_grad_(False)
        return logits.detach(), grad

    def move(self, images: Tensor, grad: Tensor, rows: Tensor | None = None) -> None:
        """One step, in place."""
        if self.options["top_q"] is not None:
            grad = self._inward(images, grad)
        eps, step, x0 = (_pick(t, rows) for t in (self.eps, self.step, self.x0))
        ops.pgd_step(images, x0, grad, eps, step, out=images, **self.options)

    def _inward(self, images: Tensor, grad: Tensor) -> Tensor:
        """Zero where the box stops the step, or the few entries of largest gradient would be spent on its walls."""
        rise = -grad if self.options["descend"] else grad
        lo, hi = self.options["lo"], self.options["hi"]
        if lo is not None:
            grad = grad.masked_fill((images <= lo) & (rise < 0), 0)
        if hi is not None:
            grad = grad.masked_fill((images >= hi) & (rise > 0), 0)
        return grad


Begin = Callable[[], tuple[Tensor, Tensor]]


def _straight(job: _Job, images: Tensor, aims: Tensor, steps: int, count: bool = False) -> tuple[Tensor, Tensor]:
    """(last iterates, in place; how many of those before were classified correctly)."""
    survived = torch.zeros_like(job.y, dtype=torch.int64)
    for _ in range(steps):
        logits, grad = job.gradient(images, aims)
        if count:
            survived += ~misclassified(logits, job.y)
        job.move(images, grad)
    return images, survived


def _best_of(job: _Job, begin: Begin, steps: int, restarts: int) -> Tensor:
    """The ends of largest margin."""
    best, score = job.x0, torch.full_like(job.y, -torch.inf, dtype=job.x0.dtype)
    for _ in range(restarts):
        images, _ = _straight(job, *begin(), steps)
        with torch.no_grad():
            new = _score(job.logits(images), job.y).to(score.dtype)
        better = new >= score
        best = torch.where(better.reshape(-1, *[1] * (images.dim() - 1)), images, best)
        score = torch.where(better, new, score)
    return best


def _until_broken(job: _Job, begin: Begin, steps: int, restarts: int, confirm: Model | None) -> Tensor:
    """Every sample up to its first misclassified iterate; the others as in `_best_of`."""
    y, judge = job.y, confirm or job.logits
    result, score = job.x0.clone(), torch.full_like(y, -torch.inf, dtype=job.x0.dtype)
    rows = torch.arange(len(y), device=y.device)
    for _ in range(restarts):
        starts, aims = begin()  # for all samples, so that the draws do not depend on who is left
        images = starts[rows]
        for _ in range(steps):
            if not len(rows):
                return result
            logits, grad = job.gradient(images, aims[rows], rows)
            wrong = misclassified(logits, y[rows])
            if confirm is not None and (asked := wrong.nonzero().squeeze(1)).numel():
                with torch.no_grad():
                    wrong[asked] = misclassified(confirm(images[asked]), y[rows[asked]])
            result[rows[wrong]] = images[wrong]
            images, grad, rows = images[~wrong], grad[~wrong], rows[~wrong]
            job.move(images, grad, rows)
        if not len(rows):  # a model need not know what to say of no image
            return result
        with torch.no_grad():
            logits = judge(images)
        new = _score(logits, y[rows]).to(score.dtype)
        better = new >= score[rows]
        result[rows[better]], score[rows[better]] = images[better], new[better]
        rows = rows[~misclassified(logits, y[rows])]
    return result


def _score(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} f_j - f_y, infinite where it is NaN."""
    return margin(logits, y).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _pick(value: Any, rows: Tensor | None) -> Any:
    """The rows of what has one a sample."""
    return value if rows is None or not isinstance(value, Tensor) or not value.dim() else value[rows]


def _check_beside(x: Tensor, **given: Tensor | None) -> None:
    """What goes with the images row by row: torch would take one row for all of them."""
    for name, value in given.items():
        if value is None:
            continue
        kind = torch.float32 if name == "reference" else torch.int64
        if not isinstance(value, Tensor) or value.is_floating_point() != kind.is_floating_point:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a tensor like {kind}, got {got}; convert it")
        if value.shape[:1] != x.shape[:1] or value.dim() != 1 + kind.is_floating_point:
            want = "(N, C)" if kind.is_floating_point else "(N,)"
            raise ValueError(f"{name} must have shape {want}, N = {len(x)}, got {tuple(value.shape)}; one row a sample")
        if value.device != x.device:
            raise ValueError(f"{name} must be where x is, {x.device}, got {value.device}; move it with .to(x.device)")


def _check(x: Tensor, y: Tensor, steps: int, restarts: int, start: str | Tensor) -> None:
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a float32 or float64 tensor, got {got}; pass images as x.float() / 255")
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"y must be an int64 tensor, got {got}; pass y.long()")
    if y.shape != x.shape[:1]:
        raise ValueError(f"y must have shape (N,) = {tuple(x.shape[:1])}, got {tuple(y.shape)}; one label a sample")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps must be a whole number >= 0, got {steps!r}; pass the number of gradients")
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
        raise ValueError(f"restarts must be a whole number >= 1, got {restarts!r}; pass 1 for one run")
    if isinstance(start, str) and start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)} or a tensor, got {start!r}; pick one of them")
    if isinstance(start, Tensor) and start.shape != x.shape:
        raise ValueError(f"start must have the shape of x, {tuple(x.shape)}, got {tuple(start.shape)}; one a sample")
