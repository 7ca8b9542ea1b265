"""The boundary study: its trials, its data, and what a recipe becomes."""

import contextlib
import dataclasses
import itertools
import json
import math
from unittest import mock

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_bedrooms import NETWORK, check_parts, contents, noise, parts_of

from ganlib import losses
from ganlib.data import DataError, load
from ganlib.experiment import study as ganlib_study
from ganlib.experiment.fit import RecipeMismatch
from ganlib.experiment.profiles import PROFILES
from ganlib.experiment.study import Run, Trial
from ganlib.features import networks
from ganlib.content import LikenessLoss
from ganlib.metrics.boundary import s3_ceiling
from ganlib.studies import boundary, boundary_scoring, boundary_training
from ganlib.studies.boundary import CellData, Recipe
from ganlib.studies.boundary_training import Criteria, build_gan, expected

SIZES = {"train": 24, "validation": 20, "test": 26}  # of the tiny data's parts
TRIED = ("s1", "s2", "s3")
# Variation → what it is compared with, and the fields that it may change.
CHANGES = {
    "faster-generator": ("repaired", {"likeness", "g_learning_rate", "g_rest"}),
    "repaired-bce": ("repaired", {"gamma"}),
    "no-rest": ("repaired", {"g_rest"}),
    "no-likeness": ("repaired", {"likeness"}),
    "no-turns": ("repaired", {"augment"}),
    "idle-generator": ("repaired", {"g_learning_rate", "g_rest", "likeness"}),
}
WAYS = 6  # shown of D's landscape, in place of many

every_profile = pytest.mark.parametrize("profile", PROFILES)
uncompiled = mock.patch.object(boundary_training.Adversarial, "compile")


@contextlib.contextmanager
def cheap(factors=None):
    """A network and a landscape that take no time, and no compiling.

    `factors` makes s3 on validation pictures smaller, one an epoch: it decides which is the best.
    """
    compile, s3 = keras.Model.compile, boundary_training.s3

    def eagerly(*args, **options):
        return compile(*args, **{**options, "run_eagerly": True})

    def s3_times_factor(*args):
        found = s3(*args)
        return found._replace(value=found.value * (next(factors) if factors else 1.0))

    with (
        mock.patch.object(networks, "get", return_value=NETWORK),
        mock.patch.object(keras.Model, "compile", eagerly),
        mock.patch.object(boundary_training, "s3", s3_times_factor),
        mock.patch.object(boundary_scoring, "PATHS", WAYS),
        mock.patch.object(boundary_scoring, "SLOW", {"ssim": 4}),
    ):
        yield


def tiny(**settings):
    small = {"g_filters": 2, "d_filters": 3, "latent_dim": 4, "batch_size": 12, "epochs": 3}
    small |= {"g_learning_rate": 0.01, "d_learning_rate": 0.02, "judged": 12, "samples": 16}
    return Recipe(**{**small, "patience": 0, **settings})


def make_data():
    crops = load("tissue").subset(slice(0, 1600, 1600 // sum(SIZES.values())))
    ends = itertools.pairwise(np.cumsum([0, *SIZES.values()]))
    return CellData(*(crops.subset(slice(*pair)) for pair in ends))


def loud(gan):
    """The same GAN with logits some way from 0."""
    kernel, bias = gan.discriminator.get_layer("logits").get_weights()
    gan.discriminator.get_layer("logits").set_weights([30 * kernel, bias + 0.5])
    return gan


# -- trials --------------------------------------------------------------------------------------


def recipes(profile, **options):
    trials = boundary.build(profile, seeds=1, **options).trials
    return {trial.name: trial.recipe for trial in trials}


@every_profile
@pytest.mark.parametrize("seeds", [None, 2])
def test_trials(profile, seeds):
    study = boundary.build(profile, seeds=seeds)
    count = seeds or {"quick": 1, "cpu": 1, "full": 3}[profile]
    tried = boundary.QUICK_GAMMAS if profile == "quick" else boundary.GAMMAS
    gammas = [f"gamma-{gamma:g}" for gamma in tried]
    names = ["bce", *gammas, "repaired", *CHANGES]
    if profile == "quick":
        assert {*boundary.QUICK_NAMES} < {*names}
        names = [name for name in names if name in (*gammas, *boundary.QUICK_NAMES)]
    by_seed = [[t.name for t in study.trials if t.seed == seed] for seed in range(count)]
    assert by_seed == [names] * count
    assert len({trial.id for trial in study.trials}) == len(study.trials) == len(names) * count
    assert "gamma-0.8" in names  # the write-up's
    for trial in study.trials:
        assert study.epochs(trial) == trial.recipe.epochs > 0
        assert len(trial.recipe.high) == len(TRIED)
        read = Recipe(**json.loads(json.dumps(dataclasses.asdict(trial.recipe))))
        assert Trial(trial.name, read, trial.seed).id == trial.id


@every_profile
def test_a_worker_builds_the_same_study(profile):
    study = boundary.build(profile, "some/folder", 2, {"epochs": 7, "augment": ["color"]})
    again = ganlib_study.build(study.module, json.loads(json.dumps(study.options)))
    assert again.trials == study.trials
    assert {trial.recipe.data for trial in study.trials} == {"some/folder"}
    assert {(t.recipe.epochs, t.recipe.augment) for t in again.trials} == {(7, ("color",))}


@every_profile
def test_a_variation_changes_what_it_is_about_and_nothing_else(profile):
    found = recipes(profile)
    gammas = {name: name.removeprefix("gamma-") for name in found if name.startswith("gamma-")}
    changes = CHANGES | {name: ("bce", {"gamma"}) for name in gammas}
    for name, (base, fields) in changes.items():
        if name not in found:
            continue
        mine, other = (dataclasses.asdict(found[n]) for n in (name, base))
        different = {key for key in mine if mine[key] != other[key]}
        assert different
        assert different <= fields, name
    assert {name: float(gamma) for name, gamma in gammas.items()} == {
        name: found[name].gamma for name in gammas
    }
    assert found["bce"].gamma is found["repaired-bce"].gamma is None
    assert found["repaired"].gamma == found["gamma-0.8"].gamma == 0.8
    assert found["idle-generator"].g_learning_rate == 0.0
    assert found["idle-generator"].likeness == 0.0
    off = {"no-rest": 0.0, "no-likeness": 0.0, "no-turns": ()}
    for name in off.keys() & found.keys():
        (field,) = CHANGES[name][1]
        assert getattr(found[name], field) == off[name] != getattr(found["repaired"], field)


def test_profiles_share_no_trial():
    quick, full = (boundary.build(profile, seeds=1) for profile in ("quick", "full"))
    assert not {t.id for t in quick.trials} & {t.id for t in full.trials}
    assert full.select("gamma-0.8").trials[0].recipe == Recipe()  # as the write-up has it


@every_profile
def test_changes_are_made_last_and_in_all_recipes(profile):
    """Even in those that a variation is about."""
    changes = {"gamma": 0.4, "likeness": 2, "g_rest": 0.25, "g_learning_rate": 1e-3}
    study = boundary.build(profile, changes=changes)
    for trial in study.trials:
        assert {name: getattr(trial.recipe, name) for name in changes} == changes
    plain = boundary.build(profile)
    assert [t.name for t in study.trials] == [t.name for t in plain.trials]
    assert not {t.id for t in study.trials} & {t.id for t in plain.trials}


def test_what_can_not_be_built():
    with pytest.raises(ValueError, match=r"`profile` must be .*Received: profile='fast'"):
        boundary.build("fast")
    with pytest.raises(ValueError, match="no such field"):
        boundary.build("quick", changes={"filter": 5})
    with pytest.raises(ValueError, match="Other data are no change"):
        boundary.build("quick", changes={"data": "rooms"})


# -- data ----------------------------------------------------------------------------------------


def groups_of(data):
    return [set(part.groups) for part in parts_of(data).values()]


def test_no_group_is_on_two_sides(tmp_path):
    groups, labels = np.repeat(np.arange(40), 15), np.repeat(np.arange(40) % 2, 15)
    mixed = np.random.default_rng(0).permutation(600)
    arrays = {"x": noise(600, 32, 32, 3), "y": labels[mixed], "group": groups[mixed]}
    np.savez(tmp_path / "cells.npz", **arrays)
    data = boundary.load_data(tmp_path / "cells.npz")
    check_parts(data, size=32)
    sides = groups_of(data)
    assert set.union(*sides) == set(range(40))
    assert sum(map(len, sides)) == 40
    for part in parts_of(data).values():
        assert set(part.labels) == {0, 1}  # each class has its share
        np.testing.assert_array_equal(part.labels, part.groups % 2)


def test_tissue():
    data = boundary.load_data("tissue")
    check_parts(data, size=32)
    sides = groups_of(data)
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert contents(data.test) == contents(load("tissue", "test"))
    assert (data.name, data.synthetic) == ("tissue", False)


def test_a_folder(tmp_path):
    for i in range(400):
        Image.fromarray(noise(1, 34, 32, 3)[0]).save(tmp_path / f"{i}.png", compress_level=0)
    data = boundary.load_data(tmp_path)
    check_parts(data, size=32)
    assert sum(map(len, parts_of(data).values())) == 400
    assert boundary.load_data(tmp_path).checksum == data.checksum


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": noise(120, 32, 32, 3)}, "has too few images.*Received: 120 images, at least"),
        (
            {"x_train": noise(90, 32, 32, 3), "x_test": noise(90, 32, 32, 3)},
            "has too few images.*at least 50 needed",
        ),
        (
            {"x": noise(420, 8, 8, 3), "group": np.zeros(420, int)},
            "would leave one side empty.*1 groups",
        ),
    ],
)
def test_too_few_pictures_or_groups(tmp_path, arrays, message):
    np.savez(tmp_path / "few.npz", **arrays)
    with pytest.raises(DataError, match=message):
        boundary.load_data(tmp_path / "few.npz")


def test_no_pictures(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        boundary.load_data(tmp_path / "missing")


# -- what a recipe becomes -----------------------------------------------------------------------


@uncompiled
@pytest.mark.parametrize("upsample", ["transpose", "resize"])
@pytest.mark.parametrize("norm", [None, "batch", "spectral"])
def test_parameters_are_those_of_the_builders(compile, upsample, norm):
    recipe = tiny(upsample=upsample, d_normalisation=norm)
    gan, wanted = build_gan(recipe, 10, 0), expected(recipe, 10)
    assert gan.generator.count_params() == wanted["g_parameters"]
    assert gan.discriminator.count_params() == wanted["d_parameters"]
    assert gan.generator.output_shape[1:] == (boundary.SIZE, boundary.SIZE, 3)
    assert (wanted["batch_size"], expected(recipe, 50)["batch_size"]) == (10, 12)


@pytest.mark.parametrize("resting", ["g", "d"])
def test_a_player_comes_to_rest(resting):
    """After half of 6 steps its rate is 0, and it stays as it is; the other one goes on."""
    recipe = tiny(epochs=2, **{f"{resting}_rest": 0.5})
    with cheap():
        gan = build_gan(recipe, 25, 0)  # the third step of an epoch has one picture
    images = make_data().train.as_range("signed")
    images = np.concatenate([images, images[:1]])
    rates, seen = {"d": [], "g": []}, []

    def look(batch=None, logs=None):
        for name, optimizer in zip("dg", gan.optimizer.optimizers, strict=True):
            rates[name].append(float(optimizer.learning_rate))
        players = {"d": gan.discriminator, "g": gan.generator}
        seen.append({k: [w.numpy() for w in p.trainable_variables] for k, p in players.items()})

    callback = keras.callbacks.LambdaCallback(on_train_begin=look, on_train_batch_end=look)
    gan.fit(images, batch_size=12, epochs=2, callbacks=[callback], verbose=0)
    for name in "dg":
        left = [1, 2 / 3, 1 / 3, 0, 0, 0, 0] if name == resting else [1] * 7
        rate = getattr(recipe, f"{name}_learning_rate")
        np.testing.assert_allclose(rates[name], rate * np.array(left), rtol=1e-5)
        moved = [
            any(np.any(a != b) for a, b in zip(was[name], now[name], strict=True))
            for was, now in itertools.pairwise(seen)
        ]
        assert moved == [True] * 3 + [name != resting] * 3


def test_a_gan_trains_on_its_recipe():
    recipe = tiny(gamma=0.3, likeness=2.5, augment=("translation",), beta_1=0.25)
    gan, plain = build_gan(recipe, 24, 3), build_gan(tiny(gamma=None), 24, 4)
    assert gan.adversarial_loss == losses.Boundary(0.3)
    assert plain.adversarial_loss == losses.NonSaturating()
    # At ½ the boundary loss has nothing to ask for, plain cross-entropy log 2.
    at_half = [float(g.adversarial_loss.fake(keras.ops.zeros(()))) for g in (gan, plain)]
    assert at_half == pytest.approx([0.0, math.log(2)], abs=1e-6)
    assert (gan.content, plain.content) == (LikenessLoss(2.5), None)
    assert (gan.augment.policy, plain.augment) == (("translation",), None)
    d, g = gan.optimizer.optimizers
    assert (float(d.learning_rate), float(g.learning_rate)) == pytest.approx((0.02, 0.01))
    assert (d.beta_1, g.beta_1) == (0.25, 0.25)
    assert gan.latent_shape == (4,)
    for player in ("generator", "discriminator"):  # the seed decides both
        a, b = (getattr(model, player).get_weights()[0] for model in (gan, plain))
        assert a.shape == b.shape
        assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"d_learning_rate": 0.3}, r"d_learning_rate: recipe 0.02, model 0.3"),
        ({"g_filters": 3}, "g_parameters: "),
        ({"d_filters": 2}, "d_parameters: "),
    ],
)
def test_what_does_not_train_by_its_recipe_is_stopped(tmp_path, wrong, message):
    run = Run(tmp_path)
    with cheap():
        gan = build_gan(tiny(**wrong), 24, 0)
        with pytest.raises(RecipeMismatch, match=message):
            boundary_training.train_gan(gan, Trial("a", tiny(), 0), make_data(), run)


# -- the criteria on validation pictures ---------------------------------------------------------


def test_criteria_by_hand():
    data, recipe = make_data(), tiny()
    gan = loud(build_gan(recipe, 24, 0))
    criteria = Criteria(gan, data, recipe)
    latents = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    made = keras.ops.convert_to_numpy(gan.generator(latents, training=False))
    real, trained = data.validation.as_range("signed"), data.train.as_range("signed")[:20]
    d_made, d_real, d_trained = (
        1 / (1 + np.exp(-keras.ops.convert_to_numpy(gan.discriminator(x)).astype("float64")))
        for x in (made, real, trained)
    )

    def correlation(x, y):
        x, y = ((a - a.mean(axis=(0, 1))).ravel() for a in (x, y))
        return x @ y / np.sqrt((x @ x) * (y @ y))

    s3 = np.mean([max(correlation(x, y) for y in real) for x in made])
    wanted = {"s1": d_real.mean(), "s2": np.mean(1 - 4 * (d_made - 0.5) ** 2), "s3": s3}
    assert wanted["s2"] < 0.99
    wanted |= {"score": math.prod(wanted.values()), "s1_train": d_trained.mean()}
    assert abs(wanted["s1_train"] - wanted["s1"]) > 1e-4
    scores = criteria()
    assert list(scores) == [*TRIED, "score", "s1_train"]
    assert scores == pytest.approx(wanted, abs=1e-5)
    assert criteria() == scores  # always of the same latents
    assert criteria.ceiling == s3_ceiling(data.validation.as_range("unit"), "unit").value
    other = Criteria(gan, data, tiny(similarity="cosine"))
    assert other()["s3"] != pytest.approx(s3, abs=1e-3)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_criteria_without_finite_weights(player, bad):
    gan = build_gan(tiny(), 24, 0)
    criteria = Criteria(gan, make_data(), tiny())
    assert criteria()
    model = getattr(gan, player)
    model.set_weights([np.full_like(weight, bad) for weight in model.get_weights()])
    assert criteria() is None


def test_groups_on_both_sides_of_a_given_split(tmp_path):
    """The set's own test part: what is held out must be so."""
    arrays = {"x_train": noise(400, 32, 32, 3), "x_test": noise(90, 32, 32, 3)}
    groups = {"group_train": np.arange(400) // 4, "group_test": 100 + np.arange(90) // 4}
    np.savez(tmp_path / "apart.npz", **arrays, **groups)
    assert len(boundary.load_data(tmp_path / "apart.npz").test) == 90
    np.savez(tmp_path / "shared.npz", **arrays, **groups | {"group_test": 97 + np.arange(90) // 4})
    with pytest.raises(
        DataError, match=r"no group of the training part.*3 groups in both.*such as 97"
    ):
        boundary.load_data(tmp_path / "shared.npz")
