"""Batches of tiles: what decides them, and that masks stay with their images."""

import itertools

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import Recorder

from ganlib.data import EpochOrder, TileBatches, Tiles
from ganlib.data.tile_batches import CHANGES

EVERY = [c for k in range(4) for c in itertools.combinations(CHANGES, k)]


def make_arrays(n=11, height=6, width=6):
    """Images of noise, all different, whose masks are where they are brighter than a half."""
    images = RNG.random((n, height, width, 1)).astype("float32")
    return images, (images > 0.5).astype("float32")


def make_batches(arrays=None, **options):
    options = {"batch_size": 4, "seed": 3, **options}
    return TileBatches(make_arrays() if arrays is None else arrays, **options)


def orientations(tile):
    """The 8 orientations of a square, as bytes."""
    turned = [np.rot90(tile, turns) for turns in range(4)]
    return [view.tobytes() for tile in turned for view in (tile, tile[:, ::-1])]


# -- what a batch is -----------------------------------------------------------------------------


@pytest.mark.parametrize("augment", EVERY)
def test_batch_is_what_iterating_yields(augment):
    arrays = make_arrays()
    batches, again = (make_batches(arrays, augment=augment) for _ in range(2))
    again.epoch = 5
    np.random.seed(1)
    list(again)  # what came before has no say
    for step, batch in enumerate(again):
        for ours, theirs in zip(batches.batch(5, step), batch, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == np.float32
    last = batches.batch(5, 2)[0]
    np.testing.assert_array_equal(last, batches.batch(5, 2)[0])


def test_seed_epoch_and_step_decide():
    arrays = make_arrays(12)
    for augment in ((), CHANGES):
        batches = make_batches(arrays, augment=augment)
        other = make_batches(arrays, augment=augment, seed=4)
        image = batches.batch(5, 0)[0]
        for found in (batches.batch(6, 0), batches.batch(5, 1), other.batch(5, 0)):
            assert (image != found[0]).any()
    # The same tiles in the same order are changed in another way in another epoch.
    tiles = make_arrays(1)
    images = [make_batches(tiles, augment=CHANGES).batch(epoch, 0)[0] for epoch in range(5)]
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.parametrize("augment", [(), ("orientation", "mirror")])
def test_each_tile_comes_once_an_epoch(augment):
    arrays = make_arrays(11)
    batches = make_batches(arrays, augment=augment)
    assert [len(images) for images, _ in batches] == [4, 4, 3]
    assert (len(batches), batches.batch_size, batches.partial_batch_size) == (3, 4, 3)
    assert batches.has_partial_batch
    assert not make_batches(make_arrays(12)).has_partial_batch
    smallest = [min(orientations(tile)) for tile in arrays[0]]
    for epoch in (0, 1):
        batches.epoch = epoch
        seen = [min(orientations(tile)) for images, _ in batches for tile in images]
        assert sorted(seen) == sorted(smallest)
        assert seen == [smallest[i] for i in batches.order(epoch)]


def test_epoch_is_read_at_the_first_batch():
    batches = make_batches()
    iterator = iter(batches)
    batches.epoch = 2
    np.testing.assert_array_equal(next(iterator)[0], batches.batch(2, 0)[0])


def test_tiles_become_floats():
    images = RNG.integers(0, 256, (5, 8, 8, 3), "uint8")
    masks = images[..., :1] % 2
    batch = TileBatches(Tiles(images, masks, np.arange(5)), 5, seed=0).batch(0, 0)
    order = TileBatches((batch[0], batch[1]), 5, seed=0).order(0)
    np.testing.assert_allclose(batch[0] * 255, images[order], atol=1e-4)
    np.testing.assert_array_equal(batch[1], masks[order])
    assert [array.dtype for array in batch] == [np.float32] * 2


# -- changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [c for c in EVERY if "intensity" not in c])
def test_masks_are_moved_with_their_images(augment):
    batches = make_batches(augment=augment)
    for epoch in range(5):
        batches.epoch = epoch
        for images, masks in batches:
            np.testing.assert_array_equal(masks, images > 0.5)


@pytest.mark.parametrize(
    ("augment", "expected"),
    [((), {0}), (("mirror",), {0, 1}), (("orientation",), set(range(8)))],
)
def test_all_orientations_come_alike(augment, expected):
    arrays = make_arrays(1)
    known = orientations(arrays[0][0])
    assert len(set(known)) == 8
    many = tuple(array.repeat(800, axis=0) for array in arrays)
    images, _ = make_batches(many, batch_size=800, augment=augment).batch(0, 0)
    found = np.array([known.index(image.tobytes()) for image in images])
    assert set(found.tolist()) == expected
    share = np.bincount(found)[sorted(expected)] / 800
    np.testing.assert_allclose(share, 1 / len(expected), atol=0.06)


def test_mirror_is_left_and_right_of_any_size():
    image = np.arange(24, dtype="float32").reshape(1, 4, 6, 1) / 24
    images, masks = make_batches((image, image), augment=("mirror",), batch_size=1).batch(0, 0)
    views = [image.tobytes(), image[:, :, ::-1].tobytes()]
    assert images.tobytes() in views
    assert images.tobytes() == masks.tobytes()


def test_intensity_changes_the_image_alone():
    images = np.linspace(0.25, 0.75, 16, dtype="float32").reshape(1, 4, 4, 1).repeat(500, axis=0)
    masks = (images > 0.5).astype("float32")
    changed, same = make_batches((images, masks), batch_size=500, augment=("intensity",)).batch(
        0, 0
    )
    np.testing.assert_array_equal(same, masks)
    assert changed.dtype == np.float32
    gain = (changed[:, -1, -1, 0] - changed[:, 0, 0, 0]) / 0.5
    offset = changed[:, 0, 0, 0] - 0.25 * gain
    for found, low, high in ((gain, 0.8, 1.2), (offset, -0.1, 0.1)):
        assert low - 1e-5 <= found.min() < low + 0.02
        assert high - 0.02 < found.max() <= high + 1e-5
    assert abs(np.corrcoef(gain, offset)[0, 1]) < 0.15
    expected = gain[:, None, None] * images[..., 0] + offset[:, None, None]
    np.testing.assert_allclose(changed[..., 0], expected, atol=1e-6)


def test_intensity_stays_in_the_unit_range():
    images = np.zeros((200, 4, 4, 1), "float32")
    images[:, :2] = 1
    changed, _ = make_batches((images, images), batch_size=200, augment=("intensity",)).batch(0, 0)
    assert (changed.min(), changed.max()) == (0.0, 1.0)
    assert 0 < (changed[:, 0] < 1).mean() < 1


@pytest.mark.parametrize("augment", EVERY)
def test_originals_stay_as_they_are(augment):
    arrays = make_arrays()
    kept = [array.copy() for array in arrays]
    batches = make_batches(arrays, augment=augment)
    for batch in batches:
        for array in batch:
            array[:] = -1
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


# -- what Keras sees -----------------------------------------------------------------------------


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    outputs = keras.layers.Conv2D(1, 3, padding="same")(Recorder()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    return model


@pytest.mark.backend
def test_fit_sees_the_batches_of_each_epoch_in_order():
    model, batches = make_model(), make_batches(augment=CHANGES)
    callbacks = [EpochOrder(batches)]
    model.fit(batches, epochs=6, initial_epoch=4, callbacks=callbacks, verbose=0)
    expected, step = 0.0, 0
    for epoch in (4, 5):
        for b in range(3):
            step += 1
            expected += step * batches.batch(epoch, b)[0].sum(dtype="float64")
    recorder = next(layer for layer in model.layers if isinstance(layer, Recorder))
    assert float(recorder.step) == step == 6
    assert float(recorder.trace) == pytest.approx(expected, rel=1e-5)


def test_dataset_of_tensorflow_gives_the_same_numbers_anew_each_epoch():
    pytest.importorskip("tensorflow")
    batches = make_batches(augment=CHANGES)
    dataset = batches.get_tf_dataset()
    for epoch in (0, 3):
        batches.epoch = epoch
        found = list(dataset.as_numpy_iterator())
        assert [len(images) for images, _ in found] == [4, 4, 3]
        for step, batch in enumerate(found):
            for ours, theirs in zip(batches.batch(epoch, step), batch, strict=True):
                np.testing.assert_array_equal(ours, theirs)


# -- refusals ------------------------------------------------------------------------------------

IMAGES, MASKS = make_arrays(4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tiles": (IMAGES, MASKS[:3])}, r"as many, and at least one. Received: 4 and 3$"),
        ({"tiles": (IMAGES[:0], MASKS[:0])}, r"Received: 0 and 0$"),
        ({"tiles": (IMAGES, MASKS[:, :5])}, r"shapes \(4, 6, 6, 1\) and \(4, 5, 6, 1\)$"),
        ({"tiles": (IMAGES, MASKS[..., 0])}, r"shapes \(4, 6, 6, 1\) and \(4, 6, 6\)$"),
        ({"tiles": (IMAGES.astype("uint8"), MASKS)}, r"as_arrays.*dtypes uint8 and float32$"),
        ({"tiles": (IMAGES, MASKS.astype(bool))}, r"Received: dtypes float32 and bool$"),
        ({"batch_size": 0}, r"`batch_size` must be.*at least 1. Received: batch_size=0$"),
        ({"batch_size": 2.0}, r"Received: batch_size=2\.0$"),
        ({"seed": -1}, r"`seed` must be.*Received: seed=-1$"),
        ({"augment": ("mirror", "zoom")}, r"orientation, mirror, intensity.*\['zoom'\]$"),
        (
            {"tiles": (IMAGES[:, :4], MASKS[:, :4]), "augment": ("orientation",)},
            r'use "mirror". Received: tiles of 4×6$',
        ),
    ],
)
def test_errors_come_before_training(fields, message):
    with pytest.raises(ValueError, match=message):
        TileBatches(**{"tiles": (IMAGES, MASKS), "batch_size": 2, "seed": 0, **fields})
