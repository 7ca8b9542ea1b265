"""The digits study: data, variations, a tiny run, and a network and a loss of one's own in it."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tiny
from keras import layers

from ganlib.data import DataError, load
from ganlib.experiment.results import Results
from ganlib.experiment.run import run_trial
from ganlib.features.digits import load_or_train
from ganlib.losses import NonSaturating
from ganlib.studies import digits

SMALL = {"width": 2, "d_width": 2, "latent_dim": 4, "batch_size": 64, "samples": 64}
SMALL |= {"epochs": 2, "patience": 10}  # blank pictures or not
NAMES = ("base", "tanh", "label-smoothing")
CHANGED = {"tanh": {"output"}, "latent-50": {"latent_dim"}, "label-smoothing": {"real_label"}}
CHANGED |= {"batch-norm": {"batch_norm"}, "least-squares": {"loss"}, "hinge": {"loss"}}
CHANGED |= {"instance-noise": {"instance_noise"}}


@functools.cache
def whole():
    return load("digits", "train", size=28, channels=1).subset(slice(None, None, 2))


def test_variations():
    assert list(digits.STUDY.at("quick").recipes) == ["base", "tanh", "label-smoothing"]
    for profile in ("cpu", "full"):
        recipes = digits.STUDY.at(profile).recipes
        assert list(recipes) == ["base", *CHANGED, "repaired"]
        for name, fields in CHANGED.items():
            assert tiny.changes(recipes, name, "base") == fields, name
    assert recipes["base"] == digits.Recipe(half_precision=True)  # the write-up's
    gan = digits.build_model(recipes["repaired"], 0, 100)
    assert sum(hasattr(layer, "u") for layer in gan.discriminator.layers) == 4  # spectral
    assert (gan.average is not None, gan.one_pass) == (True, True)


def test_data_are_divided_by_class_and_labels_checked(tmp_path):
    for labels in (whole().labels + 1, np.where(whole().labels == 9, -1, whole().labels)):
        np.savez(tmp_path / "d.npz", x=whole().images, y=labels)
        with pytest.raises(DataError, match="10 classes 0 to 9"):
            digits.load_data(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", x=whole().images, y=whole().labels)
    data = digits.load_data(tmp_path / "d.npz")
    shares = np.bincount(data.test.labels) / np.bincount(whole().labels)
    assert np.ptp(shares) < 0.03
    parts = [{image.tobytes() for image in part.images} for part in (data.train, data.test)]
    assert not parts[0] & parts[1]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(digits, "load_or_train", functools.partial(load_or_train, steps=2))
    return digits.DigitsData(whole().subset(slice(0, 192)), whole().subset(slice(192, 400)))


def test_from_data_to_results(few, tmp_path):
    study = tiny.some(digits.STUDY, NAMES, "none", SMALL)
    study._loaded["data"] = few
    study = study.with_variation("repaired", **digits.REPAIRED).select("*-seed0-*")
    tiny.run(study, tmp_path, digits)
    results = Results(study, tmp_path / "digits", {"digit_score": (1, 10)})
    assert results.names == [*NAMES, "repaired"]
    assert results.runs["digit_score"].between(1, 10).all()
    assert len(results.history) == 2 * len(results.runs)
    assert {len(grid) for grid in results.pictures(28).values()} == {64}
    assert results.history.query("name == 'label-smoothing'")["printed_real"].max() == 0


@keras.saving.register_keras_serializable("ganlib_tests")
@dataclasses.dataclass(frozen=True)
class Doubled(NonSaturating):
    def fake(self, logits):
        return 2.0 * super().fake(logits)


def test_a_network_and_a_loss_of_ones_own(few, tmp_path):
    study = tiny.some(digits.STUDY, ("base",), "none", SMALL)
    study._loaded["data"] = few
    stack = [keras.Input((4,)), layers.Dense(28 * 28, activation="sigmoid")]
    own = keras.Sequential([*stack, layers.Reshape((28, 28, 1))])
    mine = study.with_variation("mine", generator=own, loss=Doubled())
    assert mine.trials[0] == study.trials[0]  # what has run stays
    (trial,) = mine.select("mine-seed0-*").trials
    again = digits.STUDY.at(**json.loads(json.dumps(mine.options)))  # as another process has it
    assert again.recipes["mine"] == mine.recipes["mine"]
    with tiny.cheap():
        result = run_trial(mine, trial, tmp_path)
    assert (result["status"], result["id"]) == ("done", trial.id)
    assert result["metrics"]["g_parameters"] == own.count_params()
    assert Results(mine, tmp_path / "digits").names == ["mine"]
    models = [digits.build_model(trial.recipe, seed, 1) for seed in (0, 0, 1)]
    assert isinstance(models[0].adversarial_loss, Doubled)
    first, same, other = (model.generator.get_weights()[0] for model in models)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    with pytest.raises(ValueError, match="has such a variation already"):
        mine.with_variation("mine")
