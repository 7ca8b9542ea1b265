"""The boundary study: variations, criteria, a tiny run, and a generator that rests."""

import math
from unittest import mock

import keras
import numpy as np
import pytest
import tiny

from ganlib import losses
from ganlib.apply import discriminate, draw_latents, make_images
from ganlib.content import LikenessLoss
from ganlib.data import load, parts
from ganlib.experiment.results import Results
from ganlib.experiment.run import Run
from ganlib.experiment.study import Trial
from ganlib.metrics import boundary as metrics
from ganlib.studies import boundary

SMALL = {"g_filters": 2, "d_filters": 3, "latent_dim": 4, "batch_size": 64, "epochs": 2}
SMALL |= {"judged": 12, "samples": 16, "patience": 0}


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.setattr(parts, "LEAST", 10)
    return load("tissue").subset(slice(0, 1600, 12))


def test_variations():
    assert tuple(boundary.STUDY.at("quick").recipes) == boundary.QUICK_NAMES
    for profile in ("cpu", "full"):
        recipes = boundary.STUDY.at(profile).recipes
        gammas = [f"gamma-{gamma:g}" for gamma in boundary.GAMMAS]
        assert list(recipes) == ["bce", *gammas, "repaired", "for-s3", "idle-generator"]
        for name in {"bce", *gammas} - {"gamma-0.8"}:
            assert tiny.changes(recipes, name, "gamma-0.8") == {"gamma"}
        settled = {"upsample", "lifelike_epochs", "d_filters"}
        assert tiny.changes(recipes, "repaired", "idle-generator") == settled
    assert recipes["gamma-0.8"] == boundary.Recipe()  # as the write-up has it


def test_a_gan_is_made_of_its_recipe():
    gan = boundary.build_gan(boundary.Recipe(gamma=0.3, likeness=2.5, augment=("cutout",)), 0)
    assert gan.adversarial_loss == losses.Boundary(0.3)
    assert (gan.content, gan.augment.policy) == (LikenessLoss(2.5), ("cutout",))
    schedule = boundary.to_rest(0.5, 4)
    assert [float(schedule(step)) for step in (0, 2, 4, 9)] == [0.5, 0.25, 0.0, 0.0]


def test_criteria(cells):
    data = boundary.load_data(cells, None)
    recipe = boundary.Recipe(g_filters=2, d_filters=3, latent_dim=4, judged=12)
    gan = boundary.build_gan(recipe, 0)
    criteria = boundary.Criteria(gan, data, recipe)
    real, made = data.validation.as_range("unit"), make_images(gan.sampler, draw_latents(gan, 12))
    trained = data.train.as_range("unit")[: len(real)]
    s1, s2 = metrics.s1(discriminate(gan, real)), metrics.s2(discriminate(gan, made))
    wanted = {"s1": s1, "s2": s2, "s3": metrics.s3(made, real, "unit")}
    wanted |= {"score": math.prod(wanted.values())}
    assert criteria() == wanted | {"s1_train": metrics.s1(discriminate(gan, trained))}
    assert criteria.ceiling == metrics.s3_ceiling(real, "unit")
    gan.generator.set_weights([np.full_like(x, np.nan) for x in gan.generator.get_weights()])
    assert criteria() is None


def test_from_data_to_results(cells, tmp_path):
    study = tiny.some(boundary.STUDY, ("bce", "gamma-0.8"), cells, SMALL)
    phases = boundary.LIFELIKE | {"lifelike_epochs": 2, "g_learning_rate": 0.0}
    study = study.with_variation("repaired", **phases).with_variation("mine", loss=losses.Hinge())
    study = study.select("*-seed0-*")
    tiny.run(study, tmp_path, boundary)
    results = Results(study, tmp_path / "boundary")
    assert results.names == ["bce", "gamma-0.8", "repaired", "mine"]
    assert results.runs[["scores.last.s1", "scores.best.score"]].notna().all(axis=None)
    assert results.runs["scores.best.s3_noise"].lt(results.runs["scores.best.s3_real"]).all()
    assert {len(grid) for grid in results.pictures(boundary.SIZE).values()} == {16}
    rows = results.history.groupby(["name", "phase"]).size()
    assert rows[("repaired", "lifelike")] == rows[("repaired", "")] == 2


def test_a_lifelike_generator_rests(cells, tmp_path):
    recipe = boundary.Recipe(**SMALL | boundary.LIFELIKE | {"lifelike_epochs": 1})
    data, gan = boundary.load_data(cells, None), boundary.build_gan(recipe, 0)
    run = Run(tmp_path / "boundary" / "trial").phase("lifelike", 0, 3)
    with tiny.cheap():
        boundary.make_lifelike(gan.generator, Trial("repaired", recipe, 0), data, run)
    before = gan.generator.get_weights()
    with tiny.cheap(), mock.patch.object(keras.Model, "fit", None):  # resumed, it trains no more
        again = boundary.build_gan(recipe, 0).generator
        boundary.make_lifelike(again, Trial("repaired", recipe, 0), data, run)
    for old, new in zip(before, again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with tiny.cheap():
        gan.compile(*(keras.optimizers.Adam(rate) for rate in (1e-3, 0.0)))
        gan.fit(data.train.as_range("signed"), batch_size=16, verbose=0)
    for old, new in zip(before, gan.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
