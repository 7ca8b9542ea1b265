"""Procedural microscopy: nuclei in fluorescence and membranes in electron microscopy, with masks.

The masks are exact, for what is drawn is known. `ganlib.data.cell_drawing` draws.
"""

import numpy as np

from ganlib.data import cell_drawing
from ganlib.data.container import Images
from ganlib.data.embedded import check_split
from ganlib.data.errors import DataError

COUNTS = {"train": 64, "test": 24}
SIZES = range(32, 513)
_STARTS = {"train": 0, "test": 10**6}  # the number of a split's first image
_ORIGIN = "{} drawn by ganlib with exact masks; no micrographs, no licence question."


def nuclei(split=None, size=128, n=None):
    """Synthetic nuclei in fluorescence, grey, mask 1 = nucleus; the same on every call.

    Bright ellipses of many sizes on a dark ground, some dim, some out of focus, some touching, with
    uneven light, haze, noise, and bright specks and threads that are no nuclei.

    Args:
        split: "train" or "test", which share no image; `None` is "train".
        size: int from 32 to 512, height and width in pixels. Things are as large in any size: a
            larger image shows more of them.
        n: int, number of images. `None`: 64 in "train" and 24 in "test".

    Returns:
        `Images` with masks; the images are independent, not slices of a stack.
    """
    return _drawn("nuclei", cell_drawing.nuclei, "Nuclei", 1, split, size, n)


def membranes(split=None, size=128, n=None):
    """Synthetic cells in electron microscopy, grey, mask 1 = interior; arguments as of `nuclei`.

    Cells of many sizes and distorted shapes, parted by dark membranes of 3 to 4 pixels, some of
    them faint, with texture, and organelles that are as dark as membranes and are none.
    """
    return _drawn("membranes", cell_drawing.membranes, "Cells", 2, split, size, n)


def _drawn(name, draw, what, number, split, size, n):
    check_split(split, name)
    part = split or "train"
    n = COUNTS[part] if n is None else n
    if size not in SIZES or n not in range(1, 10**6 + 1):
        raise DataError(
            f"The {name} are drawn {SIZES[0]} to {SIZES[-1]} pixels wide, 1 to 1,000,000 of them. "
            f"Received: size={size!r}, n={n!r}"
        )
    # Each image has a generator of its own: it is the same whatever is drawn beside it.
    rngs = (np.random.default_rng((number, _STARTS[part] + i)) for i in range(n))
    images, masks = zip(*(draw(rng, size) for rng in rngs), strict=True)
    return Images(
        np.stack(images),
        np.stack(masks),
        names=[f"{part} {i}" for i in range(n)],
        name=name,
        origin=_ORIGIN.format(what),
        synthetic=True,
    )
