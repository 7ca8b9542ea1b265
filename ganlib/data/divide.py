"""Which images, slices or bands of images go to which part; see `ganlib.data.split_tiles`.

Each function returns a dict, part → list of regions. A region is `(index, band)`: the index of an
image, and `None` for all of it or `(axis, start, stop)` in pixels.
"""

import hashlib

import numpy as np

from ganlib.data.errors import DataError


def whole_images(masked, shares, seed):
    """Images at random; those of a group, or with equal pixels, stay together."""
    units = _units(masked)
    n = units.max() + 1
    what = "different images" if masked.groups is None else "groups without a common image"
    _check_enough(masked, n, len(shares), what)
    order = np.random.default_rng(seed).permutation(n)
    ends = np.cumsum(_counts(n, shares))[:-1]
    parts = [set(part.tolist()) for part in np.split(order, ends)]
    return {
        name: [(i, None) for i, unit in enumerate(units) if unit in part]
        for name, part in zip(shares, parts, strict=True)
    }


def _units(masked):
    """Number of the unit that each image belongs to, counted by the unit's first image."""
    units = np.arange(len(masked))
    pixels = [hashlib.sha256(image).digest() for image in masked.images]
    for keys in (pixels, masked.groups or ()):
        first = {}
        for i, key in enumerate(keys):
            a, b = sorted((units[first.setdefault(key, i)], units[i]))
            if a < b:
                units[units == b] = a
    return np.unique(units, return_inverse=True)[1]


def blocks(masked, shares, seed):
    """Contiguous blocks of slices, one slice left out between two blocks."""
    limits = _limits(masked, len(masked), shares, seed, "slices")
    return {name: [(i, None) for i in range(start, stop)] for name, (start, stop) in limits.items()}


def bands(masked, shares, seed, size):
    """Bands across the longer side of each image, a tile's width left out between two bands."""
    regions = {name: [] for name in shares}
    for index, mask in enumerate(masked.masks):
        axis = int(mask.shape[1] >= mask.shape[0])
        columns, rest = divmod(mask.shape[axis], size)
        what = f"columns of tiles of {size}×{size} pixels in {masked.names[index]}"
        limits = _limits(masked, columns, shares, seed, what)
        for name, (start, stop) in limits.items():
            edge = rest if stop == columns else 0
            regions[name].append((index, (axis, start * size, stop * size + edge)))
    return regions


def _limits(masked, n, shares, seed, what):
    """Part → (start, stop) among n things in a row, one left out between two parts."""
    gaps = len(shares) - 1
    _check_enough(masked, n - gaps, len(shares), what, gaps)
    counts = dict(zip(shares, _counts(n - gaps, shares), strict=True))
    limits, start = {}, 0
    for i in np.random.default_rng(seed).permutation(len(shares)):
        name = list(shares)[i]
        limits[name] = (start, start + counts[name])
        start += counts[name] + 1
    return limits


def _counts(n, shares):
    """How many of n things each part gets: at least one each, the rest for the first."""
    counts = [max(1, round(share * n)) for share in shares.values()]
    counts[0] = n - sum(counts[1:])
    while counts[0] < 1:  # many small shares of few things
        counts[1 + int(np.argmax(counts[1:]))] -= 1
        counts[0] += 1
    return counts


def _check_enough(masked, n, needed, what, gaps=0):
    if n < needed:
        left_out = f" ({gaps} of them left out between the parts)" if gaps else ""
        raise DataError(
            f"{masked.name!r} cannot be divided into {needed} parts that share nothing: add images,"
            " or choose smaller tiles where single images are divided. "
            f"Received: {n + gaps} {what}, at least {needed + gaps} needed{left_out}"
        )
