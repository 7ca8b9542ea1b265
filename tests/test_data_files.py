"""Picture files, folders of them, folders with masks, TIFF stacks."""

import os
import pickle
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib

import numpy as np
import pytest
from draws import RNG
from PIL import Image

from ganlib.data import DataError, NoSplitError, load, npz
from ganlib.data.files import EXTENSIONS, open_image


def noise(*shape):
    return RNG.integers(0, 256, shape, "uint8")


def masks_of(images):
    """Masks that the images tell, so that pairs can be checked."""
    return (images > 127).astype("uint8")


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)


def save_images(folder, names, size=(8, 6), mode="RGB"):
    """Writes one distinct image per name; `size` is (width, height)."""
    for i, name in enumerate(names):
        save(folder / name, Image.new("RGB", size, (10 + i, 2 * i, 3 * i)), mode)
    return folder


def save_masked(root, names, image_end=".png", mask_end=".png", places=("images", "masks")):
    """A pair a name; returns the images by name."""
    images = dict(zip(names, noise(len(names), 6, 8), strict=True))
    for name in sorted(names, reverse=True):
        save(root / places[1] / f"{name}{mask_end}", 255 * masks_of(images[name]))
        save(root / places[0] / f"{name}{image_end}", images[name])
    return images


def save_stack(path, arrays, **options):
    first, *rest = (Image.fromarray(array) for array in arrays)
    save(path, first, save_all=True, append_images=rest, **options)


def png(path, side, depth=8, colour=2, rows=b""):
    """A PNG of any depth and declared side, which Pillow would not write."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)}
    parts |= {b"IDAT": zlib.compress(rows), b"IEND": b""}
    chunks = [
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c))
        for kind, c in parts.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


DEEP = {
    "grey.png": lambda path: Image.fromarray(np.full((4, 4), 40000, "uint16")).save(path),
    "rgb.png": lambda path: png(path, 4, 16, 2, bytes(100)),
    "float.tif": lambda path: Image.fromarray(np.ones((4, 4), "float32")).save(path),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_refused_by_the_files_own_depth(tmp_path, name):
    DEEP[name](tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} has more than 8 bits.*\.npz of floats.*\d\d bit"):
        load(tmp_path)


@pytest.mark.parametrize("end", ["jpg", "tif"])
def test_exif_orientation_is_applied_once(tmp_path, end):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to view
    picture = np.zeros((8, 16, 3), "uint8")
    picture[:, 8:] = 255
    save(tmp_path / f"a.{end}", picture, exif=exif)
    (image,) = load(tmp_path).images
    assert image.shape == (16, 8, 3)
    assert image[:8].mean() < 20


def test_broken_exif_is_none(tmp_path):
    """Whatever stands in it, the picture is read."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x0131] = 6, 1.5, "ganlib"
    good = exif.tobytes()
    path = tmp_path / "a.jpg"
    for trial in range(100):
        block = bytearray(good)
        for place in RNG.integers(10, len(block), 4 if trial else 0):
            block[place] = RNG.integers(256)
        save(path, noise(8, 16, 3), exif=bytes(block))
        assert open_image(path).size in [(8, 16), (16, 8)]


def test_folder_is_sorted_and_takes_every_extension(tmp_path):
    names = [f"{chr(ord('z') - i)}{end}" for i, end in enumerate(EXTENSIONS) if end != ".pbm"]
    save_images(tmp_path, names)
    for other in (".hidden.png", "Thumbs.db", "notes.txt", "more.heic"):
        (tmp_path / other).write_text("no image")
    images = load(tmp_path, channels=1)
    assert images.names == tuple(sorted(names))
    assert images.origin.endswith("Other files passed over: .heic, .txt.")


def test_splits_whatever_else_is_hidden_or_empty_beside_them(tmp_path):
    for name in ("train", "TEST", "Validation"):
        save_images(tmp_path / name, ["b/2.png", "a/1.png", "b/old/3.png"])
    save_images(tmp_path, [".ipynb_checkpoints/a.png", "__MACOSX/train/a/1.png"])
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    for split in ("train", "validation", "test", None):
        images = load(tmp_path, split=split)
        assert list(images.labels) == [0, 1, 1]  # the first level of subfolders
    save_images(tmp_path, ["extra/3.png"])
    assert len(load(tmp_path, "test")) == 3
    with pytest.raises(DataError, match=r"images beside its parts.*extra"):
        load(tmp_path)
    with pytest.raises(NoSplitError, match=r"no subfolder 'dev'"):
        load(tmp_path, split="dev")
    save_images(tmp_path / "empty", ["test/4.png"])
    with pytest.raises(DataError, match=r"none to train on.*choose a `split`"):
        load(tmp_path / "empty")


def test_folder_with_mixed_shapes(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    save_images(tmp_path, ["c.png"], size=(10, 4))
    with pytest.raises(DataError, match=r"differ in size.*size=….*any_size.*4×10 to 6×8"):
        load(tmp_path)
    assert load(tmp_path, size=4).shape == (3, 4, 4, 3)
    shapes = [image.shape for image in load(tmp_path, any_size=True).images]
    assert shapes[1:] == [(6, 8, 3), (4, 10, 3)]
    save_images(tmp_path, ["c.png"], mode="L")
    with pytest.raises(DataError, match=r"same number of channels.*'c\.png'"):
        load(tmp_path, any_size=True)


@pytest.mark.parametrize(
    ("image_end", "mask_end", "places"),
    [
        (".png", ".png", ("images", "masks")),
        (".tif", "-mask.png", ("image", "Mask")),
        (".bmp", "_gt.png", ("imgs", "labels")),
    ],
)
def test_pairs_are_made_by_name(tmp_path, image_end, mask_end, places):
    names = ["b", "sub/größe", "a_seg", "slice10", "slice9"]
    images = save_masked(tmp_path, names, image_end, mask_end, places)
    for path in (tmp_path / places[1]).glob("sub/*"):  # one character as two
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    masked = load(str(tmp_path), masks=True)
    assert masked.names == ("a_seg", "b", "slice9", "slice10", "sub/größe")
    for name, image, mask in zip(masked.names, masked.images, masked.masks, strict=True):
        np.testing.assert_array_equal(image[..., 0], images[name])
        np.testing.assert_array_equal(mask[..., 0], masks_of(images[name]))
    assert load(tmp_path).checksum() == masked.checksum()  # nor are masks taken for pictures


def test_partners_that_are_missing_or_doubled(tmp_path):
    save_masked(tmp_path, "abc")
    save(tmp_path / "masks" / "b_mask.png", noise(6, 8))
    with pytest.raises(DataError, match=r"1 of 3 masks, such as .*b\.png, .*b_mask\.png$"):
        load(tmp_path)
    for name in ("b", "b_mask", "c"):
        (tmp_path / "masks" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"images have no partner.*2 of 3 images, such as .*b\.png"):
        load(tmp_path)


@pytest.mark.parametrize("grey", [True, False])
def test_masks_of_all_modes(tmp_path, grey):
    image = noise(6, 8)
    mask = masks_of(image)
    light = Image.fromarray(255 * mask)
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.ravel().tolist())
    # Black first, or, as of `quantize`, white first; colours are in the order of their classes.
    palette.putpalette([0, 0, 0, 255, 255, 255] if grey else [200, 0, 0, 0, 0, 100])
    saved = {"palette": palette, "bits": light.convert("1")}
    saved |= {"quantized": light.quantize(2)} if grey else {}
    saved |= {mode: light.convert(mode) for mode in ("L", "RGB", "RGBA", "LA")}
    for name, picture in saved.items():
        save(tmp_path / "images" / f"{name}.png", image)
        save(tmp_path / "masks" / f"{name}.png", picture)
    masked = load(tmp_path)
    for name, found in zip(masked.names, masked.masks, strict=True):
        np.testing.assert_array_equal(found[..., 0], mask, err_msg=name)


def alpha_mask(folder):
    for path in (folder / "masks").iterdir():
        mask = Image.new("LA", (8, 6))
        mask.putalpha(Image.open(path))
        mask.save(path)


def spoil(array):
    return lambda folder: save(folder / "masks" / "b.png", array)


def cut(folder):
    os.truncate(folder / "images" / "b.png", 60)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (spoil(noise(6, 8, 3)), r"mask .*b\.png must be black and white.*3 channels"),
        (spoil(masks_of(noise(6, 4))), r"set: The mask of b must.*mask \(6, 4, 1\)"),
        (spoil(noise(6, 8) % 3), r"set: The mask of b must be binary.*values \[0, 1, 2"),
        (alpha_mask, r"a\.png must be black and white.*alpha from 0 to 255$"),
        (cut, r"images.b\.png cannot be read: replace or delete"),
    ],
)
def test_folder_errors_name_the_file(tmp_path, spoiled, message):
    save_masked(tmp_path / "set", "abc")
    spoiled(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "set", masks=True)


def test_stack(tmp_path):
    images = noise(5, 6, 8)
    save_stack(tmp_path / "test" / "images.tif", images)
    save_stack(tmp_path / "test" / "masks.tiff", 255 * masks_of(images), compression="tiff_deflate")
    masked = load(tmp_path, "test")
    assert (masked.stack, masked.names) == (True, ("0", "1", "2", "3", "4"))
    np.testing.assert_array_equal(masked.images[..., 0], images)
    np.testing.assert_array_equal(masked.masks[..., 0], masks_of(images))


def test_stack_errors_name_file_and_page(tmp_path, monkeypatch):
    save_stack(tmp_path / "images.tif", noise(18, 6, 8))
    save_stack(tmp_path / "masks.tif", noise(18, 6, 8, 3))
    with pytest.raises(DataError, match=r"mask page 0 of .*masks\.tif must be black and white"):
        load(tmp_path)
    for most, page in ((30, 0), (50, 16)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(DataError, match=rf"images\.tif .*shrink it.* pixels by page {page}$"):
            load(tmp_path)
    with pytest.raises(DataError, match=r"images\.tif has several pages.*18 pages"):
        open_image(tmp_path / "images.tif")


@pytest.mark.parametrize("share", [0.2, 0.84])
def test_stack_that_is_cut_short(tmp_path, share):
    for name in ("images.tif", "masks.tif"):
        save_stack(tmp_path / name, noise(5, 20, 30))
        os.truncate(tmp_path / name, int(share * (tmp_path / name).stat().st_size))
    with pytest.raises(DataError, match=r"images\.tif cannot be read: replace or delete"):
        load(tmp_path)


# Files from anyone are refused in one line; nothing in them runs or fills memory.
class Mark:
    """Pickled, it is a call that leaves a mark."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "ran"),)


def pickled(path):
    path.write_bytes(pickle.dumps(Mark(path.parent)))


def npy(shape, content=b"", length=None):
    """A member of an .npz file that declares whatever it likes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    length = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + header + content


def archive(content):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("x.npy", content)

    return write


def damaged(path):
    np.savez_compressed(path, x=noise(9, 8, 8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


CUT, BROKEN = r"'x\.npy' is cut off or made to fill the memory", r"not a whole .npz archive"
NPZ_FILES = {
    "100 GB": (archive(npy((10, 10**5, 10**5))), CUT),
    "negative": (archive(npy((-1, 2**50))), CUT),
    "long header": (archive(npy((1,), bytes(65 * 2**20), 2**31)), BROKEN),
    "objects": (lambda path: np.savez(path, x=np.array([Mark(path.parent)] * 2, object)), BROKEN),
    "pickle": (pickled, BROKEN),
    "damaged": (damaged, BROKEN),
}


@pytest.mark.parametrize(("write", "message"), NPZ_FILES.values(), ids=NPZ_FILES)
def test_an_archive_is_refused_in_one_line(tmp_path, write, message):
    check_refusal(tmp_path / "hostile.npz", write, load, message)


def test_an_archive_of_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "LIMIT", 500)
    np.savez(tmp_path / "a.npz", x=noise(9, 8, 8))
    with pytest.raises(ValueError, match=r"would expand to more than"):
        load(tmp_path / "a.npz")


IMAGE_FILES = {
    "bomb": (lambda path: png(path, 50_000), r"shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS"),
    "bomb below twice": (lambda path: png(path, 12_000), r"shrink it, or raise .*144,000,000"),
    "postscript": (  # what Pillow would have another program run
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        r"cannot be read: replace or delete the file, or save it as PNG",
    ),
    "pickle": (pickled, r"cannot be read: replace or delete"),
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


def test_a_link_does_not_lead_out_of_its_folder(tmp_path):
    folder, outside = tmp_path / "rooms", tmp_path / "secret.png"
    folder.mkdir()
    for path in (folder / "a.png", outside):
        Image.new("L", (8, 8), 7).save(path)
    (folder / "same.png").symlink_to(folder / "a.png")
    assert len(load(folder)) == 2
    (folder / "b.png").symlink_to(outside)
    with pytest.raises(DataError, match="out of its folder"):
        load(folder)
