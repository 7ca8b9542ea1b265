"""Procedural bedrooms with known style factors, so that diversity can be counted exactly."""

import numpy as np
from PIL import Image, ImageDraw

from ganlib.data.container import Images
from ganlib.data.embedded import check_split
from ganlib.data.writing import drawn_once

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

    Each 1,152 pictures of a split hold each style (`FACTORS`) once. `split` is "train" or "test",
    which share none, or `None`; `size` 32 to 128; `train` and `test` are numbers of pictures.
    """
    indices = room_indices(split, train, test)
    name = f"rooms-{split}-{size}-{train}-{test}"
    (images,) = drawn_once(name, __file__, lambda: (draw(factors(indices), jitter(indices), size),))
    return Images(images, name="rooms", origin=_ORIGIN, synthetic=True, value_range="byte")


def room_indices(split=None, train=2000, test=500):
    """The indices of a split's pictures, int64 `(n,)`; arguments as for `rooms`."""
    parts = {"train": np.arange(train), "test": _TEST_START + np.arange(test)}
    check_split(split, "rooms")
    return parts[split] if split else np.concatenate(list(parts.values()))


def factors(indices):
    """The style of each picture: factor → int64 `(n,)`, positions in `FACTORS[factor]`."""
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
    return _random(indices[:, None], STYLES + np.arange(40)[None])


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


# Drawn with the bed on the left, mirrored for the right. A place in the room is `(x, y, k)`: where
# it would be in the picture at the back wall, as fractions of the side from the top left; and its
# nearness, 1 at the back wall and more before it.
COLOURS = {
    "wall": ((226, 204, 164), (118, 150, 202), (146, 192, 140), (224, 152, 158)),
    "floor": ((190, 140, 85), (92, 58, 40), (108, 108, 116)),
    "cover": ((236, 236, 240), (188, 40, 48), (48, 78, 176), (226, 178, 36)),
}
CEILING, SHEET, FRAME = (240, 238, 232), (246, 244, 240), (250, 250, 250)
SKY, TREES, CURTAIN = (222, 238, 255), (150, 190, 150), (104, 52, 122)
SHADE = ((78, 72, 82), (255, 244, 178))  # of the lamp, off and on
# Horizon, ceiling and floor line of the back wall, for a low and for a high camera.
CAMERA = ((0.46, 0.20, 0.63), (0.30, 0.10, 0.50))
LAMP_X = 0.545
_OVERSAMPLING = 2
_AHEAD = 4.0  # nearness at which walls and floor have left the picture


def draw(factors, jitter, size):
    """Draws pictures, uint8 `(n, size, size, 3)`; `jitter` `(n, 40)` is plainest at 0.5."""
    wiggles = 2.0 * jitter - 1.0
    pictures = np.empty((len(jitter), size, size, 3), np.uint8)
    for i, wiggle in enumerate(wiggles):
        row = {name: int(values[i]) for name, values in factors.items()}
        pictures[i] = _flat(row, wiggle, size)
    pictures = _lit(pictures, factors, wiggles)
    right = factors["bed"] == 1
    pictures[right] = pictures[right, :, ::-1]
    return pictures


def _flat(row, wiggle, size):
    side = size * _OVERSAMPLING
    horizon, top, bottom = CAMERA[row["camera"]] + 0.01 * wiggle[:3]
    left, right = np.array([0.14, 0.86]) + 0.01 * wiggle[3:5]
    image = Image.new("RGB", (side, side), CEILING)
    canvas = ImageDraw.Draw(image)
    tints = iter(wiggle[10:].reshape(-1, 3))
    tint = {name: next(tints) for name in ("wall", "floor", "cover", "wood", "picture", "inside")}

    def at(x, y, k=1.0):
        return (0.5 + (x - 0.5) * k) * side, (horizon + (y - horizon) * k) * side

    def fill(places, colour, light=1.0):
        canvas.polygon([at(*place) for place in places], fill=_scaled(colour, light))

    def upright(x0, y0, x1, y1, colour, light=1.0, k=1.0):
        fill([(x0, y0, k), (x1, y0, k), (x1, y1, k), (x0, y1, k)], colour, light)

    def level(x0, x1, y, k0, k1, colour, light=1.0):
        fill([(x0, y, k0), (x1, y, k0), (x1, y, k1), (x0, y, k1)], colour, light)

    def along(x, y0, y1, k0, k1, colour, light=1.0):
        fill([(x, y0, k0), (x, y0, k1), (x, y1, k1), (x, y1, k0)], colour, light)

    wall = _tinted(COLOURS["wall"][row["wall"]], tint["wall"])
    floor = _tinted(COLOURS["floor"][row["floor"]], tint["floor"])
    cover = _tinted(COLOURS["cover"][row["cover"]], tint["cover"])
    wood = _tinted((128, 88, 56), 3.0 * tint["wood"])

    # The room
    level(-1.0, 2.0, bottom, 1.0, _AHEAD, floor)
    if row["floor"] < 2:  # planks
        for x in np.arange(0.17, 0.86, 0.085) + 0.03 * wiggle[5]:
            canvas.line([at(x, bottom), at(x, bottom, _AHEAD)], fill=_scaled(floor, 0.86))
    upright(left, top, right, bottom, wall)
    for x, light in ((left, 0.86), (right, 0.92)):
        along(x, top, bottom, 1.0, _AHEAD, wall, light)
        along(x, bottom - 0.018, bottom, 1.0, _AHEAD, FRAME, 0.85)
        canvas.line([at(x, top), at(x, bottom)], fill=_scaled(wall, 0.75))
    upright(left, bottom - 0.018, right, bottom, FRAME, 0.9)
    canvas.line([at(left, top), at(right, top)], fill=_scaled(wall, 0.8))
    # The window
    if row["window"]:
        x0, x1 = 0.625 + 0.006 * wiggle[6], 0.795 + 0.005 * wiggle[7]
        y0, y1 = top + 0.07, top + 0.30
        upright(x0 - 0.015, y0 - 0.015, x1 + 0.015, y1 + 0.015, FRAME, 0.95)
        upright(x0, y0, x1, y1, SKY)
        upright(x0, y1 - 0.06, x1, y1, TREES)
        upright((x0 + x1) / 2 - 0.007, y0, (x0 + x1) / 2 + 0.007, y1, FRAME, 0.92)
        if row["window"] == 2:
            curtain = _tinted(CURTAIN, tint["inside"])
            for x in (x0 - 0.03, x1 - 0.03):
                upright(x, top + 0.035, x + 0.075, bottom - 0.06, curtain)
                upright(x + 0.025, top + 0.035, x + 0.035, bottom - 0.06, curtain, 0.8)
            upright(x0 - 0.05, top + 0.03, x1 + 0.05, top + 0.042, wood, 0.8)
    # A picture above the bed
    if wiggle[8] < 0.4:
        x0, y0 = 0.27 + 0.02 * wiggle[8], top + 0.05
        inside = _tinted((150, 150, 140), 8.0 * tint["picture"])
        upright(x0, y0, x0 + 0.14, y0 + 0.11, wood, 0.6)
        upright(x0 + 0.012, y0 + 0.012, x0 + 0.128, y0 + 0.098, inside)
        upright(x0 + 0.012, y0 + 0.065, x0 + 0.128, y0 + 0.098, inside, 0.6)
    # The bedside table and its lamp
    desk = bottom - 0.09
    upright(0.51, desk, 0.585, bottom + 0.005, wood, 0.75, 1.08)
    level(0.51, 0.585, desk, 1.0, 1.08, wood, 1.15)
    upright(LAMP_X - 0.006, desk - 0.05, LAMP_X + 0.006, desk, (70, 60, 50))
    y0, y1 = desk - 0.14, desk - 0.04
    lamp = SHADE[row["lamp"]]
    fill([(LAMP_X - w, y) for w, y in ((0.03, y0), (-0.03, y0), (-0.046, y1), (0.046, y1))], lamp)
    # The bed
    x0, x1, foot = 0.19, 0.465, 2.4 + 0.05 * wiggle[5]
    mattress = bottom - 0.07
    level(x1, x1 + 0.05, bottom, 1.0, foot + 0.05, floor, 0.7)
    upright(x0 - 0.01, bottom - 0.17, x1 + 0.01, bottom, wood)
    along(x1, mattress, bottom - 0.01, 1.0, foot, cover, 0.66)
    level(x0, x1, mattress, 1.0, 1.4, SHEET)
    for x in (x0 + 0.015, (x0 + x1) / 2 + 0.01):
        (a, b), (c, d) = at(x, mattress - 0.035, 1.02), at(x + 0.115, mattress + 0.005, 1.22)
        canvas.ellipse([a, b, c, d], fill=FRAME, outline=(196, 194, 200))
    level(x0, x1, mattress, 1.36, foot, cover)
    level(x0, x1, mattress, 1.36, 1.46, cover, 1.18)
    upright(x0, mattress, x1, bottom - 0.012, cover, 0.8, foot)
    upright(x0, bottom - 0.012, x1, bottom, (40, 30, 26), 1.0, foot)
    return np.asarray(image.reduce(_OVERSAMPLING))


def _lit(pictures, factors, wiggle):
    """Light that falls off to the corners, its strength, and the lamp's glow."""
    size = pictures.shape[1]
    places = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = places[None, :], places[:, None]
    fall = 1.0 - 0.25 * ((x - 0.5) ** 2 + (y - 0.45) ** 2)
    strength = 1.0 + 0.06 * wiggle[:, 5:6] + 0.02 * wiggle[:, 6:9]  # in all, and by colour
    light = fall[None, :, :, None] * strength[:, None, None].astype(np.float32)
    result = np.empty_like(pictures)
    for camera, (_, _, bottom) in enumerate(np.array(CAMERA, np.float32)):
        # The room's light is alike for all pictures of a camera: one glow each.
        glow = np.exp(-((x - LAMP_X) ** 2 + (y - bottom + 0.18) ** 2) / (2 * 0.1**2))
        glow = glow[..., None] * np.array([64.0, 52.0, 24.0], np.float32)
        chosen = factors["camera"] == camera
        lit = light[chosen] * pictures[chosen]
        lit += factors["lamp"][chosen][:, None, None, None].astype(np.float32) * glow
        result[chosen] = np.clip(lit + 0.5, 0.0, 255.0).astype(np.uint8)
    return result


def _scaled(colour, light):
    return tuple(min(255, int(c * light)) for c in colour)


def _tinted(colour, tint):
    return tuple(c + 8.0 * t for c, t in zip(colour, tint, strict=True))
