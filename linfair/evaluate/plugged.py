"""The model a user names, ``module:callable`` or a name of :data:`linfair.models.MODELS`, and the weights for it."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linfair.models import MODELS, build, load_weights, read_weights


class EvaluationError(ValueError):
    """A model, its weights or its answers cannot be used; the message is one line with the remedy."""


@dataclass(frozen=True, eq=False)
class Plugged:
    """A model ready to run: images [n, c, h, w] in [0, 1] -> logits [n, C], and what a record says of it."""

    model: Callable[[Tensor], Tensor]
    name: str
    weights: dict[str, str] | None = None

    def about(self) -> dict[str, Any]:
        """``name``, ``parameters``, ``weights`` and ``state``; the last two None for what is no module."""
        module = self.model if isinstance(self.model, nn.Module) else None
        count = sum(p.numel() for p in module.parameters()) if module else None
        state = state_hash(module) if module else None
        return {"name": self.name, "parameters": count, "weights": self.weights, "state": state}


def plug(name: str, weights: str | Path | None, n_classes: int, image_shape: tuple[int, int, int]) -> Plugged:
    """The model called ``name`` with the weights of a file.

    ``module:attribute`` imports the module, the current folder first. The attribute is a module, a class or function
    that gives one when called without arguments, or a function from images to logits. A name without a colon is built
    by :func:`linfair.models.build` for this number of classes and image shape.

    Raises:
        EvaluationError: nothing of that name, a factory that fails, weights for what takes none.
        ValueError: weights that are missing, unsafe, damaged or another model's.
    """
    if ":" not in name:
        if name not in MODELS:
            raise EvaluationError(
                f"--model must be module:callable or one of {', '.join(MODELS)}, got '{name}'; "
                "name what to call in your file, e.g. mynet:Net for class Net of mynet.py"
            )
        if weights is None:
            raise EvaluationError(f"--model {name} needs --weights, got none; pass the file that save_weights wrote")
        return Plugged(_ours(name, Path(weights), n_classes, image_shape), name, file_hash(Path(weights)))
    model = _made(name, _attribute(name))
    if weights is None:
        return Plugged(model, name)
    if not isinstance(model, nn.Module):
        raise EvaluationError(
            f"--weights are for a torch module, got {name}, a function of images; load them inside it"
        )
    load_weights(model, weights)
    return Plugged(model, name, file_hash(Path(weights)))


def _attribute(name: str) -> Any:
    """What ``module:attribute`` stands for."""
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise EvaluationError(
            f"--model must be module:callable, got '{name}'; e.g. mynet:Net for class Net of mynet.py"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module_name)
    except Exception as error:  # the user's file can raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.split(".")[0]:
            where = f"no module '{error.name}' in {os.getcwd()} or among the installed packages; check the name"
        else:
            where = f"{reason(error)} while importing it; try python -c 'import {module_name}'"
        raise EvaluationError(f"--model {name} must be importable, got {where}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            own = [key for key, value in vars(found).items() if getattr(value, "__module__", None) == module_name]
            has = ", ".join(own) or "nothing to call"
            raise EvaluationError(f"--model {name} must exist, got no '{part}' in {module_name}, which has {has}")
        found = getattr(found, part)
    return found


def _made(name: str, found: Any) -> Any:
    """The model itself: what a class or factory gives when called without arguments, anything else as it is."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        kind = type(found).__name__
        raise EvaluationError(f"--model {name} must be a module, a factory or a function of images, got {kind}")
    required = _required(found)
    if required and not isinstance(found, type):
        return found  # a function of images
    if required:
        wants = ", ".join(required)
        raise EvaluationError(
            f"--model {name} must need no arguments, got a class that needs {wants}; write a function"
        )
    try:
        model = found()
    except Exception as error:
        raise EvaluationError(f"--model {name} must return a model, got {reason(error)} when called") from error
    if not callable(model):
        raise EvaluationError(f"--model {name} must return a model, got {type(model).__name__}; return a torch module")
    return model


def _required(found: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a call cannot do without."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return ["images"]
    named = (p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return [p.name for p in named if p.default is p.empty]


# --- weights ---------------------------------------------------------------------------------------------------------


def _ours(name: str, path: Path, n_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A network of this package, as wide as the weights say and with a normalisation where they hold one."""
    state, _ = read_weights(path)
    options: dict[str, Any] = {}
    default = inspect.signature(MODELS[name]).parameters.get("width")
    if default is not None and "head.weight" in state:
        plain = build(name, n_classes, image_shape)
        options["width"] = max(1, default.default * state["head.weight"].shape[-1] // plain.head.in_features)
    if "normalise.mean" in state:
        options["mean"] = [0.0] * image_shape[0]  # the weights bring the numbers
    model = build(name, n_classes, image_shape, **options)
    load_weights(model, path)
    return model


def file_hash(path: Path) -> dict[str, str]:
    """Name and sha256 of a file."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def state_hash(module: nn.Module) -> str:
    """sha256 of names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def reason(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}" if text else type(error).__name__
