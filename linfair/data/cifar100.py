"""CIFAR-100 with its 100 fine labels, from an extracted official folder, python or binary. Nothing is downloaded.

As with :mod:`linfair.data.cifar10`, files are verified by MD5 and anything else must be asked for.
"""

from __future__ import annotations

from pathlib import Path

from linfair.data import Dataset
from linfair.data._cifar import Layout, files
from linfair.data._files import Source

CLASS_NAMES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905 - a hundred lines otherwise
)

MD5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
"""Checksums of the files in the official python archive (cifar-100-python.tar.gz)."""

MD5_BINARY = {"train": "6172c7755cfe09b2fe270c85cebc1b15", "test": "4499cfba6c016c1be1438163640a0898"}
"""Of those in the official binary archive (cifar-100-binary.tar.gz, MD5 03b5dce01913d631647c71ecec9e9cb8), as another
loader has them."""

SOURCE = Source(
    key="cifar100",
    title="CIFAR-100",
    class_names=CLASS_NAMES,
    shape=(3, 32, 32),
    folders=dict(zip(("cifar-100-python", "cifar-100-binary"), files(MD5), strict=True)),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
)
LAYOUT = Layout(SOURCE, MD5, MD5_BINARY, label_field="fine_labels", label_bytes=2)


def load_cifar100(data_dir: str | Path, *, unverified: bool = False, label: str | None = None) -> Dataset:
    """CIFAR-100, or a copy of it; arguments and errors as in :func:`linfair.data.cifar10.load_cifar10`."""
    return LAYOUT.load(data_dir, unverified, label)
