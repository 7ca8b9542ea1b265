"""Layers that the builders share."""

import functools

import keras
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
