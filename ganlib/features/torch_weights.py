"""Reads the tensors of a PyTorch state dict (.pth) without torch, and without running its code."""

import io
import math
import pathlib
import reprlib
import zipfile

import numpy as np

from ganlib.features.unpickling import Storage, WeightsError, load, natural, state_dict

__all__ = ["WeightsError", "read"]

LIMIT = 4 * 2**30  # bytes
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read(path, limit=LIMIT):
    """Reads a state dict, in the zip format (torch ≥ 1.6) or in the older one.

    Args:
        path: path of the .pth file: a dict of names and dense CPU tensors.
        limit: int, the largest file in bytes.

    Returns:
        dict of str and arrays: C-contiguous, writable, of the tensors' own shapes and dtypes.

    Raises:
        WeightsError: the file is missing, broken or too large, names a function or class that no
            state dict needs, holds anything but tensors, or a tensor reaches outside its storage.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file; check the path. Received: {path}")
    if path.stat().st_size > limit:
        raise WeightsError(
            f"The file is beyond the limit of {limit:,} bytes: pass a higher `limit` if you trust "
            f"it. Received: {path}, {path.stat().st_size:,} bytes"
        )
    data = path.read_bytes()
    try:
        views, storages = _zip_parts(data) if data[:4] == b"PK\x03\x04" else _legacy_parts(data)
        return _tensors(views, storages, most=8 * len(data))
    except WeightsError as error:
        raise WeightsError(f"{error} (in {path})") from error
    except Exception as error:  # a broken pickle can raise anything
        raise WeightsError(
            f"The file {path} is no whole state dict: get it again, or save it with "
            f"torch.save(model.state_dict(), path). Received: {type(error).__name__}: {error}"
        ) from error


def _zip_parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
        packed = [m.filename for m in members.values() if m.compress_type != zipfile.ZIP_STORED]
        if len(pickles) != 1 or packed:
            raise WeightsError(
                "A zip file from torch.save holds one data.pkl and is not compressed. "
                f"Received: {len(pickles)} data.pkl, compressed: {packed[:3]}"
            )
        if sum(member.file_size for member in archive.infolist()) > len(data):
            raise WeightsError("The members of the zip file lie over each other: get it again.")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members:
            _check_order(archive.read(f"{folder}byteorder") == b"little")
        views, needed = state_dict(io.BytesIO(archive.read(pickles[0])))
        raw = {key: archive.read(f"{folder}data/{key}") for key in needed}
    return views, {key: _numbers(raw[key], needed[key]) for key in needed}


def _legacy_parts(data):
    """Pickles of magic number, protocol, system, state dict and keys; then the storages."""
    file = io.BytesIO(data)
    head = [load(file) for _ in range(3)]
    if head[:2] != [LEGACY_MAGIC, LEGACY_PROTOCOL] or not isinstance(head[2], dict):
        raise WeightsError(
            "The file does not start as a file of torch.save does. "
            f"Received: {data[:8].hex()}, {len(data):,} bytes"
        )
    _check_order(head[2].get("little_endian") is True)
    views, needed = state_dict(file)
    keys = load(file)
    if not isinstance(keys, list) or sorted(keys) != sorted(needed):
        raise WeightsError("The file's list of storages is not the one its tensors name.")
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if count != needed[key].count:
            raise WeightsError(
                f"Storage {key!r} has another length than its tensors say. Received: {count} "
                f"instead of {needed[key].count}"
            )
        size = count * np.dtype(needed[key].dtype).itemsize
        storages[key] = _numbers(file.read(size), needed[key])
    return views, storages


def _check_order(little):
    if not little:
        raise WeightsError("Only little-endian files are read: save it again on such a machine.")


def _numbers(raw, storage):
    size = storage.count * np.dtype(storage.dtype).itemsize
    if len(raw) != size:
        raise WeightsError(
            f"Storage {storage.key!r} is cut off or too long: get the file again. "
            f"Received: {len(raw):,} bytes instead of {size:,}"
        )
    return np.frombuffer(raw, storage.dtype)


def _tensors(views, storages, most):
    """All tensors. Honest files have some share a storage, but not enough to take `most` bytes."""
    tensors, total = {}, 0
    for name, view in views.items():
        tensors[name] = _tensor(name, view, storages)
        total += tensors[name].nbytes
        if total > most:
            raise WeightsError(
                "The tensors are made to fill the memory: save each of them once. Received: more "
                f"than {most:,} bytes up to tensor {name!r}"
            )
    return tensors


def _tensor(name, view, storages):
    storage, offset, shape, strides = view
    plain = (
        isinstance(storage, Storage)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides)
        and all(map(natural, (offset, *shape, *strides)))
    )
    described = map(reprlib.repr, (offset, shape, strides))
    received = "Received: offset {}, shape {}, strides {}".format(*described)
    if not plain:
        raise WeightsError(f"Tensor {name!r} is not described by whole numbers. {received}")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # The count as well: with strides of 0 a few bytes could claim to be terabytes.
    if count > storage.count or (count and last >= storage.count):
        raise WeightsError(
            f"Tensor {name!r} reaches outside its storage of {storage.count} numbers: the file is "
            f"broken or made to do harm. {received}"
        )
    numbers = storages[storage.key]
    if not count:
        return np.empty(shape, numbers.dtype)
    steps = [step * numbers.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps).copy(order="C")
