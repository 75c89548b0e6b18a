"""Networks for small images, the copy of them that attacks run on, and their weights on disk.

====================  ================================================================================================
:func:`build`         a network by name, with its normalisation inside: images in [0, 1] -> logits
:data:`MODELS`        the names
:func:`attack_copy`   the frozen copy for attacks: batch norm folded away, bfloat16 if asked, refreshed every step
:func:`save_weights`  the weights as a file; :func:`load_weights` puts them back
====================  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from linfair._check import as_array, as_count, as_positive
from linfair.models.blocks import Net, Normalise
from linfair.models.fold import AttackCopy, attack_copy
from linfair.models.nets import Features, linear, preact_resnet18, resnet18, small_cnn, wrn28_10, wrn34_10
from linfair.models.weights import load_weights, read_weights, save_weights

__all__ = ["MODELS", "AttackCopy", "Net", "attack_copy", "build", "load_weights", "read_weights", "save_weights"]

MODELS: dict[str, Callable[..., Features]] = {
    "linear": linear,
    "small_cnn": small_cnn,
    "resnet18": resnet18,
    "preact_resnet18": preact_resnet18,
    "wrn28_10": wrn28_10,
    "wrn34_10": wrn34_10,
}
"""Name -> function (image shape, width) -> features of :class:`Net` and their number."""


def build(
    name: str,
    n_classes: int,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    width: int | None = None,
) -> Net:
    """A network of :data:`MODELS`: float images [N, C, H, W] in [0, 1] -> logits [N, n_classes].

    Args:
        image_shape: (C, H, W), at least 8 x 8 pixels except for "linear".
        mean, std: one number a channel: the network begins with (x - mean) / std, as part of its weights. None: 0, 1.
        width: channels of the first stage; None means those of the paper. "linear" has none.

    Weights are drawn from torch's global generator: He-normal convolutions, the head as torch draws it.

    Raises:
        ValueError: an unknown name, a shape or width that cannot be, mean or std of another length, std <= 0.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {name!r}; or pass a module of your own")
    if len(image_shape) != 3 or min(image_shape) < 1 or (name != "linear" and min(image_shape[1:]) < 8):
        raise ValueError(f"image_shape must be (C, H, W) with H, W >= 8, got {image_shape}; resize the images")
    if width is not None and name == "linear":
        raise ValueError(f"width must be None for the linear model, got {width}; it has no hidden channels")
    sizes = {} if width is None else {"width": as_count("width", width)}
    features, n = MODELS[name](image_shape, **sizes)
    head = nn.Linear(n, as_count("n_classes", n_classes, least=2))
    return Net(_normalise(image_shape[0], mean, std), features, head)


def _normalise(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> nn.Module:
    if mean is None and std is None:
        return nn.Identity()
    centre = as_array("mean", [0.0] * channels if mean is None else mean, shape=(channels,))
    scale = as_positive("std", as_array("std", [1.0] * channels if std is None else std, shape=(channels,)))
    return Normalise(centre, scale)
