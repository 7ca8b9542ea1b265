"""Callbacks beside the monitor: the best epoch, the end of a training, costs; and Keras' own."""

import csv
import itertools
import json
import math
import types

import keras
import numpy as np
import pytest
from helpers import build_generator, fit, gap, images, make_gan, state
from keras import layers

from ganlib.apply import draw_latents, make_images
from ganlib.backends import variables as weights
from ganlib.callbacks import plateau
from ganlib.callbacks.best import SCORES, BestByKID, StopWhenHigh
from ganlib.callbacks.plateau import Meter, ReduceOnPlateau, StopOnPlateau, StopWhenLost
from ganlib.features.networks import Network

N = 12
EAGER = {"run_eagerly": True}


def forward(batch):
    """Means of the picture's quarters, and how bright it is as two classes."""
    unit = batch[..., 0].astype("float64") / 255
    features = unit.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4)
    bright = features.mean(axis=1)
    return features, np.stack([bright, 1 - bright], axis=1)


NETWORK = Network("quarters", "quarters", 8, 1, "none", 4, "0", forward)


def features(pictures):
    return NETWORK(pictures, "unit").features


@pytest.fixture
def gan():
    """Untrained; the real pictures of these tests are its own, so that its weights are the best."""
    return make_gan(compile_options=EAGER)


def own_pictures(gan):
    return make_images(gan.sampler, draw_latents(gan, 20, seed=9))


def make_best(gan, path, every=1, epochs=9):
    real = features(own_pictures(gan))
    best = BestByKID(gan, NETWORK, real, path, n=N, every=every, epochs=epochs)
    best.on_train_begin()
    return best


def end(best, epoch):
    """Ends an epoch, counted from 1; returns the logs."""
    logs = {"d_loss": 1.0}
    best.on_epoch_end(epoch - 1, logs)
    return logs


def damage(gan, amount):
    """Shifts the weights of the generator that is scored: far, its pictures turn white."""
    gan.sampler.set_weights([w + np.float32(amount) for w in gan.sampler.get_weights()])


def kept(path):
    """The weights in the file."""
    model = build_generator()
    weights.load(path, model.weights)
    return model.get_weights()


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "best.npz"


@pytest.mark.backend
def test_the_lowest_kid_is_kept(gan, path):
    good = gan.sampler.get_weights()
    best = make_best(gan, path)
    damage(gan, 0.2)
    kids = [end(best, 1)["kid"]]
    middling = gan.sampler.get_weights()
    assert (best.epoch, best.value) == (1, kids[0])
    gan.sampler.set_weights(good)
    kids.append(end(best, 2)["kid"])
    damage(gan, 2.0)
    kids.append(end(best, 3)["kid"])
    gan.sampler.set_weights(middling)
    kids.append(end(best, 4)["kid"])
    assert kids[1] < kids[0] < kids[2]
    assert kids[3] == kids[0]  # the same weights on the same latents
    damage(gan, np.nan)
    assert end(best, 5) == {"d_loss": 1.0}  # no score, and what was kept stays
    assert (best.epoch, best.value) == (2, kids[1])
    assert same(kept(path), good)
    best.restore()
    assert end(best, 6)["kid"] == kids[1]
    assert best.epoch == 2  # as good is not better


@pytest.mark.parametrize(("every", "epochs", "scored"), [(2, 5, [2, 4, 5]), (9, 2, [2])])
def test_scored_are_every_few_epochs_and_the_last(gan, path, every, epochs, scored):
    best = make_best(gan, path, every, epochs)
    logs = {epoch: end(best, epoch) for epoch in range(1, epochs + 1)}
    assert [epoch for epoch in logs if "kid" in logs[epoch]] == scored
    for epoch in scored:
        assert set(logs[epoch]) == {"d_loss", *SCORES}
        assert all(math.isfinite(value) for value in logs[epoch].values())


def test_state_round_trip(gan, path):
    best = make_best(gan, path)
    good = gan.sampler.get_weights()
    real = features(own_pictures(gan))
    end(best, 1)
    damage(gan, 2.0)
    resumed = BestByKID(gan, NETWORK, real, path, n=N, every=1, epochs=9)
    resumed.set_state(best.get_state())
    resumed.on_train_begin()  # must not keep what a resumed run starts from
    end(resumed, 2)
    assert (resumed.epoch, resumed.value) == (1, best.value)
    assert same(kept(path), good)


HIGH = {"s1": 0.9, "s2": 0.5}
UP, LOW, HALF, NONE = {"s1": 0.9, "s2": 0.7}, {"s1": 0.89, "s2": 0.7}, {"s1": 1.0}, {}


def stop_after(epochs, patience, callback=None):
    """The epoch, counted from 1, whose logs stop a training; None: all go by."""
    callback = callback or StopWhenHigh(HIGH, patience)
    callback.set_model(types.SimpleNamespace(stop_training=False))
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_end(epoch, {"d_loss": 1.0, **logs})
        if callback.model.stop_training:
            return epoch + 1
    return None


@pytest.mark.parametrize(
    ("epochs", "patience", "stopped"),
    [
        ([UP] * 5, 3, 3),
        ([UP, UP, LOW, UP, UP, UP], 3, 6),  # a gap begins anew
        ([UP, HALF, UP, NONE, UP, UP], 2, 6),  # what is not there is not high
        ([UP] * 9, 0, None),
    ],
)
def test_a_training_stops_when_all_has_been_high_for_a_while(epochs, patience, stopped):
    assert stop_after(epochs, patience) == stopped


def test_epochs_in_a_row_are_counted_across_a_kill():
    first, resumed = StopWhenHigh(HIGH, 3), StopWhenHigh(HIGH, 3)
    assert stop_after([LOW, UP, UP], 3, first) is None
    resumed.set_state(json.loads(json.dumps(first.get_state())))
    assert stop_after([UP], 3, resumed) == 1
    assert stop_after([UP], 3, StopWhenHigh(HIGH, 3)) is None


SEQUENCES = {
    "up and flat": [0.1, 0.3, 0.3, 0.3, 0.3, 0.2, 0.4, 0.4, 0.4, 0.4, 0.39, 0.4],
    "lost": [0.2, 0.1, float("nan"), float("nan"), 0.3, float("nan"), 0.1, 0.1, 0.1, 0.1],
}
RULES = {"monitor": "val_jaccard", "mode": "max"}


def train(make, scores, cuts=()):
    """Rates after each epoch, until training stops; the callbacks are new after each cut."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0))
    rates, callbacks, model.stop_training = [], (), False
    for epoch, score in enumerate(scores):
        if epoch == 0 or epoch in cuts:
            states = json.loads(json.dumps([callback.get_state() for callback in callbacks]))
            callbacks = make()
            for callback, saved in itertools.zip_longest(callbacks, states):
                if saved:
                    callback.set_state(saved)
                callback.set_model(model)
                callback.on_train_begin()
        logs = {"val_jaccard": score}
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == (rates[-1] if rates else 1.0)  # that of this epoch
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    return rates


@pytest.mark.parametrize("scores", SEQUENCES.values(), ids=SEQUENCES)
def test_as_keras_even_when_interrupted(scores):
    reduce = {"factor": 0.5, "patience": 2, "min_lr": 0.2, "cooldown": 1, **RULES}
    stop = {"patience": 4, **RULES}

    def make(reduction, stopping):
        return lambda: (reduction(**reduce), stopping(**stop))

    own = make(keras.callbacks.ReduceLROnPlateau, keras.callbacks.EarlyStopping)
    wanted, everywhere = train(own, scores), set(range(len(scores)))
    for cuts in [set(), *({cut} for cut in everywhere), everywhere]:
        assert train(make(ReduceOnPlateau, StopOnPlateau), scores, cuts) == wanted, cuts


def test_a_lost_training_stops():
    epochs = [{"loss": 1.0}, {"loss": 1.0, "val_loss": math.nan}]
    assert stop_after(epochs, None, StopWhenLost()) == 2


def test_a_meter_adds_up_over_an_interruption(monkeypatch):
    # Four seconds of processors an epoch, three by the clock, and a hundred between two epochs.
    used, clock, held = (
        iter([0, 4, 104, 108, 208, 212]),
        iter([0, 3, 103, 106, 206, 209]),
        [6, 7, 5],
    )
    calls = {"process_time": lambda: next(used), "monotonic": lambda: next(clock)}
    monkeypatch.setattr(plateau, "time", types.SimpleNamespace(**calls))
    monkeypatch.setattr(plateau, "device_memory", lambda begin=False: begin or held.pop())
    meter = Meter()
    for epoch in range(3):
        if epoch == 2:  # after a kill
            saved, meter = json.dumps(meter.get_state()), Meter()
            meter.set_state(json.loads(saved))
        meter.on_train_begin()
        meter.on_epoch_begin(epoch)
        meter.on_train_batch_end(0)
        logs = {}
        meter.on_epoch_end(epoch, logs)
        assert logs == {"processor_seconds": 4.0}
    costs = meter.costs()
    assert costs.pop("memory") > 2**20
    assert costs == {"processor_seconds": 12.0, "seconds": 9.0, "device_memory": 7}


def rates(gan):
    return [float(keras.ops.convert_to_numpy(o.learning_rate)) for o in gan.optimizer.optimizers]


def make_two_rates(**options):
    d, g = keras.optimizers.Adam(4e-3), keras.optimizers.Adam(1e-3)
    return make_gan(d_optimizer=d, g_optimizer=g, **options)


@pytest.mark.backend
def test_one_fit_with_many(tmp_path):
    gan = make_two_rates(batch_norm=True)
    log, path = tmp_path / "log.csv", tmp_path / "gan.keras"
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        keras.callbacks.ModelCheckpoint(path, monitor="val_d_loss", mode="min"),
        keras.callbacks.EarlyStopping(monitor="val_d_loss", mode="min", patience=10),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(log),
    ]
    history = fit(gan, images(8), epochs=3, validation_data=(images(4),), callbacks=callbacks)
    # Two time scales stay two, in training and in the log.
    assert rates(gan) == pytest.approx([4e-3 / 8, 1e-3 / 8])
    # Before Keras 3.15 the log has one column, which is the generator's.
    g_column = "learning_rate" if "learning_rate" in history else "learning_rate_generator"
    assert history[g_column] == pytest.approx([5e-4, 2.5e-4, 1.25e-4])
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"epoch", *history}
    assert {"d_loss", "g_loss", "val_d_loss", "val_d_accuracy_real"} < set(history)
    assert gap(state(keras.models.load_model(path)), state(gan)) == 0.0


@pytest.mark.backend
def test_learning_rate_of_the_pair():
    """What callbacks of Keras before 3.15 set; the ratio of the two rates stays."""
    gan = make_two_rates()
    gan.optimizer.learning_rate = 5e-4
    assert float(gan.optimizer.learning_rate) == pytest.approx(5e-4)
    assert rates(gan) == pytest.approx([2e-3, 5e-4])
