"""Pictures from a saved model."""

import pathlib

import keras
import numpy as np

from ganlib.adversarial import Adversarial
from ganlib.data import DataError
from ganlib.figures import tile
from ganlib.images import convert
from ganlib.loading import load_model

RANGES = {"sigmoid": "unit", "tanh": "signed"}
BATCH_SIZE = 250


def load_gan(path):
    """Loads an `Adversarial` from a .keras file, in Keras' safe mode.

    Raises:
        DataError: there is no such file, it can't be read, or it holds another kind of model.
    """
    model = load_model(path)
    if not isinstance(model, Adversarial):
        raise DataError(
            f"{path} must hold a ganlib Adversarial model. Received: {type(model).__name__}"
        )
    return model


def output_range(generator):
    """The value range that the generator's last activation declares: "unit" or "signed".

    Raises:
        DataError: the last layer ends in neither sigmoid nor tanh.
    """
    activation = getattr(generator.layers[-1], "activation", None)
    name = getattr(activation, "__name__", None)
    if name not in RANGES:
        raise DataError(
            f"The generator must end in one of {sorted(RANGES)}, which tells its value range. "
            f"Received: {name}"
        )
    return RANGES[name]


def sample_images(gan, n, seed=0):
    """n pictures of `gan.sampler`, float32 `(n, height, width, channels)` in [0, 1]."""
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(n, *gan.latent_shape)).astype("float32")
    parts = [
        keras.ops.convert_to_numpy(gan.sampler(latents[i : i + BATCH_SIZE], training=False))
        for i in range(0, n, BATCH_SIZE)
    ]
    return convert(np.concatenate(parts), output_range(gan.generator), "unit")


def save_grid(images, path, columns=None):
    """Saves images in [0, 1] as one PNG, in a grid that is about square."""
    from PIL import Image

    columns = columns or int(np.ceil(np.sqrt(len(images))))
    grid = convert(tile(images, columns), "unit", "byte")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path)
