"""Procedural microscopy with exact masks: nuclei in fluorescence, membranes under electrons."""

import numpy as np

from ganlib.data import cell_drawing
from ganlib.data.container import Images
from ganlib.data.embedded import check_split
from ganlib.data.errors import DataError

COUNTS = {"train": 64, "test": 24}
SIZES = range(32, 513)
_STARTS = {"train": 0, "test": 10**6}  # the number of a split's first image


def nuclei(split=None, size=128, n=None):
    """Synthetic nuclei in fluorescence, grey, mask 1 = nucleus; the same on every call.

    Bright ellipses on a dark ground, some dim, out of focus or touching, with uneven light, haze,
    noise, and bright specks and threads that are no nuclei.

    `split` is "train" (n = 64) or "test" (n = 24), which share no image; `size` is 32 to 512
    pixels, of which more show more nuclei.
    """
    return _drawn("nuclei", cell_drawing.nuclei, "Nuclei", 1, split, size, n)


def membranes(split=None, size=128, n=None):
    """Synthetic cells in electron microscopy, grey, mask 1 = interior; arguments as of `nuclei`.

    Cells parted by dark membranes of 3 to 4 pixels, some faint, with texture, and organelles that
    are as dark as membranes.
    """
    return _drawn("membranes", cell_drawing.membranes, "Cells", 2, split, size, n)


def _drawn(name, draw, what, number, split, size, n):
    check_split(split, name)
    part = split or "train"
    n = COUNTS[part] if n is None else n
    if size not in SIZES:
        raise DataError(f"The {name} are drawn 32 to 512 pixels wide. Received: size={size!r}")
    # Each image has a generator of its own: it is the same whatever is drawn beside it.
    rngs = (np.random.default_rng((number, _STARTS[part] + i)) for i in range(n))
    images, masks = zip(*(draw(rng, size) for rng in rngs), strict=True)
    return Images(
        np.stack(images),
        np.stack(masks),
        names=[f"{part} {i}" for i in range(n)],
        name=name,
        origin=f"{what} drawn by ganlib with exact masks; no micrographs, no licence question.",
        synthetic=True,
    )
