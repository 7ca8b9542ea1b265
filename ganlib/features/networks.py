"""The networks that scores stand on, by name."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import typing
import zipfile

import filelock
import keras
import numpy as np
from keras import layers
from PIL import Image

from ganlib.data.writing import replacing
from ganlib.features import digits, efficientnet
from ganlib.images import ValueRange, check_range, convert

BICUBIC = "Pillow bicubic, antialiased, 8 bit"
INCEPTION_WEIGHTS = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"


class Seen(typing.NamedTuple):
    """What a network makes of n images: float32 arrays; rows of probabilities sum to 1."""

    features: np.ndarray  # (n, dimension)
    probabilities: np.ndarray  # (n, classes)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A frozen network with the way that images are brought to it.

    They become 8-bit, and Pillow resizes them with an antialiased filter: others move scores by
    more than models differ (Parmar et al., 2022).
    """

    name: str  # as `get` knows it
    title: str  # as it stands beside a number
    size: int  # side of its input in pixels
    channels: int  # 1 or 3
    resize: str  # how images are brought to that size
    dimension: int  # number of features
    checksum: str  # SHA-256 of its weights
    forward: typing.Callable  # uint8 (n, size, size, channels) to features and probabilities
    batch_size: int = 32

    def __call__(self, images, value_range=None, progress=False):
        """Returns `Seen` of images: `ganlib.data.Images`, or an array `(n, height, width, 1 or 3)`.

        An array needs a `value_range`, which its values are checked for; `progress` shows a bar.
        """
        from tqdm.auto import tqdm

        images, value_range = _unpacked(images, value_range)
        check_range(images, value_range)
        # One shape of batch for all, since a backend compiles for each shape.
        full = min(self.batch_size, 1 << (len(images) - 1).bit_length())
        starts, parts = range(0, len(images), self.batch_size), []
        for start in tqdm(starts, desc=self.title, unit="batch", disable=not progress):
            batch = self._prepared(images[start : start + self.batch_size], value_range)
            padding = np.zeros((full - len(batch), *batch.shape[1:]), batch.dtype)
            outputs = self.forward(np.concatenate([batch, padding]))
            parts.append([np.asarray(x)[: len(batch)].astype("float32") for x in outputs])
        return Seen(*(np.concatenate(x) for x in zip(*parts, strict=True)))

    def _prepared(self, images, value_range):
        prepared = []
        for image in convert(images, value_range, "byte"):
            image = Image.fromarray(np.squeeze(image, -1) if image.shape[-1] == 1 else image)
            image = image.convert("L" if self.channels == 1 else "RGB")
            if image.size != (self.size, self.size):
                image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
            prepared.append(np.asarray(image).reshape(self.size, self.size, self.channels))
        return np.stack(prepared)


def _unpacked(images, value_range):
    """Images as an array `(n, height, width, channels)` and their `ValueRange`."""
    if hasattr(images, "value_range"):
        images, value_range = images.images, value_range or images.value_range
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise ValueError(
            "Images must have the shape (n, height, width, 1 or 3), with at least one image. "
            f"Received: shape={images.shape}"
        )
    return images, ValueRange(value_range)


def cached(network, images, folder, value_range=None):
    """Returns `network(images)`, kept in a folder under the content of both."""
    images, value_range = _unpacked(images, value_range)
    facts = (network.name, network.checksum, network.resize, network.size, value_range)
    digest = hashlib.sha256(repr([*map(str, facts), images.dtype.str, images.shape]).encode())
    digest.update(np.ascontiguousarray(images))
    path = pathlib.Path(folder) / f"{network.name}-{digest.hexdigest()}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        try:
            with path.open("rb") as archive, np.load(archive, allow_pickle=False) as file:
                seen = Seen(*(file[name] for name in Seen._fields))
            if all(part.shape[:1] == (len(images),) for part in seen):
                return seen
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # there is none, or it is damaged
        seen = network(images, value_range)
        with replacing(path) as aside:
            np.savez(aside, **seen._asdict())
    return seen


def get(identifier):
    """Returns a `Network`.

    Args:
        identifier: a `Network` (returned as it is), a `ganlib.features.digits.DigitClassifier`, or
            a name: "efficientnet_lite0" (offline), "efficientnet_lite0_small" (at 112 pixels, four
            times as fast), "inception_v3" (Keras downloads 96 MB), or "auto": Inception where its
            weights are at hand, else EfficientNet-Lite0. OSError: weights can't be had.
    """
    if isinstance(identifier, Network):
        return identifier
    if isinstance(identifier, digits.DigitClassifier):
        return _digit_network(identifier)
    if identifier == "auto":
        identifier = "inception_v3" if inception_weights() else "efficientnet_lite0"
    makers = {"efficientnet_lite0": efficientnet_lite0, "inception_v3": inception_v3}
    makers["efficientnet_lite0_small"] = functools.partial(efficientnet_lite0, 112)
    if identifier in makers:
        return makers[identifier]()
    names = f'a Network, "auto" or one of {sorted(makers)}'
    raise ValueError(f"`network` must be {names}. Received: {identifier!r}")


@functools.cache
def efficientnet_lite0(size=efficientnet.SIZE):
    """Returns the `Network` of `ganlib.features.efficientnet`: 1,280 features."""
    name, title = "efficientnet_lite0", "EfficientNet-Lite0"
    if size != efficientnet.SIZE:
        name, title = f"{name}_small", f"{title} at {size} px"
    facts = size, 3, BICUBIC, efficientnet.FEATURES, efficientnet.SHA256
    return Network(name, title, *facts, functools.partial(_forward, efficientnet.build(size)))


def inception_weights():
    """Path of the Inception-v3 weights in Keras' cache; None where they are not."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    path = pathlib.Path(home) / "models" / INCEPTION_WEIGHTS
    return path if path.is_file() else None


@functools.cache
def inception_v3():
    """Inception-v3 as keras.applications has it: 2,048 features after the pooling, 299 pixels.

    Its weights are not those of 2015 that published FIDs rest on: compare its FID with its own.
    """
    try:
        whole = keras.applications.InceptionV3(classifier_activation=None)
    except Exception as error:  # urllib, ssl and Keras each raise errors of their own
        raise OSError(
            "Inception-v3's weights need the internet the first time. Offline use "
            f'network="efficientnet_lite0". Received: {error}'
        ) from error
    inputs = keras.Input((299, 299, 3))
    trunk = keras.Model(whole.inputs, [whole.get_layer("avg_pool").output, whole.outputs[0]])
    model = keras.Model(inputs, trunk(layers.Rescaling(1 / 127.5, -1.0)(inputs)))
    checksum = hashlib.sha256(inception_weights().read_bytes()).hexdigest()
    facts = "inception_v3", "Inception-v3 (Keras)", 299, 3, BICUBIC, 2048, checksum
    return Network(*facts, functools.partial(_forward, model))


def _digit_network(classifier):
    def forward(batch):
        probabilities, features = classifier(convert(batch, "byte", "unit"))
        return features, probabilities

    digest = hashlib.sha256()
    for weights in classifier.model.get_weights():
        digest.update(np.ascontiguousarray(weights, "<f4"))
    facts = "digits", "digit classifier", 28, 1, BICUBIC, digits.FEATURES, digest.hexdigest()
    return Network(*facts, forward, batch_size=512)


def _forward(model, batch):
    features, logits = model.predict_on_batch(batch.astype("float32"))
    return features, digits.softmax(logits)
