"""Pictures are let go with the training that used them: many trials may share a process."""

import gc
import weakref

import keras
import numpy as np
import pytest
from draws import RNG

from ganlib.data import Batches, EpochOrder, Patches, Photos, TileBatches


def make_batches():
    return Batches(RNG.random((11, 6, 6, 1)).astype("float32"), batch_size=4, seed=0)


def make_tiles():
    images = RNG.random((11, 6, 6, 1)).astype("float32")
    return TileBatches((images, (images > 0.5).astype("float32")), batch_size=4, seed=0)


def make_patches():
    photos = Photos([RNG.integers(0, 256, (24, 24, 3), "uint8") for _ in range(2)])
    return Patches(photos, 2, 16, batch_size=2, steps=3, seed=0)


every_kind = pytest.mark.parametrize("make", [make_batches, make_tiles, make_patches])


def is_gone(reference):
    gc.collect()
    return reference() is None


@every_kind
@pytest.mark.parametrize("read", ["nothing", "one batch", "two epochs"])
def test_a_data_set_of_tensorflow_lets_go(make, read):
    pytest.importorskip("tensorflow")
    batches = make()
    dataset, reference = batches.get_tf_dataset(), weakref.ref(batches)
    if read == "one batch":
        assert len(next(iter(dataset))) >= 1
    if read == "two epochs":
        assert [sum(1 for _ in dataset) for _ in range(2)] == [3, 3]
    del batches, dataset
    assert is_gone(reference)


@every_kind
def test_it_is_kept_as_long_as_it_is_read(make):
    pytest.importorskip("tensorflow")
    dataset, expected = make().get_tf_dataset(), 3
    gc.collect()
    assert sum(1 for _ in dataset) == expected


@pytest.mark.backend
@pytest.mark.parametrize("stop", [False, True])
def test_a_training_lets_go(stop):
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    images = RNG.random((11, 6, 6, 1)).astype("float32")
    batches = Batches((images, images), batch_size=4, seed=0)
    callbacks = [EpochOrder(batches)]
    if stop:  # in the middle of an epoch, whose other batches wait
        callbacks.append(keras.callbacks.LambdaCallback(on_train_batch_end=_stop(model)))
    model.fit(batches, epochs=2, callbacks=callbacks, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()
    reference = weakref.ref(batches)
    del batches, callbacks, model
    assert is_gone(reference)


def _stop(model):
    def stop(batch, logs):
        model.stop_training = True

    return stop
