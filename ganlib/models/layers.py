"""Layers, initial values and the discriminator that the builders share."""

import functools
import itertools
import math

import keras
import numpy as np
from keras import layers, ops

register = keras.saving.register_keras_serializable("ganlib")


def new_kernels(initializer, seeds):
    """A function that gives the next kernel its initializer, with the next seed of an iterator."""
    check_choice("initializer", initializer, ("normal", "keras"))
    if initializer == "normal":
        return lambda: keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))
    return lambda: keras.initializers.GlorotUniform(seed=next(seeds))


def to_images(x, activation):
    """The last activation of a generator, in float32 whatever its layers compute in."""
    return layers.Activation(activation, name="images", dtype="float32")(x)


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


def strided_discriminator(
    shape, widths, size, *, normalisation=None, initializer="keras", slope=0.2, dropout=0.0, seed=0
):
    """Strided convolutions with LeakyReLU, then one logit: what the GANs' discriminators share.

    `widths` are the filters, a convolution each; `size` is the side of their kernels.
    `normalisation` is "batch" after all but the first, "spectral" in every layer, or `None`.
    """
    seeds = itertools.count(100 * seed + 50)  # the generator's begin at 100 * seed
    kernel = new_kernels(initializer, seeds)
    spectral = normalisation == "spectral"
    convolution = SpectralConv2D if spectral else Conv2D
    dense = SpectralDense if spectral else layers.Dense
    images = x = keras.Input(shape, name="images")
    for level, width in enumerate(widths):
        normalised = normalisation == "batch" and level > 0
        options = {"use_bias": not normalised, "kernel_initializer": kernel()}
        x = convolution(width, size, strides=2, padding="same", **options)(x)
        if normalised:
            x = BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(slope)(x)
        if dropout:
            x = layers.Dropout(dropout, seed=next(seeds))(x)
    options = {"kernel_initializer": kernel(), "name": "logits", "dtype": "float32"}
    logits = dense(1, **options)(layers.Flatten()(x))
    return keras.Model(images, logits, name="discriminator")


@functools.cache
def _jax_transposed_convolution():
    # The input gradient of a strided one, F; so its own gradients are F (for the input) and F's
    # kernel gradient (for the kernel). What JAX makes of it is slow (jax-ml/jax#31662).
    import jax

    def strided(y, kernel, strides, padding):  # kernel: (height, width, out, in), as Keras keeps it
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(y, kernel, strides, padding, dimension_numbers=layout)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
    def transposed(x, kernel, strides, padding, size):
        y = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[2]), x.dtype)
        return jax.linear_transpose(lambda y: strided(y, kernel, strides, padding), y)(x)[0]

    def save(x, kernel, *options):
        return transposed(x, kernel, *options), (x, kernel)

    def gradients(strides, padding, size, saved, g):
        x, kernel = saved
        kernel_gradient = jax.linear_transpose(lambda k: strided(g, k, strides, padding), kernel)
        return strided(g, kernel, strides, padding), kernel_gradient(x)[0]

    transposed.defvjp(save, gradients)
    return transposed


@register
class Conv2DTranspose(layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, with a fast kernel gradient on JAX; the same elsewhere."""

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        plain = set(self.dilation_rate) == {1} and self.data_format == "channels_last"
        self.plain = plain and set(self.output_padding or ()) <= {None}

    def call(self, inputs):
        if keras.backend.backend() != "jax" or not self.plain:
            return super().call(inputs)
        size = tuple(self.compute_output_shape(inputs.shape)[1:3])
        options = tuple(self.strides), self.padding.upper(), size
        kernel = ops.cast(self.kernel, inputs.dtype)
        return _finish(self, _jax_transposed_convolution()(inputs, kernel, *options))


@register
class Conv2D(layers.Conv2D):
    """`keras.layers.Conv2D`, faster on TensorFlow's CPU in two cases; the same elsewhere.

    A large kernel with few output channels leaves the vector units idle: as a k×1 convolution to k
    times as many, and a fixed one-hot 1×k one that shifts and adds them, it is 2 to 5 times faster.
    Many channels on few places are one matrix product: up to 5 times in bfloat16.
    """

    def convolution_op(self, inputs, kernel):
        same = (set(self.dilation_rate), self.groups, self.padding) == ({1}, 1, "same")
        if same and self.data_format == "channels_last" and _on_tensorflows_cpu():
            *size, channels, filters = kernel.shape
            if set(self.strides) == {1} and size[1] >= 4 and filters <= 3:
                return _by_columns(inputs, kernel)
            if _few_places(inputs, self.strides, channels * filters):
                return _by_patches(inputs, kernel, self.strides)
        return super().convolution_op(inputs, kernel)


def _on_tensorflows_cpu():
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _by_columns(inputs, kernel):
    height, width, channels, filters = kernel.shape
    columns = ops.transpose(kernel, (0, 2, 1, 3))
    columns = ops.reshape(columns, (height, 1, channels, width * filters))
    # shift[0, j, (j, f), f] = 1: column j's partial sum moves to where the kernel has it.
    shift = np.zeros((1, width, width, filters, filters), "float32")
    shift[0, np.arange(width), np.arange(width)] = np.eye(filters)
    shift = shift.reshape(1, width, width * filters, filters)
    partial = ops.conv(inputs, columns, padding="same")
    return ops.conv(partial, ops.cast(shift, partial.dtype), padding="same")


def _few_places(inputs, strides, connections):
    """Whether a matrix product takes less time than a convolution, as measured with DCGAN's."""
    places = [-(-(side or 999) // s) for side, s in zip(inputs.shape[1:3], strides, strict=True)]
    # The products gain more from bfloat16 than the convolutions do.
    return max(places) <= 4 and connections >= (2**15 if inputs.dtype == "bfloat16" else 2**17)


def _by_patches(inputs, kernel, strides):
    import tensorflow as tf

    *size, channels, filters = kernel.shape
    patches = tf.image.extract_patches(inputs, [1, *size, 1], [1, *strides, 1], [1] * 4, "SAME")
    return ops.matmul(patches, ops.reshape(kernel, (size[0] * size[1] * channels, filters)))


@register
class BatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization`; in training on TensorFlow's CPU in one fused operation.

    Of images it takes a third of the time; the moving variance is the biased one, as Keras has it.
    """

    def call(self, inputs, training=None, mask=None):
        usual = self.axis in (-1, 3) and self.scale and self.center and not self.renorm
        images = len(inputs.shape) == 4 and mask is None and _on_tensorflows_cpu()
        if not (usual and images and training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        inputs = ops.cast(inputs, "float32")  # in bfloat16, of few channels, it takes far longer
        parameters = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        fused = tf.compat.v1.nn.fused_batch_norm
        outputs, mean, variance = fused(inputs, *parameters, epsilon=self.epsilon)
        n = ops.cast(ops.prod(ops.shape(inputs)[:3]), "float32")
        for moving, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (n - 1) / n),
        ):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)


def _finish(layer, outputs):
    if layer.use_bias:
        outputs = outputs + ops.cast(layer.bias, outputs.dtype)
    return outputs if layer.activation is None else layer.activation(outputs)


class _SpectrallyNormalised:
    """Mix-in before a Keras layer: its kernel's largest singular value σ becomes 1.

    σ comes from one power iteration from the vector `u` of the pass before; the gradient goes
    through the kernel, also the one in σ. Keras' `SpectralNormalization` assigns the normalised
    kernel back, and so overwrites what an earlier pass's gradient may need.
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
        return ops.cast(kernel / ops.maximum(sigma, 1e-12), self.compute_dtype)

    # Keras' Conv2D and Dense save their kernel and bias alone: u would start anew after loading.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


@register
class SpectralConv2D(_SpectrallyNormalised, Conv2D):
    """`keras.layers.Conv2D` with spectral normalisation (Miyato et al., 2018)."""

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
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x))), 1e-12)


@register
class CheckSize(layers.Layer):
    """Passes images on, if their height and width are multiples of `divisor`; else ValueError."""

    def __init__(self, divisor, **kwargs):
        super().__init__(**kwargs)
        self.divisor = divisor

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        return inputs

    def compute_output_shape(self, input_shape):
        if any(side is not None and side % self.divisor for side in input_shape[1:3]):
            raise ValueError(
                f"Height and width must be multiples of {self.divisor}: crop or pad the images, or "
                f"lower `depth`. Received: images of {input_shape[1]}×{input_shape[2]}"
            )
        return input_shape

    def get_config(self):
        return {**super().get_config(), "divisor": self.divisor}


@register
class PixelShuffle(layers.Layer):
    """Moves channels to space: `(n, h, w, scale²·c)` to `(n, scale·h, scale·w, c)`.

    Channel `(i·scale + j)·c + k` becomes channel k of row i, column j (Shi et al., 2016).
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

    So it has no checkerboard to unlearn (Aitken et al., 2017). `gain` is of the deviation.
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
