"""Which images go to which side of a split; see `Images.split`."""

import hashlib

import numpy as np


def sides(images, fraction, seed):
    """Masks `(n,)` of the first and of the second side; a stack has an image on neither."""
    n = len(images)
    rng = np.random.default_rng(seed)
    if images.stack and images.groups is None:
        count = int(np.clip(round(fraction * (n - 1)), 1, max(n - 2, 1)))
        place = np.arange(n)[::-1] if rng.integers(2) else np.arange(n)
        return place < count, place > count  # neighbours look alike
    units = _units(images)
    sizes = np.bincount(units, minlength=1)
    classes = np.zeros(len(sizes), int)
    if images.labels is not None:  # the most frequent class of each unit
        values, codes = np.unique(images.labels, return_inverse=True)
        table = np.zeros((len(sizes), len(values)), int)
        np.add.at(table, (units, codes), 1)
        classes = table.argmax(axis=1)
    chosen = np.zeros(len(sizes), bool)
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        before = np.cumsum(sizes[members]) - sizes[members]
        # A unit is in if most of it is; with units of one image this rounds to the nearest.
        chosen[members] = before + sizes[members] / 2 <= fraction * sizes[members].sum()
    return chosen[units], ~chosen[units]


def pixels(image):
    """A short key that images with equal pixels share."""
    image = np.ascontiguousarray(image)
    return image.shape, hashlib.blake2b(image, digest_size=16).digest()


def _units(images):
    """Number of the unit that each image belongs to: its group, and all with equal pixels."""
    units = np.arange(len(images))
    if images.groups is not None:
        units = np.unique(images.groups, return_inverse=True)[1]
    owners, same = {}, {}  # pixels → first unit that has them; unit → one that it belongs to

    def root(unit):
        while unit in same:
            unit = same[unit]
        return unit

    for image, unit in zip(images.images, units.tolist(), strict=True):
        a, b = sorted((root(owners.setdefault(pixels(image), unit)), root(unit)))
        if a != b:
            same[b] = a
    return np.unique([root(unit) for unit in units.tolist()], return_inverse=True)[1]
