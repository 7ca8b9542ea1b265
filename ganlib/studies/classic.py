"""The tutorial's own training loop, which under Keras 3 never trains its discriminator.

It compiles D, then freezes it; Keras 3 looks at what is trainable when it traces `train_on_batch`.
"""

import dataclasses
import math
import types
import warnings

import keras
import numpy as np
import pandas

from ganlib.callbacks.health import HealthMonitor
from ganlib.models import digits as models

LATENTS = 100


@dataclasses.dataclass(frozen=True)
class ClassicRun:
    """What the classic loop did: numbers in HTML, what is the same everywhere in text."""

    steps: pandas.DataFrame  # "D moved by": greatest change of any weight; NaN where Keras raised
    findings: tuple  # of the health monitor

    def __repr__(self):
        trained = " ".join("yes" if moved > 0 else "no" for moved in self.steps["D moved by"])
        sizes = " ".join(map(str, self.steps["batch size"]))
        return f"batch sizes {sizes}: D trained {trained}"

    def _repr_html_(self):
        return self.steps.to_html(index=False, na_rep="–")


def classic_recipe(images, *, traced_first=False, batch_sizes=(32, 32, 32), width=8):
    """Runs the tutorial's loop for a few steps and returns how D's weights moved: `ClassicRun`.

    Args:
        images: float32 array `(n, 28, 28, 1)` in [0, 1].
        traced_first: bool, call D's `train_on_batch` once before `trainable = False`. On TensorFlow
            the loop then trains, until another batch size makes Keras trace anew.
        batch_sizes, width: real images of each step; filters of both networks.
    """
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    generator = models.build_generator(LATENTS, width)
    discriminator = models.build_discriminator(width)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), loss)

    def d_step(n):
        fakes = generator(rng.normal(size=(n, LATENTS)).astype("float32"))
        real = images[rng.integers(0, len(images), n)]
        x = np.concatenate([real, keras.ops.convert_to_numpy(fakes)])
        y = np.concatenate([np.ones((n, 1)), np.zeros((n, 1))]).astype("float32")
        return discriminator.train_on_batch(x, y)

    if traced_first:
        d_step(batch_sizes[0])
    discriminator.trainable = False
    stack = keras.Sequential([generator, discriminator])
    stack.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), loss)

    monitor = HealthMonitor(images[:64], patience=1, warm_up=0)
    monitor.set_model(types.SimpleNamespace(generator=generator, discriminator=discriminator))
    monitor.on_train_begin()
    steps = []
    for i, n in enumerate(batch_sizes):
        steps.append((i + 1, n, *_watched(d_step, n, discriminator)))
        latents = rng.normal(size=(2 * n, LATENTS)).astype("float32")
        stack.train_on_batch(latents, np.ones((2 * n, 1), "float32"))
        monitor.on_epoch_end(i)
    names = ["step", "batch size", "D moved by", "Keras says"]
    return ClassicRun(pandas.DataFrame(steps, columns=names), tuple(monitor.findings))


def _watched(d_step, n, discriminator):
    before = discriminator.get_weights()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            d_step(n)
        except Exception as error:  # what Keras raises here differs between its backends
            return math.nan, f"{type(error).__name__}: {error}".split("\n")[0]
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    pairs = zip(discriminator.get_weights(), before, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs), "".join(said[:1]).split("\n")[0]
