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


def build_dcgan_generator(latent_dim=100, width=16, *, seed=0):
    """Builds DCGAN's generator for 28×28 (Radford et al., 2016): latents to images in [-1, 1].

    Batch normalisation and ReLU after each hidden layer; `width` filters in the last of them, twice
    and four times as many in those before.
    """
    kernel = new_kernels("keras", count(100 * seed))

    def activate(x):
        return layers.ReLU()(BatchNormalization(momentum=0.9)(x))

    options = {"use_bias": False}  # batch normalisation has one
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(7 * 7 * 4 * width, kernel_initializer=kernel(), **options)(latents)
    x = activate(layers.Reshape((7, 7, 4 * width))(x))
    for filters in (2 * width, width):  # 7 -> 14 -> 28
        options |= {"strides": 2, "padding": "same", "kernel_initializer": kernel()}
        x = activate(Conv2DTranspose(filters, 4, **options)(x))
    x = Conv2D(1, 3, padding="same", kernel_initializer=kernel())(x)
    return keras.Model(latents, to_images(x, "tanh"), name="generator")


def build_spectral_discriminator(width=16, *, seed=0):
    """Builds a discriminator with spectral normalisation (Miyato et al., 2018): images to logits.

    Three convolutions of `width`, twice and four times as many filters.
    """
    widths = (width, 2 * width, 4 * width)
    return strided_discriminator((28, 28, 1), widths, 4, normalisation="spectral", seed=seed)
