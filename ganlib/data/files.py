"""Picture files: one function opens any of them, whatever its depth, pages and orientation."""

import math
import os
import re
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ganlib.data.errors import DataError

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".pgm", ".ppm", ".pbm", ".jp2"),
)
# What Pillow may read, whatever a file is called: not the formats that it has other programs open,
# such as PostScript.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation → what makes the picture upright
ORIENTATION, BITS = 0x0112, 258  # tags of EXIF and TIFF
PAGES = 16  # times Pillow's limit on the pixels of a picture that a stack may have


def open_image(path, *, pixels=True, pages=False):
    """Opens a picture file with Pillow, upright as its EXIF orientation asks.

    Args:
        path: path.
        pixels: bool, whether to read the pixels too. Otherwise only headers are looked at.
        pages: bool, whether the file may have several pages.

    Returns:
        `PIL.Image.Image` with 8 bits per channel, of any mode, without a file behind it; alpha,
        palette and `info` are as in the file. With `pages` a list of them. `None` if only headers
        are looked at.

    Raises:
        DataError: the file is none that Pillow can read, has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, more than 8 bits per channel, or several pages.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no image file there. Received: {str(path)!r}")
    try:
        with path.open("rb") as file:
            head = file.read(2**16)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if head[:2] in (b"II", b"MM"):  # cut short: Pillow would leave pages out, and warn
                warnings.filterwarnings("error", "Corrupt EXIF data|Truncated File Read")
            with Image.open(path, formats=FORMATS) as file:
                return _opened(path, file, head, pixels, pages)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"The image {path} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be an "
            "attack: shrink the file, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it. "
            f"Received: {error}"
        ) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # odd files raise whatever Pillow runs into
        raise DataError(
            f"The image {path} cannot be read: replace or delete the file, or save it as "
            f"PNG. Received: {error}"
        ) from error


def pixels_of(image):
    """A Pillow image as uint8 `(height, width, 1 or 3)`: alpha is dropped, a palette resolved."""
    if image.mode == "P" and image.has_transparency_data:
        image = image.convert("RGBA")  # at once to RGB, Pillow warns
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def read_image(path):
    """`pixels_of` the file at `path`."""
    return pixels_of(open_image(path))


def image_paths(root):
    """Paths of all images in a folder and its subfolders, sorted; hidden ones are passed over.

    Returns:
        Pair: list of `pathlib.Path`, and a dict of how many other files there are, by ending.

    Raises:
        DataError: there is no image, or a symbolic link leads outside.
    """
    paths, others = [], {}
    for path in _walk(Path(root)):
        if path.suffix.lower() in EXTENSIONS:
            paths.append(path)
        else:
            others[path.suffix.lower()] = others.get(path.suffix.lower(), 0) + 1
    strange = next((path for path in paths if not path.is_file()), None)
    if strange:  # a pipe would keep the reader waiting for ever
        raise DataError(
            f"{strange} is no file to read, but a pipe, a device or a link to nowhere: remove it. "
            f"Received: one of {len(paths)} images in the folder {root}"
        )
    if not paths:
        raise DataError(
            f"There are no images in the folder {root}: files ending in {', '.join(EXTENSIONS)} "
            f"are looked for, also in subfolders. Received: {listed(others) or 'no file'}"
        )
    return sorted(paths, key=lambda path: path.relative_to(root).as_posix()), others


def has_images(root):
    """Whether there is an image somewhere in a folder."""
    return any(path.suffix.lower() in EXTENSIONS for path in _walk(Path(root)))


def is_hidden(name):
    """Whether a file or folder is no part of the data: `.DS_Store`, `__MACOSX`, `Thumbs.db`."""
    return name.startswith((".", "__")) or name == "Thumbs.db"


def listed(others):
    """What else lies in a folder, in words."""
    return ", ".join(f"{n} {ending or 'without ending'}" for ending, n in sorted(others.items()))


def inside(path, folder):
    """The path itself, unless a symbolic link makes it lead out of the folder.

    Raises:
        DataError: it leads outside.
    """
    try:
        target = path.resolve(strict=False)
    except (OSError, RuntimeError) as error:  # links in a circle
        raise DataError(
            f"The symbolic link {path} leads nowhere: remove it. Received: {error}"
        ) from error
    if not target.is_relative_to(folder.resolve()):
        raise DataError(
            f"The symbolic link {path} leads out of the folder {folder}: copy what it points to "
            f"into the folder. Received: {target}"
        )
    return path


def _walk(root):
    for current, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        files = [Path(current, name) for name in files if not is_hidden(name)]
        images = [path for path in files if path.suffix.lower() in EXTENSIONS]
        for path in [*(Path(current, name) for name in folders), *images]:
            if path.is_symlink():
                inside(path, root)
        yield from files


def _opened(path, file, head, pixels, pages):
    # The other pictures of a .mpo are previews, or the same with other lenses.
    count = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
    if count > 1 and not pages:
        raise DataError(
            f"The file {path} has several pages: save one page a file, or one stack as images.tif "
            f"and masks.tif, without folders of these names. Received: {count} pages"
        )
    most, total = Image.MAX_IMAGE_PIXELS or math.inf, 0
    for i in range(count):
        file.seek(i)
        size = file.width * file.height
        total += size
        if size > most:  # Pillow looks at the first page alone
            raise DataError(
                f"The stack {path} has more than {most:,} pixels on a page, which may be an "
                "attack: shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it. "
                f"Received: {size:,} pixels on page {i}"
            )
        if (depth := _depth(file, head)) > 8:
            raise DataError(
                f"The image {path} has more than 8 bits per channel: convert it to 8 bits, or give "
                f"the images as an .npz of floats in 0 to 1. Received: {depth} bits, Pillow mode "
                f"{file.mode!r}" + (f", on page {i}" if count > 1 else "")
            )
    if total > PAGES * most:
        raise DataError(
            f"The stack {path} has more than {PAGES * most:,} pixels, which may be an attack: "
            f"divide it, or raise PIL.Image.MAX_IMAGE_PIXELS. Received: {total:,} pixels"
        )
    if not pixels:
        return None
    opened = []
    for i in range(count):
        file.seek(i)
        file.load()
        opened.append(_upright(file))
    return opened if pages else opened[0]


def _upright(file):
    # Orientation alone: of a broken EXIF block it may be the one entry that can be read, and
    # Pillow's `exif_transpose` writes all others anew.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            turn = TURNS.get(file.getexif().get(ORIENTATION))
        except Exception:  # none that can be read
            turn = None
    return file.copy() if turn is None else file.transpose(turn)


def _depth(file, head):
    """Bits per channel in the file; Pillow keeps 8 of those of colour, and says nothing."""
    if file.mode.startswith("I") or file.mode == "F":
        return 32 if file.mode in ("I", "F") else 16
    if file.format == "PNG":
        return head[24]
    if file.format == "TIFF":
        return max(file.tag_v2.get(BITS, (1,)))
    if file.format == "PPM" and head[1:2] in b"2356":
        return int(re.sub(rb"#[^\n]*", b"", head).split()[3]).bit_length()
    place = head.find(b"\xff\x4f\xff\x51") if file.format == "JPEG2000" else -1
    if place >= 0:  # JPEG 2000 codestream, its segment SIZ
        (channels,) = struct.unpack_from(">H", head, place + 40)
        return 1 + max(head[place + 42 : place + 42 + 3 * channels : 3], default=7) % 128
    return 8
