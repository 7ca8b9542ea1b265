import numpy as np
import pytest
import skimage.data

from ganlib.images import (
    apply_kernel,
    bicubic_kernel,
    convert,
    crop_to_multiple,
    downscale,
    fit_kernel,
    psnr,
    upscale,
)

SHAPES = [(12, 24, 3), (24, 12), (12, 12, 1)]


def cubic(x):
    x = np.abs(x)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0))


def weights(before, after):
    """imresize along one side, as a matrix `(after, before)`."""
    factor = after / before
    stretch = min(factor, 1)
    centre = (np.arange(after) + 0.5) / factor - 0.5
    taps = np.arange(np.ceil(4 / stretch) + 2, dtype=int)
    taps = np.floor(centre - 2 / stretch).astype(int)[:, np.newaxis] + taps
    values = cubic(stretch * (centre[:, np.newaxis] - taps))
    values /= values.sum(axis=1, keepdims=True)
    mirrored = np.r_[np.arange(before), np.arange(before)[::-1]][taps % (2 * before)]
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after)[:, np.newaxis], mirrored), values)
    return matrix


def imresize(image, height, width):
    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("hy,yx...,wx->hw...", rows, image.astype(np.float64), columns, optimize=True)


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_resizing_is_imresize(shape, scale):
    image = noise(shape)
    smaller, larger = downscale(image, scale), upscale(image, scale)
    height, width = shape[:2]
    assert smaller.dtype == larger.dtype == np.float32
    np.testing.assert_allclose(
        smaller, imresize(image, height // scale, width // scale), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        larger, imresize(image, height * scale, width * scale), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bytes_are_rounded_once_at_the_end(scale):
    image = crop_to_multiple(skimage.data.chelsea(), scale)
    height, width = image.shape[0] // scale, image.shape[1] // scale
    smaller = downscale(image, scale)
    for resized, exact in (
        (smaller, imresize(image, height, width)),
        (upscale(smaller, scale), imresize(smaller, height * scale, width * scale)),
    ):
        assert resized.dtype == np.uint8
        rounded = np.clip(np.floor(exact + 0.5), 0, 255)
        # The resizing is in float32: a half may fall on the other side.
        assert np.abs(resized - rounded).max() <= 1
        assert (resized != rounded).mean() < 1e-4


def test_bytes_are_clipped_and_floats_overshoot():
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 255
    assert {0, 255} <= set(upscale(edge, 2).ravel())
    overshooting = upscale(edge / 255, 2)
    assert overshooting.min() < -0.05
    assert overshooting.max() > 1.05


def test_a_flat_image_stays_flat_down_to_one_pixel():
    for shape in ((8, 8, 3), (4, 4), (1, 1, 1)):
        np.testing.assert_allclose(upscale(np.full(shape, 0.3), 4), 0.3, rtol=1e-6)
    np.testing.assert_allclose(downscale(np.full((4, 4), 0.3), 4), [[0.3]], rtol=1e-6)


def test_crop_to_multiple_crops_bottom_and_right():
    image = np.arange(7 * 9 * 3).reshape(7, 9, 3)
    np.testing.assert_array_equal(crop_to_multiple(image, 4), image[:4, :8])
    assert crop_to_multiple(image, 1).shape == image.shape
    with pytest.raises(ValueError, match=r"at least `scale` pixels.*Received: shape=\(7, 9, 3\)"):
        crop_to_multiple(image, 8)


@pytest.mark.parametrize("function", [crop_to_multiple, downscale, upscale])
@pytest.mark.parametrize("scale", [0, -2, 2.0, "2"])
def test_scales_are_positive_integers(function, scale):
    with pytest.raises(ValueError, match=r"`scale` must be a positive integer\. Received: "):
        function(np.zeros((8, 8)), scale)


def test_what_resizing_refuses():
    with pytest.raises(ValueError, match=r"crop_to_multiple first.*Received: shape=\(8, 9\)"):
        downscale(np.zeros((8, 9)), 2)
    with pytest.raises(ValueError, match=r"must have the shape.*Received: shape=\(1, 8, 8, 3\)"):
        upscale(np.zeros((1, 8, 8, 3)), 2)
    with pytest.raises(ValueError, match=r"uint8 or float\. Received: dtype=int64"):
        upscale(np.zeros((8, 8), np.int64), 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_one_convolution(scale):
    kernel = bicubic_kernel(scale)
    assert kernel.shape == (5, 5, scale**2)
    assert kernel.dtype == np.float32
    image = noise((7, 9, 3))
    enlarged = apply_kernel(image, kernel, scale)
    assert enlarged.dtype == np.float32
    expected = imresize(image, 7 * scale, 9 * scale)
    np.testing.assert_allclose(enlarged, expected, rtol=0, atol=1e-5)


def test_the_channels_of_a_kernel_are_the_block_row_by_row():
    kernel = np.zeros((5, 5, 9))
    kernel[2, 2] = np.arange(9)
    expected = np.arange(9).reshape(3, 3, 1)
    np.testing.assert_array_equal(apply_kernel(np.ones((1, 1, 1)), kernel, 3), expected)


def test_fit_kernel_finds_the_kernel_that_made_the_pictures():
    taps = noise((5, 5, 4)) - 0.3
    taps /= taps.sum(axis=(0, 1))
    lows = [noise((16, 20, 3), seed) for seed in range(3)]
    pairs = ((low, apply_kernel(low, taps, 2)) for low in lows)
    np.testing.assert_allclose(fit_kernel(pairs, 2, ridge=1e-9), taps, atol=1e-4)


def test_fit_kernel_is_least_squares():
    low, high = noise((12, 12, 1)), noise((24, 24, 1), 1)

    def error(kernel):
        return float(((apply_kernel(low, kernel, 2) - high) ** 2).mean())

    kernel = fit_kernel([(low, high)], 2, ridge=1e-9)
    best = error(kernel)
    for seed in range(5):
        change = noise((5, 5, 4), seed) - 0.5
        change -= change.mean(axis=(0, 1))  # the taps still sum to 1
        assert error(kernel + 0.01 * change) > best


def test_the_ridge_draws_to_bicubic_and_flat_stays_flat():
    pairs = [(noise((12, 12, 1)), noise((36, 36, 1), 1))]
    np.testing.assert_allclose(fit_kernel(pairs, 3, ridge=1e9), bicubic_kernel(3), atol=1e-6)
    kernel = fit_kernel(pairs, 3)
    np.testing.assert_allclose(kernel.sum(axis=(0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(apply_kernel(np.full((4, 4, 3), 0.7), kernel, 3), 0.7, atol=1e-5)


def test_the_fitted_kernel_beats_bicubic_on_another_photo():
    def pair(photo):
        high = crop_to_multiple(photo, 4)
        return convert(downscale(high, 4), "byte", "unit"), convert(high, "byte", "unit")

    def decibels(image):
        return psnr(image, high, "unit", border=4, luma_only=True)

    kernel = fit_kernel([pair(skimage.data.chelsea())], 4)
    low, high = pair(skimage.data.coffee())
    assert decibels(apply_kernel(low, kernel, 4)) > decibels(upscale(low, 4)) + 0.3


def test_what_kernels_refuse():
    low, high = noise((4, 4, 3)), noise((8, 8, 3))
    for scale in (1, 5, 2.0):
        with pytest.raises(ValueError, match=r"`scale` must be 2, 3 or 4\. Received: scale="):
            bicubic_kernel(scale)
        with pytest.raises(ValueError, match=r"`scale` must be 2, 3 or 4"):
            fit_kernel([(low, high)], scale)
    with pytest.raises(ValueError, match=r"3 times.*Received: shapes \(4, 4, 3\) and \(8, 8, 3\)"):
        fit_kernel([(low, high)], 3)
    with pytest.raises(ValueError, match=r"\(height, width, channels\).*Received: shape=\(4, 4\)"):
        fit_kernel([(low[..., 0], high[..., 0])], 2)
    with pytest.raises(ValueError, match=r"`ridge` must be above 0\. Received: ridge=0"):
        fit_kernel([(low, high)], 2, ridge=0)
    for pairs in ([], [(np.ones((4, 4, 1)), np.ones((8, 8, 1)))], [(low * np.nan, high)]):
        with pytest.raises(ValueError, match=r"at least one picture that is not flat"):
            fit_kernel(pairs, 2)
    with pytest.raises(ValueError, match=r"shape \(5, 5, 4\).*Received: shape=\(5, 5, 9\)"):
        apply_kernel(low, bicubic_kernel(3), 2)
    with pytest.raises(ValueError, match=r"Received: shape=\(4, 4\)"):
        apply_kernel(low[..., 0], bicubic_kernel(2), 2)
