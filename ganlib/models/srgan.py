"""Super-resolution: SRResNet and EDSR generators, SRGAN's discriminator (Ledig et al., 2017)."""

import itertools

import keras
from keras import layers

from ganlib.models.layers import (
    ICNR,
    BatchNormalization,
    Conv2D,
    PixelShuffle,
    check_choice,
    to_images,
)
from ganlib.models.linear import LinearUpscaling


def build_generator(scale=4, filters=64, blocks=16, *, kernel=None, seed=0):
    """Builds an EDSR-like generator: low-resolution pictures in [0, 1] to `scale` times the size.

    A linear upscaler plus what residual blocks (Lim et al., 2017) add to it at low resolution: a
    new network *is* its linear upscaler. Clip the pictures: they may leave [0, 1] a little.

    Args:
        scale: int, 2, 3 or 4.
        filters, blocks, seed: int, width and residual blocks; of the weights' initial values.
        kernel: array `(5, 5, scale²)` of `ganlib.models.linear.fit_kernel`. `None`: bicubic.
    """
    check_choice("scale", scale, (2, 3, 4))
    convolution = _convolutions(seed)
    low = keras.Input((None, None, 3), name="low")
    first = x = convolution(filters)(low)
    for _ in range(blocks):
        y = layers.ReLU()(convolution(filters)(x))
        x = layers.Add()([x, convolution(filters, gain=0.1)(y)])
    x = layers.Add()([first, convolution(filters, gain=0.1)(x)])
    x = convolution(3 * scale**2, kernel_initializer="zeros", name="detail")(x)
    detail = PixelShuffle(scale)(x)
    # What is exact without the network stays so in half precision.
    skip = LinearUpscaling(scale, kernel, name="skip", dtype="float32")(low)
    images = layers.Add(name="images", dtype="float32")([skip, detail])
    return keras.Model(low, images, name="generator")


def build_paper_generator(scale=4, filters=64, blocks=16, *, seed=0):
    """Builds SRResNet as Ledig et al. (2017) drew it: pictures in [0, 1] to `scale` times the size.

    9×9 convolutions at both ends, batch normalisation and PReLU, sub-pixel upsampling in steps, no
    skip from the input. Its pictures are in [-1, 1]. Args as of `build_generator`.
    """
    check_choice("scale", scale, (2, 3, 4))
    convolution = _convolutions(seed)

    def prelu(x):
        return layers.PReLU(shared_axes=(1, 2), alpha_initializer="zeros")(x)

    def normalised(x):
        return BatchNormalization(momentum=0.9)(convolution(filters)(x))

    low = keras.Input((None, None, 3), name="low")
    first = x = prelu(convolution(filters, 9)(low))
    for _ in range(blocks):
        x = layers.Add()([x, normalised(prelu(normalised(x)))])
    x = layers.Add()([first, normalised(x)])
    for step in (2, 2) if scale == 4 else (scale,):
        x = prelu(PixelShuffle(step)(convolution(filters * step**2, shuffled=step)(x)))
    last = keras.initializers.GlorotUniform(seed=seed)
    x = Conv2D(3, 9, padding="same", kernel_initializer=last)(x)
    return keras.Model(low, to_images(x, "tanh"), name="generator")


def build_discriminator(filters=64, *, levels=4, seed=0):
    """Returns SRGAN's discriminator, a `keras.Model`: pictures of any size to logits `(n, 1)`.

    Pairs of convolutions, the second with stride 2, the width doubled from level to level; then the
    mean over all places. The paper's batch normalisation is left out.

    `filters` are the first level's, `levels` halvings (the paper has 4); `seed` is of the
    convolutions' initial values: the dense layers follow Keras' global seed.
    """
    convolution = _convolutions(seed + 1)
    x = images = keras.Input((None, None, 3), name="images")
    for i in range(2 * levels):
        x = convolution(filters << i // 2, strides=1 + i % 2)(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.LeakyReLU(0.2)(layers.Dense(filters << levels)(x))
    logits = layers.Dense(1, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name="discriminator")


def _convolutions(seed):
    """A function that makes "same" convolutions whose initial values follow from one seed."""
    seeds = itertools.count(1000 * seed)

    def convolution(filters, size=3, *, gain=1.0, shuffled=1, **options):
        options = {"kernel_initializer": ICNR(shuffled, gain, seed=next(seeds)), **options}
        return layers.Conv2D(filters, size, padding="same", **options)

    return convolution
