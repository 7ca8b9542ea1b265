"""Mini-batches in an order that depends on the seed and the epoch alone."""

import dataclasses
import weakref

import keras
import numpy as np
from keras import ops

# Exported only here. A PyDataset will not do: `fit` shuffles its batches with Python's
# global generator, and on TensorFlow it copies each batch through Python.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from ganlib.data.checks import check
from ganlib.images import ValueRange, convert, crop_to_multiple, downscale

GAIN, OFFSET = 0.2, 0.1  # the most that "intensity" changes
CHANGES = ("orientation", "mirror", "intensity")


class Batches(DataAdapter):
    """Mini-batches for `fit`, such that a resumed run sees what an unbroken one would.

    Batch b of epoch e is a function of `(seed, e, b)` alone, on any backend; arrays are shuffled.
    `EpochOrder` tells which epoch it is; `fit`'s own `batch_size` and `shuffle` have no say.

    Args:
        source: array `(n, …)`, or a tuple of them; or a function of a `np.random.Generator` and a
            number of examples that returns such a tuple.
        batch_size, seed: int.
        steps: int, batches in an epoch; of a function alone.
        change: function of a batch's arrays and a generator, such as `Augment`.

    >>> batches = Batches(digits.as_range("signed"), batch_size=64, seed=0)
    >>> gan.fit(batches, epochs=10, callbacks=[EpochOrder(batches)])
    """

    # Attributes, where Keras has properties.
    batch_size = num_batches = partial_batch_size = has_partial_batch = None
    _epoch, _order = 0, None  # the second: the order of the epoch, a variable of TensorFlow's

    def __init__(self, source, batch_size, seed, *, steps=None, change=None):
        self.draw = source if callable(source) else None
        self.arrays = source if isinstance(source, tuple) else (source,)
        self.seed, self.change, self.batch_size = seed, change, batch_size
        lengths = [] if self.draw else [len(array) for array in self.arrays]
        self.num_batches = steps if self.draw else -(-lengths[0] // batch_size)
        self.partial_batch_size = 0 if self.draw else lengths[0] % batch_size
        self.has_partial_batch = bool(self.partial_batch_size)
        if len(set(lengths)) > 1 or not self.num_batches or bool(self.draw) != bool(steps):
            raise ValueError(
                "`source` must be arrays of one length, not empty, or a function with `steps`. "
                f"Received: lengths {lengths}, steps={steps}"
            )

    @property
    def epoch(self):
        return self._epoch

    @epoch.setter
    def epoch(self, epoch):
        self._epoch = epoch
        if self._order is not None:
            self._order.assign(self.order(epoch))

    def __len__(self):
        return self.num_batches

    def __iter__(self):
        epoch = self.epoch  # a generator: read at the first batch, when its callback has set it
        order = None if self.draw else self.order(epoch)
        for step in range(self.num_batches):
            yield self._made(order, epoch, step)

    def batch(self, epoch, step):
        """Batch number `step`, from 0, of an epoch: a tuple of arrays."""
        return self._made(None if self.draw else self.order(epoch), epoch, step)

    def order(self, epoch):
        """Indices of the images in the order of an epoch, `(n,)`."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.arrays[0]))

    def _made(self, order, epoch, step):
        rng = np.random.default_rng((self.seed, epoch, step))
        if self.draw:
            arrays = self.draw(rng, self.batch_size)
        else:
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            arrays = tuple(array[chosen] for array in self.arrays)
        return arrays if self.change is None else self.change(arrays, rng)

    get_numpy_iterator = get_jax_iterator = __iter__

    def get_torch_dataloader(self):
        return (tuple(map(ops.convert_to_tensor, batch)) for batch in self)

    def get_tf_dataset(self):
        import tensorflow as tf

        if self.draw or self.change:
            count = self.batch_size if self.draw else None
            example = self.batch(0, 0)
            signature = tuple(tf.TensorSpec((count, *a.shape[1:]), a.dtype) for a in example)
            # TensorFlow keeps the function until the process ends; not so all pictures of a trial.
            method, dataset = weakref.WeakMethod(self.__iter__), tf.data.Dataset
            dataset = dataset.from_generator(lambda: method()(), output_signature=signature)
        else:
            with tf.device("CPU"):  # a data set of photographs need not fit on a GPU
                arrays = tuple(map(tf.convert_to_tensor, self.arrays))
                order = self._order = tf.Variable(self.order(self.epoch))
            places = tf.data.Dataset.range(len(self.arrays[0])).batch(self.batch_size)
            dataset = places.map(lambda i: tuple(tf.gather(a, tf.gather(order, i)) for a in arrays))
        # No autotuning: the end of an epoch would wait for its thread to wake, up to a second.
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.prefetch(2).with_options(options)
        dataset.batches = self  # alive as long as it is read
        return dataset


class EpochOrder(keras.callbacks.Callback):
    """Tells `Batches` which epoch begins, also after `fit(initial_epoch=…)`."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes each image of a batch at random, and its mask alike: a `change` of `Batches`.

    Args:
        changes: tuple of "orientation", one of the 8 symmetries of a square; "mirror", every other
            time; "intensity", a gain of 0.8 to 1.2 and an offset of ±0.1 in [0, 1], of the first.
    """

    changes: tuple

    def __post_init__(self):
        if unknown := set(self.changes) - set(CHANGES):
            raise ValueError(f"`changes` are {', '.join(CHANGES)}. Received: {sorted(unknown)}")

    def __call__(self, arrays, rng):
        """The changed tuple; the arrays given may be written to."""
        arrays, n = list(arrays), len(arrays[0])
        if "orientation" in self.changes:
            for i, (turns, mirrored) in enumerate(rng.integers((4, 2), size=(n, 2))):
                for array in arrays:  # a copy, for the original lies in the same memory
                    array[i] = _turned(array[i], -turns if mirrored else turns, mirrored).copy()
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

    MATLAB's bicubic downscaling in 8 bits makes the low resolution. Each picture has the same
    chance, and each pair one of the 8 orientations of a square.

    Args:
        images: `Images` of three channels, of any sizes.
        scale: int, how many times larger the high resolution is, in height and width.
        size: int, height and width of a high-resolution patch in pixels; divisible by `scale`.
        high_range: `ganlib.images.ValueRange`, or its name, of the high resolution.
    """

    def __init__(self, images, scale, size, high_range="unit"):
        if size % scale:
            raise ValueError(f"`scale` must divide `size`. Received: scale={scale}, size={size}")
        check(images, channels=3, at_least=size)
        self.scale, self.size, self.high_range = scale, size, ValueRange(high_range)
        pictures = (convert(image, images.value_range, "byte") for image in images.images)
        self.high = [crop_to_multiple(image, scale) for image in pictures]
        self.low = [downscale(image, scale) for image in self.high]
        self._sides = np.array([image.shape[:2] for image in self.low])

    def __call__(self, rng, n):
        """Draws n pairs: float32 `(n, size / scale, size / scale, 3)` in [0, 1], and larger."""
        scale, side = self.scale, self.size // self.scale
        pictures = rng.integers(len(self.high), size=n)
        corners = rng.integers(self._sides[pictures] - side + 1)
        drawn = list(zip(pictures, corners, rng.integers(8, size=n), strict=True))
        low = np.stack([_cut(self.low[i], at, side, way) for i, at, way in drawn])
        high = np.stack([_cut(self.high[i], scale * at, self.size, way) for i, at, way in drawn])
        return convert(low, "byte", "unit"), convert(high, "byte", self.high_range)


def _cut(image, corner, size, orientation):
    patch = image[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
    return _turned(patch, orientation % 4, orientation >= 4)


def _turned(image, turns, mirrored):
    return np.rot90(image[:, ::-1] if mirrored else image, turns)
