"""The record of an evaluation: one flag an image and attack, and what is needed to judge and to compare them.

A JSON file. Flags are packed bits in base64 (1.7 kB for 10,000 images), so that any class-wise measure can be computed
later, and two models compared on the same images, without the models. Its last entry is the sha256 of the rest.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from linfair import runs
from linfair._check import as_labels
from linfair.evaluate.measures import measure

SCHEMA = 1
KIND = "linfair evaluation"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What attacks left of a classifier, image by image.

    Args:
        model: ``name``, ``parameters``, ``weights`` (file and sha256, or None) and ``state`` (sha256 of the tensors).
        data: ``label``, ``fingerprint``, ``part``, ``class_names``, ``total`` (images of the part) and ``images``, the
            fingerprint of the images evaluated with their labels.
        threat: ``norm``, ``eps`` as given, ``radius`` as a number.
        attacks: attack -> ``title``, ``kind``, ``note``, ``options``, ``seconds``, and ``norm``, ``eps`` (text) and
            ``radius`` or None; ``package`` of AutoAttack.
        config: ``n``, ``seed``, ``batch_size``, ``device``, ...: how it was run.
        labels: classes [n].
        index: which images of the part [n].
        flags: attack -> whether the model is still right [n], bool.
        environment: as of :func:`linfair.runs.environment`.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    threat: Mapping[str, Any]
    attacks: Mapping[str, Mapping[str, Any]]
    config: Mapping[str, Any]
    labels: np.ndarray
    index: np.ndarray
    flags: Mapping[str, np.ndarray]
    environment: Mapping[str, Any]

    def __post_init__(self) -> None:
        labels = as_labels("labels", self.labels, len(self.labels), len(self.class_names))
        object.__setattr__(self, "labels", labels)
        for name, flags in {"index": self.index, **self.flags}.items():
            if flags.shape != labels.shape:
                raise ValueError(f"{name} must have shape {labels.shape}, got {flags.shape}; give one value an image")
        if missing := set(self.flags) ^ set(self.attacks):
            raise ValueError(f"flags and attacks must name the same, got {', '.join(sorted(missing))} in one only")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.data["class_names"])

    @cached_property
    def measures(self) -> dict[str, dict[str, Any]]:
        """Attack -> class-wise measures with intervals, as of :func:`linfair.evaluate.measures.measure`."""
        return {name: measure(self.labels, flags, self.class_names) for name, flags in self.flags.items()}

    def accuracy(self, attack: str) -> np.ndarray:
        """Class accuracies [C] under an attack, as fractions."""
        return np.array([row["value"] for row in self.measures[attack]["classes"]])

    def class_rows(self) -> list[dict[str, Any]]:
        """A flat row for every attack and class: attack, class, index, n, accuracy, low, high (fractions)."""
        return [
            {"attack": attack, "class": row["name"], "index": k, "n": row["n"], "accuracy": row["value"]}
            | {"low": row["low"], "high": row["high"]}
            for attack, found in self.measures.items()
            for k, row in enumerate(found["classes"])
        ]

    def table(self, width: int = 100) -> str:
        """The tables of ``linfair evaluate``, at most `width` columns."""
        from linfair.evaluate.table import tables

        return tables(self, width)

    def record(self) -> dict[str, Any]:
        """The record as JSON types."""
        images = {"n": len(self.labels), "labels": _pack_numbers(self.labels), "index": _pack_numbers(self.index)}
        content = {
            "kind": KIND,
            "schema": SCHEMA,
            "model": dict(self.model),
            "data": dict(self.data),
            "threat": dict(self.threat),
            "config": dict(self.config),
            "images": images,
            "attacks": {
                name: {**about, "flags": _pack_bits(self.flags[name]), "measures": self.measures[name]}
                for name, about in self.attacks.items()
            },
            "environment": dict(self.environment),
        }
        content = json.loads(json.dumps(content))  # tuples become lists here as they would in the file
        return content | {"sha256": _digest(content)}

    def save(self, path: str | Path) -> Path:
        """Write the record atomically; folders are made where they are missing."""
        path = Path(path)
        runs.prepare_folder(path.parent, "path")
        runs.write_json(path, self.record())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """An evaluation from its record. Raises runs.RecordError: missing, another file, another schema, damaged."""
        path = Path(path)
        if not path.is_file():
            raise runs.RecordError(f"'{path}' must be a record of linfair evaluate, got no such file; check the name")
        record = runs.read_json(path)
        if record is None:
            raise _damaged(path, "no whole JSON object")
        if record.get("kind") != KIND:
            raise runs.RecordError(
                f"'{path}' must be a record of linfair evaluate, got another file; pass that of --out"
            )
        if record.get("schema") != SCHEMA:
            got = record.get("schema")
            raise runs.RecordError(f"'{path}' must have schema {SCHEMA}, got {got}; read it with the linfair it is of")
        digest = record.pop("sha256", None)
        if digest != _digest(record):
            raise _damaged(path, "contents that differ from their sha256")
        try:
            return cls._of(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from None

    @classmethod
    def _of(cls, record: dict[str, Any]) -> Evaluation:
        n = record["images"]["n"]
        entries = record["attacks"]
        return cls(
            **{key: record[key] for key in ("model", "data", "threat", "config", "environment")},
            attacks={a: {k: v for k, v in e.items() if k not in ("flags", "measures")} for a, e in entries.items()},
            labels=_unpack_numbers(record["images"]["labels"], n),
            index=_unpack_numbers(record["images"]["index"], n),
            flags={a: _unpack_bits(e["flags"], n) for a, e in entries.items()},
        )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _damaged(path: Path, received: str) -> runs.RecordError:
    return runs.RecordError(f"'{path}' must be as it was written, got {received}; evaluate again")


def _pack_bits(flags: np.ndarray) -> str:
    """Flags [n] as base64 of bits, the first image in the highest bit of the first byte (numpy.packbits)."""
    return base64.b64encode(np.packbits(flags.astype(bool)).tobytes()).decode()


def _unpack_bits(text: str, n: int) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != -(-n // 8):
        raise ValueError(f"{len(packed)} bytes for {n} flags")
    return np.unpackbits(packed, count=n).astype(bool)


def _pack_numbers(values: np.ndarray) -> str:
    """Whole numbers >= 0 as base64 of little-endian uint32."""
    return base64.b64encode(values.astype("<u4").tobytes()).decode()


def _unpack_numbers(text: str, n: int) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(text, validate=True), "<u4").astype(np.int64)
    if len(values) != n:
        raise ValueError(f"{len(values)} numbers for {n} images")
    return values
