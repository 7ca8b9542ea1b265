"""Data in parts for training, validation and testing that share nothing."""

import dataclasses
import itertools

import numpy as np

from ganlib.data.checks import check
from ganlib.data.container import Images, pixels
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.loading import load

PARTS = ("train", "validation", "test")
HELD_OUT = 0.15  # share of a set without a test part that becomes one; the same for validation
LEAST, LEAST_TILES = 50, 4  # images in a part, and tiles: fewer say nothing
FEW = 6  # images; of fewer than that, tiles of every part are cut from each, in bands


@dataclasses.dataclass(eq=False, repr=False)
class Parts:
    """Images in three parts that share none; unpacks into `train, validation, test`.

    `validation` is for every choice, such as the best epoch; `test` is used for none.
    """

    train: Images
    validation: Images
    test: Images

    def __post_init__(self):
        self.checksum = "".join(part.checksum()[:16] for part in Parts.__iter__(self))
        self.name, self.origin = self.train.name, self.train.origin
        self.synthetic = self.train.synthetic

    def __iter__(self):
        return iter((self.train, self.validation, self.test))

    def __repr__(self):
        return "\n".join(f"{name:<10} {getattr(self, name)!r}" for name in PARTS)


def load_parts(spec, *, size=None, channels=None, any_size=False, tile=None, most=None, seed=0):
    """Loads images in three parts, and checks them.

    The source's own "train", "validation" and "test" stay; without a test part its validation part
    is one, as usual with DIV2K. For a part that is missing, or a validation part smaller than
    `most` asks, 15 % are set aside. Training images with a held-out one's pixels are dropped.

    Args:
        spec: what `load` takes.
        size, channels, any_size: as of `load`.
        tile: int, side in pixels of the tiles that images and masks are cut into; the last of a row
            may overlap. Fewer than six images are divided in bands, a tile's width apart.
        most: dict, most images or tiles of "train", "validation" and "test", drawn at random.
        seed: int, not negative: what goes where.

    Returns `Parts`; the groups of tiles are those of their images, or the images' names.
    """
    most = most or {}
    options = {"size": size, "channels": channels, "any_size": any_size, "masks": bool(tile)}
    parts = _stored(spec, most, options)
    if tile and len(parts["train"]) < FEW and parts["train"].groups is None:
        names = [name for name in PARTS if name == "train" or name not in parts]
        parts |= _bands(check(parts["train"], at_least=tile), names, tile, seed)
    else:
        parts = _divided(parts, "test", seed)
        # Of tiles with the first draw, of images with the second: as kept results were made.
        parts = _divided(parts, "validation", seed if tile else seed + 1)
    least = LEAST_TILES if tile else 1 if any_size else LEAST
    for name, part in parts.items():
        if tile:
            part = _tiles(check(part, at_least=tile), tile, most.get(name))
        elif len(part) > most.get(name, len(part)):
            part = part.subset(_chosen(len(part), most[name]))
        least = min(least, most.get(name, least))
        parts[name] = check(part, channels=channels, size=tile or size, minimum=least)
    return Parts(**parts)


def load_train_test(spec, *, size=None, channels=None, seed=0):
    """Loads images in two parts, train and test: a pair of `Images`, divided as by `load_parts`."""
    parts = _divided(_stored(spec, {}, {"size": size, "channels": channels}), "test", seed)
    return parts["train"], parts["test"]


def _stored(spec, most, options):
    """The parts that the source itself has, or all of it as "train"."""
    limited = len(most) == len(PARTS) and str(spec).startswith("tfds:")
    parts = {}
    for split in PARTS:
        try:
            parts[split] = load(spec, _first(spec, split, most) if limited else split, **options)
        except NoSplitError:
            continue
    if not parts:
        return {"train": load(spec, _first(spec, None, most) if limited else None, **options)}
    if "train" not in parts:
        raise DataError(f"The data need a part named train. Received: {', '.join(parts)}")
    if "test" not in parts and len(parts.get("validation", ())) >= most.get("test", 1):
        parts["test"] = parts.pop("validation")
    if len(parts.get("validation", ())) < most.get("validation", 1):  # LSUN's 300
        parts.pop("validation", None)
    for name in parts.keys() - {"train"}:
        parts["train"] = _apart(parts["train"], parts[name], name)
    return parts


def _first(spec, split, most):
    """Of TFDS no more of a split than can be needed: LSUN would not fit into memory."""
    from ganlib.data import tfds

    builder, split = tfds.prepared(spec.removeprefix("tfds:")), split or "train"
    return f"{split}[:{min(tfds.count(builder, split), sum(most.values()))}]"


def _apart(train, held_out, name):
    """The training images without those that are held out, too."""
    groups = (() if part.groups is None else part.groups.tolist() for part in (train, held_out))
    shared = set.intersection(*map(set, groups))
    known = {pixels(image) for image in held_out.images}
    kept = np.array([pixels(image) not in known for image in train.images], bool)
    if shared or not kept.any():
        raise DataError(
            f"The {name} part must share no group and no image with the training part: save all in "
            "one part, which is then divided, or number the groups apart. Received: groups "
            f"{list(shared)[:3]} and {(~kept).sum()} images in both"
        )
    if kept.all():
        return train
    dropped = f"{(~kept).sum()} training images were dropped that are in the {name} part, too."
    return dataclasses.replace(train.subset(kept), origin=f"{train.origin} {dropped}")


def _divided(parts, name, seed):
    if name in parts:
        return parts
    train, held_out = parts["train"].split(1 - HELD_OUT, seed)
    return {**parts, "train": train, name: held_out}


def _chosen(n, most):
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def _bands(images, names, tile, seed):
    gaps, order = len(names) - 1, np.random.default_rng(seed).permutation(names)
    bands = {name: ([], []) for name in names}
    for image, mask in zip(images.images, images.masks, strict=True):
        axis = int(image.shape[1] >= image.shape[0])
        columns = image.shape[axis] // tile
        if columns < len(names) + gaps:
            raise DataError(
                f"{images.name!r} cannot be divided into {len(names)} parts: add images, or choose "
                f"smaller tiles. Received: {columns} columns of tiles, {len(names) + gaps} needed"
            )
        held_out = max(1, round(HELD_OUT * (columns - gaps)))
        start = 0
        for name in order:
            stop = start + (columns - gaps - held_out * gaps if name == "train" else held_out)
            end = image.shape[axis] if stop == columns else stop * tile
            window = (slice(None),) * axis + (slice(start * tile, end),)
            for pictures, picture in zip(bands[name], (image, mask), strict=True):
                pictures.append(picture[window])
            start = stop + 1
    return {k: dataclasses.replace(images, images=v[0], masks=v[1]) for k, v in bands.items()}


def _tiles(images, tile, most):
    places = []
    for i, image in enumerate(images.images):
        rows, columns = (_steps(side, tile) for side in image.shape[:2])
        places += itertools.product([i], rows, columns)
    if most is not None and len(places) > most:
        places = [places[i] for i in _chosen(len(places), most)]
    cut = {}
    for field in ("images", "masks"):
        whole = getattr(images, field)
        cut[field] = np.stack([whole[i][y : y + tile, x : x + tile] for i, y, x in places])
    sources = np.array(images.names) if images.groups is None else images.groups
    cut["groups"] = sources[[i for i, _, _ in places]]
    cut["names"] = [f"{images.names[i]} at {y}, {x}" for i, y, x in places]
    return dataclasses.replace(images, **cut, labels=None, stack=False)


def _steps(length, tile):
    steps = list(range(0, length - tile + 1, tile))
    if 2 * (length - tile - steps[-1]) >= tile:
        steps.append(length - tile)
    return steps
