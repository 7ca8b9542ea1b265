"""The 28×28 GAN of the Machine Learning Mastery MNIST tutorial, as functional builders."""

import keras
from keras import layers

from ganlib.models.layers import Conv2DTranspose, ThinConv2D, new_kernels


def build_generator(
    latent_dim=100,
    width=128,
    *,
    output="sigmoid",
    batch_norm=False,
    momentum=0.99,
    slope=0.2,
    seed=0,
):
    """Builds the generator: latents `(batch_size, latent_dim)` to images `(batch_size, 28, 28, 1)`.

    Args:
        latent_dim: int.
        width: int, filters of the hidden layers; the tutorial's is 128.
        output: activation of the last layer. `"sigmoid"` makes images in [0, 1], `"tanh"` in
            [-1, 1]: the data must be scaled to match.
        batch_norm: bool, batch normalisation before each hidden activation.
        momentum: float, of its moving statistics. Keras' default of 0.99 needs several hundred
            steps before inference looks like training; short runs want 0.9.
        slope: float, negative slope of the LeakyReLUs.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`.
    """
    kernel = new_kernels("keras", range(100 * seed, 100 * seed + 100))

    def activate(x):
        if batch_norm:
            x = layers.BatchNormalization(momentum=momentum)(x)
        return layers.LeakyReLU(slope)(x)

    latents = keras.Input((latent_dim,), name="latents")
    x = activate(layers.Dense(7 * 7 * width, kernel_initializer=kernel())(latents))
    x = layers.Reshape((7, 7, width))(x)
    for _ in range(2):  # 7 -> 14 -> 28
        options = {"strides": 2, "padding": "same", "kernel_initializer": kernel()}
        x = activate(Conv2DTranspose(width, 4, **options)(x))
    options = {"padding": "same", "kernel_initializer": kernel(), "name": "images"}
    return keras.Model(latents, ThinConv2D(1, 7, activation=output, **options)(x), name="generator")


def build_discriminator(width=128, *, dropout=0.4, slope=0.2, seed=0):
    """Builds the discriminator: images `(batch_size, 28, 28, 1)` to logits `(batch_size, 1)`.

    Args:
        width: int, filters of both convolutions; the write-up's is 128, the tutorial's 64.
        dropout: float, rate of dropout after each activation. 0: none.
        slope: float, negative slope of the LeakyReLUs.
        seed: int, of the weights' initial values and of the dropout masks.

    Returns:
        A `keras.Model` named `discriminator`, without the tutorial's sigmoid: losses take logits.
    """
    seeds = iter(range(100 * seed + 50, 100 * seed + 150))
    kernel = new_kernels("keras", seeds)
    images = keras.Input((28, 28, 1), name="images")
    x = images
    for _ in range(2):  # 28 -> 14 -> 7
        x = layers.Conv2D(width, 3, strides=2, padding="same", kernel_initializer=kernel())(x)
        x = layers.LeakyReLU(slope)(x)
        if dropout:
            x = layers.Dropout(dropout, seed=next(seeds))(x)
    logits = layers.Dense(1, kernel_initializer=kernel(), name="logits")(layers.Flatten()(x))
    return keras.Model(images, logits, name="discriminator")
