"""The super-resolution study: its trials, the write-up's numbers, and data refused in time."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import arrays, gap
from PIL import Image

from ganlib.backends import variables as weights
from ganlib.content import ContentLoss
from ganlib.data import DataError, Photos
from ganlib.experiment import study as ganlib_study
from ganlib.experiment.profiles import PROFILES
from ganlib.features import perceptual
from ganlib.images import convert, psnr, upscale
from ganlib.losses import AbsoluteError
from ganlib.metrics import super_resolution as metrics
from ganlib.studies import srgan, srgan_attempts, srgan_training
from ganlib.studies.srgan import EPOCHS_A_LOG, RATE_FACTOR, PhotoData, Recipe
from ganlib.studies.srgan_attempts import ATTEMPTS

NAMES = [f"attempt-{i}" for i in range(1, 8)]

# The write-up: learning rates of G and D, weights of the adversarial and the
# perceptual loss, epochs that the log shows, PSNR and SSIM of training and of validation, and the
# last losses of G and D. Attempt 7 notes no settings: they are attempt 6's.
TABLE = {
    "attempt-1": (5e-6, 1e-5, 0.01, 0.10, 2000, 7.29, 0.3482, 9.88, 0.3010, 0.9001, 1.0003),
    "attempt-2": (1e-5, 5e-6, 0.01, 0.20, 2000, 7.26, 0.3643, 9.69, 0.2865, 0.9063, 1.0010),
    "attempt-3": (2e-5, 5e-6, 0.01, 0.30, 3000, 7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
    "attempt-4": (5e-6, 5e-6, 0.01, 0.05, 3000, 7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
    "attempt-5": (1e-4, 2e-6, 0.01, 0.10, 3000, 7.31, 0.3831, 10.2, 0.3602, 0.3109, 1.0005),
    "attempt-6": (2e-4, 2e-6, 0.01, 0.15, 3000, 7.33, 0.4787, 10.3, 0.3816, 0.0529, 1.0050),
    "attempt-7": (2e-4, 2e-6, 0.01, 0.15, 4000, 7.34, 0.4935, 10.7, 0.3915, 0.0254, 1.0047),
}
SCORES = ("train_psnr", "train_ssim", "psnr", "ssim", "g_loss", "d_loss")

every_profile = pytest.mark.parametrize("profile", PROFILES)


def noise(*size):
    return RNG.integers(0, 256, (*size, 3), "uint8")


def smooth(seed, height=48, width=64):
    """A picture of soft blobs, which an upscaler can enlarge."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), "uint8")
    return upscale(coarse, 8)


def make_data():
    parts = (Photos([smooth(seed)], [name]) for seed, name in enumerate(("a", "b", "c/d.png")))
    return PhotoData(*parts)


def write_folder(folder, **sizes):
    """A folder with the three splits, each with two pictures of that size."""
    for split, size in sizes.items():
        (folder / split).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(noise(*size)).save(folder / split / f"{i}.png")
    return folder


# -- trials --------------------------------------------------------------------------------------


@every_profile
@pytest.mark.parametrize("seeds", [None, 1, 2])
def test_trials(profile, seeds):
    study = srgan.build(profile, seeds=seeds)
    count = seeds or {"quick": 1, "cpu": 1, "full": 3}[profile]
    by_seed = [[t.name for t in study.trials if t.seed == seed] for seed in range(count)]
    assert by_seed == [["repaired", *NAMES]] * count
    assert len({trial.id for trial in study.trials}) == len(study.trials) == 8 * count
    for trial in study.trials:
        recipe = trial.recipe
        assert study.epochs(trial) == recipe.pretraining_epochs + recipe.epochs > 0
        assert json.loads(json.dumps(dataclasses.asdict(recipe))) == dataclasses.asdict(recipe)
        assert recipe.patch % recipe.scale == 0


@every_profile
def test_a_worker_builds_the_same_study(profile):
    study = srgan.build(profile, "some/folder", 2)
    again = ganlib_study.build(study.module, json.loads(json.dumps(study.options)))
    assert again.trials == study.trials
    assert {trial.recipe.data for trial in study.trials} == {"some/folder"}


def test_profiles_differ_in_size_and_data():
    quick, full = (srgan.build(profile, seeds=1) for profile in ("quick", "full"))
    assert not {t.id for t in quick.trials} & {t.id for t in full.trials}
    assert {t.recipe.data for t in quick.trials} == {"photos"}
    assert {t.recipe.data for t in full.trials} == {"tfds:div2k/bicubic_x4"}
    paper = full.select("attempt-1").trials[0].recipe
    assert (paper.filters, paper.blocks, paper.d_filters, paper.d_levels) == (64, 16, 64, 4)
    assert (paper.patch, paper.batch_size) == (96, 16)


def test_unknown_profile():
    with pytest.raises(ValueError, match=r"`profile` must be .*Received: profile='fast'"):
        srgan.build("fast")


# -- the attempts --------------------------------------------------------------------------------


def test_attempts_print_what_the_write_up_prints():
    assert [attempt.name for attempt in ATTEMPTS] == NAMES
    for attempt in ATTEMPTS:
        row = TABLE[attempt.name]
        assert attempt.printed == dict(zip(SCORES, row[5:], strict=True))
        assert attempt.epochs == row[4]
        assert attempt.expectation
        assert srgan_attempts.get(attempt.name) is attempt
    assert srgan_attempts.get("repaired") is None


@every_profile
@pytest.mark.parametrize("name", NAMES)
def test_recipes_of_the_attempts_are_the_write_ups(profile, name):
    (trial,) = srgan.build(profile, seeds=1).select(name).trials
    recipe, (g, d, adversarial, perceptual_weight, epochs, *_) = trial.recipe, TABLE[name]
    factor = {**RATE_FACTOR, "full": 1}[profile]
    assert recipe.g_learning_rate == pytest.approx(factor * g)
    assert recipe.d_learning_rate == pytest.approx(factor * d)
    assert (recipe.adversarial, recipe.perceptual) == (adversarial, perceptual_weight)
    assert recipe.epochs * EPOCHS_A_LOG[profile] == epochs
    # As submitted: no pretraining, no skip, its loss, and a comparison in a wrong value range.
    assert recipe.pretraining_epochs == 0
    assert (recipe.generator, recipe.loss, recipe.ema) == ("paper", "absolute_error", 0.0)
    assert recipe.value_range == "signed"
    assert recipe.mistake == srgan.RANGE_MISTAKE


@every_profile
def test_attempt_4_is_a_copy_of_the_numbers_and_not_of_the_settings(profile):
    third, fourth = (srgan_attempts.get(f"attempt-{i}") for i in (3, 4))
    assert third.printed == fourth.printed
    assert third.settings != fourth.settings
    study = srgan.build(profile, seeds=1)
    ids = [study.select(f"attempt-{i}").trials[0].id.rpartition("-")[2] for i in (3, 4)]
    assert ids[0] != ids[1]


def test_contradictions_are_resolved_in_words():
    resolved = {attempt.name: attempt.resolved for attempt in ATTEMPTS}
    assert [name for name, text in resolved.items() if text] == NAMES[3:]
    assert "5e-5" in resolved["attempt-4"]
    assert "4000" in resolved["attempt-5"]
    assert "w_adv" in resolved["attempt-5"]
    assert "1000" in resolved["attempt-6"]
    assert srgan_attempts.get("attempt-7").settings == srgan_attempts.get("attempt-6").settings


def test_repaired_pretrains_and_scores_in_the_right_range():
    for profile in ("quick", "full"):
        recipe = srgan.build(profile, seeds=1).select("repaired").trials[0].recipe
        assert recipe.pretraining_epochs > 0
        assert recipe.epochs > 0
        assert (recipe.generator, recipe.mistake, recipe.value_range) == (
            "residual",
            "none",
            "unit",
        )


@pytest.mark.parametrize("judge", ["filters", "vgg16"])
def test_features_follow_what_is_installed(monkeypatch, judge):
    monkeypatch.setattr(perceptual, "best_at_hand", lambda: judge)
    quick, full = (
        srgan.build(profile, seeds=1).select("repaired").trials[0].recipe
        for profile in ("quick", "full")
    )
    assert (quick.judge, quick.features) == (judge, "filters")
    assert (full.judge, full.features) == (judge, judge)
    assert full.perceptual == srgan.PERCEPTUAL[judge]


# -- what a recipe becomes -----------------------------------------------------------------------


def small(**settings):
    sizes = {"scale": 2, "filters": 4, "blocks": 1, "d_filters": 2, "d_levels": 1}
    return Recipe(**{**sizes, **settings})


def test_an_attempt_trains_on_its_settings():
    attempt = srgan.build("full", seeds=1).select("attempt-2").trials[0].recipe
    recipe = dataclasses.replace(
        attempt, filters=4, blocks=1, d_filters=2, d_levels=1, features="filters"
    )
    players = srgan_training.build_players(recipe, 3, kernel=None)
    gan = srgan_training.build_gan(*players, recipe, 3)
    rates = [float(optimizer.learning_rate) for optimizer in gan.optimizer.optimizers]
    assert rates == pytest.approx([5e-6, 1e-5])  # of D, of G
    assert [optimizer.beta_1 for optimizer in gan.optimizer.optimizers] == [0.9, 0.9]
    assert gan.adversarial_loss == AbsoluteError()
    assert gan.content == ContentLoss(1.0, "l2", 0.2, "filters", "signed")
    assert gan.options["adversarial_weight"] == 0.01
    assert gan.sampler is gan.generator
    assert gan.generator.layers[-1].activation is keras.activations.tanh


@pytest.mark.parametrize("linear_start", [True, False])
def test_what_a_residual_generator_starts_as(linear_start):
    data = make_data()
    recipe = small(linear_start=linear_start)
    kernel = data.kernel(2)
    generator, _ = srgan_training.build_players(recipe, 0, kernel)
    low = convert(smooth(7), "byte", "unit")
    (made,) = generator.predict_on_batch(low[None])
    expected = srgan.enlarge_linearly(smooth(7), kernel, 2) if linear_start else None
    if linear_start:
        assert np.abs(convert(made, "unit", "byte").astype(int) - expected).max() <= 1
    else:
        np.testing.assert_allclose(made, upscale(low, 2), atol=2e-6)


def test_the_seed_decides_both_players():
    def players(seed):
        return [w for m in srgan_training.build_players(small(), seed, None) for w in m.weights]

    first, again, other = (arrays(players(seed)) for seed in (1, 1, 2))
    assert gap(first, again) == 0.0
    assert gap(first, other) > 0.01


def test_validation_keeps_the_best_weights(tmp_path, monkeypatch):
    """Scores of 3, 5, 4: the weights after the first epoch, and the ones before it compete, too."""
    data = make_data()
    model, _ = srgan_training.build_players(small(linear_start=False), 0, None)
    callback = srgan_training.Validation(data.validation, 2, tmp_path / "best.npz")
    callback.set_model(model)
    high = data.validation.images[0]
    bicubic = upscale(metrics.low_resolution(high, 2)[0], 2)
    assert callback.measure() == pytest.approx(
        psnr(bicubic, high, "byte", border=2, luma_only=True), abs=0.05
    )
    scores = iter([3.0, 5.0, 4.0])
    monkeypatch.setattr(callback, "measure", lambda: next(scores))
    bias = model.get_layer("detail").bias
    kept, logs = [], {}
    for moment in ("before", 0, 1):
        bias.assign(np.full(bias.shape, len(kept) / 8))
        if moment == "before":
            callback.on_train_begin()
        else:
            callback.on_epoch_end(moment, logs)
        kept.append((callback.value, callback.epoch))
    assert kept == [(3.0, 0), (5.0, 1), (5.0, 1)]
    assert logs == {"validation_psnr_y": 4.0}
    weights.load(callback.path, model.weights)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(bias), 1 / 8)
    assert [path.name for path in tmp_path.iterdir()] == ["best.npz"]
    resumed = srgan_training.Validation(data.validation, 2, callback.path)
    resumed.set_state(json.loads(json.dumps(callback.get_state())))
    resumed.set_model(model)
    resumed.on_train_begin()  # asks for no measurement and leaves the file alone
    assert (resumed.value, resumed.epoch) == (5.0, 1)


def test_scores_as_measured_and_as_printed(tmp_path):
    data, recipe = make_data(), small(mistake="denormalised twice", linear_start=False)
    generator, _ = srgan_training.build_players(recipe, 0, None)
    scores = srgan_training.score(generator, recipe, data, ganlib_study.Run(tmp_path))
    (bicubic,) = data.baselines(recipe)["bicubic"]
    for key in ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"):
        assert scores[key] == pytest.approx(bicubic[key], rel=0.01)
    low, high = metrics.low_resolution(data.test.images[0], 2)
    printed = metrics.printed_scores(upscale(low, 2), high, "denormalised twice")
    assert scores["printed_psnr"] == pytest.approx(printed["psnr"], rel=0.01)
    assert scores["printed_ssim"] == pytest.approx(printed["ssim"], abs=0.01)
    assert scores["n"] == 1
    assert [row["name"] for row in scores["pictures"]] == ["c/d.png"]
    with Image.open(tmp_path / "samples" / "c_d_png.png") as sample:
        assert sample.size == (64, 48)


@pytest.mark.parametrize(
    ("name", "expected"), [("test/0.png", "test_0_png"), ("../é x", "___é_x"), ("a-b_1", "a-b_1")]
)
def test_names_of_samples_leave_no_folder(name, expected):
    assert srgan_training.safe_name(name) == expected


# -- data ----------------------------------------------------------------------------------------


def test_photo_data():
    data, again = make_data(), make_data()
    assert data.checksum == again.checksum
    assert len(data.checksum) == 48
    other = dataclasses.replace(data, test=data.train)
    assert data.checksum != other.checksum
    assert data.kernel(2) is data.kernel(2)
    assert data.kernel(2).shape == (5, 5, 4)


def test_the_linear_upscaler_fits_the_training_pictures():
    # By least squares, so that no other kernel does better there: not bicubic's either.
    data = make_data()
    errors = {}
    low, high = metrics.low_resolution(data.train.images[0], 2)
    for name, large in {
        "linear": srgan.enlarge_linearly(low, data.kernel(2), 2),
        "bicubic": upscale(low, 2),
    }.items():
        errors[name] = np.mean((large.astype("float64") - high) ** 2)
    assert errors["linear"] <= errors["bicubic"]


def test_baselines_are_measured_as_a_network_is():
    data, recipe = make_data(), small(judge="filters", judged_side=20)
    baselines = data.baselines(recipe)
    assert list(baselines) == ["flat grey", "bicubic", "linear"]
    expected = metrics.evaluate(
        lambda low: upscale(low, 2), data.test, 2, perceptual.FilterBank(), 20
    )
    assert baselines["bicubic"] == expected
    assert baselines["flat grey"][0]["psnr_y"] < baselines["bicubic"][0]["psnr_y"]


def test_data_from_a_folder(tmp_path):
    folder = write_folder(tmp_path / "set", train=(64, 70), validation=(40, 33), test=(32, 50))
    data = srgan.build("quick", folder).load_data()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 2]
    assert data.name == "set"
    assert data.test.names == ("test/0.png", "test/1.png")
    assert not data.synthetic


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": (63, 80)}, r"smaller than a patch of 64×64.*Received: train/0.png \(63×80\)"),
        ({"validation": (31, 80)}, r"patch of 32×32.*Received: validation/0.png \(31×80\)"),
        ({"test": (80, 20)}, r"patch of 32×32.*Received: test/0.png \(80×20\)"),
    ],
)
def test_small_pictures_are_refused_before_training(tmp_path, sizes, message):
    good = {"train": (64, 64), "validation": (40, 40), "test": (40, 40)}
    folder = write_folder(tmp_path / "set", **{**good, **sizes})
    with pytest.raises(DataError, match=message):
        srgan.build("quick", folder).load_data()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_truncated_picture_is_refused_before_training(tmp_path, split):
    sizes = dict.fromkeys(("train", "validation", "test"), (64, 64))
    folder = write_folder(tmp_path / "set", **sizes)
    path = folder / split / "1.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=f"{split}/1.png"):
        srgan.build("quick", folder).load_data()


def test_no_pictures(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        srgan.build("quick", tmp_path / "missing").load_data()
    for split in ("train", "validation", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
    with pytest.raises(DataError):
        srgan.build("quick", tmp_path / "set").load_data()
