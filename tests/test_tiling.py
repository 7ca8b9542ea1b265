"""Tiles without seams: where they lie, how far a model sees, and what it is refused."""

import itertools
import unittest

import keras
import numpy as np
import pytest
from image_models import make_brightness, make_nearest, noise
from keras import layers

from ganlib import apply
from ganlib.data import DataError

FUNCTIONS = {
    "upscale_image": lambda image, **options: apply.upscale_image(make_nearest(), image, **options),
    "segment": lambda image, **options: apply.segment(make_brightness(), image, **options),
}


def covers(windows, length, overlap):
    """Whether windows of one size cover a side once, and keep the overlap where they can."""
    assert len({size for _, size, _, _ in windows}) == 1
    kept = [i for _, _, first, last in windows for i in range(first, last)]
    assert kept == list(range(length))
    for start, size, first, last in windows:
        assert 0 <= start <= first < last <= start + size <= length
        assert first - start >= overlap or start == 0
        assert start + size - last >= overlap or start + size == length
    return True


@pytest.mark.parametrize("length", [1, 5, 21, 22, 23, 24, 200])
@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (1, 3), (16, 3), (200, 3), (7, 7)])
def test_windows_cover_a_side_once_and_keep_their_distance(length, tile, overlap):
    assert covers(apply.windows(length, tile, overlap), length, overlap)


@pytest.mark.parametrize("length", [4, 20, 80, 84, 88, 92, 800])
@pytest.mark.parametrize(("tile", "overlap"), [(4, 0), (4, 12), (64, 12), (800, 12), (28, 28)])
def test_windows_of_multiples_keep_to_the_cells(length, tile, overlap):
    windows = apply.windows(length, tile, overlap)
    assert covers(windows, length, overlap)
    assert all(start % 4 == size % 4 == 0 for start, size, _, _ in windows)


def test_many_models_in_a_row_without_a_word_of_tensorflows():
    # A study in one process: TensorFlow takes that for one function that is traced over and over.
    with unittest.TestCase().assertNoLogs("tensorflow", "WARNING"):
        for _ in range(6):
            model = make_nearest()
            for side in (5, 6):
                apply.run(model, np.zeros((1, side, side, 3), "float32"))


@pytest.mark.parametrize("scale", [1, 3])
def test_tiles_make_up_the_whole(scale):
    image = noise(23, 31, 3)
    whole = np.full((scale * 23, scale * 31, 3), -1.0)
    for place, outputs in apply.tiles(make_nearest(scale), image, 7, 2, scale):
        assert (whole[place] == -1).all()
        whole[place] = outputs
    np.testing.assert_allclose(255 * whole, image.repeat(scale, 0).repeat(scale, 1), atol=1e-4)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_no_pixel_sees_farther_than_the_reach(kernel, strides, dilation):
    if strides > 1 < dilation:
        pytest.skip("Keras has none that does both")
    inputs = keras.Input((None, None, 1))
    options = {"padding": "same", "kernel_initializer": "ones"}
    x = layers.MaxPooling2D(kernel, 1, padding="same")(inputs)
    x = layers.Conv2D(1, kernel, strides, dilation_rate=dilation, **options)(x)
    x = layers.Conv2DTranspose(1, kernel, strides, **options)(x)
    model = keras.Model(inputs, x)
    reach = apply.reach(model, (1, 24, 32, 1))
    images = np.zeros((5, 48, 48, 1), "float32")
    for i, (dy, dx) in enumerate(itertools.product(range(2), range(2))):
        images[i, 20 + dy, 20 + dx] = 1
    *found, nothing = model.predict_on_batch(images)
    farthest = max(
        np.abs(np.argwhere(made != nothing)[:, :2] - (20 + dy, 20 + dx)).max()
        for (dy, dx), made in zip(itertools.product(range(2), range(2)), found, strict=True)
    )
    assert farthest <= reach <= 2 * farthest


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (noise(4, 4), {}, r"Received: shape=\(4, 4\)"),
        (noise(4, 4, 2), {}, r"Received: shape=\(4, 4, 2\)"),
        (noise(4, 4, 4), {}, r"Received: shape=\(4, 4, 4\)"),
        (np.zeros((4, 4, 3)), {}, r"dtype=float64"),
        (np.zeros((4, 4, 1)), {}, r"dtype=float64"),
        (noise(0, 4, 3), {}, r"shape=\(0, 4, 3\)"),
        (noise(0, 4, 1), {}, r"shape=\(0, 4, 1\)"),
        (noise(4, 4, 3), {"tile": 0}, r"tile=0"),
        (noise(4, 4, 1), {"overlap": -1}, r"overlap=-1"),
    ],
)
def test_image_errors(function, image, options, message):
    with pytest.raises(ValueError, match=message):
        function(image, **options)


def test_nan_is_an_error():
    inputs = keras.Input((None, None, 3))
    large = layers.Rescaling(float("inf"))(layers.UpSampling2D()(inputs))
    with pytest.raises(DataError, match=r"makes NaN.*an image of 4×5"):
        apply.upscale_image(keras.Model(inputs, large), np.zeros((4, 5, 3), "uint8"))
    with pytest.raises(DataError, match=r"makes NaN.*an image of 4×5"):
        apply.segment(make_brightness(np.nan), noise(4, 5, 1))
