"""Whether consecutive images are neighbours, such as the slices of a volume, by looking at them."""

import numpy as np
from PIL import Image

LEAST = 6  # images: of fewer, an order is the best one of all by chance too often
SIDE = 32  # pixels: what neighbours share is coarse
ORDERS = 200  # random orders that the given one is compared with
MARGIN = 0.1  # of correlation: less is not worth giving up a random split for


def neighbours_alike(images, seed=0):
    """Compares each image with the next one, and with others.

    A random split of a stack puts slices that look alike on both sides. Where nobody says whether
    images are a stack, this asks them: is the mean correlation of consecutive images higher than in
    random orders of the same images?

    Args:
        images: sequence of uint8 arrays `(height, width, channels)`, in order.
        seed: int, of the random orders.

    Returns:
        dict with `alike` (bool), `correlation` of neighbours and `elsewhere`, that of random pairs,
        both means; fewer than six images are never alike.
    """
    if len(images) < LEAST:
        return {"alike": False, "correlation": None, "elsewhere": None}
    small = np.stack([_small(image) for image in images])
    small -= small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-9)
    table = small @ small.T
    rng = np.random.default_rng(seed)
    given = _along(table, np.arange(len(images)))
    others = [_along(table, rng.permutation(len(images))) for _ in range(ORDERS)]
    elsewhere = float(np.mean(others))
    # Of few images the random orders may have the given one among them, or its reverse.
    alike = given > max(others) - 1e-6 and given - elsewhere > MARGIN
    return {"alike": bool(alike), "correlation": given, "elsewhere": elsewhere}


def _small(image):
    grey = Image.fromarray(np.asarray(image).mean(axis=2).astype(np.uint8))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), "float32").ravel()


def _along(table, order):
    return float(table[order[:-1], order[1:]].mean())
