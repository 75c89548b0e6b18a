"""The state of a run on disk: written whole or not at all, and refused by every other run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linfair import runs
from linfair.train.config import TrainConfig, TrainingError

SCHEMA = 1
NAME = "checkpoint.pt"


class Store:
    """The checkpoint and the log of one run in its folder.

    Args:
        folder: made if missing; None keeps nothing.
        config: the run; with the data and the teacher it decides which checkpoints are its own.
        data: fingerprint of the data.
        teacher: fingerprint of the teacher, None without.
    """

    def __init__(self, folder: Path | None, config: TrainConfig, data: str, teacher: str | None):
        self.folder = None if folder is None else runs.prepare_folder(Path(folder), "folder")
        self.identity = {**runs.plain(config), "data": data, "teacher": teacher, "schema": SCHEMA}
        if self.folder:
            for leftover in self.folder.glob(f"{NAME}.*.tmp"):  # of a run that was killed while it wrote
                leftover.unlink(missing_ok=True)

    @property
    def path(self) -> Path | None:
        return None if self.folder is None else self.folder / NAME

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU; None where there is none. Raises TrainingError for one of another run."""
        if self.path is None or not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            theirs = found["identity"]
        except Exception as error:  # a damaged archive can raise nearly anything
            raise TrainingError(
                f"'{self.path}' must be a checkpoint as it was written, got {type(error).__name__}; delete it"
            ) from None
        if theirs != self.identity:
            names = [k for k in {**self.identity, **theirs} if self.identity.get(k) != theirs.get(k)]
            got = ", ".join(f"{k} = {theirs.get(k)!r} instead of {self.identity.get(k)!r}" for k in names)
            raise TrainingError(f"'{self.path}' must belong to this run, got {got}; delete it or use another folder")
        return found

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint atomically."""
        if self.path is not None:
            with runs.atomic(self.path) as temporary:
                torch.save({"identity": self.identity, **state}, temporary)

    def log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write `log.jsonl`, a view of the history: one line an epoch."""
        if self.folder is not None:
            runs.write_text(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in history))


def weights_fingerprint(model: Any) -> str | None:
    """First 12 hex digits of the sha256 of a module's state; None for other callables, which have none to read."""
    if not isinstance(model, nn.Module):
        return None
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
