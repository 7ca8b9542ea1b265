"""Collecting single images into one array, or a tuple where they differ in size."""

import numpy as np

from ganlib.data.container import fit
from ganlib.data.errors import DataError

SHOWN = 8  # shapes that a message names


def gather(named_images, n, size=None, channels=None, any_size=False):
    """Returns one uint8 array of `n` images, and needs little more memory than it takes.

    Args:
        named_images: iterable of pairs: a name for messages, and a uint8 array `(height, width,
            channels)`.
        n: int, how many pairs there are.
        size, channels: as of `ganlib.data.container.fit`.
        any_size: bool, whether the images may differ in size: they then are a tuple of arrays.

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
            images = [] if any_size else np.empty((n, *image.shape), np.uint8)
        examples.setdefault(image.shape, name)
        if any_size:
            images.append(image)
        elif len(examples) == 1 and count <= n:
            images[count - 1] = image
    if images is None or count != n:
        raise DataError(
            f"{n} images were announced, and at least one is needed: choose another split, or get "
            f"the data anew. Received: {count} images"
        )
    if len(examples if not any_size else {shape[2] for shape in examples}) > 1:
        raise DataError(_mixed(examples))
    return images


def _mixed(examples):
    lines = [
        f"{height}×{width} with {channels} channel{'s' * (channels != 1)}, as {name}"
        for (height, width, channels), name in sorted(examples.items())
    ]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return (
        "All images must have one size and number of channels: give size=… (crops to a square and "
        "resizes) or channels=… (1 or 3), or any_size=True where sizes may differ. Received: "
        + "; ".join(lines[:SHOWN])
        + more
    )
