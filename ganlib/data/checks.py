"""What to look at before training."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import check_range


def check(images, *, channels=None, size=None, labels=False, classes=None, minimum=1, at_least=1):
    """Raises unless the images can be trained on.

    Args:
        images: `Images`.
        channels: int, the number of channels that is needed; `None` for any.
        size: int, the height and width in pixels that is needed; `None` for any.
        labels: bool, whether labels are needed.
        classes: int, the number of classes that is needed, labelled 0, 1, … without a gap.
        minimum: int, the least number of images.
        at_least: int, the least height and width in pixels.

    Returns:
        The same `Images`.

    Raises:
        DataError: there are too few images, or labels are missing or others; the shape is not the
            one needed; values are NaN, infinite or outside the declared range; or all pixels, or
            all masks, are equal.
    """
    minimum = max(1, minimum)
    if len(images) < minimum:
        few = "has too few images" if len(images) else "is empty"
        raise DataError(
            f"{images.name!r} {few}: add images or lower what is asked for (batch size, sample "
            f"size). Received: {len(images)} images, at least {minimum} needed"
        )
    _check_shape(images, size, channels, at_least)
    if (labels or classes) and images.labels is None:
        raise DataError(
            f"{images.name!r} has no labels, but they are needed: put the images into one "
            "subfolder per class, or add the key y to the .npz. Received: labels=None"
        )
    if classes:
        _check_classes(images, classes)
    _check_values(images)
    if images.masks is not None:
        check_masks(images)
    return images


def check_masks(images):
    """Raises `DataError` unless the masks have foreground and background."""
    if len(images) and images.foreground in (0.0, 1.0):
        what, missing = ("foreground", "background")[:: 1 if images.foreground else -1]
        raise DataError(
            f"The masks of {images.name!r} have no {missing}, so that nothing can be learned from "
            "them or scored on them: look at how they were saved, or which class was chosen. "
            f"Received: {len(images)} masks of {what} throughout"
        )


def _check_shape(images, size, channels, at_least):
    if size is not None and images.shape[1:3] != (size, size):
        raise DataError(
            f"The images of {images.name!r} must be {size}×{size} pixels: load them with "
            f"size={size}. Received: {images.shape[1]}×{images.shape[2]}"
        )
    present = images.channels
    height = images.images[0].shape[0]
    if (channels is not None and present != channels) or (height in (1, 3) and present > 4):
        if height in (1, 3) and present > 4:
            remedy = "they seem to come first, move them with np.moveaxis(images, 1, -1)"
        else:
            remedy = f"load them with channels={channels}"
        wanted = "1 or 3" if channels is None else channels
        raise DataError(
            f"The images of {images.name!r} must have {wanted} channel{'s' * (wanted != 1)}: "
            f"{remedy}. Received: shape={(len(images), *images.images[0].shape)}"
        )
    small = [
        f"{name} ({image.shape[0]}×{image.shape[1]})"
        for name, image in zip(images.names, images.images, strict=True)
        if min(image.shape[:2]) < at_least
    ]
    if small:
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        raise DataError(
            f"Images of {images.name!r} are smaller than {at_least}×{at_least} pixels, which a "
            "patch or tile takes: leave them out, or choose smaller ones. Received: "
            f"{', '.join(small[:8])}{more}"
        )


def _check_classes(images, classes):
    found = np.unique(images.labels)
    if not np.array_equal(found, np.arange(classes)):
        shown = ", ".join(map(str, found[:12])) + (", …" if len(found) > 12 else "")
        raise DataError(
            f"{images.name!r} must have the {classes} classes 0 to {classes - 1}, each with images:"
            " np.unique(labels, return_inverse=True)[1] numbers other labels so. Received: "
            f"labels {shown}"
        )


def _check_values(images):
    values = images.images
    if isinstance(values, tuple):
        if all((image == image.flat[0]).all() for image in values):
            raise DataError(f"All images of {images.name!r} are of one colour: look at the files.")
        return
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            first = tuple(map(int, np.unravel_index(finite.argmin(), values.shape)))
            raise DataError(
                f"The images of {images.name!r} hold NaN or infinities: drop these images or "
                f"repair them with np.nan_to_num. Received: {finite.size - finite.sum()} of "
                f"{finite.size} values, the first images{list(first)} = {values[first]}"
            )
    try:
        check_range(values, images.value_range)
    except ValueError as error:
        raise DataError(f"{images.name!r}: {error}") from error
    if (values == values.flat[0]).all():
        raise DataError(
            f"All pixels of {images.name!r} are equal: look at how the file was written. "
            f"Received: {len(images)} images, every value {values.flat[0]}"
        )
