"""Data from anyone: refused in one line that names it; nothing in it runs or fills memory."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from draws import RNG
from PIL import Image

from ganlib.data import load, npz

SIDE = 50_000  # pixels


def noise(*shape):
    return RNG.integers(0, 256, shape, "uint8")


class Mark:
    """Pickled, it is a call that leaves a mark."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "ran"),)


def pickled(path):
    path.write_bytes(pickle.dumps(Mark(path.parent)))


# -- arrays ----------------------------------------------------------------------------------------


def npy(shape, dtype="|u1", content=b"", length=None):
    """A member of an .npz file that declares whatever it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
    length = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + header + content


def archive(**parts):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in parts.items():
                file.writestr(name, content)

    return write


def damaged(path):
    np.savez_compressed(path, x=noise(9, 8, 8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


CUT = r"'x\.npy' is cut off or made to fill the memory"
NPZ_FILES = {
    "100 GB": (archive(**{"x.npy": npy((10, 10**5, 10**5))}), CUT),
    "negative": (archive(**{"x.npy": npy((-1, 2**50))}), CUT),
    "long header": (
        archive(**{"x.npy": npy((1,), length=2**31, content=bytes(65 * 2**20))}),
        r"not a whole .npz archive",
    ),
    "wide dtype": (archive(**{"x.npy": npy((1,), "|V2000000000")}), CUT),
    "objects": (
        lambda path: np.savez(path, x=np.array([Mark(path.parent)] * 2, object)),
        r"plain arrays.*allow_pickle=False",
    ),
    "pickle": (pickled, r"not a whole .npz archive"),
    "damaged": (damaged, r"not a whole .npz archive"),
    "no array": (archive(**{"x.npy": b"no array at all"}), r"not a whole .npz archive"),
}


@pytest.mark.parametrize(("write", "message"), NPZ_FILES.values(), ids=NPZ_FILES)
def test_an_archive_is_refused_in_one_line(tmp_path, write, message):
    check_refusal(tmp_path / "hostile.npz", write, load, message)


def test_an_archive_of_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "LIMIT", 500)
    np.savez(tmp_path / "a.npz", x=noise(9, 8, 8))
    with pytest.raises(ValueError, match=r"would expand to more than"):
        load(tmp_path / "a.npz")


# -- images ----------------------------------------------------------------------------------------


def png(path, side=SIDE):
    """A PNG of a hundred bytes that declares 2.5 gigapixels."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)}
    parts |= {b"IDAT": zlib.compress(bytes(100)), b"IEND": b""}
    content = b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c))
        for kind, c in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def cut_png(path):
    file = io.BytesIO()
    Image.fromarray(noise(32, 32, 3)).save(file, "PNG")
    path.write_bytes(file.getvalue()[:600])


IMAGE_FILES = {
    "bomb": (png, r"shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS"),
    "bomb below twice": (lambda path: png(path, 12_000), r"shrink it, or raise .*144,000,000"),
    "postscript": (  # what Pillow would have another program run
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        r"cannot be read: replace or delete the file, or save it as PNG",
    ),
    "pickle": (pickled, r"cannot be read: replace or delete"),
    "cut": (cut_png, r"cannot be read: replace or delete"),
    "pipe": (os.mkfifo, r"no image file there"),
}


@pytest.mark.parametrize("place", [".", "images"])
@pytest.mark.parametrize(("write", "message"), IMAGE_FILES.values(), ids=IMAGE_FILES)
def test_an_image_is_refused_in_one_line(tmp_path, write, message, place):
    def read(path):
        for folder in {place, "masks" if place == "images" else place}:
            (tmp_path / "set" / folder).mkdir(parents=True)
            Image.fromarray(noise(8, 8)).save(tmp_path / "set" / folder / path.name)
        os.replace(path, tmp_path / "set" / place / path.name)
        return load(tmp_path / "set")

    check_refusal(tmp_path / "hostile.png", write, read, message)


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
    with pytest.raises(ValueError, match=r"images\.tif cannot be read: shrink it.*page 1$"):
        load(tmp_path)


def check_refusal(path, write, read, message):
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 48 * 2**20
    finally:
        tracemalloc.stop()
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (path.parent / "ran").exists()
