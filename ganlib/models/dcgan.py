"""DCGAN (Radford et al., 2016): transposed convolutions up, strided convolutions down."""

from itertools import count

import keras
from keras import layers

from ganlib.models.layers import (
    BatchNormalization,
    Conv2DTranspose,
    check_choice,
    new_kernels,
    strided_discriminator,
    to_images,
)


def build_generator(
    size=64, latent_dim=100, filters=64, *, upsample="transpose", initializer="normal", seed=0
):
    """Builds the generator: latents `(batch_size, latent_dim)` to images in [-1, 1].

    Args:
        size: int, a power of two from 8 on; images are `(batch_size, size, size, 3)`.
        latent_dim, seed: int; the latter of the weights' initial values.
        filters: int, of the last hidden layer; each earlier one has twice as many.
        upsample: "transpose", 4×4 with stride 2 as in the paper; "resize", nearest-neighbour
            upsampling and a 3×3 convolution: no checkerboard (Odena et al., 2016).
        initializer: "normal", N(0, 0.02) as in the paper; or "keras", uniform after Glorot.
    """
    levels = _levels(size)
    check_choice("upsample", upsample, ("transpose", "resize"))
    kernel = new_kernels(initializer, count(100 * seed))

    def double(x, filters, **options):
        x = layers.ReLU()(BatchNormalization(momentum=0.9)(x))
        options |= {"padding": "same", "kernel_initializer": kernel()}
        if upsample == "transpose":
            return Conv2DTranspose(filters, 4, strides=2, **options)(x)
        return layers.Conv2D(filters, 3, **options)(layers.UpSampling2D()(x))

    widest = filters << (levels - 1)
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(4 * 4 * widest, use_bias=False, kernel_initializer=kernel())(latents)
    x = layers.Reshape((4, 4, widest))(x)
    for level in reversed(range(levels - 1)):
        x = double(x, filters << level, use_bias=False)
    return keras.Model(latents, to_images(double(x, 3), "tanh"), name="generator")


def build_discriminator(
    size=64, filters=64, *, normalisation="batch", initializer="normal", seed=0
):
    """Builds the discriminator: images `(batch_size, size, size, 3)` to logits.

    `filters` are the first layer's; each later one has twice as many. `normalisation` is "batch"
    after all but the first, as in the paper; "spectral"; or `None`.
    """
    check_choice("normalisation", normalisation, ("batch", "spectral", None))
    widths = [filters << level for level in range(_levels(size))]
    options = {"normalisation": normalisation, "initializer": initializer, "seed": seed}
    return strided_discriminator((size, size, 3), widths, 4, **options)


def build_assignment_generator(latent_dim=100, *, size=64, filters=32, seed=0):
    """Returns the bedroom assignment's generator: latents to images in [-1, 1].

    The assignment states Dense 16,384, reshaped to 8×8×256, and transposed convolutions of 128, 64
    and 32 filters with stride 2, BatchNorm and LeakyReLU; so the output layer has stride 1. Its
    kernels' size is open: 5×5, as in TensorFlow's DCGAN tutorial. `size` is a multiple of 8.
    """
    if size < 16 or size % 8:
        raise ValueError(f"`size` must be a multiple of 8 from 16 on. Received: size={size}")
    kernel = new_kernels("keras", count(100 * seed))
    side, widest = size // 8, 8 * filters
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(side * side * widest, kernel_initializer=kernel())(latents)
    x = layers.Reshape((side, side, widest))(x)
    for width in (4 * filters, 2 * filters, filters):
        x = Conv2DTranspose(width, 5, strides=2, padding="same", kernel_initializer=kernel())(x)
        x = layers.LeakyReLU()(BatchNormalization()(x))
    x = Conv2DTranspose(3, 5, padding="same", kernel_initializer=kernel())(x)
    return keras.Model(latents, to_images(x, "tanh"), name="generator")


def build_assignment_discriminator(*, size=64, filters=32, seed=0):
    """Returns the bedroom assignment's discriminator: images to logits `(batch_size, 1)`.

    The assignment states convolutions of 32, 128 and 256 filters with stride 2 and LeakyReLU, then
    Dense 1; the sigmoid of the logit is the probability that it asks for.
    """
    widths = (filters, 4 * filters, 8 * filters)
    return strided_discriminator((size, size, 3), widths, 5, slope=0.3, seed=seed)


def _levels(size):
    if size < 8 or size & (size - 1):
        raise ValueError(f"`size` must be a power of two from 8 on. Received: size={size}")
    return size.bit_length() - 3
