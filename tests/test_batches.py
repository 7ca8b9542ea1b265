import keras
import numpy as np
import pytest
from helpers import Recorder

from ganlib.data import Batches, EpochOrder

pytestmark = [
    pytest.mark.backend,
    # Keras' variables and NumPy 2: np.array(variable) warns, in get_weights and save.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(Recorder()(inputs)))
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    return model


def make_data(n=23):
    rng = np.random.default_rng(1)
    return rng.random((n, 3)).astype("float32"), rng.random((n, 1)).astype("float32")


def fit(model, data, epochs, initial_epoch=0, **kwargs):
    batches = Batches(data, batch_size=4, seed=3)
    order = EpochOrder(batches)
    model.fit(
        batches, epochs=epochs, initial_epoch=initial_epoch, callbacks=[order], verbose=0, **kwargs
    )


def test_resumed_run_is_the_unbroken_run_exactly(tmp_path):
    data = make_data()
    unbroken = make_model()
    fit(unbroken, data, epochs=5)
    first = make_model()
    fit(first, data, epochs=2)
    first.save(tmp_path / "model.keras")
    np.random.seed(99)  # nothing global has a say in the order
    keras.utils.set_random_seed(99)
    second = keras.saving.load_model(tmp_path / "model.keras")
    fit(second, data, epochs=5, initial_epoch=2)
    for expected, weight in zip(unbroken.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, weight)


def test_fit_sees_the_batches_of_each_epoch_in_order():
    x, y = make_data()
    model, batches = make_model(), Batches((x, y), batch_size=4, seed=3)
    fit(model, (x, y), epochs=7, initial_epoch=4)
    expected, step = 0.0, 0
    for epoch in (4, 5, 6):
        order = batches.order(epoch)
        for start in range(0, 23, 4):
            step += 1
            expected += step * x[order[start : start + 4]].sum(dtype="float64")
    recorder = next(layer for layer in model.layers if isinstance(layer, Recorder))
    assert float(recorder.step) == step == 18
    assert float(recorder.trace) == pytest.approx(expected, rel=1e-5)


def test_shuffle_argument_of_fit_changes_nothing():
    weights = []
    for shuffle in (True, False):
        model = make_model()
        fit(model, make_data(), epochs=2, shuffle=shuffle)
        weights.append(model.get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_epochs_are_distinct_permutations_that_only_seed_and_epoch_decide():
    x = np.arange(10.0)
    batches, again = Batches(x, 3, seed=0), Batches(x, 3, seed=0)
    again.epoch = 7
    np.testing.assert_array_equal(batches.order(7), again.order(7))
    np.testing.assert_array_equal(np.concatenate([b for (b,) in again]), x[again.order(7)])
    np.testing.assert_array_equal(np.sort(batches.order(7)), np.arange(10))
    assert (batches.order(7) != batches.order(8)).any()
    assert (batches.order(7) != Batches(x, 3, seed=1).order(7)).any()


@pytest.mark.parametrize(("drop", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_remainder(drop, sizes):
    x, y = np.zeros((10, 3), "float32"), np.zeros((10, 1), "float32")
    batches = Batches((x, y), 4, seed=0, drop_remainder=drop)
    assert [len(first) for first, _ in batches] == sizes
    assert len(batches) == len(sizes)
    assert batches.has_partial_batch is not drop
    assert batches.partial_batch_size == (0 if drop else 2)
    model = make_model()
    model.fit(batches, verbose=0)
    assert int(model.optimizer.iterations) == len(sizes)


def test_iteration_gives_tuples_of_numpy_arrays():
    (batch,) = next(iter(Batches(np.zeros((5, 2, 2, 1), "uint8"), 2, seed=0)))
    assert isinstance(batch, np.ndarray)
    assert (batch.shape, batch.dtype) == ((2, 2, 2, 1), np.uint8)


def test_evaluate_and_predict_take_batches():
    x, y = make_data()
    model = make_model()
    loss = float(model.evaluate(Batches((x, y), 23, seed=0), verbose=0))
    assert loss == pytest.approx(float(model.evaluate(x, y, batch_size=23, verbose=0)), rel=1e-5)
    assert model.predict(Batches(x, 4, seed=0), verbose=0).shape == (23, 1)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r"same length. Received: lengths \[3, 2\]"):
        Batches((np.zeros(3), np.zeros(2)), 1, seed=0)
    with pytest.raises(ValueError, match=r"at least 1. Received: batch_size=0"):
        Batches(np.zeros(3), 0, seed=0)
    with pytest.raises(ValueError, match=r"lower `batch_size`.*Received: 3 images, batch_size=4"):
        Batches(np.zeros(3), 4, seed=0, drop_remainder=True)
    with pytest.raises(ValueError, match=r"Received: 0 images"):
        Batches(np.zeros((0, 3)), 4, seed=0)
