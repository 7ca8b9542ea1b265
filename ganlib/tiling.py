"""Images of any size through a model, tile by tile and without seams."""

import functools
import itertools
import math

import keras
import numpy as np

from ganlib.data import DataError
from ganlib.images import convert


def reach(model, shape, lowest=1):
    """How far at most, in pixels of an image, a pixel has a say in what the model makes of it.

    It is the sum over all convolutions and poolings of how far they reach, in pixels of the image:
    at a lower resolution the more, at a higher one the less. Where branches are parallel, that is
    more than the truth. What sees the whole image at once, such as attention, is passed over.

    Args:
        model: `keras.Model`, images to images.
        shape: tuple `(1, height, width, channels)`, an image to ask the model about shapes.
        lowest: int, how many pixels of the image a pixel at the lowest resolution stands for, where
            the model's graph does not tell.

    Returns:
        int.
    """
    widths = {layer: width for layer in model.layers if (width := _half_width(layer))}
    try:
        ends = [(layer.input, layer.output) for layer in widths]
        shapes = keras.Model(model.inputs, ends).compute_output_shape(shape) if widths else []
        cells = [shape[1] / min(first[1], second[1]) for first, second in shapes]
    except Exception:  # no graph to follow: as if all were at the lowest resolution
        cells = [lowest] * len(widths)
    far = sum(width * cell for width, cell in zip(widths.values(), cells, strict=True))
    return math.ceil(far) + math.ceil(max([lowest, *cells])) - 1  # a say in all of its lowest cell


def _half_width(layer):
    """How far a layer's windows reach beyond their own step, those of all within it together."""
    total = 0
    for part in layer._flatten_layers():
        kernel = getattr(getattr(part, "kernel", None), "shape", ())
        size = getattr(part, "kernel_size", getattr(part, "pool_size", kernel[:2]))
        if len(size) == 2 and len(kernel) in (0, 4):
            size = 1 + (np.array(size) - 1) * getattr(part, "dilation_rate", 1)
            enlarges = isinstance(part, keras.layers.Conv2DTranspose)
            step = 1 if enlarges else getattr(part, "strides", 1)
            total += int(np.max(size - step + 1) // 2)
    return total


def check_image(image, tile, overlap):
    """Raises ValueError unless `image` is uint8 `(height, width, 1 or 3)` and the sizes can be."""
    shape = np.shape(image)
    if len(shape) != 3 or shape[-1] not in (1, 3) or 0 in shape or image.dtype != np.uint8:
        raise ValueError(
            "The image must be uint8 of the shape (height, width, 3) or (height, width, 1). "
            f"Received: shape={shape}, dtype={getattr(image, 'dtype', None)}"
        )
    if tile < 1 or overlap < 0:
        raise ValueError(
            "`tile` must be at least 1 and `overlap` not negative. Received: "
            f"tile={tile}, overlap={overlap}"
        )


def check_numbers(good, image):
    """Raises DataError unless all of `good` is true: what a model made of an image is a number."""
    if not np.all(good):
        raise DataError(
            "The model makes NaN or infinities: train it anew, or load an earlier one. "
            f"Received: an image of {image.shape[0]}×{image.shape[1]}"
        )


def tiles(model, image, tile, overlap, scale=1):
    """Runs a model over an image, a tile at a time.

    A tile is computed with `overlap` more pixels on each side, which are then cut off, so that its
    border is not seen. Memory grows with the tile, and not with the image.

    Args:
        model: `keras.Model`, images `(1, height, width, channels)` in [0, 1] to images that are
            `scale` times as high and wide.
        image: uint8 array `(height, width, channels)`.
        tile: int, height and width of a tile in pixels of the image.
        overlap: int, in pixels of the image.
        scale: int.

    Yields:
        `(place, outputs)`: where the tile lies in the result, two slices, and what the model makes
        of it, array `(height, width, channels)`. The places make up the whole result.
    """
    rows, columns = (windows(side, tile, overlap) for side in image.shape[:2])
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        outputs = run(model, convert(image[np.newaxis, y : y + h, x : x + w], "byte", "unit"))[0]
        outputs = outputs[scale * (top - y) : scale * (bottom - y)]
        place = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
        yield place, outputs[:, scale * (left - x) : scale * (right - x)]


def windows(length, tile, overlap):
    """Where to compute along one side: tuples (start, size, from, to).

    Windows of one size, the last one flush with the border, so that the model sees few shapes; the
    parts (from, to) to keep of them make up the whole side. Of multiples of a number come such.
    """
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def run(model, inputs):
    """What a model makes of float32 images `(n, height, width, channels)`, as a NumPy array."""
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs))
    return _tensorflow_graph(model, inputs.shape[-1])(inputs).numpy()


@functools.lru_cache(maxsize=2)
def _tensorflow_graph(model, channels):
    """One graph for images of all sizes.

    `predict` would trace anew for a new size. Without a graph, a functional model keeps all that it
    computes until the end: twice the memory.
    """
    import tensorflow as tf

    graph = tf.function(lambda x: model(x, training=False))
    # Traced once, here: of one that traces when it is called TensorFlow warns, model after model.
    return graph.get_concrete_function(tf.TensorSpec((None, None, None, channels), tf.float32))
