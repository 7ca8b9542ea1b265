"""Weights files are read without torch, and what is in them is never run."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from ganlib.features.torch_weights import WeightsError, read

from ganlib.features import torch_weights, unpickling

FLOATS = np.arange(12, dtype="<f4")


class Name:
    """Pickles as the global `module.name`, which need not exist here."""

    def __init__(self, module, name):
        self.parts = (module, name)


class Call:
    """Pickles as a call of a global."""

    def __init__(self, name, *args, state=None):
        self.name, self.args, self.state = name, args, state


class Storage:
    def __init__(self, *identifier):
        self.identifier = identifier


class Writer(pickle._Pickler):
    """Writes what torch writes, and what it would never write."""

    def persistent_id(self, value):
        return value.identifier if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Name):
            self.write(pickle.GLOBAL + "\n".join((*value.parts, "")).encode())
        elif isinstance(value, Call):
            self.save(value.name)
            self.save(value.args)
            self.write(pickle.REDUCE)
            if value.state is not None:
                self.save(value.state)
                self.write(pickle.BUILD)
        else:
            super().save(value, save_persistent_id)


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


def tensor(offset=0, shape=(3, 4), strides=(4, 1), key="0", count=12, kind="Float", legacy=False):
    identifier = ("storage", Name("torch", f"{kind}Storage"), key, "cpu", count)
    storage = Storage(*identifier, *([None] if legacy else []))
    return Call(REBUILD, storage, offset, shape, strides, False, OrderedDict())


def pickled(value):
    file = io.BytesIO()
    Writer(file, protocol=2).dump(value)
    return file.getvalue()


def write_zip(path, state, raw=None, order=b"little", compression=zipfile.ZIP_STORED):
    raw = {"0": FLOATS.tobytes()} if raw is None else raw
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled(state))
        archive.writestr("weights/byteorder", order)
        for key, data in raw.items():
            archive.writestr(f"weights/data/{key}", data)
    return path


def write_legacy(path, state, raw=None, keys=("0",), little=True):
    head = (torch_weights.LEGACY_MAGIC, 1001, {"little_endian": little}, state, list(keys))
    raw = struct.pack("<q", 12) + FLOATS.tobytes() if raw is None else raw
    path.write_bytes(b"".join(map(pickled, head)) + raw)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_views_of_a_storage(path, legacy):
    state = OrderedDict(
        whole=tensor(legacy=legacy),
        turned=tensor(0, (4, 3), (1, 4), legacy=legacy),
        part=tensor(5, (2,), (3,), legacy=legacy),
        scalar=tensor(11, (), (), legacy=legacy),
        empty=tensor(0, (0, 3), (3, 1), legacy=legacy),
    )
    found = read((write_legacy if legacy else write_zip)(path, state))
    assert list(found) == list(state)
    whole = FLOATS.reshape(3, 4)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["turned"], whole.T)
    np.testing.assert_array_equal(found["part"], [5.0, 8.0])
    assert (found["scalar"].shape, float(found["scalar"])) == ((), 11.0)
    assert found["empty"].shape == (0, 3)
    for array in found.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize(("kind", "dtype"), sorted(unpickling.STORAGES.items()))
def test_dtypes(path, kind, dtype):
    values = np.array([0, 1, 1, 0], dtype)
    state = {"x": tensor(0, (4,), (1,), count=4, kind=kind.removesuffix("Storage"))}
    found = read(write_zip(path, state, {"0": values.tobytes()}))["x"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_as_torch_reads_it(path, legacy):
    torch = pytest.importorskip("torch")
    state = {
        "plain": torch.randn(3, 4),
        "turned": torch.randn(2, 5, 3).permute(2, 0, 1),
        "count": torch.tensor(7),
        "half": torch.randn(4).half(),
    }
    state["shared"] = state["plain"][1:, ::2]
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    found = read(path)
    assert found.keys() == state.keys()
    for name, wanted in state.items():
        np.testing.assert_array_equal(found[name], wanted.numpy())
        assert found[name].dtype == wanted.numpy().dtype


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (os.system.__module__, "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("collections", "namedtuple"),
        ("ganlib.features.torch_weights", "read"),
    ],
)
def test_no_function_is_called(path, tmp_path, write, module, name):
    mark = tmp_path / "it was executed"
    state = {"x": Call(Name(module, name), f"touch '{mark}'")}
    with pytest.raises(WeightsError, match=rf"{module}\.{name}, which no state dict needs.*Rec"):
        read(write(path, state))
    assert not mark.exists()


def test_no_function_is_called_before_the_state_dict(path, tmp_path):
    mark = tmp_path / "it was executed"
    path.write_bytes(pickled(Call(Name("posix", "system"), f"touch '{mark}'")))
    with pytest.raises(WeightsError, match=r"posix\.system"):
        read(path)
    path.write_bytes(pickled(tensor()))  # nor may anything else stand there
    with pytest.raises(WeightsError, match="_rebuild_tensor_v2"):
        read(path)
    assert not mark.exists()


def test_stand_ins_can_not_be_changed(path):
    # A pickle may set attributes on the objects it builds.
    ordered = Name("collections", "OrderedDict")
    poisoned = Call(ordered, state={"items": REBUILD, "__class__": ordered})
    assert read(write_zip(path, poisoned, {})) == {}
    changed = {"x": Call(REBUILD, 1, 2, 3, 4, state=(None, {"shape": 5}))}
    with pytest.raises(WeightsError, match="no whole state dict"):
        read(write_zip(path, changed))
    setter = {"x": Call(ordered, state=(None, {"__init__": 1})), "y": tensor()}
    with pytest.raises(WeightsError, match="named tensors alone"):
        read(write_zip(path, setter))
    assert OrderedDict(a=1).__init__ is not None
    np.testing.assert_array_equal(read(write_zip(path, {"x": tensor()}))["x"].ravel(), FLOATS)


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (4, 4)},
        {"shape": (2, 2), "strides": (11, 1)},
        {"strides": (-4, 1)},
        {"strides": (1,)},
        {"shape": (10**12,), "strides": (0,)},  # terabytes out of one number
        {"shape": (2**40, 2**40), "strides": (0, 0)},
        {"shape": (3.0, 4)},
        {"shape": 12},
    ],
    ids=str,
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_tensor_outside_its_storage(path, view, legacy):
    state = {"kernel": tensor(**view, legacy=legacy)}
    with pytest.raises(WeightsError, match=r"Tensor 'kernel' .*Received: offset"):
        read((write_legacy if legacy else write_zip)(path, state))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_truncated_file(path, write):
    whole = write(path, {"x": tensor(legacy=write is write_legacy)}).read_bytes()
    read(path)
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError):
            read(path)


def test_a_file_can_not_fill_the_memory(path):
    path.write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")  # None, as the 2,147,483,647th to remember
    with pytest.raises(WeightsError, match=r"made to fill the memory. Received: 2,147,483,647"):
        read(path)
    endless = ()
    for _ in range(100):
        endless = (endless, endless)  # few bytes, but no end of text
    for state in ({"x": tensor(shape=endless)}, {"x": Call(REBUILD, Storage(endless, 1, 2, 3, 4))}):
        with pytest.raises(WeightsError, match="Received"):
            read(write_zip(path, state))


def test_broken_files(path, tmp_path):
    with pytest.raises(WeightsError, match="There is no weights file"):
        read(tmp_path / "missing.pth")
    path.write_bytes(b"no pickle at all")
    with pytest.raises(WeightsError, match=r"no whole state dict: get it again.*Received: "):
        read(path)
    path.write_bytes(pickled(1) + pickled(2) + pickled({}))
    with pytest.raises(WeightsError, match="does not start as"):
        read(path)
    with pytest.raises(WeightsError, match="list of storages"):
        read(write_legacy(path, {"x": tensor(legacy=True)}, keys=("1",)))
    with pytest.raises(WeightsError, match="another length"):
        read(write_legacy(path, {"x": tensor(legacy=True)}, raw=struct.pack("<q", 2**40)))
    with pytest.raises(WeightsError, match=r"cut off or too long.*40 bytes instead of 48"):
        read(write_zip(path, {"x": tensor()}, {"0": FLOATS[:10].tobytes()}))
    with pytest.raises(WeightsError, match="not compressed"):
        read(write_zip(path, {"x": tensor()}, compression=zipfile.ZIP_DEFLATED))
    for write, order in ((write_zip, {"order": b"big"}), (write_legacy, {"little": False})):
        with pytest.raises(WeightsError, match="little-endian"):
            read(write(path, {"x": tensor()}, **order))
    with pytest.raises(WeightsError, match="beyond the limit of 10 bytes"):
        read(write_zip(path, {"x": tensor()}), limit=10)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1, 2], "A state dict is a dict. Received: list"),
        ({"epoch": 3}, "named tensors alone.*Received: 'epoch': int"),
        ({"state_dict": {"x": tensor()}}, "named tensors alone.*Received: 'state_dict': dict"),
        ({3: tensor()}, "named tensors alone.*Received: 3"),
        ({"x": tensor(key=5)}, "needs a key and a length"),
        ({"x": tensor(count=-1)}, "needs a key and a length"),
        ({"x": tensor(), "y": tensor(count=3)}, "described twice"),
        ({"x": Call(REBUILD, Storage("module", "<f4", "0", "cpu", 12))}, "no plain storage"),
        ({"x": Call(REBUILD, "no storage", 0, (1,), (1,))}, "not described by whole numbers"),
    ],
)
def test_other_contents(path, state, message):
    with pytest.raises(WeightsError, match=message):
        read(write_zip(path, state))
