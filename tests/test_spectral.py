"""Spectral normalisation against NumPy's singular values, alone and in a GAN's step."""

import keras
import numpy as np
import pytest
from helpers import IMAGE, fit, gap, images, make_gan, state
from keras import layers, ops

from ganlib.adversarial import UPDATES
from ganlib.models.layers import SpectralConv2D, SpectralDense

pytestmark = pytest.mark.backend

EAGER = {"run_eagerly": True}
CASES = [
    (lambda **kwargs: SpectralConv2D(4, 3, padding="same", **kwargs), (1, 5, 5, 2)),
    (lambda **kwargs: SpectralDense(3, **kwargs), (1, 6)),
]


def largest(kernel):
    """The largest singular value of the matrix (everything else, outputs)."""
    return np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


def make_layer(build, shape, **kwargs):
    layer = build(**kwargs)
    layer.build(shape)
    rng = np.random.default_rng(0)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    return layer


def build_discriminator():
    stack = [
        keras.Input(IMAGE),
        SpectralConv2D(3, 4, strides=2, padding="same", activation="tanh"),
        layers.Flatten(),
        SpectralDense(1),
    ]
    model = keras.Sequential(stack, name="discriminator")
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


@pytest.mark.parametrize(("build", "shape"), CASES)
def test_the_largest_singular_value_becomes_one(build, shape):
    layer = make_layer(build, shape)
    kernel = ops.convert_to_numpy(layer.kernel)
    inputs = np.ones(shape, "float32")
    for _ in range(60):
        layer(inputs, training=True)
    effective = ops.convert_to_numpy(layer.normalised_kernel())
    assert largest(effective) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(effective, kernel / largest(kernel), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.kernel), kernel)


@pytest.mark.parametrize(("build", "shape"), CASES)
def test_one_power_iteration_a_training_pass(build, shape):
    layer = make_layer(build, shape)
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


def test_outputs_are_keras_own_on_the_normalised_kernel():
    inputs = np.random.default_rng(1).normal(size=(2, 5, 5, 2)).astype("float32")
    layer = make_layer(*CASES[0], activation="tanh", strides=2)
    own = layers.Conv2D(4, 3, padding="same", activation="tanh", strides=2)
    own.build(inputs.shape)
    bias = np.arange(4.0)
    layer.bias.assign(bias)
    own.set_weights([ops.convert_to_numpy(layer.normalised_kernel()), bias])
    a, b = ops.convert_to_numpy(layer(inputs)), ops.convert_to_numpy(own(inputs))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_gradient_goes_through_the_kernel_alone():
    """d(c·W/σ)/dW = (c - (c·W/σ) v uᵀ)/σ with fixed v and u, as in the paper (equation 12)."""
    layer = make_layer(CASES[1][0], CASES[1][1], use_bias=False)
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


@pytest.mark.parametrize("update", UPDATES)
def test_every_update_trains_it(update):
    gan = make_gan(
        discriminator=build_discriminator(), update=update, r1=0.1, compile_options=EAGER
    )
    before = gan.discriminator.get_weights()
    history = fit(gan, images(8), epochs=6)
    assert np.isfinite(history["loss"]).all()
    after = gan.discriminator.get_weights()
    assert all(np.max(np.abs(a - b)) > 1e-4 for a, b in zip(before, after, strict=True))
    for layer in gan.discriminator.layers:
        if hasattr(layer, "u"):
            effective = ops.convert_to_numpy(layer.normalised_kernel())
            assert largest(effective) == pytest.approx(1.0, abs=0.05)


def test_training_goes_on_exactly_from_a_file(tmp_path):
    gan = make_gan(discriminator=build_discriminator(), gradient_penalty=1.0, ema=0.9)
    fit(gan, images(8))
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    assert gap(state(gan), state(loaded)) == 0.0
    for model in (gan, loaded):
        fit(model, images(8))
    assert gap(state(gan), state(loaded)) == 0.0


def test_mixed_precision():
    layer = make_layer(*CASES[0], dtype="mixed_bfloat16")
    outputs = layer(np.ones((1, 5, 5, 2)), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert layer.u.dtype == "float32"


def test_a_kernel_of_zeros_stays_one():
    layer = make_layer(*CASES[1])
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    outputs = ops.convert_to_numpy(layer(np.ones(CASES[1][1], "float32"), training=True))
    np.testing.assert_array_equal(outputs, np.zeros((1, 3)))


def test_channels_first_is_refused():
    with pytest.raises(ValueError, match="Received: data_format='channels_first'"):
        SpectralConv2D(2, 3, data_format="channels_first")
