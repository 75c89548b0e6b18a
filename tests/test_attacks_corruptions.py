"""The package's own corruptions: seeded by the place of an image, in the box, stronger with severity."""

import numpy as np
import pytest

from linfair.attacks import ATTACKS, CORRUPTIONS, corrupt
from linfair.attacks.corruptions import LABEL, SEVERITIES
from linfair.data import load_digits

each_kind = pytest.mark.parametrize("kind", CORRUPTIONS)
each_shape = pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 20, 12)], ids=str)


def images(shape, n=6):
    """Smooth pictures with an edge."""
    rng = np.random.default_rng(0)
    c, h, w = shape
    rows, columns = np.mgrid[:h, :w] / h
    waves = [np.sin(9 * rng.random() * rows + 9 * rng.random() * columns) for _ in range(n * c)]
    pictures = 0.5 + 0.4 * np.reshape(waves, (n, c, h, w))
    pictures[..., : w // 3] = 1 - pictures[..., : w // 3]
    return pictures.astype(np.float32)


@each_kind
@each_shape
def test_in_the_box_and_stronger_with_severity(kind, shape):
    x = images(shape)
    before = x.copy()
    made = [corrupt(x, kind, severity) for severity in SEVERITIES]
    assert np.array_equal(x, before)
    for corrupted in made:
        assert corrupted.shape == x.shape
        assert corrupted.dtype == np.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
    moved = [np.square(corrupted - x).mean() for corrupted in made]
    assert 0 < moved[0] < moved[1] < moved[2] < 0.1


@each_kind
def test_an_image_is_corrupted_alike_in_any_batch(kind):
    x = images((3, 32, 32))
    whole = corrupt(x, kind, 2, seed=4)
    assert np.array_equal(corrupt(x, kind, 2, seed=4), whole)
    assert np.array_equal(corrupt(x[[5, 2]], kind, 2, seed=4, places=[5, 2]), whole[[5, 2]])
    assert (kind == "noise") == (not np.array_equal(corrupt(x, kind, 2, seed=5), whole))
    assert len(corrupt(x[:0], kind, 2)) == 0


def test_what_they_do():
    x = images((3, 32, 32))
    np.testing.assert_allclose(np.std(corrupt(x, "noise", 1) - x), 0.04, rtol=0.1)
    np.testing.assert_allclose(corrupt(x, "blur", 3).mean(), x.mean(), rtol=2e-2)
    assert np.ptp(corrupt(x, "blur", 3)[..., 8:16], axis=-1).mean() < 0.9 * np.ptp(x[..., 8:16], axis=-1).mean()
    np.testing.assert_allclose(corrupt(x, "contrast", 3).mean((2, 3)), x.mean((2, 3)), atol=1e-5)
    np.testing.assert_allclose(corrupt(x, "contrast", 3).std((2, 3)), 0.25 * x.std((2, 3)), rtol=1e-3)
    flat = np.full((1, 3, 8, 8), 0.5, np.float32)
    np.testing.assert_allclose(corrupt(flat, "jpeg", 1), 128 / 255, atol=2 / 255)


def test_all_of_them_are_attacks_and_say_what_they_are():
    names = {f"{kind}-{severity}" for kind in CORRUPTIONS for severity in SEVERITIES}
    assert names == {name for name, attack in ATTACKS.items() if attack.kind == "corruption"}
    assert all(ATTACKS[name].note == LABEL for name in names)
    assert "not CIFAR-10-C" in LABEL


def test_digits_stay_readable():
    data = load_digits()
    x = data.test_images[:50] / 16
    for kind in CORRUPTIONS:
        strong = corrupt(x, kind, 3)
        across = np.corrcoef(x.ravel(), strong.ravel())[0, 1]
        assert across > 0.85, kind


@pytest.mark.parametrize("kind, severity", [("fog", 1), ("noise", 0), ("noise", 4)])
def test_unknown(kind, severity):
    with pytest.raises(ValueError, match="a corruption is one of"):
        corrupt(images((1, 8, 8)), kind, severity)


def test_wrong_shapes():
    with pytest.raises(ValueError, match="images must have shape"):
        corrupt(np.zeros((8, 8)), "noise", 1)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        corrupt(np.zeros((1, 2, 8, 8)), "jpeg", 1)
