"""The digit classifier that all scores of the digits study rest on; trained once, about 12 s."""

from unittest import mock

import numpy as np
import pytest

from ganlib.data import load
from ganlib.features import digits as features
from ganlib.features.digits import load_or_train
from ganlib.metrics.digits import noise_images


@pytest.fixture(scope="module")
def parts():
    return load("digits", split="train"), load("digits", split="test")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("features") / "new folder" / "classifier.keras"


@pytest.fixture(scope="module")
def classifier(parts, path):
    return load_or_train(path, *parts, seed=0)


def test_accuracy_on_held_out_digits(classifier, parts):
    _, test = parts
    assert classifier.n == len(test)
    assert classifier.accuracy >= 0.97
    probabilities, seen = classifier(test.as_range("unit"))
    assert probabilities.shape == (len(test), 10)
    assert seen.shape == (len(test), features.FEATURES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    right = probabilities.argmax(axis=1) == test.labels
    assert classifier.accuracy == right.mean()
    assert probabilities.max(axis=1).mean() > 0.9
    assert repr(classifier) == f"<DigitClassifier tested on {len(test)} digits>"


def test_it_is_not_sure_of_noise(classifier):
    # 0.1 is what even probabilities give; a classifier of digits alone is sure of a class here.
    probabilities, _ = classifier(noise_images(300, seed=7))
    assert 0.1 <= probabilities.max(axis=1).mean() < 0.2


def test_batches_do_not_matter(classifier, parts):
    images = parts[1].as_range("unit")[:501]  # one more than goes through the network at once
    together, _ = classifier(images)
    alone, _ = classifier(images[500:])
    np.testing.assert_allclose(together[500:], alone, rtol=1e-4, atol=1e-6)


def test_it_is_kept_in_a_file(classifier, parts, path):
    assert path.exists()
    assert not list(path.parent.glob("writing-*"))
    with mock.patch.object(features, "train_classifier") as train:
        again = load_or_train(path, *parts, seed=0)
    train.assert_not_called()
    assert (again.accuracy, again.n) == (classifier.accuracy, classifier.n)
    images = parts[1].as_range("unit")[:50]
    for a, b in zip(classifier(images), again(images), strict=True):
        np.testing.assert_array_equal(a, b)


def test_build_classifier_depends_on_its_seed_alone():
    first, second, other = (features.build_classifier(seed) for seed in (1, 1, 2))
    for a, b, c in zip(*(model.get_weights() for model in (first, second, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not a.any() or not np.array_equal(a, c)  # biases start at 0


def test_training_batches():
    digits = np.random.default_rng(0).random((20, 28, 28, 1), dtype="float32")
    targets = np.eye(10, dtype="float32")[np.arange(20) % 10]
    images, wanted = features._batch(digits, targets, 45, np.random.default_rng(0))
    assert images.shape == (45, 28, 28, 1)
    assert (images.min() >= 0) & (images.max() <= 1)
    np.testing.assert_allclose(wanted.sum(axis=1), 1.0, rtol=1e-6)
    outliers = (wanted == np.float32(0.1)).all(axis=1)
    assert outliers.sum() == 5  # an eighth of the 40 digits


def test_shift_moves_without_wrapping():
    images = np.zeros((200, 28, 28, 1), "float32")
    images[:, 0, 0] = 1.0  # a corner: half of its moves lead outside
    images[:, 14, 14] = 0.5  # the middle: all stay inside
    moved = features._shift(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    np.testing.assert_array_equal((moved == 0.5).sum(axis=(1, 2, 3)), 1)
    y, x = np.argwhere(moved[..., 0] == 0.5)[:, 1:].T - 14
    assert set(y) == set(x) == {-2, -1, 0, 1, 2}
    corner = (moved == 1.0).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(corner, (y >= 0) & (x >= 0))
