"""Tiles of one size, cut from images with masks, in parts that share nothing."""

import dataclasses
import hashlib
import numbers

import numpy as np

from ganlib.data.divide import bands, blocks, whole_images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.imageset import facts_table
from ganlib.images import convert

PARTS = ("train", "validation", "test")
HELD_OUT = 0.15  # share of the validation part, also of a source with its own test part
LEAST = 4  # tiles in a part before `most` is applied: fewer say nothing
FEW = 6  # images; fewer than that are cut in bands, each image giving to every part


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tiles:
    """Square tiles with their masks.

    Args:
        images: uint8 array `(n, size, size, channels)`.
        masks: uint8 array `(n, size, size, 1)` of 0 and 1.
        sources: integers `(n,)`, the index of the image that each tile was cut from.
        name: str, short name of the set.
        origin: str, one sentence: where the images come from.
        synthetic: bool, whether a program drew them.

    Raises:
        DataError: a shape or dtype does not fit, or a mask is not of 0 and 1.
    """

    images: np.ndarray
    masks: np.ndarray
    sources: np.ndarray
    name: str = "tiles"
    origin: str = "Arrays in memory."
    synthetic: bool = False

    def __post_init__(self):
        shapes = self.images.shape, self.masks.shape, self.sources.shape
        n, *sides = (*shapes[0], 0, 0)[:3]
        if (
            self.images.ndim != 4
            or sides[0] != sides[1]
            or shapes[1:] != ((n, *sides, 1), (n,))
            or not self.images.dtype == self.masks.dtype == np.uint8
        ):
            raise DataError(
                "Tiles must be uint8 (n, size, size, channels), their masks uint8 (n, size, size, "
                f"1), their sources (n,). Received: shapes {', '.join(map(str, shapes))}, dtypes "
                f"{self.images.dtype}, {self.masks.dtype}"
            )
        if n and self.masks.max() > 1:
            raise DataError(
                f"The masks of tiles must be of 0 and 1. Received: maximum {self.masks.max()}"
            )

    def __len__(self):
        return len(self.images)

    @property
    def shape(self):
        """Shape of the image array, `(n, size, size, channels)`."""
        return self.images.shape

    @property
    def foreground(self):
        """Share of the pixels that are foreground."""
        return float(self.masks.mean())

    def checksum(self):
        """SHA-256, 64 hex digits, of images, masks and sources; the same on any machine."""
        digest = hashlib.sha256(f"{self.shape}".encode())
        for array in (self.images, self.masks, self.sources.astype("<i8")):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def as_arrays(self):
        """Images and masks as float32, both in [0, 1]."""
        return convert(self.images, "byte", "unit"), self.masks.astype(np.float32)

    def subset(self, indices):
        """`Tiles` at `indices` (integers, a mask or a slice), in that order."""
        parts = {field: getattr(self, field)[indices] for field in ("images", "masks", "sources")}
        return dataclasses.replace(self, **parts)

    def __repr__(self):
        n, *shape = self.shape
        facts = [f"{n} × {'×'.join(map(str, shape))}", f"{len(np.unique(self.sources))} images"]
        facts.append("synthetic" if self.synthetic else "real")
        return f"Tiles({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        n, size, _, channels = self.shape
        rows = {
            "name": self.name,
            "tiles": f"{n:,} of {size}×{size}, {channels} channel{'s' * (channels != 1)}",
            "cut from": f"{len(np.unique(self.sources))} images",
            "foreground": f"{self.foreground:.1%} of the pixels" if n else "none",
            "synthetic": "yes" if self.synthetic else "no",
            "origin": self.origin,
            "checksum": self.checksum()[:12],
        }
        return facts_table(rows)


def load_tiles(spec, size, *, channels=1, most=None, seed=0):
    """Loads images with masks, divides them and cuts tiles.

    Args:
        spec: what `ganlib.data.load_masks` takes. Its own test part is the test part, and 15 % of
            the rest are for validation; a source without one is divided 70 : 15 : 15.
        size: int, height and width of a tile in pixels.
        channels: 1 turns colour into BT.601 luma, 3 repeats grey; `None` keeps the channels.
        most: dict, the most tiles of "train", "validation" and "test"; see `split_tiles`.
        seed: int, what goes where.

    Returns:
        dict of `Tiles`: "train", "validation" and "test".

    Raises:
        ValueError: `size`, `most` or `seed` is out of its range.
        DataError: the data cannot be used or divided, or images or groups of the source's test part
            are in its training part too.

    Example:

    >>> load_tiles("nuclei", 64)["test"]
    Tiles('nuclei', 96 × 64×64×1, 24 images, synthetic)
    """
    _check_most(most)
    try:
        train, test = (_load(spec, split, channels, most) for split in ("train", "test"))
    except NoSplitError:
        return split_tiles(_load(spec, None, channels, most), size, seed=seed, most=most)
    _check_apart(train, test)
    parts = split_tiles(train, size, (1 - HELD_OUT, HELD_OUT), seed, most=most)
    _check_size(test, size)
    places = _grid(test, [(i, None) for i in range(len(test))], size, size)
    return parts | {"test": _checked(_cut(test, places, size, (most or {}).get("test")), "test")}


def split_tiles(masked, size, fractions=(0.7, 0.15, 0.15), seed=0, stride=None, most=None):
    """Cuts tiles in parts for training, validation and testing that share nothing.

    How the images are divided depends on what is known about them:

    * with groups, whole groups at random; those that have an image in common stay together;
    * fewer than 6 images: each image in bands across its longer side, the same bands of every
      image, with a tile's width left out between two parts;
    * a stack: contiguous blocks of slices, with one slice left out between two parts, so that
      neighbouring slices, which look alike, are never on two sides;
    * else whole images at random; those with equal pixels stay together.

    Tiles lie on a regular grid. What is left at the right and bottom gets one more column or row of
    tiles, moved inward, where it is at least half a stride wide, and is dropped otherwise.

    Args:
        masked: `MaskedImages`.
        size: int, height and width of a tile in pixels.
        fractions: floats, the shares of "train", "validation" and "test"; two for the first two
            alone. They are exact up to rounding, and each part has at least one unit.
        seed: int, not negative: which images go where, and in which order blocks and bands lie.
        stride: int from 1 to `size`, the step of the grid. `None` is `size`: tiles side by side.
        most: dict, part → most tiles, drawn at random with a fixed seed. `None` or a part that is
            missing: all.

    Returns:
        dict of `Tiles`, one a part.

    Raises:
        ValueError: a number is out of its range, or `most` names no part.
        DataError: an image is smaller than a tile; there are too few images, slices or columns to
            divide, or a part gets too few tiles; or the training or test part has no foreground, or
            nothing else.
    """
    stride = size if stride is None else stride
    _check_numbers(size, stride, fractions, seed)
    _check_most(most)
    _check_size(masked, size)
    shares = dict(zip(PARTS, fractions, strict=False))
    if masked.groups is not None:
        regions = whole_images(masked, shares, seed)
    elif len(masked) < FEW:
        regions = bands(masked, shares, seed, size)
    elif masked.stack:
        regions = blocks(masked, shares, seed)
    else:
        regions = whole_images(masked, shares, seed)
    return {
        part: _checked(
            _cut(masked, _grid(masked, regions[part], size, stride), size, (most or {}).get(part)),
            part,
        )
        for part in shares
    }


def _load(spec, split, channels, most):
    from ganlib.data.mask_sources import load_masks

    if str(spec).startswith("tfds:") and most and len(most) == len(PARTS):
        from ganlib.data import tfds  # all of it might not fit into memory

        builder, split = tfds.prepared(str(spec).removeprefix("tfds:")), split or "train"
        split = f"{split}[:{min(tfds.count(builder, split), sum(most.values()))}]"
    return load_masks(spec, split, channels)


def _check_numbers(size, stride, fractions, seed):
    for name, value, low, high in (("size", size, 8, np.inf), ("stride", stride, 1, size)):
        if not isinstance(value, numbers.Integral) or not low <= value <= high:
            upper = "" if high == np.inf else f" to {high}"
            raise ValueError(
                f"`{name}` must be an integer from {low}{upper}{' up' * (not upper)}. "
                f"Received: {name}={value!r}"
            )
    if len(fractions) not in (2, 3) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            "`fractions` must be two or three positive numbers whose sum is 1. "
            f"Received: fractions={fractions!r}"
        )
    if not isinstance(seed, numbers.Integral) or seed < 0:
        raise ValueError(f"`seed` must be an integer, not negative. Received: seed={seed!r}")


def _check_most(most):
    for part, count in (most or {}).items():
        if part not in PARTS or not isinstance(count, numbers.Integral) or count < 1:
            raise ValueError(
                f"`most` must give integers of at least 1 for any of {', '.join(PARTS)}. "
                f"Received: most={most!r}"
            )


def _check_size(masked, size):
    pairs = zip(masked.names, masked.masks, strict=True)
    small = [(name, *mask.shape) for name, mask in pairs if min(mask.shape) < size]
    if small:
        name, height, width = small[0]
        more = f" and {len(small) - 1} more" if len(small) > 1 else ""
        raise DataError(
            f"Images of {masked.name!r} are smaller than a tile of {size}×{size} pixels: leave them"
            f" out, or choose smaller tiles. Received: {name} ({height}×{width}){more}"
        )


def _check_apart(train, test):
    images = {image.tobytes(): name for image, name in zip(train.images, train.names, strict=True)}
    shared = [
        f"{name} (in the training part {images[key]})"
        for image, name in zip(test.images, test.names, strict=True)
        if (key := image.tobytes()) in images
    ]
    if not shared and train.groups is not None and test.groups is not None:
        shared = [f"group {group!r}" for group in sorted(set(train.groups) & set(test.groups))]
    if shared:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise DataError(
            "The test part must have no image and no group of the training part, or it is not held "
            "out: remove them from one part, or save all in one part, which is then divided. "
            f"Received: {shared[0]}{more}"
        )


def _grid(masked, regions, size, stride):
    """Top left corners of all tiles: integers `(n, 3)` of image, row and column."""
    places = []
    for index, band in regions:
        shape = masked.masks[index].shape
        limits = [(0, shape[0]), (0, shape[1])]
        if band is not None:
            axis, *limit = band
            limits[axis] = limit
        rows, columns = (_steps(start, stop, size, stride) for start, stop in limits)
        places += [(index, row, column) for row in rows for column in columns]
    return np.array(places, int).reshape(-1, 3)


def _steps(start, stop, size, stride):
    steps = list(range(start, stop - size + 1, stride))
    if 2 * (stop - size - steps[-1]) >= stride:
        steps.append(stop - size)
    return steps


def _cut(masked, places, size, most):
    if len(places) < LEAST:
        raise DataError(
            f"{masked.name!r} has too few tiles of {size}×{size} pixels for one of its parts: add "
            f"images, choose smaller tiles, or give `stride`. Received: {len(places)} tiles, at "
            f"least {LEAST} needed"
        )
    if most is not None and len(places) > most:
        chosen = np.random.default_rng(0).choice(len(places), most, replace=False)
        places = places[np.sort(chosen)]
    images = np.empty((len(places), size, size, masked.channels), np.uint8)
    masks = np.empty((len(places), size, size, 1), np.uint8)
    for i, (index, row, column) in enumerate(places):
        window = slice(row, row + size), slice(column, column + size)
        images[i] = masked.images[index][window]
        masks[i, ..., 0] = masked.masks[index][window]
    facts = {field: getattr(masked, field) for field in ("name", "origin", "synthetic")}
    return Tiles(images, masks, places[:, 0].copy(), **facts)


def _checked(tiles, part):
    if part != "validation" and tiles.masks.min() == tiles.masks.max():
        what = "foreground" if tiles.masks.max() == 0 else "background"
        raise DataError(
            f"The {part} part of {tiles.name!r} has no {what}, so that nothing can be learned from "
            "it or scored on it: look at the masks, divide with another seed, or add images. "
            f"Received: {len(tiles)} tiles of {tiles.masks.max()} throughout"
        )
    return tiles
