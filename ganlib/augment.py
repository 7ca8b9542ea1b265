"""Augmentation that the generator's gradient goes through, for small data sets."""

import dataclasses

import keras
from keras import ops


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class DiffAugment:
    """Random changes of everything that a discriminator sees (Zhao et al., 2020, DiffAugment).

    Changing real *and* generated images keeps the discriminator from learning few real ones by
    heart; the generator learns through the changes without copying them. Each image is changed by
    itself, in this order whatever the policy's, with the paper's strengths for images in [-1, 1]:

    * `"brightness"`: adds a number from [-0.5, 0.5).
    * `"saturation"`: scales the distance from each pixel's mean over the channels by [0, 2).
    * `"contrast"`: scales the distance from the image's mean by [0.5, 1.5).
    * `"translation"`: shifts by up to an eighth of height and width, filled with 0 (mid-grey).
    * `"cutout"`: sets a box of half the height and width to 0, centred anywhere in the image.
    * `"orientation"`: one of the eight symmetries of a square. Not in the paper; for pictures that
      have no up or down, such as cells under a microscope.

    Args:
        policy: tuple of str, which of these changes.

    Raises:
        ValueError: a change is unknown, given twice, or there is none.

    Example:

    >>> gan = Adversarial(generator, discriminator, augment=DiffAugment(("translation", "cutout")))
    """

    policy: tuple = ("brightness", "saturation", "contrast", "translation", "cutout")

    def __post_init__(self):
        policy = (self.policy,) if isinstance(self.policy, str) else tuple(self.policy)
        if not policy or set(policy) - CHANGES.keys() or len(set(policy)) < len(policy):
            raise ValueError(
                f"`policy` must name some of {tuple(CHANGES)}, each once; for none leave the "
                f"augmentation out. Received: policy={self.policy!r}"
            )
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

    def get_config(self):
        return {"policy": list(self.policy)}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


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
    # A product with a shifted identity: its gradient is one, too, where that of a gather would be
    # a slow scatter. Every element has one term, so nothing is rounded.
    rows, columns = _shift(first, height), _shift(second, width)
    images = ops.einsum("nij,njwc->niwc", rows, images)
    return ops.einsum("nkw,niwc->nikc", columns, images)


def _shift(random, size):
    """Matrices `(batch_size, size, size)` that move a vector by up to an eighth, padded with 0."""
    most = int(size / 8 + 0.5)
    by = ops.floor(random[:, :, :, 0] * (2 * most + 1)) - most
    target = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1))
    source = ops.reshape(ops.arange(size, dtype="float32"), (1, 1, size))
    return ops.cast(ops.equal(source, target - by), "float32")


def _cutout(images, first, second):
    _, height, width, _ = images.shape
    rows = ops.reshape(_inside(first, height), (-1, height, 1, 1))
    columns = ops.reshape(_inside(second, width), (-1, 1, width, 1))
    return images * (1.0 - rows * columns)


def _inside(random, size):
    """1 where a box of half the size is, 0 elsewhere, `(batch_size, size)`."""
    box = int(size / 2 + 0.5)
    # An even box has no middle pixel: one more place makes both borders alike.
    start = ops.floor(random[:, 0, 0] * (size + 1 - box % 2)) - box // 2
    places = ops.reshape(ops.arange(size, dtype="float32"), (1, size))
    return ops.cast((places >= start) & (places < start + box), "float32")


def _orientation(images, first, second):
    if images.shape[1] != images.shape[2]:
        raise ValueError(
            'Only square images can be turned: leave "orientation" out. Received: shape '
            f"{tuple(images.shape)}"
        )
    diagonal = 2.0 * first  # its second digit in base 2 is a third coin, free of the first
    images = ops.where(first < 0.5, ops.flip(images, axis=2), images)
    images = ops.where(second < 0.5, ops.flip(images, axis=1), images)
    return ops.where(diagonal % 1.0 < 0.5, ops.transpose(images, (0, 2, 1, 3)), images)


CHANGES = {
    "brightness": _brightness,
    "saturation": _saturation,
    "contrast": _contrast,
    "translation": _translation,
    "cutout": _cutout,
    "orientation": _orientation,
}
