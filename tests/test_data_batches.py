"""Batches: what decides them, that `fit` sees them, and that they are let go."""

import gc
import weakref

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import Recorder, gap, images, make_gan, state

from ganlib.data import Augment, Batches, DataError, EpochOrder, Images, Patches
from ganlib.data.batches import CHANGES

X = np.random.default_rng(1).random((23, 6, 6, 3)).astype("float32")
Y = (X[..., :1] > 0.5).astype("float32")


def make_images(*sizes):
    """Images of coarse noise; every place looks different."""
    images = []
    for height, width in sizes:
        coarse = RNG.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), "uint8")
        images.append(coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width])
    return Images(images)


def make_patches(n=4, steps=3, seed=3, **options):
    images = options.pop("images", None) or make_images((40, 61), (33, 32), (90, 35))
    patches = Patches(images, **{"scale": 2, "size": 16, **options})
    return Batches(patches, n, seed, steps=steps)


KINDS = {
    "arrays": lambda: Batches((X, Y), 4, seed=3),
    "changed": lambda: Batches((X, Y), 4, seed=3, change=Augment(CHANGES)),
    "patches": make_patches,
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@every_kind
def test_seed_epoch_and_number_alone_decide_a_batch(make):
    batches = make()
    batches.epoch = 5
    np.random.seed(1)
    for step, batch in enumerate(batches):
        for ours, theirs in zip(batches.batch(5, step), batch, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    first = batches.batch(5, 0)[0]
    assert (first != batches.batch(6, 0)[0]).any()
    assert (first != batches.batch(5, 1)[0]).any()
    batches.seed = 4
    assert (first != batches.batch(5, 0)[0]).any()


def test_an_epoch_of_arrays_is_a_permutation():
    x = np.arange(10.0)
    batches = Batches(x, 3, seed=0)
    batches.epoch = 7
    np.testing.assert_array_equal(np.concatenate([b for (b,) in batches]), x[batches.order(7)])
    np.testing.assert_array_equal(batches.order(7), np.random.default_rng((0, 7)).permutation(10))
    assert [len(b) for (b,) in batches] == [3, 3, 3, 1]
    assert (len(batches), batches.partial_batch_size) == (4, 1)
    for source, options in (((x, x[1:]), {}), (x[:0], {}), (np.zeros, {}), (x, {"steps": 3})):
        with pytest.raises(ValueError, match=r"one length, not empty, or a function with `steps`"):
            Batches(source, 4, seed=0, **options)


def make_model(batches):
    keras.utils.set_random_seed(0)
    x, y = batches.batch(0, 0)
    inputs = keras.Input(x.shape[1:])
    outputs = Recorder()(inputs)
    if y.shape[1] > x.shape[1]:
        outputs = keras.layers.UpSampling2D()(outputs)
    model = keras.Model(inputs, keras.layers.Conv2D(y.shape[-1], 1)(outputs))
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    return model


def fit(model, batches, epochs, initial_epoch=0, **options):
    options = {"callbacks": [EpochOrder(batches)], "verbose": 0, **options}
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, **options)


@pytest.mark.backend
@every_kind
def test_fit_sees_the_batches_of_each_epoch_in_order(make):
    batches = make()
    model = make_model(batches)
    fit(model, batches, epochs=6, initial_epoch=4, shuffle=True)  # has no say
    expected, step = 0.0, 0
    for epoch in (4, 5):
        for b in range(len(batches)):
            step += 1
            expected += step * batches.batch(epoch, b)[0].sum(dtype="float64")
    recorder = next(layer for layer in model.layers if isinstance(layer, Recorder))
    assert float(recorder.step) == step == len(batches) * 2
    assert float(recorder.trace) == pytest.approx(expected, rel=1e-5)


@pytest.mark.backend
def test_a_gan_takes_arrays_as_batches():
    gans, x = [make_gan(seed=3) for _ in range(3)], images(10)
    options = {"batch_size": 4, "verbose": 0}
    gans[0].fit(x.astype("float64"), epochs=2, **options)
    fit(gans[1], Batches(x, 4, seed=3), epochs=2)
    gans[2].fit(x, epochs=1, **options)
    gans[2].fit(x, epochs=2, initial_epoch=1, **options)
    assert gap(state(gans[0]), state(gans[1])) == gap(state(gans[0]), state(gans[2])) == 0


@pytest.mark.backend
@every_kind
def test_resumed_run_is_the_unbroken_run_exactly(make, tmp_path):
    batches = make()
    unbroken, first = make_model(batches), make_model(batches)
    fit(unbroken, batches, epochs=3)
    fit(first, batches, epochs=1)
    first.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(99)  # nothing global has a say in the order
    second = keras.saving.load_model(tmp_path / "model.keras")
    fit(second, batches, epochs=3, initial_epoch=1)
    for expected, weight in zip(unbroken.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, weight)


@every_kind
def test_a_data_set_of_tensorflow_gives_the_same_numbers_and_lets_go(make):
    """Many trials may share a process: what TensorFlow keeps must not hold their pictures."""
    pytest.importorskip("tensorflow")
    batches = make()
    dataset, reference = batches.get_tf_dataset(), weakref.ref(batches)
    for epoch in (0, 3):
        batches.epoch = epoch
        found = list(dataset.as_numpy_iterator())
        assert len(found) == len(batches)
        for step, batch in enumerate(found):
            for ours, theirs in zip(batches.batch(epoch, step), batch, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    del batches
    gc.collect()
    assert sum(1 for _ in dataset)  # kept as long as it is read
    del dataset
    gc.collect()
    assert reference() is None


@pytest.mark.backend
def test_a_training_lets_go():
    batches = KINDS["changed"]()
    model = make_model(batches)
    fit(model, batches, epochs=2)
    reference = weakref.ref(batches)
    del batches, model
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("change", CHANGES)
def test_images_and_masks_change_alike(change):
    """A mask is a function of its image's first channel wherever that lies."""
    batches = Batches((X, Y), 23, seed=0, change=Augment((change,)))
    plain = Batches((X, Y), 23, seed=0)
    found = set()
    for epoch in range(4):
        before, after = plain.batch(epoch, 0), batches.batch(epoch, 0)
        if change == "intensity":
            np.testing.assert_array_equal(before[1], after[1])
            assert 0 <= after[0].min() < after[0].max() <= 1
            for a, b in zip(
                *(batch[0].astype("float64") for batch in (before, after)), strict=True
            ):
                inner = (b > 0.01) & (b < 0.99)
                gain, offset = np.polyfit(a[inner], b[inner], 1)
                assert 0.8 <= gain <= 1.2
                assert abs(offset) <= 0.1 + 1e-6
            continue
        np.testing.assert_array_equal(after[1], after[0][..., :1] > 0.5)
        for a, b in zip(before[0], after[0], strict=True):
            ways = {
                (turns, flip): np.rot90(a, turns)[:, :: -1 if flip else 1]
                for turns in range(4)
                for flip in (False, True)
            }
            found |= {way for way, turned in ways.items() if np.array_equal(turned, b)}
    expected = {"orientation": 8, "mirror": 2, "intensity": 0}[change]
    assert len(found) == expected
    assert X.max() <= 1  # and the arrays themselves are as they were


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pairs_lie_at_the_same_place_and_the_same_way_up(scale):
    low, high = make_patches(scale=scale, size=24, n=64).batch(2, 1)
    side = 24 // scale
    assert (low.dtype, low.shape, high.shape) == ("float32", (64, side, side, 3), (64, 24, 24, 3))
    shrunk = high.reshape(64, side, scale, side, scale, 3).mean(axis=(2, 4))
    difference = np.abs(shrunk - low).mean(axis=(1, 2, 3))
    assert difference.max() < 0.06 * (scale - 1) + 1e-6
    assert np.abs(shrunk[:, ::-1] - low).mean(axis=(1, 2, 3)).min() > 2 * difference.max()


def test_errors():
    with pytest.raises(ValueError, match=r"orientation, mirror, intensity. Received: \['turn'\]"):
        Augment(("turn",))
    with pytest.raises(ValueError, match=r"`scale` must divide `size`"):
        make_patches(scale=3)
    with pytest.raises(DataError, match=r"smaller than a patch of 34×34.*1 \(33×32\)$"):
        make_patches(size=34)
