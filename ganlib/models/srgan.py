"""Super-resolution: SRResNet and EDSR generators, and SRGAN's discriminator (Ledig et al., 2017).

All pictures are in [0, 1], RGB, of any height and width.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from ganlib.images import bicubic_kernel
from ganlib.models.layers import ThinConv2D

SCALES = (2, 3, 4)
register = keras.saving.register_keras_serializable("ganlib")


@register
class PixelShuffle(layers.Layer):
    """Moves channels to space: `(n, h, w, scale²·c)` to `(n, scale·h, scale·w, c)`.

    Channel `(i·scale + j)·c + k` becomes channel k of the pixel at row i, column j of its block
    (Shi et al., 2016, "Real-time single image … sub-pixel convolution").

    Args:
        scale: int.
    """

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        _, height, width, _ = ops.shape(inputs)
        r, channels = self.scale, inputs.shape[-1] // self.scale**2
        x = ops.reshape(inputs, (-1, height, width, r, r, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * r, width * r, channels))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        larger = [None if side is None else side * self.scale for side in (height, width)]
        return (n, *larger, channels // self.scale**2)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@register
class LinearUpscaling(layers.Layer):
    """A fixed linear upscaler: each colour by itself, symmetric at the borders.

    Args:
        scale: int.
        kernel: array `(size, size, scale²)` as `ganlib.images.fit_kernel` returns it. `None`:
            bicubic interpolation.
        size: int, of the kernel; only where there is none yet, as in a model that is loaded.

    The kernel is a weight, so a saved model brings it back; it is never trained.
    """

    def __init__(self, scale, kernel=None, size=5, **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        self.scale = scale
        self.size = size if kernel is None else kernel.shape[0]
        self._initial = kernel
        self.shuffle = PixelShuffle(scale)

    def build(self, input_shape):
        kernel = bicubic_kernel(self.scale) if self._initial is None else self._initial
        channels = input_shape[-1]
        # Dense in the channels, zero between two colours: one convolution on every backend.
        dense = np.einsum("hwr,ck->hwcrk", kernel, np.eye(channels))
        dense = dense.reshape(self.size, self.size, channels, -1).astype("float32")
        self.kernel = self.add_weight(name="kernel", shape=dense.shape, trainable=False)
        self.kernel.assign(dense)

    def call(self, inputs):
        x = inputs
        for axis in (1, 2):  # ops.pad knows no symmetric mode on torch
            length, reach = ops.shape(x)[axis], self.size // 2
            at = ops.arange(-reach, length + reach, dtype="int32")
            at = ops.where(at < 0, -1 - at, ops.where(at < length, at, 2 * length - 1 - at))
            x = ops.take(x, ops.clip(at, 0, length - 1), axis=axis)
        return self.shuffle(ops.conv(x, ops.cast(self.kernel, x.dtype), padding="valid"))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        return self.shuffle.compute_output_shape((n, height, width, channels * self.scale**2))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "size": self.size}


@register
class ICNR(keras.initializers.Initializer):
    """Initial values for a convolution before a pixel shuffle: it starts as nearest neighbour.

    All scale² pixels of a block start with the same kernel, so there is no checkerboard to unlearn
    (Aitken et al., 2017).

    Args:
        scale: int.
        gain: float, of the standard deviation √(2 / fan-in).
        seed: int.
    """

    def __init__(self, scale, gain=1.0, seed=0):
        self.scale, self.gain, self.seed = scale, gain, seed

    def __call__(self, shape, dtype=None):
        height, width, inputs, outputs = shape
        small = (height, width, inputs, outputs // self.scale**2)
        deviation = self.gain * math.sqrt(2.0 / (height * width * inputs))
        kernel = np.random.default_rng(self.seed).normal(0.0, deviation, small)
        return ops.convert_to_tensor(np.tile(kernel, (1, 1, 1, self.scale**2)), dtype=dtype)

    def get_config(self):
        return {"scale": self.scale, "gain": self.gain, "seed": self.seed}


def check_scale(scale):
    if scale not in SCALES:
        raise ValueError(f"`scale` must be one of {SCALES}. Received: scale={scale!r}")


def build_generator(scale=4, filters=64, blocks=16, *, kernel=None, channels=3, seed=0):
    """Builds an EDSR-like generator: low-resolution pictures in [0, 1] to `scale` times the size.

    A linear upscaler plus what residual blocks add to it. Nothing is normalised, all work is done
    at low resolution, and a new network *is* its linear upscaler: training begins at its quality
    (Lim et al., 2017, for the blocks; the global skip as in VDSR, Kim et al., 2016).

    Args:
        scale: int, 2, 3 or 4.
        filters: int, width of the trunk.
        blocks: int, residual blocks.
        kernel: array `(size, size, scale²)`, the linear upscaler, such as
            `ganlib.images.fit_kernel` makes. `None`: bicubic.
        channels: int.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`, `(n, h, w, channels)` to
        `(n, scale·h, scale·w, channels)`. Values may leave [0, 1] a little: clip them.

    Raises:
        ValueError: another scale.
    """
    check_scale(scale)
    convolution = _Convolutions(seed)
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
    """Builds SRResNet as Ledig et al. (2017) drew it.

    9×9 convolutions at both ends, batch normalisation and PReLU, sub-pixel upsampling in steps (by
    2 and 2 for a scale of 4), no skip from the input: what it knows of the picture's colours it has
    to learn.

    Args:
        scale: int, 2, 3 or 4.
        filters: int, width of the trunk.
        blocks: int, residual blocks.
        output: `"tanh"`, pictures in [-1, 1], or `"linear"`.
        momentum: float, of batch normalisation.
        channels: int.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`: pictures in [0, 1] to pictures in the output's range.

    Raises:
        ValueError: another scale or output.
    """
    check_scale(scale)
    if output not in ("tanh", "linear"):
        raise ValueError(f'`output` must be "tanh" or "linear". Received: output={output!r}')
    convolution = _Convolutions(seed)

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
    images = ThinConv2D(
        channels,
        9,
        padding="same",
        activation=output,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        name="images",
    )(x)
    return keras.Model(low, images, name="generator")


def build_discriminator(filters=64, *, levels=4, batch_norm=False, size=None, channels=3, seed=0):
    """Builds SRGAN's discriminator: pictures of any size to logits.

    Pairs of convolutions, the second of each pair with stride 2 and the width doubled from level to
    level; then the mean over all places, so that one network judges patches of every size.

    Args:
        filters: int, width of the first level.
        levels: int, halvings of the resolution; the paper has 4.
        batch_norm: bool, batch normalisation after all but the first convolution, as in the paper.
        size: int, height and width of the patches. `None`: any from 2**levels on.
        channels: int.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `discriminator`; its logits are `(n, 1)`.
    """
    convolution = _Convolutions(seed + 1)
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


class _Convolutions:
    """Makes "same" convolutions whose initial values follow from one seed."""

    def __init__(self, seed):
        self._seeds = iter(range(1000 * seed, 1000 * seed + 1000))

    def __call__(self, filters, size=3, *, strides=1, gain=1.0, shuffled=1, **options):
        initializer = ICNR(shuffled, gain, seed=next(self._seeds))
        options = {"kernel_initializer": initializer, **options}
        return layers.Conv2D(filters, size, strides=strides, padding="same", **options)
