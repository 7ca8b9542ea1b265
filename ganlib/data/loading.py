"""`load`: one function for every source of images."""

from pathlib import Path

import numpy as np

from ganlib.data.checks import check_masks
from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.fit import fit

EMBEDDED = ("digits", "tissue", "photos")
DRAWN = ("rooms", "nuclei", "membranes")
ACCEPTED = (
    f"Images, an array or a list of arrays, one of {', '.join(EMBEDDED + DRAWN)}, tfds:NAME, an "
    ".npz file, or a folder of images, or of images and masks; of a .npy, .h5 or .mat file give "
    "the array that np.load(path), h5py.File(path)[key][:] or scipy.io.loadmat(path)[key] reads"
)


def load(
    spec, split=None, *, size=None, channels=None, masks=False, any_size=False, value_range=None
):
    """Loads images from wherever they are, with their masks, labels and groups where they have any.

    Args:
        spec: `Images`, an array, or a list of arrays that may differ in size; "digits", "tissue"
            or "photos", embedded; "rooms", "nuclei" or "membranes", synthetic; "tfds:NAME"; an
            .npz file or folder. Where both are there, "./NAME" and "embedded:NAME" tell them apart.
        split: "train", "validation" or "test", of TFDS also such as "train[:10%]". `None`: all
            images, or "train" where the source is divided.
        size: int, height and width in pixels, see `ganlib.data.fit`; `None` keeps the size.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey; `None` keeps the channels.
        masks: bool, whether masks are needed; of TFDS' 1, 2 and 3 all but 2 are foreground.
        any_size: bool, whether images may differ in size; photos and images with masks always may.
        value_range: `ganlib.images.ValueRange` of an array or .npz. `None`: by dtype and values.

    >>> load("digits", split="test")
    Images('digits', 1000 × 28×28×1, byte, 10 classes, real)
    """
    if isinstance(spec, Images | np.ndarray | list | tuple):
        found = _from_memory(spec, split, channels, value_range)
    elif name := _embedded_name(spec):
        from ganlib.data import cells, embedded, rooms

        if name == "rooms":
            found = rooms.rooms(split, size if size in rooms.SIZES else 64)
        else:
            found = getattr(cells if name in DRAWN else embedded, name)(split)
    else:
        found = _from_files(spec, split, size, channels, masks, value_range)
        if not any_size and found.masks is None:
            found.shape  # noqa: B018 - an error where sizes differ
    found = found.fitted(size, channels)
    if masks and found.masks is None:
        raise DataError(
            f"{found.name!r} has no masks: put images and masks of the same names into the folders "
            "images and masks, or save masks as y beside x in an .npz. Received: images alone"
        )
    return found if isinstance(spec, Images) else check_masks(found)


def _from_memory(spec, split, channels, value_range):
    if split is not None:
        raise NoSplitError(
            "Images in memory have no named splits: leave `split` out and divide them with "
            f".split(0.8, seed=0). Received: split={split!r}"
        )
    if isinstance(spec, Images):
        return spec
    if isinstance(spec, list | tuple):  # grey and coloured ones become alike
        spec = [fit(image, None, channels) for image in spec]
    return Images(spec, value_range=value_range)


def _embedded_name(spec):
    name = spec.removeprefix("embedded:") if isinstance(spec, str) else None
    if name not in EMBEDDED + DRAWN:
        return None
    if name == spec and Path(spec).exists():
        raise DataError(
            f'There is an embedded set {spec!r}, and a file or folder: write "./{spec}" for yours, '
            f'or "embedded:{spec}". Received: {spec!r}'
        )
    return name


def _from_files(spec, split, size, channels, masks, value_range):
    if isinstance(spec, str) and spec.startswith("tfds:"):
        from ganlib.data.tfds import load_tfds

        return load_tfds(spec.removeprefix("tfds:"), split, size, channels, masks)
    path = Path(spec).expanduser()
    if path.is_dir():
        from ganlib.data.folders import load_folder

        return load_folder(path, split, size, channels, masks)
    if path.suffix.lower() == ".npz" and path.is_file():
        from ganlib.data.npz import load_npz

        return load_npz(path, split, value_range)
    there = "a file of another kind" if path.exists() else "nothing there"
    raise DataError(f"`spec` must be {ACCEPTED}. Received: {str(spec)!r} ({there})")
