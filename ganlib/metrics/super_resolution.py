"""How close an enlarged picture is to its original, and how sharp it is."""

import math

import numpy as np

from ganlib.data import check as check_images
from ganlib.images import compare, convert, crop_to_multiple, downscale, luma

SMALLEST = 32  # pixels of a side that SSIM and the features can work with
FIDELITY = ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")


def low_resolution(image, scale):
    """Returns a picture's small version, and the original cropped to a multiple of the scale."""
    high = crop_to_multiple(image, scale)
    return downscale(high, scale), high


def evaluate(enlarge, photos, scale, features=None, side=None, check=True):
    """Scores an upscaler on photographs.

    Each is cropped, made small by MATLAB's antialiased bicubic, rounded to 8 bits and enlarged;
    `scale` pixels at each border are left out of the comparison.

    Args:
        enlarge: callable, uint8 `(h, w, 3)` to uint8 `(scale·h, scale·w, 3)`.
        photos: `ganlib.data.Images` of three channels and any sizes, not too small.
        scale: int.
        features: `ganlib.features.perceptual.Extractor` for a perceptual distance, or None.
        side: int, height and width of the centre that the perceptual distance looks at; None: all.
        check: bool, raise a ValueError for pictures that are plainly in a wrong value range.

    Returns:
        List of dicts, one a photograph: `name`; `psnr_y`, `psnr_rgb` in dB; `ssim_y`, `ssim_rgb`;
        `sharpness`; with features also `perceptual`, lower is better.
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
            centre = tuple(slice(top, top + (side or high.size)) for top in tops)
            pair = (convert(x[centre], "byte", "unit")[np.newaxis] for x in (large, high))
            row["perceptual"] = float(features.distance(*pair))
        rows.append(row)
    return rows


def mean_scores(rows):
    """Returns the mean of each score of `evaluate` over the photographs, `n`, and `n_infinite`.

    So many, such as blank ones, have infinite scores, which are left out of the means.
    """
    means = {key: finite_mean([row[key] for row in rows]) for key in rows[0] if key != "name"}
    return {**means, "n": len(rows), "n_infinite": sum(math.inf in row.values() for row in rows)}


def finite_mean(values):
    """The mean of those values that are not infinity, or infinity; NaN counts."""
    return float(np.mean([value for value in values if value != math.inf] or values))


def sharpness(image, original):
    """Mean gradient of the luma of a uint8 picture over its original's: 1 is as sharp, 0 flat.

    Noise counts as sharp, too: read it beside a perceptual distance. Over a flat one, infinity.
    """
    mine, its = (np.hypot(*np.gradient(luma(x, "byte"))).mean() for x in (image, original))
    return float(mine / its) if its else math.inf


def flat_grey(scale):
    """Returns the upscaler that knows least: the picture's mean grey level, everywhere."""

    def enlarge(low):
        height, width, channels = low.shape
        return np.full((scale * height, scale * width, channels), round(low.mean()), np.uint8)

    return enlarge
