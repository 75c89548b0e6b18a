"""Reading the official pickles without running what a changed one could hold."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from linfair.data import DataError


def read_pickle(path: Path, blob: bytes) -> dict[str, Any]:
    """The fields of a pickled batch; DataError if it is damaged or names anything but what plain arrays need."""
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
    return {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()} if isinstance(batch, dict) else {}


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
