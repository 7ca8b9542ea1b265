"""Scores of an upscaler: closed forms, and what is refused."""

import dataclasses

import keras
import numpy as np
import pytest
from draws import RNG
from skimage import data, filters

from ganlib.data import DataError, Photos
from ganlib.features.perceptual import Extractor, FilterBank
from ganlib.images import (
    RANGE_MISTAKES,
    compare,
    convert,
    downscale,
    range_mistakes,
    upscale,
)
from ganlib.metrics import super_resolution as metrics


@dataclasses.dataclass(frozen=True)
class Pixels(Extractor):
    """The picture itself: the distance is the mean squared difference."""

    def build(self):
        images = keras.Input((None, None, 3))
        return keras.Model(images, 1.0 * images)


@pytest.fixture(scope="module")
def photos():
    """Two pieces of real photographs, no side of which divides by 4."""
    pieces = [data.astronaut()[70:145, 180:263], data.chelsea()[100:151, 100:162]]
    return Photos(pieces, ["face", "cat"])


def bicubic(scale):
    return lambda low: upscale(low, scale)


def flat(value, *size):
    return np.full((*size, 3), value, "uint8")


def perfect(photos, scale):
    """An upscaler that knows the answers."""
    pairs = [metrics.low_resolution(image, scale) for image in photos.images]

    def enlarge(low):
        return next(high for small, high in pairs if np.array_equal(small, low))

    return enlarge


# -- a picture and its small version -------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_resolution_is_matlabs_of_the_cropped_original(photos, scale):
    image = photos.images[0]
    low, high = metrics.low_resolution(image, scale)
    height, width = (side // scale * scale for side in image.shape[:2])
    np.testing.assert_array_equal(high, image[:height, :width])
    assert low.dtype == high.dtype == np.uint8
    assert low.shape == (height // scale, width // scale, 3)
    np.testing.assert_array_equal(low, downscale(high, scale))


# -- an upscaler ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_by_hand(photos, scale):
    rows = metrics.evaluate(bicubic(scale), photos, scale)
    assert [row["name"] for row in rows] == ["face", "cat"]
    for row, image in zip(rows, photos.images, strict=True):
        height, width = (side // scale * scale for side in image.shape[:2])
        high = image[:height, :width]
        large = upscale(downscale(high, scale), scale)
        expected = compare(large, high, "byte", border=scale)
        assert set(expected) == set(metrics.FIDELITY)
        assert {key: row[key] for key in expected} == expected
        assert row["sharpness"] == metrics.sharpness(large, high)
        assert set(row) == {"name", "sharpness", *metrics.FIDELITY}


def test_the_upscaler_sees_the_small_picture_alone(photos):
    seen = []

    def enlarge(low):
        seen.append(low.copy())
        return upscale(low, 4)

    metrics.evaluate(enlarge, photos, 4)
    for low, image in zip(seen, photos.images, strict=True):
        np.testing.assert_array_equal(low, metrics.low_resolution(image, 4)[0])


def test_the_answers_themselves(photos):
    rows = metrics.evaluate(perfect(photos, 2), photos, 2, FilterBank())
    for row in rows:
        assert row["psnr_y"] == row["psnr_rgb"] == np.inf
        assert row["ssim_y"] == row["ssim_rgb"] == pytest.approx(1.0)
        assert row["sharpness"] == 1.0
        assert row["perceptual"] == 0.0


def test_flat_grey_in_closed_form():
    """Half 60, half 180, across: the mean is 120, and each pixel is off by 60."""
    image = flat(60, 48, 64)
    image[:, 32:] = 180
    enlarge = metrics.flat_grey(4)
    (row,) = metrics.evaluate(enlarge, Photos([image]), 4)
    assert row["psnr_rgb"] == pytest.approx(20 * np.log10(255 / 60))
    gain = (65.481 + 128.553 + 24.966) / 255  # of BT.601's luma, 16 to 235
    assert row["psnr_y"] == pytest.approx(20 * np.log10(255 / (60 * gain)))
    assert row["sharpness"] == 0.0
    large = enlarge(flat(7, 5, 6))
    assert large.shape == (20, 24, 3)
    assert large.dtype == np.uint8
    assert (large == 7).all()


def test_flat_grey_is_one_grey_whatever_the_colours():
    low = np.stack([flat(0, 2, 3)[..., 0], flat(90, 2, 3)[..., 0], flat(31, 2, 3)[..., 0]], -1)
    assert (metrics.flat_grey(2)(low) == 40).all()  # 121 / 3 = 40.33


def test_borders_are_left_out_of_the_comparison(photos):
    right = perfect(photos, 4)

    def spoilt(depth):
        def enlarge(low):
            large = right(low).copy()
            large[:depth] ^= 128
            large[:, -depth:] ^= 128
            return large

        return metrics.evaluate(enlarge, photos, 4)

    assert all(row["psnr_rgb"] == np.inf for row in spoilt(4))
    assert all(row["psnr_rgb"] < 40 for row in spoilt(5))


def test_mean_scores():
    rows = [
        {"name": "a", "psnr_y": 20.0, "ssim_y": 0.5, "perceptual": 1.0},
        {"name": "b", "psnr_y": 30.0, "ssim_y": 0.7, "perceptual": 4.0},
    ]
    expected = {"psnr_y": 25.0, "ssim_y": 0.6, "perceptual": 2.5, "n": 2}
    assert metrics.mean_scores(rows) == pytest.approx(expected)


# -- sharpness -----------------------------------------------------------------------------------


def test_sharpness_of_ramps():
    """The gradient of a ramp is its slope, the same everywhere."""
    ramp = np.arange(64, dtype="uint8")[None, :, None].repeat(40, 0).repeat(3, 2)
    assert metrics.sharpness(2 * ramp, ramp) == pytest.approx(2.0)
    assert metrics.sharpness(ramp, 2 * ramp) == pytest.approx(0.5)
    assert metrics.sharpness(ramp[::-1, ::-1], ramp) == pytest.approx(1.0)
    assert metrics.sharpness(ramp + 100, ramp) == pytest.approx(1.0)


def test_blur_is_less_sharp_and_noise_sharper(photos):
    image = photos.images[0]
    blurred = [
        convert(filters.gaussian(image / 255, sigma, channel_axis=-1), "unit", "byte")
        for sigma in (1, 2)
    ]
    noisy = np.clip(image + RNG.normal(0, 20, image.shape), 0, 255).astype("uint8")
    values = [metrics.sharpness(x, image) for x in (blurred[1], blurred[0], image, noisy)]
    assert values == sorted(values)
    assert values[2] == 1.0
    assert values[1] < 0.8
    assert metrics.sharpness(flat(9, *image.shape[:2]), image) == 0.0


def test_sharpness_beside_a_flat_original_is_finite():
    assert metrics.sharpness(flat(3, 8, 8), flat(3, 8, 8)) == 0.0


# -- the perceptual distance ---------------------------------------------------------------------


def test_perceptual_distance_by_hand(photos):
    image, other = photos.images[0], photos.images[0][::-1]
    expected = np.mean(((image.astype("float64") - other) / 255) ** 2)
    assert metrics.perceptual_distance(image, other, Pixels()) == pytest.approx(expected, rel=1e-5)
    assert metrics.perceptual_distance(image, image, Pixels()) == 0.0


@pytest.mark.parametrize(("side", "rows", "columns"), [(21, 21, 21), (64, 50, 62), (None, 50, 62)])
def test_only_the_centre_is_judged(side, rows, columns):
    image = RNG.integers(0, 256, (50, 62, 3), "uint8")
    changed = upscale(downscale(image, 2), 2)
    (row,) = metrics.evaluate(bicubic(2), Photos([image]), 2, Pixels(), side)
    top, left = (50 - rows) // 2, (62 - columns) // 2
    centre = (slice(top, top + rows), slice(left, left + columns))
    expected = np.mean(((image[centre].astype("float64") - changed[centre]) / 255) ** 2)
    assert row["perceptual"] == pytest.approx(expected, rel=1e-5)


# -- value ranges --------------------------------------------------------------------------------


def test_printed_scores_are_those_of_the_mistake(photos):
    low, high = metrics.low_resolution(photos.images[0], 4)
    large = upscale(low, 4)
    every = range_mistakes(convert(large, "byte", "unit"), convert(high, "byte", "unit"))
    assert [row["mistake"] for row in every] == ["none", *RANGE_MISTAKES, "both signed, peak 1"]
    for row in every:
        assert metrics.printed_scores(large, high, row["mistake"]) == row
    right = metrics.printed_scores(large, high, "none")
    plain = compare(large, high, "byte")
    assert right["psnr"] == pytest.approx(plain["psnr_rgb"])
    assert right["ssim"] == pytest.approx(plain["ssim_rgb"])


def test_the_write_ups_fault_costs_what_it_printed(photos):
    # Both numbers of its best attempt, 10.7 dB and 0.39, lie below a flat grey picture's 13 dB.
    low, high = metrics.low_resolution(photos.images[0], 4)
    large = upscale(low, 4)
    printed = metrics.printed_scores(large, high, "denormalised twice")
    unit = large / 255, high / 255
    error = np.mean(((unit[0] + 1) / 2 - unit[1]) ** 2)
    assert printed["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert printed["psnr"] < compare(large, high, "byte")["psnr_rgb"] - 6


@pytest.mark.parametrize("mistake", RANGE_MISTAKES)
def test_a_wrong_range_is_refused_unless_told_otherwise(photos, mistake):
    change = RANGE_MISTAKES[mistake]

    def enlarge(low):
        return convert(change(upscale(low, 2) / 255), "unit", "byte")

    with pytest.raises(ValueError, match="after the mistake"):
        metrics.evaluate(enlarge, photos, 2)
    rows = metrics.evaluate(enlarge, photos, 2, check=False)
    assert all(np.isfinite(row["psnr_y"]) for row in rows)
    right = metrics.evaluate(bicubic(2), photos, 2)
    assert all(a["psnr_y"] < b["psnr_y"] - 6 for a, b in zip(rows, right, strict=True))


# -- refusals ------------------------------------------------------------------------------------


def test_a_picture_that_is_too_small_is_named():
    photos = Photos([flat(1, 40, 40), flat(1, 31, 90)], ["large", "slim"])
    with pytest.raises(DataError, match=r"32×32.*Received: slim \(31×90\)$"):
        metrics.evaluate(bicubic(4), photos, 4)
    with pytest.raises(DataError, match="empty"):
        metrics.evaluate(bicubic(4), Photos([]), 4)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_smallest_picture_can_be_scored(scale):
    image = RNG.integers(0, 256, (32, 32, 3), "uint8")
    (row,) = metrics.evaluate(bicubic(scale), Photos([image]), scale, FilterBank())
    assert all(np.isfinite(value) for key, value in row.items() if key != "name")


def test_pictures_of_another_size_are_refused(photos):
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.evaluate(bicubic(2), photos, 4)
