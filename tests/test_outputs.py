"""What bounds a model's output, however its last activation is written."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from ganlib.models.layers import SpectralDense, ThinConv2D
from ganlib.models.outputs import output_bounds

UNIT, SIGNED, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)


def make(end, shape=(8, 8, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, end(inputs))


def stack(*parts):
    return keras.Sequential([keras.Input((8, 8, 3)), *parts])


CASES = {
    "argument": (layers.Dense(1, activation="sigmoid"), UNIT),
    "function": (layers.Conv2D(1, 3, activation=ops.tanh), SIGNED),
    "layer as argument": (layers.Conv2D(1, 3, activation=layers.ReLU(6.0)), (0.0, 6.0)),
    "own convolution": (ThinConv2D(1, 3, padding="same", activation="tanh"), SIGNED),
    "own dense": (SpectralDense(1, activation="softmax"), UNIT),
    "wrapper": (layers.SpectralNormalization(layers.Dense(1, activation="sigmoid")), UNIT),
    "Activation": (layers.Activation("hard_sigmoid"), UNIT),
    "ReLU": (layers.ReLU(), POSITIVE),
    "leaky ReLU by argument": (layers.ReLU(negative_slope=0.2), None),
    "leaky ReLU": (layers.LeakyReLU(0.2), None),
    "Softmax": (layers.Softmax(), UNIT),
    "operation": (ops.sigmoid, UNIT),
    "relu": (ops.relu, POSITIVE),
    "linear": (layers.Dense(1), None),
    "convolution after a sigmoid": (stack(layers.Activation("sigmoid"), layers.Dense(1)), None),
    "reshaped": (lambda x: layers.Reshape((-1,))(layers.Activation("tanh")(x)), SIGNED),
    "flattened": (stack(layers.Activation("tanh"), layers.Flatten()), SIGNED),
    "cropped": (stack(layers.ReLU(), layers.Cropping2D(1), layers.Identity()), POSITIVE),
    "pooled": (stack(layers.Activation("sigmoid"), layers.GlobalAveragePooling2D()), UNIT),
    "mean and slice": (lambda x: ops.mean(ops.sigmoid(x), axis=(1, 2))[:, :1], UNIT),
    "linear Activation": (stack(layers.Softmax(), layers.Activation("linear")), UNIT),
    "nested": (stack(stack(layers.Dense(3, activation="sigmoid"))), UNIT),
    "nested passes on": (stack(layers.Activation("tanh"), stack(layers.Flatten())), SIGNED),
    "joined": (lambda x: ops.concatenate([ops.tanh(x), ops.sigmoid(x)]), SIGNED),
    "joined with the input": (lambda x: ops.concatenate([ops.tanh(x), x]), None),
    "Rescaling": (stack(layers.Activation("sigmoid"), layers.Rescaling(255.0)), (0.0, 255.0)),
    "arithmetic": (lambda x: 1.0 - (ops.tanh(x) + 1.0) / 2.0, UNIT),
    "a constant alone": (lambda x: 2.0 * x, None),
    "divided by": (lambda x: 1.0 / ops.sigmoid(x), None),
    "channels scaled": (lambda x: ops.sigmoid(x) * np.array([1.0, 2.0, 4.0]), (0.0, 4.0)),
    "clipped": (lambda x: ops.clip(x, 0.0, 255.0), (0.0, 255.0)),
    "residual": (lambda x: x + ops.tanh(x), None),
}


@pytest.mark.backend
@pytest.mark.parametrize("name", CASES)
def test_output_bounds(name):
    end, expected = CASES[name]
    assert output_bounds(make(end)) == expected


def test_a_deep_residual_network_is_read_at_once():
    inputs = x = keras.Input((4,))
    for _ in range(60):  # 2^60 paths
        x = ops.maximum(x, layers.Add()([x, layers.Dense(4)(x)]))
    assert output_bounds(keras.Model(inputs, layers.Dense(1, activation="tanh")(x))) == SIGNED


def test_what_cannot_be_told():
    class Subclass(keras.Model):
        def call(self, x):
            return ops.sigmoid(x)

    inputs = keras.Input((4,))
    assert output_bounds(Subclass()) is None
    assert output_bounds(keras.Sequential([layers.Dense(1, activation="tanh")])) is None  # unbuilt
    assert output_bounds(keras.Model(inputs, [ops.tanh(inputs), inputs])) is None
