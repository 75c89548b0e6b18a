"""The state of a run on disk: written whole or not at all, and refused by every other run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linfair import runs
from linfair.train.config import TrainConfig, TrainingError
from linfair.train.methods import Method, parent_of

SCHEMA = 3
NAME = "checkpoint.pt"
KEPT = "epoch-{}.pt"


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
            for leftover in self.folder.glob("*.pt.*.tmp"):  # of a run that was killed while it wrote
                if not _alive(leftover.name.split(".")[-2]):
                    leftover.unlink(missing_ok=True)

    @property
    def path(self) -> Path | None:
        return None if self.folder is None else self.folder / NAME

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU; None where there is none. Raises TrainingError for one of another run."""
        if self.path is None or not self.path.exists():
            return None
        found = _read(self.path, "delete it")
        if different := _differences(found["identity"], self.identity):
            remedy = "delete it or use another folder"
            raise TrainingError(f"'{self.path}' must belong to this run, got {different}; {remedy}")
        return found

    def load_branch(self, path: Path, method: Method) -> dict[str, Any]:
        """The parent's checkpoint of the epoch after which `method` leaves it. Raises TrainingError for another one."""
        epoch = method.shared_epochs(self.identity["epochs"])
        if not epoch:
            raise ValueError(
                f"branch must be None for {method.name!r}, which takes no epochs over, got '{path}'; drop it"
            )
        remedy = f"train {method.parent!r} by the same config with keep=({epoch},)"
        if not path.exists():
            raise TrainingError(f"branch must be an existing file, got '{path}'; {remedy}")
        found, parent = _read(path, remedy), parent_of(method)
        theirs, options = found["identity"], runs.plain(asdict(parent))
        if theirs["method"] == parent.name:  # what is not named has its default
            theirs = {**theirs, "options": {**runs.plain(asdict(type(parent)())), **theirs["options"]}}
        different = _differences(theirs, {**self.identity, "method": parent.name, "options": options})
        done, step = found["counters"]["epoch"], found["counters"]["step"]
        if not different and (done, step) != (epoch, 0):
            different = f"{done} epochs and {step} steps instead of {epoch} epochs"
        if different:
            raise TrainingError(f"'{path}' must be of the parent where this run leaves it, got {different}; {remedy}")
        return found

    def save(self, state: Mapping[str, Any], name: str = NAME) -> None:
        """Write a checkpoint atomically."""
        if self.folder is not None:
            with runs.atomic(self.folder / name) as temporary:
                torch.save({"identity": self.identity, **state}, temporary)

    def log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write `log.jsonl`, a view of the history: one line an epoch."""
        if self.folder is not None:
            runs.write_text(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in history))


def _alive(process: str) -> bool:
    """Whether a process of this number may be at work; where that cannot be asked harmlessly, yes."""
    if os.name != "posix" or not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """A checkpoint on the CPU. Raises TrainingError for a file that is none."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not {"identity", "counters"} <= found.keys():
            raise ValueError
    except Exception as error:  # a damaged archive can raise nearly anything
        raise TrainingError(
            f"'{path}' must be a checkpoint as it was written, got {type(error).__name__}; {remedy}"
        ) from None
    return found


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The entries that differ, as text; "" for none."""
    names = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
    return ", ".join(f"{k} = {theirs.get(k)!r} instead of {ours.get(k)!r}" for k in names)


def weights_fingerprint(model: Any) -> str | None:
    """That of a module's state; None for other callables, which have none to read."""
    return state_fingerprint(model.state_dict()) if isinstance(model, nn.Module) else None


def state_fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    """First 12 hex digits of the sha256 of names and values."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
