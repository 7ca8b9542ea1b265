"""Value ranges, MATLAB's bicubic, PSNR and SSIM: closed forms, and oracles in NumPy."""

import numpy as np
import pytest
import skimage.data
from scipy.ndimage import correlate, gaussian_filter

from ganlib import images as im


def photo(name):
    return im.crop_to_multiple(getattr(skimage.data, name)(), 4)


@pytest.mark.parametrize(("target", "ends"), [("unit", (0, 1)), ("signed", (-1, 1))])
def test_every_byte_survives_the_round_trip(target, ends):
    given = np.arange(256, dtype=np.uint8)
    values = im.convert(given, "byte", target)
    assert (values.dtype, values.min(), values.max()) == (np.float32, *ends)
    np.testing.assert_array_equal(im.convert(values, target, "byte"), given, strict=True)


def test_bytes_are_rounded_and_clipped():
    values = np.array([-0.2, 0.499 / 255, 0.501 / 255, 1.2])
    np.testing.assert_array_equal(im.convert(values, "unit", "byte"), [0, 0, 1, 255])
    with pytest.raises(ValueError, match="Received: 1 NaN of 2 values"):
        im.convert([0.5, np.nan], "unit", "byte")


def test_infer_range():
    for values, name in (([0, 0.5, np.nan, 1], "unit"), ([-1, 0.5], "signed"), ([7, 9], "byte")):
        assert im.infer_range(np.array(values)) == name
    assert im.infer_range(np.zeros(3, "uint8")) == "byte"
    with pytest.raises(ValueError, match=r"Rescale.*Received: .*minimum=.*maximum="):
        im.infer_range(np.array([0.5, 200.0]))


@pytest.mark.parametrize(
    ("values", "declared", "message"),
    [
        ([0.0, 255.0], "signed", r'look like "byte".*convert\(images, "byte", "signed"\)'),
        ([0.0, 0.5, 1.0], "byte", 'look like "unit"'),
        ([0.0, np.nan], "unit", "Look for NaN.*minimum=nan"),
        (np.zeros((0, 28)), "unit", r"no values.*Received: shape=\(0, 28\)"),
    ],
)
def test_check_range(values, declared, message):
    with pytest.raises(ValueError, match=message):
        im.check_range(np.array(values), declared)
    im.check_range(np.array([-1.004, 1.0]), "signed", tolerance=0.01)
    im.check_range(np.ones((2, 2), "uint8"), "byte")  # dark


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
    """MATLAB's: rows first, and bytes are rounded after each pass."""

    def rounded(x):
        return np.clip(np.floor(x + 0.5), 0, 255) if image.dtype == np.uint8 else x

    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    resized = rounded(np.einsum("hy,yx...->hx...", rows, image.astype("float64")))
    return rounded(np.einsum("hx...,wx->hw...", resized, columns))


@pytest.mark.parametrize(("shape", "scale"), [((24, 12), 2), ((12, 24, 3), 3), ((12, 24, 1), 4)])
def test_resizing_is_imresize(shape, scale):
    image = np.random.default_rng(0).random(shape)
    smaller, larger = im.downscale(image, scale), im.upscale(image, scale)
    (height, width), near = shape[:2], {"rtol": 0, "atol": 1e-6}
    assert smaller.dtype == larger.dtype == np.float32
    np.testing.assert_allclose(smaller, imresize(image, height // scale, width // scale), **near)
    np.testing.assert_allclose(larger, imresize(image, height * scale, width * scale), **near)


@pytest.mark.parametrize(("name", "expected"), [("astronaut", 26.844), ("chelsea", 31.476)])
def test_bicubic_on_photographs(name, expected):
    # ×4 PSNR of the luma, 4 border pixels cropped, by code that gives 28.43 dB on Set5.
    image = photo(name)
    enlarged = im.upscale(im.downscale(image, 4), 4)
    score = im.psnr(enlarged, image, "byte", border=4, luma_only=True)
    assert score == pytest.approx(expected, abs=0.01)
    exact = imresize(im.downscale(image, 4), *image.shape[:2])
    assert np.abs(enlarged - exact).max() <= 1  # in float32 a half may fall on the other side
    assert (enlarged != exact).mean() < 1e-4


def test_crop_and_what_resizing_refuses():
    image = np.arange(7 * 9 * 3).reshape(7, 9, 3)
    np.testing.assert_array_equal(im.crop_to_multiple(image, 4), image[:4, :8])
    with pytest.raises(ValueError, match=r"crop_to_multiple first.*Received: shape=\(7, 9, 3\)"):
        im.downscale(image, 2)


def test_luma_of_primaries_is_bt601():
    colours = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    expected = [16, 81.481, 144.553, 40.966, 235]
    np.testing.assert_allclose(im.luma(2 * colours - 1, "signed"), expected)
    np.testing.assert_allclose(im.luma([[0.0], [0.5], [1.0]], "unit"), [16, 125.5, 235])


def test_psnr_of_a_constant_offset():
    image = np.full((16, 16, 1), 100, np.uint8)
    assert im.psnr(image + 5, image, "byte") == pytest.approx(20 * np.log10(255 / 5))
    assert im.psnr((image + 0.4) / 255, image / 255, "unit") == np.inf  # rounded to 8 bits


def test_nan_has_no_score():
    image = np.full((16, 16, 3), 0.5)
    broken = image.copy()
    broken[3, 3] = np.nan
    for score in (im.psnr, im.ssim):
        with pytest.raises(ValueError, match="Look for NaN"):
            score(broken, image, "unit")
        assert np.isnan(score(broken, image, "unit", check=False))


def test_scores_do_not_depend_on_the_value_range():
    reference = photo("chelsea")[:40, :40]
    image = im.upscale(im.downscale(reference, 2), 2)
    scores = {
        "psnr_rgb": im.psnr(image, reference, "byte"),
        "psnr_y": im.psnr(image, reference, "byte", luma_only=True),
        "ssim_rgb": im.ssim(image, reference, "byte"),
        "ssim_y": im.ssim(image, reference, "byte", luma_only=True),
    }
    for name in im.ValueRange:
        pair = (im.convert(x, "byte", name) for x in (image, reference))
        assert im.compare(*pair, name) == scores
    image = np.pad(reference[4:-4, 4:-4], ((4, 4), (4, 4), (0, 0)))
    assert im.psnr(image, reference, "byte", border=3) < np.inf
    assert im.compare(image, reference, "byte", border=4)["psnr_y"] == np.inf


def wang(a, b):
    """SSIM of Wang et al. (2004) on one plane of 0 to 255."""
    steps = np.arange(-5, 6)
    window = np.exp(-(steps[:, np.newaxis] ** 2 + steps**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(x):
        return correlate(x, window)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return np.mean(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))


def test_ssim_is_that_of_wang():
    reference = photo("astronaut")[:64, :48]
    image = im.upscale(im.downscale(reference, 4), 4)
    planes = np.moveaxis(np.stack([image, reference]).astype(float), -1, 0)
    expected = np.mean([wang(a, b) for a, b in planes])
    assert im.ssim(image, reference, "byte") == pytest.approx(expected, abs=1e-6)


def test_the_checks_accept_bad_pictures_in_the_right_range():
    u = photo("astronaut")[100:220, 100:220] / 255
    for image in (
        im.upscale(im.downscale(u, 4), 4),
        np.random.default_rng(0).random(u.shape),
        0.8 * gaussian_filter(u, (4, 4, 0)) + 0.2,
        1 - u,
    ):
        assert im.psnr(image, u, "unit") > 0
        im.check_pair(2 * image - 1, 2 * u - 1, "signed")


@pytest.mark.parametrize("mistake", im.RANGE_MISTAKES)
def test_each_mistake_is_refused_by_name(mistake):
    reference = photo("chelsea")[100:220, 100:220] / 255
    right = im.upscale(im.downscale(reference, 4), 4).clip(0, 1)
    image = im.RANGE_MISTAKES[mistake](right)
    with pytest.raises(ValueError, match=f'mistake "{mistake}".*Received: PSNR'):
        im.check_pair(image, reference, "unit")
    for score in (im.psnr, im.ssim, im.compare):
        with pytest.raises(ValueError, match=r"declared.*Received: "):
            score(image, reference, "unit")


def test_range_mistakes_in_closed_form():
    flat = np.full((11, 11, 1), 51 / 255)  # u = 0.2; the mistakes see -0.6, 0 and 0.6
    scores = {row["mistake"]: row["psnr"] for row in im.range_mistakes(flat, flat)}
    assert scores["none"] == scores["both signed, peak 1"] == np.inf
    for mistake, error in zip(im.RANGE_MISTAKES, (0.8, 0.2, 0.4), strict=True):
        assert scores[mistake] == pytest.approx(-20 * np.log10(error))
    none, *_, peak = im.range_mistakes(flat + 0.1, flat)
    assert none["psnr"] - peak["psnr"] == pytest.approx(20 * np.log10(2))


def test_what_the_scores_refuse():
    image = np.zeros((16, 16, 3))
    for score, other, border in (
        *((im.psnr, image[:, :12], 0), (im.psnr, image, 8)),
        *((im.psnr, image, -1), (im.ssim, image, 3)),
    ):
        with pytest.raises(ValueError, match=rf"one shape, .*\(16, 16, 3\), .*border={border}"):
            score(image, other, "unit", border=border)
