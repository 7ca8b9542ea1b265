"""Folders of images, of images with masks, and TIFF stacks."""

import collections
import re
import unicodedata

import numpy as np

from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.files import image_paths, is_hidden, is_image, open_image, pixels_of, walk
from ganlib.data.fit import fit

SPLITS = {"train": "train", "test": "test"}
SPLITS |= dict.fromkeys(("validation", "valid", "val"), "validation")
IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations")
# What a mask's name may have more than its image's.
SUFFIX = re.compile(r"[-_. ](masks?|seg|segmentations?|labels?|gt|ground[-_ ]?truth)$", re.I)


def load_folder(folder, split=None, size=None, channels=None, masks=False):
    """Loads the images of a folder and its subfolders, with masks where it has any; see `load`.

    If every image lies in a subfolder, the first level of subfolders are the classes. A folder has
    masks if `images/` and `masks/` (or another of `IMAGES` and `MASKS`) lie in it, files of the
    same names, where a mask's may end like `_mask` or `-gt`; or two TIFF stacks, `images.tif` and
    `masks.tif`. A split is a subfolder of its name in any case.
    """
    root = _split_folder(folder, split)
    name = folder.resolve().name
    facts = {"name": name, "origin": f"Image folder {name!r}."}
    try:
        if masks or all(any(map(_has_images, _places(root, p))) for p in (IMAGES, MASKS)):
            return Images(**_with_masks(root, channels), **facts)
        paths, others = image_paths(root)
        if others:
            facts["origin"] += f" Other files passed over: {', '.join(others)}."
        parts = [path.relative_to(root).parts for path in paths]
        if all(len(part) > 1 for part in parts):
            facts["labels"] = np.unique([part[0] for part in parts], return_inverse=True)[1]
        images = [fit(pixels_of(open_image(path)), size, channels) for path in paths]
        names = [path.relative_to(folder).as_posix() for path in paths]
        return Images(images, names=names, **facts)
    except DataError as error:
        raise DataError(f"In the folder {root}: {error}") from error


def _split_folder(folder, split):
    found = [path for path in sorted(folder.iterdir()) if not is_hidden(path.name)]
    found = [path for path in found if is_image(path) or (path.is_dir() and _has_images(path))]
    stored = {path: SPLITS.get(path.name.lower()) for path in found}
    parts = [path for path, name in stored.items() if name == (split or "train")]
    if split is None and (not any(stored.values()) or _places(folder, IMAGES)):
        return folder
    names = ", ".join(path.name for path in found[:12])
    if split and not parts:
        raise NoSplitError(
            f"The folder {folder} has no subfolder {split!r} with images: leave `split` out. "
            f"Received: {names}"
        )
    if len(parts) != 1 or (split is None and not all(stored.values())):
        raise DataError(
            f"The folder {folder} is divided, but has images beside its parts, two parts of one "
            f"kind, or none to train on: move them, or choose a `split`. Received: {names}"
        )
    return parts[0]


def _with_masks(root, channels):
    places = []
    for names in (IMAGES, MASKS):
        found = _places(root, names)
        found = list(filter(_has_images, found)) or found
        if len(found) != 1:
            raise DataError(
                f"There must be one folder, or TIFF stack, named {', '.join(names)}. Received: "
                f"{', '.join(path.name for path in found) or 'none'}"
            )
        places.append(found[0])
    stack = all(place.is_file() for place in places)
    if stack:
        images, masks = (open_image(place, pages=True) for place in places)
        names, where = None, [f"page {i} of {places[1]}" for i in range(len(masks))]
    else:
        names, paths, where = _pairs(*places)
        images, masks = map(open_image, paths), list(map(open_image, where))
    # Colours of a palette are names of classes, and no values; greys are what black and white are
    # saved as. It is one or the other in the whole set: a mask may show but one colour.
    used = [pixels_of(mask) for mask in masks if mask.mode == "P"]
    coloured = any((pixels != pixels[..., :1]).any() for pixels in used)
    planes = [_plane(mask, place, coloured) for mask, place in zip(masks, where, strict=True)]
    images = [fit(pixels_of(image), None, channels) for image in images]
    return {"images": images, "masks": planes, "names": names, "stack": stack}


def _places(root, names):
    paths = [path for path in root.iterdir() if path.stem.lower() in names]
    return sorted(p for p in paths if p.is_dir() or p.suffix.lower() in (".tif", ".tiff"))


def _has_images(place):
    return place.is_file() or any(map(is_image, walk(place)))


def _pairs(image_place, mask_place):
    images = _by_stem(image_place)
    masks = _by_stem(mask_place, of=images)
    for kind, files, other in (("images", images, masks), ("masks", masks, images)):
        alone = [stem for stem, paths in files.items() if len(paths) > 1 or stem not in other]
        if alone:
            raise DataError(
                f"Some {kind} have no partner of the same name, or of _mask, -seg or _gt more, or "
                f"have their name twice. Received: {len(alone)} of {len(files)} {kind}, such as "
                f"{', '.join(str(path) for path in files[alone[0]])}"
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
        stem = path.relative_to(place).with_suffix("").as_posix()
        stem = unicodedata.normalize("NFC", stem)  # ü is one character, or two
        found[stem if of is None or stem in of else SUFFIX.sub("", stem)].append(path)
    return found


def _plane(mask, place, coloured):
    if mask.mode == "1" or (mask.mode == "P" and coloured):
        return np.asarray(mask).astype(np.uint8)
    pixels = pixels_of(mask)
    alpha = mask.getchannel("A").getextrema() if "A" in mask.getbands() else (0, 0)
    hidden = pixels.min() == pixels.max() and alpha[0] < alpha[1]
    if hidden or not (pixels == pixels[..., :1]).all():
        raise DataError(
            f"The mask {place} must be black and white: choose which colours are the foreground, "
            "and save it as 0 and 1; of a mask in the transparency save image.getchannel('A'). "
            f"Received: {pixels.shape[-1]} channels, alpha from {alpha[0]} to {alpha[1]}"
        )
    return pixels[..., 0]
