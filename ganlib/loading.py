"""Saved models, whoever loads them."""

import ganlib.augment
import ganlib.content
import ganlib.likeness
import ganlib.metrics.segmentation
import ganlib.models.layers
import ganlib.models.srgan
import ganlib.models.unet  # noqa: F401  a saved model is made of what these register
from ganlib.keras_file import read_model


def load_model(path, compile=True):
    """Loads a model from a .keras file, in Keras' safe mode; see `ganlib.keras_file.read_model`.

    Raises:
        DataError: there is no such file, it can't be read, or it can't be trusted.
    """
    return read_model(path, compile)
