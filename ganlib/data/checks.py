"""What to look at before training."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import check_range


def check(image_set, *, channels=None, size=None, labels=False, minimum=1):
    """Raises unless the images can be trained on.

    Args:
        image_set: `ImageSet`.
        channels: int, the number of channels that is needed; `None` for any.
        size: int, the height and width in pixels that is needed; `None` for any.
        labels: bool, whether labels are needed.
        minimum: int, the least number of images.

    Returns:
        The same `ImageSet`.

    Raises:
        DataError: there are too few images or labels are missing; the shape is not the one needed;
            values are NaN, infinite or outside the declared range; or all pixels are equal.
    """
    _check_count(image_set, minimum)
    _check_shape(image_set, size, channels)
    if labels and image_set.labels is None:
        raise DataError(
            f"{image_set.name!r} has no labels, but they are needed: put the images into one "
            "subfolder per class, or add the key y to the .npz. Received: labels=None"
        )
    _check_values(image_set)
    return image_set


def _check_count(image_set, minimum):
    minimum = max(1, minimum)
    if len(image_set) < minimum:
        few = "has too few images" if len(image_set) else "is empty"
        raise DataError(
            f"{image_set.name!r} {few}: add images or lower what is asked for (batch size, sample "
            f"size). Received: {len(image_set)} images, at least {minimum} needed"
        )


def _check_shape(image_set, size, channels):
    _, height, width, present = image_set.shape
    if size is not None and (height, width) != (size, size):
        raise DataError(
            f"The images of {image_set.name!r} must be {size}×{size} pixels: load them with "
            f"size={size}. Received: {height}×{width}"
        )
    if channels is not None and present != channels:
        if height in (1, 3) and present > 4:
            remedy = "they seem to come first, move them with np.moveaxis(images, 1, -1)"
        else:
            remedy = f"load them with channels={channels}"
        raise DataError(
            f"The images of {image_set.name!r} must have {channels} "
            f"channel{'s' * (channels != 1)}: {remedy}. Received: shape={image_set.shape}"
        )


def _check_values(image_set):
    images = image_set.images
    if images.dtype.kind == "f":
        finite = np.isfinite(images)
        if not finite.all():
            first = tuple(map(int, np.unravel_index(finite.argmin(), images.shape)))
            raise DataError(
                f"The images of {image_set.name!r} hold NaN or infinities: drop these images or "
                f"repair them with np.nan_to_num. Received: {finite.size - finite.sum()} of "
                f"{finite.size} values, the first images{list(first)} = {images[first]}"
            )
    try:
        check_range(images, image_set.value_range)
    except ValueError as error:
        raise DataError(f"{image_set.name!r}: {error}") from error
    if (images == images.flat[0]).all():
        raise DataError(
            f"All pixels of {image_set.name!r} are equal: look at how the file was written. "
            f"Received: {len(image_set)} images, every value {images.flat[0]}"
        )
