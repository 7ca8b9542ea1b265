"""A small digit classifier, trained in seconds, that stands in for Inception offline."""

import dataclasses
import itertools
import logging
import pathlib

import filelock
import keras
import numpy as np
from keras import layers

from ganlib.data.writing import replacing
from ganlib.models.outputs import infer

CLASSES, FEATURES, BATCH_SIZE = 10, 64, 64
SHIFT = 2  # pixels
OUTLIERS = 0.125  # per digit


def build_classifier(seed=0):
    """Returns a two-convolution `keras.Model`: 28×28×1 images in [0, 1] to (logits, features)."""
    seeds = itertools.count(1000 * seed)

    def initial():
        return {"kernel_initializer": keras.initializers.HeNormal(next(seeds))}

    images = x = keras.Input((28, 28, 1), name="images")
    for filters, kernel in ((16, 5), (32, 3)):
        x = layers.Conv2D(filters, kernel, padding="same", activation="relu", **initial())(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.3, seed=next(seeds))(layers.Flatten()(x))
    features = layers.Dense(FEATURES, activation="relu", name="features", **initial())(x)
    logits = layers.Dense(CLASSES, name="logits", **initial())(features)
    return keras.Model(images, [logits, features], name="digit_classifier")


@dataclasses.dataclass(frozen=True)
class DigitClassifier:
    """A trained classifier with its own measured accuracy."""

    model: keras.Model
    accuracy: float  # on n digits that it was not trained on
    n: int

    def __call__(self, images):
        """Returns class probabilities `(n, 10)` and features `(n, 64)`, float64 arrays."""
        outputs = infer(self.model, images, images.shape[1:])
        logits, features = (output.astype("float64") for output in outputs)
        return softmax(logits), features


def softmax(logits):
    """Probabilities of an array of logits `(n, classes)`."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def train_classifier(train, test, seed=0, steps=700):
    """Trains a classifier on randomly shifted digits and on outliers.

    Outliers (noise, digits with shuffled pixels) are taught even probabilities (Hendrycks et al.,
    2019): a network that has seen only digits is as sure of noise as of a digit.

    Args:
        train, test: labelled `ganlib.data.Images` of 28×28 grey pictures; accuracy is of `test`.
        seed, steps: int; a step is a batch of 64.
    """
    model = build_classifier(seed)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    cross_entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss=[cross_entropy, None])
    digits, targets = train.as_range("unit"), np.eye(CLASSES, dtype="float32")[train.labels]
    per_round = max(1, min(steps, len(digits) // BATCH_SIZE))
    for part, done in enumerate(range(0, steps, per_round)):
        rng = np.random.default_rng((seed, part))
        batches = _batch(digits, targets, BATCH_SIZE * min(per_round, steps - done), rng)
        model.fit(*batches, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    return _tested(model, test)


def load_or_train(path, train, test, seed=0, steps=700):
    """The classifier kept in `path` (.keras); by one process trained first where it is missing.

    One that can't be read is made again. Args as of `train_classifier`.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        if path.exists():
            try:
                return _tested(keras.models.load_model(path, safe_mode=True), test)
            except Exception as error:  # zip, HDF5, JSON and Keras errors all mean the same
                logging.getLogger(__name__).warning(f"{path} is made again: {error}")
        classifier = train_classifier(train, test, seed, steps)
        with replacing(path) as aside:
            classifier.model.save(aside)
    return classifier


def _tested(model, test):
    probabilities, _ = DigitClassifier(model, float("nan"), 0)(test.as_range("unit"))
    accuracy = float((probabilities.argmax(axis=1) == test.labels).mean())
    return DigitClassifier(model, accuracy, len(test))


def _batch(digits, targets, n, rng):
    outliers = int(n * OUTLIERS / (1 + OUTLIERS))
    chosen = rng.choice(len(digits), n - outliers, replace=n - outliers > len(digits))
    noise = rng.random((outliers // 2, *digits.shape[1:]), dtype="float32")
    shuffled = digits[rng.choice(len(digits), outliers - len(noise))]
    shuffled = rng.permuted(shuffled.reshape(len(shuffled), -1), axis=1).reshape(shuffled.shape)
    even = np.full((outliers, CLASSES), 1 / CLASSES, "float32")
    images = np.concatenate([_shift(digits[chosen], rng), noise, shuffled])
    order = rng.permutation(n)
    return images[order], np.concatenate([targets[chosen], even])[order]


def _shift(images, rng):
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:3], axis=(1, 2))
    y, x = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    return np.ascontiguousarray(windows[np.arange(len(images)), y, x].transpose(0, 2, 3, 1))
