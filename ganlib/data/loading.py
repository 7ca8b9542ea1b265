"""`load`: one function for every source of images."""

import dataclasses
from pathlib import Path

import numpy as np

from ganlib.data.checks import check_masks
from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.fit import fit
from ganlib.images import convert

EMBEDDED = ("digits", "tissue", "photos")
DRAWN = ("rooms", "nuclei", "membranes")
ACCEPTED = (
    "Images, an array or a list of arrays, "
    + ", ".join(f'"{name}"' for name in EMBEDDED + DRAWN)
    + ', "tfds:NAME", a path to an .npz file, or a folder of images, or of images and masks'
)
READERS = {  # of other files; Images are made from what they give
    ".npy": "np.load(path)",
    ".h5": "h5py.File(path)[key][:]",
    ".hdf5": "h5py.File(path)[key][:]",
    ".mat": "scipy.io.loadmat(path)[key]",
}


def load(
    spec, split=None, *, size=None, channels=None, masks=False, any_size=False, value_range=None
):
    """Loads images from wherever they are, with their masks, labels and groups where they have any.

    Args:
        spec: `Images`, an array, or a list of arrays that may differ in size; "digits", the
            embedded 5,000 digits of MNIST; "tissue", 1,600 embedded crops of stained tissue;
            "photos", ten embedded photographs; "rooms", "nuclei" and "membranes", synthetic
            (`ganlib.data.rooms`, `ganlib.data.cells`), the latter two with masks; "tfds:NAME" or
            "tfds:NAME/CONFIG", a set of TensorFlow Datasets; or the path of an .npz file
            (`ganlib.data.npz`) or of a folder (`ganlib.data.folders`). Where a file or folder has
            the name of a set, give it as "./NAME" or as a `pathlib.Path`, and the set as
            "embedded:NAME".
        split: "train", "validation" or "test". `None`: all images, or "train" where the source is
            divided. For TFDS any split that it knows, such as "train[:10%]". Images in memory have
            none.
        size: int, crops images to the largest centred square and resizes them to `size` × `size`
            pixels with Pillow's Lanczos filter, and masks without interpolation; rooms are drawn in
            sizes from 32 to 128, 64 if `None`. `None` keeps the size.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey; `None` keeps the channels.
        masks: bool, whether masks are needed, such as the feature `segmentation_mask` of TFDS: of
            1, 2 and 3, as in oxford_iiit_pet, the pets (1) with their borders (3) are foreground.
        any_size: bool, whether the images may differ in size; photos and images with masks may.
        value_range: `ganlib.images.ValueRange` of an array or .npz. `None`: by dtype and values,
            see `ganlib.images.infer_range`.

    Returns:
        `Images`.

    Raises:
        DataError: what is wrong with the data, and what to do. `NoSplitError`: they are fine, but
            have no such split.

    Example:

    >>> load("digits", split="test")
    Images('digits', 1000 × 28×28×1, byte, 10 classes, real)
    """
    found = _load(spec, split, size, channels, masks, any_size, value_range)
    found = found.fitted(size, channels)
    if masks and found.masks is None:
        raise DataError(
            f"{found.name!r} has no masks: put images and masks of the same names into the "
            "subfolders images and masks, or save the masks as y beside the images x of an .npz. "
            "Received: images alone"
        )
    return found if isinstance(spec, Images) else check_masks(found)


def _load(spec, split, size, channels, masks, any_size, value_range):
    if isinstance(spec, Images | np.ndarray | list | tuple):
        return _from_memory(spec, split, channels, value_range)
    if not isinstance(spec, str | Path):
        raise DataError(f"`spec` must be {ACCEPTED}. Received: {type(spec).__name__}")
    if name := _embedded_name(spec):
        from ganlib.data import cells, embedded, rooms

        if name == "rooms":
            return rooms.rooms(split, size if size in rooms.SIZES else 64)
        return getattr(cells if name in DRAWN else embedded, name)(split)
    if isinstance(spec, str) and spec.startswith("tfds:"):
        from ganlib.data.tfds import load_tfds

        return load_tfds(spec.removeprefix("tfds:"), split, size, channels, any_size, masks)
    path = Path(spec).expanduser()
    if path.suffix.lower() == ".npz":
        return _from_npz(path, split, value_range)
    if path.is_dir():
        from ganlib.data.folders import load_folder

        return load_folder(path, split, size, channels, any_size, masks)
    there = "a file of another kind" if path.exists() else "nothing there"
    reader = READERS.get(path.suffix.lower())
    remedy = f" What {reader} gives is taken." if reader else ""
    raise DataError(f"`spec` must be {ACCEPTED}.{remedy} Received: {str(spec)!r} ({there})")


def _embedded_name(spec):
    """The name of the set that comes with ganlib or its packages, or None."""
    name = None if isinstance(spec, Path) else spec.removeprefix("embedded:")
    if name not in EMBEDDED + DRAWN:
        return None
    if name == spec and Path(spec).exists():
        raise DataError(
            f"There is an embedded set {spec!r}, and here a file or folder of that name: write "
            f'"./{spec}" for yours, or "embedded:{spec}". Received: {spec!r}'
        )
    return name


def _from_memory(spec, split, channels, value_range):
    if split is not None:
        raise NoSplitError(
            "Images in memory have no named splits: leave `split` out and divide them with "
            f".split(0.8, seed=0). Received: split={split!r}"
        )
    if isinstance(spec, Images):
        return spec
    if isinstance(spec, list | tuple) and channels is not None:
        arrays = (np.asarray(image) for image in spec)
        spec = [fit(a[..., np.newaxis] if a.ndim == 2 else a, None, channels) for a in arrays]
    return Images(spec, value_range=value_range)


def _from_npz(path, split, value_range):
    from ganlib.data.npz import load_npz

    parts = load_npz(path, split)
    facts = {"name": path.stem, "origin": f"File {path.name!r}."}
    try:
        found = Images(**parts, **facts, value_range=value_range)
        if found.masks is None:
            return found
        images = convert(found.images, found.value_range, "byte")
        return dataclasses.replace(found, images=images, value_range="byte")
    except ValueError as error:  # DataError, or NaN that has no byte value
        raise DataError(f"In the file {path}: {error}") from error
