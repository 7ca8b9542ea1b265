"""Choosing the epoch, by KID or else, and the end of a training."""

import json
import math
import types

import keras
import numpy as np
import pandas
import pytest
from helpers import IMAGE, build_generator, images, make_gan

from ganlib.apply import draw_latents, make_images
from ganlib.backends import variables as weights
from ganlib.callbacks.best import SCORES, BestByKID, KeepBest, StopWhenHigh, score
from ganlib.experiment import fit as training
from ganlib.experiment.study import Run
from ganlib.features.networks import Network
from ganlib.metrics import fidelity

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


# -- what is kept --------------------------------------------------------------------------------


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
    assert (best.epoch, best.value) == (2, kids[1])
    assert same(kept(path), good)
    best.restore()
    assert end(best, 5)["kid"] == kids[1]
    assert best.epoch == 2  # as good is not better


def test_no_file_is_left_half_written(gan, path):
    best = make_best(gan, path)
    end(best, 1)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_average_is_scored_and_kept(path):
    gan = make_gan(ema=0.9, compile_options=EAGER)
    best = make_best(gan, path)
    gan.generator.set_weights([w + 2 for w in gan.generator.get_weights()])
    kid = end(best, 1)["kid"]
    assert same(kept(path), gan.average.get_weights())
    damage(gan, 2.0)
    assert end(best, 2)["kid"] > kid
    assert best.epoch == 1


def test_the_first_weights_are_kept_before_any_score(gan, path):
    best = make_best(gan, path, every=5)
    assert (best.epoch, best.value) == (0, math.inf)
    first = gan.sampler.get_weights()
    damage(gan, 0.2)
    assert end(best, 1) == {"d_loss": 1.0}
    assert same(kept(path), first)
    assert math.isfinite(end(best, 5)["kid"])  # any score is better than none
    assert best.epoch == 5
    assert same(kept(path), gan.sampler.get_weights())


@pytest.mark.backend
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_replace_nothing(gan, path, value):
    best = make_best(gan, path)
    good = gan.sampler.get_weights()
    kid = end(best, 1)["kid"]
    gan.sampler.set_weights([np.full_like(w, value) for w in good])
    assert end(best, 2) == {"d_loss": 1.0}
    assert (best.epoch, best.value) == (1, kid)
    assert same(kept(path), good)


@pytest.mark.parametrize(("lower", "epoch"), [(True, 3), (False, 2)])
def test_the_best_is_the_lowest_or_the_highest(gan, path, lower, epoch):
    values = iter([2.0, 5.0, 1.0, 4.0])
    best = KeepBest(
        gan, path, lambda: {"score": next(values)}, "score", lower=lower, every=1, epochs=4
    )
    best.on_train_begin()
    for i in range(1, 5):
        damage(gan, 0.1)
        assert end(best, i)["score"] in (2.0, 5.0, 1.0, 4.0)
        if i == epoch:
            good = gan.get_weights()  # of both players: the whole model is kept
    assert (best.epoch, best.value) == (epoch, {True: 1.0, False: 5.0}[lower])
    best.restore()
    assert same(gan.get_weights(), good)


# -- when, and on what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "epochs", "scored"), [(2, 5, [2, 4, 5]), (3, 3, [3]), (9, 2, [2]), (1, 2, [1, 2])]
)
def test_scored_are_every_few_epochs_and_the_last(gan, path, every, epochs, scored):
    best = make_best(gan, path, every, epochs)
    logs = {epoch: end(best, epoch) for epoch in range(1, epochs + 1)}
    assert [epoch for epoch in logs if "kid" in logs[epoch]] == scored
    for epoch in scored:
        assert set(logs[epoch]) == {"d_loss", *SCORES}
        assert all(math.isfinite(value) for value in logs[epoch].values())


def test_always_the_same_latents(gan, path):
    seen = []

    def recorded(batch):
        seen.append(batch)
        return forward(batch)

    network = Network("recorded", "recorded", 8, 1, "none", 4, "0", recorded)
    real = features(own_pictures(gan))
    options = {"n": N, "every": 1, "epochs": 9}
    best = BestByKID(gan, network, real, path, **options)
    first, again = end(best, 1), end(best, 2)
    np.testing.assert_array_equal(*seen)
    assert first == again
    end(BestByKID(gan, network, real, path, **options), 1)  # a resumed run's
    np.testing.assert_array_equal(seen[0], seen[2])
    end(BestByKID(gan, network, real, path, **options, seed=1), 1)
    assert np.any(seen[0] != seen[3])


# -- state ---------------------------------------------------------------------------------------


def test_state_round_trip(gan, path):
    best = make_best(gan, path)
    real = features(own_pictures(gan))
    good = gan.sampler.get_weights()
    end(best, 1)
    damage(gan, 2.0)
    resumed = BestByKID(gan, NETWORK, real, path, n=N, every=1, epochs=9)
    resumed.set_state(best.get_state())
    resumed.on_train_begin()  # must not keep what a resumed run starts from
    end(resumed, 2)
    assert (resumed.epoch, resumed.value) == (1, best.value)
    assert same(kept(path), good)


@pytest.mark.backend
def test_in_a_run(tmp_path):
    """Through `training.fit`, killed after its second epoch: the history has the scores."""

    def train(run, epochs):
        keras.utils.set_random_seed(0)
        gan = make_gan(seed=0, compile_options=EAGER)
        real = features((images(20, seed=3) + 1) / 2)
        path = run.path / "best.npz"
        best = BestByKID(gan, NETWORK, real, path, n=N, every=2, epochs=3)
        training.fit(
            gan, images(4), run, epochs=epochs, batch_size=4, seed=0, expected={}, callbacks=[best]
        )
        return best, kept(path), pandas.read_csv(run.path / "history.csv")

    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    for run in (whole, parts):
        run.path.mkdir()
    train(parts, 2)
    (a, a_weights, a_history), (b, b_weights, b_history) = train(parts, 3), train(whole, 3)
    assert (a.epoch, a.value) == (b.epoch, b.value)
    assert same(a_weights, b_weights)
    assert list(a_history["kid"].notna()) == [False, True, True]
    columns = ["epoch", *SCORES]
    pandas.testing.assert_frame_equal(a_history[columns], b_history[columns])
    assert a.value == a_history["kid"].min()
    assert a_history["epoch"][a_history["kid"].idxmin()] == a.epoch


# -- stopping while all is high ------------------------------------------------------------------

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
        ([UP] * 5, 1, 1),
        ([UP] * 2, 3, None),
        ([LOW, UP, UP, UP], 2, 3),
        ([UP, UP, LOW, UP, UP, UP], 3, 6),  # a gap begins anew
        ([UP, HALF, UP, NONE, UP, UP], 2, 6),  # what is not there is not high
        ([UP, {**UP, "s2": math.nan}, UP], 2, None),
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


def test_a_fit_ends_when_the_scores_of_its_own_epochs_are_high(path):
    gan, values = make_gan(compile_options=EAGER), iter([0.1, 0.6, 0.4, 0.7, 0.8, 0.9])
    best = KeepBest(gan, path, lambda: {"s1": next(values)}, "s1", lower=False, epochs=6)
    stop = StopWhenHigh({"s1": 0.5}, 2)
    history = gan.fit(images(4), epochs=6, callbacks=[best, stop], verbose=0).history
    assert history["s1"] == [0.1, 0.6, 0.4, 0.7, 0.8]
    assert best.epoch == 5


# -- score ---------------------------------------------------------------------------------------


def test_score(gan):
    latents, real = draw_latents(gan, N), features((images(20) + 1) / 2)
    scores = score(gan.sampler, latents, NETWORK, real)
    assert (scores["n_real"], scores["n_fake"]) == (20, N)
    seen = NETWORK(make_images(gan.sampler, latents), "unit")
    assert scores == fidelity.evaluate(real, seen.features, NETWORK, seen.probabilities)
    assert seen.features.shape == (N, 4)
    assert make_images(gan.sampler, latents).shape == (N, *IMAGE)


def test_no_score_without_finite_pictures(gan):
    damage(gan, np.nan)
    assert score(gan.sampler, draw_latents(gan, N), NETWORK, np.zeros((6, 4))) is None
