"""Image folders."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ganlib.data.assemble import assemble
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.imageset import ImageSet

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
SPLITS = ("train", "test")
# What Pillow may read, whatever a file is called: not the formats that it has other programs open,
# such as PostScript.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "JPEG2000")


def load_folder(folder, split=None, size=None, channels=None):
    """Loads all images of a folder and its subfolders, sorted by path.

    Files are recognised by extension (`EXTENSIONS`); hidden ones are passed over. EXIF orientation
    is applied, alpha dropped, a palette resolved. If every image lies in a subfolder, the first
    level of subfolders are the classes, in sorted order.

    Args:
        folder: path.
        split: name of a subfolder to load, "train" or "test". `None` loads all of the folder, or
            its `train` where `train` and `test` are all it has.
        size: int or `None`, as in `ganlib.data.resize.fit`.
        channels: int or `None`, likewise.

    Returns:
        `ImageSet`, named after the folder.

    Raises:
        DataError: there is no image; one cannot be read, is too large or has more than 8 bits per
            channel; a symbolic link leads outside; or the images differ in shape.
    """
    folder = Path(folder)
    root = _split_folder(folder, split)
    paths = image_paths(root)
    names = [path.relative_to(root).as_posix() for path in paths]
    images = assemble(
        ((name, read_image(path)) for name, path in zip(names, paths, strict=True)),
        len(paths),
        size,
        channels,
    )
    labels, class_names = _classes(names)
    name = folder.resolve().name
    origin = f"Image folder {name!r}."
    return ImageSet(images, labels, name=name, origin=origin, class_names=class_names)


def image_paths(root):
    """Paths of all images in a folder and its subfolders, sorted; hidden ones are passed over.

    Raises:
        DataError: there is none, or a symbolic link leads outside.
    """
    paths = []
    for current, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [name for name in files if not name.startswith(".")]
        files = [name for name in files if name.lower().endswith(EXTENSIONS)]
        for path in (Path(current, name) for name in folders + files):
            if path.is_symlink():
                inside(path, root)
        paths += [Path(current, name) for name in files]
    strange = next((path for path in paths if not path.is_file()), None)
    if strange:  # a pipe would keep the reader waiting for ever
        raise DataError(
            f"{strange} is no file to read, but a pipe, a device or a link to nowhere: remove it. "
            f"Received: one of {len(paths)} images in the folder {root}"
        )
    if not paths:
        raise DataError(
            f"There are no images in the folder {root}: files ending in {', '.join(EXTENSIONS)} "
            "are looked for, also in subfolders."
        )
    return sorted(paths, key=lambda path: path.relative_to(root).as_posix())


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


def read_image(path):
    """Reads one image file as uint8 `(height, width, 1 or 3)`.

    Raises:
        DataError: the file is no image that Pillow can read, has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, or has more than 8 bits per channel.
    """
    return pixels_of(open_image(path))


def pixels_of(image):
    """A Pillow image as uint8 `(height, width, 1 or 3)`: alpha is dropped, a palette resolved."""
    if image.mode == "P" and image.has_transparency_data:
        image = image.convert("RGBA")  # at once to RGB, Pillow warns
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def open_image(path, pixels=True):
    """Opens an image file with Pillow, upright as its EXIF orientation asks.

    Args:
        path: path.
        pixels: bool, whether to read the pixels too. Otherwise only the header is looked at.

    Returns:
        `PIL.Image.Image` with 8 bits per channel, of any mode, without a file behind it; `None` if
        only the header is looked at.

    Raises:
        DataError: as for `read_image`.
    """
    image = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                mode = file.mode
                if pixels:
                    image = ImageOps.exif_transpose(file)
                    image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"The image {path} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be an "
            "attack: shrink the file, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it. "
            f"Received: {error}"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(
            f"The image {path} cannot be read: replace or delete the file, or save it as "
            f"PNG. Received: {error}"
        ) from error
    if mode.startswith("I") or mode == "F":
        raise DataError(
            f"The image {path} has more than 8 bits per channel: convert it to 8 bits, or give the "
            f"images as an .npz of floats in 0 to 1. Received: Pillow mode {mode!r}"
        )
    return image


def _split_folder(folder, split):
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    subfolders = {path.name for path in folder.iterdir() if path.is_dir()}
    if split is None:
        return inside(folder / "train", folder) if subfolders == set(SPLITS) else folder
    if split not in subfolders:
        raise NoSplitError(
            f"The folder {folder} has no subfolder {split!r}: make one, or leave `split` out and "
            f"divide the images with .split(0.8, seed=0). Received: subfolders {sorted(subfolders)}"
        )
    return inside(folder / split, folder)


def _classes(names):
    parts = [name.split("/") for name in names]
    if any(len(part) == 1 for part in parts):
        return None, None
    class_names, labels = np.unique([part[0] for part in parts], return_inverse=True)
    return labels, tuple(map(str, class_names))
