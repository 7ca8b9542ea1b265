"""Bringing images to one size and number of channels, through Pillow."""

import numpy as np
from PIL import Image

from ganlib.data.errors import DataError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def fit(image, size=None, channels=None, limits=None):
    """Brings one image to a size and number of channels.

    Args:
        image: array `(height, width[, channels])`, uint8 or float32; so is what is returned.
        size: int, the new height and width: Pillow's Lanczos filter resizes the centred square.
        channels: 1 for BT.601 luma or 3 for RGB; an alpha channel is dropped. `None` keeps them.
        limits: pair of floats, where a resized float image is clipped: Lanczos overshoots.
    """
    image = np.asarray(image)
    image = image[..., np.newaxis] if image.ndim == 2 else image
    if channels is not None:
        image = _with_channels(image, channels)
    if size is None or image.shape[:2] == (size, size):
        return image
    image = _resized(image, size, Image.Resampling.LANCZOS)
    return image if limits is None else np.clip(image, *limits)


def fit_mask(mask, size):
    """A mask `(height, width, 1)` cropped and resized as `fit` does, without values in between."""
    return _resized(mask, size, Image.Resampling.NEAREST)


def _resized(image, size, method):
    """The centred square of an image in another size."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    # One channel at a time: Pillow has no float RGB.
    planes = np.moveaxis(image[top : top + side, left : left + side], -1, 0)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack([np.asarray(x.resize((size, size), method)) for x in planes], axis=-1)


def _with_channels(image, channels):
    image = image[..., :3] if image.shape[-1] == 4 else image
    present = image.shape[-1]
    if present == channels:
        return image
    if (present, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (present, channels) != (3, 1):
        raise DataError(
            "`channels` must be 1 or 3, and come last (np.moveaxis(images, 1, -1) moves them). "
            f"Received: channels={channels}, images of {present}"
        )
    luma = image.astype(np.float32) @ np.float32(LUMA)
    luma = np.rint(luma) if image.dtype == np.uint8 else luma
    return luma[..., np.newaxis].astype(image.dtype)
