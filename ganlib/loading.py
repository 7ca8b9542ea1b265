"""Saved models, whoever loads them."""

import pathlib

import keras

import ganlib.augment
import ganlib.content
import ganlib.likeness
import ganlib.metrics.segmentation
import ganlib.models.layers
import ganlib.models.spectral
import ganlib.models.srgan
import ganlib.models.unet  # noqa: F401  a saved model is made of what these register
from ganlib.data import DataError


def load_model(path, compile=True):
    """Loads a model from a .keras file, in Keras' safe mode.

    Args:
        path: path.
        compile: bool, bring the optimizers back, too; needed only to train on.

    Returns:
        `keras.Model`.

    Raises:
        DataError: there is no such file, or it can't be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(
            "There is no model file there; a finished trial keeps one as model.keras. "
            f"Received: {str(path)!r}"
        )
    try:
        return keras.models.load_model(path, compile=compile)
    except Exception as error:  # zip, HDF5, JSON and Keras errors all mean the same to the caller
        first = str(error).partition("\n")[0]  # Keras adds the whole configuration
        raise DataError(f"{path} can't be loaded as a Keras model: {first}") from error
