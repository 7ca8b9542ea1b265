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
    if len(images) < max(1, minimum):
        raise DataError(
            f"{images.name!r} has too few images: add some, or lower what is asked for (batch "
            f"size, sample size). Received: {len(images)} images, at least {minimum} needed"
        )
    _check_shapes(images, size, channels, at_least)
    if (labels or classes) and images.labels is None:
        raise DataError(
            f"{images.name!r} has no labels, but they are needed: put the images into one "
            "subfolder per class, or add the key y to the .npz. Received: labels=None"
        )
    found = [] if images.labels is None else sorted(set(images.labels.tolist()))
    if classes and found != list(range(classes)):
        raise DataError(
            f"{images.name!r} must have the {classes} classes 0 to {classes - 1}, each with images:"
            " np.unique(labels, return_inverse=True)[1] numbers other labels so. Received: "
            f"{len(found)} labels, {', '.join(map(str, found[:12]))}"
        )
    _check_values(images)
    return check_masks(images)


def check_masks(images):
    """The same `Images`; a `DataError` if there are masks that are of one value throughout."""
    if len(images) and images.foreground in (0.0, 1.0):
        missing = "background" if images.foreground else "foreground"
        raise DataError(
            f"The masks of {images.name!r} have no {missing}, so that nothing can be learned from "
            "them or scored on them: look at how they were saved, or which class was chosen. "
            f"Received: {len(images)} masks of one value throughout"
        )
    return images


def _check_shapes(images, size, channels, at_least):
    height, width, present = images.images[0].shape
    if height in (1, 3) and present > 4:
        raise DataError(
            f"The channels of {images.name!r} seem to come first: move them with np.moveaxis("
            f"images, 1, -1). Received: shape={(len(images), height, width, present)}"
        )
    sizes = set() if size is None else {image.shape[:2] for image in images.images}
    if channels not in (None, present) or sizes - {(size, size)}:
        raise DataError(
            f"The images of {images.name!r} have the wrong shape: load them with size={size}, "
            f"channels={channels}. Received: {height}×{width}, {present} channels"
        )
    small = [
        f"{name} ({image.shape[0]}×{image.shape[1]})"
        for name, image in zip(images.names, images.images, strict=True)
        if min(image.shape[:2]) < at_least
    ]
    if small:
        raise DataError(
            f"Images of {images.name!r} are smaller than a patch of {at_least}×{at_least} pixels: "
            f"leave them out, or choose smaller patches. Received: {', '.join(small[:8])}"
            + f" and {len(small) - 8} more"
            * (len(small) > 8)
        )


def _check_values(images):
    several = isinstance(images.images, tuple)
    for values in images.images if several else [images.images]:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))
            raise DataError(
                f"The images of {images.name!r} hold NaN or infinities: drop these images or "
                f"repair them with np.nan_to_num. Received: {len(bad)} of {values.size} values, "
                f"the first at images{bad[0].tolist()}"
            )
        try:
            check_range(values, images.value_range)
        except ValueError as error:
            raise DataError(f"{images.name!r}: {error}") from error
    if all((image == images.images[0].flat[0]).all() for image in images.images):
        raise DataError(
            f"All pixels of {images.name!r} are equal: look at how the file was written. "
            f"Received: {len(images)} images, every value {images.images[0].flat[0]}"
        )
