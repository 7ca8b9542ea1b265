"""ganlib's fast layers are Keras' own in all but speed."""

import keras
import numpy as np
import pytest
from helpers import gap
from keras import layers

from ganlib.models.layers import Conv2DTranspose, ThinConv2D

pytestmark = pytest.mark.backend

WEIGHTS = np.random.default_rng(0).normal(0.0, 0.3, 1000).astype("float32")
INPUTS = np.random.default_rng(1).normal(size=(2, 5, 6, 3)).astype("float32")

TRANSPOSED = [
    {"filters": 2, "kernel_size": 4, "strides": 2, "padding": "same"},
    {"filters": 1, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "tanh"},
    {"filters": 2, "kernel_size": 5, "strides": 1, "padding": "same", "use_bias": False},
    {"filters": 2, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid"},
    {"filters": 1, "kernel_size": 2, "strides": 3, "padding": "same"},
]
THIN = [
    {"filters": 1, "kernel_size": 7, "activation": "tanh"},
    {"filters": 3, "kernel_size": (3, 5), "use_bias": False},
    {"filters": 2, "kernel_size": 4},  # even: padded by more on one side
    {"filters": 1, "kernel_size": 1},
]
CASES = [(Conv2DTranspose, layers.Conv2DTranspose, options) for options in TRANSPOSED] + [
    (ThinConv2D, layers.Conv2D, {"padding": "same", **options}) for options in THIN
]


def values_and_gradients(layer, run_eagerly=True):
    """Output, and what a step of plain descent changes: gradients of kernel, bias and input."""
    # The first layer is a trainable input: its kernel's gradient tells the input's.
    mixer = layers.Dense(3, use_bias=False, kernel_initializer=keras.initializers.GlorotUniform(1))
    model = keras.Sequential([keras.Input(INPUTS.shape[1:]), mixer, layer])
    layer.set_weights([WEIGHTS[: w.size].reshape(w.shape) for w in layer.get_weights()])
    before = [w.astype("float64") for w in model.get_weights()]
    outputs = model.predict_on_batch(INPUTS).astype("float64")
    model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=run_eagerly)
    targets = np.linspace(-1.0, 1.0, outputs.size).reshape(outputs.shape)
    model.fit(INPUTS, targets, batch_size=2, verbose=0)
    return outputs, [a - b for a, b in zip(model.get_weights(), before, strict=True)]


@pytest.mark.parametrize(("cls", "own", "options"), CASES)
def test_values_and_gradients_are_keras_own(cls, own, options):
    outputs, gradients = values_and_gradients(cls(**options))
    expected_outputs, expected_gradients = values_and_gradients(own(**options))
    assert outputs.shape == expected_outputs.shape
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-6)
    assert max(np.abs(g).max() for g in expected_gradients) > 1e-3
    assert gap(gradients, expected_gradients) < 1e-5


@pytest.mark.parametrize(("cls", "own", "options"), [CASES[0], CASES[len(TRANSPOSED)]])
def test_compiled(cls, own, options):
    outputs, gradients = values_and_gradients(cls(**options), run_eagerly=False)
    expected_outputs, expected_gradients = values_and_gradients(own(**options))
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-6)
    assert gap(gradients, expected_gradients) < 1e-5


@pytest.mark.parametrize(("cls", "own", "options"), CASES[::5])
def test_mixed_precision(cls, own, options):
    ours, theirs = (layer(**options, dtype="mixed_bfloat16") for layer in (cls, own))
    ours.build(INPUTS.shape)
    theirs.build(INPUTS.shape)
    theirs.set_weights(ours.get_weights())
    a, b = ours(INPUTS), theirs(INPUTS)
    assert keras.backend.standardize_dtype(a.dtype) == "bfloat16"
    a, b = (keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (a, b))
    np.testing.assert_allclose(a, b, atol=0.03)


@pytest.mark.parametrize(("cls", "own", "options"), CASES[::5])
def test_round_trip(cls, own, options, tmp_path):
    model = keras.Sequential([keras.Input(INPUTS.shape[1:]), cls(**options)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[0]) is cls
    np.testing.assert_array_equal(loaded.predict_on_batch(INPUTS), model.predict_on_batch(INPUTS))


@pytest.mark.parametrize(
    "options",
    [
        {"output_padding": 1, "strides": 2},
        {"dilation_rate": 2},
        {"data_format": "channels_first"},
    ],
)
def test_what_the_transposed_convolution_leaves_out(options):
    with pytest.raises(ValueError, match=r"use Keras' own. Received: output_padding="):
        Conv2DTranspose(2, 4, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid"},
        {"strides": 2},
        {"dilation_rate": 2},
        {"groups": 2},
        {"data_format": "channels_first"},
    ],
)
def test_what_the_thin_convolution_leaves_out(options):
    with pytest.raises(ValueError, match=r"use keras.layers.Conv2D. Received: "):
        ThinConv2D(2, 3, **{"padding": "same", **options})
