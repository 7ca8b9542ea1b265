"""Many pictures in one: grids, and films."""

import math
import pathlib

import numpy as np
from PIL import Image

from ganlib.images import convert

HOLD = 2000  # milliseconds, of a film's last frame


def tile(images, columns):
    """Puts images beside one another: `(n, h, w, c)` to `(rows·h, columns·w, c)`; spare cells 0."""
    images = np.asarray(images)
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, height, width, channels), images.dtype)
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def read_grid(path, size):
    """The pictures of a saved grid, float32 `(n, size, size, 3)` in [0, 1]."""
    with Image.open(path) as file:
        grid = np.asarray(file.convert("RGB"))
    rows, columns = (side // size for side in grid.shape[:2])
    cells = grid.reshape(rows, size, columns, size, 3)  # refuses what does not divide
    return convert(cells.transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3), "byte", "unit")


def save_grid(images, path, columns=None):
    """Saves images `(n, h, w, 1 or 3)` in [0, 1] as one PNG; without `columns` about square."""
    grid = convert(tile(images, columns or math.ceil(len(images) ** 0.5)), "unit", "byte")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path)


def save_gif(frames, path, milliseconds=250):
    """Saves uint8 pictures `(h, w, 3)` as a GIF that loops; the last stays for 2 seconds."""
    pictures = [Image.fromarray(frame).quantize() for frame in frames]
    times = [milliseconds] * (len(pictures) - 1) + [HOLD]
    options = {"append_images": pictures[1:], "duration": times, "loop": 0, "optimize": True}
    pictures[0].save(path, format="GIF", save_all=True, **options)
