"""What an `ImageSet` accepts, and the form that it keeps it in."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import ValueRange, infer_range


def images(array, value_range):
    array = np.asarray(array)
    if array.dtype.kind not in "iuf":
        raise DataError(
            "Images must be integers or floats; masks of bool become so by "
            f"masks.astype('float32'). Received: dtype={array.dtype}"
        )
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4:
        raise DataError(
            "Images must have the shape (n, height, width, channels) or (n, height, width); "
            f"a single image becomes a set by image[np.newaxis]. Received: shape={array.shape}"
        )
    try:
        value_range = infer_range(array) if value_range is None else ValueRange(value_range)
    except ValueError as error:
        raise DataError(str(error)) from error
    if value_range is not ValueRange.BYTE:
        return array.astype(np.float32, copy=False), value_range
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.uint8, copy=False)
    if not np.array_equal(whole, array):
        raise DataError(
            'Images declared "byte" must hold whole numbers from 0 to 255. Declare what they are '
            '(value_range="unit" or "signed"), or round them with '
            'ganlib.images.convert(images, "byte", "byte"). Received: '
            f"dtype={array.dtype}, minimum={array.min():.6g}, maximum={array.max():.6g}"
        )
    return whole, value_range


def labels(array, n):
    array = np.asarray(array)
    if array.shape == (n, 1):  # as in Keras' CIFAR
        array = array[:, 0]
    if array.shape != (n,) or array.dtype.kind not in "biu":
        raise DataError(
            f"Labels must be one integer per image, shape ({n},). One-hot rows become so by "
            "labels.argmax(axis=1), names by np.unique(names, return_inverse=True)[1]. "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array.astype(np.int64)


def groups(array, n):
    array = np.asarray(array)
    if array.shape != (n,) or array.dtype.kind not in "iuU":
        raise DataError(
            f"Groups must be one integer or string per image, shape ({n},). "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array.astype(np.int64) if array.dtype.kind != "U" else array
