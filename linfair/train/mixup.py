"""Same-class mixing of a batch: every image becomes a convex combination of images of its own class; labels stay.

Partners are neighbours in a random cyclic order of the class's images in the batch: the j-th partner of an image is a
uniform draw among the others, an image never meets itself or one partner twice while the class has enough images, and
with too few the cycle wraps (a single image pairs with itself). So the sum of squared weights is the law's own: a fixed
lambda has ``c = lam^2 + (1 - lam)^2``, Beta(a, a) has ``E c = (a + 1) / (2a + 1)``, the mean of m has ``c = 1/m``.
Where it wraps, c is larger: of 100 classes in a batch of 256 about 8 % of the images stay alone; enlarge such a batch.

Nothing here waits for a GPU, and nothing loops over classes. Sources: Zhong & Tandon 2024 (two-way); m-way is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mix_pairs(
    x: Tensor,
    y: Tensor,
    lam: Tensor | float,
    *,
    classes: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``x~_i = lam_i x_i + (1 - lam_i) x_j`` with y_j = y_i; values of [0, 1] stay there.

    Args:
        x: [N, ...] floats; y: [N] labels.
        lam: in [0, 1], a number or [N]. The number 1 returns x itself and draws nothing.
        classes: [C], > 0 where a class takes part; None: all. The images of the others come back bit for bit.
        generator: on the device of x.
    """
    if isinstance(lam, Tensor):
        lam = lam.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    elif lam == 1.0:
        return x
    partner = partners(y, 1, generator)[0]
    return _only(classes, y, x, lam * x + (1.0 - lam) * x[partner])


def mix_mean(
    x: Tensor, y: Tensor, m: int, *, classes: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """``x~_i = (x_i + x_j1 + ... + x_j(m-1)) / m``, all of one class: the m-way mix of the theory, equal weights 1/m.

    m = 1 returns x itself and draws nothing. Other arguments as in :func:`mix_pairs`.
    """
    if m == 1:
        return x
    total = x
    for partner in partners(y, m - 1, generator):
        total = total + x[partner]
    return _only(classes, y, x, total / m)


def partners(y: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices [k, N]: row j holds a partner of the same class for every sample, ``y[partners(y, k)[j]] == y``.

    One random permutation, stably sorted by label, puts every class in a random order; partner j is j places further
    in the cycle of the class.
    """
    place = torch.arange(len(y), device=y.device)
    shuffled = torch.randperm(len(y), generator=generator, device=y.device)
    order = shuffled[y[shuffled].argsort(stable=True)]
    labels = y[order]
    first = torch.searchsorted(labels, labels)
    count = torch.searchsorted(labels, labels, right=True) - first
    shift = torch.arange(1, k + 1, device=y.device)[:, None]
    partner = order[first + (place - first + shift) % count]
    return torch.empty_like(partner).scatter_(1, order.expand(k, -1), partner)


def beta(a: float, n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """n draws of Beta(a, a) as float32 [n], a > 0, from two uniform numbers each, without rejection.

    ``lam = (1 + t / sqrt(1 + t^2)) / 2`` with ``t^2 = (U^(-1/a) - 1) cos^2(2 pi V)``, the sign of t that of the cosine:
    sqrt(2a) t is Student's t with 2a degrees of freedom (Bailey 1994), and lam is then Beta(a, a) (Devroye 1996).
    """
    u, v = torch.rand(2, n, generator=generator, device=device, dtype=torch.float64)
    w, cosine = u ** (1.0 / a), torch.cos(2.0 * math.pi * v)
    rest = (1.0 - w) * cosine**2  # t^2 = rest / w, kept apart: U^(-1/a) overflows for a small a
    return ((1.0 + cosine * ((1.0 - w) / (w + rest)).sqrt()) / 2.0).clamp(0.0, 1.0).float()


def _only(classes: Tensor | None, y: Tensor, x: Tensor, mixed: Tensor) -> Tensor:
    if classes is None:
        return mixed
    return torch.where((classes > 0)[y].reshape(-1, *[1] * (x.dim() - 1)), mixed, x)
