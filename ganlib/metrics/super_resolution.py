"""How close an enlarged picture is to its original, and how sharp it is."""

import numpy as np

from ganlib.data import check as check_images
from ganlib.images import compare, convert, crop_to_multiple, downscale, luma, range_mistakes

SMALLEST = 32  # pixels of a side that SSIM and the features can work with
FIDELITY = ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")


def low_resolution(image, scale):
    """A picture's small version, and the original that belongs to it.

    Args:
        image: uint8 array `(h, w, 3)`.
        scale: int, how many times smaller; the original is cropped to a multiple of it.

    Returns:
        Two uint8 arrays: small, and cropped.
    """
    high = crop_to_multiple(image, scale)
    return downscale(high, scale), high


def evaluate(enlarge, photos, scale, features=None, side=None, check=True):
    """Scores an upscaler on photographs.

    Each is cropped to a multiple of the scale, made small by MATLAB's antialiased bicubic, rounded
    to 8 bits and enlarged; `scale` pixels at each border are left out of the comparison.

    Args:
        enlarge: callable, uint8 `(h, w, 3)` to uint8 `(scale·h, scale·w, 3)`.
        photos: `ganlib.data.Images` of three channels.
        scale: int.
        features: `ganlib.features.perceptual.Extractor` for a perceptual distance, or None.
        side: int, height and width of the centre that the perceptual distance looks at; None: all.
        check: bool, refuse pictures that are plainly in a wrong value range.

    Returns:
        List of dicts, one a photograph: `name`; `psnr_y`, `psnr_rgb` in dB; `ssim_y`, `ssim_rgb`;
        `sharpness`, see `sharpness`; with features also `perceptual`, lower is better.

    Raises:
        DataError: a photograph is too small.
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
            row["perceptual"] = perceptual_distance(*_centre((large, high), side), features)
        rows.append(row)
    return rows


def mean_scores(rows):
    """The mean of each score over the photographs, and their number `n`.

    Args:
        rows: what `evaluate` returned.

    Returns:
        dict of score → float, and `n`.
    """
    keys = [key for key in rows[0] if key != "name"]
    return {**{key: float(np.mean([row[key] for row in rows])) for key in keys}, "n": len(rows)}


def sharpness(image, original):
    """Mean gradient of the picture's luma over its original's: 1 is as sharp, 0 flat.

    Noise counts as sharp, too: read it beside a perceptual distance.

    Args:
        image: uint8 array `(h, w, 3)`.
        original: uint8 array of the same shape.

    Returns:
        float ≥ 0.
    """

    def mean_gradient(x):
        y, x = np.gradient(luma(x, "byte"))
        return float(np.hypot(y, x).mean())

    return mean_gradient(image) / max(mean_gradient(original), 1e-12)


def _centre(images, side):
    if side is None:
        return images
    height, width = images[0].shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return [image[top : top + side, left : left + side] for image in images]


def perceptual_distance(image, original, features):
    """Distance of the feature maps of two pictures; 0 for equal ones.

    Args:
        image: uint8 array `(h, w, 3)`.
        original: uint8 array of the same shape.
        features: `ganlib.features.perceptual.Extractor`.

    Returns:
        float ≥ 0.
    """
    pair = (convert(x, "byte", "unit")[np.newaxis] for x in (image, original))
    return float(features.distance(*pair))


def flat_grey(scale):
    """The upscaler that knows least: the picture's mean grey level, everywhere.

    Args:
        scale: int.

    Returns:
        A callable, as `evaluate` takes it.
    """

    def enlarge(low):
        height, width, channels = low.shape
        return np.full((scale * height, scale * width, channels), round(low.mean()), np.uint8)

    return enlarge


def printed_scores(image, original, mistake):
    """PSNR and SSIM that a comparison with a mistaken value range prints; RGB, no border cut.

    Args:
        image: uint8 array.
        original: uint8 array of the same shape.
        mistake: name in `ganlib.images.RANGE_MISTAKES`, or "none".

    Returns:
        dict, as of `ganlib.images.range_mistakes`.
    """
    unit = (convert(x, "byte", "unit") for x in (image, original))
    return range_mistakes(*unit, only=mistake)[0]
