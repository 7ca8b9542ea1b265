"""Models on many images, as many at once as memory and speed want."""

import keras
import numpy as np

PIXELS = 2**20  # at once: 256 images of 64×64, 16 of 256×256
SIDE = 256  # taken for one that is not known


def infer(model, inputs, image_shape):
    """What a model makes of all its inputs, in inference mode.

    Args:
        model: `keras.Model`, or whatever is called like one.
        inputs: array `(n, …)`, or a structure of such, n > 0.
        image_shape: `(height, width, …)` of the images that it makes or judges: so large, so few at
            once. Layer by layer a call costs more than small images do.

    Returns:
        float32 array with a row an input, or a structure of such where the model returns one. What
        is no row an input is left for the caller to see: a scalar a call becomes a row a call.
    """
    n = len(keras.tree.flatten(inputs)[0])
    height, width = (side or SIDE for side in image_shape[:2])
    size = max(1, PIXELS // (height * width))
    parts = []
    for i in range(0, n, size):
        part = keras.tree.map_structure(lambda x, i=i: x[i : i + size], inputs)
        parts.append(keras.tree.map_structure(_to_array, model(part, training=False)))
    return keras.tree.map_structure(_join, *parts)


def _to_array(output):
    return keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))


def _join(*parts):
    return np.concatenate(parts) if all(part.ndim for part in parts) else np.array(parts)
