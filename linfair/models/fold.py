"""The copy of a model that attacks run on: frozen, in evaluation mode, batch norm folded away, in any precision.

In evaluation mode a batch norm is y = s x + b by channel, s = gamma / sqrt(var + eps) and b = beta - s mean. Behind a
convolution W it is the convolution s W with bias b; elsewhere it stays, as one multiply-add.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from linfair.models.blocks import ConvNorm, Net

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def attack_copy(model: nn.Module, *, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> AttackCopy:
    """A copy of ``model`` to attack; equal to ``model.eval()`` up to the rounding of ``dtype``.

    A network of this package has its batch norm folded and its weights stored in ``dtype``; its head (and the linear
    model) stays float32. Any other module is copied as it is, put in evaluation mode and, unless ``dtype`` is float32,
    run under autocast.

    Args:
        dtype: float32, bfloat16 or float16.
        channels_last: keep weights and activations in that memory format: the faster one for convolutions.

    Raises:
        TypeError: model is no module.
        ValueError: another dtype.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; attack the callable itself")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}; pass torch.bfloat16")
    return (_Folded if type(model) is Net else AttackCopy)(model, dtype, channels_last)


class AttackCopy:
    """Images [N, C, H, W] of any float type -> float32 logits [N, n_classes], differentiable in the images.

    A plain callable: it has no training mode, its parameters never require grad, and it follows its model only when
    :meth:`refresh` is called. An autocast around the call does not reach into it. ``net`` is the module inside.

    With ``channels_last`` the gradient arrives in channels_last too: images kept in that format spare an attack a copy
    of each, and images in the copy's own type spare the casts.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, channels_last: bool):
        self.dtype = dtype
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = copy.deepcopy(model).requires_grad_(False).eval()
        for p in self.net.parameters():
            p.grad = None
        self._model = model
        self._prepare()
        self.refresh()

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.net(x.contiguous(memory_format=self.format) if x.ndim == 4 else x).float()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the model's current weights and statistics, into the memory the copy already has.

        Nothing waits for the device. A network of this package costs one small kernel a convolution and about ten more.
        """
        _copy_tensors(self._model, self.net)

    def _prepare(self) -> None:
        self.net.to(memory_format=self.format)  # pyright: ignore[reportCallIssue]


class _Folded(AttackCopy):
    """The copy of a :class:`Net`. All shifts are views of one flat tensor, so one kernel writes them."""

    _model: Net
    net: Net

    def __call__(self, x: Tensor) -> Tensor:
        net = self.net
        with torch.autocast(x.device.type, enabled=False):
            x = net.normalise(x)
            if self._norms:  # the linear model has nothing to gain from the cast
                x = x.to(self.dtype, memory_format=self.format)
            return net.head(net.features(x).float())

    @torch.no_grad()
    def refresh(self) -> None:
        for theirs, mine in self._same:
            _copy_tensors(theirs, mine)
        if not self._norms:
            return
        weights, biases, means, variances = (
            torch.cat([getattr(norm, name) for norm in self._norms])
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weights * torch.rsqrt(variances.add_(self._eps))
        self._shift.copy_(biases.sub_(means.mul_(scale)))
        for (conv, mine), s in zip(self._scaled, scale.split(self._sizes), strict=True):
            if conv is None:
                mine.copy_(s)
            else:
                torch.mul(conv.weight, s.view(-1, 1, 1, 1), out=mine)

    def _prepare(self) -> None:
        self._norms: list[nn.BatchNorm2d] = []
        self._scaled: list[tuple[nn.Conv2d | None, Tensor]] = []
        self._same: list[tuple[nn.Module, nn.Module]] = [
            (self._model.normalise, self.net.normalise),
            (self._model.head, self.net.head),
        ]
        targets = self._fold(self._model.features, self.net.features)
        self._sizes = [norm.num_features for norm in self._norms]
        if self._norms:
            self._eps = torch.cat([torch.full_like(n.running_var, n.eps) for n in self._norms])  # pyright: ignore[reportArgumentType]
            self._shift = torch.empty_like(self._eps, dtype=self.dtype)
            for target, part in zip(targets, self._shift.split(self._sizes), strict=True):
                target.bias = nn.Parameter(part, requires_grad=False)

    def _fold(self, source: nn.Module, mine: nn.Module) -> list[nn.Module]:
        """Replace every batch norm below ``mine``; the modules that take over, in the order of ``_norms``."""
        targets: list[nn.Module] = []
        for name, child in source.named_children():
            twin = getattr(mine, name)
            if isinstance(child, ConvNorm | nn.BatchNorm2d):
                conv, norm = (child.conv, child.norm) if isinstance(child, ConvNorm) else (None, child)
                target = self._cast(_Affine(norm) if conv is None else twin.conv)
                setattr(mine, name, target)
                targets.append(target)
                self._norms.append(norm)
                self._scaled.append((conv, target.weight))
            elif isinstance(child, nn.Conv2d):
                self._same.append((child, self._cast(twin)))
            else:
                targets += self._fold(child, twin)
        return targets

    def _cast(self, module: nn.Conv2d | _Affine) -> nn.Conv2d | _Affine:
        """The module with memory for a weight of the copy's type and format."""
        layout = self.format if module.weight.ndim == 4 else torch.contiguous_format
        weight = torch.empty_like(module.weight, dtype=self.dtype, memory_format=layout)
        module.weight = nn.Parameter(weight, requires_grad=False)
        return module


class _Affine(nn.Module):
    """weight x + bias by channel, for x [N, C, H, W]; ``bias`` [C] is given later."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__()
        self.weight = nn.Parameter(torch.empty_like(norm.weight), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias.view(-1, 1, 1), x, self.weight.view(-1, 1, 1))


def _copy_tensors(theirs: nn.Module, mine: nn.Module) -> None:
    sources, targets = ([*m.parameters(), *m.buffers()] for m in (theirs, mine))
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
