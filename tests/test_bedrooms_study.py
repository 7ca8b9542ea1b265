"""The bedroom study: its trials, and what a trial leaves behind."""

import dataclasses
import json
import math
from unittest import mock

import keras
import numpy as np
import pandas
import pytest
from PIL import Image
from tiny_bedrooms import NETWORK, SIZES, cheap, ever_worse, make_data, make_study, tiny

from ganlib.apply import draw_latents, load_gan, make_images, untile
from ganlib.callbacks import best as selection
from ganlib.data.rooms import rooms
from ganlib.experiment import study as ganlib_study
from ganlib.experiment.fit import RecipeMismatch
from ganlib.experiment.profiles import PROFILES
from ganlib.experiment.study import Run, Trial, run_folder, run_trial
from ganlib.features import networks
from ganlib.studies import bedrooms, bedrooms_scoring, bedrooms_training
from ganlib.studies.bedrooms import BedroomData, Recipe

# Variation → what it is compared with, and the one field that it changes.
CHANGES = {
    "batch-256": ("batch-128", "batch_size"),
    "batch-32": ("batch-128", "batch_size"),
    "slow-discriminator": ("batch-128", "d_learning_rate"),
    "transposed": ("repaired", "upsample"),
    "no-augmentation": ("repaired", "augment"),
    "equal-rates": ("repaired", "d_learning_rate"),
    "no-spectral-norm": ("repaired", "d_normalisation"),
}
NAMES = ["repaired", *list(CHANGES)[3:], "batch-128", *list(CHANGES)[:3]]
QUICK = [name for name in NAMES if name in bedrooms.QUICK_NAMES]

uncompiled = mock.patch.object(bedrooms_training.Adversarial, "compile")
every_profile = pytest.mark.parametrize("profile", PROFILES)


# -- trials --------------------------------------------------------------------------------------


def recipes(profile, **options):
    return {
        trial.name: trial.recipe for trial in bedrooms.build(profile, seeds=1, **options).trials
    }


@every_profile
@pytest.mark.parametrize("seeds", [None, 2])
def test_trials(profile, seeds):
    study = bedrooms.build(profile, seeds=seeds)
    count = seeds or {"quick": 1, "cpu": 1, "full": 3}[profile]
    by_seed = [[t.name for t in study.trials if t.seed == seed] for seed in range(count)]
    names = QUICK if profile == "quick" else NAMES
    assert by_seed == [names] * count
    assert len({trial.id for trial in study.trials}) == len(study.trials) == len(names) * count
    for trial in study.trials:
        recipe = trial.recipe
        assert study.epochs(trial) == recipe.epochs > 0
        read = Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe))))
        assert Trial(trial.name, read, trial.seed).id == trial.id
        assert recipe.judged >= 6 < recipe.samples  # fewer can't be scored


@every_profile
def test_a_worker_builds_the_same_study(profile):
    study = bedrooms.build(profile, "some/folder", 2, {"epochs": 7, "truncations": [0.5]})
    again = ganlib_study.build(study.module, json.loads(json.dumps(study.options)))
    assert again.trials == study.trials
    assert {trial.recipe.data for trial in study.trials} == {"some/folder"}
    assert {study.epochs(trial) for trial in study.trials} == {7}


@every_profile
def test_a_variation_changes_what_it_is_about_and_nothing_else(profile):
    found = recipes(profile)
    for name, (base, field) in CHANGES.items():
        if name not in found:
            continue
        mine, other = (dataclasses.asdict(found[n]) for n in (name, base))
        different = {key for key in mine if mine[key] != other[key]}
        # The truncation curve is the repaired recipe's alone; it takes no part in training.
        assert different - {"truncations"} == {field}, name
        assert bool(mine["truncations"]) == (name == "repaired")
    base, repaired = found["batch-128"], found["repaired"]
    if profile == "full":
        assert [found[f"batch-{n}"].batch_size for n in (32, 128, 256)] == [32, 128, 256]
        slow, equal = found["slow-discriminator"], found["equal-rates"]
        assert slow.d_learning_rate == pytest.approx(base.d_learning_rate / 4)
        assert equal.d_learning_rate == equal.g_learning_rate == repaired.g_learning_rate
    assert repaired.truncations
    assert repaired.ema > 0
    assert {r.epochs for r in found.values()} == {base.epochs}  # they share data and length
    assert {r.size for r in found.values()} == {base.size}


@pytest.mark.parametrize("batch_size", [128, 256])
def test_the_assignment_as_stated(batch_size):
    recipe = recipes("full")[f"batch-{batch_size}"]
    assert recipe.batch_size == batch_size
    assert (recipe.networks, recipe.size, recipe.latent_dim) == ("assignment", 64, 100)
    assert recipe.epochs == 400
    assert (recipe.g_learning_rate, recipe.d_learning_rate, recipe.beta_1) == (1e-4, 1e-4, 0.9)
    assert (recipe.augment, recipe.ema, recipe.r1, recipe.update) == ((), 0.0, 0.0, "joint")
    assert recipe.data == "tfds:lsun/bedroom"
    expected = bedrooms_training.expected(recipe, 20_000)
    assert expected == {
        "d_learning_rate": 1e-4,
        "g_learning_rate": 1e-4,
        "batch_size": batch_size,
        "g_parameters": 2_733_507,
        "d_parameters": 940_801,
    }


def test_profiles_share_no_trial():
    quick, full = (bedrooms.build(profile, seeds=1) for profile in ("quick", "full"))
    assert not {t.id for t in quick.trials} & {t.id for t in full.trials}
    assert {t.recipe.data for t in quick.trials} == {"rooms"}


@pytest.mark.parametrize("path", [None, "weights.h5"])
def test_the_network_follows_what_is_at_hand(monkeypatch, path):
    monkeypatch.setattr(networks, "inception_weights", lambda: path)
    (quick,), (full,) = ({r.network for r in recipes(p).values()} for p in ("quick", "full"))
    assert quick.startswith("efficientnet_lite0")
    assert full == "inception_v3" if path else full.startswith("efficientnet_lite0")


@every_profile
def test_changes_reach_all_recipes_and_the_data(monkeypatch, profile):
    study = bedrooms.build(profile, changes={"size": 48, "ema": 0.5})
    assert {(t.recipe.size, t.recipe.ema) for t in study.trials} == {(48, 0.5)}
    monkeypatch.setattr(bedrooms, "load_data", lambda *args: args)
    assert study.load_data() == (study.options["data"], 48, bedrooms.MOST[profile])
    plain = bedrooms.build(profile)
    assert not {t.id for t in study.trials} & {t.id for t in plain.trials}
    assert plain.load_data()[1] == plain.trials[0].recipe.size


def test_what_can_not_be_built():
    with pytest.raises(ValueError, match=r"`profile` must be .*Received: profile='fast'"):
        bedrooms.build("fast")
    with pytest.raises(ValueError, match="no such field"):
        bedrooms.build("quick", changes={"epoch": 5})


# -- what a recipe becomes -----------------------------------------------------------------------


def shape(recipe):
    """What decides on the number of parameters."""
    return tuple(
        getattr(recipe, name)
        for name in ("networks", "size", "filters", "latent_dim", "upsample", "d_normalisation")
    )


@every_profile
def test_parameters_are_those_of_the_builders(profile):
    """The closed form of `expected` against the built players, for every variation."""
    distinct = {shape(recipe): recipe for recipe in recipes(profile).values()}
    assert len(distinct) >= 3
    # Ten million normal numbers would take a while.
    no_kernels = mock.patch.object(
        bedrooms_training.dcgan, "_kernels", return_value=keras.initializers.Zeros
    )
    with no_kernels, uncompiled:
        for recipe in distinct.values():
            gan = bedrooms_training.build_gan(dataclasses.replace(recipe, ema=0.0), 0)
            expected = bedrooms_training.expected(recipe, 10_000)
            assert gan.generator.count_params() == expected["g_parameters"], recipe
            assert gan.discriminator.count_params() == expected["d_parameters"], recipe
            assert gan.generator.output_shape[1:] == (recipe.size, recipe.size, 3)


@uncompiled
@pytest.mark.parametrize(
    ("norm", "upsample"), [("batch", "transpose"), (None, "transpose"), (None, "resize")]
)
def test_parameters_of_other_dcgans(compile, norm, upsample):
    options = {"size": 16, "filters": 3, "upsample": upsample, "d_normalisation": norm}
    gan = bedrooms_training.build_gan(recipe := tiny("dcgan", **options), 0)
    expected = bedrooms_training.expected(recipe, 10)
    assert gan.generator.count_params() == expected["g_parameters"]
    assert gan.discriminator.count_params() == expected["d_parameters"]
    assert expected["batch_size"] == 10  # no more than there are


def test_a_gan_trains_on_its_recipe():
    recipe = tiny("dcgan", g_learning_rate=3e-4, d_learning_rate=7e-4, beta_1=0.25, r1=0.5)
    gan = bedrooms_training.build_gan(recipe, 3)
    d, g = gan.optimizer.optimizers
    assert (float(d.learning_rate), float(g.learning_rate)) == pytest.approx((7e-4, 3e-4))
    assert (d.beta_1, g.beta_1) == (0.25, 0.25)
    for name in ("update", "r1", "ema"):
        assert gan.options[name] == getattr(recipe, name)
    assert gan.augment.policy == recipe.augment
    assert gan.latent_shape == (4,)
    plain = bedrooms_training.build_gan(tiny(), 3)
    assert plain.augment is None
    assert plain.sampler is plain.generator


@uncompiled
@pytest.mark.parametrize("networks", ["assignment", "dcgan"])
def test_the_seed_decides_both_players(compile, networks):
    first, other = (bedrooms_training.build_gan(tiny(networks), seed) for seed in (1, 2))
    for player in ("generator", "discriminator"):
        a, b = (getattr(gan, player).get_weights()[0] for gan in (first, other))
        assert a.shape == b.shape
        assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"d_learning_rate": 0.3}, r"d_learning_rate: recipe 0.03, model 0.3"),
        ({"filters": 3}, r"d_parameters: .*; g_parameters|g_parameters: .*; d_parameters"),
    ],
)
def test_what_does_not_train_by_its_recipe_is_stopped(tmp_path, wrong, message):
    recipe, data = tiny(epochs=1), make_data()
    run = Run(tmp_path / "run")
    run.path.mkdir()
    with cheap():
        gan = bedrooms_training.build_gan(dataclasses.replace(recipe, **wrong), 0)
        with pytest.raises(RecipeMismatch, match=message):
            bedrooms_training.train_gan(gan, Trial("a", recipe, 0), data, run, tmp_path)


# -- a trial, from its recipe to its result ------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(study, results by name, data, out)` of two trials whose first score is their best."""
    out, data = tmp_path_factory.mktemp("runs"), make_data()
    study = make_study(data, assignment=tiny(), repaired=tiny("dcgan"))
    results = {}
    for trial in study.trials:
        with cheap(), ever_worse():
            results[trial.name] = run_trial(study, trial, data, out)
    assert [r["status"] for r in results.values()] == ["done", "done"], results
    return study, results, data, out


both = pytest.mark.parametrize("name", ["assignment", "repaired"])


def folder_of(finished, name):
    study, results, _, out = finished
    return run_folder(study, study.trial(results[name]["id"]), out)


@both
def test_what_a_trial_tells(finished, name):
    study, results, data, _ = finished
    metrics, recipe = results[name]["metrics"], study.select(name).trials[0].recipe
    assert (metrics["epochs"], metrics["best_epoch"]) == (3, 2)
    scores = metrics["scores"]
    assert set(scores) == {"best", "last"} | ({"unaveraged"} if name == "repaired" else set())
    for each in scores.values():
        assert set(selection.SCORES) < set(each)
        assert all(math.isfinite(each[key]) for key in selection.SCORES)
        assert (each["n_real"], each["n_fake"]) == (SIZES["test"], recipe.samples)
        assert each["network"] == "projection"
    assert len({each["kid"] for each in scores.values()}) == len(scores)
    assert [point["truncation"] for point in metrics["truncation"]] == list(recipe.truncations)
    assert all(point["n_fake"] == recipe.samples for point in metrics["truncation"])
    near = metrics["neighbours"]
    assert near["n"] == recipe.samples
    assert near["distance"] > 0 < near["held_out_distance"]
    assert 0 <= near["copies"] <= 1
    assert metrics["spread"] > 0
    assert metrics["styles"]["n"] == 30  # the data are rooms
    assert metrics["seconds_per_epoch"] > 0
    expected = bedrooms_training.expected(recipe, len(data.train))
    assert {k: metrics[k] for k in ("g_parameters", "d_parameters")}.items() <= expected.items()


@both
def test_what_a_trial_leaves_behind(finished, name):
    folder = folder_of(finished, name)
    assert json.loads((folder / "result.json").read_text())["status"] == "done"
    history = pandas.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    for key in selection.SCORES:
        assert list(history[key].notna()) == [False, True, True]
    assert history[["d_loss", "g_loss"]].notna().all(axis=None)
    assert not (folder / "checkpoints").exists()
    grids = sorted(path.name for path in (folder / "samples").iterdir())
    assert grids == ["epoch-0002.png", "epoch-0003.png"]
    for path, size in {"samples/epoch-0002": (256, 256), "interpolation": (256, 128)}.items():
        with Image.open(folder / f"{path}.png") as picture:
            assert picture.size == size
    with Image.open(folder / "neighbours.png") as picture:  # a column a training picture
        assert picture.width in range(32, 257, 32)
        assert picture.height == 64


@both
def test_the_saved_model_makes_the_pictures_of_the_kept_epoch(finished, name):
    study, results, data, _ = finished
    folder, metrics = folder_of(finished, name), results[name]["metrics"]
    recipe = study.select(name).trials[0].recipe
    gan = load_gan(folder / "model.keras")
    real = NETWORK(data.test).features
    latents = draw_latents(gan, recipe.samples, bedrooms_scoring.SCORED)
    scores = selection.score(gan.sampler, latents, NETWORK, real)
    kept, last = (metrics["scores"][which]["kid"] for which in ("best", "last"))
    assert scores["kid"] == pytest.approx(kept, rel=1e-4)
    assert scores["kid"] != pytest.approx(last, rel=1e-3)
    images = make_images(gan.sampler, draw_latents(gan, 64))
    gaps = {}
    for epoch in (2, 3):
        with Image.open(folder / "samples" / f"epoch-{epoch:04d}.png") as picture:
            saved = untile(np.asarray(picture), 32)
        gaps[epoch] = np.abs(saved / 255 - images).max()
    assert gaps[2] < 1 / 255 < gaps[3]  # rounded to 8 bits


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(finished, tmp_path):
    study, results, data, _ = finished
    (trial,) = study.select("repaired").trials
    epochs = []

    def interrupt(epoch, _):
        epochs.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with cheap(), ever_worse():
        with pytest.raises(KeyboardInterrupt):
            run_trial(study, trial, data, tmp_path, interrupt)
        assert Run(run_folder(study, trial, tmp_path)).result() is None
        resumed = run_trial(study, trial, data, tmp_path, lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3]
    both = [dict(result["metrics"]) for result in (resumed, results["repaired"])]
    for metrics in both:
        del metrics["seconds_per_epoch"]
    assert ganlib_study.plain(both[0]) == ganlib_study.plain(both[1])


def test_weights_that_are_not_finite_end_a_trial_with_what_was_kept(tmp_path):
    """A learning rate beyond all reason: the trial stops, and its first weights are scored."""
    data = make_data("photos")
    study = make_study(data, broken=tiny(g_learning_rate=1e30, d_learning_rate=1e30))
    with cheap():
        result = run_trial(study, study.trials[0], data, tmp_path)
    assert result["status"] == "stopped", result
    metrics = result["metrics"]
    assert (metrics["best_epoch"], metrics["scores"]["last"]) == (0, None)
    assert metrics["epochs"] < 3
    assert math.isfinite(metrics["scores"]["best"]["kid"])
    assert any(finding["check"] == "non_finite_loss" for finding in metrics["findings"])
    assert metrics["styles"] is None  # only rooms have any


# -- memory --------------------------------------------------------------------------------------


def test_copies_of_training_pictures_are_found_and_new_ones_are_not(tmp_path):
    drawn = rooms(size=32, train=700, test=0)
    mixed = np.random.default_rng(0).permutation(700)
    train, validation, new = (drawn.subset(part) for part in np.split(mixed, [400, 500]))
    data = BedroomData(train, validation, validation)
    run = Run(tmp_path / "run")

    def measured(pictures):
        images = pictures.as_range("unit")
        features = NETWORK(images, "unit").features
        return bedrooms_scoring._neighbours(images, features, tiny(), data, run, tmp_path)

    with cheap():
        copied, fresh = measured(train.subset(slice(150))), measured(new)
    assert copied["copies"] == 1.0
    assert copied["distance"] == 0.0
    assert fresh["copies"] < 0.06
    assert fresh["distance"] == pytest.approx(fresh["held_out_distance"], rel=0.2)
    assert (copied["n"], fresh["n"]) == (150, len(new))


def test_the_nearest_pairs_are_saved(tmp_path):
    data, run = make_data(), Run(tmp_path / "run")
    images = np.concatenate([np.ones((10, 32, 32, 3)), data.train.as_range("unit")[:8]])
    images = images.astype("float32")
    features = NETWORK(images, "unit").features
    with cheap():
        bedrooms_scoring._neighbours(images, features, tiny(), data, run, tmp_path)
    with Image.open(run.path / "neighbours.png") as picture:
        made, training = np.split(untile(np.asarray(picture), 32), 2)
    np.testing.assert_array_equal(made, training)
    assert {image.tobytes() for image in made} == {x.tobytes() for x in data.train.images[:8]}


def test_styles_are_counted_for_rooms_alone():
    gan = bedrooms_training.build_gan(tiny(), 0)
    with cheap():
        found = bedrooms_scoring._styles(gan, make_data())
        assert bedrooms_scoring._styles(gan, make_data("photos")) is None
    assert found["n"] == 30
    assert found["missing_styles"] >= 1152 - 30
    json.dumps(ganlib_study.plain(found))
