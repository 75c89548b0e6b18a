"""Data sets: official layouts read back, and every way in which files can be wrong answered in one line."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from linfair.data import DataError, Dataset, folds, load_digits, slug
from linfair.data import cifar10 as module
from linfair.data.cifar10 import CLASS_NAMES, MD5, RECORD, load_cifar10

N = 20


def batches(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {name: (rng.integers(0, 256, (N, 3072), np.uint8), np.arange(N) % 10) for name in MD5}


def write_binary(folder, content=None):
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir()
    for name, (pixels, labels) in (content or batches()).items():
        np.column_stack([labels, pixels]).astype(np.uint8).tofile(folder / f"{name}.bin")
    return folder


def official_pickle(pixels, labels) -> bytes:
    """As Python 2 wrote it: protocol 2, bytes as keys, numpy's old module name."""
    blob = pickle.dumps({b"data": pixels, b"labels": labels.tolist(), b"batch_label": b"x"}, protocol=2)
    return blob.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def python_folder(tmp_path, monkeypatch):
    """The python layout with generated images, whose checksums count as official."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in batches().items():
        blob = official_pickle(*content)
        (folder / name).write_bytes(blob)
        monkeypatch.setitem(module.MD5, name, hashlib.md5(blob, usedforsecurity=False).hexdigest())
    return folder


def test_python_layout_is_verified_and_plainly_named(python_folder):
    data = load_cifar10(python_folder)
    assert (data.verified, data.label, data.suffix, data.class_names) == (True, "CIFAR-10", "", CLASS_NAMES)
    assert data.train_images.shape == (5 * N, 3, 32, 32)
    assert data.test_images.dtype == np.uint8
    pixels, labels = batches()["test_batch"]
    np.testing.assert_array_equal(data.test_images.reshape(N, -1), pixels)
    np.testing.assert_array_equal(data.test_labels, labels)
    assert load_cifar10(python_folder.parent).fingerprint == data.fingerprint
    assert load_cifar10(python_folder, unverified=True).label == "CIFAR-10"


def test_both_layouts_hold_the_same_data(python_folder, tmp_path):
    (tmp_path / "other").mkdir()
    binary = load_cifar10(write_binary(tmp_path / "other"), unverified=True)
    assert binary.fingerprint == load_cifar10(python_folder).fingerprint
    X, y = binary.train()
    assert X.shape == (5 * N, 3072)
    assert 0.0 <= X.min() <= X.max() <= 1.0
    assert len(y) == 5 * N


def test_binary_layout_is_verified(tmp_path, monkeypatch):
    folder = write_binary(tmp_path)
    for name in MD5:
        blob = (folder / f"{name}.bin").read_bytes()
        monkeypatch.setitem(module.MD5_BINARY, name, hashlib.md5(blob, usedforsecurity=False).hexdigest())
    data = load_cifar10(tmp_path)
    assert (data.verified, data.label, data.suffix) == (True, "CIFAR-10", "")
    (folder / "test_batch.bin").write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(DataError, match=r"test_batch\.bin must have MD5 \w{32}, got \w{32}"):
        load_cifar10(tmp_path)


def test_an_unverified_copy_asks_and_is_labelled(tmp_path):
    folder = write_binary(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1\.bin must have MD5 .*--unverified"):
        load_cifar10(folder)
    data = load_cifar10(tmp_path, unverified=True)
    assert not data.verified
    assert data.label == f"CIFAR-10 (unverified copy {data.fingerprint})"
    assert data.suffix == f"-cifar10-unverified-copy-{data.fingerprint}"
    named = load_cifar10(tmp_path, unverified=True, label="CIFAR-10 (JPEG copy)")
    assert named.label == f"CIFAR-10 (JPEG copy), data {data.fingerprint}"
    assert named.suffix == "-cifar10-jpeg-copy"


@pytest.mark.parametrize("label", ["CIFAR-10", "cifar 10", "CIFAR10", " "])
def test_an_unverified_copy_is_never_called_cifar10(tmp_path, label):
    write_binary(tmp_path)
    with pytest.raises(DataError, match="label must say which copy"):
        load_cifar10(tmp_path, unverified=True, label=label)


def test_a_changed_file_fails_its_checksum(python_folder):
    path = python_folder / "data_batch_3"
    pixels, labels = batches()["data_batch_3"]
    pixels[0, 0] ^= 1
    path.write_bytes(official_pickle(pixels, labels))
    with pytest.raises(DataError, match=r"data_batch_3 must have MD5 \w{32}, got \w{32}"):
        load_cifar10(python_folder)
    assert "unverified" in load_cifar10(python_folder, unverified=True).label


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_an_unsafe_pickle_is_refused_and_not_run(python_folder, tmp_path):
    (python_folder / "test_batch").write_bytes(pickle.dumps({b"data": Harmful(tmp_path / "ran")}))
    with pytest.raises(DataError, match=r"numpy arrays only, got a reference to \w+\.mkdir"):
        load_cifar10(python_folder, unverified=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_that_run_code_are_refused(python_folder, name):
    (python_folder / "test_batch").write_bytes(f"c__builtin__\n{name}\n.".encode())
    with pytest.raises(DataError, match=f"builtins?__?.{name}"):
        load_cifar10(python_folder, unverified=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "complete pickle, got EOFError"),
        (official_pickle(*batches()["test_batch"])[:-900], "complete pickle"),
        (pickle.dumps([1, 2]), "data as uint8"),
        (pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}, protocol=2), r"got uint8 \(2, 5\)"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}, protocol=2), "got float64"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": "ab"}, protocol=2), "list of ints, got str"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, protocol=2), "got 1 for 2"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, protocol=2), r"0\.\.9, got 0\.\.10"),
    ],
)
def test_damaged_pickles(python_folder, content, message):
    (python_folder / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(python_folder, unverified=True)
    assert "\n" not in str(caught.value)
    assert "data_batch_2" in str(caught.value)


def test_damaged_binary_files(tmp_path):
    folder = write_binary(tmp_path)
    path = folder / "data_batch_5.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"whole number of {RECORD}-byte records, got {len(content)} bytes"):
            load_cifar10(folder, unverified=True)
    path.write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(DataError, match=r"labels 0\.\.9, got 0\.\.11"):
        load_cifar10(folder, unverified=True)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_5\.bin must be a readable file, got missing"):
        load_cifar10(folder, unverified=True)


def test_missing_folders(tmp_path):
    with pytest.raises(DataError, match="existing folder, got"):
        load_cifar10(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cifar-10-batches-py or cifar-10-batches-bin"):
        load_cifar10(tmp_path)


def test_digits():
    data = load_digits()
    assert (len(data.train_labels), len(data.test_labels), data.suffix) == (1433, 364, "-digits")
    for _, labels in (data.train(), data.test()):
        assert np.ptp(np.bincount(labels)) <= 12
    X, y = data.pooled()
    assert X.shape == (1797, 64)
    assert (X.min(), X.max()) == (0.0, 1.0)
    assert data.fingerprint == load_digits().fingerprint != load_digits(seed=1).fingerprint
    np.testing.assert_array_equal(np.bincount(y), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_folds_are_balanced_within_classes():
    labels = np.repeat([0, 1, 3], [10, 13, 7])
    fold = folds(labels, 5, np.random.default_rng(0))
    for k in (0, 1, 3):
        assert np.ptp(np.bincount(fold[labels == k], minlength=5)) <= 1
    with pytest.raises(ValueError, match=r"k must lie in 2\.\.7"):
        folds(labels, 8, np.random.default_rng(0))


def test_fingerprint_sees_pixels_labels_and_order():
    def data(images, labels):
        return Dataset(images, labels, images, labels, ("a", "b"), "x", "x", False, "-x").fingerprint

    images, labels = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2), np.array([0, 1])
    seen = {data(images, labels), data(images[::-1], labels), data(images, labels[::-1]), data(images + 1, labels)}
    assert len(seen) == 4
    assert data(images, labels) == data(images.copy(), labels.astype(np.int32))


PIXELS, CLASSES = np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": PIXELS / 1.0}, r"train_images must be a numpy array of uint8 in 0\.\.levels, got float64"),
        ({"test_images": PIXELS.astype(int)}, "test_images must be a numpy array of uint8 .*, got int64"),
        ({"test_images": PIXELS.tolist()}, "test_images must be a numpy array of uint8 .*, got list"),
        (
            {"train_images": PIXELS[:, 0]},
            r"train_images must have shape \[n, channels, height, width\], got \(2, 2, 2\)",
        ),
        ({"test_images": PIXELS[..., :1]}, r"test_images must have the shape of train_images, \(1, 2, 2\) an image"),
        ({"train_labels": CLASSES[:1]}, r"train_labels must have shape \(2,\)"),
        ({"test_labels": CLASSES - 1}, r"test_labels must lie in 0\.\.C-1, got -1\.\.0"),
        ({"test_labels": CLASSES + 0.5}, "test_labels must hold integers"),
        (
            {"test_images": PIXELS + 17, "levels": 16},
            r"levels must lie in 1\.\.255 and bound test_images, got 16 and 17",
        ),
        ({"levels": 0}, r"levels must lie in 1\.\.255"),
    ],
)
def test_what_is_no_data_set(changes, message):
    fields = {"train_images": PIXELS, "train_labels": CLASSES, "test_images": PIXELS, "test_labels": CLASSES}
    about = {"class_names": ("a", "b"), "name": "x", "label": "x", "verified": False, "suffix": "-x"}
    Dataset(**fields, **about)
    with pytest.raises(DataError, match=message):
        Dataset(**(fields | about | changes))


def test_labels_of_a_data_set_may_be_a_list():
    data = Dataset(PIXELS, [0, 1], PIXELS, [1, 0], ("a", "b"), "x", "x", False, "-x")  # pyright: ignore[reportArgumentType]
    assert data.train_labels.dtype == np.int64


def test_slug():
    assert slug("CIFAR-10 (JPEG copy)") == "cifar10-jpeg-copy"
