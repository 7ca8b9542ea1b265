"""What to look at before training."""

from ganlib.data.errors import DataError
from ganlib.images import check_range


def check(images, *, channels=None, size=None, classes=None, minimum=1, at_least=1):
    """Raises unless the images can be trained on.

    Args:
        images: `Images`, which are returned.
        channels, size, classes: int, what is needed; `None` for any. Classes are 0, 1, …
        minimum, at_least: int, the least number of images, and of pixels in height and width.

    A `DataError` also if values are outside the declared range, or all pixels or masks are equal.
    """

    def refuse(problem, received):
        raise DataError(f"The images of {images.name!r} {problem}. Received: {received}")

    if len(images) < max(1, minimum):
        remedy = "are too few images: add some, or lower the batch or sample size"
        refuse(remedy, f"{len(images)} images, at least {minimum} needed")
    height, width, present = images.images[0].shape
    found = f"{height}×{width}, {present} channels"
    if height in (1, 3) and present > 4:
        refuse("seem to have the channels first: move them with np.moveaxis(images, 1, -1)", found)
    sizes = {image.shape[:2] for image in images.images}
    if channels not in (None, present) or (size and sizes != {(size, size)}):
        refuse(f"have the wrong shape: load them with size={size}, channels={channels}", found)
    shapes = zip(images.names, (image.shape for image in images.images), strict=True)
    small = [f"{name} ({h}×{w})" for name, (h, w, _) in shapes if min(h, w) < at_least]
    if small:
        problem = f"are smaller than a patch of {at_least}×{at_least} pixels: leave them out"
        refuse(problem, f"{len(small)} of them, {', '.join(small[:8])}")
    labels = [] if images.labels is None else sorted(set(images.labels.tolist()))
    if classes and labels != list(range(classes)):
        refuse(
            f"must have the {classes} classes 0 to {classes - 1}: one subfolder each, or a key y in"
            " the .npz; np.unique(labels, return_inverse=True)[1] numbers other labels so",
            f"{len(labels)} labels, {', '.join(map(str, labels[:12]))}",
        )
    for values in images.images if isinstance(images.images, tuple) else [images.images]:
        try:
            check_range(values, images.value_range)
        except ValueError as error:
            raise DataError(f"{images.name!r}: {error}") from error
    first = images.images[0].flat[0]
    if all((image == first).all() for image in images.images):
        refuse("are of one value: look at how they were written", f"every value {first}")
    return check_masks(images)


def check_masks(images):
    """The same `Images`; a `DataError` if there are masks that are of one value throughout."""
    if len(images) and images.foreground in (0.0, 1.0):
        missing = "background" if images.foreground else "foreground"
        raise DataError(
            f"The masks of {images.name!r} have no {missing}, so that nothing can be learned from "
            f"them or scored: look at how they were saved. Received: {len(images)} masks"
        )
    return images
