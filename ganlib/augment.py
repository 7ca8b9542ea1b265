"""Augmentation that the generator's gradient goes through, for small data sets."""

import dataclasses

import keras
from keras import ops

from ganlib.losses import Configured


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class DiffAugment(Configured):
    """Random changes of everything that a discriminator sees (Zhao et al., 2020, DiffAugment).

    In this order whatever the policy's, strengths as in the paper:

    * `"brightness"`: adds a number from [-0.5, 0.5).
    * `"saturation"`: scales the distance from each pixel's mean over the channels by [0, 2).
    * `"contrast"`: scales the distance from the image's mean by [0.5, 1.5).
    * `"translation"`: shifts by up to an eighth of height and width, filled with 0 (mid-grey).
    * `"cutout"`: sets a box of half the height and width to 0, centred anywhere in the image.
    * `"orientation"`: one of the eight symmetries of a square. Not in the paper.
    """

    policy: tuple = ("brightness", "saturation", "contrast", "translation", "cutout")

    def __post_init__(self):
        policy = (self.policy,) if isinstance(self.policy, str) else tuple(self.policy)
        if not policy or set(policy) - CHANGES.keys():
            raise ValueError(f"`policy` must name some of {[*CHANGES]}. Received: {self.policy}")
        object.__setattr__(self, "policy", policy)

    def __call__(self, images, seed_generator):
        """Changes images `(batch_size, height, width, channels)` in [-1, 1], in float32."""
        images = ops.cast(images, "float32")
        shape = (ops.shape(images)[0], 1, 1, 1)
        for name, change in CHANGES.items():
            if name in self.policy:
                first, second = (keras.random.uniform(shape, seed=seed_generator) for _ in range(2))
                images = change(images, first, second)
        return images


# Each takes images and numbers `(batch_size, 1, 1, 1)` from [0, 1); most need only the first.


def _brightness(images, first, second):
    return images + (first - 0.5)


def _saturation(images, first, second):
    mean = ops.mean(images, axis=3, keepdims=True)
    return mean + 2.0 * first * (images - mean)


def _contrast(images, first, second):
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + (first + 0.5) * (images - mean)


def _translation(images, first, second):
    _, height, width, _ = images.shape
    # Not a gather, whose gradient would be a slow scatter. One term each: nothing is rounded.
    images = ops.einsum("nij,njwc->niwc", _shift(first, height), images)
    return ops.einsum("nkw,niwc->nikc", _shift(second, width), images)


def _shift(random, size):
    """Matrices `(batch_size, size, size)` that move a vector by up to an eighth, padded with 0."""
    most = int(size / 8 + 0.5)
    by = ops.floor(random[:, :, :, 0] * (2 * most + 1)) - most
    places = ops.arange(size, dtype="float32")
    return ops.cast(ops.equal(places, places[:, None] - by), "float32")


def _cutout(images, first, second):
    _, height, width, _ = images.shape
    rows, columns = _inside(first, height), _inside(second, width)
    return images * (1.0 - rows[:, :, None, None] * columns[:, None, :, None])


def _inside(random, size):
    """1 where a box of half the size is, 0 elsewhere, `(batch_size, size)`."""
    box = int(size / 2 + 0.5)
    # An even box has no middle pixel: one more place makes both borders alike.
    start = ops.floor(random[:, 0, 0] * (size + 1 - box % 2)) - box // 2
    places = ops.arange(size, dtype="float32")
    return ops.cast((places >= start) & (places < start + box), "float32")


def _orientation(images, first, second):
    if images.shape[1] != images.shape[2]:
        raise ValueError(f'"orientation" needs square images. Received: {images.shape}')
    diagonal = 2.0 * first  # its second digit in base 2 is a third coin, free of the first
    images = ops.where(first < 0.5, ops.flip(images, axis=2), images)
    images = ops.where(second < 0.5, ops.flip(images, axis=1), images)
    return ops.where(diagonal % 1.0 < 0.5, ops.transpose(images, (0, 2, 1, 3)), images)


CHANGES = {"brightness": _brightness, "saturation": _saturation, "contrast": _contrast}
CHANGES |= {"translation": _translation, "cutout": _cutout, "orientation": _orientation}
