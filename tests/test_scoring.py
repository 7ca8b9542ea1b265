"""`ganlib score sr`: a super-resolution model beside what needs no network."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures
from typer.testing import CliRunner

from ganlib.__main__ import app
from ganlib.data import DataError, load_photos
from ganlib.images import bicubic_kernel
from ganlib.models.srgan import build_generator
from ganlib.scoring import score_upscaler
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
