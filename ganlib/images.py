"""Images: typed value ranges, bicubic resizing, and how alike two images are.

Value ranges come first: every image array that crosses a module boundary declares one.
"""

import enum
import itertools
import numbers
import types

import numpy as np
from PIL import Image

__all__ = [
    *("RANGE_MISTAKES", "ValueRange", "check_pair", "check_range", "compare", "convert"),
    *("crop_to_multiple", "downscale", "infer_range", "luma", "psnr", "range_mistakes", "ssim"),
    "upscale",
]
WINDOW = 11  # pixels of SSIM's Gaussian window of σ = 1.5
OVERSHOOT = 0.25  # how far beyond its range an image may lie: sharp upscalers overshoot by 0.1
RANGES = '"byte" is 0 to 255 in whole numbers, "unit" 0 to 1, "signed" -1 to 1'
# What a comparison sees in place of a unit image u after the usual mistakes.
RANGE_MISTAKES = types.MappingProxyType(
    {
        "signed compared with unit": lambda u: 2 * u - 1,
        "normalised twice": lambda u: np.clip(2 * u - 1, 0, 1),
        "denormalised twice": lambda u: (u + 1) / 2,
    }
)


class ValueRange(enum.StrEnum):
    """The range that an image's values span from black to white; also its own name as a string."""

    BYTE = "byte"
    UNIT = "unit"
    SIGNED = "signed"

    low = property(lambda self: -1.0 if self == "signed" else 0.0, doc="The value of black.")
    high = property(lambda self: 255.0 if self == "byte" else 1.0, doc="The value of white.")

    @classmethod
    def _missing_(cls, value):
        raise ValueError(f"`value_range`: {RANGES}. Received: value_range={value!r}")


def convert(images, source, target):
    """Returns `images`, of any shape and real dtype, in another value range.

    Args:
        images: array; returned itself if there is nothing to do.
        source: `ValueRange` or its name, what the values are.
        target: `ValueRange` or its name, what they shall be. "unit" and "signed" are float32, and
            values outside the range stay outside; "byte" is uint8, rounded and clipped.

    Raises:
        ValueError: NaN cannot become a byte.
    """
    source, target, images = ValueRange(source), ValueRange(target), np.asarray(images)
    if source is target and images.dtype == (np.uint8 if target == "byte" else np.float32):
        return images
    values = _rescaled(images, source, target)
    if target is not ValueRange.BYTE:
        return values
    if bad := int(np.isnan(values).sum()):
        raise ValueError(
            f"NaN has no byte value: see np.nan_to_num. Received: {bad} NaN of {values.size} values"
        )
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def infer_range(images):
    """Returns the first value range that fits: "unit", "signed", or "byte" for whole numbers.

    Args:
        images: array of any shape and real dtype; uint8 is "byte". NaN and infinities are ignored.

    Raises:
        ValueError: no range fits.
    """
    images = np.asarray(images)
    guess = _guess(images)
    if guess is None:
        raise ValueError(
            f"The values fit no value range: {RANGES}. Rescale the images to one of these. "
            f"Received: {_described(images)}"
        )
    return guess


def check_range(images, value_range, tolerance=1e-3):
    """Raises unless the values of `images`, an array, lie in the declared range.

    Args:
        images: array of any shape and real dtype.
        value_range: `ValueRange` or its name.
        tolerance: float, how far beyond an end a value may lie, as a fraction of the range's width.

    Raises:
        ValueError: no values, NaN, values outside the range, or fractions in [-1, 1] for bytes.
    """
    declared, images = ValueRange(value_range), np.asarray(images)
    if images.size == 0:
        raise ValueError(f"There are no values to check. Received: shape={images.shape}")
    inside = _inside(images.min(), images.max(), declared, tolerance)
    if declared == "byte" and inside and images.max() <= 1.0 + tolerance:
        inside = _is_whole(images)  # an all but black byte image, and no unit image
    if inside:
        return
    looks, ends = _guess(images), f"{declared.low:g}, {declared.high:g}"
    remedy = f"Look for NaN, clip a small overshoot with np.clip(images, {ends}), or rescale them."
    if looks not in (None, declared):
        call = f'ganlib.images.convert(images, "{looks}", "{declared}")'
        remedy = f'These look like "{looks}": declare that, or use {call}.'
    message = f'Images declared "{declared}" must lie in [{ends}]. {remedy}'
    raise ValueError(f"{message} Received: {_described(images)}")


def as_unit(image, value_range):
    """The image in [0, 1] as float64; values outside its range stay outside."""
    value_range, image = ValueRange(value_range), np.asarray(image, np.float64)
    return (image - value_range.low) / (value_range.high - value_range.low)


def _rescaled(images, source, target):
    values = images.astype(np.float32)
    if source is not target:
        # Divides, since 255 * float32(1 / 255) need not be 1: white stays exactly white.
        values -= source.low
        values /= (source.high - source.low) / (target.high - target.low)
        values += target.low
    return values


def _guess(images):
    if images.dtype == np.uint8:
        return ValueRange.BYTE
    finite = images[np.isfinite(images)] if images.dtype.kind == "f" else images
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    order = (ValueRange.UNIT, ValueRange.SIGNED, ValueRange.BYTE)
    guess = next((guess for guess in order if _inside(low, high, guess)), None)
    return None if guess is ValueRange.BYTE and not _is_whole(finite) else guess


def _is_whole(values):
    return values.dtype.kind in "biu" or bool((values == np.rint(values)).all())


def _inside(low, high, value_range, tolerance=1e-3):
    slack = tolerance * (value_range.high - value_range.low)
    return value_range.low - slack <= low and high <= value_range.high + slack


def _described(images):
    low, high = float(images.min()), float(images.max())
    return f"dtype={images.dtype}, minimum={low:.6g}, maximum={high:.6g}"


def crop_to_multiple(image, scale):
    """Returns the image without the last rows and columns by which it is no multiple of `scale`.

    Args:
        image: array `(height, width, …)`.
        scale: int, at least 1.
    """
    _check_scale(scale)
    height, width = (side - side % scale for side in np.shape(image)[:2])
    return np.asarray(image)[:height, :width]


def downscale(image, scale):
    """Returns the image shrunk by a whole factor: antialiased bicubic, as MATLAB's imresize.

    The kernel (a = -0.5) is stretched by the scale, and the image continues as its mirror image
    beyond the borders. uint8 gives uint8, rounded and clipped as MATLAB does after the rows are
    resized and again after the columns; floats give float32, which may overshoot a little.

    Args:
        image: array `(height, width)` or `(height, width, channels)`, uint8 or float in any range.
        scale: int, at least 1, by which both sides divide.

    Raises:
        ValueError: the scale does not divide the sides.
    """
    height, width = _sides(image, scale)
    if height % scale or width % scale:
        raise ValueError(
            "Both sides of the image must divide by the scale: use ganlib.images.crop_to_multiple "
            f"first. Received: shape={np.shape(image)}, scale={scale}"
        )
    return _bicubic(np.asarray(image), 2 * scale, (height // scale, width // scale), 2)


def upscale(image, scale):
    """Returns the image enlarged by a whole factor: bicubic, as MATLAB's imresize.

    Args and errors as of `downscale`.
    """
    height, width = _sides(image, scale)
    return _bicubic(np.asarray(image), 2, (height * scale, width * scale), 2 * scale)


def _bicubic(image, margin, size, crop):
    """Pads by `margin`, resizes, and crops by `crop`, which is the margin's new width."""
    # Pillow's kernel is MATLAB's, but cut off at the borders, where MATLAB mirrors the image.
    planes = np.moveaxis(image.astype(np.float32).reshape(*image.shape[:2], -1), -1, 0)
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), "symmetric")
    height, width = (side + 2 * crop for side in size)
    if image.dtype == np.uint8:
        padded = [_as_bytes(_pillow_bicubic(plane, height, plane.shape[1])) for plane in padded]
    values = np.stack([_pillow_bicubic(plane, height, width) for plane in padded], axis=-1)
    values = values[crop:-crop, crop:-crop].reshape(*size, *image.shape[2:])
    return _as_bytes(values).astype(np.uint8) if image.dtype == np.uint8 else values


def _pillow_bicubic(plane, height, width):
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))


def _as_bytes(values):
    return np.clip(np.floor(values + 0.5), 0, 255)  # MATLAB rounds halves up, np.rint to even


def _check_scale(scale):
    if not isinstance(scale, numbers.Integral) or scale < 1:
        raise ValueError(f"`scale` must be a positive integer. Received: scale={scale!r}")


def _sides(image, scale):
    _check_scale(scale)
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.dtype != np.uint8 and image.dtype.kind != "f"):
        raise ValueError(
            "The image must have the shape (height, width) or (height, width, channels) and be "
            f"uint8 or float. Received: shape={image.shape}, dtype={image.dtype}"
        )
    return image.shape[:2]


def luma(image, value_range):
    """Returns BT.601 luma as MATLAB's rgb2ycbcr, not rounded: 16 for black to 235 for white.

    Args:
        image: array `(…, channels)` of 3 channels, or of 1, which counts as R = G = B.
        value_range: `ValueRange` of the image, or its name.
    """
    rgb = np.broadcast_to(as_unit(image, value_range), (*np.shape(image)[:-1], 3))
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def psnr(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Returns the peak signal-to-noise ratio of 8-bit images, in dB; infinity if they are equal.

    The range's ends become 0 and 255; values are rounded and clipped. Published numbers are mostly
    of the luma alone, with as many border pixels cropped as the scale.

    Args:
        image: array `(height, width, channels)` of 1 or 3 channels, with values in `value_range`,
            or up to a quarter of its width beyond: upscalers overshoot.
        reference: array of the same shape, in the same range.
        value_range: `ValueRange` of both, or its name.
        border: int, pixels to leave out on each side; SSIM needs 11×11 that are left.
        luma_only: bool, compares `luma` in place of all channels.
        check: bool, whether `check_range` and `check_pair` are asked first. Without, NaN gives NaN.

    Raises:
        ValueError: other shapes, a border that leaves nothing, or what the checks refuse.
    """
    return _psnr(*_pair(image, reference, value_range, border, luma_only, check))


def ssim(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Structural similarity of 8-bit images after Wang et al. (2004), -1 to 1.

    The window is an 11×11 Gaussian of σ = 1.5; the mean is over positions where it fits in whole,
    and over the channels.

    Args and errors as of `psnr`.
    """
    return _ssim(*_pair(image, reference, value_range, border, luma_only, check, WINDOW))


def compare(image, reference, value_range, border=0, check=True):
    """Returns a dict of `psnr` and `ssim`: "psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y".

    Args and errors as of `psnr`.
    """
    _pair(image, reference, value_range, border, False, check, WINDOW)
    options = {"border": border, "check": False}
    return {
        f"{score.__name__}_{name}": score(image, reference, value_range, luma_only=y, **options)
        for score, (name, y) in itertools.product((psnr, ssim), (("rgb", False), ("y", True)))
    }


def check_pair(image, reference, value_range):
    """Raises if the image is plainly its reference in a wrong value range.

    That is, if it correlates with the reference, and its PSNR with what one of `RANGE_MISTAKES`
    makes of the reference is 6.02 dB above that with the reference itself.

    Args:
        image: array of any shape and real dtype.
        reference: array of the same shape.
        value_range: `ValueRange` of both, or its name.

    Raises:
        ValueError: the image is in a wrong range, though all its values may lie in the right one.
    """
    image, reference = as_unit(image, value_range), as_unit(reference, value_range)
    centred = [x - x.mean() for x in (image, reference)]
    norm = np.sqrt(np.prod([(x**2).sum() for x in centred]))
    if not np.prod(centred, axis=0).sum() > 0.5 * norm:
        return
    right = _psnr(image, reference, 1)
    for mistake, seen in RANGE_MISTAKES.items():
        mistaken = _psnr(image, seen(reference), 1)
        if mistaken > right + 6.02:
            raise ValueError(
                f'The image is the reference after the mistake "{mistake}": both are declared '
                f'"{value_range}", and one is not. Bring each to it once, from the range that it '
                f"has, with ganlib.images.convert. Received: PSNR {right:.2f} dB against the "
                f"reference, {mistaken:.2f} dB against the reference after the mistake"
            )


def range_mistakes(image, reference, only=None):
    """What wrong value ranges do to PSNR and SSIM: the scores that the checks refuse.

    Returns a list of dicts, "mistake", "psnr" and "ssim": first "none", the right comparison; then
    `RANGE_MISTAKES`, made on the image; last "both signed, peak 1", 6.02 dB low, where both are in
    [-1, 1] and the peak is not 2. `only` names a single one.

    Args and errors as of `psnr`, in the range [0, 1].
    """
    image, reference = _pair(image, reference, "unit", 0, False, False, WINDOW)
    seen = {name: (255 * f(image / 255), reference) for name, f in RANGE_MISTAKES.items()}
    seen = {"none": (image, reference), **seen}
    seen["both signed, peak 1"] = (2 * image - 255, 2 * reference - 255)
    return [
        {"mistake": name, "psnr": _psnr(*pair), "ssim": _ssim(*pair)}
        for name, pair in seen.items()
        if only in (None, name)
    ]


def _pair(image, reference, value_range, border, luma_only, check, least=1):
    """Both images as float64 from 0 to 255, rounded, cropped, and reduced to luma if asked."""
    pair = image, reference = np.asarray(image), np.asarray(reference)
    shapes = {image.shape, reference.shape}
    if len(shapes) > 1 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            "The image and its reference must have one shape, (height, width, 1 or 3 channels). "
            f"Received: shapes {image.shape} and {reference.shape}"
        )
    whole = isinstance(border, numbers.Integral) and border >= 0
    if not whole or min(image.shape[:2]) - 2 * border < least:
        raise ValueError(
            f"`border` must be an int of 0 or more that leaves at least {least} pixels in height "
            f"and width. Received: border={border!r}, shape={image.shape}"
        )
    if check:
        check_range(image, value_range, OVERSHOOT)
        check_range(reference, value_range, OVERSHOOT)
        check_pair(image, reference, value_range)
    rows, columns = (slice(border, side - border) for side in image.shape[:2])
    pair = (_rescaled(x[rows, columns], ValueRange(value_range), ValueRange.BYTE) for x in pair)
    pair = [np.clip(np.rint(x), 0, 255).astype(np.float64) for x in pair]
    return [luma(x, "byte") for x in pair] if luma_only else pair


def _psnr(image, reference, peak=255):
    error = float(np.mean((image - reference) ** 2))
    return np.inf if error == 0 else float(10 * np.log10(peak**2 / error))


def _ssim(image, reference):
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    axis = -1 if image.ndim == 3 else None
    score = structural_similarity(reference, image, data_range=255, channel_axis=axis, **options)
    return float(score)
