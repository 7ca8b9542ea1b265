"""Reads the style factors of rooms back from the pictures: which styles are there, which missing?

Boxes of the picture that one factor alone reaches are compared with those of plain drawings.
"""

import functools
import itertools

import numpy as np

from ganlib.data.container import Images
from ganlib.data.rooms import FACTORS, STYLES, draw, number

CANNOT_TELL = -1
_FLOOR = ((0.16, 0.655, 0.38, 0.7), (0.62, 0.655, 0.83, 0.7))
_WALL, _CORNER = ((0.93, 0.22, 1.0, 0.46),), ((0.95, 0.592, 1.0, 0.63),)
_WINDOW = ((0.675, 0.31, 0.745, 0.43), (0.785, 0.31, 0.835, 0.54))
_WINDOW_HIGH = ((0.675, 0.20, 0.745, 0.32), (0.785, 0.20, 0.835, 0.41))
_LAMP, _LAMP_HIGH = ((0.515, 0.43, 0.575, 0.49),), ((0.515, 0.30, 0.575, 0.36),)
# Which factors are decided at once, given which; boxes (x0, y0, x1, y1) for the low and the high
# camera; and how far from the nearest drawing a picture may be, as a share of the distance between
# the two drawings most alike. Pictures with the bed on the right are mirrored after the first rule.
_RULES = (
    (("bed", "cover", "floor"), (), (_FLOOR, _FLOOR), 0.75),
    (("wall",), (), (_WALL, _WALL), 0.75),
    (("camera",), ("wall", "floor"), (_CORNER, _CORNER), 0.75),
    (("window",), ("camera", "wall"), (_WINDOW, _WINDOW_HIGH), 0.9),  # curtains are narrow
    (("lamp",), ("camera",), (_LAMP, _LAMP_HIGH), 0.75),
)


def style_coverage(images):
    """Counts the styles in pictures of rooms.

    Takes `Images`, or an array `(n, size, size, 3)`, 32 to 128 pixels wide. Returns a dict: `n`;
    `clear`, pictures whose factors can all be told; shares of the `values` and `styles` seen, and
    `styles_expected` of n random ones; `missing_styles`; `counts`, pictures of each value.
    """
    found, counts = styles(images), {}
    for name, values in FACTORS.items():
        counts[name] = np.bincount(found[name][found[name] >= 0], minlength=len(values))
    clear = np.all([values >= 0 for values in found.values()], axis=0)
    seen = len(np.unique(number({name: values[clear] for name, values in found.items()})))
    return {
        "n": len(clear),
        "clear": int(clear.sum()),
        "values": float((np.concatenate(list(counts.values())) > 0).mean()),
        "counts": counts,
        "styles": seen / STYLES,
        "styles_expected": 1.0 - (1.0 - 1.0 / STYLES) ** len(clear),
        "missing_styles": STYLES - seen,
    }


def styles(images):
    """Measures the style factors of pictures of rooms; arguments as of `style_coverage`.

    Returns a dict, factor → int64 `(n,)`, positions in `FACTORS[factor]`, or -1 where unclear.
    """
    pictures = (images if isinstance(images, Images) else Images(images)).as_range("byte")
    if pictures.shape[1] != pictures.shape[2] or pictures.shape[3] != 3:
        raise ValueError(
            "Rooms are square and in colour: load them with size=64, channels=3. "
            f"Received: shape={pictures.shape}"
        )
    found = {}
    for rule in _RULES:
        found |= _decide(rule, pictures, found)
        if "bed" in rule[0]:
            right = (found["bed"] == 1)[:, None, None, None]
            pictures = np.where(right, pictures[:, :, ::-1], pictures)
    return {name: found[name] for name in FACTORS}


def _decide(rule, pictures, found):
    """The decided factors of each picture: those of the nearest drawing."""
    decided = {name: np.full(len(pictures), CANNOT_TELL) for name in rule[0]}
    for given, options, boxes, features, limit in _drawn(rule, pictures.shape[1]):
        fits = np.ones(len(pictures), bool)
        for name, value in given.items():
            fits &= found[name] == value
        distance = np.linalg.norm(_features(pictures[fits], boxes)[:, None] - features, axis=2)
        nearest, sure = distance.argmin(1), distance.min(1) <= limit
        for name, values in options.items():
            decided[name][fits] = np.where(sure, values[nearest], CANNOT_TELL)
    return decided


@functools.cache
def _drawn(rule, size):
    """Plain drawings of a rule's values: a list of `(given, decided, boxes, features, limit)`."""
    decides, needs, (low, high), tolerance = rule
    cases = []
    for case in itertools.product(*(range(len(FACTORS[name])) for name in needs)):
        given = dict(zip(needs, case, strict=True))
        values = itertools.product(*(range(len(FACTORS[name])) for name in decides))
        decided = dict(zip(decides, np.array(list(values)).T, strict=True))
        n = len(decided[decides[0]])
        factors = {name: np.full(n, given.get(name, 0)) for name in FACTORS} | decided
        pictures = draw(factors, np.full((n, 40), 0.5), size).astype(np.float32)
        boxes = high if given.get("camera") else low
        features = _features(pictures, boxes)
        between = np.linalg.norm(features[:, None] - features, axis=2)
        limit = tolerance * between[~np.eye(n, dtype=bool)].min()
        cases.append((given, decided, boxes, features, limit))
    return cases


def _features(pictures, boxes):
    """Of each box the share of each colour and, at less weight, the logarithm of the light."""
    size = pictures.shape[1]
    parts = []
    for x0, y0, x1, y1 in boxes:
        rows = slice(round(y0 * size), max(round(y1 * size), round(y0 * size) + 1))
        columns = slice(round(x0 * size), max(round(x1 * size), round(x0 * size) + 1))
        colour = pictures[:, rows, columns].mean((1, 2)) + 1.0
        light = colour.sum(1, keepdims=True)
        parts += [colour / light, 0.25 * np.log(light)]
    return np.concatenate(parts, 1).astype(np.float64)
