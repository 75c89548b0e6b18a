"""CIFAR-100 and STL-10: generated files in the official layouts read back, and what wrong files answer."""

import hashlib
import pickle

import numpy as np
import pytest

from linfair.data import DataError, cifar10, cifar100, stl10
from linfair.data.cifar100 import load_cifar100
from linfair.data.stl10 import load_stl10

SIZES = {"train": 200, "test": 100}


def drawn(part: str, pixels: int, classes: int):
    rng = np.random.default_rng(len(part))
    return rng.integers(0, 256, (SIZES[part], pixels), np.uint8), np.arange(SIZES[part]) % classes


def as_python(pixels, labels, **fields) -> bytes:
    content = {b"data": pixels, b"fine_labels": labels.tolist(), b"coarse_labels": (labels // 5).tolist(), **fields}
    return pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def official(monkeypatch, module, folder):
    """From here on the files of the folder count as the published ones."""
    for file in module.MD5:
        checksum = hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(module.MD5, file, checksum)


@pytest.fixture
def python_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part in SIZES:
        (folder / part).write_bytes(as_python(*drawn(part, 3072, 100)))
    official(monkeypatch, cifar100, folder)
    return folder


@pytest.fixture
def binary_folder(tmp_path):
    folder = tmp_path / "binary" / "cifar-100-binary"
    folder.mkdir(parents=True)
    for part in SIZES:
        pixels, labels = drawn(part, 3072, 100)
        np.column_stack([labels // 5, labels, pixels]).astype(np.uint8).tofile(folder / f"{part}.bin")
    return folder


@pytest.fixture
def stl_folder(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part in SIZES:
        pixels, labels = drawn(part, 3 * 96 * 96, 10)
        pixels.tofile(folder / f"{part}_X.bin")
        (labels + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    official(monkeypatch, stl10, folder)
    return folder


def test_cifar100_python(python_folder):
    data = load_cifar100(python_folder.parent)
    assert (data.verified, data.label, data.name, data.suffix) == (True, "CIFAR-100", "cifar100", "-cifar100")
    assert (data.n_classes, data.class_names[0], data.class_names[88], data.class_names[-1]) == (
        100,
        "apple",
        "tiger",
        "worm",
    )
    assert data.train_images.shape == (200, 3, 32, 32)
    pixels, labels = drawn("test", 3072, 100)
    np.testing.assert_array_equal(data.test_images.reshape(100, -1), pixels)
    np.testing.assert_array_equal(data.test_labels, labels)


def test_cifar100_binary_reads_the_fine_labels(python_folder, binary_folder):
    with pytest.raises(DataError, match=r"train\.bin must have MD5 .* or pass --unverified"):
        load_cifar100(binary_folder)
    data = load_cifar100(binary_folder, unverified=True)
    assert data.fingerprint == load_cifar100(python_folder).fingerprint
    assert data.label == f"CIFAR-100 (unverified copy {data.fingerprint})"
    assert data.suffix == f"-cifar100-unverified-copy-{data.fingerprint}"


def test_stl10_is_stored_by_columns_with_labels_from_one(stl_folder):
    data = load_stl10(stl_folder.parent)
    assert (data.verified, data.label, data.suffix, data.n_classes) == (True, "STL-10", "-stl10", 10)
    pixels, labels = drawn("train", 3 * 96 * 96, 10)
    np.testing.assert_array_equal(data.train_labels, labels)
    assert data.train_images[3, 1, 7, 40] == pixels[3, 1 * 96 * 96 + 40 * 96 + 7]
    np.testing.assert_array_equal(data.train_images, pixels.reshape(-1, 3, 96, 96).swapaxes(2, 3))
    named = load_stl10(stl_folder, unverified=True, label="STL-10 (small)")
    assert named.verified, "a label changes nothing about the published files"


@pytest.mark.parametrize("load", ["python_folder", "binary_folder", "stl_folder"])
def test_arrays_are_ready_for_torch(load, request):
    folder = request.getfixturevalue(load)
    data = (load_stl10 if "stl" in load else load_cifar100)(folder, unverified=True)
    for array in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert data.test_labels.dtype == np.int64


@pytest.mark.parametrize("label", ["CIFAR-100", "cifar 10", "STL10", "stl-10", "digits"])
def test_a_changed_copy_takes_no_published_name(stl_folder, python_folder, label):
    (stl_folder / "test_X.bin").write_bytes(bytes(100 * 3 * 96 * 96))
    (python_folder / "test").write_bytes(as_python(drawn("test", 3072, 100)[0] // 2, drawn("test", 3072, 100)[1]))
    for load, folder in ((load_stl10, stl_folder), (load_cifar100, python_folder)):
        with pytest.raises(DataError, match=r"must have MD5 \w+, got \w+"):
            load(folder)
        assert not load(folder, unverified=True).verified
        with pytest.raises(DataError, match="label must say which copy"):
            load(folder, unverified=True, label=label)


@pytest.mark.parametrize(
    "content, message",
    [
        (lambda p, y: as_python(p, y)[:-500], "complete pickle"),
        (lambda p, y: as_python(p[:, :100], y), r"data as uint8 \(n, 3072\), got uint8 \(100, 100\)"),
        (lambda p, y: as_python(p, y, **{"fine_labels": None}), "fine_labels as a list of ints, got NoneType"),
        (lambda p, y: as_python(p, y + 1), r"labels 0\.\.99, got 1\.\.100; is it CIFAR-100"),
        (lambda p, y: as_python(p, y[:-1]), "a label for every image, got 99 for 100"),
        (lambda p, y: as_python(p, y // 2), r"test part must hold every class, got no image of 50 \(mouse\), 51"),
    ],
)
def test_wrong_cifar100_files(python_folder, content, message):
    (python_folder / "test").write_bytes(content(*drawn("test", 3072, 100)))
    with pytest.raises(DataError, match=message) as caught:
        load_cifar100(python_folder, unverified=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file, change, message",
    [
        (
            "train_X.bin",
            lambda b: b[:-1],
            "train_X.bin must be a whole number of 27648-byte records, got 5529599 bytes",
        ),
        ("train_X.bin", lambda b: b[:-27648], "train_y.bin must hold a label for every image, got 200 for 199"),
        ("test_y.bin", lambda b: b"\x00" + b[1:], r"test_y.bin must hold labels 1\.\.10, got 0\.\.10; is it STL-10"),
        ("test_y.bin", lambda b: b.replace(b"\x04", b"\x05"), r"test part must hold every class.*of 3 \(cat\);"),
        ("test_X.bin", None, "test_X.bin must be a readable file, got missing"),
    ],
)
def test_wrong_stl10_files(stl_folder, file, change, message):
    path = stl_folder / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        load_stl10(stl_folder, unverified=True)


@pytest.mark.parametrize("module", [cifar10, cifar100, stl10])
def test_no_folder(module, tmp_path):
    load = getattr(module, f"load_{module.SOURCE.key}")
    with pytest.raises(DataError, match=r"data_dir must be an existing folder, got '.*nowhere'; extract"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=" or ".join(module.SOURCE.folders)):
        load(tmp_path)
