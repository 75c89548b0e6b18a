"""One door to all image data: the embedded digits, or what lies in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linfair.data import DataError, Dataset, cifar10, cifar100, load_digits, stl10
from linfair.data._files import Source

SOURCES: dict[str, tuple[Source, Callable[..., Dataset]]] = {
    "cifar10": (cifar10.SOURCE, cifar10.load_cifar10),
    "cifar100": (cifar100.SOURCE, cifar100.load_cifar100),
    "stl10": (stl10.SOURCE, stl10.load_stl10),
}


def load_images(
    data_dir: str | Path | None = None,
    *,
    name: str | None = None,
    unverified: bool = False,
    label: str | None = None,
    download: bool = False,
) -> Dataset:
    """The embedded digits without ``data_dir``; else the CIFAR-10, CIFAR-100 or STL-10 that lies in it.

    Args:
        data_dir: an extracted official folder, or the folder that holds it.
        name: "digits", "cifar10", "cifar100" or "stl10"; needed where ``data_dir`` holds several, and for a download.
        unverified, label: as in :func:`linfair.data.cifar10.load_cifar10`.
        download: fetch the official archive into ``data_dir`` first, unless its folder is there already.

    Raises:
        DataError: no such data, several without ``name``, or one of the errors of the loaders and of the download.
    """
    if name not in (None, "digits", *SOURCES):
        raise DataError(f"name must be one of digits, {', '.join(SOURCES)}, got {name!r}; choose one of them")
    if name == "digits" or (data_dir is None and name is None and not download):
        if data_dir is not None:
            raise DataError(f"data_dir must be left out for the digits, got '{data_dir}'; they are embedded")
        return load_digits()
    if data_dir is None:
        raise DataError(f"data_dir must be a folder for {name or 'a download'}, got none; pass --data-dir")
    folder = Path(data_dir)
    if download:
        from linfair.data.download import fetch

        fetch(name, folder)
    return SOURCES[name or _name(folder)][1](folder, unverified=unverified, label=label)


def _name(folder: Path) -> str:
    found = [key for key, (source, _) in SOURCES.items() if source.find(folder)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"data_dir must hold one data set, got {' and '.join(found)}; say which by name")
    if not folder.is_dir():
        raise DataError(f"data_dir must be an existing folder, got '{folder}'; leave it out to use the digits")
    official = ", ".join(name for source, _ in SOURCES.values() for name in source.folders)
    raise DataError(f"data_dir must hold one of {official}, got '{folder}' without; extract an official archive there")
