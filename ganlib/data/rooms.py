"""Procedural bedrooms with known style factors, so that diversity can be counted exactly."""

import numpy as np

from ganlib.data.container import Images
from ganlib.data.embedded import check_split

FACTORS = {
    "wall": ("beige", "blue", "green", "rose"),
    "floor": ("light wood", "dark wood", "carpet"),
    "bed": ("left", "right"),
    "cover": ("white", "red", "blue", "mustard"),
    "window": ("none", "plain", "curtained"),
    "lamp": ("off", "on"),
    "camera": ("low", "high"),
}
SHAPE = [len(values) for values in FACTORS.values()]
STYLES = int(np.prod(SHAPE))
SIZES = range(32, 129)
_TEST_START = 1000 * STYLES
_ORIGIN = "Bedrooms drawn by ganlib with known style factors; no photographs, no licence question."


def rooms(split=None, size=64, train=2000, test=500):
    """Synthetic pictures of bedrooms, `(n, size, size, 3)` bytes, the same on every call.

    Each 1,152 pictures of a split, from its start, hold each style (`FACTORS`) once. `split` is
    "train" or "test", which share no picture, or `None` for both; `size` 32 to 128 pixels; `train`
    and `test` are numbers of pictures.
    """
    from ganlib.data.room_drawing import draw

    indices = room_indices(split, train, test)
    images = draw(factors(indices), jitter(indices), size)
    return Images(images, name="rooms", origin=_ORIGIN, synthetic=True, value_range="byte")


def room_indices(split=None, train=2000, test=500):
    """The indices of a split's pictures, int64 `(n,)`; arguments as for `rooms`."""
    parts = {"train": np.arange(train), "test": _TEST_START + np.arange(test)}
    check_split(split, "rooms")
    return parts[split] if split else np.concatenate(list(parts.values()))


def factors(indices):
    """The style of each picture: factor → int64 `(n,)`, positions in `FACTORS[factor]`."""
    indices = np.asarray(indices, np.int64)
    styles = np.empty_like(indices)
    blocks, places = np.divmod(indices, STYLES)
    for block in np.unique(blocks):
        chosen = blocks == block
        order = np.argsort(_random(np.full(STYLES, block), np.arange(STYLES)))
        styles[chosen] = order[places[chosen]]
    return dict(zip(FACTORS, np.unravel_index(styles, SHAPE), strict=True))


def number(values):
    """The number of each style, int64 `(n,)` from 0 to `STYLES` - 1, of a dict of factors."""
    return np.ravel_multi_index([values[name] for name in FACTORS], SHAPE)


def jitter(indices):
    """Each picture's own variation, `(n, 40)` in [0, 1), whatever is drawn beside it."""
    return _random(np.asarray(indices, np.int64)[:, None], STYLES + np.arange(40)[None])


def _random(a, b):
    """A number in [0, 1) for each pair of integers, the same on every machine (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = (np.asarray(a).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = _mixed(x) + np.asarray(b).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        return (_mixed(x) >> np.uint64(11)) * 2.0**-53


def _mixed(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
