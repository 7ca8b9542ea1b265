import os
import pathlib

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy.ndimage import correlate, gaussian_filter

from ganlib.images import (
    RANGE_MISTAKES,
    check_pair,
    compare,
    convert,
    crop_to_multiple,
    downscale,
    luma,
    psnr,
    range_mistakes,
    ssim,
    upscale,
)

SET5 = pathlib.Path(
    os.environ.get("GANLIB_SET5") or pathlib.Path(__file__).parent.parent / "data" / "set5"
)
# Bicubic ×4 PSNR of the luma, 4 border pixels cropped, by code that gives 28.43 dB on Set5.
BICUBIC = {"astronaut": 26.844, "chelsea": 31.476, "coffee": 27.292}
PHOTOS = sorted(BICUBIC)


def photo(name):
    return crop_to_multiple(getattr(skimage.data, name)(), 4)


def unit_photo(name, side=200):
    return photo(name)[:side, :side] / 255


def bicubic_psnr(image):
    enlarged = upscale(downscale(image, 4), 4)
    return psnr(enlarged, image, "byte", border=4, luma_only=True)


@pytest.mark.parametrize("name", PHOTOS)
def test_bicubic_on_photographs(name):
    assert bicubic_psnr(photo(name)) == pytest.approx(BICUBIC[name], abs=0.01)


def test_bicubic_on_set5_is_as_published():
    if not (paths := sorted(SET5.glob("*.png"))):
        pytest.skip(f"needs the five PNG files of Set5 in {SET5}, or GANLIB_SET5 to name a folder")
    assert len(paths) == 5
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    mean = np.mean([bicubic_psnr(crop_to_multiple(image, 4)) for image in images])
    assert mean == pytest.approx(28.42, abs=0.05)


def test_luma_of_primaries_is_bt601():
    colours = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    expected = [16, 81.481, 144.553, 40.966, 235]
    for value_range, image in (("unit", colours), ("signed", 2 * colours - 1)):
        np.testing.assert_allclose(luma(image, value_range), expected)
    np.testing.assert_allclose(luma(np.uint8(255 * colours), "byte"), expected)
    np.testing.assert_allclose(luma([[0.0], [0.5], [1.0]], "unit"), [16, 125.5, 235])
    with pytest.raises(ValueError, match=r"1 or 3 channels, last\. Received: shape=\(2, 4\)"):
        luma(np.zeros((2, 4)), "unit")


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_of_a_constant_offset(channels):
    image = np.full((16, 16, channels), 100, np.uint8)
    assert psnr(image + 5, image, "byte") == pytest.approx(20 * np.log10(255 / 5))
    # 5 of 255 are 5 * 219 / 255 in luma.
    luma_only = psnr(image + 5, image, "byte", luma_only=True)
    assert luma_only == pytest.approx(20 * np.log10(255 / (5 * 219 / 255)))
    assert psnr(image, image, "byte") == np.inf


def test_scores_do_not_depend_on_the_value_range():
    reference = photo("chelsea")[:40, :40]
    image = upscale(downscale(reference, 2), 2)
    scores = {
        value_range: compare(
            *(convert(x, "byte", value_range) for x in (image, reference)), value_range
        )
        for value_range in ("byte", "unit", "signed")
    }
    assert scores["unit"] == scores["signed"] == scores["byte"]
    assert set(scores["byte"]) == {"psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"}
    assert all(isinstance(score, float) for score in scores["byte"].values())
    assert scores["byte"]["ssim_y"] == ssim(image, reference, "byte", luma_only=True)
    assert scores["byte"]["psnr_rgb"] == psnr(image, reference, "byte")


def test_values_are_rounded_to_8_bits_and_clipped():
    reference = unit_photo("coffee", 32)
    rng = np.random.default_rng(0)
    below_a_step = rng.uniform(-0.4 / 255, 0.4 / 255, reference.shape)
    assert psnr(reference + below_a_step, reference, "unit") == np.inf
    white = np.ones((16, 16, 3))
    assert psnr(1.2 * white, white, "unit") == np.inf
    with pytest.raises(ValueError, match=r"overshoot.*np\.clip"):
        psnr(1.3 * white, white, "unit")
    assert psnr(1.3 * white, white, "unit", check=False) == np.inf


def test_the_border_is_left_out():
    reference = photo("coffee")[:40, :40]
    image = reference.copy()
    image[:4], image[-4:], image[:, :4], image[:, -4:] = 0, 0, 0, 0
    assert psnr(image, reference, "byte", border=3) < np.inf
    assert psnr(image, reference, "byte", border=4) == np.inf
    assert ssim(image, reference, "byte", border=4) == 1
    assert compare(image, reference, "byte", border=4)["ssim_y"] == 1


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
    image = upscale(downscale(reference, 4), 4)
    planes = np.moveaxis(np.stack([image, reference]).astype(float), -1, 0)
    expected = np.mean([wang(a, b) for a, b in planes])
    assert ssim(image, reference, "byte") == pytest.approx(expected, abs=1e-6)
    expected = wang(luma(image, "byte"), luma(reference, "byte"))
    assert ssim(image, reference, "byte", luma_only=True) == pytest.approx(expected, abs=1e-6)
    assert ssim(reference, reference, "byte") == 1


def harmless(u):
    """Pictures that are bad, but in the right range."""
    rng = np.random.default_rng(0)
    enlarged = upscale(downscale(u, 4), 4)
    return {
        "itself": u,
        "bicubic": enlarged,
        "blur": gaussian_filter(u, (4, 4, 0)),
        "noise": u + rng.normal(0, 0.2, u.shape).clip(-0.2, 0.2),
        "only noise": rng.random(u.shape),
        "flat grey": np.full_like(u, 0.5),
        "white": np.ones_like(u),
        "darker": 0.8 * u,
        "brighter": np.clip(1.2 * u, 0, 1),
        "raised": np.clip(u + 0.1, 0, 1),
        "lower contrast": 0.75 * u + 0.125,
        "higher contrast": np.clip(1.3 * u - 0.15, 0, 1),
        "blurred and brighter": 0.8 * gaussian_filter(u, (4, 4, 0)) + 0.2,
        "negative": 1 - u,
    }


@pytest.mark.parametrize("name", PHOTOS)
def test_the_checks_accept_bad_pictures_in_the_right_range(name):
    reference = unit_photo(name)
    for image in harmless(reference).values():
        assert psnr(image, reference, "unit") > 0
        check_pair(2 * image - 1, 2 * reference - 1, "signed")
        check_pair(255 * image, 255 * reference, "byte")
    bright = 0.7 + 0.3 * reference
    check_pair(upscale(downscale(bright, 4), 4), bright, "unit")


@pytest.mark.parametrize("mistake", RANGE_MISTAKES)
@pytest.mark.parametrize("name", PHOTOS)
def test_each_mistake_is_refused_by_name(name, mistake):
    reference = unit_photo(name)
    image = RANGE_MISTAKES[mistake](upscale(downscale(reference, 4), 4))
    message = rf'mistake "{mistake}".*ganlib\.images\.convert.*Received: PSNR \S+ dB against.* dB'
    with pytest.raises(ValueError, match=message):
        check_pair(image, reference, "unit")
    for score in (psnr, ssim, compare):
        with pytest.raises(ValueError, match=r"declared.*Received: "):
            score(image, reference, "unit")
    assert psnr(image, reference, "unit", check=False) < 13
    assert ssim(image, reference, "unit", check=False) < 0.75


def test_a_unit_image_declared_signed_is_refused():
    reference = unit_photo("astronaut")
    with pytest.raises(ValueError, match=r'"denormalised twice": both are declared "signed"'):
        psnr(reference, 2 * reference - 1, "signed")


def test_check_pair_needs_one_shape_and_a_known_range():
    with pytest.raises(ValueError, match=r"one shape\. Received: shapes \(2,\) and \(3,\)"):
        check_pair(np.zeros(2), np.zeros(3), "unit")
    with pytest.raises(ValueError, match=r"Received: value_range='percent'"):
        check_pair(np.zeros(2), np.zeros(2), "percent")


@pytest.mark.parametrize("name", PHOTOS)
def test_range_mistakes_tells_what_each_costs(name):
    reference = unit_photo(name)
    image = upscale(downscale(reference, 4), 4)
    rows = range_mistakes(image, reference)
    assert [row["mistake"] for row in rows] == ["none", *RANGE_MISTAKES, "both signed, peak 1"]
    scores = {row["mistake"]: (row["psnr"], row["ssim"]) for row in rows}
    right = psnr(image, reference, "unit"), ssim(image, reference, "unit")
    assert scores["none"] == pytest.approx(right)
    low = scores["both signed, peak 1"][0]
    assert right[0] - low == pytest.approx(20 * np.log10(2), abs=1e-9)
    assert all(scores[mistake][0] < 13 for mistake in RANGE_MISTAKES)
    assert all(scores[mistake][1] < right[1] for mistake in RANGE_MISTAKES)
    assert scores["signed compared with unit"][0] < 7


def test_range_mistakes_in_closed_form():
    flat = np.full((11, 11, 1), 51 / 255)  # u = 0.2; the mistakes see -0.6, 0 and 0.6
    scores = {row["mistake"]: row["psnr"] for row in range_mistakes(flat, flat)}
    assert scores["none"] == scores["both signed, peak 1"] == np.inf
    assert scores["signed compared with unit"] == pytest.approx(-20 * np.log10(0.8))
    assert scores["normalised twice"] == pytest.approx(-20 * np.log10(0.2))
    assert scores["denormalised twice"] == pytest.approx(-20 * np.log10(0.4))


@pytest.mark.parametrize("score", [psnr, ssim, compare])
def test_what_the_scores_refuse(score):
    image = np.zeros((16, 16, 3))
    with pytest.raises(ValueError, match=r"one shape\. Received: shapes \(16, 16, 3\) and \(16, 1"):
        score(image, image[:, :12], "unit")
    for wrong in (image[..., 0], image[..., :2], image[np.newaxis]):
        with pytest.raises(ValueError, match=r"1 or 3 channels\. Received: shape="):
            score(wrong, wrong, "unit")
    for border in (-1, 8, 1.0):
        with pytest.raises(ValueError, match=r"`border` must.*Received: border=.*, shape=\(16"):
            score(image, image, "unit", border=border)
    with pytest.raises(ValueError, match=r'look like "byte"'):
        score(image + 200, image, "unit")
    with pytest.raises(ValueError, match="isfinite"):
        score(image * np.nan, image, "unit")


def test_ssim_needs_its_window():
    image = np.zeros((16, 16, 1))
    assert ssim(image, image, "unit", border=2) == 1
    for score in (ssim, compare):
        with pytest.raises(ValueError, match=r"at least 11 pixels.*Received: border=3, shape=\(16"):
            score(image, image, "unit", border=3)
    assert psnr(image, image, "unit", border=3) == np.inf
