"""What an attack raises, one number a sample, and the classes that a targeted one steers to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [N, C], labels [N]) -> loss [N]"""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(f)_y, [N]."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} f_j - f_y, [N]; positive where the sample is broken (Carlini & Wagner 2017)."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, y[:, None]).squeeze(1)


def divergence(reference: Tensor) -> Loss:
    """KL(reference || softmax(f)) summed over the classes, [N] (Zhang et al. 2019).

    Its gradient vanishes where softmax(f) is the reference, as at the clean image: start elsewhere.
    """
    fixed = reference.detach()
    return lambda logits, y: F.kl_div(F.log_softmax(logits, 1), fixed.to(logits), reduction="none").sum(1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin}


def get_loss(loss: str | Loss, reference: Tensor | None) -> Loss:
    """The loss by name: "ce", "margin", or "kl", which alone takes the reference; a callable is its own."""
    if (reference is not None) != (loss == "kl"):
        raise ValueError(
            f"reference goes with loss='kl' and only with it, got loss={loss!r} "
            f"{'without' if reference is None else 'with'} one; pass probabilities [N, C] for KL, else None"
        )
    if reference is not None:
        return divergence(reference)
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join([*LOSSES, 'kl'])} or a callable, got {loss!r}; pick one")
        return LOSSES[loss]
    return loss


def sample_targets(y: Tensor, prior: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A target class for every sample, drawn from the prior of its class, never the class itself.

    P(t = j | y) = prior_yj / sum_{k != y} prior_yk for j != y, drawn as argmax_j prior_yj / E_j, E_j exponential.

    Args:
        y: [N], labels 0..C-1.
        prior: [C, C], row y for the samples of class y, or [C] for all: >= 0; rows need not sum to 1.
        generator: on the device of y; None is torch's own.

    Returns:
        [N], int64, on the device of y. Nothing waits for the device.

    Raises:
        ValueError: another shape; on the CPU also a negative or NaN entry, or a class whose wrong classes all have 0.
    """
    prior = prior.detach().to(y.device, torch.float32)
    classes = prior.shape[-1] if prior.dim() else 0
    if classes < 2 or prior.shape not in ((classes,), (classes, classes)):
        raise ValueError(
            f"target_prior must have shape (C, C) or (C,), C >= 2, got {tuple(prior.shape)}; one row a class"
        )
    table = prior.expand(classes, classes).clone().fill_diagonal_(0)
    if table.is_cpu and not ((table >= 0).all() and (table.sum(1) > 0).all()):
        raise ValueError("target_prior must be >= 0 with a wrong class above 0 in each row, got others; check the rows")
    race = torch.empty(len(y), classes, device=y.device).exponential_(generator=generator)
    scores = table[y] / race.clamp_(min=torch.finfo(torch.float32).tiny)
    return scores.scatter_(1, y[:, None], -1.0).argmax(1)
