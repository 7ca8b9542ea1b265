"""`ganlib doctor`: the machine, and what a data set is good for."""

import json

import keras
import numpy as np
import pytest
from helpers import run_python
from image_models import noise
from PIL import Image

from ganlib import doctor

BACKEND = keras.backend.backend()


def test_the_machine():
    facts = doctor.examine()
    assert facts["problems"] == []
    assert facts["backend"] == BACKEND
    assert facts["packages"]["keras"] == keras.__version__
    text = doctor.describe(facts)
    assert f"in use:   {BACKEND} on {facts['device']}" in text
    assert text.endswith("All is well.")


def test_a_misspelt_backend():
    output = run_python("-m", "ganlib", "doctor", "--json", backend="tensorflaw", expect=1)
    facts = json.loads(output)
    assert facts["backend"] is None
    (problem,) = facts["problems"]
    assert "'tensorflaw': set KERAS_BACKEND to one that is installed" in problem


def test_faults(monkeypatch):
    facts = {"gpus": ["NVIDIA H100, 0 %"], "device": "CPU, 2 cores", "backend": "jax"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "There is a GPU (NVIDIA H100, 0 %), but jax" in next(doctor._faults(keras, facts))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # asked for
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    assert '"image_data_format": "channels_last"' in next(doctor._faults(keras, facts))


def test_labelled_digits(tmp_path):
    np.savez(tmp_path / "small.npz", x=noise(1500, 28, 28, 1), y=np.arange(1500) % 10)
    facts = doctor.examine(str(tmp_path / "small.npz"))
    data = facts["data"]
    assert (data["images"], data["sides"], data["classes"]) == (1500, [28, 28], 10)
    assert "digits" in data["for_studies"]
    assert "unet" not in data["for_studies"]
    assert facts["problems"] == []
    assert any(note.startswith("Not for the study unet: ") for note in facts["notes"])


def test_photographs_of_several_sizes_are_fine_for_super_resolution(tmp_path):
    for i in range(12):
        Image.fromarray(noise(200 + 10 * i, 300, 3)).save(tmp_path / f"{i}.png")
    for name in ("a.txt", "b.raw", "c.raw"):
        (tmp_path / name).write_text("no image")
    facts = doctor.examine(str(tmp_path))
    assert facts["problems"] == []
    assert facts["data"]["sides"] == [200, 310]
    assert "srgan" in facts["data"]["for_studies"]
    assert "Files of other kinds are passed over: .raw, .txt." in facts["notes"]


def test_masks(tmp_path):
    masks = np.zeros((12, 64, 64), "uint8")
    for i, mask in enumerate(masks):
        mask[: 8 * min(i, 8)] = 1  # the first is empty, the last four full
    np.savez(tmp_path / "cells.npz", x=noise(12, 64, 64, 3), y=masks)
    facts = doctor.examine(str(tmp_path / "cells.npz"))
    assert "Of 12 masks 1 are empty and 4 full." in facts["notes"]
    assert facts["data"]["foreground"] == pytest.approx((28 + 4 * 8) * 8 * 64 / (12 * 64 * 64))


def test_what_is_wrong_with_data(tmp_path):
    images = np.ones((4, 8, 8, 1), "float32")
    images[2, 3, 4] = np.nan
    np.savez(tmp_path / "bad.npz", x=images)
    for data, message in (("bad.npz", "Look for NaN"), ("none.npz", "none.npz")):
        facts = doctor.examine(str(tmp_path / data))
        (problem,) = facts["problems"]
        assert message in problem
        assert "All is well" not in doctor.describe(facts)
    np.savez(tmp_path / "first.npz", x=noise(20, 3, 32, 32))
    assert "np.moveaxis" in doctor.examine(str(tmp_path / "first.npz"))["problems"][0]
