"""DCGAN (Radford et al., 2016): transposed convolutions up, strided convolutions down."""

import keras
from keras import layers

from ganlib.models.layers import Conv2DTranspose


def _levels(size):
    levels = size.bit_length() - 3
    if size < 8 or size != 4 << (levels):
        raise ValueError(
            f"`size` must be a power of two from 8 on: 8, 16, 32, 64… Received: size={size}"
        )
    return levels


def build_generator(size=64, channels=3, latent_dim=100, filters=64, *, momentum=0.9, seed=0):
    """Builds the generator: latents `(batch_size, latent_dim)` to images in [-1, 1].

    Args:
        size: int, a power of two from 8 on; images are `(batch_size, size, size, channels)`.
        channels: int, 1 or 3.
        latent_dim: int, number of latent values.
        filters: int, filters of the last hidden layer; each earlier one has twice as many.
        momentum: float, of the moving statistics of batch normalisation.
        seed: int, of the weights' initial values, N(0, 0.02) as in the paper.

    Returns:
        A `keras.Model` named `generator`.
    """
    levels = _levels(size)
    seeds = iter(range(100 * seed, 100 * seed + 50))

    def initializer():
        return keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))

    def activate(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=momentum)(x))

    widest = filters << (levels - 1)
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(4 * 4 * widest, use_bias=False, kernel_initializer=initializer())(latents)
    x = activate(layers.Reshape((4, 4, widest))(x))
    for level in reversed(range(levels - 1)):
        x = Conv2DTranspose(
            filters << level,
            4,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer(),
        )(x)
        x = activate(x)
    images = Conv2DTranspose(
        channels,
        4,
        strides=2,
        padding="same",
        activation="tanh",
        kernel_initializer=initializer(),
        name="images",
    )(x)
    return keras.Model(latents, images, name="generator")


def build_discriminator(size=64, channels=3, filters=64, *, momentum=0.9, slope=0.2, seed=0):
    """Builds the discriminator: images `(batch_size, size, size, channels)` to logits.

    Args:
        size: int, a power of two from 8 on.
        channels: int, 1 or 3.
        filters: int, filters of the first layer; each later one has twice as many.
        momentum: float, of the moving statistics of batch normalisation.
        slope: float, negative slope of the LeakyReLUs.
        seed: int, of the weights' initial values, N(0, 0.02) as in the paper.

    Returns:
        A `keras.Model` named `discriminator`; its logits are `(batch_size, 1)`.
    """
    seeds = iter(range(100 * seed + 50, 100 * seed + 100))

    def initializer():
        return keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))

    images = keras.Input((size, size, channels), name="images")
    x = images
    for level in range(_levels(size)):
        x = layers.Conv2D(
            filters << level,
            4,
            strides=2,
            padding="same",
            use_bias=level == 0,
            kernel_initializer=initializer(),
        )(x)
        if level:  # none on the first layer, as in the paper
            x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.LeakyReLU(slope)(x)
    x = layers.Flatten()(x)
    logits = layers.Dense(1, kernel_initializer=initializer(), name="logits")(x)
    return keras.Model(images, logits, name="discriminator")
