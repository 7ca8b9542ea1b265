"""Mini-batches in an order that depends on the seed and the epoch alone."""

import weakref

import keras
import numpy as np
from keras import ops

# `fit` takes any DataAdapter as it is, but Keras exports the class only here. A PyDataset will not
# do: `fit` shuffles its batches (shuffle=True is the default) with Python's global generator, and
# on TensorFlow it copies each batch through Python.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter


class EpochAdapter(DataAdapter):
    """What `Batches` and `Patches` share: batches that depend on the seed and the epoch alone.

    A subclass has `num_batches` and `batch_size`, yields the batches of `epoch` as tuples of NumPy
    arrays when it is iterated over, and gives a `tf.data.Dataset` that does the same. It must read
    the epoch at the first batch and not before, when `EpochOrder` has set it.
    """

    epoch = 0

    def __len__(self):
        return self.num_batches

    @property
    def has_partial_batch(self):
        return bool(self.partial_batch_size)

    @property
    def partial_batch_size(self):
        return 0

    def get_numpy_iterator(self):
        return iter(self)

    def get_jax_iterator(self):
        return iter(self)

    def get_torch_dataloader(self):
        return (tuple(map(ops.convert_to_tensor, batch)) for batch in self)


def generated(method, signature):
    """A `tf.data.Dataset` of what a bound method yields.

    TensorFlow keeps the function that it generates from until the process ends. It gets one that
    does not keep the method's object alive, which has all pictures of a trial.
    """
    import tensorflow as tf

    method = weakref.WeakMethod(method)
    return tf.data.Dataset.from_generator(lambda: method()(), output_signature=signature)


def prefetched(dataset, batches):
    """A `tf.data.Dataset` with two batches made in advance; it keeps alive what makes them."""
    import tensorflow as tf

    # No autotuning: the end of an epoch would wait for its thread to wake, up to a second.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.prefetch(2).with_options(options)
    dataset.batches = batches
    return dataset


class Batches(EpochAdapter):
    """Shuffled mini-batches for `fit`, such that a resumed run sees what an unbroken one would.

    The order of epoch e is `np.random.default_rng((seed, e)).permutation(n)`: it depends neither on
    the epochs before, nor on the backend, nor on any global random state. `EpochOrder` tells which
    epoch it is; without it, all epochs have the order of `epoch`. Leave `batch_size`, `shuffle` and
    `steps_per_epoch` of `fit` alone, for they have no say here.

    Args:
        arrays: array `(n, …)` of the model's inputs, or a tuple of arrays with the same n, such as
            (inputs, targets).
        batch_size: int.
        seed: int, not negative.
        drop_remainder: bool, whether to leave out the last batch of an epoch if it is smaller.

    Raises:
        ValueError: the arrays differ in length, or there is not one batch.

    Example:

    >>> batches = Batches(digits.as_range("signed"), batch_size=64, seed=0)
    >>> gan.fit(batches, epochs=10, callbacks=[EpochOrder(batches)])
    """

    def __init__(self, arrays, batch_size, seed, drop_remainder=False):
        self.arrays = arrays if isinstance(arrays, tuple) else (arrays,)
        self.seed = seed
        self.drop_remainder = drop_remainder
        self._batch_size = batch_size
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) != 1:
            raise ValueError(f"All arrays must have the same length. Received: lengths {lengths}")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        if self.num_batches == 0:
            raise ValueError(
                "There is not one full batch: lower `batch_size`, or keep the remainder. "
                f"Received: {lengths[0]} images, batch_size={batch_size}"
            )

    def __iter__(self):
        """Yields the batches of the current epoch as tuples of NumPy arrays."""
        # A generator: the epoch is read at the first batch, when its callback has set it.
        for indices in self._grouped(self.order(self.epoch)):
            yield tuple(array[indices] for array in self.arrays)

    def order(self, epoch):
        """Indices of the images in the order of an epoch, `(n,)`, the remainder included."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.arrays[0]))

    def _grouped(self, order):
        for start in range(0, self.num_batches * self._batch_size, self._batch_size):
            yield order[start : start + self._batch_size]

    # -- what Keras asks an adapter for ------------------------------------------------------------

    @property
    def num_batches(self):
        full, rest = divmod(len(self.arrays[0]), self._batch_size)
        return full + bool(rest and not self.drop_remainder)

    @property
    def batch_size(self):
        return self._batch_size

    @property
    def partial_batch_size(self):
        return 0 if self.drop_remainder else len(self.arrays[0]) % self._batch_size

    def get_tf_dataset(self):
        import tensorflow as tf

        with tf.device("CPU"):  # a data set of photographs need not fit on a GPU
            arrays = tuple(map(tf.convert_to_tensor, self.arrays))
        # Python gives one permutation an epoch; the batches are gathered in TensorFlow's threads.
        orders = generated(self._orders, tf.TensorSpec(len(self.arrays[0]), "int64"))
        indices = orders.flat_map(tf.data.Dataset.from_tensor_slices)
        indices = indices.batch(self._batch_size, drop_remainder=self.drop_remainder)
        batches = indices.map(
            lambda i: tuple(tf.gather(array, i) for array in arrays), num_parallel_calls=2
        )
        return prefetched(batches, self)

    def _orders(self):
        yield self.order(self.epoch)


class EpochOrder(keras.callbacks.Callback):
    """Tells the batches which epoch begins, also after `fit(initial_epoch=…)`.

    Args:
        batches: the `Batches` or `Patches` that `fit` trains on.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch
