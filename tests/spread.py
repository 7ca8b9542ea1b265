"""`python tests/spread.py FOLDER`: trains on 1 and on 2 virtual processors, to 1.npz and 2.npz."""

import os
import pathlib
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np
from helpers import build_discriminator, build_generator, images
from toy_study import Recipe

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.data import Batches
from ganlib.experiment.fit import compile_supervised, fit, fit_gan
from ganlib.experiment.machine import spread
from ganlib.experiment.run import Run
from ganlib.experiment.study import Trial
from ganlib.models.unet import build_unet

RECIPE = Recipe(d_learning_rate=0.1, g_learning_rate=0.1, batch_size=4)  # two epochs


def train_gan(run):
    parts = build_generator(batch_norm=True), build_discriminator(batch_norm=True, dropout=0.3)
    gan = Adversarial(*parts, instance_noise=0.1, r1=0.1, ema=0.5)
    fit_gan(gan, None, Trial("gan", RECIPE, 0), run, images=images(8))
    return gan


def train_unet(run):
    """With a gradient that is clipped: it must be that of the whole batch."""
    model = build_unet("unet", 4, depth=1, seed=0)
    compile_supervised(model, keras.optimizers.Adam(0.01, clipnorm=1e-3), losses.BinaryFocal(2.0))
    rng = np.random.default_rng(0)
    pictures = rng.random((12, 16, 16, 1), "float32")
    pairs = pictures, (pictures > 0.5).astype("float32")
    first, last = (tuple(x[part] for x in pairs) for part in (slice(8), slice(8, None)))
    expected = {"learning_rate": 0.01, "batch_size": 4}
    fit(model, Batches(first, 4, seed=0), run, epochs=2, expected=expected, validation=last)
    return model


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for devices in (1, 2):
        with spread(devices):
            runs = Run(folder / f"gan{devices}"), Run(folder / f"unet{devices}")
            models = train_gan(runs[0]), train_unet(runs[1])
            values = [keras.ops.convert_to_numpy(w) for m in models for w in m.weights]
            over = len(models[0].generator.weights[0].value.sharding.device_set)
        np.savez(folder / f"{devices}.npz", *values, devices=over)
