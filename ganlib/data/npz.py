"""NumPy archives (.npz)."""

import contextlib
import io
import lzma
import math
import zipfile
import zlib
from pathlib import Path

from numpy.lib import format as npy

from ganlib.data.archives import check_members
from ganlib.data.errors import DataError, NoSplitError

LIMIT = 16 * 2**30
NAMES = {
    "images": ("x", "images", "image", "data", "arr_0"),
    "labels": ("y", "labels", "label", "targets"),
    "groups": ("group", "groups"),
}
HEADER = 2**14  # bytes; NumPy reads none with a longer description than 10,000 characters
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, KeyError),
    *(RuntimeError, MemoryError, OverflowError, TypeError, SyntaxError),
)


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
    keys = _find_keys(path, read_headers(path), split)
    arrays = read_arrays(path, keys.values(), limit)
    return {part: arrays[key] for part, key in keys.items()}


def label_shape(path):
    """The shape of a file's labels, of the training part where it is divided; None without any.

    A broken file has none, either: `load_npz` says what is wrong with it.
    """
    try:
        headers = read_headers(path)
        return headers[_find_keys(path, headers, None)["labels"]][0]
    except (DataError, KeyError):
        return None


def read_headers(path):
    """What an .npz file declares: dict of key to (shape, dtype), from each member's first bytes.

    Raises:
        DataError: the file is broken, or holds Python objects.
    """
    with _opened(path) as archive:
        return {key: header for key, _, header in _members(path, archive)}


def read_arrays(path, keys=None, limit=LIMIT):
    """Reads arrays from an .npz file, without pickle: as `numpy.load`, for a file from anyone.

    Args:
        path: path.
        keys: those to read; `None` for all.
        limit: int, the most bytes that all members together may expand to, by their headers.

    Returns:
        dict of key to array.

    Raises:
        DataError: the file is broken or beyond the limit, holds Python objects, lacks a key, or
            declares an array that it does not hold.
    """
    with _opened(path) as archive:
        members = {key: (member, header) for key, member, header in _members(path, archive)}
        total = sum(math.prod(shape) * dtype.itemsize for _, (shape, dtype) in members.values())
        if total > limit:
            raise DataError(
                f"The file {path} would expand to {total / 2**30:,.1f} GiB, beyond the limit of "
                f"{limit / 2**30:,.1f} GiB: save fewer or smaller images, as uint8, or as an image "
                "folder loaded with size=…."
            )
        arrays = {}
        for key in members if keys is None else keys:
            member, (shape, dtype) = members[key]
            if math.prod(shape) * dtype.itemsize > member.file_size:  # NumPy makes room first
                raise DataError(
                    f"The file {path} is cut off or made to fill the memory: write it again. "
                    f"Received: {key!r} declares shape {shape} of {dtype} in {member.file_size:,} "
                    "bytes"
                )
            with archive.open(member) as file:
                arrays[key] = npy.read_array(file, allow_pickle=False)
        return arrays


@contextlib.contextmanager
def _opened(path):
    """An .npz file as `zipfile.ZipFile`; what goes wrong while it is read names the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive)
            yield archive
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(
            f"The file {path} is not a whole .npz archive: write it again with "
            f"np.savez_compressed. Received: {type(error).__name__}: {error}"
        ) from error


def _members(path, archive):
    """Key, `zipfile.ZipInfo` and (shape, dtype) of each array."""
    found = []
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
        found.append((member.filename.removesuffix(".npy"), member, (shape, dtype)))
    objects = [key for key, _, (_, dtype) in found if dtype.hasobject]
    if objects:
        raise DataError(
            f"The file {path} holds Python objects, which are not read because loading them can "
            "run code: save plain arrays, all images of one shape. "
            f"Received: object arrays {', '.join(objects)}"
        )
    return found


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
