"""Layers and initial values that the builders share."""

import functools
import math

import keras
import numpy as np
from keras import layers, ops

register = keras.saving.register_keras_serializable("ganlib")
TINY = 1e-12


def new_kernels(initializer, seeds):
    """Returns a function that gives the next kernel its initializer, each with its own seed.

    Args:
        initializer: "normal", N(0, 0.02) as in DCGAN; or "keras", Keras' default, uniform after
            Glorot.
        seeds: iterable of ints.

    Raises:
        ValueError: another initializer.
    """
    check_choice("initializer", initializer, ("normal", "keras"))
    seeds = iter(seeds)
    if initializer == "normal":
        return lambda: keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))
    return lambda: keras.initializers.GlorotUniform(seed=next(seeds))


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


# -- convolutions that are faster than Keras' own ------------------------------------------------


@functools.cache
def _jax_transposed_convolution():
    """A transposed convolution for JAX whose kernel gradient is not a naive loop.

    XLA runs the kernel gradient that JAX makes of it 4 to 10 times slower on the CPU
    (jax-ml/jax#31662). But a transposed convolution is the input gradient of a strided one, F, so
    its own gradients are F itself (for the input) and F's kernel gradient (for the kernel).
    """
    import jax

    def strided(y, kernel, strides, padding):  # kernel: (height, width, out, in), as Keras keeps it
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(y, kernel, strides, padding, dimension_numbers=layout)

    def forward(x, kernel, strides, padding, size):
        y = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[2]), x.dtype)
        return jax.linear_transpose(lambda y: strided(y, kernel, strides, padding), y)(x)[0]

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
    def transposed(x, kernel, strides, padding, size):
        return forward(x, kernel, strides, padding, size)

    def save(x, kernel, strides, padding, size):
        return forward(x, kernel, strides, padding, size), (x, kernel)

    def gradients(strides, padding, size, saved, g):
        x, kernel = saved
        kernel_gradient = jax.linear_transpose(lambda k: strided(g, k, strides, padding), kernel)
        return strided(g, kernel, strides, padding), kernel_gradient(x)[0]

    transposed.defvjp(save, gradients)
    return transposed


@register
class Conv2DTranspose(layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, with a fast kernel gradient on JAX; the same elsewhere.

    Args and errors as of Keras' layer; `output_padding`, dilation and channels first are left out.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        padded = any(padding is not None for padding in self.output_padding or ())
        _check_plain(self, set(self.dilation_rate) == {1} and not padded)

    def call(self, inputs):
        if keras.backend.backend() != "jax":
            return super().call(inputs)
        size = tuple(self.compute_output_shape(inputs.shape)[1:3])
        options = tuple(self.strides), self.padding.upper(), size
        kernel = ops.cast(self.kernel, inputs.dtype)
        return _finish(self, _jax_transposed_convolution()(inputs, kernel, *options))


@register
class ThinConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` for few output channels, faster on TensorFlow's CPU.

    A k×k convolution to one channel leaves the CPU's vector units idle. Here it becomes a k×1
    convolution to k channels (one for each column of the kernel) and a fixed one-hot 1×k
    convolution that shifts and adds them: the same products in another order, 2 to 5 times faster
    (benchmarks/README.md). Weights and configuration are Keras' own.

    Args and errors as of Keras' layer, with stride 1, no dilation, no groups, padding="same" and
    channels last.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        plain = (set(self.strides), set(self.dilation_rate), self.groups) == ({1}, {1}, 1)
        _check_plain(self, plain and self.padding == "same")

    def build(self, input_shape):
        super().build(input_shape)
        self._factored = keras.backend.backend() == "tensorflow" and not _has_gpu()

    def convolution_op(self, inputs, kernel):
        if not self._factored:
            return super().convolution_op(inputs, kernel)
        height, width, channels, filters = kernel.shape
        columns = ops.transpose(kernel, (0, 2, 1, 3))
        columns = ops.reshape(columns, (height, 1, channels, width * filters))
        # shift[0, j, (j, f), f] = 1: column j's partial sum moves to where the kernel has it.
        shift = np.zeros((1, width, width, filters, filters), "float32")
        shift[0, np.arange(width), np.arange(width)] = np.eye(filters)
        shift = shift.reshape(1, width, width * filters, filters)
        partial = ops.conv(inputs, columns, padding="same")
        return ops.conv(partial, ops.cast(shift, partial.dtype), padding="same")


def _check_plain(layer, plain):
    if not plain or layer.data_format != "channels_last":
        raise ValueError(
            f"ganlib's {type(layer).__name__} leaves out some of Keras' options: use "
            f"keras.layers.{type(layer).__base__.__name__}. Received: {layer.get_config()}"
        )


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _finish(layer, outputs):
    if layer.use_bias:
        outputs = outputs + ops.cast(layer.bias, outputs.dtype)
    return outputs if layer.activation is None else layer.activation(outputs)


# -- spectral normalisation ----------------------------------------------------------------------


class _SpectrallyNormalised:
    """Mix-in for a layer with a `kernel`, before the Keras layer among the bases.

    The kernel counts as a matrix `(everything else, outputs)`, as in the paper: a bound by
    convention, not the norm of the convolution as a map between pictures. The largest singular
    value σ comes from one power iteration that starts at the vector `u` of the pass before; only
    training passes keep the new `u`. The gradient goes through the kernel, also the one in σ, and
    not through the vectors.

    Keras' `SpectralNormalization` assigns the normalised kernel back, which is another algorithm.
    Here nothing overwrites a tensor that an earlier pass's gradient may need, so a discriminator
    can see real and generated images in two passes before its gradient on torch as well.
    """

    def build(self, input_shape):
        super().build(input_shape)
        # Not trainable, so saved with the model. From NumPy: the same start on every backend.
        options = {"initializer": _start, "trainable": False, "autocast": False}
        self.u = self.add_weight(name="u", shape=(self.kernel.shape[-1],), **options)

    def normalised_kernel(self, training=False):
        """The kernel divided by its σ, in the layer's compute dtype; updates `u` in training."""
        kernel = ops.cast(self.kernel, "float32")
        matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
        fixed = ops.stop_gradient(matrix)
        v = _unit(ops.matmul(fixed, ops.expand_dims(ops.cast(self.u, "float32"), 1)))
        u = _unit(ops.matmul(ops.transpose(fixed), v))
        if training:
            self.u.assign(ops.cast(ops.squeeze(u, 1), self.u.dtype))
        sigma = ops.sum(v * ops.matmul(matrix, u))
        return ops.cast(kernel / ops.maximum(sigma, TINY), self.compute_dtype)

    # Keras' Conv2D and Dense save their kernel and bias alone: u would start anew after loading.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


@register
class SpectralConv2D(_SpectrallyNormalised, layers.Conv2D):
    """`keras.layers.Conv2D` with spectral normalisation (Miyato et al., 2018).

    The kernel is divided by the largest singular value of the matrix `(height × width × channels,
    filters)`, found by one power iteration a training pass. Its vector `u`, `(filters,)`, is a
    non-trainable weight and is saved with the model.
    """

    def call(self, inputs, training=False):
        return _finish(self, self.convolution_op(inputs, self.normalised_kernel(training)))


@register
class SpectralDense(_SpectrallyNormalised, layers.Dense):
    """`keras.layers.Dense` with spectral normalisation: `SpectralConv2D` of a matrix."""

    def call(self, inputs, training=False):
        return _finish(self, ops.matmul(inputs, self.normalised_kernel(training)))


def _start(shape, dtype=None):
    return ops.convert_to_tensor(np.random.default_rng(0).normal(size=shape), dtype)


def _unit(x):
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x))), TINY)


# -- images of any size --------------------------------------------------------------------------


@register
class CheckSize(layers.Layer):
    """Passes images on, if their height and width can be halved often enough.

    Otherwise a U-Net fails at its first concatenation, with two shapes that nobody chose.

    Args:
        divisor: int, that height and width must be multiples of; ValueError where they are not.
    """

    def __init__(self, divisor, **kwargs):
        super().__init__(**kwargs)
        self.divisor = divisor

    def call(self, inputs):
        self._check(inputs.shape)
        if None in inputs.shape[1:3]:  # only TensorFlow traces a step for sizes yet unknown
            import tensorflow as tf

            size = tf.shape(inputs)[1:3]
            fits = tf.reduce_all(size % self.divisor == 0)
            asserted = tf.debugging.Assert(fits, [self._advice(), size])
            with tf.control_dependencies([asserted]):
                return tf.identity(inputs)
        return inputs

    def compute_output_shape(self, input_shape):
        self._check(input_shape)
        return input_shape

    def _check(self, shape):
        height, width = shape[1:3]
        if any(side is not None and side % self.divisor for side in (height, width)):
            raise ValueError(f"{self._advice()} {height}×{width}")

    def _advice(self):
        return (
            f"Height and width must be multiples of {self.divisor}: the network halves them until "
            "then. Crop or pad the images, or build it with less `depth`. Received: images of"
        )

    def get_config(self):
        return {**super().get_config(), "divisor": self.divisor}


@register
class PixelShuffle(layers.Layer):
    """Moves channels to space: `(n, h, w, scale²·c)` to `(n, scale·h, scale·w, c)`.

    Channel `(i·scale + j)·c + k` becomes channel k of the pixel at row i, column j of its block
    (Shi et al., 2016).

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
