"""A model of your own: functional builders, here of dense layers on 28×28 grey pictures."""

import keras
from keras import layers


def build_generator(latent_dim=32, width=128, *, seed=0):
    """Builds the generator: latents `(batch_size, latent_dim)` to images in [-1, 1].

    Args:
        latent_dim: int, number of latent values.
        width: int, units of the hidden layer.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model`; images are `(batch_size, 28, 28, 1)`.
    """
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(width, kernel_initializer=_glorot(seed, 0))(latents)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.LeakyReLU(0.2)(x)
    # The last activation tells the value range: tanh [-1, 1], sigmoid [0, 1].
    x = layers.Dense(28 * 28, "tanh", kernel_initializer=_glorot(seed, 1))(x)
    return keras.Model(latents, layers.Reshape((28, 28, 1))(x), name="generator")


def build_discriminator(width=128, *, seed=0):
    """Builds the discriminator: images `(batch_size, 28, 28, 1)` to logits `(batch_size, 1)`.

    Args:
        width: int, units of the hidden layer.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model`; it ends without a sigmoid, as losses take logits.
    """
    images = keras.Input((28, 28, 1), name="images")
    x = layers.Dense(width, kernel_initializer=_glorot(seed, 2))(layers.Flatten()(images))
    logits = layers.Dense(1, kernel_initializer=_glorot(seed, 3))(layers.LeakyReLU(0.2)(x))
    return keras.Model(images, logits, name="discriminator")


def _glorot(seed, layer):
    return keras.initializers.GlorotUniform(seed=1000 * seed + layer)
