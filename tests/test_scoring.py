"""`ganlib score`: a model beside its ceiling, its floor, and what needs no network."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from typer.testing import CliRunner

from ganlib.__main__ import app
from ganlib.adversarial import Adversarial
from ganlib.apply import load_gan, load_upscaler, sample_images
from ganlib.data import DataError, MaskedImages, load_masks, load_photos
from ganlib.data.rooms import rooms
from ganlib.metrics.boundary import SIMILARITIES
from ganlib.models import boundary, dcgan
from ganlib.models.linear import bicubic_kernel
from ganlib.models.srgan import build_generator
from ganlib.scoring import (
    load_held_out,
    score_boundary_gan,
    score_gan,
    score_segmenter,
    score_upscaler,
)

SCORES = {"psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of several kinds, one of odd size."""
    path = tmp_path_factory.mktemp("high")
    photo = pictures.astronaut()[:97, 100:203]
    Image.fromarray(photo).save(path / "rgb.png")
    Image.fromarray(photo).convert("L").save(path / "grey.png")
    Image.fromarray(photo).convert("P").save(path / "palette.png")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network, which is bicubic interpolation."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    build_generator(3, filters=2, blocks=1, kernel=bicubic_kernel(3)).save(path)
    return path


def test_an_untrained_network_scores_as_bicubic_and_the_linear_upscaler_higher(folder, model):
    result = CliRunner().invoke(
        app, ["score", "sr", str(model), str(folder), "--scale", "3", "--json"]
    )
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores.keys() == {"model", "bicubic", "linear", "n"}
    assert scores["n"] == 3
    for name in ("model", "bicubic", "linear"):
        assert scores[name].keys() == SCORES
    for key in SCORES:  # but for rounding in float32
        assert scores["model"][key] == pytest.approx(scores["bicubic"][key], rel=1e-3)
    assert scores["linear"]["psnr_y"] > scores["bicubic"]["psnr_y"] + 0.1


def test_the_embedded_test_pictures_are_scored_and_a_table_is_printed(model):
    result = CliRunner().invoke(app, ["score", "sr", str(model), "photos", "--scale", "3"])
    assert result.exit_code == 0, result.output
    assert f"Means over {len(load_photos('photos', 'test'))} pictures" in result.output


def test_a_model_of_another_scale_is_refused(folder, model):
    with pytest.raises(DataError, match=r"enlarges by 3.*Received: scale=4"):
        score_upscaler(load_upscaler(model), folder, 4)


def test_a_truncated_picture_is_refused(folder, model, tmp_path):
    whole = (folder / "rgb.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.png cannot be read"):
        score_upscaler(load_upscaler(model), tmp_path, 3)


def test_a_picture_too_small_to_compare_is_named(model, tmp_path):
    Image.fromarray(np.zeros((20, 40, 3), "uint8")).save(tmp_path / "stamp.png")
    with pytest.raises(DataError, match=r"stamp\.png \(20×40\)"):
        score_upscaler(load_upscaler(model), tmp_path, 3)


def test_a_model_in_the_wrong_range_is_refused(folder, tmp_path):
    inner = build_generator(3, filters=2, blocks=1)
    twice = keras.layers.Rescaling(0.5, 0.5)(inner.output)  # denormalised once too often
    wrong = keras.Model(inner.input, twice)
    with pytest.raises(DataError, match=r"'model' can't be scored.*denormalised twice"):
        score_upscaler(wrong, folder, 3)


# -- ganlib score gan ----------------------------------------------------------------------------

GAN_SCORES = {"kid", "kid_standard_error", "frechet", "inception_score", "precision", "recall"} | {
    "density",
    "coverage",
    "network",
    "n_real",
    "n_fake",
}


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """An untrained GAN of 32×32 RGB pictures."""
    players = dcgan.build_generator(32, filters=4), dcgan.build_discriminator(32, filters=4)
    path = tmp_path_factory.mktemp("gan") / "model.keras"
    model = Adversarial(*players)
    model.compile()
    model.save(path)
    return path


def test_a_gan_stands_between_real_images_and_noise(gan, tmp_path):
    np.savez(tmp_path / "rooms.npz", x=rooms("test", size=32, train=8, test=120).images)
    result = CliRunner().invoke(
        app, ["score", "gan", str(gan), str(tmp_path / "rooms.npz"), "-n", "100", "--json"]
    )
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    real, noise = scores["baselines"]["real"], scores["baselines"]["noise"]
    for row in (scores, real, noise):
        assert row.keys() >= GAN_SCORES
    assert (scores["n_real"], scores["n_fake"]) == (60, 100)
    assert scores["network"] == "EfficientNet-Lite0"
    assert abs(real["kid"]) < 4 * real["kid_standard_error"]
    assert scores["kid"] > 10 * abs(real["kid"])
    assert noise["kid"] > 10 * abs(real["kid"])
    assert real["coverage"] > 0.8 > 0.2 > scores["coverage"]
    assert any("Fréchet" in caution for caution in scores["cautions"])


def test_too_few_real_images_and_an_unknown_network_are_refused(gan, tmp_path):
    np.savez(tmp_path / "few.npz", x=rooms("test", size=32, train=8, test=20).images)
    loaded = load_gan(gan)
    with pytest.raises(DataError, match="20 images, at least 100 needed"):
        score_gan(loaded, tmp_path / "few.npz")
    with pytest.raises(ValueError, match="Received: 'vgg'"):
        score_gan(loaded, tmp_path / "few.npz", network="vgg")


def test_a_broken_test_part_is_not_replaced_by_training_images(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.fromarray(pictures.astronaut()[:64, :64]).save(tmp_path / part / "a.png")
    whole = (tmp_path / "test" / "a.png").read_bytes()
    assert len(load_held_out(tmp_path, (32, 32, 3))) == 1
    (tmp_path / "test" / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        load_held_out(tmp_path, (32, 32, 3))
    (tmp_path / "test" / "a.png").unlink()
    (tmp_path / "test").rmdir()
    assert len(load_held_out(tmp_path, (32, 32, 3))) == 1  # no parts: all of it


# -- ganlib score boundary -----------------------------------------------------------------------

FIRST = ["s1", "s2", "s3", "score", "s3_real", "s3_noise", "n"]
BOUNDARY_SCORES = [*FIRST, "s3_flat", "s3_mean", "s3_back", "n_real", "similarity"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A file of pictures in two parts: 30 to train on, 12 held out."""
    path = tmp_path_factory.mktemp("cells") / "cells.npz"
    train, test = (
        rooms(part, size=32, train=30, test=12).images.astype("float32") / 255
        for part in ("train", "test")
    )
    np.savez(path, x_train=train, x_test=test)
    return path


def make_boundary_gan(deviation, picture=0.5, size=32, channels=3):
    """Its pictures are `picture`, and noise where `deviation` is above 0."""
    shape = (size, size, channels)
    generator = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(size * size * channels),
            keras.layers.Reshape(shape),
            keras.layers.Activation("sigmoid"),
        ]
    )
    picture = np.broadcast_to(np.clip(picture, 1e-6, 1 - 1e-6), shape).ravel()
    kernel = np.random.default_rng(1).normal(0, deviation, (64, picture.size))
    generator.set_weights([kernel, np.log(picture / (1 - picture))])
    discriminator = dcgan.build_discriminator(size, channels, 2, normalisation=None)
    gan = Adversarial(generator, discriminator, "boundary")
    gan.compile()
    return gan


@pytest.fixture(scope="module")
def boundary_gan():
    """The study's own networks, untrained; D's logits are some way from 0."""
    gan = Adversarial(
        boundary.build_generator(2), boundary.build_discriminator(2), "boundary", seed=0
    )
    gan.compile()
    kernel, bias = gan.discriminator.get_layer("logits").get_weights()
    gan.discriminator.get_layer("logits").set_weights([20 * kernel, bias + 0.5])
    return gan


def invoke(*arguments):
    return CliRunner().invoke(app, ["score", "boundary", *map(str, arguments)])


def test_the_boundary_score_by_hand(boundary_gan, cells):
    scores = score_boundary_gan(boundary_gan, cells, n=9, seed=3)
    real, fake = np.load(cells)["x_test"], sample_images(boundary_gan, 9, 3)
    d_real, d_fake = (
        1 / (1 + np.exp(-keras.ops.convert_to_numpy(boundary_gan.discriminator(2 * x - 1))))
        for x in (real, fake)
    )
    assert np.ptp(d_real) > 0.01
    s1, s2 = d_real.mean(), np.mean(1 - 4 * (d_fake - 0.5) ** 2)
    assert abs(s1 - 0.5) > 0.01
    assert s2 < 0.999

    def detail(x):  # without each picture's mean colour, of length 1
        x = (x - x.mean(axis=(1, 2), keepdims=True)).reshape(len(x), -1)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    s3 = (detail(fake) @ detail(real).T).max(axis=1).mean()
    assert scores["s1"] == pytest.approx(s1, rel=1e-5)
    assert scores["s2"] == pytest.approx(s2, rel=1e-5)
    assert scores["s3"] == pytest.approx(s3, abs=1e-5)
    assert scores["score"] == pytest.approx(s1 * s2 * s3, abs=1e-5)
    assert (scores["n"], scores["n_real"]) == (9, 12)
    assert scores["similarity"] == "correlation"


def test_as_many_pictures_as_real_ones(boundary_gan, cells):
    scores = score_boundary_gan(boundary_gan, cells)
    assert scores.keys() == set(BOUNDARY_SCORES)
    assert (scores["n"], scores["n_real"]) == (12, 12)  # the test part
    assert scores == score_boundary_gan(boundary_gan, cells, n=12, seed=0)
    assert scores != score_boundary_gan(boundary_gan, cells, seed=1)
    every = score_boundary_gan(boundary_gan, np.load(cells)["x_train"])
    assert (every["n"], every["n_real"]) == (30, 30)  # no parts: all of it


def test_a_generator_of_noise_scores_as_noise(cells):
    scores = score_boundary_gan(make_boundary_gan(0.2), cells, n=50)
    assert scores["s3"] == pytest.approx(scores["s3_noise"], abs=0.01)
    assert scores["s3_real"] > scores["s3_noise"] + 0.2


def test_what_cannot_be_scored_as_a_boundary_gan(boundary_gan, cells):
    with pytest.raises(ValueError, match=r"'correlation', .*Received: 'mse'"):
        score_boundary_gan(boundary_gan, "nowhere", similarity="mse")  # said before all else
    one = np.load(cells)["x_test"][:1]
    with pytest.raises(DataError, match="1 images, at least 2 needed"):
        score_boundary_gan(boundary_gan, one)
    with pytest.raises(ValueError, match=r"SSIM needs 11×11 pixels.*8, 8"):
        score_boundary_gan(make_boundary_gan(1, size=8), cells, similarity="ssim")
    nan_pictures = make_boundary_gan(np.nan)
    with pytest.raises(DataError, match=r"generator's pictures.*score a model saved earlier"):
        score_boundary_gan(nan_pictures, cells)
    nan_logits = make_boundary_gan(1)
    nan_logits.discriminator.set_weights(
        [np.nan * w for w in nan_logits.discriminator.get_weights()]
    )
    with pytest.raises(DataError, match=r"discriminator's logits.*Received: 17 of 17 values"):
        score_boundary_gan(nan_logits, cells, n=5)


def test_the_boundary_command(boundary_gan, cells, tmp_path):
    boundary_gan.save(tmp_path / "model.keras")
    how = [tmp_path / "model.keras", cells, "-n", 5, "--seed", 2]
    result = invoke(*how, "--similarity", "cosine", "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert list(scores) == BOUNDARY_SCORES
    wanted = score_boundary_gan(boundary_gan, cells, 5, 2, "cosine")
    assert scores["score"] == scores["s1"] * scores["s2"] * scores["s3"]
    assert scores.pop("similarity") == wanted.pop("similarity") == "cosine"
    assert scores == pytest.approx(wanted, rel=1e-5)

    result = invoke(*how, "--similarity", "mse")
    assert result.exit_code == 2
    assert "Received: 'mse'" in result.output
    assert result.stdout == ""
    help_text = " ".join(invoke("--help").output.split())
    assert all(name in help_text for name in SIMILARITIES)


@pytest.mark.parametrize("copies", [False, True])
def test_the_boundary_table(cells, tmp_path, copies):
    """A generator that only knows one of the real pictures stands above the ceiling."""
    picture = np.load(cells)["x_test"][3] if copies else 0.5
    gan = make_boundary_gan(0.0 if copies else 0.2, picture)
    gan.save(tmp_path / "model.keras")
    result = invoke(tmp_path / "model.keras", cells)
    assert result.exit_code == 0, result.output
    wanted = score_boundary_gan(gan, cells)
    assert (wanted["s3"] > wanted["s3_real"]) == copies
    names = {
        "generated": "s3",
        "real pictures (ceiling)": "s3_real",
        "noise (floor)": "s3_noise",
        "each of one colour": "s3_flat",
        "the mean picture": "s3_mean",
    }
    header, *rows = (line.split() for line in result.stdout.splitlines()[: 1 + len(names)])
    assert header == ["pictures", "s3"]
    for (name, key), (*words, value) in zip(names.items(), rows, strict=True):
        assert (" ".join(words), float(value)) == (name, pytest.approx(wanted[key], abs=1e-4))
    for key in ("s1", "s2", "score"):
        assert f"{key} {wanted[key]:.4f}" in result.stdout
    assert ("does not mean better than real" in result.stdout) == copies


# -- ganlib score segmentation -------------------------------------------------------------------

OVERLAPS = ["jaccard", "dice", "jaccard_soft", "dice_soft"]


@pytest.fixture(scope="module")
def brightness(tmp_path_factory):
    """A model that finds what is brighter than half, and its file."""
    inputs = keras.Input((None, None, 1))
    convolution = keras.layers.Conv2D(1, 1)
    model = keras.Model(inputs, convolution(inputs))
    convolution.set_weights([np.full((1, 1, 1, 1), 1e4), np.array([-0.5e4])])
    path = tmp_path_factory.mktemp("brightness") / "model.keras"
    model.save(path)
    return model, path


def masked(**options):
    """Three images of different sizes; bright where the mask is, but for two strips."""
    masks = [np.zeros(shape, "uint8") for shape in ((5, 8), (20, 12), (7, 7))]
    masks[0][:, :4] = masks[1][4:10] = 1  # 20 and 72 pixels of 40 and 240
    images = [255 * mask for mask in masks]
    images[0][0, :4] = 0  # 4 pixels missed
    images[1][0] = 255  # 12 pixels too many
    return MaskedImages(images, masks, name="strips", **options)


def test_segmentation_by_hand(brightness):
    scores = score_segmenter(brightness[0], masked())
    assert scores["jaccard"] == pytest.approx((92 - 4) / (92 + 12))
    assert scores["dice"] == pytest.approx(2 * 88 / (92 + 100))
    assert scores["jaccard_soft"] == pytest.approx(scores["jaccard"])  # it is never in doubt
    assert (scores["n"], scores["threshold"], scores["part"]) == (3, 0.5, "all")
    assert (scores["data"], scores["synthetic"]) == ("strips", False)
    share = 92 / (40 + 240 + 49)
    assert scores["foreground"] == pytest.approx(share)
    floor = scores["baselines"]
    assert floor.keys() == {"background", "foreground", "constant"}
    assert floor["background"] == dict.fromkeys(OVERLAPS, 0)
    assert floor["foreground"]["jaccard"] == pytest.approx(share)
    assert floor["foreground"]["dice"] == pytest.approx(2 * share / (1 + share))
    assert floor["constant"]["jaccard"] == 0
    assert floor["constant"]["jaccard_soft"] == pytest.approx(share / (1 + share))


def test_the_threshold_of_a_segmentation(brightness):
    grey = MaskedImages([np.full((4, 4), 128, "uint8")], [np.ones((4, 4), "uint8")])
    soft = keras.Model(
        brightness[0].input, keras.layers.Rescaling(0.02)(brightness[0].output)
    )  # sigmoid(200 · (128/255 - 0.5)) = 0.597
    assert score_segmenter(soft, grey, 0.59)["jaccard"] == 1
    assert score_segmenter(soft, grey, 0.60)["jaccard"] == 0
    with pytest.raises(ValueError, match=r"Received: threshold=0"):
        score_segmenter(soft, "nowhere", 0)  # said before all else


def test_the_segmentation_command(brightness):
    command = ["score", "segmentation", str(brightness[1]), "nuclei"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    wanted = score_segmenter(brightness[0], "nuclei")
    assert scores == wanted
    assert scores["part"] == "test"
    assert scores["synthetic"]
    assert scores["n"] == len(load_masks("nuclei", "test"))
    assert 0.05 < scores["jaccard"] < 0.95

    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    header, *rows = (line.split() for line in result.stdout.splitlines()[:5])
    assert header == ["masks", "jaccard", "jaccard_soft", "dice", "dice_soft"]
    for (name, *values), row in zip(rows, (wanted, *wanted["baselines"].values()), strict=True):
        assert name in ("model", *wanted["baselines"])
        assert [float(v) for v in values] == pytest.approx([row[k] for k in header[1:]], abs=1e-4)
    assert f"{wanted['n']} images, the test part of nuclei (synthetic); " in result.stdout
    assert "threshold 0.5." in result.stdout

    result = CliRunner().invoke(app, [*command, "--threshold", "1", "--json"])
    assert result.exit_code == 2
    assert "Received: threshold=1.0" in result.output
    assert result.stdout == ""
