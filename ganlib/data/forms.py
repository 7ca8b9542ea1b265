"""What `Images` accepts, and the form that it keeps it in."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import ValueRange, convert, infer_range


def images(given, value_range):
    """Images as one array or a tuple of arrays, and their `ValueRange`."""
    if isinstance(given, list | tuple):
        given = [_single(image, i) for i, image in enumerate(given)]
        if len({image.shape for image in given}) > 1:
            if len({image.shape[-1] for image in given}) > 1:
                raise DataError(
                    "All images must have the same number of channels: load them with channels=1 "
                    f"or channels=3. Received: {sorted({image.shape[-1] for image in given})}"
                )
            _check_bright(max(int(image.max()) for image in given), value_range)
            return tuple(given), ValueRange.BYTE
        given = np.stack(given) if given else np.empty((0, 1, 1, 1), np.uint8)
    array = np.asarray(given)
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if array.dtype.kind not in "iuf" or array.ndim != 4:
        raise DataError(
            "Images must be integers or floats (n, height, width, channels) or (n, height, width). "
            f"{_remedy(array)}. Received: shape={array.shape}, dtype={array.dtype}"
        )
    if array.dtype == np.uint8 and array.size:
        _check_bright(int(array.max()), value_range)
    try:
        value_range = infer_range(array) if value_range is None else ValueRange(value_range)
        whole = convert(array, value_range, value_range)  # uint8, or float32
    except ValueError as error:
        raise DataError(str(error)) from error
    if value_range is ValueRange.BYTE and not np.array_equal(whole, array):
        raise DataError(
            'Images declared "byte" must hold whole numbers from 0 to 255. Declare what they are '
            '(value_range="unit" or "signed"), or round them with '
            'ganlib.images.convert(images, "byte", "byte"). Received: '
            f"dtype={array.dtype}, minimum={array.min():.6g}, maximum={array.max():.6g}"
        )
    return whole, value_range


def masks(given, images, names):
    """Masks as uint8 of 0 and 1, one an image and of its size."""
    if len(given) != len(images):
        raise DataError(
            f"`masks` must be one per image. Received: {len(given)} for {len(images)} images"
        )
    planes = []
    for mask, image, name in zip(given, images, names, strict=True):
        mask = np.asarray(mask)
        mask = mask[..., np.newaxis] if mask.ndim == 2 else mask
        if mask.shape != (*image.shape[:2], 1) or mask.dtype.kind not in "biuf":
            raise DataError(
                f"The mask of {name} must be numbers of the size of its image: look whether it "
                "belongs to another one, or was saved smaller (then resize it without "
                "interpolation); of one plane per class choose the foreground's, masks[..., k]. "
                f"Received: image {image.shape}, mask {mask.shape}, dtype={mask.dtype}"
            )
        planes.append(mask)
    binary = _binary(planes, names)
    if isinstance(images, tuple):
        return binary
    return np.stack(binary) if binary else np.empty((0, *images.shape[1:3], 1), np.uint8)


def labels(array, n):
    """Labels as int64 `(n,)`."""
    array = np.asarray(array)
    array = array[:, 0] if array.shape == (n, 1) else array  # as in Keras' CIFAR
    if array.shape != (n,) or array.dtype.kind not in "biu":
        raise DataError(
            f"Labels must be one integer per image, shape ({n},). One-hot rows become so by "
            "labels.argmax(axis=1), floats by labels.astype(int), names by np.unique(names, "
            f"return_inverse=True)[1]. Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array.astype(np.int64)


def groups(array, n):
    """Groups as int64 or strings `(n,)`."""
    array = np.asarray(array)
    if array.shape != (n,) or array.dtype.kind not in "iuU":
        raise DataError(
            f"Groups must be one integer or string per image, shape ({n},). "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array.astype(np.int64) if array.dtype.kind != "U" else array


def _single(image, i):
    image = np.asarray(image)
    image = image[..., np.newaxis] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise DataError(
            f"The image {i} of a list must be uint8 (height, width, channels) or (height, width); "
            'floats become so by ganlib.images.convert(image, "unit", "byte"). Received: '
            f"shape={image.shape}, dtype={image.dtype}"
        )
    return np.ascontiguousarray(image)


def _check_bright(highest, declared):
    """Masks, or unpacked bits: all but black if they were bytes."""
    if highest == 1 and declared is None:
        raise DataError(
            "Images of uint8 are taken as 0 (black) to 255 (white), and these hold nothing but 0 "
            'and 1: give images.astype("float32") where 1 is white, or value_range="byte" where '
            "they are as dark as that. Received: dtype=uint8, maximum=1"
        )


def _remedy(array):
    side = round(array.shape[-1] ** 0.5) if array.ndim == 2 else 0
    if side**2 == array.shape[-1] != len(array):
        return f"Rows of pixels become images by images.reshape(-1, {side}, {side}, 1)"
    if array.dtype.kind == "b":
        return "Masks of bool become so by masks.astype('float32')"
    return "A single image becomes a set by image[np.newaxis]"


def _binary(masks, names):
    # Seen over the whole set: in one mask alone, 255 throughout could mean either.
    ends = {}  # value → name of the first mask that has it
    for mask, name in zip(masks, names, strict=True):
        low, high = mask.min(), mask.max()
        if not ((mask == low) | (mask == high)).all():
            _refuse(name, np.unique(mask))
        ends.setdefault(low.item(), name)
        ends.setdefault(high.item(), name)
    values = sorted(ends)
    if len(values) > 2 and values != [0, 1, 255]:  # some masks saved as 0 and 1, some as 0 and 255
        _refuse(ends[list(ends)[2]], np.array(values))
    for mask, name in zip(masks, names, strict=True):
        if len(values) > 2 and mask.min() == 1 and mask.max() == 255:
            _refuse(name, np.array(values))
    threshold = values[0] if len(values) == 2 else 0
    return tuple(np.ascontiguousarray(mask > threshold, np.uint8) for mask in masks)


def _refuse(name, values):
    raise DataError(
        f"The mask of {name} must be binary, with the same two values as the others: decide which "
        "are the foreground and save it as 0 and 1, such as (mask > 0) for numbered objects or "
        "(mask > 127) after a lossy format (save masks as PNG, not JPEG). Received: values "
        + ", ".join(f"{value:g}" for value in values[:8])
    )
