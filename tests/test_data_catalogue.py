"""The one door to image data, and the download behind it, from a server on this machine."""

import functools
import hashlib
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from linfair.data import DataError, catalogue, download, stl10
from linfair.data.catalogue import SOURCES, load_images
from linfair.data.download import ARCHIVES, Archive, fetch


def write_cifar10(folder):
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    table = np.zeros((10, 3073), np.uint8)
    table[:, 0] = np.arange(10)
    for file in SOURCES["cifar10"][0].folders[folder.name]:
        table.tofile(folder / file)
    return folder


def write_stl10(folder):
    folder = folder / "stl10_binary"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        np.zeros((10, 3 * 96 * 96), np.uint8).tofile(folder / f"{part}_X.bin")
        np.arange(1, 11, dtype=np.uint8).tofile(folder / f"{part}_y.bin")
    return folder


def test_digits_are_the_default():
    assert load_images().name == load_images(name="digits").name == "digits"


def test_a_folder_says_what_it_holds(tmp_path):
    write_cifar10(tmp_path / "a")
    assert load_images(tmp_path / "a", unverified=True, label="My copy").label.startswith("My copy, data ")
    assert load_images(write_stl10(tmp_path / "b"), unverified=True).name == "stl10"
    write_stl10(tmp_path / "a")
    with pytest.raises(DataError, match="one data set, got cifar10 and stl10; say which"):
        load_images(tmp_path / "a", unverified=True)
    assert load_images(tmp_path / "a", name="stl10", unverified=True).name == "stl10"


def test_every_source_is_complete():
    for key, (source, _) in SOURCES.items():
        assert source.key == key
        assert key in ARCHIVES
        assert len(set(source.class_names)) == len(source.class_names)
    assert len(SOURCES["cifar100"][0].class_names) == 100
    assert set(ARCHIVES) == set(catalogue.SOURCES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data_dir": "nowhere"}, "existing folder, got 'nowhere'; leave it out"),
        ({"data_dir": "."}, "one of cifar-10-batches-py, cifar-10-batches-bin, cifar-100-python.*stl10_binary, got"),
        ({"data_dir": ".", "name": "mnist"}, "name must be one of digits, cifar10, cifar100, stl10, got 'mnist'"),
        ({"data_dir": ".", "name": "digits"}, "data_dir must be left out for the digits"),
        ({"name": "cifar10"}, "data_dir must be a folder for cifar10, got none"),
        ({"download": True}, "data_dir must be a folder for a download, got none"),
        ({"data_dir": ".", "download": True}, "for a download, got None; say which"),
    ],
)
def test_what_cannot_be_loaded(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        load_images(**arguments)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server with an archive of generated STL-10 files that counts as the official one; yields the archive."""
    pytest.importorskip("pooch")
    folder = write_stl10(tmp_path / "source")
    (folder / "unlabeled_X.bin").write_bytes(b"large")
    archive = tmp_path / "www" / "stl10_binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    for file in stl10.MD5:
        monkeypatch.setitem(stl10.MD5, file, md5(folder / file))
    handler = functools.partial(Quiet, directory=archive.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        address = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
        monkeypatch.setitem(ARCHIVES, "stl10", Archive(address, md5(archive)))
        yield archive
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_download_is_checked_extracted_and_kept(served, tmp_path):
    target = tmp_path / "data"
    data = load_images(target, name="stl10", download=True)
    assert data.verified
    assert sorted(p.name for p in target.iterdir()) == ["stl10_binary", "stl10_binary.tar.gz"]
    assert sorted(p.name for p in (target / "stl10_binary").iterdir()) == sorted(stl10.MD5)
    served.unlink()
    assert load_images(target, name="stl10", download=True).fingerprint == data.fingerprint


def test_a_wrong_or_missing_archive(served, tmp_path, monkeypatch):
    good = ARCHIVES["stl10"]
    monkeypatch.setitem(ARCHIVES, "stl10", Archive(good.url, "0" * 32))
    with pytest.raises(DataError, match=r"must be reachable and have MD5 0{32}, got: .*; try again, or") as caught:
        fetch("stl10", tmp_path / "data", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "stl10_binary").exists()
    monkeypatch.setitem(ARCHIVES, "stl10", Archive(good.url.replace("stl10_binary.tar", "none.tar"), good.md5))
    with pytest.raises(DataError, match=r"must be reachable.*404"):
        fetch("stl10", tmp_path / "data", progress=False)


@pytest.mark.parametrize("name", ["stl10_binary/test_X.bin", "../stl10_binary/train_X.bin"])
def test_an_archive_must_hold_its_files_as_files(served, tmp_path, monkeypatch, name):
    """A link instead of a file, or a path that leaves the folder, is not what is asked for."""
    with tarfile.open(served, "w:gz") as tar:
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    monkeypatch.setitem(ARCHIVES, "stl10", Archive(ARCHIVES["stl10"].url, md5(served)))
    with pytest.raises(DataError, match=r"must hold stl10_binary/test_X\.bin.*delete it"):
        fetch("stl10", tmp_path / "data", progress=False)
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["stl10_binary.tar.gz"]


def test_a_truncated_archive(served, tmp_path, monkeypatch):
    served.write_bytes(served.read_bytes()[:-300])
    monkeypatch.setitem(ARCHIVES, "stl10", Archive(ARCHIVES["stl10"].url, md5(served)))
    with pytest.raises(DataError, match="must be a whole archive, got"):
        fetch("stl10", tmp_path / "data", progress=False)


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"pooch must be installed.*pip install linfair\[data\], or extract https://"):
        download.fetch("cifar10", tmp_path)
