"""CIFAR-10 from an extracted official folder, in the python or the binary layout. Nothing is downloaded.

Every file is verified by its MD5. A changed copy must be asked for, and is never called plain CIFAR-10.
"""

from __future__ import annotations

from pathlib import Path

from linfair.data import Dataset
from linfair.data._cifar import PIXELS, Layout, files
from linfair.data._files import Source

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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

MD5_BINARY = {
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
"""Of those in the official binary archive (cifar-10-binary.tar.gz, MD5 c32a1d4ab5d03f1284b67883e8d87530). The page of
the data publishes the sum of the archive only; these are as other loaders have them."""

SOURCE = Source(
    key="cifar10",
    title="CIFAR-10",
    class_names=CLASS_NAMES,
    shape=(3, 32, 32),
    folders=dict(zip(("cifar-10-batches-py", "cifar-10-batches-bin"), files(MD5), strict=True)),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
LAYOUT = Layout(SOURCE, MD5, MD5_BINARY, label_field="labels", label_bytes=1)


def load_cifar10(data_dir: str | Path, *, unverified: bool = False, label: str | None = None) -> Dataset:
    """CIFAR-10, or a copy of it, from ``data_dir``: one of the two official folders or the folder that holds it.

    Args:
        unverified: accept files whose bytes are not known to be the official ones.
        label: what results call an unverified copy, e.g. "CIFAR-10 (JPEG copy)"; its fingerprint is always added.

    Raises:
        DataError: a folder or file is missing, cut short, unsafe or damaged, a checksum differs, a label lies outside
            0..9, a class has no image, the copy is unverified without ``unverified``, or ``label`` claims an unverified
            copy is CIFAR-10.
    """
    return LAYOUT.load(data_dir, unverified, label)
