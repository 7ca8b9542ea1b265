"""Procedural microscopy with exact masks, in float64: the same bytes on every machine."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ganlib.data.container import Images
from ganlib.data.embedded import check_split
from ganlib.data.errors import DataError
from ganlib.data.writing import drawn_once

COUNTS = {"train": 64, "test": 24}
SIZES = range(32, 513)
_STARTS = {"train": 0, "test": 10**6}  # the number of a split's first image
_MARGIN = 12  # pixels around the image in which objects may lie that reach into it


def nuclei(split=None, size=128, n=None):
    """Synthetic nuclei in fluorescence, grey, mask 1 = nucleus; the same on every call.

    Bright ellipses, some dim, blurred or touching, with uneven light, haze, noise and debris.
    `split` is "train" (n = 64) or "test" (n = 24), which share no image; `size` 32 to 512 pixels.
    """
    return _drawn("nuclei", _nuclei, "Nuclei", 1, split, size, n)


def membranes(split=None, size=128, n=None):
    """Synthetic cells in electron microscopy, grey, mask 1 = interior; arguments as of `nuclei`.

    Membranes are 3 to 4 pixels wide, some faint; organelles are as dark as they are.
    """
    return _drawn("membranes", _membranes, "Cells", 2, split, size, n)


def _drawn(name, draw, what, number, split, size, n):
    check_split(split, name)
    part = split or "train"
    n = COUNTS[part] if n is None else n
    if size not in SIZES:
        raise DataError(f"The {name} are drawn 32 to 512 pixels wide. Received: size={size!r}")

    def drawn():
        # Each image has a generator of its own: it is the same whatever is drawn beside it.
        rngs = (np.random.default_rng((number, _STARTS[part] + i)) for i in range(n))
        images, masks = zip(*(draw(rng, size) for rng in rngs), strict=True)
        return np.stack(images), np.stack(masks)

    images, masks = drawn_once(f"{name}-{part}-{size}-{n}", __file__, drawn)
    origin = f"{what} drawn by ganlib with exact masks; no micrographs, no licence question."
    facts = {"names": [f"{part} {i}" for i in range(n)], "name": name, "origin": origin}
    return Images(images, masks, **facts, synthetic=True)


def _nuclei(rng, size):
    """One image of nuclei: a pair of uint8 `(size, size)`, image, and mask of 0 and 1."""
    image, mask = np.zeros((size, size)), np.zeros((size, size), np.uint8)
    exposure = rng.uniform(0.35, 0.75)
    blur = rng.uniform(0.8, 1.6)  # of the whole picture
    crowd = int(rng.uniform(0.7, 1.3) * 19 * ((size + _MARGIN) / 128) ** 2)
    for x, y, a, b, turn in _places(rng, size, crowd):
        bright = exposure * np.exp(0.4 * rng.standard_normal())
        bright *= 0.5 if rng.random() < 0.25 else 1.0  # dim
        window, radius = _ellipse(size, x, y, a, b, turn)
        if radius.size == 0:
            continue
        softness = rng.uniform(1.2, 2.8) if rng.random() < 0.25 else 0.5  # out of focus, pixels
        profile = 1.0 / (1.0 + np.exp((radius - 1.0) * min(a, b) / softness))
        # Where nuclei overlap, the light of both adds up, if not all of it.
        old, new = image[window], bright * profile
        image[window] = np.maximum(old, new) + 0.3 * np.minimum(old, new)
        mask[window] |= radius <= 1.0
    image *= 1.0 + 0.22 * _smooth(rng, size, 2.0)  # chromatin
    haze = 0.35 * gaussian_filter(image, 9.0, truncate=2.5)
    _add_ghosts(rng, image, exposure)
    _add_debris(rng, image, exposure)
    image = gaussian_filter(image, blur) + haze
    image = (image + rng.uniform(0.05, 0.12)) * _light(rng, size)
    image += np.sqrt(0.0004 + 0.004 * image) * rng.standard_normal(image.shape)
    return _byte(image), mask


def _membranes(rng, size):
    """One image of cells, as of `nuclei`; mask 1 = interior, 0 = membrane."""
    distance, cell, faint = _walls(rng, size)
    width = 3.5 * (1.0 + 0.15 * _smooth(rng, size, 6.0))
    inside = distance > width / 2.0
    tones = 0.68 + 0.04 * rng.standard_normal(cell.max() + 1)
    image = tones[cell] + 0.05 * _smooth(rng, size, 1.2) + 0.04 * _smooth(rng, size, 8.0)
    _add_organelles(rng, image, distance)
    # Cut at a slant, a membrane is faint: its contrast varies along it, and from wall to wall.
    contrast = np.clip(0.45 + 0.12 * _smooth(rng, size, 5.0) - faint, 0.1, 0.7)
    image -= contrast * np.exp(-0.5 * (distance / (0.36 * width)) ** 4)
    image = gaussian_filter(image, 0.7) + 0.04 * _smooth(rng, size, 24.0)
    image = 0.5 + rng.uniform(0.8, 1.1) * (image - 0.5) + rng.uniform(-0.06, 0.04)
    image += 0.07 * rng.standard_normal(image.shape)
    return _byte(image), inside.astype(np.uint8)


def _places(rng, size, count):
    """`(x, y, half axes, angle)` of nuclei, a third of which touch an earlier one."""
    places = []
    for _ in range(20 * count):
        a = np.clip(6.6 * np.exp(0.22 * rng.standard_normal()), 3.5, 11.0)
        b, turn = a * rng.uniform(0.6, 1.0), rng.uniform(0.0, np.pi)
        x, y = rng.uniform(-_MARGIN / 2, size + _MARGIN / 2, 2)
        if places and rng.random() < 0.35:  # touching
            x, y, other, *_ = places[rng.integers(len(places))]
            angle = rng.uniform(0.0, 2.0 * np.pi)
            x += 0.8 * (a + other) * np.cos(angle)
            y += 0.8 * (a + other) * np.sin(angle)
        if all((x - q[0]) ** 2 + (y - q[1]) ** 2 > (0.75 * (a + q[2])) ** 2 for q in places):
            places.append((x, y, a, b, turn))
        if len(places) == count:
            break
    return places


def _ellipse(size, x, y, a, b, turn, reach=6.0):
    """A window around an ellipse, and each of its pixels' distance: 1 at the outline, 0 within."""
    far = a + reach
    top, bottom = (int(np.clip(v, 0, size)) for v in (y - far, y + far + 1.0))
    left, right = (int(np.clip(v, 0, size)) for v in (x - far, x + far + 1.0))
    dy = np.arange(top, bottom)[:, None] - y
    dx = np.arange(left, right)[None, :] - x
    cos, sin = np.cos(turn), np.sin(turn)
    radius = np.sqrt(((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2)
    return (slice(top, bottom), slice(left, right)), radius


def _add_ghosts(rng, image, exposure):
    size = len(image)
    for _ in range(rng.poisson(2.0 * (size / 128) ** 2)):
        x, y = rng.uniform(0.0, size, 2)
        a = rng.uniform(6.0, 12.0)
        window, radius = _ellipse(size, x, y, a, 0.8 * a, rng.uniform(0.0, np.pi), reach=a)
        image[window] += rng.uniform(0.2, 0.5) * exposure * np.exp(-1.2 * radius**2)


def _add_debris(rng, image, exposure):
    size = len(image)
    specks = rng.poisson(5.0 * (size / 128) ** 2)
    threads = rng.poisson(1.0 * (size / 128) ** 2)
    for i in range(specks + threads):
        x, y = rng.uniform(0.0, size, 2)
        a, b = (rng.uniform(1.0, 2.2),) * 2 if i < specks else (rng.uniform(7.0, 14.0), 1.0)
        window, radius = _ellipse(size, x, y, a, b, rng.uniform(0.0, np.pi))
        image[window] += rng.uniform(0.6, 1.5) * exposure * (radius <= 1.0)


def _light(rng, size):
    place = np.linspace(-1.0, 1.0, size)
    x, y = place[None, :], place[:, None]
    cx, cy, sx, sy = rng.uniform(-0.3, 0.3, 4)
    return (1.0 + sx * x + sy * y) * (1.0 - 0.25 * ((x - cx) ** 2 + (y - cy) ** 2))


def _walls(rng, size):
    """Each pixel's distance to the nearest wall, its Voronoi cell, and how faint that wall is."""
    stretch, turn = rng.uniform(1.0, 1.5), rng.uniform(0.0, np.pi)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    axes *= np.array([[stretch], [1.0 / stretch]])
    side = size + 6 * _MARGIN
    seeds = rng.uniform(-3 * _MARGIN, size + 3 * _MARGIN, (int((side / 27.0) ** 2), 2))
    bent = np.indices((size, size)).reshape(2, -1).T.astype(float)
    for axis in range(2):
        bend = 4.0 * _smooth(rng, size, 12.0) + 0.8 * _smooth(rng, size, 4.0)
        bent[:, axis] += bend.ravel()
    seeds, bent = seeds @ axes.T, bent @ axes.T
    (near, far), (cell, other) = (part.T for part in cKDTree(seeds).query(bent, k=2))
    across = seeds[cell] - seeds[other]
    # Half the difference of the squares over this slope is the distance in pixels, not in the bent
    # plane: walls are as wide wherever the plane is stretched.
    slopes = np.gradient(bent.reshape(size, size, 2), axis=(0, 1))
    slope = np.hypot(*((d.reshape(-1, 2) * across).sum(axis=1) for d in slopes))
    distance = (far**2 - near**2) / (2.0 * np.maximum(slope, 1.0))
    pale = 0.2 * rng.random(len(seeds)) ** 3
    shape = (size, size)
    return distance.reshape(shape), cell.reshape(shape), (pale[cell] + pale[other]).reshape(shape)


def _add_organelles(rng, image, distance):
    size = len(image)
    for _ in range(rng.poisson(9.0 * (size / 128) ** 2)):
        x, y = rng.integers(0, size, 2)
        a = min(rng.uniform(4.0, 9.0), distance[y, x] - 3.0)
        if a < 3.0:
            continue
        b = a * rng.uniform(0.55, 0.9)
        window, radius = _ellipse(size, x, y, a, b, rng.uniform(0.0, np.pi))
        stripes = 0.06 * np.sin(1.6 * (np.arange(radius.shape[1]) + 0.5 * x))
        image[window] -= (0.2 + stripes) * (radius < 1.0)
        image[window] -= rng.uniform(0.15, 0.35) * np.exp(-(((radius - 0.9) * b / 1.2) ** 2))
    for _ in range(rng.poisson(26.0 * (size / 128) ** 2)):
        x, y = rng.integers(0, size, 2)
        a = rng.uniform(1.2, 2.4)
        if distance[y, x] < a + 3.0:
            continue
        window, radius = _ellipse(size, x, y, a, a, 0.0)
        image[window] -= rng.uniform(0.2, 0.5) * np.exp(-(radius**2))


def _smooth(rng, size, sigma):
    """Smooth noise `(size, size)` with a standard deviation of about 1."""
    step = max(1, int(sigma / 1.5))  # drawn coarse where it is smooth, which is faster
    coarse = size // step + 4
    noise = gaussian_filter(rng.standard_normal((coarse, coarse)), sigma / step, mode="wrap")
    noise /= noise.std()
    if step == 1:
        return noise[:size, :size]
    below, weight = np.divmod(np.arange(size), step)
    weight = weight / step
    rows = noise[below] + weight[:, None] * (noise[below + 1] - noise[below])
    return rows[:, below] + weight * (rows[:, below + 1] - rows[:, below])


def _byte(image):
    return np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
