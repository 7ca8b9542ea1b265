"""What networks see, kept under the content of the images."""

import hashlib
import os
import pathlib
import tempfile

import filelock
import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.npz import read_arrays
from ganlib.features.network import Seen, unpacked


def cached(network, images, folder, value_range=None, progress=False):
    """`network(images)`, kept in a folder under the content of both.

    Args:
        network: a `Network`.
        images, value_range, progress: as the network takes them.
        folder: path, made where it is missing. One .npz file for each set of images, written whole
            or not at all; a damaged one is made again.

    Returns:
        `Seen`.
    """
    images, value_range = unpacked(images, value_range)
    path = pathlib.Path(folder) / f"{network.name}-{_key(network, images, value_range)}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of several processes that want the same, one works and the others wait for it.
    with filelock.FileLock(path.with_suffix(".lock")):
        if seen := _read(path, len(images)):
            return seen
        seen = network(images, value_range, progress)
        _write(path, seen)
    return seen


def _read(path, n):
    """What is kept of n images, or None."""
    if not path.is_file():
        return None
    try:
        seen = Seen(**read_arrays(path, Seen._fields))
    except DataError:
        return None
    return seen if all(part.ndim and len(part) == n for part in seen) else None


def _write(path, seen):
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="writing-", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **seen._asdict())
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)


def _key(network, images, value_range):
    digest = hashlib.sha256()
    parts = (network.name, network.checksum, network.resize, network.size, value_range)
    digest.update(repr([*map(str, parts), images.dtype.str, images.shape]).encode())
    digest.update(np.ascontiguousarray(images))
    return digest.hexdigest()
