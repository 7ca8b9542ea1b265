"""Mini-batches of tiles with their masks, changed at random."""

import numbers

import numpy as np

from ganlib.data.batches import EpochAdapter, generated, prefetched
from ganlib.data.tiles import Tiles

GAIN, OFFSET = 0.2, 0.1  # the most that "intensity" changes
CHANGES = ("orientation", "mirror", "intensity")


class TileBatches(EpochAdapter):
    """Shuffled mini-batches of tiles for `fit`, the same in a resumed run as in an unbroken one.

    Batch s of epoch e is a function of (seed, e, s) alone: the order is that of `Batches`, and the
    changes are drawn by a generator seeded with all three. (For s = 0 its stream is that of the
    order; no tile is preferred by that.)

    Args:
        tiles: `ganlib.data.Tiles`; or a pair of arrays, float32 images `(n, height, width,
            channels)` in [0, 1] and masks `(n, height, width, 1)`.
        batch_size: int.
        seed: int, not negative.
        augment: tuple of what is done to each tile, alike to image and mask: "orientation", one of
            the 8 symmetries of a square; "mirror", left and right, every other time; "intensity",
            a gain of 0.8 to 1.2 and an offset of ±0.1, of the image alone.

    Raises:
        ValueError: the arrays differ in number or size of the tiles, there is none, they are not
            float32, a number is out of its range, a change is unknown, or tiles are to be turned
            that are not square.
    """

    def __init__(self, tiles, batch_size, seed, augment=()):
        self.images, self.masks = tiles.as_arrays() if isinstance(tiles, Tiles) else tiles
        self.seed, self.augment = seed, tuple(augment)
        self._batch_size = batch_size
        n, height, width = self.images.shape[:3]
        if len(self.masks) != n or not n:
            raise ValueError(
                "Images and masks must be as many, and at least one. Received: "
                f"{n} and {len(self.masks)}"
            )
        shapes = self.images.shape, self.masks.shape
        if shapes[0][:3] != shapes[1][:3] or not len(shapes[0]) == len(shapes[1]) == 4:
            raise ValueError(
                "Images and masks must be (n, height, width, channels) and (n, height, width, 1). "
                f"Received: shapes {shapes[0]} and {shapes[1]}"
            )
        if not self.images.dtype == self.masks.dtype == np.float32:
            raise ValueError(
                "Images and masks must be float32 from 0 to 1, as Tiles.as_arrays() gives them. "
                f"Received: dtypes {self.images.dtype} and {self.masks.dtype}"
            )
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}"
                )
        if unknown := set(self.augment) - set(CHANGES):
            raise ValueError(
                f"`augment` must be of {', '.join(CHANGES)}. Received: {sorted(unknown)}"
            )
        if "orientation" in self.augment and height != width:
            raise ValueError(
                'Only square tiles can be turned: use "mirror". Received: tiles of '
                f"{height}×{width}"
            )

    def __iter__(self):
        """Yields the batches of the current epoch as pairs of NumPy arrays."""
        epoch = self.epoch  # a generator: read at the first batch, when its callback has set it
        order = self.order(epoch)
        for step in range(self.num_batches):
            yield self._changed(order, epoch, step)

    def batch(self, epoch, step):
        """One batch.

        Args:
            epoch: int.
            step: int, its number within the epoch, from 0.

        Returns:
            Pair of float32 arrays: images in [0, 1], and masks of 0 and 1.
        """
        return self._changed(self.order(epoch), epoch, step)

    def order(self, epoch):
        """Indices of the tiles in the order of an epoch, `(n,)`."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.images))

    def _changed(self, order, epoch, step):
        chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
        images, masks = self.images[chosen], self.masks[chosen]
        rng = np.random.default_rng((self.seed, epoch, step))
        if "orientation" in self.augment:
            for i, (turns, mirrored) in enumerate(rng.integers((4, 2), size=(len(chosen), 2))):
                images[i] = _turned(images[i], turns, mirrored)
                masks[i] = _turned(masks[i], turns, mirrored)
        if "mirror" in self.augment:
            mirrored = rng.random(len(chosen)) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
            masks[mirrored] = masks[mirrored, :, ::-1]
        if "intensity" in self.augment:
            gain, offset = rng.uniform(-1, 1, (2, len(chosen), 1, 1, 1)).astype("float32")
            images = np.clip((1 + GAIN * gain) * images + OFFSET * offset, 0, 1)
        return images, masks

    # -- what Keras asks an adapter for ------------------------------------------------------------

    @property
    def num_batches(self):
        return -(-len(self.images) // self._batch_size)

    @property
    def batch_size(self):
        return self._batch_size

    @property
    def partial_batch_size(self):
        return len(self.images) % self._batch_size

    def get_tf_dataset(self):
        import tensorflow as tf

        signature = tuple(
            tf.TensorSpec((None, *array.shape[1:]), "float32")
            for array in (self.images, self.masks)
        )
        return prefetched(generated(self.__iter__, signature), self)


def _turned(tile, turns, mirrored):
    """One of the 8 orientations of a square, as a copy: the original lies in the same memory."""
    tile = np.rot90(tile, turns)
    return (tile[:, ::-1] if mirrored else tile).copy()
