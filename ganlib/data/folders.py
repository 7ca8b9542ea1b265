"""Folders of images, of images with masks, and TIFF stacks."""

import collections
import re
import unicodedata
from pathlib import Path

import numpy as np

from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.files import image_paths, inside, is_hidden, is_image, open_image, pixels_of, walk
from ganlib.data.fit import fit, gather

VALIDATION = ("validation", "valid", "val")
SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(VALIDATION, "validation")
IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations")
# What a mask's name may have more than its image's.
SUFFIX = re.compile(r"[-_. ](masks?|seg|segmentations?|labels?|gt|ground[-_ ]?truth)$", re.I)
STACKS = (".tif", ".tiff")
SHOWN = 3  # files that a message names


def load_folder(folder, split=None, size=None, channels=None, any_size=False, masks=False):
    """Loads the images of a folder and its subfolders, with masks where it has any; see `load`.

    Hidden files and folders are passed over. If every image lies in a subfolder, the first level of
    subfolders are the classes, in sorted order. A folder has masks if `images/` and `masks/` (or
    another of `IMAGES` and `MASKS`) lie in it: files of the same names, whose endings may differ,
    and a mask's name may end like `_mask` or `-gt`. Instead of each there may be one TIFF file, as
    `images.tif` and `masks.tif`, whose pages are the slices of a stack. A split is a subfolder of
    its name in any case; "val" and "valid" are "validation".
    """
    folder = Path(folder)
    root = _split_folder(folder, split)
    name = folder.resolve().name
    facts = {"name": name, "origin": f"Image folder {name!r}."}
    if masks or all(any(map(_has_images, _found(root, names))) for names in (IMAGES, MASKS)):
        try:
            return Images(**_with_masks(root, channels), **facts).fitted(size)
        except DataError as error:
            raise DataError(f"In the folder {root}: {error}") from error
    paths, others = image_paths(root)
    if others:
        facts["origin"] = f"Image folder {name!r}; other files passed over: {', '.join(others)}."
    names = [path.relative_to(folder).as_posix() for path in paths]
    images = ((name, _pixels(path)) for name, path in zip(names, paths, strict=True))
    images = gather(images, len(paths), size, channels, any_size)
    parts = [path.relative_to(root).parts for path in paths]
    if any(len(part) == 1 for part in parts):
        return Images(images, names=names, **facts)
    classes, labels = np.unique([part[0] for part in parts], return_inverse=True)
    return Images(images, labels=labels, names=names, class_names=classes.tolist(), **facts)


def _pixels(path):
    return pixels_of(open_image(path))


def _split_folder(folder, split):
    found = [path for path in folder.iterdir() if path.is_dir() or is_image(path)]
    found = [path for path in found if not is_hidden(path.name)]
    found = sorted(path for path in found if path.is_symlink() or _has_images(path))
    stored = {path: SPLITS.get(path.name.lower()) for path in found}
    parts = [path for path, name in stored.items() if name == (split or "train")]
    if split is None and (not any(stored.values()) or _found(folder, IMAGES)):
        return folder
    names = ", ".join(path.name for path in found[:12])
    if split and not parts:
        raise NoSplitError(
            f"The folder {folder} has no subfolder {split!r} with images: make one, or leave "
            f"`split` out and divide the images with .split(0.8, seed=0). Received: {names}"
        )
    if len(parts) != 1 or (split is None and not all(stored.values())):
        raise DataError(
            f"The folder {folder} is divided, but has images beside its parts, two parts of one "
            f"kind, or none to train on: move them, or choose a `split`. Received: {names}"
        )
    return inside(parts[0], folder)


# -- images with masks -----------------------------------------------------------------------------


def _with_masks(root, channels):
    """Images, masks and names, and whether they are a stack."""
    places = _place(root, IMAGES), _place(root, MASKS)
    stacks = [place.is_file() for place in places]
    if all(stacks):
        images, masks = (open_image(place, pages=True) for place in places)
        names = list(map(str, range(len(images))))
        where = [f"page {i} of {places[1]}" for i in range(len(masks))]
    else:
        names, images, where = _pairs(*places)
        images, masks = map(open_image, images), map(open_image, where)
    images = [fit(pixels_of(image), None, channels) for image in images]
    return {"images": images, "masks": _planes(list(masks), where), "names": names} | (
        {"stack": True} if all(stacks) else {}
    )


def _found(root, names):
    """Folders of these names, and TIFF files."""
    paths = [path for path in root.iterdir() if path.stem.lower() in names]
    return sorted(path for path in paths if path.is_dir() or path.suffix.lower() in STACKS)


def _has_images(place):
    return place.is_file() or any(map(is_image, walk(place)))


def _place(root, names):
    found = _found(root, names)
    found = [path for path in found if _has_images(path)] or found
    if len(found) != 1:
        raise DataError(
            f"There must be one place of the names {', '.join(names)}, a folder or a multi-page "
            f"TIFF. Received: {', '.join(path.name for path in found) or 'none of them'}"
        )
    return inside(found[0], root)


def _pairs(image_place, mask_place):
    """Names, paths of images and paths of their masks, sorted by name."""
    images = _by_stem(image_place)
    masks = _by_stem(mask_place, of=images)
    for kind, files, other in (("images", images, masks), ("masks", masks, images)):
        doubled = [path for paths in files.values() if len(paths) > 1 for path in paths]
        if doubled:
            raise DataError(
                f"Some {kind} have the same name but for their ending, so that it can't be told "
                f"which belongs to what: remove or rename them. Received: {_some(doubled)}"
            )
        alone = [paths[0] for stem, paths in files.items() if stem not in other]
        if alone:
            raise DataError(
                f"Some {kind} have no partner of the same name: add it, or remove them. A mask's "
                "name may have an ending more, such as _mask, -seg or _gt. Received: "
                f"{_some(alone)} ({len(alone)} of {len(files)} {kind})"
            )
    names = sorted(images, key=_natural)
    return names, [images[name][0] for name in names], [masks[name][0] for name in names]


def _natural(name):
    """Key that sorts slice9 before slice10: else slices far apart would seem to be neighbours."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _by_stem(place, of=None):
    """Name without ending → paths; masks take the name of the image that they are `of`."""
    found = collections.defaultdict(list)
    for path in image_paths(place)[0]:
        # Some systems write ü as one character, others as two.
        stem = path.relative_to(place).with_suffix("").as_posix()
        stem = unicodedata.normalize("NFC", stem)
        if of is not None and stem not in of:
            stem = SUFFIX.sub("", stem)
        found[stem].append(path)
    return found


def _some(paths):
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(str(path) for path in paths[:SHOWN]) + more


def _planes(masks, places):
    """The values of each mask, a Pillow image, as uint8 `(height, width)`."""
    # Colours of a palette are names of classes, and no values; greys are what black and white are
    # saved as. It is one or the other in the whole set: a mask may show but one colour.
    coloured = any(mask.mode == "P" and _has_colours(mask) for mask in masks)
    return [_plane(mask, place, coloured) for mask, place in zip(masks, places, strict=True)]


def _has_colours(mask):
    palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    used = palette[[index for _, index in mask.getcolors() if index < len(palette)]]
    return bool((used != used[:, :1]).any())


def _plane(mask, place, coloured):
    if mask.mode == "1" or (mask.mode == "P" and coloured):
        return np.asarray(mask).astype(np.uint8)
    pixels = pixels_of(mask)
    if not (pixels == pixels[..., :1]).all():
        raise DataError(
            f"The mask {place} must be black and white: choose which colours are the foreground, "
            f"and save it as 0 and 1. Received: {pixels.shape[-1]} channels that differ"
        )
    if "A" in mask.getbands() and pixels.min() == pixels.max():
        low, high = mask.getchannel("A").getextrema()
        if low < high:
            raise DataError(
                f"The mask {place} seems to lie in its transparency (alpha), which is not read: "
                "save that channel as a black and white image, image.getchannel('A'). Received: "
                f"colour {pixels.min()} throughout, alpha from {low} to {high}"
            )
    return pixels[..., 0]
