"""The pickle inside a state dict (.pth), read without running what it says.

A pickle can name any function and have it called. Here the unpickler is handed harmless stand-ins
for the few names that a state dict needs, and all others are refused: nothing that the file says is
imported or looked up.
"""

import collections
import pickle
import pickletools
import reprlib
import typing

# A storage class stands for its dtype. The stand-in is a string: it can't be called or changed.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


class WeightsError(ValueError):
    """A weights file that is not read. The message says why, and the remedy."""


class Storage(typing.NamedTuple):
    """A run of numbers in the file, which tensors are views of."""

    key: str
    dtype: str
    count: int


class View(typing.NamedTuple):
    """A tensor before its numbers are read."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def load(file, admitted=None, storage=None):
    """Reads the next pickle of a file.

    Args:
        file: binary file that can seek.
        admitted: dict from (module, name) to what stands for it.
        storage: function from a persistent id to what stands for the storage.

    Raises:
        WeightsError: the pickle asks for anything else.
    """
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        # The unpickler makes a table as long as the highest number that the file names.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise WeightsError(f"The pickle is made to fill the memory. Received: {argument:,}")
    file.seek(start)
    return _Unpickler(file, admitted or {}, storage).load()


class _Unpickler(pickle.Unpickler):
    """Admits numbers, strings and containers; other names only as `admitted` gives them."""

    def __init__(self, file, admitted, storage):
        super().__init__(file)
        self._admitted = admitted
        self._storage = storage

    def find_class(self, module, name):
        if (module, name) in self._admitted:
            return self._admitted[module, name]
        raise WeightsError(
            f"The file asks for {module}.{name}, which no state dict needs and which is not loaded "
            "because loading it can run code: save the weights alone, with "
            f"torch.save(model.state_dict(), path). Received: {module}.{name}"
        )

    def persistent_load(self, identifier):
        if self._storage is None:
            raise WeightsError("The file's head names a storage.")
        return self._storage(identifier)


def state_dict(file):
    """Reads the next pickle: dict of `View` by name, and dict of the `Storage` they need by key."""
    needed = {}

    def storage(identifier):
        kind, dtype, key, _, count, *view = identifier
        if kind != "storage" or dtype not in STORAGES.values() or view not in ([], [None]):
            raise WeightsError(f"This is no plain storage. Received: {reprlib.repr(identifier)}")
        if not isinstance(key, str) or not natural(count):
            raise WeightsError(
                f"A storage needs a key and a length. Received: {reprlib.repr(identifier)}"
            )
        found = needed.setdefault(key, Storage(key, dtype, count))
        if found != Storage(key, dtype, count):
            raise WeightsError(
                f"Storage {key!r} is described twice. Received: {reprlib.repr(identifier)}"
            )
        return found

    # Made anew for each file: a pickle can set attributes on what it is given.
    def rebuild(storage, offset, shape, strides, *_):
        return View(storage, offset, shape, strides)

    admitted = {("torch", name): dtype for name, dtype in STORAGES.items()}
    admitted["torch._utils", "_rebuild_tensor_v2"] = rebuild
    admitted["collections", "OrderedDict"] = collections.OrderedDict
    state = load(file, admitted, storage)
    if not isinstance(state, dict):
        raise WeightsError(f"A state dict is a dict. Received: {type(state).__name__}")
    # Not state.items(): a pickle can put its own `items` on the instance.
    views = dict(dict.items(state))
    for name, view in views.items():
        if not isinstance(name, str) or not isinstance(view, View):
            raise WeightsError(
                "A state dict holds named tensors alone: save model.state_dict(), without "
                f"optimizer or epoch. Received: {reprlib.repr(name)}: {type(view).__name__}"
            )
    return views, needed


def natural(value):
    """Whether a value is a whole number from 0 on, and no bool."""
    return type(value) is int and value >= 0
