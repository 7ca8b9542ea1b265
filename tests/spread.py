"""Trains a small U-Net on one virtual processor and on two: `python tests/spread.py FOLDER`.

Leaves `1.npz` and `2.npz` in the folder.
"""

import os
import pathlib
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )

from ganlib.data.tiles import Tiles
from ganlib.experiment.devices import data_parallel, list_devices
from ganlib.experiment.study import Run, Trial
from ganlib.studies import unet, unet_training


def tiles(seed, n=14):
    """Bright squares on a noisy ground."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 16, 1), np.uint8)
    for mask, (row, column) in zip(masks, rng.integers(0, 10, (n, 2)), strict=True):
        mask[row : row + 6, column : column + 6] = 1
    images = (80 * masks + rng.integers(0, 100, masks.shape)).astype(np.uint8)
    return Tiles(images, masks, np.arange(n))


def train(devices, output):
    recipe = unet.Recipe(
        architecture="unet",
        filters=4,
        depth=1,
        size=16,
        batch_size=4,
        epochs=2,
        dropout=0.0,
        learning_rate=1e-2,
        clipnorm=1e-3,  # less than any gradient: it must be that of the whole batch
    )
    data = unet.TileData({"train": tiles(0), "validation": tiles(1), "test": tiles(2)})
    with data_parallel(devices):
        run = Run(pathlib.Path(tempfile.mkdtemp()))
        result = unet_training.train(Trial("spread", recipe, 0), data, run)
        model = keras.models.load_model(run.model)
    values = {"losses": [result["jaccard_soft"], result["loss_std"], result["gap"]]}
    values |= {f"weight {i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(output, devices=len(list_devices()), **values)


if __name__ == "__main__":
    for n in (1, 2):
        train(n, pathlib.Path(sys.argv[1]) / f"{n}.npz")
