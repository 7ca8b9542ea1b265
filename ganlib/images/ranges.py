"""Typed value ranges: every image array that crosses a module boundary declares one."""

import enum

import numpy as np


class ValueRange(enum.StrEnum):
    """The range that an image array's values span from black to white.

    A member is also its own name as a string: `ValueRange("unit") == "unit"`.

    Raises:
        ValueError: the string names no range.
    """

    BYTE = "byte"
    UNIT = "unit"
    SIGNED = "signed"

    @property
    def low(self):
        """The value of black: 0, 0 or -1."""
        return -1.0 if self is ValueRange.SIGNED else 0.0

    @property
    def high(self):
        """The value of white: 255, 1 or 1."""
        return 255.0 if self is ValueRange.BYTE else 1.0

    @classmethod
    def _missing_(cls, value):
        raise ValueError(
            '`value_range` must be "byte" (0 to 255), "unit" (0 to 1) or "signed" (-1 to 1). '
            f"Received: value_range={value!r}"
        )


def convert(images, source, target):
    """Returns `images` in another value range.

    Args:
        images: array of any shape and real dtype, with values in the range `source`.
        source: `ValueRange` or its name, what the values are.
        target: `ValueRange` or its name, what they shall be.

    Returns:
        An array of the same shape: float32 for "unit" and "signed", where values outside the range
        stay outside; for "byte" uint8, rounded to the nearest integer and clipped. The array itself
        if there is nothing to do.

    Raises:
        ValueError: NaN cannot become a byte.
    """
    source, target = ValueRange(source), ValueRange(target)
    images = np.asarray(images)
    dtype = np.uint8 if target is ValueRange.BYTE else np.float32
    if source is target and images.dtype == dtype:
        return images
    values = images.astype(np.float32)
    if source is not target:
        # Divides, since 255 * float32(1 / 255) need not be 1: white stays exactly white.
        values -= source.low
        values /= (source.high - source.low) / (target.high - target.low)
        values += target.low
    if target is not ValueRange.BYTE:
        return values
    if bad := int(np.isnan(values).sum()):
        raise ValueError(
            f"NaN has no byte value: replace it first, as with np.nan_to_num. Received: {bad} NaN "
            f"among {values.size} values"
        )
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def infer_range(images):
    """Guesses the value range of an array that declares none.

    Args:
        images: array of any shape and real dtype; NaN and infinities are passed over.

    Returns:
        `ValueRange.BYTE` for uint8; for another dtype, by its values: "unit" if all lie in 0 to 1,
        else "signed" if all lie in -1 to 1, else "byte" if they are whole numbers in 0 to 255.

    Raises:
        ValueError: no range fits.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return ValueRange.BYTE
    finite = images[np.isfinite(images)] if images.dtype.kind == "f" else images
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    guess = _looks_like(low, high)
    if guess is None or (guess is ValueRange.BYTE and not _is_whole(finite)):
        raise ValueError(
            f"The values fit no value range: {_RANGES}. Rescale the images to one of these. "
            f"Received: dtype={images.dtype}, minimum={low:.6g}, maximum={high:.6g}"
        )
    return guess


def check_range(images, value_range, tolerance=1e-3):
    """Raises unless the values of `images` lie in the declared range.

    Args:
        images: array of any shape and real dtype.
        value_range: `ValueRange` or its name, the declared range.
        tolerance: float, how far beyond an end of the range a value may lie, as a fraction of the
            range's width.

    Raises:
        ValueError: there are no values, NaN among them, or values outside the range; or they are
            declared "byte" and are fractions in [-1, 1]. The message has the measured minimum and
            maximum, the range they look like, and what to do.
    """
    value_range = ValueRange(value_range)
    images = np.asarray(images)
    if images.size == 0:
        raise ValueError(f"There are no values to check. Received: shape={images.shape}")
    low, high = float(images.min()), float(images.max())
    slack = tolerance * (value_range.high - value_range.low)
    inside = value_range.low - slack <= low and high <= value_range.high + slack
    if value_range is ValueRange.BYTE and inside and high <= 1.0 + tolerance:
        inside = _is_whole(images)  # an all but black byte image, and no unit image
    if inside:
        return
    raise ValueError(
        f'Images declared "{value_range}" must lie in [{value_range.low:g}, {value_range.high:g}]. '
        f"{_remedy(low, high, value_range)} Received: minimum={low:.6g}, maximum={high:.6g}, "
        f"dtype={images.dtype}"
    )


_RANGES = '"byte" is 0 to 255 in whole numbers, "unit" 0 to 1, "signed" -1 to 1'


def _is_whole(values):
    return values.dtype.kind in "biu" or bool((values == np.rint(values)).all())


def _looks_like(low, high, tolerance=1e-3):
    for guess in (ValueRange.UNIT, ValueRange.SIGNED, ValueRange.BYTE):
        slack = tolerance * (guess.high - guess.low)
        if guess.low - slack <= low and high <= guess.high + slack:
            return guess
    return None


def _remedy(low, high, declared):
    if not np.isfinite(low + high):
        return "Look for NaN or infinities first: np.argwhere(~np.isfinite(images))."
    looks = _looks_like(low, high)
    beyond = max(declared.low - low, high - declared.high) / (declared.high - declared.low)
    if looks in (None, ValueRange.BYTE) and 0 < beyond < 0.5:
        return (
            "They overshoot it a little, as a network's output may: if so, clip them with "
            f"np.clip(images, {declared.low:g}, {declared.high:g})."
        )
    if looks is None or looks is declared:
        return f"They fit no range ({_RANGES}): rescale them to one."
    return (
        f'These look like "{looks}": declare that, or use '
        f'ganlib.images.convert(images, "{looks}", "{declared}").'
    )
