"""Layers: those that are Keras' own in all but speed, spectral norms, and images of any size."""

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import gap
from keras import layers, ops

from ganlib.images import upscale
from ganlib.models.layers import (
    ICNR,
    BatchNormalization,
    CheckSize,
    Conv2D,
    Conv2DTranspose,
    PixelShuffle,
)

from ganlib.models.layers import SpectralConv2D, SpectralDense  # isort: skip
from ganlib.models.linear import LinearUpscaling, apply_kernel, bicubic_kernel, fit_kernel

INPUTS = np.random.default_rng(1).normal(size=(2, 5, 6, 3)).astype("float32")
SAME = {"padding": "same"}
TRANSPOSED = [
    {"filters": 1, "kernel_size": 4, "strides": 2, **SAME, "activation": "tanh"},
    {"filters": 2, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid", "use_bias": False},
]
THIN = [
    {"filters": 3, "kernel_size": (3, 5), "use_bias": False, **SAME},
    {"filters": 2**16, "kernel_size": (3, 4), "strides": 2, **SAME},  # on few places
    {"filters": 2, "kernel_size": 4, "activation": "tanh", **SAME},  # even: uneven padding
]
CASES = [(Conv2DTranspose, layers.Conv2DTranspose, options) for options in TRANSPOSED]
CASES += [(Conv2D, layers.Conv2D, options) for options in THIN]
CASES += [(BatchNormalization, layers.BatchNormalization, {"momentum": 0.6})]


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def run(layer, x, **options):
    return ops.convert_to_numpy(layer(x, **options))


def values_and_gradients(layer):
    """Output, and what a step of plain descent changes: gradients of kernel, bias and input."""
    # The first layer is a trainable input: its kernel's gradient tells the input's.
    mixer = layers.Dense(3, use_bias=False, kernel_initializer=keras.initializers.GlorotUniform(1))
    model = keras.Sequential([keras.Input(INPUTS.shape[1:]), mixer, layer])
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(0.0, 0.3, w.shape) for w in layer.get_weights()])
    before = [w.astype("float64") for w in model.get_weights()]
    outputs = model.predict_on_batch(INPUTS).astype("float64")
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.train_on_batch(INPUTS, np.linspace(-1.0, 1.0, outputs.size).reshape(outputs.shape))
    return outputs, [a - b for a, b in zip(model.get_weights(), before, strict=True)]


@pytest.mark.backend
@pytest.mark.parametrize(("cls", "own", "options"), CASES)
def test_values_and_gradients_are_keras_own(cls, own, options):
    outputs, gradients = values_and_gradients(cls(**options))
    expected_outputs, expected_gradients = values_and_gradients(own(**options))
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-6)
    assert max(np.abs(g).max() for g in expected_gradients) > 1e-3
    assert gap(gradients, expected_gradients) < 1e-5


def built(layer, shape):
    layer.build(shape)
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    return layer


@pytest.mark.backend
@pytest.mark.parametrize("shape", [(1, 5, 5, 2), (1, 6)], ids=str)
def test_one_power_iteration_a_training_pass(shape):
    layer = SpectralDense(3) if len(shape) == 2 else SpectralConv2D(4, 3, padding="same")
    layer, inputs = built(layer, shape), np.ones(shape, "float32")
    matrix = ops.convert_to_numpy(layer.kernel).reshape(-1, layer.kernel.shape[-1])
    u = ops.convert_to_numpy(layer.u)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    sigma = np.linalg.norm(matrix.T @ v)
    expected = matrix.reshape(layer.kernel.shape) / sigma
    for training in (False, True):  # the first changes nothing
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.u), u)
        effective = ops.convert_to_numpy(layer.normalised_kernel(training))
        np.testing.assert_allclose(effective, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.u), matrix.T @ v / sigma, rtol=1e-5)
    for _ in range(60):
        layer(inputs, training=True)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    effective = ops.convert_to_numpy(layer.normalised_kernel())
    np.testing.assert_allclose(effective, expected * sigma / largest, rtol=1e-3, atol=1e-5)


@pytest.mark.backend
def test_the_gradient_goes_through_the_kernel_alone():
    """d(c·W/σ)/dW = (c - (c·W/σ) v uᵀ)/σ with fixed v and u, as in the paper (equation 12)."""
    layer = built(SpectralDense(3, use_bias=False), (1, 6))
    kernel, u = ops.convert_to_numpy(layer.kernel), ops.convert_to_numpy(layer.u)
    inputs = np.linspace(-1.0, 1.0, 6, dtype="float32")[None]
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile(keras.optimizers.SGD(1.0), lambda y, prediction: prediction, run_eagerly=True)
    model.fit(inputs, np.zeros((1, 3)), verbose=0)
    gradient = kernel - ops.convert_to_numpy(layer.kernel)
    v = kernel @ u / np.linalg.norm(kernel @ u)
    sigma = np.linalg.norm(kernel.T @ v)
    u = kernel.T @ v / sigma
    c = np.repeat(inputs.T, 3, axis=1) / 3  # Keras averages the loss over the last axis
    expected = (c - np.sum(c * kernel) / sigma * np.outer(v, u)) / sigma
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize(("scale", "channels"), [(2, 3), (3, 1)])
def test_where_each_channel_goes(scale, channels):
    x = pictures(2, 3, 4, scale**2 * channels)
    expected = np.empty((2, 3 * scale, 4 * scale, channels), "float32")
    for i in range(scale):
        for j in range(scale):
            first = (i * scale + j) * channels  # the order of `bicubic_kernel`
            expected[:, i::scale, j::scale] = x[..., first : first + channels]
    np.testing.assert_array_equal(run(PixelShuffle(scale), x), expected)


def test_icnr_begins_as_nearest_neighbour():
    scale = 3
    initial = ICNR(scale, gain=0.5, seed=3)
    convolution = layers.Conv2D(2 * scale**2, 3, padding="same", kernel_initializer=initial)
    large = run(PixelShuffle(scale), convolution(pictures(1, 5, 6, 3)))
    corner = large[:, ::scale, ::scale]
    np.testing.assert_array_equal(large, corner.repeat(scale, axis=1).repeat(scale, axis=2))
    kernel = ops.convert_to_numpy(initial((3, 3, 40, scale**2 * 50), "float32"))
    assert kernel.std() == pytest.approx(0.5 * np.sqrt(2 / 360), rel=0.02)


@pytest.mark.backend
def test_sizes_that_can_not_be_halved_are_refused():
    x = keras.Input((None, None, 1))
    model = keras.Model(x, CheckSize(4)(x))
    assert run(model, pictures(1, 4, 12, 1)).shape == (1, 4, 12, 1)
    with pytest.raises(ValueError, match=r"must be multiples of 4.*8×11"):
        model(pictures(1, 8, 11, 1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_one_convolution_to_the_borders(scale):
    layer = LinearUpscaling(scale)
    for size in [(1, 1), (2, 1), (3, 7)]:
        image = pictures(*size, 3)
        expected = upscale(image, scale)
        applied = apply_kernel(image, bicubic_kernel(scale), scale)
        np.testing.assert_allclose(applied, expected, atol=1e-5)
        np.testing.assert_allclose(run(layer, image[None])[0], expected, atol=2e-6)
    assert layer.trainable_variables == []


def test_fit_kernel_finds_the_kernel_that_made_the_pictures():
    taps = pictures(5, 5, 4) - 0.3
    taps /= taps.sum(axis=(0, 1))
    pairs = ((low, apply_kernel(low, taps, 2)) for low in pictures(3, 16, 20, 3))
    np.testing.assert_allclose(fit_kernel(pairs, 2, ridge=1e-9), taps, atol=1e-4)
    low, high = pictures(12, 12, 1), pictures(36, 36, 1)
    np.testing.assert_allclose(fit_kernel([(low, high)], 3, 1e9), bicubic_kernel(3), atol=1e-6)
    kernel = fit_kernel([(low, high)], 3)
    np.testing.assert_allclose(apply_kernel(np.full((4, 4, 3), 0.7), kernel, 3), 0.7, atol=1e-5)
