"""The official archives, fetched through pooch when asked: checked by MD5, then only the files needed are extracted."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from linfair.data import DataError
from linfair.data.catalogue import SOURCES


@dataclass(frozen=True)
class Archive:
    """An archive on the web and its checksum."""

    url: str
    md5: str


ARCHIVES = {
    "cifar10": Archive("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": Archive("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    "stl10": Archive("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),
}


def fetch(name: str | None, data_dir: str | Path, *, progress: bool = True) -> Path:
    """The official folder of ``name`` below ``data_dir``, downloaded and extracted unless it is there.

    Raises:
        DataError: an unknown name, pooch is not installed, the download failed, or the archive is not the official one.
    """
    if name not in ARCHIVES:
        raise DataError(f"name must be one of {', '.join(ARCHIVES)} for a download, got {name!r}; say which to fetch")
    folder, files = next(iter(SOURCES[name][0].folders.items()))
    target = Path(data_dir) / folder
    if target.is_dir():
        return target
    archive = _download(ARCHIVES[name], Path(data_dir), progress)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".extracting-") as scratch:
        _extract(archive, scratch, {f"{folder}/{file}" for file in files})
        (Path(scratch) / folder).rename(target)
    return target


def _download(archive: Archive, data_dir: Path, progress: bool) -> Path:
    try:
        import pooch
    except ImportError:
        raise DataError(
            "pooch must be installed for a download, got no such package; pip install linfair[data], "
            f"or extract {archive.url} into '{data_dir}'"
        ) from None
    file = archive.url.rpartition("/")[2]
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(archive.url, f"md5:{archive.md5}", file, data_dir, progressbar=progress)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong checksum is a ValueError
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{archive.url} must be reachable and have MD5 {archive.md5}, got: {reason}; try again, or download it "
            f"by hand and extract it into '{data_dir}'"
        ) from None
    return Path(path)


def _extract(archive: Path, folder: str, wanted: set[str]) -> None:
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isreg() and m.name.removeprefix("./") in wanted]
            if len(members) != len(wanted):
                missing = ", ".join(sorted(wanted - {m.name.removeprefix("./") for m in members}))
                raise DataError(f"{archive} must hold {missing}, got an archive without; delete it and try again")
            tar.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} must be a whole archive, got {error}; delete it and try again") from None
