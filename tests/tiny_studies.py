"""The five studies with trials that take a second, for the tests of what may befall any of them."""

import contextlib
import dataclasses
import functools
from unittest import mock

import keras
import test_bedrooms_study as bedroom
import test_boundary_study as cell
import test_srgan_study as photo
import unet_grids as grid

from ganlib.data import load
from ganlib.experiment.study import Study, Trial, run_folder, run_trial
from ganlib.features.digits import load_or_train
from ganlib.studies import bedrooms, boundary, digits, srgan, unet, unet_training

EPOCHS = 3


@functools.cache
def some_digits():
    train, test = (load("digits", split=split, size=28, channels=1) for split in ("train", "test"))
    return train.subset(slice(0, 96)), test.subset(slice(0, 120))


def digits_data():
    """As another process would have them: with no classifier in memory."""
    return digits.DigitsData(*some_digits())


def digits_recipe(**settings):
    small = {"width": 2, "d_width": 2, "latent_dim": 4, "batch_size": 32, "generator_batch": None}
    small |= {"data": "digits", "update": "shared", "samples": 64, "score_every": 1}
    return digits.Recipe(**{**small, "epochs": EPOCHS, **settings})


def srgan_recipe(**settings):
    small = {"filters": 4, "blocks": 1, "d_filters": 2, "d_levels": 1, "patch": 16, "steps": 2}
    small |= {"scale": 2, "batch_size": 2, "judged_side": 16, "pretraining_epochs": 2}
    return srgan.Recipe(**{**small, "epochs": EPOCHS - 2, **settings})


# Name → module, recipe of given settings, data, and what makes the trials cheap.
TINY = {
    "digits": (digits, digits_recipe, digits_data, contextlib.nullcontext),
    "bedrooms": (bedrooms, bedroom.tiny, functools.cache(bedroom.make_data), bedroom.cheap),
    "boundary": (boundary, cell.tiny, functools.cache(cell.make_data), cell.cheap),
    "srgan": (srgan, srgan_recipe, functools.cache(photo.make_data), contextlib.nullcontext),
    "unet": (unet, grid.tiny, grid.make_data, grid.cheap),
}


@contextlib.contextmanager
def cheap(name):
    """No compiling, and networks that take no time."""
    compile = keras.Model.compile

    def eagerly(*args, **options):
        return compile(*args, **{**options, "run_eagerly": True})

    few_steps = functools.partial(load_or_train, steps=2)
    with (
        mock.patch.object(keras.Model, "compile", eagerly),
        mock.patch.object(digits, "load_or_train", few_steps),
        TINY[name][3](),
        # Compiled models round otherwise: tests of those must not be given one of these.
        mock.patch.object(unet_training, "_compiled", _eager),
    ):
        yield


_eager = functools.lru_cache(unet_training._compiled.__wrapped__)


def make(name, *names, **settings):
    """A study of tiny trials of these names, or of one."""
    module, recipe, data, _ = TINY[name]
    trials = [Trial(each, recipe(**settings), seed) for seed, each in enumerate(names or ["tiny"])]
    built = module.build("quick", seeds=1)
    return Study(
        name=name,
        title=built.title,
        trials=tuple(trials),
        load_data=data,
        train=module.train,
        module="none",
        options={"profile": "quick", "data": "none", "seeds": 1, "changes": {}},
        epochs=built.epochs,
    )


def train(study, out, progress=None):
    """`(result, run folder)` of the study's first trial."""
    trial = study.trials[0]
    with cheap(study.name):
        result = run_trial(study, trial, study.load_data(), out, progress)
    return result, run_folder(study, trial, out)


def with_train(study, train):
    return dataclasses.replace(study, train=train)
