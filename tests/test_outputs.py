"""What bounds a model's output, however its last activation is written."""

import math

import keras
import pytest
from keras import layers, ops

from ganlib.models.layers import Conv2D, SpectralDense
from ganlib.models.outputs import output_bounds

UNIT, SIGNED, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)


def stack(*parts):
    return keras.Sequential([keras.Input((8, 8, 3)), *parts])


CASES = [
    (layers.Dense(1, activation="sigmoid"), UNIT),
    (layers.Conv2D(1, 3, activation=ops.tanh), SIGNED),
    (layers.Conv2D(1, 3, activation=layers.ReLU()), POSITIVE),
    (Conv2D(1, 3, padding="same", activation="tanh"), SIGNED),
    (SpectralDense(1, activation="softmax"), UNIT),
    (layers.SpectralNormalization(layers.Dense(1, activation="sigmoid")), UNIT),
    (layers.Activation("hard_sigmoid"), UNIT),
    (layers.ReLU(negative_slope=0.2), None),
    (layers.LeakyReLU(0.2), None),
    (ops.sigmoid, UNIT),
    (lambda x: [ops.tanh(x), x], None),
    (stack(layers.Activation("sigmoid"), layers.Dense(1)), None),
    (stack(layers.Activation("tanh"), layers.Flatten()), SIGNED),
    (stack(layers.ReLU(), layers.Cropping2D(1), layers.Identity()), POSITIVE),
    (stack(layers.Activation("sigmoid"), layers.GlobalAveragePooling2D()), UNIT),
    (lambda x: ops.mean(ops.sigmoid(x), axis=(1, 2))[:, :1], UNIT),
    (stack(layers.Softmax(), layers.Activation("linear")), UNIT),
    (stack(stack(layers.Dense(3, activation="sigmoid"))), UNIT),
    (stack(layers.Activation("tanh"), stack(layers.Flatten())), SIGNED),
    (lambda x: ops.clip(x, 0.0, 255.0), (0.0, 255.0)),
    (lambda x: x + ops.tanh(x), None),
]


@pytest.mark.backend
@pytest.mark.parametrize(("end", "expected"), CASES)
def test_output_bounds(end, expected):
    inputs = keras.Input((8, 8, 3))
    assert output_bounds(keras.Model(inputs, end(inputs))) == expected


def test_what_cannot_be_told():
    class Subclass(keras.Model):
        def call(self, x):
            return ops.sigmoid(x)

    assert output_bounds(Subclass()) is None
    assert output_bounds(keras.Sequential([layers.Dense(1, activation="tanh")])) is None  # unbuilt
