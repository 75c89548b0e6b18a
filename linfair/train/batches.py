"""Training images as one uint8 tensor on the device; an epoch is permuted and augmented in one go, a batch is a slice.

All randomness comes from counters: (seed, epoch) fixes the order, the crops and the mirrored images, (seed, epoch,
step) the generator of a step. A resumed run therefore needs no generator state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

ORDER, STEP, VALIDATION = range(3)
"""What a random stream is for; the first of its counters."""
PADDING = 4
CHUNK = 4096
"""Images gathered at a time: bounds the memory of the indices."""


def counter_seed(*counters: int) -> int:
    """64 well-mixed bits from non-negative counters."""
    return int(np.random.SeedSequence(counters).generate_state(1, np.uint64)[0])


def channel_moments(images: np.ndarray, levels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel of uint8 images [n, c, h, w], in units of ``levels``; exact sums."""
    values = np.arange(256) / levels
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(torch.from_numpy(images[:, channel].reshape(-1)), minlength=256).numpy()
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())) or 1.0)
    return means, deviations


@dataclass(eq=False)
class Images:
    """Labelled images on one device.

    Args:
        images: uint8 [n, c, h, w], whole numbers 0..levels.
        labels: int64 [n].
        levels: the largest pixel value.
        channels_last: memory format of the batches.
    """

    images: Tensor
    labels: Tensor
    levels: int = 255
    channels_last: bool = True

    @classmethod
    def of(
        cls, images: np.ndarray, labels: np.ndarray, levels: int, device: torch.device, channels_last: bool
    ) -> Images:
        """From numpy arrays, moved to the device."""
        return cls(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), levels, channels_last)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """(x float32 [N, c, h, w] in [0, 1], labels [N]) of the images start..stop-1."""
        return self.floats(self.images[start:stop]), self.labels[start:stop]

    def floats(self, pixels: Tensor) -> Tensor:
        """Whole-number pixels as float32 in [0, 1]."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return torch.div(pixels, self.levels).contiguous(memory_format=layout)


@dataclass(eq=False)
class Batches:
    """The epochs of a training run: whole batches of one permutation, cropped and mirrored on the device.

    Args:
        source: the training images.
        batch_size: images a batch; all of them where there are fewer.
        augment: zero padding by 4 pixels, a random crop of the old size, and a mirror image with probability 1/2.
    """

    source: Images
    batch_size: int
    seed: int = 0
    augment: bool = True
    epoch: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, len(self.source))
        self.steps = len(self.source) // self.batch_size
        nhwc = self.source.images.permute(0, 2, 3, 1)
        if self.augment:
            nhwc = torch.nn.functional.pad(nhwc, (0, 0, PADDING, PADDING, PADDING, PADDING))
        self._nhwc = nhwc.contiguous()

    def start(self, epoch: int) -> None:
        """Draw and gather the images of an epoch."""
        if epoch == self.epoch:
            return
        rng = np.random.default_rng([ORDER, self.seed, epoch])
        n = self.steps * self.batch_size
        order = self._send(rng.permutation(len(self.source))[:n])
        if self.augment:
            draws = rng.integers(0, [2 * PADDING + 1, 2 * PADDING + 1, 2], (n, 3))
            self._pixels = augmented(self._nhwc, order, self._send(draws))
        else:
            self._pixels = self._nhwc[order]
        self._labels = self.source.labels[order]
        self.epoch = epoch

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(x float32 [N, c, h, w] in [0, 1], labels [N]) of a step 0..steps-1 of the epoch that was started."""
        part = slice(step * self.batch_size, (step + 1) * self.batch_size)
        return self.source.floats(self._pixels[part].permute(0, 3, 1, 2)), self._labels[part]

    def _send(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.source.images.device)


def augmented(padded: Tensor, order: Tensor, draws: Tensor) -> Tensor:
    """Images ``order`` of ``padded`` [n, h + 8, w + 8, c], cropped and mirrored by one gather: [len(order), h, w, c].

    Args:
        draws: [len(order), 3]: first row and first column of the crop, 0..8, and 1 for a mirrored image.
    """
    n, height, width, channels = padded.shape
    rows = torch.arange(height - 2 * PADDING, device=padded.device)
    columns = torch.arange(width - 2 * PADDING, device=padded.device)
    flat = padded.view(n * height * width, channels)
    out = padded.new_empty(len(order), len(rows), len(columns), channels)
    for part in range(0, len(order), CHUNK):
        image, draw = order[part : part + CHUNK, None], draws[part : part + CHUNK]
        row = draw[:, :1] + rows
        column = draw[:, 1:2] + torch.where(draw[:, 2:].bool(), columns.flip(0), columns)
        where = ((image * height + row) * width)[:, :, None] + column[:, None, :]
        out[part : part + CHUNK] = flat[where]
    return out
