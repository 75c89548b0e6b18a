"""The labelled part of STL-10 from the extracted official folder: 5,000 training and 8,000 test images of 96 x 96.

The files store every channel column by column and count the classes from 1. Nothing is downloaded, and the 100,000
unlabelled images are not read.
"""

from __future__ import annotations

from pathlib import Path

from linfair.data import Dataset
from linfair.data._files import Part, Source, is_official, read, records

CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
"""Checksums of the files in stl10_binary.tar.gz."""

SOURCE = Source(
    key="stl10",
    title="STL-10",
    class_names=CLASS_NAMES,
    shape=(3, 96, 96),
    folders={"stl10_binary": tuple(MD5)},
    page="https://cs.stanford.edu/~acoates/stl10",
)


def load_stl10(data_dir: str | Path, *, unverified: bool = False, label: str | None = None) -> Dataset:
    """STL-10, or a copy of it; arguments and errors as in :func:`linfair.data.cifar10.load_cifar10`."""
    folder, _ = SOURCE.locate(data_dir)
    blobs = {name: read(folder / name) for name in MD5}
    official = [is_official(folder / name, blobs[name], md5, unverified) for name, md5 in MD5.items()]
    train, test = (_part(folder, part, blobs) for part in ("train", "test"))
    return SOURCE.dataset(train, test, all(official), label)


def _part(folder: Path, part: str, blobs: dict[str, bytes]) -> Part:
    images, labels = f"{part}_X.bin", f"{part}_y.bin"
    columns = records(folder / images, blobs[images], 3 * 96 * 96).reshape(-1, 3, 96, 96)
    return SOURCE.part(
        folder / labels, columns.transpose(0, 1, 3, 2), records(folder / labels, blobs[labels], 1)[:, 0], first=1
    )
