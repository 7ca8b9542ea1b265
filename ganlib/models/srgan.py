"""Super-resolution: SRResNet and EDSR generators, and SRGAN's discriminator (Ledig et al., 2017).

All pictures are in [0, 1], RGB, of any height and width.
"""

import keras
from keras import layers

from ganlib.models.layers import ICNR, PixelShuffle, ThinConv2D, check_choice
from ganlib.models.linear import LinearUpscaling

SCALES = (2, 3, 4)


def build_generator(scale=4, filters=64, blocks=16, *, kernel=None, channels=3, seed=0):
    """Builds an EDSR-like generator: low-resolution pictures in [0, 1] to `scale` times the size.

    A linear upscaler plus what residual blocks add to it. Nothing is normalised, all work is done
    at low resolution, and a new network *is* its linear upscaler: training begins at its quality
    (Lim et al., 2017, for the blocks; the global skip as in VDSR, Kim et al., 2016).

    Args:
        scale: int, 2, 3 or 4.
        filters, blocks: int, width and residual blocks of the trunk.
        kernel: array `(size, size, scale²)`, the linear upscaler, such as
            `ganlib.models.linear.fit_kernel` makes. `None`: bicubic.
        channels: int.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`, `(n, h, w, channels)` to
        `(n, scale·h, scale·w, channels)`. Values may leave [0, 1] a little: clip them.
    """
    check_choice("scale", scale, SCALES)
    convolution = _convolutions(seed)
    low = keras.Input((None, None, channels), name="low")
    first = x = convolution(filters)(low)
    for _ in range(blocks):
        y = layers.ReLU()(convolution(filters)(x))
        x = layers.Add()([x, convolution(filters, gain=0.1)(y)])
    x = layers.Add()([first, convolution(filters, gain=0.1)(x)])
    x = convolution(channels * scale**2, kernel_initializer="zeros", name="detail")(x)
    detail = PixelShuffle(scale)(x)
    skip = LinearUpscaling(scale, kernel, name="skip")(low)
    return keras.Model(low, layers.Add(name="images")([skip, detail]), name="generator")


def build_paper_generator(
    scale=4, filters=64, blocks=16, *, output="tanh", momentum=0.9, channels=3, seed=0
):
    """Builds SRResNet as Ledig et al. (2017) drew it: pictures in [0, 1] to `scale` times the size.

    9×9 convolutions at both ends, batch normalisation and PReLU, sub-pixel upsampling in steps (by
    2 and 2 for a scale of 4), no skip from the input: what it knows of the picture's colours it has
    to learn.

    Args:
        scale, filters, blocks, channels, seed: as in `build_generator`.
        output: `"tanh"`, pictures in [-1, 1], or `"linear"`.
        momentum: float, of batch normalisation.

    Returns:
        A `keras.Model` named `generator`.
    """
    check_choice("scale", scale, SCALES)
    check_choice("output", output, ("tanh", "linear"))
    convolution = _convolutions(seed)

    def norm(x):
        return layers.BatchNormalization(momentum=momentum)(x)

    def prelu(x):
        return layers.PReLU(shared_axes=(1, 2), alpha_initializer="zeros")(x)

    low = keras.Input((None, None, channels), name="low")
    first = x = prelu(convolution(filters, 9)(low))
    for _ in range(blocks):
        y = prelu(norm(convolution(filters)(x)))
        x = layers.Add()([x, norm(convolution(filters)(y))])
    x = layers.Add()([first, norm(convolution(filters)(x))])
    for step in (2, 2) if scale == 4 else (scale,):
        x = convolution(filters * step**2, shuffled=step)(x)
        x = prelu(PixelShuffle(step)(x))
    last = keras.initializers.GlorotUniform(seed=seed)
    options = {"padding": "same", "kernel_initializer": last, "name": "images"}
    images = ThinConv2D(channels, 9, activation=output, **options)(x)
    return keras.Model(low, images, name="generator")


def build_discriminator(filters=64, *, levels=4, batch_norm=False, size=None, channels=3, seed=0):
    """Returns SRGAN's discriminator, a `keras.Model`: pictures of any size to logits `(n, 1)`.

    Pairs of convolutions, the second of each pair with stride 2 and the width doubled from level to
    level; then the mean over all places, so that one network judges patches of every size.

    Args:
        filters: int, width of the first level.
        levels: int, halvings of the resolution; the paper has 4.
        batch_norm: bool, batch normalisation after all but the first convolution, as in the paper.
        size: int, height and width of the patches. `None`: any from 2**levels on.
        channels: int.
        seed: int, of the convolutions' initial values; the dense layers follow Keras' global seed.
    """
    convolution = _convolutions(seed + 1)
    images = keras.Input((size, size, channels), name="images")
    x = images
    for i in range(2 * levels):
        x = convolution(filters << i // 2, strides=1 + i % 2)(x)
        if batch_norm and i:
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.LeakyReLU(0.2)(layers.Dense(filters << levels)(x))
    return keras.Model(images, layers.Dense(1, name="logits")(x), name="discriminator")


def _convolutions(seed):
    """A function that makes "same" convolutions whose initial values follow from one seed."""
    seeds = iter(range(1000 * seed, 1000 * seed + 1000))

    def convolution(filters, size=3, *, gain=1.0, shuffled=1, **options):
        options = {"kernel_initializer": ICNR(shuffled, gain, seed=next(seeds)), **options}
        return layers.Conv2D(filters, size, padding="same", **options)

    return convolution
