"""Seeded corruptions of our own at three severities. They are not CIFAR-10-C, and results must not be called so."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from math import ceil, sqrt

import numpy as np

SEVERITIES = (1, 2, 3)
LABEL = "own corruptions, not CIFAR-10-C"


def noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """x + s N(0, 1), s = 0.04, 0.08, 0.12."""
    return image + (0.04, 0.08, 0.12)[severity - 1] * rng.standard_normal(image.shape, np.float32)


def blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur of standard deviation 0.5, 0.8, 1.2 sqrt(height / 32) pixels; edges are repeated."""
    sigma = (0.5, 0.8, 1.2)[severity - 1] * sqrt(image.shape[1] / 32)
    reach = ceil(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, pad, mode="edge"), len(weights), axis)
        image = windows @ weights
    return image


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """m + c (x - m), m the mean of each channel, c = 0.6, 0.4, 0.25."""
    mean = image.mean((1, 2), keepdims=True)
    return mean + (0.6, 0.4, 0.25)[severity - 1] * (image - mean)


def jpeg(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Through a JPEG file of quality 75, 40, 15, as 8-bit grey or RGB (pillow)."""
    from PIL import Image

    channels = len(image)
    if channels not in (1, 3):
        raise ValueError(f"jpeg needs images of 1 or 3 channels, got {channels}; leave it out")
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    source = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    source.save(file, "JPEG", quality=(75, 40, 15)[severity - 1])
    decoded = np.asarray(Image.open(file), np.float32) / 255
    return decoded[None] if channels == 1 else decoded.transpose(2, 0, 1)


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "jpeg": jpeg,
}


def corrupt(
    images: np.ndarray, kind: str, severity: int, *, seed: int = 0, places: Sequence[int] | None = None
) -> np.ndarray:
    """Corrupted images, clipped to [0, 1].

    Args:
        images: [N, channels, height, width] in [0, 1].
        kind: a name of CORRUPTIONS.
        severity: 1, 2 or 3.
        seed: with the place of an image it fixes its noise, whatever the batch.
        places: [N], the places of the images in their data set; None counts from 0.

    Returns:
        float32, like images.

    Raises:
        ValueError: an unknown kind or severity, images of another shape.
    """
    if kind not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(
            f"a corruption is one of {', '.join(CORRUPTIONS)} at severity 1, 2 or 3, got {kind!r} at {severity!r}; "
            "pick one of them"
        )
    batch = np.asarray(images, np.float32)
    if batch.ndim != 4:
        raise ValueError(f"images must have shape (N, channels, height, width), got {batch.shape}; reshape them")
    spots = range(len(batch)) if places is None else places
    made = [
        CORRUPTIONS[kind](image, severity, np.random.default_rng([seed, int(place)]))
        for image, place in zip(batch, spots, strict=True)
    ]
    return np.clip(np.stack(made), 0, 1, dtype=np.float32) if made else batch
