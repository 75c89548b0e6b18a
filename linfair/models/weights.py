"""Weights on disk: tensors only, written atomically, and put back only into the network they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linfair.runs import atomic

FORMAT = "linfair-weights-1"
NESTED = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of other projects keep the weights."""
PREFIXES = ("module.", "_orig_mod.")
"""What torch's wrappers for several devices, for averages and for compiled modules put before every name."""
AVERAGED = "n_averaged"
"""The counter of torch's AveragedModel, which is no weight."""


def save_weights(model: nn.Module, path: str | Path, /, **meta: Any) -> Path:
    """Write the parameters and buffers of ``model`` to ``path``, with ``meta`` (numbers, texts, lists, dicts, tensors).

    The file appears whole or not at all.

    Raises:
        TypeError: a value in ``meta`` that could not be read back, such as a numpy number.
    """
    path = Path(path)
    _check_plain("meta", meta)
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        torch.save({"format": FORMAT, "weights": weights, "meta": meta}, temporary)
    return path


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Put the weights of ``path`` into ``model``, in place, and return the file's meta data.

    Besides files of :func:`save_weights` it reads a plain state dict, one under "state_dict", "model_state_dict" or
    "model", and names that torch's wrappers prefixed. Nothing but tensors and plain values is ever unpickled.

    Raises:
        ValueError: no such file, no file of weights, or weights of another network; the model is then unchanged.
    """
    weights, meta = read_weights(Path(path))
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    extra = [name for name in weights if name not in own]
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    differences = (("lacks", missing), ("also holds", extra), ("holds other shapes:", shapes))
    if wrong := [f"{what} {_some(names)}" for what, names in differences if names]:
        raise ValueError(
            f"weights must be those of this model, got {path}, which {' and '.join(wrong)}; "
            "build the model with the name, classes, image shape, width and normalisation it was saved with"
        )
    model.load_state_dict(weights)
    return meta


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state, what was saved beside it) of a file; prefixes of wrappers are taken off. Raises ValueError."""
    if not path.is_file():
        raise ValueError(f"weights must be an existing file, got {path}; check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        reason = type(error).__name__
        raise ValueError(
            f"weights must be a whole file of tensors written by torch.save, got {path} ({reason}); save the state dict"
        ) from None
    meta: dict[str, Any] = {}
    if isinstance(content, Mapping) and content.get("format") == FORMAT:
        content, meta = content["weights"], content["meta"]
    elif isinstance(content, Mapping) and {"identity", "counters"} <= content.keys():
        raise ValueError(
            f"weights must be those that a run has come to, got {path}, its checkpoint; pass model.pt of that folder, "
            "which is there when training ends"
        )
    elif isinstance(content, Mapping):
        content = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"weights must be a state dict of tensors, got {path} with other values; save the state dict")
    weights = dict(content)
    weights.pop(AVERAGED, None)
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights, meta


def _check_plain(name: str, value: Any) -> None:
    if type(value) is dict:
        for key, item in value.items():
            _check_plain(f"{name}[{key!r}]", item)
    elif type(value) in (list, tuple):
        for k, item in enumerate(value):
            _check_plain(f"{name}[{k}]", item)
    elif value is not None and type(value) not in (bool, int, float, str, Tensor):
        raise TypeError(f"{name} must be a plain value or tensor, got {type(value).__name__}; convert it first")


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
