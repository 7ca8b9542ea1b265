"""Spectral normalisation: layers whose kernel's largest singular value is held at 1."""

import keras
import numpy as np
from keras import ops

_TINY = 1e-12


class _SpectrallyNormalised:
    """Mix-in for a layer with a `kernel`, before the Keras layer among the bases.

    The kernel counts as a matrix `(everything else, outputs)`; for a convolution that is
    `(height × width × channels, filters)`, as in the paper: a bound by convention, not the norm of
    the convolution as a map between pictures. The largest singular value σ comes from one power
    iteration that starts at the vector `u` of the pass before; only training passes keep the new
    `u`. The gradient goes through the kernel, also the one in σ, and not through the vectors.

    Nothing overwrites a tensor that an earlier pass's gradient may need, so a discriminator can see
    real and generated images in two passes before its gradient on torch as well.
    """

    def build(self, input_shape):
        super().build(input_shape)
        # Not trainable, so saved with the model. From NumPy: the same start on every backend.
        self.u = self.add_weight(
            shape=(self.kernel.shape[-1],),
            initializer=_start,
            trainable=False,
            autocast=False,
            name="u",
        )

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
        return ops.cast(kernel / ops.maximum(sigma, _TINY), self.compute_dtype)

    def _finish(self, outputs):
        if self.use_bias:
            outputs = outputs + ops.cast(self.bias, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)

    # Keras' Conv2D and Dense save their kernel and bias alone: u would start anew after loading.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


@keras.saving.register_keras_serializable("ganlib")
class SpectralConv2D(_SpectrallyNormalised, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with spectral normalisation (Miyato et al., 2018).

    Maps `(batch_size, height, width, channels)` as Keras' layer does. The kernel is divided by the
    largest singular value of the matrix `(height × width × channels, filters)`, found by one power
    iteration a training pass. The vector `u` of that iteration, `(filters,)`, is a non-trainable
    weight and is saved with the model. The weights are kernel, bias (if any) and `u`.

    Args:
        filters: int, output channels.
        kernel_size: int or pair of them.
        **kwargs: as Keras' layer takes them.

    Raises:
        ValueError: channels first, which this layer leaves out.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if self.data_format != "channels_last":
            raise ValueError(
                "SpectralConv2D knows only channels_last; transpose the images. "
                f"Received: data_format={self.data_format!r}"
            )

    def call(self, inputs, training=False):
        return self._finish(self.convolution_op(inputs, self.normalised_kernel(training)))


@keras.saving.register_keras_serializable("ganlib")
class SpectralDense(_SpectrallyNormalised, keras.layers.Dense):
    """`keras.layers.Dense` with spectral normalisation (Miyato et al., 2018).

    Maps `(batch_size, …, inputs)` to `(batch_size, …, units)`; see `SpectralConv2D` for the rest,
    with the matrix `(inputs, units)`.
    """

    def call(self, inputs, training=False):
        return self._finish(ops.matmul(inputs, self.normalised_kernel(training)))


def _start(shape, dtype=None):
    return ops.convert_to_tensor(np.random.default_rng(0).normal(size=shape), dtype)


def _unit(x):
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x))), _TINY)
