"""Mini-batches in an order that depends on the seed and the epoch alone."""

import dataclasses
import weakref

import keras
import numpy as np
from keras import ops

# `fit` takes any DataAdapter as it is, but Keras exports the class only here. A PyDataset will not
# do: `fit` shuffles its batches (shuffle=True is the default) with Python's global generator, and
# on TensorFlow it copies each batch through Python.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from ganlib.data.checks import check
from ganlib.images import ValueRange, convert, crop_to_multiple, downscale

GAIN, OFFSET = 0.2, 0.1  # the most that "intensity" changes
CHANGES = ("orientation", "mirror", "intensity")


class Batches(DataAdapter):
    """Mini-batches for `fit`, such that a resumed run sees what an unbroken one would.

    Batch b of epoch e is a function of `(seed, e, b)` alone, on any backend. Arrays are shuffled,
    in the order `np.random.default_rng((seed, e)).permutation(n)`; a function is called for each
    batch. `EpochOrder` tells which epoch it is; without it, all epochs are like `epoch`. Leave
    `batch_size`, `shuffle` and `steps_per_epoch` of `fit` alone, for they have no say here.

    Args:
        source: array `(n, …)` of the model's inputs, or a tuple of arrays with the same n, such as
            (inputs, targets); or a function of a `np.random.Generator` and the number of examples
            that returns such a tuple, such as `Patches`.
        batch_size: int.
        seed: int, not negative.
        steps: int, batches in an epoch; of a function alone.
        change: function of a batch's tuple of arrays and a generator that returns the changed
            tuple, such as `Augment`.
        drop_remainder: bool, whether to leave out the last batch of an epoch if it is smaller.

    Raises:
        ValueError: the arrays differ in length, or there is not one batch.

    Example:

    >>> batches = Batches(digits.as_range("signed"), batch_size=64, seed=0)
    >>> gan.fit(batches, epochs=10, callbacks=[EpochOrder(batches)])
    """

    epoch = 0

    def __init__(self, source, batch_size, seed, *, steps=None, change=None, drop_remainder=False):
        self.draw = source if callable(source) else None
        self.arrays = source if isinstance(source, tuple) else (source,)
        self.seed, self.change, self.drop_remainder = seed, change, drop_remainder
        self._batch_size, self._steps = batch_size, steps
        if batch_size < 1 or bool(self.draw) != (steps is not None):
            raise ValueError(
                "`batch_size` must be at least 1, and `steps` be given where a function makes the "
                f"batches, and only there. Received: batch_size={batch_size}, steps={steps}"
            )
        lengths = [] if self.draw else [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"All arrays must have the same length. Received: lengths {lengths}")
        if self.num_batches < 1:
            raise ValueError(
                "There is not one full batch: lower `batch_size`, or keep the remainder. "
                f"Received: {lengths} images, batch_size={batch_size}, steps={steps}"
            )

    def __len__(self):
        return self.num_batches

    def __iter__(self):
        """Yields the batches of the current epoch as tuples of NumPy arrays."""
        epoch = self.epoch  # a generator: read at the first batch, when its callback has set it
        order = None if self.draw else self.order(epoch)
        for step in range(self.num_batches):
            yield self._made(order, epoch, step)

    def batch(self, epoch, step):
        """Batch number `step`, from 0, of an epoch: a tuple of arrays."""
        return self._made(None if self.draw else self.order(epoch), epoch, step)

    def order(self, epoch):
        """Indices of the images in the order of an epoch, `(n,)`, the remainder included."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.arrays[0]))

    def _made(self, order, epoch, step):
        rng = np.random.default_rng((self.seed, epoch, step))
        if self.draw:
            arrays = self.draw(rng, self._batch_size)
        else:
            chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
            arrays = tuple(array[chosen] for array in self.arrays)
        return arrays if self.change is None else self.change(arrays, rng)

    # -- what Keras asks an adapter for ------------------------------------------------------------

    @property
    def num_batches(self):
        if self.draw:
            return self._steps
        full, rest = divmod(len(self.arrays[0]), self._batch_size)
        return full + bool(rest and not self.drop_remainder)

    @property
    def batch_size(self):
        return self._batch_size

    @property
    def partial_batch_size(self):
        if self.draw or self.drop_remainder:
            return 0
        return len(self.arrays[0]) % self._batch_size

    @property
    def has_partial_batch(self):
        return bool(self.partial_batch_size)

    def get_numpy_iterator(self):
        return iter(self)

    def get_jax_iterator(self):
        return iter(self)

    def get_torch_dataloader(self):
        return (tuple(map(ops.convert_to_tensor, batch)) for batch in self)

    def get_tf_dataset(self):
        import tensorflow as tf

        if self.draw or self.change:
            count = self._batch_size if self.draw else None
            example = self.batch(0, 0)
            signature = tuple(tf.TensorSpec((count, *a.shape[1:]), a.dtype) for a in example)
            return _prefetched(_generated(self.__iter__, signature), self)
        with tf.device("CPU"):  # a data set of photographs need not fit on a GPU
            arrays = tuple(map(tf.convert_to_tensor, self.arrays))
        # Python gives one permutation an epoch; the batches are gathered in TensorFlow's threads.
        orders = _generated(self._orders, tf.TensorSpec(len(self.arrays[0]), "int64"))
        indices = orders.flat_map(tf.data.Dataset.from_tensor_slices)
        indices = indices.batch(self._batch_size, drop_remainder=self.drop_remainder)
        batches = indices.map(
            lambda i: tuple(tf.gather(array, i) for array in arrays), num_parallel_calls=2
        )
        return _prefetched(batches, self)

    def _orders(self):
        yield self.order(self.epoch)


def _generated(method, signature):
    """A `tf.data.Dataset` of what a bound method yields.

    TensorFlow keeps the function that it generates from until the process ends. It gets one that
    does not keep the method's object alive, which has all pictures of a trial.
    """
    import tensorflow as tf

    method = weakref.WeakMethod(method)
    return tf.data.Dataset.from_generator(lambda: method()(), output_signature=signature)


def _prefetched(dataset, batches):
    """A `tf.data.Dataset` with two batches made in advance; it keeps alive what makes them."""
    import tensorflow as tf

    # No autotuning: the end of an epoch would wait for its thread to wake, up to a second.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.prefetch(2).with_options(options)
    dataset.batches = batches
    return dataset


class EpochOrder(keras.callbacks.Callback):
    """Tells the batches which epoch begins, also after `fit(initial_epoch=…)`.

    Args:
        batches: the `Batches` that `fit` trains on.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes each image of a batch at random, and its mask alike: a `change` of `Batches`.

    Args:
        changes: tuple of "orientation", one of the 8 symmetries of a square; "mirror", left and
            right, every other time; "intensity", a gain of 0.8 to 1.2 and an offset of ±0.1 of the
            first array, float32 images `(n, height, width, channels)` in [0, 1].

    Raises:
        ValueError: a change is unknown, or images are to be turned that are not square.
    """

    changes: tuple

    def __post_init__(self):
        if unknown := set(self.changes) - set(CHANGES):
            raise ValueError(
                f"`changes` must be of {', '.join(CHANGES)}. Received: {sorted(unknown)}"
            )

    def __call__(self, arrays, rng):
        """The changed tuple; the arrays given may be written to."""
        arrays, n = list(arrays), len(arrays[0])
        if "orientation" in self.changes:
            height, width = arrays[0].shape[1:3]
            if height != width:
                raise ValueError(
                    'Only square images can be turned: use "mirror". Received: images of '
                    f"{height}×{width}"
                )
            for i, (turns, mirrored) in enumerate(rng.integers((4, 2), size=(n, 2))):
                for array in arrays:
                    array[i] = _turned(array[i], turns, mirrored)
        if "mirror" in self.changes:
            mirrored = rng.random(n) < 0.5
            for array in arrays:
                array[mirrored] = array[mirrored, :, ::-1]
        if "intensity" in self.changes:
            gain, offset = rng.uniform(-1, 1, (2, n, 1, 1, 1)).astype("float32")
            arrays[0] = np.clip((1 + GAIN * gain) * arrays[0] + OFFSET * offset, 0, 1)
        return tuple(arrays)


class Patches:
    """Draws aligned pairs of patches in low and high resolution: a `source` of `Batches`.

    The low-resolution pictures are made once, by MATLAB's bicubic downscaling, rounded to 8 bits.
    Each picture has the same chance, so that a large one does not crowd out the rest, and each pair
    is flipped and turned to one of the 8 orientations of a square.

    Args:
        images: `Images` of three channels, of any sizes.
        scale: int, how many times larger the high resolution is, in height and width.
        size: int, height and width of a high-resolution patch in pixels; divisible by `scale`.
        high_range: `ganlib.images.ValueRange` or its name, of the high-resolution patches.

    Raises:
        ValueError: `scale` does not divide `size`.
        DataError: there is no image, or one is smaller than a patch.

    Example:

    >>> patches = Patches(load("photos", "train"), scale=4, size=96)
    >>> batches = Batches(patches, batch_size=16, seed=0, steps=100)
    >>> model.fit(batches, epochs=10, callbacks=[EpochOrder(batches)])
    """

    def __init__(self, images, scale, size, high_range="unit"):
        if size % scale:
            raise ValueError(
                f"`scale` must divide `size`, the side of a high-resolution patch. Received: "
                f"size={size}, scale={scale}"
            )
        check(images, channels=3, at_least=size)
        self.scale, self.size, self.high_range = scale, size, ValueRange(high_range)
        pictures = (convert(image, images.value_range, "byte") for image in images.images)
        self.high = [crop_to_multiple(image, scale) for image in pictures]
        self.low = [downscale(image, scale) for image in self.high]
        self._sides = np.array([image.shape[:2] for image in self.low])

    def __call__(self, rng, n):
        """Draws n pairs.

        Returns:
            Pair (low, high) of float32 arrays: `(n, size / scale, size / scale, 3)` in [0, 1] and
            `(n, size, size, 3)` in `high_range`.
        """
        scale, side = self.scale, self.size // self.scale
        pictures = rng.integers(len(self.high), size=n)
        corners = rng.integers(self._sides[pictures] - side + 1)
        drawn = list(zip(pictures, corners, rng.integers(8, size=n), strict=True))
        low = [_oriented(_cut(self.low[i], at, side), way) for i, at, way in drawn]
        high = [_oriented(_cut(self.high[i], scale * at, self.size), way) for i, at, way in drawn]
        return (
            convert(np.stack(low), "byte", "unit"),
            convert(np.stack(high), "byte", self.high_range),
        )


def _cut(image, corner, size):
    return image[corner[0] : corner[0] + size, corner[1] : corner[1] + size]


def _oriented(patch, orientation):
    """One of the 8 orientations of a square: four quarter turns, of it and of its mirror image."""
    return np.rot90(patch[:, ::-1] if orientation >= 4 else patch, orientation % 4)


def _turned(image, turns, mirrored):
    """One of the 8 orientations of a square, as a copy: the original lies in the same memory."""
    image = np.rot90(image, turns)
    return (image[:, ::-1] if mirrored else image).copy()
