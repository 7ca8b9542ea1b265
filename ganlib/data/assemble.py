"""Collecting single images into one array."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.resize import fit


def assemble(named_images, n, size=None, channels=None):
    """Returns one uint8 array of `n` images, and needs little more memory than it takes.

    Args:
        named_images: iterable of pairs: a name for messages, and a uint8 array `(height, width,
            channels)`.
        n: int, how many pairs there are.
        size: int or `None`, as in `ganlib.data.resize.fit`.
        channels: int or `None`, likewise.

    Raises:
        DataError: the images are of different shapes or not uint8; there are not `n`, or none.
    """
    images, examples, count = None, {}, 0
    for count, (name, image) in enumerate(named_images, start=1):
        if image.dtype != np.uint8:
            raise DataError(
                f"The image {name} must have 8 bits per channel: give the images as an .npz of "
                f"floats in 0 to 1. Received: dtype={image.dtype}"
            )
        image = fit(image, size, channels)
        if images is None:
            images = np.empty((n, *image.shape), np.uint8)
        examples.setdefault(image.shape, name)
        if len(examples) == 1 and count <= n:
            images[count - 1] = image
    if len(examples) > 1:
        raise DataError(_mixed(examples))
    if images is None or count != n:
        raise DataError(
            f"{n} images were announced, and at least one is needed: choose another split, or get "
            f"the data anew. Received: {count} images"
        )
    return images


def _mixed(examples, shown=8):
    lines = [
        f"{height}×{width} with {channels} channel{'s' * (channels != 1)}, as {name}"
        for (height, width, channels), name in sorted(examples.items())
    ]
    more = f"; and {len(lines) - shown} more" if len(lines) > shown else ""
    return (
        "All images must have one size and number of channels: give size=… (crops to a square and "
        "resizes) or channels=… (1 or 3). Received: " + "; ".join(lines[:shown]) + more
    )
