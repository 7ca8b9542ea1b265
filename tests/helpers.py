"""Checks and tiny models that the tests share."""

import keras
import numpy as np
from keras import layers

from ganlib.adversarial import Adversarial
from ganlib.models.layers import Conv2DTranspose

LATENT = 4
IMAGE = (8, 8, 1)


def build_generator(batch_norm=False, seed=0):
    """Latents `(batch_size, 4)` to images `(batch_size, 8, 8, 1)`; smooth everywhere."""
    norm = [layers.BatchNormalization(momentum=0.9)] if batch_norm else []
    initializers = [keras.initializers.GlorotUniform(100 + 10 * seed + i) for i in range(2)]
    stack = [
        keras.Input((LATENT,)),
        layers.Dense(4 * 4 * 2, kernel_initializer=initializers[0]),
        *norm,
        layers.Activation("tanh"),
        layers.Reshape((4, 4, 2)),
        Conv2DTranspose(
            1, 4, strides=2, padding="same", activation="tanh", kernel_initializer=initializers[1]
        ),
    ]
    return keras.Sequential(stack, name="generator")


def build_discriminator(batch_norm=False, dropout=0.0, seed=0):
    """Images `(batch_size, 8, 8, 1)` to logits `(batch_size, 1)`; smooth everywhere."""
    norm = [layers.BatchNormalization(momentum=0.9)] if batch_norm else []
    drop = [layers.Dropout(dropout, seed=seed)] if dropout else []
    initializers = [keras.initializers.GlorotUniform(200 + 10 * seed + i) for i in range(2)]
    stack = [
        keras.Input(IMAGE),
        layers.Conv2D(2, 4, strides=2, padding="same", kernel_initializer=initializers[0]),
        *norm,
        layers.Activation("tanh"),
        *drop,
        layers.Flatten(),
        layers.Dense(1, kernel_initializer=initializers[1]),
    ]
    return keras.Sequential(stack, name="discriminator")


def make_gan(
    *,
    batch_norm=False,
    dropout=0.0,
    d_optimizer=None,
    g_optimizer=None,
    compile_options=None,
    **options,
):
    """A compiled `Adversarial` on the two players above; the same weights at each call."""
    gan = Adversarial(
        build_generator(batch_norm), build_discriminator(batch_norm, dropout), **options
    )
    gan.compile(
        d_optimizer or keras.optimizers.Adam(1e-2, beta_1=0.5),
        g_optimizer or keras.optimizers.Adam(1e-2, beta_1=0.5),
        **(compile_options or {}),
    )
    return gan


def images(n, seed=0):
    """`n` images in [-1, 1] that a discriminator can tell from a new generator's."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(0.5, 0.5, (n, *IMAGE))).astype("float32")


def state(model):
    """Every variable of the model and of its optimizers, as float64 arrays."""
    variables = model.variables + model.optimizer.variables
    return [keras.ops.convert_to_numpy(v).astype("float64") for v in variables]


def gap(a, b):
    """The largest difference between two lists of arrays of the same shapes."""
    return max(
        float(np.max(np.abs(x - y), initial=0.0)) for x, y in zip(a, b, strict=True)
    )
