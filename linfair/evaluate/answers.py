"""What a model answers, checked, on a device that is there: its mistakes become one line with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from linfair.attacks import no_memory, usable_device
from linfair.evaluate.images import Images
from linfair.evaluate.plugged import EvaluationError, reason


def clean_flags(
    model: Callable[[Tensor], Tensor], images: Images, batch_size: int, device: torch.device, progress: bool
) -> tuple[np.ndarray, str]:
    """Whether the model is right on each image [n], and what all its answers look like.

    "probabilities" are nonnegative and sum to 1, "shares" lie in [0, 1], as behind a sigmoid; else "logits".

    Raises:
        EvaluationError: a model that fails on a batch, logits that are no [batch, C] of floats, NaN among them.
    """
    flags, unit, sums = np.zeros(len(images.labels), bool), True, True
    bar = tqdm(total=len(flags), desc="clean", unit="image", disable=None if progress else True)
    for begin in range(0, len(flags), batch_size):
        part = slice(begin, begin + batch_size)
        logits = answer(model, as_batch(images.pixels[part], device), images.n_classes)
        if bool(bad := logits.isnan().any(1).nonzero()[:, 0].tolist()):
            where = images.index[begin + bad[0]]
            raise EvaluationError(
                f"logits must be numbers, got NaN for {len(bad)} images, the first {where}; have the weights diverged?"
            )
        unit = unit and bool((logits >= 0).all() and (logits <= 1).all())
        sums = sums and bool(((logits.float().sum(1) - 1).abs() < 1e-3).all())
        flags[part] = logits.argmax(1).cpu().numpy() == images.labels[part]
        bar.update(len(logits))
    bar.close()
    return flags, "probabilities" if unit and sums else "shares" if unit else "logits"


def answer(model: Callable[[Tensor], Tensor], x: Tensor, n_classes: int) -> Tensor:
    """The logits [n, C] of a batch, checked."""
    try:
        with torch.no_grad():
            logits = model(x)
    except Exception as error:  # the user's model can raise anything
        if no_memory(error):
            raise
        shape = ", ".join(map(str, x.shape[1:]))
        elsewhere = "same device" in str(error) and not isinstance(model, nn.Module)
        remedy = "pass the --device that its weights are on" if elsewhere else "is it a model for these data?"
        raise EvaluationError(
            f"model must take images [n, {shape}] on {x.device.type}, got {reason(error)}; {remedy}"
        ) from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise EvaluationError(f"model must return a tensor of float logits, got {got}; return it alone")
    if logits.shape != (len(x), n_classes):
        raise EvaluationError(
            f"logits must have shape ({len(x)}, {n_classes}), one a class, got {tuple(logits.shape)}; "
            "is the model for these classes?"
        )
    return logits


def as_batch(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Pixels as float32 in [0, 1] on a device; a copy, for a model may write into it."""
    batch = torch.tensor(pixels, device=device)
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()


# --- devices and memory ----------------------------------------------------------------------------------------------


@contextmanager
def on_device(model: Any, device: str | torch.device | None) -> Iterator[torch.device]:
    """A module in evaluation mode on a device; afterwards back where it was, as it was. A function stays alone."""
    if not isinstance(model, nn.Module):
        yield usable_device(device or "cpu")
        return
    first = next(model.parameters(), None)
    home = torch.device("cpu") if first is None else first.device
    place = home if device is None else usable_device(device)
    modes = [(module, module.training) for module in model.modules()]
    try:
        if place != home:
            model.to(place)
        model.eval()
        yield place
    finally:
        for module, training in modes:
            module.training = training
        if place != home:
            model.to(home)


@contextmanager
def explained(batch_size: int) -> Iterator[None]:
    """What goes wrong in an attack, in one line: no memory left, with the batch size to try; no gradient."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not no_memory(error):
            if not any(word in str(error) for word in ("grad", "differentiated", "derivative")):
                raise
            raise EvaluationError(
                f"the gradient must reach the images, got {reason(error)}; "
                "keep no_grad, detach, numpy and changes of the images in place out of it"
            ) from error
        if str(error).startswith("batch_size"):  # robust_flags knows the batch that did not fit
            raise EvaluationError(str(error)) from error
        raise EvaluationError(
            f"batch_size must fit into memory, got {batch_size} and {reason(error)}; try {max(1, batch_size // 2)}"
        ) from error
