"""PSNR and SSIM in the conventions of super-resolution, which refuse a wrong value range.

Both compare 8-bit images: the value range's ends become 0 and 255, values are rounded and clipped.
Published numbers are mostly of the luma alone, with as many border pixels cropped as the scale.
"""

import numbers

import numpy as np

from ganlib.images.mistakes import (
    RANGE_MISTAKES,
    as_unit,
    check_pair,
    check_shapes,
    decibels,
    mean_squared,
)
from ganlib.images.ranges import check_range, convert

WINDOW = 11  # SSIM's Gaussian window of σ = 1.5, in pixels
OVERSHOOT = 0.25  # how far beyond its range an image may lie: sharp upscalers overshoot by 0.1


def luma(image, value_range):
    """BT.601 luma as MATLAB's rgb2ycbcr: 16 for black to 235 for white.

    Args:
        image: array `(..., channels)` of 1 or 3 channels; one channel counts as R = G = B.
        value_range: `ValueRange` of the image, or its name.

    Returns:
        float64 array of the image's shape less the channels, not rounded.

    Raises:
        ValueError: other than 1 or 3 channels.
    """
    image = np.asarray(image)
    if image.ndim == 0 or image.shape[-1] not in (1, 3):
        raise ValueError(f"Luma needs 1 or 3 channels, last. Received: shape={image.shape}")
    red, green, blue = np.moveaxis(
        np.broadcast_to(as_unit(image, value_range), (*image.shape[:-1], 3)), -1, 0
    )
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def psnr(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Peak signal-to-noise ratio of 8-bit images, in dB with a peak of 255.

    Args:
        image: array `(height, width, channels)` of 1 or 3 channels, with values in `value_range`.
            Up to a quarter of the range's width beyond its ends is clipped, as upscalers overshoot.
        reference: array of the same shape, in the same range.
        value_range: `ValueRange` of both, or its name.
        border: int, pixels to leave out on each side.
        luma_only: bool, compares `luma` in place of all channels.
        check: bool, whether `check_range` and `check_pair` are asked first.

    Returns:
        float; infinity if the two are equal.

    Raises:
        ValueError: other shapes, a border that leaves nothing, or what the checks refuse.
    """
    from skimage.metrics import peak_signal_noise_ratio

    image, reference = _pair(image, reference, value_range, border, luma_only, check, least=1)
    if np.array_equal(image, reference):
        return np.inf
    return float(peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Structural similarity of 8-bit images after Wang et al. (2004).

    The window is an 11×11 Gaussian of σ = 1.5; the mean is over positions where it fits in whole,
    and over the channels.

    Args:
        image: array `(height, width, channels)`, see `psnr`.
        reference: array of the same shape, in the same range.
        value_range: `ValueRange` of both, or its name.
        border: int, pixels to leave out on each side; at least 11 must be left.
        luma_only: bool, compares `luma` in place of all channels.
        check: bool, whether `check_range` and `check_pair` are asked first.

    Returns:
        float, -1 to 1; 1 if the two are equal.

    Raises:
        ValueError: other shapes, too few pixels, or what the checks refuse.
    """
    image, reference = _pair(image, reference, value_range, border, luma_only, check, least=WINDOW)
    return _ssim(image, reference)


def compare(image, reference, value_range, border=0, check=True):
    """PSNR in dB and SSIM, of all channels and of the luma.

    Args:
        image: array `(height, width, channels)`, see `psnr`.
        reference: array of the same shape, in the same range.
        value_range: `ValueRange` of both, or its name.
        border: int, pixels to leave out on each side; at least 11 must be left.
        check: bool, as for `psnr`.

    Returns:
        dict of floats: "psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y".

    Raises:
        ValueError: as `psnr` and `ssim`.
    """
    _pair(image, reference, value_range, border, False, check, least=WINDOW)
    return {
        f"{score.__name__}_{name}": score(
            image, reference, value_range, border=border, luma_only=luma_only, check=False
        )
        for score in (psnr, ssim)
        for name, luma_only in (("rgb", False), ("y", True))
    }


def range_mistakes(image, reference, only=None):
    """What wrong value ranges do to PSNR and SSIM: the scores that the checks refuse.

    Args:
        image: array `(height, width, channels)` of 1 or 3 channels in [0, 1].
        reference: array of the same shape, in [0, 1].
        only: name of one mistake to score; `None`: all.

    Returns:
        list of dicts with the keys "mistake", "psnr" in dB and "ssim": first "none", the right
        comparison; then each of `RANGE_MISTAKES`, made on the image; last "both signed, peak 1",
        where both are in [-1, 1] and the peak is not 2: its PSNR is 6.02 dB low.

    Raises:
        ValueError: as `ssim` with `check=False`.
    """
    image, reference = _pair(image, reference, "unit", 0, False, False, least=WINDOW)
    seen = {"none": (image, reference)}
    for mistake, change in RANGE_MISTAKES.items():
        seen[mistake] = (255 * change(image / 255), reference)
    seen["both signed, peak 1"] = (2 * image - 255, 2 * reference - 255)
    return [
        {
            "mistake": mistake,
            "psnr": decibels(mean_squared(*pair) / 255**2),
            "ssim": _ssim(*pair),
        }
        for mistake, pair in seen.items()
        if only in (None, mistake)
    ]


def _pair(image, reference, value_range, border, luma_only, check, least):
    """Both images as float64 from 0 to 255, rounded, cropped, and reduced to luma if asked."""
    image, reference = np.asarray(image), np.asarray(reference)
    check_shapes(image, reference)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            "Images must have the shape (height, width, channels), with 1 or 3 channels. "
            f"Received: shape={image.shape}"
        )
    whole = isinstance(border, numbers.Integral) and border >= 0
    if not whole or min(image.shape[:2]) - 2 * border < least:
        raise ValueError(
            "`border` must be a whole number of pixels, 0 or more, that leaves at least "
            f"{least} pixels in height and width. Received: border={border!r}, shape={image.shape}"
        )
    if check:
        check_range(image, value_range, OVERSHOOT)
        check_range(reference, value_range, OVERSHOOT)
        check_pair(image, reference, value_range)
    rows, columns = (slice(border, side - border) for side in image.shape[:2])
    both = (convert(x[rows, columns], value_range, "byte") for x in (image, reference))
    if luma_only:
        return tuple(luma(x, "byte") for x in both)
    return tuple(x.astype(np.float64) for x in both)


def _ssim(image, reference):
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            reference,
            image,
            data_range=255,
            channel_axis=-1 if image.ndim == 3 else None,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
