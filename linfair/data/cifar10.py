"""CIFAR-10 from an extracted official folder, in the python or the binary layout. Nothing is downloaded.

The python layout has a published MD5 a file and is verified against it. No such list exists for the binary layout, so a
binary folder, like any changed copy, is unverified: it must be asked for, and is never called plain CIFAR-10.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from linfair.data import DataError, Dataset, fingerprint, slug

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
PIXELS = 3072
RECORD = 1 + PIXELS
"""Bytes of an image in the binary layout: its label, then the R, G and B planes row by row."""

MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Checksums of the files in the official python archive (cifar-10-python.tar.gz)."""

FOLDERS = {"cifar-10-batches-py": "", "cifar-10-batches-bin": ".bin"}
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(data_dir: str | Path, *, unverified: bool = False, label: str | None = None) -> Dataset:
    """CIFAR-10, or a copy of it, from ``data_dir``: one of the two official folders or the folder that holds it.

    Args:
        unverified: accept files whose bytes are not known to be the official ones.
        label: what results call an unverified copy, e.g. "CIFAR-10 (JPEG copy)"; its fingerprint is always added.

    Raises:
        DataError: a folder or file is missing, cut short, unsafe or damaged, a checksum differs, a label lies outside
            0..9, the copy is unverified without ``unverified``, or ``label`` claims an unverified copy is CIFAR-10.
    """
    folder, ending = _locate(Path(data_dir))
    if ending and not unverified:
        raise DataError(
            f"the binary layout has no published checksums, got '{folder}'; use cifar-10-batches-py or --unverified"
        )
    read = _binary if ending else _python
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    verified = not ending
    for name, md5 in MD5.items():
        path = folder / f"{name}{ending}"
        blob = _bytes(path)
        received = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        if not ending and received != md5:
            if not unverified:
                raise DataError(
                    f"{path} must have MD5 {md5}, got {received}; extract the archive again or pass --unverified"
                )
            verified = False
        parts.append(_checked(path, *read(path, blob)))
    train_images, train_labels = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    arrays = (train_images, train_labels, *parts[-1])
    if verified:
        return Dataset(*arrays, CLASS_NAMES, "cifar10", "CIFAR-10", True, "")
    mark = fingerprint(arrays)
    name = f"CIFAR-10 (unverified copy {mark})" if label is None else label
    if slug(name) in ("", "cifar", "cifar10"):
        raise DataError(f"label must say which copy it is, got {label!r}; e.g. --data-label 'CIFAR-10 (JPEG copy)'")
    title = f"{name}, data {mark}" if label else name
    return Dataset(*arrays, CLASS_NAMES, "cifar10", title, False, f"-cifar10-{slug(name).removeprefix('cifar10-')}")


def _locate(data_dir: Path) -> tuple[Path, str]:
    """The folder with the batches and the ending of its files; the python layout first, for it can be verified."""
    if not data_dir.is_dir():
        raise DataError(f"data_dir must be an existing folder, got '{data_dir}'; extract the archive from {SOURCE}")
    for name, ending in FOLDERS.items():
        for folder in (data_dir, data_dir / name):
            if any((folder / f"{batch}{ending}").is_file() for batch in MD5):
                return folder, ending
    raise DataError(
        f"data_dir must hold {' or '.join(FOLDERS)}, got '{data_dir}' without; extract the archive from {SOURCE}"
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path} must be a readable file, got {reason}; extract the archive again") from None


def _binary(path: Path, blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    if not blob or len(blob) % RECORD:
        raise DataError(
            f"{path} must be a whole number of {RECORD}-byte records, got {len(blob)} bytes; copy the file again"
        )
    records = np.frombuffer(blob, np.uint8).reshape(-1, RECORD)
    return records[:, 1:], records[:, 0]


def _python(path: Path, blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _SafeUnpickler(io.BytesIO(blob), encoding="bytes").load()
    except _UnsafePickle as error:
        raise DataError(
            f"{path} must hold numpy arrays only, got {error}; it is not an official file, do not open it"
        ) from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{path} must be a complete pickle, got {type(error).__name__}; extract the archive again"
        ) from None
    fields = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()} if isinstance(batch, dict) else {}
    data, labels = fields.get("data"), fields.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path} must hold data as uint8 (n, {PIXELS}), got {got}; extract the archive again")
    if not isinstance(labels, list) or not all(type(k) is int for k in labels):
        raise DataError(
            f"{path} must hold labels as a list of ints, got {type(labels).__name__}; extract the archive again"
        )
    return data, np.asarray(labels)


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(pixels) == 0 or len(labels) != len(pixels):
        raise DataError(
            f"{path} must hold a label for every image, got {len(labels)} for {len(pixels)}; copy the file again"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path} must hold labels 0..9, got {labels.min()}..{labels.max()}; is it CIFAR-10?")
    return pixels.reshape(-1, *SHAPE), labels.astype(np.int64)


class _UnsafePickle(pickle.UnpicklingError):
    pass


def _array(subtype: object, shape: object, dtype: object) -> np.ndarray:
    """What numpy's own ``_reconstruct`` does for a plain array; the state that follows brings shape and dtype."""
    return np.ndarray((0,), np.uint8)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes at protocol 2."""
    return text.encode("latin1")


class _SafeUnpickler(pickle.Unpickler):
    """Knows the names a batch of arrays needs and refuses every other before it is imported."""

    allowed: dict[tuple[str, str], Any] = {  # noqa: RUF012 - a constant
        ("numpy.core.multiarray", "_reconstruct"): _array,
        ("numpy._core.multiarray", "_reconstruct"): _array,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise _UnsafePickle(f"a reference to {module}.{name}")
        return self.allowed[module, name]
