"""Bringing images to one size and number of channels, through Pillow, and into one array."""

import numpy as np
from PIL import Image

from ganlib.data.errors import DataError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SHOWN = 8  # shapes that a message names


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
    # One channel at a time: Pillow has no float RGB.
    planes = np.moveaxis(_centre_square(image), -1, 0)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    resized = [plane.resize((size, size), Image.Resampling.LANCZOS) for plane in planes]
    image = np.stack([np.asarray(plane) for plane in resized], axis=-1)
    return image if limits is None else np.clip(image, *limits)


def fit_mask(mask, size):
    """A mask `(height, width, 1)` cropped and resized as `fit` does, without values in between."""
    plane = Image.fromarray(np.ascontiguousarray(_centre_square(mask)[..., 0]))
    return np.asarray(plane.resize((size, size), Image.Resampling.NEAREST))[..., np.newaxis]


def gather(named_images, n, size=None, channels=None, any_size=False):
    """One uint8 array of n images, for little more memory than it takes; a list with `any_size`.

    Args:
        named_images: iterable of n pairs: a name, and a uint8 array `(height, width, channels)`.
        n, size, channels, any_size: as of `load`.
    """
    images, examples, count = [], {}, 0
    for count, (name, image) in enumerate(named_images, start=1):
        if image.dtype != np.uint8:
            raise DataError(
                f"The image {name} must have 8 bits per channel: give the images as an .npz of "
                f"floats in 0 to 1. Received: dtype={image.dtype}"
            )
        image = fit(image, size, channels)
        examples.setdefault(image.shape[2:] if any_size else image.shape, f"{image.shape}, {name}")
        if any_size:
            images.append(image)
        elif len(examples) == 1 and count <= n:
            images = images if count > 1 else np.empty((n, *image.shape), np.uint8)
            images[count - 1] = image
    if len(examples) > 1:
        more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
        raise DataError(
            "All images must have one size and number of channels: give size=… (crops to a square "
            "and resizes) or channels=… (1 or 3), or any_size=True where sizes may differ. "
            f"Received: {'; '.join(sorted(examples.values())[:SHOWN])}{more}"
        )
    if not count == n > 0:
        raise DataError(
            f"{n} images were announced, and at least one is needed: choose another split, or get "
            f"the data anew. Received: {count} images"
        )
    return images


def _with_channels(image, channels):
    present = image.shape[-1]
    if present == 4:
        image, present = image[..., :3], 3
    if present == channels:
        return image
    if (present, channels) == (1, 3):
        return np.repeat(image, 3, axis=-1)
    if (present, channels) != (3, 1):
        raise DataError(
            "`channels` must be 1 or 3, of images of 1, 3 or 4; channels come last (np.moveaxis("
            f"images, 1, -1) moves them there). Received: channels={channels}, images of {present}"
        )
    luma = image.astype(np.float32) @ np.float32(LUMA)
    luma = np.rint(luma) if image.dtype == np.uint8 else luma
    return luma[..., np.newaxis].astype(image.dtype)


def _centre_square(image):
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
