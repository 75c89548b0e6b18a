"""Attacks on a binary classifier that push every score in its own direction, through the fused step.

An attack on group fairness, as one on accuracy, only decides for each sample whether its score is to rise or to fall
(:mod:`linfair.groups.metrics`); :func:`push` does the rest.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from linfair import ops
from linfair._check import as_count, as_labels
from linfair.attacks import lent, parse_budget
from linfair.groups.metrics import Reach, check_objective
from linfair.norms import Norm

Model = Callable[[Tensor], Tensor]


def push(
    model: Model,
    x: Tensor,
    direction: ArrayLike | Tensor,
    *,
    eps: float | str | Tensor,
    step: float | str | Tensor | None = None,
    steps: int = 20,
    restarts: int = 1,
    norm: str | float | Norm = "linf",
    lo: ArrayLike | Tensor | None = None,
    hi: ArrayLike | Tensor | None = None,
    columns: ArrayLike | Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Samples whose scores are as high (direction +1) or as low (-1) as projected gradient ascent brings them.

    x_{k+1} = P(x_k + step_i d_k), d_k along the gradient of direction_i s(x_k) and P the exact projection onto the ball
    of radius eps_i around x_i and the box [lo, hi] (:func:`linfair.ops.pgd_step`). Each sample keeps the iterate of the
    largest direction_i s, over all steps and restarts and the sample itself. A score ranks samples as its probability
    does, and in l_inf has gradients of the same signs: this is PGD on the probabilities, without their saturation.

    One step of 2 eps is exact for a linear score in l_inf: x + eps sign(direction w), clipped to the box.

    Args:
        model: [n, d] -> scores [n] or [n, 1], or two logits [n, 2], whose score is the second minus the first. A module
            is attacked in evaluation mode; modes, ``.grad`` and ``requires_grad`` are afterwards what they were.
        x: [n, d], float32 or float64, in the box.
        direction: [n], +1 or -1.
        eps, step: radius and step length in the units of x: a number, text as "1/5", or one a sample [n]; step None is
            eps / 4.
        steps, restarts: gradients a restart, and number of restarts: the first begins at x, the others at
            uniform points of the ball.
        norm: "linf", "l2" or "l1".
        lo, hi: the box: None, a number, or one a column [d].
        columns: [d] bool, the columns that may move; None is all. The others stay what they are.
        generator: for the starts, on the device of x; None is torch's own.

    Returns:
        The attacked samples [n, d] and their scores [n], without gradient. A NaN score stays one.

    Raises:
        TypeError, ValueError: an argument of another kind, shape or range; on the CPU also an x outside the box and
            an empty box.
        RuntimeError: scores that do not depend on x.
    """
    x0 = _samples(x)
    way = _directions(direction, x0)
    steps, restarts = as_count("steps", steps, least=0), as_count("restarts", restarts)
    if eps is None:
        raise TypeError('eps must be a number, text as "1/5" or one a sample, got None; pass 0 for no attack')
    radius = _budget("eps", eps, x0)
    length = radius / 4 if step is None else _budget("step", step, x0)
    box = {"lo": _like("lo", lo, x0, x0.shape[1:]), "hi": _like("hi", hi, x0, x0.shape[1:])}
    moving = _columns(columns, x0)
    if x0.is_cpu:
        _check_box(x0, **box)
    best = top = x0.new_zeros(0)
    with lent(model), torch.enable_grad():
        for restart in range(restarts):
            z = _begin(x0, radius, norm, box, moving, generator) if restart else x0.clone()
            for left in range(steps, -1, -1):
                score, grad = _ascent(model, z, way if left else None)
                gain = way * score
                if not len(top):
                    best, top = x0, gain
                else:
                    better = (gain > top) | gain.isnan()
                    best, top = torch.where(better[:, None], z, best), torch.where(better, gain, top)
                if grad is not None:
                    grad = grad if moving is None else grad * moving
                    ops.pgd_step(z, x0, grad, radius, length, norm, **box, exact=True, out=z)
    return best, way * top


def reach(
    model: Model,
    x: ArrayLike | Tensor,
    *,
    eps: float | ArrayLike | Tensor,
    batch_size: int = 2048,
    **attack: Any,
) -> Reach:
    """The scores of all samples, as they are and pushed down and up by :func:`push`.

    Args:
        model: as in :func:`push`; x goes to the dtype and the device of its parameters, where it has any.
        x: [n, d], an array or a tensor.
        eps: radius as in :func:`push`, one a sample also as an array; 0 is no attack.
        batch_size: samples at a time. With one restart it changes nothing but time, memory and rounding; with more also
            the random starts, for a batch draws those of both directions before the next one draws.
        attack: further arguments of :func:`push`.
    """
    known = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    x = _samples(as_tensor(x) if known is None else as_tensor(x, known))
    size = as_count("batch_size", batch_size)
    budgets = {"eps": eps, "step": attack.pop("step", None)}
    found: list[list[Tensor]] = []
    for begin in range(0, max(len(x), 1), size):
        rows = slice(begin, begin + size)
        part, each = x[rows], {name: _rows(name, value, x, rows) for name, value in budgets.items()}
        with lent(model), torch.no_grad():
            clean = _scores(model, part)
        ends = [push(model, part, way.expand(len(part)), **each, **attack)[1] for way in x.new_tensor([-1.0, 1.0])]
        found.append([clean, torch.minimum(ends[0], clean), torch.maximum(ends[1], clean)])
    columns = [torch.cat(parts).double().cpu().numpy() for parts in zip(*found, strict=True)]
    return Reach(*columns)


def fairness_attack(
    model: Model, x: Tensor, y: ArrayLike | Tensor, a: ArrayLike | Tensor, *, objective: str = "DI", **attack: Any
) -> tuple[Tensor, Tensor]:
    """PGD on the relaxed DI or EOd of a batch: the gap that the clean samples show is widened (Chai & Wang 2023).

    The favoured group is pushed up and the other down; for "EOd" each label has the sign of its own gap. The sign stays
    that of the clean point, and counts are constants, so that samples are pushed one by one.

    Args:
        model, x: as in :func:`push`.
        y, a: [n], labels and groups, 0 or 1. Where a group is missing the gap counts as 0, and a gap of 0 as positive.
            Values of CUDA tensors are not checked, which would wait for the device: others than 0 and 1 give a result
            without meaning, or trip torch's device assertion.
        objective: "DI" or "EOd".
        attack: further arguments of :func:`push`.

    Returns:
        As :func:`push`.

    Raises:
        TypeError, ValueError: y or a of another length or, unless on CUDA, with others than 0 and 1; also as
            :func:`push`.
    """
    x = _samples(x)
    labels, groups = _labels("y", y, x), _labels("a", a, x)
    with lent(model), torch.no_grad():
        sign = torch.where(soft_gaps(_scores(model, x).sigmoid(), labels, groups, objective) >= 0, 1, -1)
    return push(model, x, (sign[labels] if objective == "EOd" else sign) * (2 * groups - 1), **attack)


def soft_gaps(values: Tensor, y: Tensor, a: Tensor, objective: str) -> Tensor:
    """Signed gaps of probabilities [n], differentiable: [1] for "DI", [2] by label for "EOd"; 0 without both groups."""
    strata = torch.stack([y == 0, y == 1], 1) if check_objective(objective) == "EOd" else torch.ones_like(y)[:, None]
    cells = torch.stack([strata * (a == group)[:, None] for group in (0, 1)]).to(values)
    counts = cells.sum(1)
    low, high = (values @ cells) / counts.clamp(min=1)
    return torch.where(counts.amin(0) > 0, high - low, 0)


def _scores(model: Model, x: Tensor) -> Tensor:
    """s(x) [n] from the outputs of any binary classifier."""
    out = model(x)
    n = len(x)
    if not isinstance(out, Tensor):
        raise TypeError(f"model must return a tensor of scores, got {type(out).__name__}; stay in torch")
    if out.shape == (n, 2):
        return out[:, 1] - out[:, 0]
    if out.shape not in ((n,), (n, 1)):
        raise ValueError(f"model must give scores ({n},), ({n}, 1) or ({n}, 2), got {tuple(out.shape)}; check its head")
    return out.reshape(n)


def _ascent(model: Model, z: Tensor, way: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scores of z and the gradient of way * scores; None for no gradient."""
    if way is None:
        with torch.no_grad():
            return _scores(model, z), None
    z.requires_grad_()
    score = _scores(model, z)
    if not score.requires_grad:
        raise RuntimeError("scores must depend on x, got some without gradient; leave out no_grad and detach")
    (grad,) = torch.autograd.grad(score, z, way)
    z.requires_grad_(False)
    return score.detach(), grad


def _begin(
    x0: Tensor, eps: Any, norm: Any, box: dict[str, Any], moving: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """A uniform point of the ball of the columns that move."""
    if moving is None:
        return ops.random_start(x0, eps, norm, **box, generator=generator)
    inside = {name: v[moving] if isinstance(v, Tensor) and v.dim() else v for name, v in box.items()}
    z = x0.clone()
    z[:, moving] = ops.random_start(x0[:, moving], eps, norm, **inside, generator=generator)
    return z


# --- arguments -------------------------------------------------------------------------------------------------------


def as_tensor(value: ArrayLike | Tensor, like: Tensor | None = None) -> Tensor:
    """A tensor of the dtype and on the device of ``like``; arrays are copied, for torch warns of read-only ones."""
    tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    return tensor if like is None else tensor.to(like.device, like.dtype)


def _samples(x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a float32 or float64 tensor, got {got}; pass torch.as_tensor(x).float()")
    if x.dim() != 2:
        raise ValueError(f"x must have shape (n, d), got {tuple(x.shape)}; one row a sample")
    return x.detach()


def _like(name: str, value: Any, x: Tensor, shape: tuple[int, ...]) -> Any:
    """A number or None as it is, anything else as a tensor like x of the given shape."""
    if value is None or isinstance(value, numbers.Real):
        return value
    tensor = as_tensor(value, x)
    if tensor.shape not in ((), shape):
        raise ValueError(f"{name} must be a number or have shape {tuple(shape)}, got {tuple(tensor.shape)}; check it")
    return tensor


def _budget(name: str, value: Any, x: Tensor) -> Any:
    """A radius or a step: None, a number, or a tensor [] or [n] like x."""
    return parse_budget(value, name) if isinstance(value, str) else _like(name, value, x, x.shape[:1])


def _rows(name: str, value: Any, x: Tensor, rows: slice) -> Any:
    """The budgets of some of the samples."""
    value = _budget(name, value, x)
    return value[rows] if isinstance(value, Tensor) and value.dim() else value


def _directions(direction: Any, x: Tensor) -> Tensor:
    way = as_tensor(direction, x)
    if way.shape != x.shape[:1]:
        raise ValueError(f"direction must have shape ({len(x)},), got {tuple(way.shape)}; pass +1 or -1 a sample")
    if way.is_cpu and not (way.abs() == 1).all():
        raise ValueError("direction must hold +1 and -1 only, got other numbers; pass the sign")
    return way


def _columns(columns: Any, x: Tensor) -> Tensor | None:
    if columns is None:
        return None
    mask = as_tensor(columns).to(x.device)
    if mask.dtype != torch.bool or mask.shape != x.shape[1:]:
        got = f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"columns must be bool of shape ({x.shape[1]},), got {got}; True for what may move")
    return mask


def _labels(name: str, value: Any, x: Tensor) -> Tensor:
    """Labels or groups [n], int64 on the device of x."""
    if not isinstance(value, Tensor) or value.is_cpu:
        return torch.from_numpy(as_labels(name, value, len(x), 2)).to(x.device)
    if value.shape != x.shape[:1]:
        raise ValueError(f"{name} must have shape ({len(x)},), got {tuple(value.shape)}; pass one a sample")
    return value.to(x.device, torch.int64)


def _check_box(x: Tensor, lo: Any, hi: Any) -> None:
    """Refuses an empty box and samples outside it."""
    low, high = as_tensor(-torch.inf if lo is None else lo, x), as_tensor(torch.inf if hi is None else hi, x)
    empty = (low > high).expand(x.shape[1:])
    if empty.any():
        raise ValueError(f"the box must not be empty, got lo > hi in column {int(empty.nonzero()[0])}; swap them?")
    if ((x < low) | (x > high)).any():
        raise ValueError("x must lie in the box [lo, hi], got samples outside; take the box from these samples too")
