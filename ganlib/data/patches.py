"""Pairs of patches in low and high resolution, cut from photographs at random."""

import numbers

import numpy as np

from ganlib.data.batches import EpochAdapter, generated, prefetched
from ganlib.data.photos import check_photos
from ganlib.images import ValueRange, convert, crop_to_multiple, downscale


class Patches(EpochAdapter):
    """Batches of aligned pairs of patches for `fit`, such that a resumed run sees the same ones.

    The low-resolution pictures are made once, by MATLAB's bicubic downscaling, rounded to 8 bits.
    From them and their originals, patches are cut at the same place, as wanted: each picture has
    the same chance, so that one large picture does not crowd out the rest, and each pair is flipped
    and turned to one of the 8 orientations of a square. Batch b of epoch e is a function of
    `(seed, e, b)` alone: it depends neither on the batches before, nor on the backend, nor on any
    global random state. `EpochOrder` tells which epoch it is. Leave `batch_size`, `shuffle` and
    `steps_per_epoch` of `fit` alone, for they have no say here.

    Args:
        photos: `Photos`.
        scale: int, how many times larger the high resolution is, in height and width.
        size: int, height and width of a high-resolution patch in pixels; divisible by `scale`.
        batch_size: int, pairs in a batch.
        steps: int, batches in an epoch.
        seed: int, not negative.
        high_range: `ganlib.images.ValueRange` or its name, of the high-resolution patches.

    Raises:
        ValueError: a number is out of its range, or `scale` does not divide `size`.
        DataError: there is no photograph, or one is smaller than a patch.

    Example:

    >>> patches = Patches(load_photos("photos", "train"), 4, 96, batch_size=16, steps=100, seed=0)
    >>> model.fit(patches, epochs=10, callbacks=[EpochOrder(patches)])
    """

    def __init__(self, photos, scale, size, batch_size, steps, seed, high_range="unit"):
        _check_numbers(scale=scale, size=size, batch_size=batch_size, steps=steps)
        if size % scale:
            raise ValueError(
                f"`scale` must divide `size`, the side of a high-resolution patch. Received: "
                f"size={size}, scale={scale}"
            )
        if not isinstance(seed, numbers.Integral) or seed < 0:
            raise ValueError(f"`seed` must be an integer, not negative. Received: seed={seed!r}")
        check_photos(photos, size)
        self.scale = scale
        self.size = size
        self.seed = seed
        self.high_range = ValueRange(high_range)
        self._batch_size = batch_size
        self._steps = steps
        self.high = [crop_to_multiple(image, scale) for image in photos.images]
        self.low = [downscale(image, scale) for image in self.high]
        self._sides = np.array([image.shape[:2] for image in self.low])

    def __iter__(self):
        """Yields the batches of the current epoch, `(low, high)`."""
        # A generator: the epoch is read at the first batch, when its callback has set it.
        epoch = self.epoch
        for step in range(self._steps):
            yield self.batch(epoch, step)

    def batch(self, epoch, step):
        """One batch.

        Args:
            epoch: int.
            step: int, its number within the epoch, from 0.

        Returns:
            Pair (low, high) of float32 arrays: `(batch_size, size / scale, size / scale, 3)` in
            [0, 1] and `(batch_size, size, size, 3)` in `high_range`.
        """
        n, scale, side = self._batch_size, self.scale, self.size // self.scale
        rng = np.random.default_rng((self.seed, epoch, step))
        pictures = rng.integers(len(self.high), size=n)
        corners = rng.integers(self._sides[pictures] - side + 1)
        orientations = rng.integers(8, size=n)
        low = np.empty((n, side, side, 3), np.uint8)
        high = np.empty((n, self.size, self.size, 3), np.uint8)
        for i, (picture, corner, orientation) in enumerate(
            zip(pictures, corners, orientations, strict=True)
        ):
            low[i] = _oriented(_cut(self.low[picture], corner, side), orientation)
            high[i] = _oriented(_cut(self.high[picture], scale * corner, self.size), orientation)
        return convert(low, "byte", "unit"), convert(high, "byte", self.high_range)

    # -- what Keras asks an adapter for ------------------------------------------------------------

    @property
    def num_batches(self):
        return self._steps

    @property
    def batch_size(self):
        return self._batch_size

    def get_tf_dataset(self):
        import tensorflow as tf

        sides = (self.size // self.scale, self.size)
        shapes = [(self._batch_size, side, side, 3) for side in sides]
        signature = tuple(tf.TensorSpec(shape, "float32") for shape in shapes)
        return prefetched(generated(self.__iter__, signature), self)


def _check_numbers(**numbers_by_name):
    for name, value in numbers_by_name.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
            )


def _cut(image, corner, size):
    top, left = corner
    return image[top : top + size, left : left + size]


def _oriented(patch, orientation):
    """One of the 8 orientations of a square: four quarter turns, of it and of its mirror image."""
    mirrored = patch[:, ::-1] if orientation >= 4 else patch
    return np.rot90(mirrored, orientation % 4)
