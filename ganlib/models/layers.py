"""Layers that the builders share."""

import functools

import keras
import numpy as np
from keras import ops


@functools.cache
def _jax_transposed_convolution():
    """A transposed convolution for JAX whose kernel gradient is not a naive loop.

    JAX turns the kernel gradient of an input-dilated convolution into one that XLA runs 4 to 10
    times slower on the CPU (jax-ml/jax#31662). But a transposed convolution is the input gradient
    of a strided one, F, so its own gradients are F itself (for the input) and F's kernel gradient
    (for the kernel), both of them fast.
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


@keras.saving.register_keras_serializable("ganlib")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, with a fast kernel gradient on JAX; the same elsewhere.

    Args:
        filters: int, output channels.
        kernel_size: int or pair of them.
        **kwargs: as Keras' layer takes them.

    Raises:
        ValueError: `output_padding`, dilation or channels first, which this layer leaves out.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        dilated = any(rate != 1 for rate in self.dilation_rate)
        padded = any(padding is not None for padding in self.output_padding or ())
        if padded or dilated or self.data_format != "channels_last":
            raise ValueError(
                "ganlib's Conv2DTranspose knows no output_padding, no dilation and only "
                f"channels_last; use Keras' own. Received: output_padding={self.output_padding}, "
                f"dilation_rate={self.dilation_rate}, data_format={self.data_format}"
            )

    def call(self, inputs):
        if keras.backend.backend() != "jax":
            return super().call(inputs)
        size = tuple(self.compute_output_shape(inputs.shape)[1:3])
        kernel = ops.cast(self.kernel, inputs.dtype)
        outputs = _jax_transposed_convolution()(
            inputs, kernel, tuple(self.strides), self.padding.upper(), size
        )
        if self.use_bias:
            outputs = outputs + ops.cast(self.bias, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable("ganlib")
class ThinConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` for few output channels, faster on TensorFlow's CPU.

    A k×k convolution to one channel leaves the CPU's vector units idle: they work across output
    channels. Here it becomes a k×1 convolution to k channels (one for each column of the kernel)
    and a fixed one-hot 1×k convolution that shifts and adds them: the same products in another
    order, 2 to 5 times faster (benchmarks/README.md). Weights and configuration are Keras' own.

    Args:
        filters: int, output channels.
        kernel_size: int or pair of them.
        **kwargs: as Keras' layer takes them.

    Raises:
        ValueError: strides, dilation, groups, "valid" padding or channels first.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        plain = (set(self.strides), set(self.dilation_rate), self.groups) == ({1}, {1}, 1)
        if not plain or self.padding != "same" or self.data_format != "channels_last":
            raise ValueError(
                'ThinConv2D knows stride 1, no dilation, no groups, padding="same" and '
                f"channels_last; use keras.layers.Conv2D. Received: {self.get_config()}"
            )

    def build(self, input_shape):
        super().build(input_shape)
        self._factored = keras.backend.backend() == "tensorflow" and not _has_gpu()

    def convolution_op(self, inputs, kernel):
        if not self._factored:
            return super().convolution_op(inputs, kernel)
        height, width, channels, filters = kernel.shape
        columns = ops.reshape(
            ops.transpose(kernel, (0, 2, 1, 3)), (height, 1, channels, width * filters)
        )
        # shift[0, j, (j, f), f] = 1: column j's partial sum moves to where the kernel has it.
        shift = np.zeros((1, width, width, filters, filters), "float32")
        shift[0, np.arange(width), np.arange(width)] = np.eye(filters)
        shift = shift.reshape(1, width, width * filters, filters)
        partial = ops.conv(inputs, columns, padding="same")
        return ops.conv(partial, ops.cast(shift, partial.dtype), padding="same")


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
