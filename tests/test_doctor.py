"""`ganlib doctor`: the machine, and what a data set is good for."""

import json

import keras
import numpy as np
import pytest
from helpers import run_python
from image_models import noise
from PIL import Image

from ganlib import doctor
from ganlib.data import Images

BACKEND = keras.backend.backend()


def test_the_machine():
    facts = doctor.examine()
    assert facts["problems"] == []
    assert facts["backend"] == BACKEND
    assert facts["packages"]["keras"] == keras.__version__
    assert facts["device"]
    assert facts["data"] is None
    text = doctor.describe(facts)
    assert f"in use:   {BACKEND} on {facts['device']}" in text
    assert text.endswith("All is well.")


def test_a_misspelt_backend():
    output = run_python("-m", "ganlib", "doctor", "--json", backend="tensorflaw", expect=1)
    facts = json.loads(output)
    assert facts["backend"] is None
    (problem,) = facts["problems"]
    assert "'tensorflaw': set KERAS_BACKEND=" in problem
    assert problem.count("tensorflow") >= bool(facts["backends"]["tensorflow"])


def test_faults(monkeypatch):
    facts = {"gpus": ["NVIDIA H100, 0 %"], "device": "CPU, 2 cores", "backend": "jax"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "There is a GPU, but jax computes on the CPU" in next(doctor._faults(keras, facts))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # asked for
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    assert '"image_data_format": "channels_last"' in next(doctor._faults(keras, facts))
    assert doctor._no_backend(dict.fromkeys(doctor.BACKENDS), ImportError()).startswith(
        "No backend"
    )


# -- data ----------------------------------------------------------------------------------------


def test_labelled_digits(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1500, 28, 28, 1), "uint8")
    np.savez(tmp_path / "small.npz", x=images, y=np.arange(1500) % 10)
    facts = doctor.examine(str(tmp_path / "small.npz"))
    data = facts["data"]
    assert (data["images"], data["sides"], data["classes"]) == (1500, [28, 28], 10)
    assert (data["minimum"], data["maximum"]) == (0, 255)
    assert data["checksum"] == Images(images, labels=np.arange(1500) % 10).checksum()
    assert "digits" in data["for_studies"]
    assert "unet" not in data["for_studies"]
    assert facts["problems"] == []
    assert any(note.startswith("Not for the study unet: ") for note in facts["notes"])


def folder(path, sizes, others=()):
    path.mkdir(parents=True)
    for i, size in enumerate(sizes):
        Image.fromarray(noise(*size, 3)).save(path / f"{i}.png")
    for name in others:
        (path / name).write_text("no image")
    return path


def test_photographs_of_several_sizes_are_fine_for_super_resolution(tmp_path):
    sizes = [(200 + 10 * i, 300) for i in range(12)]
    facts = doctor.examine(str(folder(tmp_path / "shots", sizes, ["a.txt", "b.raw", "c.raw"])))
    assert facts["problems"] == []
    assert facts["data"]["sides"] == [200, 310]
    assert "srgan" in facts["data"]["for_studies"]
    assert "Files of other kinds are passed over: .raw, .txt." in facts["notes"]


def test_masks(tmp_path):
    place = tmp_path / "cells"
    folder(place / "images", [(64, 64)] * 12)
    (place / "masks").mkdir()
    for i in range(12):
        mask = np.zeros((64, 64), "uint8")
        mask[: 8 * min(i, 8)] = 255  # the first is empty, the last four full
        Image.fromarray(mask).save(place / "masks" / f"{i}.png")
    facts = doctor.examine(str(place))
    assert "Of 12 masks 1 are empty and 4 full." in facts["notes"]
    assert facts["data"]["foreground"] == pytest.approx((28 + 4 * 8) * 8 * 64 / (12 * 64 * 64))


@pytest.mark.parametrize("fill", [0, 255])
def test_masks_of_one_kind_are_a_problem(tmp_path, fill):
    place = tmp_path / "cells"
    folder(place / "images", [(64, 64)] * 4)
    (place / "masks").mkdir()
    for i in range(4):
        alpha = np.full((64, 64, 4), fill, "uint8")  # the mask may lie in the alpha channel
        alpha[:16, :, 3] = 255 - fill
        Image.fromarray(alpha).save(place / "masks" / f"{i}.png")
    facts = doctor.examine(str(place))
    assert facts["problems"]


def test_what_is_wrong_with_data(tmp_path):
    images = np.ones((4, 8, 8, 1), "float32")
    images[2, 3, 4] = np.nan
    np.savez(tmp_path / "bad.npz", x=images)
    for data, message in (("bad.npz", "Look for NaN"), ("none.npz", "none.npz")):
        facts = doctor.examine(str(tmp_path / data))
        (problem,) = facts["problems"]
        assert message in problem
        assert "All is well" not in doctor.describe(facts)
    first = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), "uint8")
    np.savez(tmp_path / "first.npz", x=first)
    assert "np.moveaxis" in doctor.examine(str(tmp_path / "first.npz"))["problems"][0]
