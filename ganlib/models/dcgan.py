"""DCGAN (Radford et al., 2016): transposed convolutions up, strided convolutions down."""

import math

import keras
from keras import layers

from ganlib.models.layers import Conv2DTranspose
from ganlib.models.spectral import SpectralConv2D, SpectralDense

INITIALIZERS = ("normal", "keras")
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
        channels: int, 1 or 3.
        latent_dim: int, number of latent values.
        filters: int, filters of the last hidden layer; each earlier one has twice as many.
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

    Raises:
        ValueError: `size`, `normalisation`, `upsample` or `initializer` is none of the above.
    """
    levels = _levels(size)
    _check_choice("normalisation", normalisation, ("batch", None))
    _check_choice("upsample", upsample, UPSAMPLING)
    new_kernel = _kernels(initializer, range(100 * seed, 100 * seed + 50))

    def activate(x):
        if normalisation == "batch":
            x = layers.BatchNormalization(momentum=momentum)(x)
        return layers.ReLU()(x)

    def double(x, filters, **options):
        options |= {"padding": "same", "kernel_initializer": new_kernel()}
        if upsample == "transpose":
            return Conv2DTranspose(filters, 4, strides=2, **options)(x)
        return layers.Conv2D(filters, 3, **options)(layers.UpSampling2D()(x))

    use_bias = normalisation is None  # batch normalisation brings its own
    widest = filters << (levels - 1)
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(4 * 4 * widest, use_bias=use_bias, kernel_initializer=new_kernel())(latents)
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
        channels: int, 1 or 3.
        filters: int, filters of the first layer; each later one has twice as many.
        normalisation: "batch" after every convolution but the first, as in the paper; "spectral" in
            every layer (Miyato et al., 2018); or `None`.
        initializer: "normal", kernels from N(0, 0.02) as in the paper; or "keras", Keras' default,
            uniform after Glorot.
        momentum: float, of the moving statistics of batch normalisation.
        slope: float, negative slope of the LeakyReLUs.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `discriminator`; its logits are `(batch_size, 1)`.

    Raises:
        ValueError: `size`, `normalisation` or `initializer` is none of the above.
    """
    levels = _levels(size)
    _check_choice("normalisation", normalisation, ("batch", "spectral", None))
    new_kernel = _kernels(initializer, range(100 * seed + 50, 100 * seed + 100))
    spectral = normalisation == "spectral"
    convolution, dense = (
        (SpectralConv2D, SpectralDense) if spectral else (layers.Conv2D, layers.Dense)
    )
    images = keras.Input((size, size, channels), name="images")
    x = images
    for level in range(levels):
        normalised = normalisation == "batch" and level > 0
        x = convolution(
            filters << level,
            4,
            strides=2,
            padding="same",
            use_bias=not normalised,
            kernel_initializer=new_kernel(),
        )(x)
        if normalised:
            x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.LeakyReLU(slope)(x)
    x = layers.Flatten()(x)
    logits = dense(1, kernel_initializer=new_kernel(), name="logits")(x)
    return keras.Model(images, logits, name="discriminator")


def build_assignment_generator(latent_dim=100, *, size=64, filters=32, seed=0):
    """Builds the bedroom assignment's generator: latents `(batch_size, latent_dim)` to images.

    Dense, reshaped to an eighth of the images' size and 8 × `filters` channels; three transposed
    convolutions of 4 ×, 2 × and 1 × `filters` with stride 2, each with BatchNorm and LeakyReLU,
    which lead to the full size; so the output layer, a transposed convolution to 3 channels with
    tanh, has stride 1. The assignment states size 64 and 32 filters: Dense 16,384, reshaped to
    8×8×256; 128, 64 and 32 filters; 2,733,507 parameters. Smaller ones are for CPUs.

    The assignment leaves the kernels' size open: 5×5, as in TensorFlow's DCGAN tutorial. All else
    that it leaves open is Keras' default: biases, Glorot's initial values, a negative slope of 0.3.

    Args:
        latent_dim: int, number of latent values.
        size: int, a multiple of 8 from 16 on.
        filters: int, filters of the last hidden layer; each earlier one has twice as many.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`; images are `(batch_size, size, size, 3)` in [-1, 1].

    Raises:
        ValueError: `size` is none of the above.
    """
    _check_assignment_size(size)
    new_kernel = _kernels("keras", range(100 * seed, 100 * seed + 50))
    start = (size // 8, size // 8, 8 * filters)
    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(math.prod(start), kernel_initializer=new_kernel())(latents)
    x = layers.Reshape(start)(x)
    for width in (4 * filters, 2 * filters, filters):
        x = Conv2DTranspose(width, 5, strides=2, padding="same", kernel_initializer=new_kernel())(x)
        x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    images = Conv2DTranspose(
        3, 5, padding="same", activation="tanh", kernel_initializer=new_kernel(), name="images"
    )(x)
    return keras.Model(latents, images, name="generator")


def build_assignment_discriminator(*, size=64, filters=32, seed=0):
    """Builds the bedroom assignment's discriminator: images to logits.

    Convolutions of 1 ×, 4 × and 8 × `filters` with stride 2 and LeakyReLU; Flatten; Dense 1. The
    assignment states size 64 and 32 filters, so 32, 128 and 256: 940,801 parameters. Smaller ones
    are for CPUs. Kernels and all else that the assignment leaves open are chosen as in
    `build_assignment_generator`.

    The assignment's output is the probability that an image is real. Here it is the logit: ganlib's
    losses take logits, where a saturated sigmoid can't round their gradient to zero. The sigmoid of
    the logit is that probability.

    Args:
        size: int, a multiple of 8 from 16 on; images are `(batch_size, size, size, 3)`.
        filters: int, filters of the first layer.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `discriminator`; its logits are `(batch_size, 1)`.

    Raises:
        ValueError: `size` is none of the above.
    """
    _check_assignment_size(size)
    new_kernel = _kernels("keras", range(100 * seed + 50, 100 * seed + 100))
    images = keras.Input((size, size, 3), name="images")
    x = images
    for width in (filters, 4 * filters, 8 * filters):
        x = layers.Conv2D(width, 5, strides=2, padding="same", kernel_initializer=new_kernel())(x)
        x = layers.LeakyReLU()(x)
    logits = layers.Dense(1, kernel_initializer=new_kernel(), name="logits")(layers.Flatten()(x))
    return keras.Model(images, logits, name="discriminator")


def _levels(size):
    levels = size.bit_length() - 3
    if size < 8 or size != 4 << levels:
        raise ValueError(
            f"`size` must be a power of two from 8 on: 8, 16, 32, 64… Received: size={size}"
        )
    return levels


def _check_assignment_size(size):
    if size < 16 or size % 8:
        raise ValueError(
            f"`size` must be a multiple of 8 from 16 on: 16, 24, 32… Received: size={size}"
        )


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


def _kernels(initializer, seeds):
    """A function that gives the next kernel its initializer, each with a seed of its own."""
    _check_choice("initializer", initializer, INITIALIZERS)
    seeds = iter(seeds)
    if initializer == "normal":
        return lambda: keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))
    return lambda: keras.initializers.GlorotUniform(seed=next(seeds))
