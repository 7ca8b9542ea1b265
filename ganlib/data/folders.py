"""Folders of images, of images with masks, and TIFF stacks."""

import collections
import re
import unicodedata
from pathlib import Path

import numpy as np

from ganlib.data.container import Images, fit
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.files import (
    has_images,
    image_paths,
    inside,
    is_hidden,
    listed,
    open_image,
    pixels_of,
    read_image,
)
from ganlib.data.gather import gather

SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations")
# What a mask's name may have more than its image's.
SUFFIX = re.compile(r"[-_. ](masks?|seg|segmentations?|labels?|gt|ground[-_ ]?truth)$", re.I)
STACKS = (".tif", ".tiff")
SHOWN = 3  # files that a message names


def load_folder(folder, split=None, size=None, channels=None, any_size=False, masks=False):
    """Loads the images of a folder and its subfolders, sorted by path, with masks where it has any.

    Hidden files and folders are passed over. If every image lies in a subfolder, the first level of
    subfolders are the classes, in sorted order. A folder has masks if `images/` and `masks/` (or
    another of `IMAGES` and `MASKS`) lie in it: files of the same names, whose endings may differ,
    and a mask's name may end like `_mask` or `-gt`. Instead of each there may be one TIFF file, as
    `images.tif` and `masks.tif`, whose pages are the slices of a stack.

    Args:
        folder: path.
        split: "train", "validation" or "test", a subfolder of that name in any case ("val" and
            "valid" do, too). `None`: all of the folder, or its training part where it is divided.
        size, channels: as of `ganlib.data.container.fit`.
        any_size: bool, whether the images may differ in size; those with masks always may.
        masks: bool, whether masks are needed.

    Returns:
        `Images`, named after the folder.

    Raises:
        DataError: there is no image, or one can't be read; a symbolic link leads outside; images
            differ in shape; images and masks don't belong together; or images lie beside the
            folders of the splits.
    """
    folder = Path(folder)
    root = _split_folder(folder, split)
    name = folder.resolve().name
    facts = {"name": name, "origin": f"Image folder {name!r}."}
    if masks or all(any(map(_has_images, _found(root, names))) for names in (IMAGES, MASKS)):
        return _with_masks(root, size, channels, facts)
    paths, others = image_paths(root)
    names = [path.relative_to(root).as_posix() for path in paths]
    if others:
        facts["origin"] = f"Image folder {name!r}; files passed over: {listed(others)}."
    images = gather(
        ((name, read_image(path)) for name, path in zip(names, paths, strict=True)),
        *(len(paths), size, channels, any_size),
    )
    labels, class_names = _classes(names)
    return Images(images, labels=labels, names=names, class_names=class_names, **facts)


def _split_folder(folder, split):
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    stored, others = {}, []
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name) or not path.is_dir():
            continue
        part = SPLITS.get(path.name.lower())
        if part:
            stored.setdefault(part, []).append(path)
        elif path.is_symlink() or has_images(path):
            others.append(path.name)
    for part, paths in stored.items():
        stored[part] = [path for path in paths if has_images(path)] or paths[:1]
        if len(stored[part]) > 1:
            raise DataError(
                f"The folder {folder} has two subfolders for {part!r}: keep one of them. Received: "
                f"{', '.join(path.name for path in stored[part])}"
            )
    if split is None:
        if "train" not in stored or _found(folder, IMAGES):
            return folder
        if others:
            raise DataError(
                f"The folder {folder} is divided, but images lie beside its parts: move them "
                "elsewhere, or into one of the parts. Received: "
                f"{', '.join(p.name for paths in stored.values() for p in paths)}, and beside them "
                f"{', '.join(others)}"
            )
        return inside(stored["train"][0], folder)
    if split not in stored:
        names = sorted([p.name for paths in stored.values() for p in paths] + others)
        raise NoSplitError(
            f"The folder {folder} has no subfolder {split!r}: make one, or leave `split` out and "
            f"divide the images with .split(0.8, seed=0). Received: subfolders {names}"
        )
    return inside(stored[split][0], folder)


def _classes(names):
    parts = [name.split("/") for name in names]
    if any(len(part) == 1 for part in parts):
        return None, None
    class_names, labels = np.unique([part[0] for part in parts], return_inverse=True)
    return labels, tuple(map(str, class_names))


# -- images with masks -----------------------------------------------------------------------------


def _with_masks(root, size, channels, facts):
    image_place, mask_place = _place(root, IMAGES), _place(root, MASKS)
    if image_place.is_file() and mask_place.is_file():
        images = [pixels_of(page) for page in open_image(image_place, pages=True)]
        masks = open_image(mask_place, pages=True)
        if len(images) != len(masks):
            raise DataError(
                f"The stacks {image_place} and {mask_place} must have as many pages. Received: "
                f"{len(images)} and {len(masks)}"
            )
        names, facts = [str(i) for i in range(len(images))], {**facts, "stack": True}
        places = [f"page {name} of {mask_place}" for name in names]
    elif image_place.is_file() or mask_place.is_file():
        raise DataError(
            "Images and masks must both be folders or both be TIFF stacks. Received: "
            f"{image_place} and {mask_place}"
        )
    else:
        names, pairs = _pairs(image_place, mask_place)
        images = (read_image(image) for image, _ in pairs)
        places = [mask for _, mask in pairs]
        masks = [open_image(mask) for mask in places]
    masks = _planes(masks, places)
    found = [fit(image, None, channels) for image in images]
    try:
        return Images(found, masks, names=names, **facts).fitted(size)
    except DataError as error:
        raise DataError(f"In the folder {root}: {error}") from error


def _found(root, names):
    """Folders of these names, and TIFF files."""
    folders = [path for path in root.iterdir() if path.name.lower() in names and path.is_dir()]
    files = [root / f"{name}{suffix}" for name in names for suffix in STACKS]
    return sorted(folders) + [path for path in files if path.exists()]


def _has_images(place):
    return place.is_file() or has_images(place)


def _place(root, names):
    found = _found(root, names)
    found = [path for path in found if _has_images(path)] or found
    if len(found) != 1:
        raise DataError(
            f"The folder {root} must have one place of the names {', '.join(names)}, a folder or a "
            "multi-page TIFF. Received: "
            + (", ".join(path.name for path in found) or "none of them")
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
                f"which belongs to what: remove or rename them. Received: {_some(doubled[0])}"
                + (f" and {len(doubled) - 1} more such names" if len(doubled) > 1 else "")
            )
    for kind, files, other in (("images", images, masks), ("masks", masks, images)):
        alone = [paths[0] for stem, paths in files.items() if stem not in other]
        if alone:
            partner = "mask" if kind == "images" else "image"
            raise DataError(
                f"Some {kind} have no {partner} of the same name: add it, or remove them. A mask's "
                "name may have an ending more, such as _mask, -seg or _gt. Received: "
                f"{_some(alone)} ({len(alone)} of {len(files)} {kind})"
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
    for path in image_paths(place)[0]:
        # Some systems write ü as one character, others as two.
        stem = path.relative_to(place).with_suffix("").as_posix()
        stem = unicodedata.normalize("NFC", stem)
        if of is not None and stem not in of:
            stem = SUFFIX.sub("", stem)
        found[stem].append(path)
    return dict(found)


def _some(paths):
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(str(path) for path in paths[:SHOWN]) + more


def _planes(masks, places):
    """One plane of values of each mask, a Pillow image."""
    # Colours of a palette are names of classes, and no values; greys are what black and white are
    # saved as. It is one or the other in the whole set: a mask may show but one colour.
    coloured = any(_colours(mask) for mask in masks)
    return [_plane(mask, place, coloured) for mask, place in zip(masks, places, strict=True)]


def _colours(mask):
    if mask.mode != "P":
        return False
    palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    used = palette[[index for _, index in mask.getcolors() if index < len(palette)]]
    return bool((used != used[:, :1]).any())


def _plane(mask, place, coloured):
    if mask.mode == "1" or (mask.mode == "P" and coloured):
        return np.asarray(mask).astype(np.uint8)
    alpha = mask.getchannel("A") if mask.mode in ("LA", "RGBA", "PA") else None
    pixels = pixels_of(mask)
    if pixels.shape[-1] > 1 and not (pixels == pixels[..., :1]).all():
        raise DataError(
            f"The mask {place} must be black and white: choose which colours are the foreground, "
            f"and save it as 0 and 1. Received: {pixels.shape[-1]} channels that differ"
        )
    pixels = pixels[..., 0]
    if alpha is not None and pixels.min() == pixels.max() and len(set(alpha.getextrema())) > 1:
        raise DataError(
            f"The mask {place} seems to lie in its transparency (alpha), which is not read: save "
            "that channel as a black and white image, image.getchannel('A'). Received: "
            f"colour {pixels.min()} throughout, alpha {alpha.getextrema()}"
        )
    return pixels
