"""Class-wise evaluation of any classifier from images in [0, 1] to logits: ``linfair evaluate``.

======================  ===============================================================================================
:func:`evaluate`        every attack on every image, one flag each
:class:`Evaluation`     the flags, their class-wise measures with intervals, the tables, the record on disk
:func:`select`          the images of an evaluation: a data set's test part, arrays, a stratified part of them
:func:`plug`            a model by name, ``module:callable``, with its weights
======================  ===============================================================================================

Names load when first used: records can be read and compared without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linfair.evaluate.images import Images, select
    from linfair.evaluate.plugged import EvaluationError, Plugged, plug
    from linfair.evaluate.record import Evaluation
    from linfair.evaluate.run import evaluate

__all__ = ["Evaluation", "EvaluationError", "Images", "Plugged", "evaluate", "main", "plug", "select"]

_HOME = {
    "Evaluation": "record",
    "EvaluationError": "plugged",
    "Images": "images",
    "Plugged": "plugged",
    "evaluate": "run",
    "plug": "plugged",
    "select": "images",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``linfair evaluate``; returns its exit status."""
    from linfair.evaluate.command import main

    return main(argv)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module 'linfair.evaluate' has no attribute {name!r}")
