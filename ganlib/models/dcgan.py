"""DCGAN (Radford et al., 2016): transposed convolutions up, strided convolutions down."""

import keras
from keras import layers

from ganlib.models.layers import (
    Conv2DTranspose,
    SpectralConv2D,
    SpectralDense,
    check_choice,
    new_kernels,
)

UPSAMPLING = ("transpose", "resize")


def build_generator(
    size=64,
    channels=3,
    latent_dim=100,
    filters=64,
    *,
    normalisation="batch",
    upsample="transpose",
    initializer="normal",
    momentum=0.9,
    seed=0,
):
    """Builds the generator: latents `(batch_size, latent_dim)` to images in [-1, 1].

    Args:
        size: int, a power of two from 8 on; images are `(batch_size, size, size, channels)`.
        channels, latent_dim: int.
        filters: int, of the last hidden layer; each earlier one has twice as many.
        normalisation: "batch" after every layer but the last, or `None`.
        upsample: "transpose", transposed 4×4 convolutions with stride 2 as in the paper; or
            "resize", nearest-neighbour upsampling and a 3×3 convolution, which cannot paint a
            checkerboard (Odena et al., 2016).
        initializer: "normal", kernels from N(0, 0.02) as in the paper; or "keras", Keras' default,
            uniform after Glorot.
        momentum: float, of the moving statistics of batch normalisation.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`.
    """
    levels = _levels(size)
    check_choice("normalisation", normalisation, ("batch", None))
    check_choice("upsample", upsample, UPSAMPLING)
    kernel = new_kernels(initializer, range(100 * seed, 100 * seed + 50))

    def activate(x):
        if normalisation == "batch":
            x = layers.BatchNormalization(momentum=momentum)(x)
        return layers.ReLU()(x)

    def double(x, filters, **options):
        options |= {"padding": "same", "kernel_initializer": kernel()}
        if upsample == "transpose":
            return Conv2DTranspose(filters, 4, strides=2, **options)(x)
        return layers.Conv2D(filters, 3, **options)(layers.UpSampling2D()(x))

    use_bias = normalisation is None  # batch normalisation brings its own
    widest = filters << (levels - 1)
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(4 * 4 * widest, use_bias=use_bias, kernel_initializer=kernel())(latents)
    x = activate(layers.Reshape((4, 4, widest))(x))
    for level in reversed(range(levels - 1)):
        x = activate(double(x, filters << level, use_bias=use_bias))
    images = double(x, channels, activation="tanh", name="images")
    return keras.Model(latents, images, name="generator")


def build_discriminator(
    size=64,
    channels=3,
    filters=64,
    *,
    normalisation="batch",
    initializer="normal",
    momentum=0.9,
    slope=0.2,
    seed=0,
):
    """Builds the discriminator: images `(batch_size, size, size, channels)` to logits.

    Args:
        size: int, a power of two from 8 on.
        channels: int.
        filters: int, of the first layer; each later one has twice as many.
        normalisation: "batch" after every convolution but the first, as in the paper; "spectral" in
            every layer (Miyato et al., 2018); or `None`.
        initializer, momentum, seed: as in `build_generator`.
        slope: float, negative slope of the LeakyReLUs.

    Returns:
        A `keras.Model` named `discriminator`; its logits are `(batch_size, 1)`.
    """
    levels = _levels(size)
    check_choice("normalisation", normalisation, ("batch", "spectral", None))
    kernel = new_kernels(initializer, range(100 * seed + 50, 100 * seed + 100))
    spectral = normalisation == "spectral"
    convolution = SpectralConv2D if spectral else layers.Conv2D
    dense = SpectralDense if spectral else layers.Dense
    images = keras.Input((size, size, channels), name="images")
    x = images
    for level in range(levels):
        normalised = normalisation == "batch" and level > 0
        options = {"use_bias": not normalised, "kernel_initializer": kernel()}
        x = convolution(filters << level, 4, strides=2, padding="same", **options)(x)
        if normalised:
            x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.LeakyReLU(slope)(x)
    logits = dense(1, kernel_initializer=kernel(), name="logits")(layers.Flatten()(x))
    return keras.Model(images, logits, name="discriminator")


def build_assignment_generator(latent_dim=100, *, size=64, filters=32, seed=0):
    """Returns the bedroom assignment's generator: latents to images in [-1, 1].

    The assignment states size 64 and 32 filters: Dense 16,384, reshaped to 8×8×256; transposed
    convolutions of 128, 64 and 32 filters with stride 2, each with BatchNorm and LeakyReLU, which
    lead to the full size; so the output layer has stride 1. Smaller ones are for CPUs. It leaves
    the kernels' size open: 5×5, as in TensorFlow's DCGAN tutorial; all else is Keras' default.

    Args:
        latent_dim: int.
        size: int, a multiple of 8 from 16 on; images are `(batch_size, size, size, 3)`.
        filters: int, of the last hidden layer; each earlier one has twice as many.
        seed: int, of the weights' initial values.
    """
    _check_multiple(size)
    kernel = new_kernels("keras", range(100 * seed, 100 * seed + 50))
    side, widest = size // 8, 8 * filters
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(side * side * widest, kernel_initializer=kernel())(latents)
    x = layers.Reshape((side, side, widest))(x)
    for width in (4 * filters, 2 * filters, filters):
        x = Conv2DTranspose(width, 5, strides=2, padding="same", kernel_initializer=kernel())(x)
        x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    options = {"padding": "same", "kernel_initializer": kernel(), "name": "images"}
    images = Conv2DTranspose(3, 5, activation="tanh", **options)(x)
    return keras.Model(latents, images, name="generator")


def build_assignment_discriminator(*, size=64, filters=32, seed=0):
    """Returns the bedroom assignment's discriminator: images to logits `(batch_size, 1)`.

    The assignment states size 64 and 32 filters: convolutions of 32, 128 and 256 with stride 2 and
    LeakyReLU; Flatten; Dense 1; what it leaves open is as in `build_assignment_generator`. Its
    output is the probability that an image is real, the sigmoid of the logit: ganlib's losses take
    logits, where a saturated sigmoid can't round their gradient to zero.

    Args and errors as of `build_assignment_generator`; `filters` are those of the first layer.
    """
    _check_multiple(size)
    kernel = new_kernels("keras", range(100 * seed + 50, 100 * seed + 100))
    images = keras.Input((size, size, 3), name="images")
    x = images
    for width in (filters, 4 * filters, 8 * filters):
        x = layers.Conv2D(width, 5, strides=2, padding="same", kernel_initializer=kernel())(x)
        x = layers.LeakyReLU()(x)
    logits = layers.Dense(1, kernel_initializer=kernel(), name="logits")(layers.Flatten()(x))
    return keras.Model(images, logits, name="discriminator")


def _levels(size):
    levels = size.bit_length() - 3
    if size < 8 or size != 4 << levels:
        raise ValueError(f"`size` must be a power of two from 8 on. Received: size={size}")
    return levels


def _check_multiple(size):
    if size < 16 or size % 8:
        raise ValueError(f"`size` must be a multiple of 8 from 16 on. Received: size={size}")
