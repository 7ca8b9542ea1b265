"""`load_masks`: one function for every source of images with masks."""

import dataclasses
from pathlib import Path

import numpy as np

from ganlib.data import normalise
from ganlib.data.errors import DataError
from ganlib.data.masked import MaskedImages
from ganlib.data.neighbours import neighbours_alike
from ganlib.data.resize import check_target, fit
from ganlib.images import convert

ACCEPTED = (
    'MaskedImages, "nuclei" or "membranes", "tfds:NAME", a path to an .npz file, or a folder with '
    "images and masks"
)
TRIMAP = {1, 2, 3}  # as in oxford_iiit_pet: the pet, the background and the pet's border
BACKGROUND = 2


def load_masks(spec, split=None, channels=1):
    """Loads images with masks from wherever they are.

    Args:
        spec: `MaskedImages`; "nuclei" or "membranes", synthetic and embedded
            (`ganlib.data.cells`); "tfds:NAME", a set of TensorFlow Datasets with the features
            `image` and `segmentation_mask`, binary or, as in oxford_iiit_pet, of 1, 2 and 3, where
            the pets (1) with their borders (3) are the foreground; the path of an .npz file with
            the images as `x` and the masks as `y`, and perhaps `group`, as of `MaskedImages`, and
            `stack`, whether consecutive images are neighbours; or a folder, see
            `ganlib.data.mask_folder`.
        split: "train" or "test". `None`: all, or "train" where the source is divided.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey; `None` keeps the channels.

    Returns:
        `MaskedImages`. Where nobody says whether an .npz or a folder is a stack, the images do, see
        `ganlib.data.neighbours`.

    Raises:
        DataError: what is wrong with the data, and what to do.

    Example:

    >>> load_masks("nuclei", split="test")
    MaskedImages('nuclei', 24 × 128×128×1, 12.0% foreground, synthetic)
    """
    check_target(None, channels)
    return _fitted(_load(spec, split, channels), channels)


def has_masks(spec):
    """Whether a name, a folder or an .npz file stands for images with masks, without loading them.

    Args:
        spec: what `ganlib.data.load` or `load_masks` takes.
    """
    if isinstance(spec, MaskedImages) or str(spec) in ("nuclei", "membranes"):
        return True
    path = Path(str(spec)).expanduser()
    if path.is_dir():
        from ganlib.data.mask_folder import has_places

        return has_places(path)
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    from ganlib.data.npz import label_shape

    return len(label_shape(path) or ()) >= 3


def _load(spec, split, channels):
    if isinstance(spec, MaskedImages):
        if split is not None:
            raise _no_split("Masked images in memory have", split)
        return spec
    if not isinstance(spec, str | Path):
        raise DataError(f"`spec` must be {ACCEPTED}. Received: {type(spec).__name__}")
    if str(spec) in ("nuclei", "membranes"):
        from ganlib.data import cells

        return getattr(cells, str(spec))(split)
    if str(spec).startswith("tfds:"):
        return _from_tfds(str(spec).removeprefix("tfds:"), split, channels)
    path = Path(spec).expanduser()
    if path.suffix.lower() == ".npz":
        return _from_npz(path, split)
    if path.is_dir():
        from ganlib.data.mask_folder import load_mask_folder

        return load_mask_folder(path, split, channels)
    there = "a file of another kind" if path.exists() else "nothing there"
    raise DataError(f"`spec` must be {ACCEPTED}. Received: {str(spec)!r} ({there})")


def _no_split(what, split):
    from ganlib.data.errors import NoSplitError

    return NoSplitError(f"{what} no named splits: leave `split` out. Received: split={split!r}")


def _from_npz(path, split):
    from ganlib.data.npz import load_npz

    parts = load_npz(path, split)
    if "labels" not in parts:
        raise DataError(
            f"The file {path} has no masks: save them as y, beside the images as x. Received: "
            "images alone"
        )
    masks, facts = parts["labels"], {"name": path.stem, "origin": f"File {path.name!r}."}
    if masks.ndim == 4 and masks.shape[-1] == 1:
        masks = masks[..., 0]
    if masks.ndim != 3:
        raise DataError(
            f"The masks in {path} must be (n, height, width). Received: shape={masks.shape}"
        )
    try:
        images, value_range = normalise.images(parts["images"], None)
        images = convert(images, value_range, "byte")
        stack = _says_stack(path, images)
        return MaskedImages(images, masks, groups=parts.get("groups"), stack=stack, **facts)
    except ValueError as error:  # DataError, or NaN that has no byte value
        raise DataError(f"In the file {path}: {error}") from error


def _says_stack(path, images):
    from ganlib.data.npz import read_arrays, read_headers

    if "stack" not in read_headers(path):
        return neighbours_alike(images)["alike"]
    says = read_arrays(path, ["stack"])["stack"]
    if says.size != 1 or says.dtype.kind not in "biu":
        raise DataError(
            "`stack` must be one truth value, stack=True or stack=False. "
            f"Received: shape={says.shape}, dtype={says.dtype}"
        )
    return bool(says.item())


def _from_tfds(name, split, channels):
    from ganlib.data import tfds

    split = split or "train"
    builder = tfds.prepared(name)
    tfds.count(builder, split)
    if "segmentation_mask" not in builder.info.features:
        raise DataError(
            f"TFDS {name!r} has no masks: choose a set with the feature segmentation_mask, such as "
            f"oxford_iiit_pet. Received: features {sorted(builder.info.features)}"
        )
    images, masks = [], []
    for example in tfds.examples(builder, split):
        images.append(fit(np.asarray(example[tfds.image_key(builder)]), None, channels))
        masks.append(np.asarray(example["segmentation_mask"])[..., 0])
    if set().union(*(np.unique(mask).tolist() for mask in masks)) <= TRIMAP:
        masks = [mask != BACKGROUND for mask in masks]
    return MaskedImages(images, masks, name=builder.info.full_name, origin=tfds.origin(builder))


def _fitted(masked, channels):
    if channels in (None, masked.channels):
        return masked
    images = tuple(fit(image, None, channels) for image in masked.images)
    return dataclasses.replace(masked, images=images)
