"""Bringing images to one size and number of channels, through Pillow."""

import numbers

import numpy as np
from PIL import Image

from ganlib.data.errors import DataError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def fit(image, size=None, channels=None, limits=None):
    """Brings one image to a size and number of channels.

    Args:
        image: array `(height, width, channels)`, uint8 or float32.
        size: int, the new height and width in pixels: the largest centred square is resized with
            Pillow's Lanczos filter (antialiased when it shrinks). `None` keeps the size.
        channels: 1 for BT.601 luma or 3 for RGB, where one channel is repeated; an alpha channel is
            dropped. `None` keeps the channels.
        limits: pair of floats, where a resized float image is clipped: Lanczos overshoots.

    Returns:
        Array `(height, width, channels)` of the image's dtype.

    Raises:
        DataError: the channels cannot be converted.
    """
    if channels is not None:
        image = _with_channels(image, channels)
    if size is None or image.shape[:2] == (size, size):
        return image
    image = _resize(_centre_square(image), size)
    return image if limits is None else np.clip(image, *limits)


def check_target(size, channels):
    """Raises `DataError` unless the two are such as `fit` takes."""
    if size is not None and (not isinstance(size, numbers.Integral) or size < 1):
        raise DataError(f"`size` must be a positive number of pixels. Received: size={size!r}")
    if channels not in (None, 1, 3):
        raise DataError(f"`channels` must be 1 or 3. Received: channels={channels!r}")


def _with_channels(image, channels):
    present = image.shape[-1]
    if present == channels:
        return image
    if channels == 3 and present == 1:
        return np.repeat(image, 3, axis=-1)
    if present == 4:
        return _with_channels(image[..., :3], channels)
    if present != 3:
        raise DataError(
            f"Only images of 1, 3 or 4 channels can get {channels}; channels come last (np.moveaxis"
            f"(images, 1, -1) moves them there). Received: images of {present} channels"
        )
    luma = image.astype(np.float32) @ np.float32(LUMA)
    luma = np.rint(luma) if image.dtype == np.uint8 else luma
    return luma[..., np.newaxis].astype(image.dtype)


def _centre_square(image):
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _resize(image, size):
    # One channel at a time: Pillow has no float RGB.
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0))
    resized = [plane.resize((size, size), Image.Resampling.LANCZOS) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)
