"""Pictures in parts: through a model tile by tile and without seams, or many in one grid."""

import functools
import itertools
import math
import pathlib

import keras
import numpy as np

from ganlib.data.errors import DataError
from ganlib.images import convert

HOLD = 2000  # milliseconds, of a GIF's last frame


def tile_by_tile(model, image, tile, overlap, finish, scale=1, divisor=1):
    """Pads an image to multiples of `divisor`, runs a model over its tiles, and crops the result.

    `finish` turns the outputs of a tile into what the result is made of.
    """
    if image.dtype != np.uint8 or 0 in image.shape or tile < 1 or overlap < 0:
        raise ValueError(
            "The image must be uint8 (height, width, 1 or 3), `tile` at least 1, `overlap` not "
            f"negative. Received: {image.dtype}, {image.shape}, tile={tile}, overlap={overlap}"
        )
    height, width = image.shape[:2]
    image = np.pad(image, ((0, -height % divisor), (0, -width % divisor), (0, 0)), "reflect")
    tile, overlap = (size + -size % divisor for size in (tile, overlap))
    rows, columns = (_windows(side, tile, overlap) for side in image.shape[:2])
    whole = None
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        outputs = run(model, convert(image[np.newaxis, y : y + h, x : x + w], "byte", "unit"))[0]
        if np.isnan(outputs).any():
            raise DataError("The model makes NaN: train it anew, or load an earlier one.")
        outputs = outputs[scale * (top - y) : scale * (bottom - y)]
        part = finish(outputs[:, scale * (left - x) : scale * (right - x)])
        if whole is None:
            sides = (scale * side for side in image.shape[:2])
            whole = np.empty((*sides, part.shape[-1]), part.dtype)
        whole[scale * top : scale * bottom, scale * left : scale * right] = part
    return whole[: scale * height, : scale * width]


def _windows(length, tile, overlap):
    """Where to compute along one side: tuples (start, size, from, to).

    Windows of one size, the last one flush with the border, so that the model sees few shapes; the
    parts (from, to) to keep of them make up the whole side. Of multiples of a number come such.
    """
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def run(model, inputs):
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs))
    return _graph(model, inputs.shape[-1])(inputs).numpy()


@functools.lru_cache(maxsize=2)
def _graph(model, channels):
    """One TensorFlow graph for images of all sizes, or one a size where a layer wants to know it.

    Without a graph, a functional model keeps all that it computes until the end: twice the memory.
    """
    import tensorflow as tf

    def trace(shape):  # of one function that traces again and again TensorFlow warns
        graph = tf.function(lambda x: model(x, training=False))
        return graph.get_concrete_function(tf.TensorSpec(shape, tf.float32))

    try:
        return trace((None, None, None, channels))
    except Exception:  # such as UpSampling2D(interpolation="bilinear")
        by_shape = functools.lru_cache(maxsize=2)(trace)
        return lambda inputs: by_shape(inputs.shape)(tf.constant(inputs))


# -- grids -----------------------------------------------------------------------------------------


def tile(images, columns):
    """Puts images beside one another: `(n, h, w, c)` to `(rows·h, columns·w, c)`; spare cells 0."""
    images = np.asarray(images)
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, height, width, channels), images.dtype)
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def untile(grid, size):
    """Undoes `tile`: `(rows·size, columns·size, c)` to `(rows·columns, size, size, c)`."""
    rows, columns = (side // size for side in grid.shape[:2])
    cells = grid.reshape(rows, size, columns, size, -1)  # refuses what does not divide
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * columns, size, size, -1)


def read_grid(path, size):
    """The pictures of a saved grid, float32 `(n, size, size, 3)` in [0, 1]."""
    from PIL import Image

    with Image.open(path) as file:
        return convert(untile(np.asarray(file.convert("RGB")), size), "byte", "unit")


def save_grid(images, path, columns=None):
    """Saves images `(n, h, w, 1 or 3)` in [0, 1] as one PNG; without `columns` about square."""
    from PIL import Image

    grid = convert(tile(images, columns or math.ceil(len(images) ** 0.5)), "unit", "byte")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path)


def save_gif(frames, path, milliseconds=250):
    """Saves uint8 pictures `(h, w, 1 or 3)` as a GIF that loops; the last stays for 2 seconds."""
    from PIL import Image

    pictures = [
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).quantize()
        for frame in frames
    ]
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    times = [milliseconds] * (len(pictures) - 1) + [max(milliseconds, HOLD)]
    options = {"append_images": pictures[1:], "duration": times, "loop": 0, "optimize": True}
    pictures[0].save(path, format="GIF", save_all=True, **options)
