"""Pairs of patches: where they are cut, what decides it, and that `fit` sees them."""

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import Recorder

from ganlib.data import DataError, EpochOrder, Patches, Photos
from ganlib.images import convert, downscale


def make_photos(*sizes):
    """Photos of smooth noise; every place looks different."""
    images = []
    for height, width in sizes:
        coarse = RNG.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), "uint8")
        images.append(coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width])
    return Photos(images)


def make_patches(photos=None, **options):
    if photos is None:
        photos = make_photos((40, 61), (33, 32), (90, 35))
    options = {"scale": 2, "size": 16, "batch_size": 4, "steps": 3, "seed": 3, **options}
    return Patches(photos, **options)


def places(patch, image, step=1):
    """All `(picture corner, orientation)` where a patch lies in an image, in pixels."""
    side = len(patch)
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    windows = np.moveaxis(windows[::step, ::step], 2, -1)
    found = []
    for mirror in (False, True):
        for turns in range(4):
            upright = np.rot90(patch, -turns)
            upright = upright[:, ::-1] if mirror else upright
            hits = np.argwhere((windows == upright).all(axis=(2, 3, 4)))
            found += [(tuple(map(int, hit)), mirror, turns) for hit in hits]
    return found


# -- what a batch is -----------------------------------------------------------------------------


def test_shapes_types_and_ranges():
    low, high = make_patches(scale=4, size=32, batch_size=5).batch(0, 0)
    assert (low.shape, high.shape) == ((5, 8, 8, 3), (5, 32, 32, 3))
    for part in (low, high):
        assert part.dtype == np.float32
        assert 0 <= part.min() < 0.1
        assert 0.9 < part.max() <= 1


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_pairs_lie_at_the_same_place_and_the_same_way_up(scale):
    photos = make_photos((47, 38), (36, 50))
    patches = make_patches(photos, scale=scale, size=24, batch_size=16)
    small = [
        downscale(image[: h - h % scale, : w - w % scale], scale)
        for image in photos.images
        for h, w in [image.shape[:2]]
    ]
    orientations = set()
    for low, high in zip(*(convert(x, "unit", "byte") for x in patches.batch(2, 1)), strict=True):
        pairs = zip(small, photos.images, strict=True)
        found = [set(places(low, s)) & set(places(high, p, scale)) for s, p in pairs]
        assert sum(map(len, found)) >= 1
        orientations |= {place[1:] for place in set().union(*found)}
    assert len(orientations) >= 5  # of 8, among 16 pairs


def test_low_patch_looks_like_the_high_patch_made_small():
    patches = make_patches(scale=2, size=32, batch_size=8)
    for low, high in zip(*patches.batch(0, 0), strict=True):
        inner = (slice(2, -2), slice(2, -2))  # at the border the kernel sees beyond the patch
        np.testing.assert_allclose(downscale(high, 2)[inner], low[inner], atol=0.6 / 255)


def test_pictures_are_drawn_alike_and_to_their_borders():
    images = [np.full((16, 16, 3), 10, "uint8"), np.full((32, 24, 3), 200, "uint8")]
    images[1][[0, -1]] = 255
    images[1][:, [0, -1]] = 255
    _, high = make_patches(Photos(images), batch_size=2000).batch(0, 0)
    share = np.mean(high.max(axis=(1, 2, 3)) < 0.5)
    assert share == pytest.approx(0.5, abs=0.04)
    large = high[high.max(axis=(1, 2, 3)) > 0.5]
    assert ((large == 1).any(axis=(1, 2, 3))).mean() > 0.1
    assert ((large == 1).sum(axis=(1, 2, 3)) == 3 * (16 + 15)).any()  # a corner


# -- what decides it -----------------------------------------------------------------------------


def test_seed_epoch_and_step_alone_decide_a_batch():
    photos = make_photos((40, 61), (33, 32))
    patches, again = make_patches(photos), make_patches(photos)
    again.epoch = 5
    np.random.seed(1)
    for step, batch in enumerate(again):
        for ours, theirs in zip(patches.batch(5, step), batch, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    high = patches.batch(5, 0)[1]
    for other in (
        patches.batch(6, 0),
        patches.batch(5, 1),
        make_patches(photos, seed=4).batch(5, 0),
    ):
        assert (high != other[1]).any()


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.UpSampling2D()(Recorder()(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(outputs))
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    return model


def fit(model, patches, epochs, initial_epoch=0):
    model.fit(
        patches,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=[EpochOrder(patches)],
        verbose=0,
    )


@pytest.mark.backend
def test_fit_sees_the_batches_of_each_epoch_in_order():
    model, patches = make_model(), make_patches()
    fit(model, patches, epochs=6, initial_epoch=4)
    expected, step = 0.0, 0
    for epoch in (4, 5):
        for b in range(3):
            step += 1
            expected += step * patches.batch(epoch, b)[0].sum(dtype="float64")
    recorder = next(layer for layer in model.layers if isinstance(layer, Recorder))
    assert float(recorder.step) == step == len(patches) * 2
    assert float(recorder.trace) == pytest.approx(expected, rel=1e-5)


@pytest.mark.backend
def test_resumed_run_is_the_unbroken_run_exactly(tmp_path):
    patches = make_patches()
    unbroken, first = make_model(), make_model()
    fit(unbroken, patches, epochs=3)
    fit(first, patches, epochs=1)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    fit(second, patches, epochs=3, initial_epoch=1)
    for expected, weight in zip(unbroken.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, weight)


def test_dataset_of_tensorflow_gives_the_same_numbers_anew_each_epoch():
    pytest.importorskip("tensorflow")
    patches = make_patches()
    dataset = patches.get_tf_dataset()
    for epoch in (0, 3):
        patches.epoch = epoch
        batches = list(dataset.as_numpy_iterator())
        assert len(batches) == 3
        for step, batch in enumerate(batches):
            for ours, theirs in zip(patches.batch(epoch, step), batch, strict=True):
                np.testing.assert_array_equal(ours, theirs)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": 3}, ValueError, r"`scale` must divide `size`.*size=16, scale=3"),
        ({"scale": 0}, ValueError, r"Received: scale=0"),
        ({"scale": 2.0}, ValueError, r"Received: scale=2.0"),
        ({"steps": 0}, ValueError, r"`steps` must be .*Received: steps=0"),
        ({"seed": -1}, ValueError, r"not negative. Received: seed=-1"),
        ({"batch_size": 0}, ValueError, r"Received: batch_size=0"),
        ({"size": 34}, DataError, r"smaller than a patch of 34×34.*Received: 1 \(33×32\)$"),
        ({"photos": Photos([])}, DataError, r"'photos' is empty"),
    ],
)
def test_errors_come_before_training(options, error, message):
    with pytest.raises(error, match=message):
        make_patches(**{"photos": make_photos((40, 61), (33, 32)), **options})
