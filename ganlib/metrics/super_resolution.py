"""How close an enlarged picture is to its original, and how sharp it is."""

import math

import numpy as np

from ganlib.data import check as check_images
from ganlib.images import compare, convert, crop_to_multiple, downscale, luma, range_mistakes

SMALLEST = 32  # pixels of a side that SSIM and the features can work with
FIDELITY = ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")


def low_resolution(image, scale):
    """Returns a picture's small version, and the original cropped to a multiple of the scale.

    Args:
        image: uint8 array `(h, w, 3)`.
        scale: int, how many times smaller.
    """
    high = crop_to_multiple(image, scale)
    return downscale(high, scale), high


def evaluate(enlarge, photos, scale, features=None, side=None, check=True):
    """Scores an upscaler on photographs.

    Each is cropped to a multiple of the scale, made small by MATLAB's antialiased bicubic, rounded
    to 8 bits and enlarged; `scale` pixels at each border are left out of the comparison.

    Args:
        enlarge: callable, uint8 `(h, w, 3)` to uint8 `(scale·h, scale·w, 3)`.
        photos: `ganlib.data.Images` of three channels and any sizes.
        scale: int.
        features: `ganlib.features.perceptual.Extractor` for a perceptual distance, or None.
        side: int, height and width of the centre that the perceptual distance looks at; None: all.
        check: bool, refuse pictures that are plainly in a wrong value range.

    Returns:
        List of dicts, one a photograph: `name`; `psnr_y`, `psnr_rgb` in dB; `ssim_y`, `ssim_rgb`;
        `sharpness`, see `sharpness`; with features also `perceptual`, lower is better.

    Raises:
        DataError: there is no photograph, or one is too small.
        ValueError: the upscaler's pictures are in a wrong value range.
    """
    check_images(photos, channels=3, at_least=max(SMALLEST, 12 + 2 * scale))
    rows = []
    for name, image in zip(photos.names, photos.images, strict=True):
        low, high = low_resolution(image, scale)
        large = enlarge(low)
        row = {"name": name, **compare(large, high, "byte", border=scale, check=check)}
        row["sharpness"] = sharpness(large, high)
        if features is not None:
            tops = [max(0, (length - (side or length)) // 2) for length in high.shape[:2]]
            down, across = (slice(top, None if side is None else top + side) for top in tops)
            pair = (convert(x[down, across], "byte", "unit")[np.newaxis] for x in (large, high))
            row["perceptual"] = float(features.distance(*pair))
        rows.append(row)
    return rows


def mean_scores(rows):
    """Returns the mean of each score over the photographs, `n`, and `n_infinite`.

    A blank photograph is enlarged without any error: its PSNR is infinite, and so is a sharpness
    relative to none. `n_infinite` photographs have such scores, which are left out of the means.

    Args:
        rows: what `evaluate` returned.
    """
    keys = [key for key in rows[0] if key != "name"]
    means = {key: finite_mean([row[key] for row in rows]) for key in keys}
    infinite = sum(any(row[key] == math.inf for key in keys) for row in rows)
    return {**means, "n": len(rows), "n_infinite": infinite}


def finite_mean(values):
    """The mean of those values that are not infinity, or infinity; NaN counts."""
    return float(np.mean([value for value in values if value != math.inf] or values))


def sharpness(image, original):
    """Mean gradient of the picture's luma over its original's: 1 is as sharp, 0 flat.

    Noise counts as sharp, too: read it beside a perceptual distance.

    Returns infinity where the original is flat, which says nothing of the picture.

    Args:
        image, original: uint8 arrays `(h, w, 3)` of one shape.
    """
    mine, its = (np.hypot(*np.gradient(luma(x, "byte"))).mean() for x in (image, original))
    return float(mine / its) if its else math.inf


def flat_grey(scale):
    """Returns the upscaler that knows least: the picture's mean grey level, everywhere.

    Args:
        scale: int.
    """

    def enlarge(low):
        height, width, channels = low.shape
        return np.full((scale * height, scale * width, channels), round(low.mean()), np.uint8)

    return enlarge


def printed_scores(image, original, mistake):
    """Returns what a comparison with a mistaken value range prints: a row of `range_mistakes`.

    Args:
        image, original: uint8 arrays of one shape.
        mistake: name in `ganlib.images.RANGE_MISTAKES`, or "none".
    """
    unit = (convert(x, "byte", "unit") for x in (image, original))
    return range_mistakes(*unit, only=mistake)[0]
