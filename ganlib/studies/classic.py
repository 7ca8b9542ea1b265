"""The tutorial's own training loop, which under Keras 3 never trains its discriminator.

The loop compiles the discriminator, freezes it with `trainable = False`, stacks it behind the
generator and compiles the stack. Keras 2 remembered what was trainable when a model was compiled;
Keras 3 looks when it traces `train_on_batch`, and by then the discriminator is frozen.
"""

import dataclasses
import logging
import types
import warnings

import keras
import numpy as np

from ganlib.callbacks.health import HealthMonitor
from ganlib.models import digits as models


@dataclasses.dataclass(frozen=True)
class ClassicStep:
    """One `train_on_batch` of the discriminator in the classic loop."""

    step: int  # from 1
    batch_size: int
    d_moved: float | None  # greatest change of any of D's weights; None where Keras raised
    message: str  # first line of the warning or error; "" where Keras said nothing

    @property
    def trained(self):
        """Whether D moved."""
        return bool(self.d_moved)


@dataclasses.dataclass(frozen=True)
class ClassicRun:
    """What the classic loop did: numbers in HTML, what is the same on every machine in text."""

    traced_first: bool
    steps: tuple
    findings: tuple

    def __repr__(self):
        trained = " ".join("yes" if step.trained else "no" for step in self.steps)
        sizes = " ".join(str(step.batch_size) for step in self.steps)
        return f"batch sizes {sizes}: D trained {trained}"

    def _repr_html_(self):
        import pandas

        names = {"batch_size": "batch size", "d_moved": "D moved by", "message": "Keras says"}
        return pandas.DataFrame(self.steps).rename(columns=names).to_html(index=False, na_rep="–")


def classic_recipe(
    images, *, traced_first=False, batch_sizes=(32, 32, 32), width=8, latent_dim=100
):
    """Runs the tutorial's loop for a few steps and watches the discriminator's weights.

    Args:
        images: float32 array `(n, 28, 28, 1)` in [0, 1].
        traced_first: bool, call D's `train_on_batch` once before `trainable = False`. On TensorFlow
            this is the condition under which the loop trains, until another batch size makes
            Keras trace anew.
        batch_sizes: sequence of int, real images of each step.
        width: int, filters of both players.
        latent_dim: int.

    Returns:
        A `ClassicRun`.
    """
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    generator = models.build_generator(latent_dim, width)
    discriminator = models.build_discriminator(width)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), loss)

    def d_step(n):
        fakes = generator(rng.normal(size=(n, latent_dim)).astype("float32"))
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
    advice = logging.getLogger("tensorflow")  # against tracing anew, which this is here to show
    level = advice.level
    advice.setLevel(logging.ERROR)
    try:
        for i, n in enumerate(batch_sizes):
            steps.append(_watched(d_step, n, i + 1, discriminator))
            latents = rng.normal(size=(2 * n, latent_dim)).astype("float32")
            stack.train_on_batch(latents, np.ones((2 * n, 1), "float32"))
            monitor.on_epoch_end(i)
    finally:
        advice.setLevel(level)
    return ClassicRun(traced_first, tuple(steps), tuple(monitor.findings))


def _watched(d_step, n, number, discriminator):
    before, error = discriminator.get_weights(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            d_step(n)
        except Exception as raised:  # what Keras raises here differs between its backends
            error = f"{type(raised).__name__}: {raised}"
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    after = discriminator.get_weights()
    moved = max(float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True))
    message = error or (said[0] if said else "")
    return ClassicStep(number, n, None if error else moved, message.split("\n")[0])
