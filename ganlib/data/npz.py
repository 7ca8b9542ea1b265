"""NumPy archives (.npz), and zip archives in general, that may come from anyone."""

import contextlib
import io
import math
import pathlib
import zipfile

from numpy.lib import format as npy

from ganlib.data.errors import DataError, NoSplitError

LIMIT = 16 * 2**30  # bytes that all arrays together may take
SMALL = 64 * 2**20  # bytes that an archive may expand to, however small it is
NAMES = {
    "images": ("x", "images", "image", "data", "arr_0"),
    "labels": ("y", "labels", "label", "targets"),
    "masks": ("masks", "mask"),
    "groups": ("group", "groups"),
}
SUFFIXES = {None: ("", "train"), "validation": ("validation", "valid", "val")}  # of a split
HEADER = 2**14  # bytes; NumPy reads none with a longer description than 10,000 characters


def load_npz(path, split=None):
    """Reads images and what goes with them from an .npz file, without pickle.

    The keys are `x`, `y` (labels, or masks of the images' size) and `group`, or with a split
    `x_train`, `y_train`, `group_train`; `NAMES` has more spellings, in any case, and the split may
    stand on either side of them. `stack` says whether consecutive images are neighbours.

    Returns:
        dict with the array `images` and, if there, `labels`, `masks`, `groups` and `stack`.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    keys = _find_keys(path, read_headers(path), split)
    arrays = read_arrays(path, keys.values())
    parts = {part: arrays[key] for part, key in keys.items()}
    if "labels" in parts and parts["labels"].ndim > 2:
        parts["masks"] = parts.pop("labels")
    if "stack" in parts:
        parts["stack"] = bool(parts["stack"].any())
    return parts


def read_headers(path):
    """What an .npz file declares, key → (shape, dtype); errors as of `read_arrays`."""
    with _opened(path) as archive:
        return {key: header for key, (_, header) in _members(path, archive).items()}


def read_arrays(path, keys=None, limit=LIMIT):
    """Reads arrays from an .npz file, without pickle: as `numpy.load`, for a file from anyone.

    Args:
        path: path.
        keys: those to read; `None` for all.
        limit: int, the most bytes that all arrays together may take, by their headers.

    Returns:
        dict of key to array.

    Raises:
        DataError: the file is broken or beyond the limit, holds Python objects, lacks a key, or
            declares more than it holds.
    """
    with _opened(path) as archive:
        members = _members(path, archive)
        sizes = {key: math.prod(h[0]) * h[1].itemsize for key, (_, h) in members.items()}
        if sum(sizes.values()) > limit:
            raise DataError(
                f"The file {path} would expand to {sum(sizes.values()) / 2**30:,.1f} GiB, beyond "
                f"the limit of {limit / 2**30:,.1f} GiB: save fewer or smaller images, as uint8, "
                "or as an image folder loaded with size=…."
            )
        arrays = {}
        for key in members if keys is None else keys:
            member, header = members[key]
            if sizes[key] > member.file_size:  # NumPy makes room first
                raise DataError(
                    f"The file {path} is cut off or made to fill the memory: write it again. "
                    f"Received: {key!r} declares {header} in {member.file_size:,} bytes"
                )
            with archive.open(member) as file:
                arrays[key] = npy.read_array(file, allow_pickle=False)
        return arrays


def check_members(path, archive, packed=None):
    """How many bytes an archive expands to, by its table of contents.

    Args:
        path: path of the file, for messages.
        archive: `zipfile.ZipFile`.
        packed: number or `None`, how many times its own size the archive may expand to.

    Raises:
        DataError: it expands to more, or a member's name leads out of the folder that it would be
            unpacked into.
    """
    for name in archive.namelist():
        place = pathlib.PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or pathlib.PureWindowsPath(name).drive:
            raise DataError(
                f"The file {path} has a member that leads out of its folder, which may be an "
                f"attack: get the file again from where you trust it. Received: {name!r}"
            )
    total = sum(member.file_size for member in archive.infolist())
    size = pathlib.Path(path).stat().st_size
    if packed and total > max(SMALL, packed * size):
        raise DataError(
            f"The file {path} of {size:,} bytes would expand to {total / 2**30:,.1f} GiB, which "
            "may be an attack: get the file again from where you trust it."
        )
    return total


@contextlib.contextmanager
def _opened(path):
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive)
            yield archive
    except DataError:
        raise
    except Exception as error:  # zip, decompression and NumPy have a dozen kinds
        raise DataError(
            f"The file {path} is not a whole .npz archive: write it again with "
            f"np.savez_compressed. Received: {type(error).__name__}: {error}"
        ) from error


def _members(path, archive):
    """Key → `zipfile.ZipInfo` and (shape, dtype) of each array."""
    found = {}
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        with archive.open(member) as file:
            start = io.BytesIO(file.read(HEADER))  # a header can declare 4 GiB for itself
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(start)
        if min(shape, default=0) < 0:
            raise ValueError(f"a negative shape, {shape}")
        if dtype.hasobject:
            raise DataError(
                f"The file {path} holds Python objects, which are not read because loading them can"
                " run code: save plain arrays, all images of one shape. Received: "
                f"{member.filename}"
            )
        found[member.filename.removesuffix(".npy")] = member, (shape, dtype)
    return found


def _find_keys(path, headers, split):
    present = {key.lower(): key for key in headers}
    for suffix in SUFFIXES.get(split, (split,)):
        ends = (f"_{suffix}", f"{suffix}_") if suffix else ("", "")
        keys = {"stack": present["stack"]} if "stack" in present else {}
        for part, names in NAMES.items():
            spellings = [s for n in names for s in (n + ends[0], ends[1] + n) if s in present]
            keys |= {part: present[spellings[0]]} if spellings else {}
        if "images" in keys:
            return keys
    wanted = f"{NAMES['images'][0]}_{split}" if split else " or ".join(NAMES["images"])
    raise (NoSplitError if split else DataError)(
        f"The file {path} has no key for the images: save them as {wanted}, or leave `split` out "
        f"and divide them with .split(0.8, seed=0). Received: split={split!r}, keys "
        f"{sorted(headers)}"
    )
