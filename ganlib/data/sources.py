"""`load`: one function for every source of images."""

import dataclasses
from pathlib import Path

import numpy as np

from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.imageset import ImageSet
from ganlib.data.resize import check_target, fit

ACCEPTED = (
    'an ImageSet, an array, "digits", "tissue" or "rooms", "tfds:NAME", a path to an .npz file, '
    "or a folder of images"
)


def load(spec, split=None, size=None, channels=None, value_range=None):
    """Loads images from wherever they are.

    Args:
        spec: an `ImageSet` or array of images; "digits", the embedded 5,000 digits of MNIST;
            "tissue", 1,600 embedded crops of stained tissue; "rooms", synthetic bedrooms
            (`ganlib.data.rooms`); "tfds:NAME" or "tfds:NAME/CONFIG", a set of TensorFlow Datasets;
            or the path of an .npz file or image folder.
        split: "train" or "test". `None`: all images, or "train" where the source is divided.
            For "digits" a fixed stratified 80/20 split; for "tissue" one by tile of the picture,
            51 and 13; for "rooms" 2,000 and 500 pictures; for an .npz keys as `x_train`; for a
            folder subfolders; for TFDS any split that it knows. An `ImageSet` or array has none.
        size: int, crops images to the largest centred square and resizes them to `size` × `size`
            pixels with Pillow's Lanczos filter; rooms are drawn in sizes from 32 to 128, 64 if
            `None`. `None` keeps the size, which must then be one.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey; `None` keeps the channels.
        value_range: `ganlib.images.ValueRange` of an array or .npz. `None`: by dtype and values,
            see `ganlib.images.infer_range`.

    Returns:
        `ImageSet`.

    Raises:
        DataError: what is wrong with the data, and what to do.

    Example:

    >>> load("digits", split="test")
    ImageSet('digits', 1000 × 28×28×1, byte, 10 classes, real)
    """
    check_target(size, channels)
    if isinstance(spec, ImageSet | np.ndarray):
        return _from_memory(spec, split, size, channels, value_range)
    if not isinstance(spec, str | Path):
        raise DataError(f"`spec` must be {ACCEPTED}. Received: {type(spec).__name__}")
    if str(spec) in ("digits", "tissue"):
        from ganlib.data import embedded

        return _fitted(getattr(embedded, str(spec))(split), size, channels)
    if str(spec) == "rooms":
        from ganlib.data.rooms import SIZES, rooms

        drawn = size if size in SIZES else 64
        return _fitted(rooms(split, drawn), size, channels)
    if str(spec).startswith("tfds:"):
        from ganlib.data.tfds import load_tfds

        return load_tfds(str(spec).removeprefix("tfds:"), split, size, channels)
    path = Path(spec).expanduser()
    if path.suffix.lower() == ".npz":
        return _fitted(_from_npz(path, split, value_range), size, channels)
    if path.is_dir():
        from ganlib.data.folder import load_folder

        return load_folder(path, split, size, channels)
    there = "a file of another kind" if path.exists() else "nothing there"
    raise DataError(f"`spec` must be {ACCEPTED}. Received: {str(spec)!r} ({there})")


def _from_memory(spec, split, size, channels, value_range):
    if split is not None:
        raise NoSplitError(
            "Images in memory have no named splits: leave `split` out and divide the ImageSet with "
            f".split(0.8, seed=0). Received: split={split!r}"
        )
    image_set = spec if isinstance(spec, ImageSet) else ImageSet(spec, value_range=value_range)
    return _fitted(image_set, size, channels)


def _from_npz(path, split, value_range):
    from ganlib.data.npz import load_npz

    parts = load_npz(path, split)
    try:
        return ImageSet(
            **parts, name=path.stem, origin=f"File {path.name!r}.", value_range=value_range
        )
    except DataError as error:
        raise DataError(f"In the file {path}: {error}") from error


def _fitted(image_set, size, channels):
    """Brings the images to a size and number of channels; the same set if they are."""
    n, *shape = image_set.shape
    wanted = (size or shape[0], size or shape[1], channels or shape[2])
    if n == 0 or tuple(shape) == wanted:
        return image_set
    limits = (image_set.value_range.low, image_set.value_range.high)
    images = np.empty((n, *wanted), image_set.images.dtype)
    for i, image in enumerate(image_set.images):
        images[i] = fit(image, size, channels, limits)
    return dataclasses.replace(image_set, images=images)
