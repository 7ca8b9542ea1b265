"""Bedroom trials, and a network to judge them, that take no time."""

import contextlib
import dataclasses
import itertools
from unittest import mock

import keras
import numpy as np
from draws import RNG

from ganlib.callbacks import best as selection
from ganlib.data.rooms import rooms
from ganlib.experiment.study import Study, Trial
from ganlib.features import networks
from ganlib.features.networks import Network
from ganlib.studies import bedrooms, bedrooms_scoring
from ganlib.studies.bedrooms import BedroomData, Recipe

SIZES = {"train": 30, "validation": 20, "test": 24}  # of the tiny data's parts
FEATURES, CLASSES, SIDE = 6, 5, 8


def forward(batch):
    """A fixed random projection of the pixels, and the softmax of another one."""
    rng = np.random.default_rng(0)
    pixels = batch.reshape(len(batch), -1) / 255.0
    features, logits = (
        pixels @ rng.normal(size=(pixels.shape[1], n)) / SIDE for n in (FEATURES, CLASSES)
    )
    odds = np.exp(logits)
    return features, odds / odds.sum(axis=1, keepdims=True)


NETWORK = Network("projection", "projection", SIDE, 3, "none", FEATURES, "0", forward)


@contextlib.contextmanager
def cheap():
    """The network above for any other, no compiling, and styles counted on few pictures."""
    compile = keras.Model.compile

    def eagerly(*args, **options):
        return compile(*args, **{**options, "run_eagerly": True})

    with (
        mock.patch.object(networks, "get", return_value=NETWORK),
        mock.patch.object(keras.Model, "compile", eagerly),
        mock.patch.object(bedrooms_scoring, "COUNTED", 30),
    ):
        yield


@contextlib.contextmanager
def ever_worse():
    """KID on validation pictures grows with each score, so that the first one is kept."""
    score, calls = selection.score, []

    def worse(*args):
        calls.append(args)
        scores = score(*args)
        return {**scores, "kid": scores["kid"] + 1000 * len(calls)}

    with mock.patch.object(selection, "score", worse):
        yield


def tiny(networks="assignment", **settings):
    """A recipe of few steps; "dcgan" is repaired in all ways."""
    repairs = bedrooms.REPAIRED if networks == "dcgan" else {}
    small = {
        "data": "rooms",
        "size": 32,
        "filters": 2,
        "latent_dim": 4,
        "batch_size": 64,
        "g_learning_rate": 0.02,
        "d_learning_rate": 0.03,
        "epochs": 3,
        "score_every": 2,
        "judged": 12,
        "samples": 16,
    }
    if repairs:
        small |= {"augment": ("translation",), "truncations": (0.5, 1.0)}
    return Recipe(**{**repairs, **small, **settings})


def make_data(name="rooms"):
    drawn = rooms(size=32, train=sum(SIZES.values()), test=0)
    drawn = dataclasses.replace(drawn, name=name)
    ends = itertools.pairwise(np.cumsum([0, *SIZES.values()]))
    return BedroomData(*(drawn.subset(slice(*pair)) for pair in ends))


def make_study(data, **recipes):
    return Study(
        name="bedrooms",
        title="tiny",
        trials=tuple(Trial(name, recipe, 0) for name, recipe in recipes.items()),
        load_data=lambda: data,
        train=bedrooms.train,
        module="none",
        options={"profile": "quick"},
        epochs=lambda trial: trial.recipe.epochs,
    )


def noise(n, *size):
    return RNG.integers(0, 256, (n, *(size or (12, 12, 3))), "uint8")


def parts_of(data):
    return {name: getattr(data, name) for name in SIZES}


def contents(images):
    """The pictures, as a set of bytes."""
    return {image.tobytes() for image in images.images}


def check_parts(data, sizes=None, size=8):
    """No picture is in two parts or twice in one; the parts have the sizes."""
    parts = parts_of(data)
    assert {name: len(part) for name, part in parts.items()} == sizes or sizes is None
    assert {part.shape[1:] for part in parts.values()} == {(size, size, 3)}
    sets = [contents(part) for part in parts.values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == sum(map(len, parts.values()))
