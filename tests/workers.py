"""What the tests run in processes of their own: `python tests/workers.py task arguments…`."""

import os
import signal
import sys

import keras
import numpy as np
from helpers import LATENT, arrays, fit, fixed_random, images, make_gan, state

from ganlib.content import ContentLoss


class Kill(keras.callbacks.Callback):
    """`kill -9` in the middle of the third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (2, 0):
            os.kill(os.getpid(), signal.SIGKILL)


def train(*callbacks):
    gan = make_gan(batch_norm=True, dropout=0.3, ema=0.9, instance_noise=0.1)
    history = fit(gan, images(8), epochs=4, callbacks=list(callbacks))
    return gan, len(history["d_loss"])


def killed(folder):
    train(keras.callbacks.BackupAndRestore(folder), Kill())


def resumed(folder, output):
    """Saves all state of the resumed run (a) and of an undisturbed one (b)."""
    gan, epochs = train(keras.callbacks.BackupAndRestore(folder))
    assert epochs == 2, f"trained {epochs} epochs: it didn't resume"
    undisturbed, epochs = train()
    assert epochs == 4
    np.savez(
        output,
        **{f"a{i}": value for i, value in enumerate(state(gan))},
        **{f"b{i}": value for i, value in enumerate(state(undisturbed))},
    )


def adam():
    return keras.optimizers.Adam(1e-2, beta_1=0.5)


def sgd():
    return keras.optimizers.SGD(0.1)


SETUPS = {
    "alternating": (adam, {"d_steps": 2, "loss": "non_saturating", "ema": 0.9}),
    "alternating, WGAN-GP": (sgd, {"loss": "wasserstein", "gradient_penalty": 1.0}),
    "shared": (sgd, {"update": "shared", "loss": "least_squares", "batch_norm": True}),
    "shared, R1": (
        adam,
        {"update": "shared", "loss": "non_saturating", "r1": 1.0, "batch_norm": True},
    ),
    "joint": (sgd, {"update": "joint", "loss": "non_saturating", "instance_noise": 0.2}),
    "joint, WGAN-GP": (adam, {"update": "joint", "loss": "wasserstein", "batch_norm": True}),
    "pairs": (
        adam,
        {"update": "shared", "content": ContentLoss(0.5, "l2"), "adversarial_weight": 0.3},
    ),
}


def data(seed, pairs):
    """Arguments of `fit`: images, or pairs of inputs and images."""
    if not pairs:
        return {"data": images(4, seed)}
    inputs = np.random.default_rng(seed).normal(size=(4, LATENT)).astype("float32")
    return {"data": inputs, "y": images(4, seed)}


def parity(output):
    """Five steps of each set-up: saves the losses of each step and the weights after the last."""
    results = {}
    for name, (optimizer, options) in SETUPS.items():
        with fixed_random():
            gan = make_gan(d_optimizer=optimizer(), g_optimizer=optimizer(), **options)
            logs = [fit(gan, **data(step, pairs=gan.content is not None)) for step in range(5)]
        for key in ("d_loss", "g_loss"):
            results[f"{name}: {key}"] = np.array([log[key][0] for log in logs])
        for i, weight in enumerate(arrays(gan.weights)):
            results[f"{name}: weight {i}"] = weight
    np.savez(output, **results)


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    tasks = {"killed": killed, "resumed": resumed, "parity": parity}
    tasks[task](*arguments)
