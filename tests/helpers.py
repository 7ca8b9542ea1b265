"""Tiny models and checks that the tests share."""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
from keras import layers, ops

from ganlib.adversarial import Adversarial
from ganlib.models.layers import Conv2DTranspose

LATENT = 4
IMAGE = (8, 8, 1)
TESTS = pathlib.Path(__file__).parent


@keras.saving.register_keras_serializable("ganlib_tests")
class Probe(layers.Layer):
    """Passes its input on; counts the training passes and keeps what the last input looked like."""

    def build(self, input_shape):
        def weight(name):
            return self.add_weight(name=name, initializer="zeros", trainable=False)

        self.passes, self.batch, self.spread = map(weight, ("passes", "batch", "spread"))

    def call(self, inputs, training=False):
        if training:
            self.passes.assign_add(1.0)
        self.batch.assign(ops.cast(ops.shape(inputs)[0], "float32"))
        self.spread.assign(ops.std(inputs))
        return inputs

    def read(self):
        return tuple(float(v.numpy()) for v in (self.passes, self.batch, self.spread))


@keras.saving.register_keras_serializable("ganlib_tests")
class Recorder(layers.Layer):
    """Passes its input on, and keeps the sum of step × input: the order of the batches matters."""

    def build(self, input_shape):
        self.step = self.add_weight(initializer="zeros", trainable=False)
        self.trace = self.add_weight(initializer="zeros", trainable=False)

    def call(self, inputs, training=False):
        if training:
            self.step.assign_add(1.0)
            self.trace.assign_add(self.step * ops.sum(inputs))
        return inputs


def _with_kernels(model, seed):
    """Kernels from NumPy: an initializer draws other numbers on each backend."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


# Smooth activations only: where a ReLU's input is near 0, two backends can take different branches.


def build_generator(batch_norm=False):
    """Latents `(batch_size, 4)` to images `(batch_size, 8, 8, 1)`; the same weights each time."""
    stack = [
        keras.Input((LATENT,)),
        # No bias before a BatchNorm: its gradient is rounding noise, which Adam blows up.
        layers.Dense(4 * 4 * 2, use_bias=not batch_norm),
        *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []),
        layers.Activation("tanh"),
        layers.Reshape((4, 4, 2)),
        Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
    ]
    return _with_kernels(keras.Sequential(stack, name="generator"), seed=1)


def build_discriminator(batch_norm=False, dropout=0.0, probe=False):
    """Images `(batch_size, 8, 8, 1)` to logits `(batch_size, 1)`; the same weights each time."""
    stack = [
        keras.Input(IMAGE),
        *([Probe(name="probe")] if probe else []),
        layers.Conv2D(2, 4, strides=2, padding="same", use_bias=not batch_norm),
        *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []),
        layers.Activation("tanh"),
        *([layers.Dropout(dropout, seed=5)] if dropout else []),
        layers.Flatten(),
        layers.Dense(1),
    ]
    return _with_kernels(keras.Sequential(stack, name="discriminator"), seed=2)


def build_linear_discriminator(weights, bias=0.0):
    """Images to logits w·x + b; `weights` is an array of the images' shape."""
    model = keras.Sequential([keras.Input(IMAGE), layers.Flatten(), layers.Dense(1)])
    model.set_weights([np.reshape(weights, (-1, 1)), np.array([bias])])
    return model


def make_gan(*, batch_norm=False, dropout=0.0, compile_options=None, **options):
    """A compiled `Adversarial` on the players above; `options` are its own."""
    generator = options.pop("generator", None) or build_generator(batch_norm)
    discriminator = options.pop("discriminator", None) or build_discriminator(batch_norm, dropout)
    optimizers = [
        options.pop(name, None) or keras.optimizers.Adam(1e-2, beta_1=0.5)
        for name in ("d_optimizer", "g_optimizer")
    ]
    gan = Adversarial(generator, discriminator, **options)
    gan.compile(*optimizers, **(compile_options or {}))
    return gan


def images(n, seed=0):
    """`n` images in [-1, 1], brighter than an untrained generator's."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(0.5, 0.5, (n, *IMAGE))).astype("float32")


def fit(gan, data, *, batch_size=4, epochs=1, **kwargs):
    """`gan.fit` without shuffling or output; returns the history's dict."""
    options = {"batch_size": batch_size, "epochs": epochs, "shuffle": False, "verbose": 0}
    return gan.fit(data, **options, **kwargs).history


def arrays(variables):
    return [ops.convert_to_numpy(v).astype("float64") for v in variables]


def state(model):
    """Every variable of the model (random states, too) and of its optimizers, as float64 arrays."""
    return arrays(model.variables + model.optimizer.variables)


def gap(a, b):
    return max(float(np.max(np.abs(x - y), initial=0.0)) for x, y in zip(a, b, strict=True))


def fixed_random():
    """Context in which the step draws the same numbers on every backend and in every mode."""

    def draw(kind):
        def function(shape, seed=None):
            n, *rest = shape
            rng = np.random.default_rng(0)
            table = rng.normal(size=(64, *rest)) if kind == "normal" else rng.uniform(size=64)
            table = table.reshape(64, *rest).astype("float32")
            return ops.convert_to_tensor(table)[:n]

        return function

    stack = contextlib.ExitStack()
    for kind in ("normal", "uniform"):
        stack.enter_context(mock.patch.object(keras.random, kind, draw(kind)))
    return stack


def installed(*backends):
    return [name for name in backends if importlib.util.find_spec(name) is not None]


def start_python(*arguments, backend):
    """Starts Python with that backend; it finds `ganlib` and the tests' modules."""
    env = {**os.environ, "KERAS_BACKEND": backend}
    paths = [str(TESTS.parent), str(TESTS), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=env, **streams)


def run_python(*arguments, backend, expect=0):
    process = start_python(*arguments, backend=backend)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == expect, output
    return output
