"""Reads the style factors of rooms back from the pictures: which styles are there, which missing?

Each factor shows in boxes of the picture that nothing else reaches. What stands there is compared
with the same boxes of plain drawings, one for each value that the factor may have.
"""

import dataclasses
import functools
import itertools

import numpy as np

from ganlib.data.container import Images
from ganlib.data.room_drawing import draw
from ganlib.data.rooms import FACTORS, SIZES, STYLES, number

CANNOT_TELL = -1


@dataclasses.dataclass(frozen=True)
class _Rule:
    """Decides some factors at once, given others; boxes (x0, y0, x1, y1) for each camera height.

    `tolerance` is how far from the nearest drawing a picture may be, as a share of the distance
    between the two drawings that are most alike.
    """

    decides: tuple
    given: tuple
    low: tuple
    high: tuple
    tolerance: float = 0.75


_FLOOR = ((0.16, 0.655, 0.38, 0.7), (0.62, 0.655, 0.83, 0.7))
_WALL, _CORNER = ((0.93, 0.22, 1.0, 0.46),), ((0.95, 0.592, 1.0, 0.63),)
_WINDOW = ((0.675, 0.31, 0.745, 0.43), (0.785, 0.31, 0.835, 0.54))
_WINDOW_HIGH = ((0.675, 0.20, 0.745, 0.32), (0.785, 0.20, 0.835, 0.41))
# With the bed on the left: pictures with the bed on the right are mirrored after the first rule.
_RULES = (
    _Rule(("bed", "cover", "floor"), (), _FLOOR, _FLOOR),
    _Rule(("wall",), (), _WALL, _WALL),
    _Rule(("camera",), ("wall", "floor"), _CORNER, _CORNER),
    _Rule(("window",), ("camera", "wall"), _WINDOW, _WINDOW_HIGH, 0.9),  # curtains are narrow
    _Rule(("lamp",), ("camera",), ((0.515, 0.43, 0.575, 0.49),), ((0.515, 0.30, 0.575, 0.36),)),
)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Which styles a set of pictures shows.

    Args:
        n: int, number of pictures.
        clear: int, of those whose factors can all be told; only they count as a style.
        values: float in [0, 1], share of the 20 factor values seen.
        counts: factor → int64, pictures of each value.
        styles: float in [0, 1], share of the 1,152 styles seen.
        styles_expected: float, that share for as many pictures with styles drawn evenly at random.
        missing_styles: int, styles never seen.
    """

    n: int
    clear: int
    values: float
    counts: dict = dataclasses.field(repr=False)
    styles: float
    styles_expected: float
    missing_styles: int


def style_coverage(images):
    """Counts the styles in pictures of rooms, as a `Coverage`.

    Args:
        images: `Images`, or array `(n, size, size, 3)` as `Images` takes it, 32 to 128 pixels wide.
    """
    found = styles(images)
    counts = {
        name: np.bincount(found[name][found[name] >= 0], minlength=len(values))
        for name, values in FACTORS.items()
    }
    clear = np.all([values >= 0 for values in found.values()], axis=0)
    seen = len(np.unique(number({name: values[clear] for name, values in found.items()})))
    return Coverage(
        n=len(clear),
        clear=int(clear.sum()),
        values=float((np.concatenate(list(counts.values())) > 0).mean()),
        counts=counts,
        styles=seen / STYLES,
        styles_expected=1.0 - (1.0 - 1.0 / STYLES) ** len(clear),
        missing_styles=STYLES - seen,
    )


def styles(images):
    """Measures the style factors of pictures of rooms; arguments as of `style_coverage`.

    Exact on what `ganlib.data.rooms.rooms` draws. A factor that shows none of its values clearly
    counts as -1, "cannot tell", and so does one that is read with the help of such a factor.

    Returns:
        Factor → int64 `(n,)`, positions in `ganlib.data.rooms.FACTORS[factor]`, or -1.
    """
    pictures = (images if isinstance(images, Images) else Images(images)).as_range("byte")
    height, width, channels = pictures.shape[1:]
    if height != width or channels != 3 or width not in SIZES:
        raise ValueError(
            "Rooms are square pictures in colour, 32 to 128 pixels wide; load them with "
            f"size=64, channels=3. Received: {height}×{width}, {channels} channels"
        )
    found = {}
    for rule in _RULES:
        found |= _decide(rule, pictures, found, _drawn(rule, width))
        if "bed" in rule.decides:
            right = (found["bed"] == 1)[:, None, None, None]
            pictures = np.where(right, pictures[:, :, ::-1], pictures)
    return {name: found[name] for name in FACTORS}


def _decide(rule, pictures, found, drawn):
    """The decided factors of each picture: those of the nearest drawing."""
    decided = {name: np.full(len(pictures), CANNOT_TELL) for name in rule.decides}
    for given, options, features, limit in drawn:
        fits = np.ones(len(pictures), bool)
        for name, value in given.items():
            fits &= found[name] == value
        if not fits.any():
            continue
        seen = _features(pictures[fits], rule.high if given.get("camera") else rule.low)
        distance = np.linalg.norm(seen[:, None] - features[None], axis=2)
        nearest = distance.argmin(1)
        sure = distance.min(1) <= limit
        for name, values in options.items():
            decided[name][fits] = np.where(sure, values[nearest], CANNOT_TELL)
    return decided


@functools.cache
def _drawn(rule, size):
    """Plain drawings of a rule's values: for each case `(given, decided, features, limit)`."""
    cases = []
    for case in itertools.product(*(range(len(FACTORS[name])) for name in rule.given)):
        given = dict(zip(rule.given, case, strict=True))
        values = itertools.product(*(range(len(FACTORS[name])) for name in rule.decides))
        decided = dict(zip(rule.decides, np.array(list(values)).T, strict=True))
        n = len(decided[rule.decides[0]])
        factors = {name: np.full(n, given.get(name, 0)) for name in FACTORS} | decided
        pictures = draw(factors, np.full((n, 40), 0.5), size).astype(np.float32)
        features = _features(pictures, rule.high if given.get("camera") else rule.low)
        between = np.linalg.norm(features[:, None] - features[None], axis=2)
        limit = rule.tolerance * between[~np.eye(n, dtype=bool)].min()
        cases.append((given, decided, features, limit))
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
