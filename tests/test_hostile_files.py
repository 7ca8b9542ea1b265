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
import types
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

from ganlib.apply import load_gan, load_segmenter, load_upscaler, segment_files, upscale_files
from ganlib.backends import variables as weights
from ganlib.data import load, load_masks, load_photos, npz
from ganlib.features import cache, digits, torch_weights

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

# -- arrays --------------------------------------------------------------------------------------


def npy(shape, dtype="|u1", content=b"", length=None):
    """A member of an .npz file that declares whatever it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
    length = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + header + content


def with_arrays(**parts):
    def write(path):
        archived(path, {f"{key}.npy": content for key, content in parts.items()})

    return write


def named(name):
    return lambda path: archived(path, {name: npy((2, 8, 8)), "0.npy": npy((1,), content=b"0")})


def whole(path):
    np.savez(path, x=noise(4, 8, 8), y=noise(4, 8, 8) // 128)


def objects(path):
    np.savez(path, x=np.array([Mark(path.parent)] * 2, object))


GB_100 = (10, 10**5, 10**5)
OTHER = "can't be read as weights: '0'"  # no weights, whatever they are
NPZ_FILES = {
    "100 GB": (with_arrays(x=npy(GB_100), y=npy((10,))), r"would expand to 93\.1 GiB|" + OTHER),
    "12 GB": (
        with_arrays(x=npy((3, 64, 2**26))),
        r"cut off or made to fill the memory: write it|" + OTHER,
    ),
    "100 GB of weights": (
        with_arrays(**{"0": npy(GB_100)}),
        r"would expand to 93\.1 GiB|no key for the images: save them as",
    ),
    "12 GB of weights": (
        with_arrays(**{"0": npy((3, 64, 2**26))}),
        r"cut off or made to fill the memory: write it|no key for the images: save them as",
    ),
    "negative": (
        with_arrays(x=npy((2**50,)), y=npy((-1, 2**50))),
        r"not a whole.*write it again.*negative",
    ),
    "long header": (
        once(with_arrays(x=npy((1,), length=2**31, content=ZEROS))),
        r"not a whole .npz archive: write it again",
    ),
    "wide dtype": (
        with_arrays(x=npy((1,), dtype="|V2000000000")),
        r"cut off or made to fill|" + OTHER,
    ),
    "outside": (named("../x.npy"), r"leads out of its folder.*get the file again.*'\.\./x\.npy'"),
    "root": (named("/x.npy"), r"leads out of its folder.*'/x\.npy'"),
    "objects": (objects, r"Python objects.*save plain arrays"),
    "pickle": (pickled, r"not a whole .npz archive: write it again.*not a zip file"),
    "cut": (cut(whole), r"not a whole .npz archive: write it again"),
    "array": (
        lambda path: path.write_bytes(npy((9,), content=bytes(9))),
        r"not a whole .npz archive",
    ),
}


def weights_of(path):
    """Loads as many variables as the file has arrays, of the shapes it declares: the worst case."""
    declared = [
        types.SimpleNamespace(shape=header[0]) for header in npz.read_headers(path).values()
    ]
    weights.load(path, declared)


NPZ_READERS = {
    "load": load,
    "masks": load_masks,
    "weights": weights_of,
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


def in_folder(reader, *places):
    """A reader of a folder in which the file lies at some place."""

    def read(path):
        folder = path.parent / "set"
        for place in places:
            (folder / place).mkdir(parents=True)
            for name in (path.name, "b.png"):
                Image.fromarray(noise(8, 8)).save(folder / place / name)
        os.replace(path, folder / places[0] / path.name)
        return reader(folder)

    return read


def first_error(function, make_model):
    def read(path):
        (result,) = function(make_model(), [path], path.parent / "out")
        raise ValueError(result["error"])

    return read


IMAGE_READERS = {
    "load": in_folder(load, "."),
    "classes": in_folder(load, "cats"),
    "photos": in_folder(load_photos, "train"),
    "images": in_folder(load_masks, "images", "masks"),
    "masks": in_folder(load_masks, "masks", "images"),
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
        ("npz", NPZ_FILES, NPZ_READERS),
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


@pytest.mark.parametrize("write", [write for write, _ in NPZ_FILES.values()], ids=NPZ_FILES)
def test_a_hostile_cache_is_as_none(tmp_path, write):
    write(tmp_path / "hostile.npz")
    assert cache._read(tmp_path / "hostile.npz", 2) is None
    assert not (tmp_path / "ran").exists()


def test_a_hostile_classifier_is_not_run(tmp_path, monkeypatch):
    path = tmp_path / "digits.keras"
    lambda_layer(path)
    monkeypatch.setattr(digits, "train_classifier", mock.Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):  # it would be trained anew
        digits.load_or_train(path, None, None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("read", [load, load_photos, load_masks])
@pytest.mark.parametrize("split", ["train", None])
def test_a_split_that_leads_out_of_the_folder(tmp_path, read, split):
    places = ("images", "masks") if read is load_masks else (".",)
    for place in places:
        for part in ("outside", "set/test", "set/validation"):
            (tmp_path / part / place).mkdir(parents=True, exist_ok=True)
            for name in "ab":
                Image.fromarray(noise(8, 8) // 128).save(tmp_path / part / place / f"{name}.png")
    (tmp_path / "set" / "train").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=r"link .*set/train leads out of the folder.*copy what"):
        read(tmp_path / "set", split=split)
    assert len(read(tmp_path / "set", split="test")) == 2


def test_a_stack_with_a_bomb_among_its_pages(tmp_path):
    pages = [Image.fromarray(noise(8, 8)) for _ in range(3)]
    for name in ("images", "masks"):
        pages[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=pages[1:])
    content = bytearray((tmp_path / "images.tif").read_bytes())
    place = struct.unpack_from("<I", content, 4)[0]
    (entries,) = struct.unpack_from("<H", content, place)
    (place,) = struct.unpack_from("<I", content, place + 2 + 12 * entries)
    (entries,) = struct.unpack_from("<H", content, place)
    for entry in range(place + 2, place + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, entry)[0] in (256, 257):  # width and height
            struct.pack_into("<HII", content, entry + 2, 4, 1, 30_000)
    (tmp_path / "images.tif").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"images\.tif has more than .* on a page.*shrink it.*ge 1$"
    ):
        load_masks(tmp_path)
