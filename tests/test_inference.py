"""`infer`: all images through a model, a part at a time."""

import keras
import numpy as np
import pytest
from draws import RNG

from ganlib import apply
from ganlib.apply import infer

pytestmark = pytest.mark.backend


class Recorder:
    """Called like a model; keeps how many images it was called with, and in which mode."""

    def __init__(self, output):
        self.output = output
        self.calls = []

    def __call__(self, inputs, training):
        self.calls.append((len(keras.tree.flatten(inputs)[0]), training))
        return self.output(inputs)


def images(n, side=8):
    return RNG.normal(size=(n, side, side, 1)).astype("float32")


@pytest.mark.parametrize(
    ("shape", "calls"),
    [((8, 8, 1), [3, 3, 1]), ((8, 16, 1), [1] * 7), ((32, 32, 3), [1] * 7), ((4, 4, 1), [7])],
)
def test_so_many_at_once_as_there_are_pixels_for(monkeypatch, shape, calls):
    monkeypatch.setattr(apply, "PIXELS", 3 * 8 * 8)
    model = Recorder(lambda x: 2 * keras.ops.convert_to_tensor(x))
    inputs = images(7)
    np.testing.assert_array_equal(infer(model, inputs, shape), 2 * inputs)
    assert model.calls == [(n, False) for n in calls]


def test_an_unknown_side_is_a_large_one():
    model = Recorder(keras.ops.convert_to_tensor)
    infer(model, images(20, 1), (None, None, 3))
    assert model.calls == [(16, False), (4, False)]


def test_the_parts_are_those_of_one_call(monkeypatch):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    inputs = images(7)
    expected = keras.ops.convert_to_numpy(model(inputs, training=False))
    moved = [w.copy() for w in model.get_weights()]
    monkeypatch.setattr(apply, "PIXELS", 2 * 8 * 8)
    np.testing.assert_allclose(infer(model, inputs, (8, 8, 1)), expected, atol=1e-6)
    for before, after in zip(moved, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_structures_go_in_and_come_out(monkeypatch):
    monkeypatch.setattr(apply, "PIXELS", 2)
    model = Recorder(lambda x: (x["a"] + x["b"][0], {"half": keras.ops.cast(x["a"], "bfloat16")}))
    a, b = np.arange(5, dtype="float32"), np.ones((5, 1), "float32")[:, 0]
    total, rest = infer(model, {"a": a, "b": [b]}, (1, 1, 1))
    np.testing.assert_array_equal(total, a + 1)
    np.testing.assert_array_equal(rest["half"], a)
    assert (total.dtype, rest["half"].dtype) == (np.float32, np.float32)


def test_a_scalar_a_call_is_a_row_a_call(monkeypatch):
    monkeypatch.setattr(apply, "PIXELS", 2 * 8 * 8)
    assert infer(Recorder(keras.ops.mean), images(6), (8, 8, 1)).shape == (3,)
