"""`ganlib score`: a model beside its ceiling, its floor, and what needs no network."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from typer.testing import CliRunner

from ganlib.__main__ import app
from ganlib.adversarial import Adversarial
from ganlib.data import DataError, load_photos
from ganlib.data.rooms import rooms
from ganlib.images import bicubic_kernel
from ganlib.models import dcgan
from ganlib.models.srgan import build_generator
from ganlib.sampling import load_gan
from ganlib.scoring import load_held_out, score_gan, score_upscaler
from ganlib.upscaling import load_upscaler

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
    import keras

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
