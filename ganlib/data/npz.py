"""NumPy archives (.npz), and zip archives in general, that may come from anyone."""

import io
import math
import pathlib

import numpy as np
from numpy.lib import format as npy

from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.images import convert

LIMIT = 16 * 2**30  # bytes that all arrays together may take
SMALL = 64 * 2**20  # bytes that an archive may expand to, however small it is
HEADER = 2**14  # bytes; NumPy reads none with a longer description than 10,000 characters
NAMES = {
    "images": ("x", "images", "image", "data", "arr_0"),
    "labels": ("y", "labels", "label", "targets"),
    "masks": ("masks", "mask"),
    "groups": ("group", "groups"),
}
SUFFIXES = {None: ("", "train"), "validation": ("validation", "valid", "val")}  # of a split


def load_npz(path, split=None, value_range=None):
    """Loads `Images` from an .npz file, without pickle; see `load`.

    The keys are `x`, `y` (labels or masks), `group` and `stack`, or with a split `x_train`, …;
    `NAMES` has more spellings, in any case, and the split may stand on either side.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            parts = _read(archive, _find_keys(archive.files, split))
        if "labels" in parts and parts["labels"].ndim > 2:
            parts["masks"] = parts.pop("labels")
        if "stack" in parts:
            parts["stack"] = bool(parts["stack"].any())
        facts = {"name": path.stem, "origin": f"File {path.name!r}."}
        found = Images(**parts, **facts, value_range=value_range)
        if found.masks is None:
            return found
        images = convert(found.images, found.value_range, "byte")
        return Images(**parts | {"images": images}, **facts, value_range="byte")
    except DataError as error:
        raise type(error)(f"In the file {path}: {error}") from error
    except Exception as error:  # zip, decompression and NumPy have a dozen kinds
        raise DataError(
            f"The file {path} is not a whole .npz archive of plain arrays: write it again with "
            f"np.savez_compressed. Received: {error}"
        ) from error


def _read(archive, keys):
    members = {part: archive.zip.getinfo(f"{key}.npy") for part, key in keys.items()}
    if sum(member.file_size for member in members.values()) > LIMIT:
        raise DataError(f"The images would expand to more than {LIMIT >> 30} GiB: save fewer.")
    for member in members.values():  # NumPy reads a header, and makes room, of any size
        with archive.zip.open(member) as file:
            start = io.BytesIO(file.read(HEADER))
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(start)
        if not 0 <= math.prod(shape) * dtype.itemsize <= member.file_size and not dtype.hasobject:
            raise DataError(f"{member.filename!r} is cut off or made to fill the memory.")
    return {part: archive[key] for part, key in keys.items()}


def _find_keys(keys, split):
    present = {key.lower(): key for key in keys}
    for suffix in SUFFIXES.get(split, (split,)):
        ends = (f"_{suffix}", f"{suffix}_") if suffix else ("", "")
        found = {"stack": present["stack"]} if "stack" in present else {}
        for part, names in NAMES.items():
            spellings = [s for n in names for s in (n + ends[0], ends[1] + n) if s in present]
            found |= {part: present[spellings[0]]} if spellings else {}
        if "images" in found:
            return found
    wanted = f"x_{split}, or leave `split` out" if split else " or ".join(NAMES["images"])
    raise (NoSplitError if split else DataError)(
        f"There is no key for the images: save them as {wanted}. "
        f"Received: split={split!r}, keys {sorted(keys)}"
    )


def check_members(path, archive, packed):
    """How many bytes a zip file expands to; a `DataError` beyond `packed` times its size."""
    for name in archive.namelist():
        place = pathlib.PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or pathlib.PureWindowsPath(name).drive:
            raise DataError(f"The file {path} leads out of its folder. Received: member {name!r}")
    total = sum(member.file_size for member in archive.infolist())
    size = pathlib.Path(path).stat().st_size
    if total > max(SMALL, packed * size):
        raise DataError(
            f"The file {path} of {size:,} bytes would expand to {total / 2**30:,.1f} GiB: get it "
            "again from where you trust it."
        )
    return total
