"""Picture files: one function opens any of them, whatever its depth, pages and orientation."""

import contextlib
import math
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from ganlib.data.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
EXTENSIONS += (".pgm", ".ppm", ".pbm")
# What Pillow may read, whatever a file is called: no format that it has other programs open.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM")
_FLIPS = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM)
_TURNS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
TURNS = dict(enumerate(_FLIPS + _TURNS, 2))  # EXIF orientation → what makes the picture upright
ORIENTATION, BITS = 0x0112, 258  # tags of EXIF and TIFF
PAGES = 16  # times Pillow's limit on the pixels of a picture that a stack may have


def open_image(path, *, pixels=True, pages=False):
    """Opens a picture file with Pillow, upright as its EXIF orientation asks.

    Without `pixels` only headers are looked at; with `pages` a list of pages is returned.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would keep the reader waiting for ever
        raise DataError(f"There is no image file there. Received: {str(path)!r}")
    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            head = stream.read(32)
            warnings.simplefilter("ignore")  # of odd EXIF, which may be any program's
            if head[:2] in (b"II", b"MM"):  # a TIFF cut short: Pillow would leave pages out
                warnings.filterwarnings("error", "Corrupt EXIF data|Truncated File Read")
            with Image.open(path, formats=FORMATS) as file:
                count = _checked(path, file, head, pages)
                opened = [_upright(file, page) for page in range(count)] if pixels else [None]
                return opened if pages else opened[0]
    except (DataError, MemoryError):
        raise
    except Exception as error:  # odd files raise whatever Pillow runs into
        remedy = "replace or delete the file, or save it as PNG"
        if isinstance(error, Image.DecompressionBombError):
            remedy = "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        raise DataError(f"The image {path} cannot be read: {remedy}. Received: {error}") from error


def pixels_of(image):
    """A Pillow image as uint8 `(height, width, 1 or 3)`: alpha is dropped, a palette resolved."""
    if image.mode == "P" and image.has_transparency_data:
        image = image.convert("RGBA")  # at once to RGB, Pillow warns
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def image_paths(root):
    """Paths of all images in a folder and its subfolders, sorted, and the endings passed over."""
    found = sorted(walk(root), key=lambda path: path.relative_to(root).as_posix())
    others = sorted({path.suffix.lower() or "no ending" for path in found if not is_image(path)})
    if paths := list(filter(is_image, found)):
        return paths, others
    raise DataError(
        f"There are no images in the folder {root}: files ending in {', '.join(EXTENSIONS)} are "
        f"looked for, also in subfolders. Received: {', '.join(others) or 'no file'}"
    )


def walk(root):
    """Yields the paths of all files of a folder and its subfolders; hidden ones are passed over."""
    for current, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (Path(current, name) for name in files if not is_hidden(name)):
            if path.is_symlink() and not path.resolve().is_relative_to(Path(root).resolve()):
                raise DataError(
                    f"The link {path} leads out of its folder: copy what it points to into it. "
                    f"Received: {path.resolve()}"
                )
            yield path


def is_image(path):
    return path.suffix.lower() in EXTENSIONS


def is_hidden(name):
    """Whether a file or folder is no part of the data: `.DS_Store`, `__MACOSX`, `Thumbs.db`."""
    return name.startswith((".", "__")) or name == "Thumbs.db"


def _checked(path, file, head, pages):
    """How many pages a file has, none of which has too many pixels or bits."""
    # The other pictures of a .mpo are previews, or the same seen with other lenses.
    count = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
    if count > 1 and not pages:
        raise DataError(
            f"The file {path} has several pages: save one page a file, or one stack as images.tif "
            f"and masks.tif, without folders of these names. Received: {count} pages"
        )
    most, total = Image.MAX_IMAGE_PIXELS or math.inf, 0
    for page in range(count):
        file.seek(page)
        total += file.width * file.height
        if file.width * file.height > most or total > PAGES * most:  # Pillow looks at the first
            raise Image.DecompressionBombError(f"{total:,} pixels by page {page}")
        if (depth := _depth(file, head)) > 8:
            raise DataError(
                f"The image {path} has more than 8 bits per channel: convert it to 8 bits, or give "
                f"an .npz of floats in 0 to 1. Received: {depth} bits on page {page}"
            )
    return count


def _upright(file, page):
    file.seek(page)
    file.load()
    turn = None
    # Not Pillow's `exif_transpose`: it writes all entries anew, also those that can't be read.
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        turn = TURNS.get(file.getexif().get(ORIENTATION))
    return file.copy() if turn is None else file.transpose(turn)


def _depth(file, head):
    """Bits per channel in the file; Pillow keeps 8 of those of colour, and says nothing."""
    if file.mode.startswith(("I", "F")):
        return 16 if ";16" in file.mode else 32
    if file.format == "PNG":
        return head[24]
    if file.format == "TIFF":
        return max(file.tag_v2.get(BITS, (1,)))
    return 8
