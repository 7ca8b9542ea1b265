"""Images: typed value ranges, bicubic resizing, and how alike two images are."""

import enum

import numpy as np
from PIL import Image

WINDOW = 11  # pixels of SSIM's Gaussian window
OVERSHOOT = 0.25  # how far beyond its range an image may lie: sharp upscalers overshoot by 0.1
RANGES = '"byte" is 0 to 255 in whole numbers, "unit" 0 to 1, "signed" -1 to 1'
RANGE_MISTAKES = {  # what a comparison sees in place of a unit image u after the usual mistakes
    "signed compared with unit": lambda u: 2 * u - 1,
    "normalised twice": lambda u: np.clip(2 * u - 1, 0, 1),
    "denormalised twice": lambda u: (u + 1) / 2,
}


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

    `source` and `target` are `ValueRange`s or their names. "unit" and "signed" become float32, and
    values outside the range stay outside; "byte" becomes uint8, rounded and clipped.
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

    uint8 is "byte"; NaN and infinities are ignored. ValueError: no range fits.
    """
    if guess := _guess(images := np.asarray(images)):
        return guess
    raise ValueError(
        f"The values fit no value range: {RANGES}. Rescale them. Received: {_described(images)}"
    )


def check_range(images, value_range, tolerance=1e-3):
    """Raises unless the values of `images`, an array, lie in the declared range.

    They may lie beyond it by `tolerance` of its width. ValueError also for no values, and NaN.
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
    ranges = (ValueRange.UNIT, ValueRange.SIGNED, ValueRange.BYTE)
    guess = next((name for name in ranges if _inside(low, high, name)), None)
    return None if guess == "byte" and not _is_whole(finite) else guess


def _is_whole(values):
    return values.dtype.kind in "biu" or bool((values == np.rint(values)).all())


def _inside(low, high, value_range, tolerance=1e-3):
    slack = tolerance * (value_range.high - value_range.low)
    return value_range.low - slack <= low and high <= value_range.high + slack


def _described(images):
    return f"dtype={images.dtype}, minimum={images.min():.6g}, maximum={images.max():.6g}"


def crop_to_multiple(image, scale):
    """Returns the image without the last rows and columns by which it is no multiple of `scale`."""
    height, width = (side - side % scale for side in np.shape(image)[:2])
    return np.asarray(image)[:height, :width]


def downscale(image, scale):
    """Returns the image shrunk by a whole factor: antialiased bicubic, as MATLAB's imresize.

    Of an array `(height, width[, channels])`. uint8 gives uint8, rounded after the rows and again
    after the columns, as MATLAB does; floats in any range give float32, which may overshoot.
    """
    height, width = np.shape(image)[:2]
    if height % scale or width % scale:
        raise ValueError(
            "Both sides must divide by the scale: use ganlib.images.crop_to_multiple first. "
            f"Received: shape={np.shape(image)}, scale={scale}"
        )
    return _bicubic(np.asarray(image), 2 * scale, (height // scale, width // scale), 2)


def upscale(image, scale):
    """Returns the image enlarged by a whole factor: bicubic, as MATLAB's imresize."""
    height, width = np.shape(image)[:2]
    return _bicubic(np.asarray(image), 2, (height * scale, width * scale), 2 * scale)


def _bicubic(image, margin, size, crop):
    """Pads by `margin`, resizes, and crops by `crop`, which is the margin's new width."""
    if image.ndim not in (2, 3):
        raise ValueError(f"One image of 2 or 3 axes is resized. Received: shape={image.shape}")
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


def luma(image, value_range):
    """Returns BT.601 luma as MATLAB's rgb2ycbcr, not rounded: 16 for black to 235 for white."""
    rgb = np.broadcast_to(as_unit(image, value_range), (*np.shape(image)[:-1], 3))
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def psnr(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Returns the peak signal-to-noise ratio of 8-bit images, in dB; infinity if they are equal.

    Values are rounded and clipped. Published numbers are mostly of the luma alone, with as many
    border pixels cropped as the scale.

    Args:
        image, reference: arrays of one shape, `(height, width, 1 or 3)`.
        value_range: `ValueRange` of both, or its name; a quarter beyond it is an overshoot.
        border: int, pixels to leave out on each side; SSIM needs 11×11 that are left.
        luma_only: bool, compares `luma` in place of all channels.
        check: bool, `check_range` and `check_pair` raise ValueError first. Without, NaN gives NaN.
    """
    pair = _pair(image, reference, value_range, border, check)
    return _psnr(*(luma(x, "byte") for x in pair) if luma_only else pair)


def ssim(image, reference, value_range, *, border=0, luma_only=False, check=True):
    """Structural similarity of 8-bit images after Wang et al. (2004), -1 to 1.

    The window is an 11×11 Gaussian of σ = 1.5; the mean is over positions where it fits in whole,
    and over the channels. Args and errors as of `psnr`.
    """
    pair = _pair(image, reference, value_range, border, check, WINDOW)
    return _ssim(*(luma(x, "byte") for x in pair) if luma_only else pair)


def compare(image, reference, value_range, border=0, check=True):
    """Returns `psnr` and `ssim`: a dict of "psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"."""
    pair = _pair(image, reference, value_range, border, check, WINDOW)
    pairs = {"rgb": pair, "y": [luma(x, "byte") for x in pair]}
    scores = {f"psnr_{name}": _psnr(*pair) for name, pair in pairs.items()}
    return scores | {f"ssim_{name}": _ssim(*pair) for name, pair in pairs.items()}


def check_pair(image, reference, value_range):
    """Raises if the image is plainly its reference in a wrong value range.

    That is, if it correlates with the reference, and its PSNR with what one of `RANGE_MISTAKES`
    makes of the reference is 6.02 dB above that with the reference itself.
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
                f'"{value_range}", and one is not. Use ganlib.images.convert once, from the range '
                f"that it has. Received: PSNR {right:.2f} dB, after the mistake {mistaken:.2f} dB"
            )


def range_mistakes(image, reference, only=None):
    """What wrong value ranges do to PSNR and SSIM: the scores that the checks refuse.

    Returns a list of dicts, "mistake", "psnr" and "ssim": first "none"; then `RANGE_MISTAKES`, made
    on the image; last "both signed, peak 1", 6.02 dB low. `only` names one. Images are in [0, 1].
    """
    image, reference = _pair(image, reference, "unit", 0, False, WINDOW)
    seen = {"none": (image, reference)}
    seen |= {name: (255 * f(image / 255), reference) for name, f in RANGE_MISTAKES.items()}
    seen["both signed, peak 1"] = (2 * image - 255, 2 * reference - 255)
    seen = seen if only is None else {only: seen[only]}
    return [{"mistake": k, "psnr": _psnr(*v), "ssim": _ssim(*v)} for k, v in seen.items()]


def _pair(image, reference, value_range, border, check, least=1):
    """Both images as float64 from 0 to 255, rounded and cropped."""
    pair = image, reference = np.asarray(image), np.asarray(reference)
    fit = image.shape == reference.shape and image.ndim == 3 and image.shape[-1] in (1, 3)
    if not fit or border < 0 or min(image.shape[:2]) - 2 * border < least:
        raise ValueError(
            "The image and its reference must have one shape, (height, width, 1 or 3), and `border`"
            f" leave {least} pixels. Received: {image.shape}, {reference.shape}, border={border}"
        )
    if check:
        check_range(image, value_range, OVERSHOOT)
        check_range(reference, value_range, OVERSHOOT)
        check_pair(image, reference, value_range)
    rows, columns = (slice(border, side - border) for side in image.shape[:2])
    pair = (_rescaled(x[rows, columns], ValueRange(value_range), ValueRange.BYTE) for x in pair)
    return [np.clip(np.rint(x), 0, 255).astype(np.float64) for x in pair]


def _psnr(image, reference, peak=255):
    error = float(np.mean((image - reference) ** 2))
    return np.inf if error == 0 else float(10 * np.log10(peak**2 / error))


def _ssim(image, reference):
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    options |= {"data_range": 255, "channel_axis": -1 if image.ndim == 3 else None}
    return float(structural_similarity(reference, image, **options))
