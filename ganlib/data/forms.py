"""What `Images` accepts, and the form that it keeps it in."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import ValueRange, convert, infer_range


def images(given, value_range, names):
    """Images as one array or, of several sizes, a tuple of uint8; and their `ValueRange`."""
    if isinstance(given, list | tuple):
        given = [_single(image, name) for image, name in zip(given, names, strict=True)]
        channels = {image.shape[-1]: name for image, name in zip(given, names, strict=True)}
        if len(channels) > 1:
            raise DataError(
                "All images must have the same number of channels: load them with channels=1 or "
                f"channels=3. Received: channels {channels}"
            )
        if len({image.shape for image in given}) > 1:
            _check_bright(max(int(image.max()) for image in given), value_range)
            return tuple(given), ValueRange.BYTE
        given = np.stack(given) if given else np.empty((0, 1, 1, 1), np.uint8)
    array = np.asarray(given)
    array = array[..., np.newaxis] if array.ndim == 3 else array
    if array.dtype.kind not in "iuf" or array.ndim != 4:
        raise DataError(
            "Images must be numbers (n, height, width[, channels]), as image[np.newaxis], images."
            "reshape(-1, 28, 28, 1) of rows of pixels, or masks.astype('float32'). "
            f"Received: shape={array.shape}, dtype={array.dtype}"
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
            'Images declared "byte" must hold whole numbers from 0 to 255. Received: '
            f"dtype={array.dtype}, minimum={array.min():.6g}, maximum={array.max():.6g}"
        )
    return whole, value_range


def per_image(given, n, kinds):
    """Labels or groups as int64 or strings `(n,)`; None stays None."""
    if given is None:
        return None
    array = np.asarray(given)
    array = array[:, 0] if array.shape == (n, 1) else array  # as in Keras' CIFAR
    if array.shape != (n,) or array.dtype.kind not in kinds:
        raise DataError(
            "Labels must be one integer per image, groups one integer or string: see labels.argmax("
            "axis=1), labels.astype(int) and np.unique(names, return_inverse=True)[1]. "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def masks(given, images, names):
    """Masks as uint8 of 0 and 1, each of its image's size."""
    planes = []
    for mask, image, name in zip(map(np.asarray, given), images, names, strict=True):
        mask = mask[..., np.newaxis] if mask.ndim == 2 else mask
        if mask.shape != (*image.shape[:2], 1) or mask.dtype.kind not in "biuf":
            raise DataError(
                f"The mask of {name} must be numbers of its image's size, of one plane, masks[..., "
                f"k]. Received: image {image.shape}, mask {mask.shape}, dtype={mask.dtype}"
            )
        planes.append(mask)
    # Seen over the whole set: in one mask alone, 255 throughout could mean either.
    ends = [(mask.min().item(), mask.max().item()) for mask in planes]
    values = sorted(set().union(*ends))
    # Some masks may be saved as 0 and 1, some as 0 and 255.
    alike = len(values) <= 2 or (values == [0, 1, 255] and (1, 255) not in ends)
    odd = [name for m, e, name in zip(planes, ends, names, strict=True) if not np.isin(m, e).all()]
    if not alike:
        odd += [name for e, name in zip(ends, names, strict=True) if not {*e} <= {*values[:2]}]
    if odd:
        values = sorted({value for mask in planes for value in np.unique(mask).tolist()})
        raise DataError(
            f"The mask of {odd[0]} must be binary, of the same two values as the others, such as "
            f"(mask > 0) of numbered objects, (mask > 127) of JPEG. Received: values {values[:8]}"
        )
    threshold = values[0] if len(values) == 2 else 0
    binary = tuple(np.ascontiguousarray(mask > threshold, np.uint8) for mask in planes)
    if isinstance(images, tuple):
        return binary
    return np.stack(binary) if binary else np.empty((0, *images.shape[1:3], 1), np.uint8)


def _single(image, name):
    image = np.asarray(image)
    image = image[..., np.newaxis] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise DataError(
            f"The image {name} must be uint8 (height, width[, channels]): see ganlib.images.convert"
            f"(image, 'unit', 'byte'). Received: shape={image.shape}, dtype={image.dtype}"
        )
    return np.ascontiguousarray(image)


def _check_bright(highest, declared):
    if highest == 1 and declared is None:  # masks, or bits: all but black if they were bytes
        raise DataError(
            'uint8 images of nothing but 0 and 1: give images.astype("float32") where 1 is white, '
            'or value_range="byte". Received: maximum=1'
        )
