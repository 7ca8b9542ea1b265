"""The 28×28 GAN of the Machine Learning Mastery MNIST tutorial, as functional builders."""

from itertools import count

import keras
from keras import layers

from ganlib.models.layers import (
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    new_kernels,
    strided_discriminator,
    to_images,
)


def build_generator(
    latent_dim=100, width=128, *, output="sigmoid", batch_norm=False, momentum=0.99, seed=0
):
    """Builds the generator: latents `(batch_size, latent_dim)` to images `(batch_size, 28, 28, 1)`.

    Args:
        latent_dim, width, seed: int; `width` is of the hidden layers (the tutorial's is 128).
        output: `"sigmoid"`, images in [0, 1], or `"tanh"`, in [-1, 1], as the data must be.
        batch_norm: bool, batch normalisation before each hidden activation.
        momentum: float, of its moving statistics. Runs of a few hundred steps want 0.9.
    """
    kernel = new_kernels("keras", count(100 * seed))

    def activate(x):
        if batch_norm:
            x = BatchNormalization(momentum=momentum)(x)
        return layers.LeakyReLU(0.2)(x)

    latents = keras.Input((latent_dim,), name="latents")
    x = activate(layers.Dense(7 * 7 * width, kernel_initializer=kernel())(latents))
    x = layers.Reshape((7, 7, width))(x)
    for _ in range(2):  # 7 -> 14 -> 28
        options = {"strides": 2, "padding": "same", "kernel_initializer": kernel()}
        x = activate(Conv2DTranspose(width, 4, **options)(x))
    x = Conv2D(1, 7, padding="same", kernel_initializer=kernel())(x)
    return keras.Model(latents, to_images(x, output), name="generator")


def build_discriminator(width=128, *, dropout=0.4, seed=0):
    """Builds the discriminator: images `(batch_size, 28, 28, 1)` to logits `(batch_size, 1)`.

    `width` is of both convolutions: the write-up's is 128, the tutorial's 64; `dropout` a rate.
    """
    return strided_discriminator((28, 28, 1), (width, width), 3, dropout=dropout, seed=seed)
