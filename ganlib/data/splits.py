"""Which images go to which side of a split."""

import numpy as np


def split_mask(n, labels, groups, fraction, seed):
    """Mask `(n,)` of the first side of a random split; see `ImageSet.split`."""
    units = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(units, minlength=1)
    classes = _majority(units, labels, len(sizes))
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(sizes), bool)
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        before = np.cumsum(sizes[members]) - sizes[members]
        # A unit is in if most of it is; with units of one image this rounds to the nearest.
        chosen[members] = before + sizes[members] / 2 <= fraction * sizes[members].sum()
    return chosen[units]


def _majority(units, labels, n_units):
    """The most frequent class of each unit."""
    if labels is None:
        return np.zeros(n_units, int)
    values, codes = np.unique(labels, return_inverse=True)
    if n_units == len(labels):
        return codes[np.argsort(units)]
    table = np.zeros((n_units, len(values)), int)
    np.add.at(table, (units, codes), 1)
    return table.argmax(axis=1)
