"""NumPy archives (.npz)."""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ganlib.data.errors import DataError, NoSplitError

LIMIT = 16 * 2**30
NAMES = {
    "images": ("x", "images", "image", "data", "arr_0"),
    "labels": ("y", "labels", "label", "targets"),
    "groups": ("group", "groups"),
}
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, RuntimeError)


def load_npz(path, split=None, limit=LIMIT):
    """Reads images, labels and groups from an .npz file, without pickle.

    Args:
        path: path of the file. Its keys are `x`, `y` and `group`, or with a split `x_train`,
            `y_train`, `group_train`; `NAMES` has more spellings, in any case, and the split may
            stand on either side of them.
        split: "train" or "test". `None`: the keys without a split, else those of "train".
        limit: int, the most bytes that all members together may expand to, by their headers.

    Returns:
        dict with the array `images` and, if there, `labels` and `groups`.

    Raises:
        DataError: the file is missing, broken or beyond the limit, holds Python objects, or has no
            key for the images.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    try:
        headers = _read_headers(path)
        _check_headers(path, headers, limit)
        keys = _find_keys(path, headers, split)
        with np.load(path, allow_pickle=False) as archive:
            return {part: archive[key] for part, key in keys.items()}
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(
            f"The file {path} is not a whole .npz archive: write it again with "
            f"np.savez_compressed. Received: {type(error).__name__}: {error}"
        ) from error


def label_shape(path):
    """The shape of a file's labels, of the training part where it is divided; None without any.

    A broken file has none, either: `load_npz` says what is wrong with it.
    """
    try:
        headers = _read_headers(path)
        return headers[_find_keys(path, headers, None)["labels"]][0]
    except (*_BROKEN, DataError):
        return None


def _read_headers(path):
    """Key → (shape, dtype), from the first bytes of each member."""
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as file:
                version = npy.read_magic(file)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(file)
            headers[member.removesuffix(".npy")] = (shape, dtype)
    return headers


def _check_headers(path, headers, limit):
    objects = [key for key, (_, dtype) in headers.items() if dtype.hasobject]
    if objects:
        raise DataError(
            f"The file {path} holds Python objects, which are not read because loading them can "
            "run code: save plain arrays, all images of one shape. "
            f"Received: object arrays {', '.join(objects)}"
        )
    total = sum(math.prod(shape) * dtype.itemsize for shape, dtype in headers.values())
    if total > limit:
        raise DataError(
            f"The file {path} would expand to {total / 2**30:,.1f} GiB, beyond the limit of "
            f"{limit / 2**30:,.1f} GiB: save fewer or smaller images, as uint8, or as an image "
            "folder loaded with size=…."
        )


def _find_keys(path, headers, split):
    present = {key.lower(): key for key in headers}
    # With no split asked for, a file that has splits gives its training images.
    for suffix in (split,) if split else ("", "train"):
        keys = {
            part: present[spelling]
            for part, names in NAMES.items()
            if (spelling := _first_spelling(names, suffix, present))
        }
        if "images" in keys:
            return keys
    wanted = f"{NAMES['images'][0]}_{split}" if split else " or ".join(NAMES["images"])
    remedy = (
        "leave `split` out and divide the images with .split(0.8, seed=0), or " if split else ""
    )
    raise (NoSplitError if split else DataError)(
        f"The file {path} has no key for the images: {remedy}save them as {wanted}. "
        f"Received: split={split!r}, keys {sorted(headers)}"
    )


def _first_spelling(names, suffix, present):
    for name in names:
        for spelling in (f"{name}_{suffix}", f"{suffix}_{name}") if suffix else (name,):
            if spelling in present:
                return spelling
    return None
