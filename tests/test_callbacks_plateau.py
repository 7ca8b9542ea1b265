"""Plateau rules as Keras' own, and costs that add up, however often a training is interrupted."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from ganlib.callbacks.meter import Meter
from keras import layers

from ganlib.callbacks import meter
from ganlib.callbacks.plateau import ReduceOnPlateau, StopOnPlateau
from ganlib.experiment import machine

SCORES = {
    "up and flat": [0.1, 0.3, 0.3, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.39, 0.4],
    "never better": [0.5] * 10,
    "falling": [0.9 - 0.05 * i for i in range(10)],
    "late": [0.2, 0.1, 0.1, 0.21, 0.1, 0.1, 0.22, 0.1, 0.1, 0.1, 0.1, 0.1],
    "nothing": [0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "lost": [0.2, 0.1, float("nan"), float("nan"), 0.3, float("nan"), 0.1, 0.1, 0.1, 0.1],
}
RULES = {"monitor": "val_jaccard", "mode": "max"}


def make_model():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0))
    return model


def train(make, scores, cuts=()):
    """Rates after each epoch, until training stops; the callbacks are new after each cut."""
    model, rates, state = make_model(), [], None
    model.stop_training = False
    callbacks = []
    for epoch, score in enumerate(scores):
        if epoch == 0 or epoch in cuts:
            callbacks = make()
            for callback, saved in zip(callbacks, state or [None] * len(callbacks), strict=True):
                if saved is not None:
                    callback.set_state(saved)
                callback.set_model(model)
                callback.on_train_begin()
        logs = {"val_jaccard": score}
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == (rates[-1] if rates else 1.0)  # that of this epoch
        rates.append(float(model.optimizer.learning_rate))
        if hasattr(callbacks[0], "get_state"):
            state = json.loads(json.dumps([callback.get_state() for callback in callbacks]))
        if model.stop_training:
            break
    return rates


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_as_keras_even_when_interrupted(scores, cooldown):
    reduce = {"factor": 0.5, "patience": 2, "min_lr": 0.2, "cooldown": cooldown, **RULES}
    stop = {"patience": 4, **RULES}

    def ours():
        return ReduceOnPlateau(**reduce), StopOnPlateau(**stop)

    def keras_own():
        return keras.callbacks.ReduceLROnPlateau(**reduce), keras.callbacks.EarlyStopping(**stop)

    wanted = train(keras_own, scores)
    assert train(ours, scores) == wanted
    for cut in range(1, len(wanted)):
        assert train(ours, scores, cuts={cut}) == wanted, cut
    assert train(ours, scores, cuts=set(range(len(scores)))) == wanted


def test_the_sequences_reduce_and_stop():
    """Or the test above would compare nothing."""
    reduce = {"factor": 0.5, "patience": 2, "min_lr": 0.2, **RULES}

    def ours():
        return ReduceOnPlateau(**reduce), StopOnPlateau(patience=4, **RULES)

    found = {name: train(ours, scores) for name, scores in SCORES.items()}
    assert found["never better"] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert found["falling"] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert len(found["late"]) == 11
    assert found["late"][-1] == pytest.approx(0.2)  # the least
    assert any(len(rates) < len(SCORES[name]) for name, rates in found.items())


def test_a_state_is_json_before_the_first_epoch():
    for callback in (ReduceOnPlateau(**RULES), StopOnPlateau(**RULES)):
        callback.set_model(make_model())
        callback.on_train_begin()
        state = callback.get_state()
        again = type(callback)(**RULES)
        again.set_state(json.loads(json.dumps(state)))
        again.set_model(make_model())
        again.on_train_begin()
        assert again.get_state() == state


# -- costs ---------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is told."""
    now = SimpleNamespace(processor=1000.0, wall=50.0)
    calls = {"process_time": lambda: now.processor, "monotonic": lambda: now.wall}
    monkeypatch.setattr(meter, "time", SimpleNamespace(**calls))
    return now


def epoch(meter, number, memory, monkeypatch, clock):
    """Trains for 4 seconds of the processors, 3 by the clock; returns the logs."""
    monkeypatch.setattr(machine, "process_memory", lambda: memory)
    logs = {}
    meter.on_epoch_begin(number)
    clock.processor += 4.0
    clock.wall += 3.0
    meter.on_train_batch_end(0)
    meter.on_epoch_end(number, logs)
    clock.processor += 100.0  # between two epochs nothing counts
    clock.wall += 100.0
    return logs


def test_a_meter_adds_up_over_an_interruption(monkeypatch, clock):
    monkeypatch.setattr(machine, "forget_device_memory", lambda: None)
    monkeypatch.setattr(machine, "device_memory", lambda: None)
    first = Meter()
    first.on_train_begin()
    for number, memory in enumerate((300, 200)):
        assert epoch(first, number, memory, monkeypatch, clock) == {"processor_seconds": 4.0}
    second = Meter()
    second.set_state(json.loads(json.dumps(first.get_state())))
    second.on_train_begin()
    epoch(second, 2, 100, monkeypatch, clock)
    costs = second.costs()
    assert costs == {
        "processor_seconds": 12.0,
        "seconds": 9.0,
        "memory": 300,
        "device_memory": None,
    }
    epoch(second, 3, 400, monkeypatch, clock)
    assert second.costs()["memory"] == 400
    assert costs["memory"] == 300  # a result, not a view


def test_the_most_that_an_accelerator_held(monkeypatch, clock):
    peaks = iter([5, 7, 6])
    monkeypatch.setattr(machine, "forget_device_memory", lambda: None)
    monkeypatch.setattr(machine, "device_memory", lambda: next(peaks))
    meter = Meter()
    meter.on_train_begin()
    for number in range(2):
        epoch(meter, number, 1, monkeypatch, clock)
    again = Meter()
    again.set_state(meter.get_state())
    again.on_train_begin()
    epoch(again, 2, 1, monkeypatch, clock)
    assert again.costs()["device_memory"] == 7


@pytest.mark.backend
def test_what_a_meter_tells_a_history():
    meter, model = Meter(), make_model()
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    x = np.ones((4, 1), "float32")
    history = model.fit(x, x, batch_size=2, epochs=2, verbose=0, callbacks=[meter]).history
    assert len(history["processor_seconds"]) == 2
    assert sum(history["processor_seconds"]) == pytest.approx(meter.costs()["processor_seconds"])
    assert meter.memory > 2**20
