"""Files from anyone: each is refused in one line that names it; nothing in it runs or fills memory.

What a file would run leaves a mark; memory is measured with tracemalloc, which NumPy tells, too.
"""

import functools
import io
import json
import os
import pickle
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from unittest import mock

import h5py
import keras
import numpy as np
import pytest
from image_models import make_brightness, make_nearest, noise
from keras import layers
from PIL import Image
from test_torch_weights import tensor, write_zip

from ganlib.features import cache, digits, torch_weights
from ganlib.sampling import load_gan
from ganlib.segmentation import load_segmenter, segment_files
from ganlib.upscaling import load_upscaler, upscale_files

MOST = 48 * 2**20  # bytes that a refusal may take; the least of the bombs is larger
SIDE = 50_000  # pixels
ZEROS = bytes(65 * 2**20)

# -- models --------------------------------------------------------------------------------------


@functools.cache
def members():
    """What is in a small .keras file."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/good.keras")
        with zipfile.ZipFile(f"{folder}/good.keras") as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def archived(path, parts, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def once(write):
    """A writer that takes its time the first time alone; for files that depend on nothing."""
    content = []

    def write_again(path):
        if not content:
            write(path)
            content.append(path.read_bytes())
        path.write_bytes(content[0])

    return write_again


def with_layer(module, kind, /, **config):
    """A model with one more layer, of which the file says all that there is to it."""

    def write(path):
        parts = members()
        described = json.loads(parts["config.json"])
        layer = {"module": module, "class_name": kind, "config": config, "registered_name": None}
        described["config"]["layers"].append(layer)
        described.pop("build_config", None)
        archived(path, {**parts, "config.json": json.dumps(described)})

    return write


def activation(module, function):
    stated = {"module": module, "class_name": "function", "config": function}
    return with_layer("keras.layers", "Activation", name="a", activation=stated)


def lambda_layer(path):
    mark = str(path.parent / "ran")
    run = layers.Lambda(lambda x: (open(mark, "w").close(), x)[1], output_shape=(4,))
    keras.Sequential([keras.Input((4,)), run]).save(path)
    (path.parent / "ran").unlink(missing_ok=True)


def terabytes(path):
    parts = members()
    described = json.loads(parts["config.json"])
    described.pop("build_config", None)
    described["config"]["build_input_shape"] = [None, 10**6]
    first, dense = described["config"]["layers"]
    first["config"]["batch_shape"] = [None, 10**6]
    dense["config"]["units"] = 10**6
    dense.pop("build_config", None)
    archived(path, {**parts, "config.json": json.dumps(described)})


def with_parts(**changes):
    def write(path):
        archived(path, {**members(), **changes})

    return write


def with_datasets(change):
    """A model whose variables lie elsewhere or are said to be huge."""

    def write(path):
        parts = members()
        file = io.BytesIO(parts["model.weights.h5"])
        np.ones(16, "float32").tofile(path.parent / "elsewhere")
        with h5py.File(file, "a") as opened:
            found = []
            opened.visititems(lambda key, x: found.append(key) if hasattr(x, "dtype") else None)
            for key in found:
                shape = opened[key].shape
                del opened[key]
                change(opened, key, shape, str(path.parent / "elsewhere"))
        archived(path, {**parts, "model.weights.h5": file.getvalue()})

    return write


def huge(file, key, shape, _):
    file.create_dataset(key, shape=(10**6, 25_000), dtype="float32", chunks=(1000, 1000))


def external(file, key, shape, place):
    file.create_dataset(key, shape, "float32", external=[(place, 0, 4 * int(np.prod(shape)))])


def virtual(file, key, shape, place):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource(place, key, shape)
    file.create_virtual_dataset(key, layout)


def soft(file, key, shape, place):
    file[key] = h5py.SoftLink("/elsewhere")


def link(file, key, shape, place):
    file[key] = h5py.ExternalLink(place, key)


class Mark:
    """Pickled, it is a call that leaves a mark."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "ran"),)


def pickled(path):
    path.write_bytes(pickle.dumps(Mark(path.parent)))


def cut(write):
    def write_half(path):
        write(path)
        os.truncate(path, path.stat().st_size // 2)

    return write_half


KERAS_FILES = {
    "lambda": (lambda_layer, r"no code such as a Lambda.*`Lambda` layer"),
    "os.system": (activation("os", "system"), r"no code.*Received: .*'system'"),
    "get_file": (activation("keras.utils", "get_file"), r"no code.*Received: .*get_file"),
    "eval": (with_layer("builtins", "eval"), r"no code.*Received: .*eval"),
    "its own file": (
        with_layer("keras.layers", "StringLookup", name="s", vocabulary="/etc/hostname"),
        r"no code.*Received: ",
    ),
    "SavedModel": (with_layer("keras.layers", "TFSMLayer", filepath="/tmp"), r"`TFSMLayer`"),
    "terabytes": (terabytes, r"describes a model of 3,725\.3 GiB and holds .*Get the file again"),
    "deep": (with_parts(**{"config.json": b"[" * 10**5}), r"whole file.*recursion"),
    "zeros": (once(with_parts(**{"config.json": ZEROS})), r"would expand to 0\.1 GiB.*again"),
    "outside": (with_parts(**{"assets/../../x": b""}), r"leads out of its folder.*again.*'assets"),
    "root": (with_parts(**{"/x": b""}), r"leads out of its folder.*Received: '/x'"),
    "drive": (with_parts(**{"C:\\x": b""}), r"leads out of its folder.*Received: 'C:"),
    "huge dataset": (with_datasets(huge), r"whole file from .* variables of [1-9][\d,]{10,} bytes"),
    "external dataset": (with_datasets(external), r"whole file from .* lies outside of the file"),
    "virtual dataset": (with_datasets(virtual), r"whole file from .* lies outside of the file"),
    "external link": (with_datasets(link), r"whole file from model\.save.* is a link"),
    "soft link": (with_datasets(soft), r"whole file from model\.save.* is a link"),
    "cut": (cut(with_parts()), r"whole file.*not a zip file"),
    "pickle": (pickled, r"whole file.*not a zip file"),
}
KERAS_READERS = {
    "gan": load_gan,
    "upscaler": load_upscaler,
    "segmenter": load_segmenter,
}

# -- images --------------------------------------------------------------------------------------


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(path, side=SIDE):
    """A PNG of a hundred bytes that declares 2.5 gigapixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def postscript(path):
    """What Pillow would have another program run."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def cut_png(path):
    Image.fromarray(noise(32, 32, 3)).save(path)
    os.truncate(path, 600)


def to_itself(path):
    path.symlink_to(path.name)


IMAGE_FILES = {
    "bomb": (png, r"larger than .* pixels.*shrink the file, or raise PIL.Image.MAX_IMAGE_PIXELS"),
    "bomb below twice": (lambda path: png(path, 12_000), r"larger than .* pixels.*shrink the file"),
    "postscript": (postscript, r"cannot be read: replace or delete the file, or save it as PNG"),
    "pickle": (pickled, r"cannot be read: replace or delete"),
    "cut": (cut_png, r"cannot be read: replace or delete"),
    "pipe": (os.mkfifo, r"no file to read.*remove it|no image file there"),
    "to itself": (to_itself, r"no file to read.*remove it|leads nowhere: remove|no image file the"),
}


def first_error(function, make_model):
    def read(path):
        (result,) = function(make_model(), [path], path.parent / "out")
        raise ValueError(result["error"])

    return read


IMAGE_READERS = {
    "upscale": first_error(upscale_files, make_nearest),
    "segment": first_error(segment_files, make_brightness),
}

# -- weights from torch --------------------------------------------------------------------------


def many_views(path):
    """Of one storage: 600 kB that would become 80 MB."""
    state = {str(i): tensor(0, (10**5,), (1,), count=10**5) for i in range(200)}
    write_zip(path, state, {"0": bytes(4 * 10**5)})


def overlapping(path):
    """A zip file whose table names one stretch of the file a hundred times."""
    size, names = 10**5, [f"a/data/{i}" for i in range(100)]
    record = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, size, size, 0, 0)
    table = b"".join(
        b"PK\x01\x02"
        + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, size, size, len(name), *[0] * 6)
        + name.encode()
        for name in ["a/data.pkl", *names]
    )
    body = record + bytes(size)
    end = struct.pack("<HHHHIIH", 0, 0, 101, 101, len(table), len(body), 0)
    path.write_bytes(body + table + b"PK\x05\x06" + end)


TORCH_FILES = {
    "many views": (many_views, r"made to fill the memory: save each of them once"),
    "overlapping": (overlapping, r"lie over each other: get it again"),
    "pickle": (
        pickled,
        r"no whole state dict: get it again|not loaded because loading it can run code: save",
    ),
}

# -- tests ---------------------------------------------------------------------------------------

CASES = [
    pytest.param(write, read, suffix, message, id=f"{reader}-{name}")
    for suffix, files, readers in (
        ("keras", KERAS_FILES, KERAS_READERS),
        ("png", IMAGE_FILES, IMAGE_READERS),
        ("pth", TORCH_FILES, {"torch": torch_weights.read}),
    )
    for name, (write, message) in files.items()
    for reader, read in readers.items()
]


@pytest.mark.parametrize(("write", "read", "suffix", "message"), CASES)
def test_is_refused_in_one_line(tmp_path, write, read, suffix, message):
    path = tmp_path / f"hostile.{suffix}"
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path.parent / "x").exists()


def test_a_hostile_cache_is_as_none(tmp_path):
    np.savez(tmp_path / "hostile.npz", features=np.array([Mark(tmp_path)] * 2, object))
    assert cache._read(tmp_path / "hostile.npz", 2) is None
    assert not (tmp_path / "ran").exists()


def test_a_hostile_classifier_is_not_run(tmp_path, monkeypatch):
    path = tmp_path / "digits.keras"
    lambda_layer(path)
    monkeypatch.setattr(digits, "train_classifier", mock.Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):  # it would be trained anew
        digits.load_or_train(path, None, None)
    assert not (tmp_path / "ran").exists()
