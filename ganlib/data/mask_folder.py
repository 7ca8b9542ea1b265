"""Folders of images with masks, paired by name, and TIFF stacks."""

import collections
import contextlib
import math
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.folder import (
    FORMATS,
    SPLITS,
    image_paths,
    inside,
    open_image,
    pixels_of,
    read_image,
)
from ganlib.data.masked import MaskedImages
from ganlib.data.neighbours import neighbours_alike
from ganlib.data.resize import fit

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations")
SUFFIXES = ("_mask", "_masks", "_seg", "_label", "_labels")  # that a mask's name may have more
STACKS = (".tif", ".tiff")
SHOWN = 3  # files that a message names


def load_mask_folder(folder, split=None, channels=None):
    """Loads images and masks that lie in two subfolders, or in two multi-page TIFF files.

    `images/` and `masks/` (or another of `IMAGES` and `MASKS`) hold files of the same names; their
    endings may differ, and a mask's name may have one of `SUFFIXES` more. Pairs are made by name
    and never by the order of a listing; they are sorted by name, slice9 before slice10. Instead of
    each there may be one file, as `images.tif` and `masks.tif`, whose pages are the slices of a
    stack.

    Args:
        folder: path.
        split: "train" or "test", a subfolder that holds all that; `None`: the folder itself, or its
            `train`.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey, as where some images are grey and
            some are not; `None` keeps the channels.

    Returns:
        `MaskedImages`, named after the folder. Files are a stack if neighbours by name look alike,
        see `ganlib.data.neighbours`.

    Raises:
        DataError: there are no such folders; a symbolic link leads outside; a file has no partner
            or two, can't be read or has several pages; a mask has colours; two stacks differ in
            length; or as of `MaskedImages`.
    """
    folder = Path(folder)
    root = _root(folder, split)
    image_place, mask_place = _place(root, IMAGES), _place(root, MASKS)
    name = folder.resolve().name
    facts = {"name": name, "origin": f"Folder {name!r}."}
    if image_place.is_file() and mask_place.is_file():
        images, masks = _pages(image_place, pixels_of), _pages(mask_place, _mask_pixels)
        if len(images) != len(masks):
            raise DataError(
                f"The stacks {image_place} and {mask_place} must have as many pages. Received: "
                f"{len(images)} and {len(masks)}"
            )
        masks = [_first(mask, f"page {i} of {mask_place}") for i, mask in enumerate(masks)]
        return _assembled(root, images, masks, channels, stack=True, **facts)
    if image_place.is_file() or mask_place.is_file():
        raise DataError(
            "Images and masks must both be folders or both be TIFF stacks. Received: "
            f"{image_place} and {mask_place}"
        )
    names, pairs = _pairs(image_place, mask_place)
    for path in (path for pair in pairs for path in pair if path.suffix.lower() in STACKS):
        _check_one_page(path)
    images = [read_image(image) for image, _ in pairs]
    masks = [_first(_mask_pixels(open_image(mask)), mask) for _, mask in pairs]
    stack = neighbours_alike(images)["alike"]
    return _assembled(root, images, masks, channels, names=names, stack=stack, **facts)


def has_places(folder):
    """Whether a folder, or its `train`, has a place for images and one for masks."""
    roots = Path(folder), Path(folder, "train")
    return any(_found(root, IMAGES) and _found(root, MASKS) for root in roots)


def _assembled(root, images, masks, channels, **facts):
    images = [fit(image, None, channels) for image in images]
    try:
        return MaskedImages(images, masks, **facts)
    except DataError as error:
        raise DataError(f"In the folder {root}: {error}") from error


def _root(folder, split):
    divided = [name for name in SPLITS if (folder / name).is_dir()]
    if split is None:
        if not divided or _found(folder, IMAGES):
            return folder
        return inside(folder / "train", folder)
    if split not in divided:
        raise NoSplitError(
            f"The folder {folder} has no subfolder {split!r} with images and masks: make one, or "
            f"leave `split` out. Received: split={split!r}"
        )
    return inside(folder / split, folder)


def _found(root, names):
    candidates = [root / name for name in names]
    candidates += [root / f"{name}{suffix}" for name in names for suffix in STACKS]
    return [path for path in candidates if path.exists()]


def _place(root, names):
    found = _found(root, names)
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none of them"
        raise DataError(
            f"The folder {root} must have one place of the names {', '.join(names)}, a folder or a "
            f"multi-page TIFF. Received: {listed}"
        )
    return inside(found[0], root)


def _pairs(image_place, mask_place):
    """Names and `(image, mask)` paths, sorted by name."""
    images = _by_stem(image_place)
    masks = _by_stem(mask_place, of=images)
    for kind, files in (("images", images), ("masks", masks)):
        doubled = [paths for paths in files.values() if len(paths) > 1]
        if doubled:
            raise DataError(
                f"Some {kind} have the same name but for their ending, so that it can't be told "
                f"which belongs to what: remove or rename them. Received: {_listed(doubled[0])}"
                + (f" and {len(doubled) - 1} more such names" if len(doubled) > 1 else "")
            )
    for kind, files, other in (("images", images, masks), ("masks", masks, images)):
        alone = [paths[0] for stem, paths in files.items() if stem not in other]
        if alone:
            partner = "mask" if kind == "images" else "image"
            raise DataError(
                f"Some {kind} have no {partner} of the same name: add it, or remove them. Received:"
                f" {_listed(alone)} ({len(alone)} of {len(files)} {kind})"
            )
    names = sorted(images, key=_natural)
    return names, [(images[name][0], masks[name][0]) for name in names]


def _natural(name):
    """Key that sorts slice9 before slice10: else slices far apart would seem to be neighbours."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _by_stem(place, of=None):
    """Name without ending → paths; masks take the name of the image that they are `of`."""
    found = collections.defaultdict(list)
    for path in image_paths(place):
        stem = path.relative_to(place).with_suffix("").as_posix()
        if of is not None and stem not in of:
            suffix = next((suffix for suffix in SUFFIXES if stem.endswith(suffix)), "")
            stem = stem.removesuffix(suffix)
        found[stem].append(path)
    return dict(found)


def _listed(paths):
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(str(path) for path in paths[:SHOWN]) + more


def _mask_pixels(image):
    """A mask's values as they stand in the file: a palette is not resolved into colours."""
    if image.mode in ("P", "1"):
        return np.asarray(image).astype(np.uint8)[..., np.newaxis]
    return pixels_of(image)


def _first(mask, where):
    """One plane of a mask whose colour channels are alike."""
    if mask.shape[-1] > 1 and not (mask == mask[..., :1]).all():
        raise DataError(
            f"The mask {where} must be black and white: choose which colours are the foreground, "
            f"and save it as 0 and 1. Received: {mask.shape[-1]} channels that differ"
        )
    return mask[..., 0]


@contextlib.contextmanager
def _opened(path):
    """A file of several pages, opened with Pillow; what goes wrong names the file."""
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as file:
            # Pillow only warns where a directory of pages is cut short, and would leave them out.
            warnings.filterwarnings("error", "Corrupt EXIF data|Truncated File Read")
            yield file
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, UserWarning) as error:
        raise DataError(
            f"The stack {path} cannot be read: replace or delete the file. Received: {error}"
        ) from error


def _check_one_page(path):
    open_image(path, pixels=False)
    with _opened(path) as file:
        pages = file.n_frames
    if pages > 1:
        raise DataError(
            f"The file {path} has several pages: save one page a file, or one stack as images.tif "
            f"and masks.tif, without folders of these names. Received: {pages} pages"
        )


def _pages(path, read):
    """The pages of a TIFF file, turned into uint8 `(height, width, channels)` by `read`."""
    open_image(path, pixels=False)  # with the messages for what can't be read, and for 16 bits
    with _opened(path) as file:
        total, most = 0, Image.MAX_IMAGE_PIXELS or math.inf
        for i, page in enumerate(ImageSequence.Iterator(file)):
            size = page.width * page.height
            total += size
            if page.mode.startswith("I") or page.mode == "F":
                raise DataError(
                    f"The stack {path} has more than 8 bits per channel: convert it to 8 bits, or "
                    "give the images as an .npz of floats in 0 to 1. Received: Pillow mode "
                    f"{page.mode!r} on page {i}"
                )
            if size > most:  # Pillow looks at the first page alone
                raise DataError(
                    f"The stack {path} has more than {most:,} pixels on a page, which may be an "
                    "attack: shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it. "
                    f"Received: {size:,} pixels on page {i}"
                )
        if total > 16 * most:
            raise DataError(
                f"The stack {path} has more than {16 * most:,} pixels, which may be an attack: "
                f"divide it, or raise PIL.Image.MAX_IMAGE_PIXELS. Received: {total:,} pixels"
            )
        return [read(page.copy()) for page in ImageSequence.Iterator(file)]
