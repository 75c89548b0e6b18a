"""The images of an evaluation: a data set's test part, or arrays, or a stratified part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linfair._check import as_labels
from linfair.data import DataError, Dataset, fingerprint, missing_classes, stratified_subset


@dataclass(frozen=True, eq=False)
class Images:
    """What an evaluation looks at.

    Args:
        pixels: uint8 in 0..255 or float32 in [0, 1], [n, c, h, w].
        labels: classes [n].
        index: which images of the whole part [n].
        about: the entry ``data`` of the record, as of :class:`linfair.evaluate.record.Evaluation`.
    """

    pixels: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    about: dict[str, Any]

    @property
    def n_classes(self) -> int:
        return len(self.about["class_names"])


def select(
    data: Dataset | tuple[Any, Any],
    *,
    n: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    label: str | None = None,
) -> Images:
    """The test part of a data set or ``(images, labels)``; with ``n`` as many images, the same number of every class.

    Args:
        data: a data set, or images [m, c, h, w] (uint8 in 0..255, or floats in [0, 1]) with labels [m] in 0..C-1.
        class_names, label: for arrays: names of the classes (default "0", "1", ...), and what to call the data.

    Raises:
        DataError: images of another shape, type or range, labels outside 0..C-1, a class without images.
        ValueError: n is no multiple of the number of classes, or more than there are.
    """
    if isinstance(data, Dataset):
        pixels, labels = data.test_images, data.test_labels
        names, title, whole, part = data.class_names, data.label, data.fingerprint, "test"
        if data.levels != 255:
            pixels = (pixels / data.levels).astype(np.float32)
    else:
        if not (isinstance(data, tuple | list) and len(data) == 2):
            got = f"{len(data)} parts" if isinstance(data, tuple | list) else type(data).__name__
            raise DataError(f"data must be a Dataset or (images, labels), got {got}; pass two arrays")
        pixels, labels = (np.asarray(_on_host(values)) for values in data)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(f"labels must be whole numbers [n], got {labels.dtype} {labels.shape}; pass class indices")
        names = tuple(map(str, class_names or range(int(labels.max(initial=0)) + 1)))
        if len(set(names)) < len(names):
            raise DataError(f"class_names must differ, got {', '.join(names)}; name each class once")
        title, part = label or "arrays", "given"
        whole = _checked(pixels, labels)
    try:
        labels = as_labels("labels", labels, len(pixels), len(names))
    except ValueError as error:
        raise DataError(str(error)) from None
    if empty := missing_classes(labels, names):
        raise DataError(f"images must show every class, got none of {empty}; leave it out or add images of it")
    index = np.arange(len(labels)) if n in (None, len(labels)) else stratified_subset(labels, n, seed)
    pixels, chosen = pixels[index], labels[index]
    about = {
        **{"label": title, "fingerprint": whole, "part": part, "class_names": list(names), "total": len(labels)},
        "images": _fingerprint(pixels, chosen),
    }
    return Images(pixels, chosen, index, about)


def _on_host(values: Any) -> Any:
    """Tensors on any device come to numpy, which has no bfloat16."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _checked(pixels: np.ndarray, labels: np.ndarray) -> str:
    """The fingerprint of arrays that are images."""
    if pixels.ndim != 4 or len(pixels) != len(labels) or len(pixels) == 0:
        raise DataError(
            f"images must have shape [n, c, h, w] with n = {len(labels)} labels, "
            f"got {pixels.shape}; pass matching arrays"
        )
    if pixels.dtype != np.uint8:
        if pixels.dtype.kind != "f":
            raise DataError(f"images must be uint8 or float, got {pixels.dtype}; convert them")
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # NaN fails too
            raise DataError(f"float images must lie in [0, 1], got {low:g}..{high:g}; normalise inside the model")
    return _fingerprint(pixels, labels)


def _fingerprint(pixels: np.ndarray, labels: np.ndarray) -> str:
    """As of :func:`linfair.data.fingerprint`; float images count by their bytes."""
    if pixels.dtype != np.uint8:
        pixels = np.ascontiguousarray(pixels, "<f4").view(np.uint8)
    return fingerprint((pixels, labels))
