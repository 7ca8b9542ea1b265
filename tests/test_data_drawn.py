"""Drawn data: the same every time; rooms can be read back; masks are exact and not too easy."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganlib.data import DataError, load
from ganlib.data.cells import membranes, nuclei
from ganlib.data.room_styles import style_coverage, styles
from ganlib.data.rooms import FACTORS, STYLES, factors, room_indices, rooms
from ganlib.data.writing import drawn_once

# Mean and standard deviation of each set's test part: others would be other data of the same name.
KNOWN = {
    "digits": (33.264, 78.456),
    "tissue": (173.610, 47.826),
    "photos": (86.629, 66.885),
    "rooms": (141.923, 63.690),
    "nuclei": (37.186, 38.999),
    "membranes": (148.610, 40.666),
}


@pytest.mark.parametrize("name", KNOWN)
def test_sets_are_what_they_were(name):
    pixels = np.concatenate([image.ravel() for image in load(name, "test").images])
    np.testing.assert_allclose([pixels.mean(), pixels.std()], KNOWN[name], atol=0.01)


@pytest.fixture(scope="module")
def every_style():
    return rooms("train", train=STYLES)


def test_drawings_are_kept_until_they_are_damaged_or_their_code_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLIB_CACHE", str(tmp_path / "cache"))
    code, drawn = tmp_path / "code.py", []

    def draw():
        drawn.append(np.arange(3) + len(drawn))
        return (drawn[-1],)

    for text, damage, expected in (("a", 0, 0), ("a", 0, 0), ("b", 0, 1), ("b", 1, 2), ("b", 0, 2)):
        code.write_text(text)
        if damage:
            for path in (tmp_path / "cache").iterdir():
                path.write_bytes(path.read_bytes()[:50])
        np.testing.assert_array_equal(drawn_once("x", code, draw)[0], np.arange(3) + expected)
    monkeypatch.setenv("GANLIB_CACHE", str(code))  # no folder: nothing can be kept
    assert drawn_once("x", code, draw)[0][0] == 3


def right(images, indices):
    """Factor → share of pictures whose factor is read right."""
    found, true = styles(images), factors(indices)
    return {name: float(np.mean(found[name] == true[name])) for name in FACTORS}


def test_styles_are_read_exactly_and_through_noise_and_blur(every_style):
    indices, images = room_indices("train", train=STYLES), every_style.images
    assert right(every_style, indices) == dict.fromkeys(FACTORS, 1.0)
    small = rooms("test", 32, test=200)
    assert right(small, room_indices("test", test=200)) == dict.fromkeys(FACTORS, 1.0)
    noise = np.random.default_rng(0).normal(0.0, 10.0, images.shape)
    noisy = np.clip(images + noise, 0.0, 255.0).astype("uint8")
    assert min(right(noisy, indices).values()) >= 0.995
    blur = ImageFilter.GaussianBlur(1.0)
    blurred = np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])
    assert min(right(blurred, indices).values()) >= 0.995


def test_coverage(every_style):
    whole = style_coverage(every_style)
    shares = (whole["n"], whole["clear"], whole["values"], whole["styles"])
    assert shares == (STYLES, STYLES, 1.0, 1.0)
    assert whole["missing_styles"] == 0
    assert whole["styles_expected"] == pytest.approx(1 - np.exp(-1), abs=1e-3)
    assert whole["counts"]["floor"].tolist() == [STYLES // 3] * 3
    values = factors(room_indices("train", train=STYLES))
    part = style_coverage(every_style.subset((values["cover"] == 1) & (values["bed"] == 0)))
    assert (part["values"], part["styles"]) == (pytest.approx(16 / 20), pytest.approx(1 / 8))
    assert part["counts"]["bed"].tolist() == [STYLES // 8, 0]


@pytest.mark.parametrize(("draw", "low", "high"), [(nuclei, 0.03, 0.3), (membranes, 0.6, 0.9)])
def test_cells(draw, low, high):
    test = draw("test")
    assert test.shape == (24, 128, 128, 1)
    assert (test.names[-1], test.synthetic, test.stack) == ("test 23", True, False)
    both = np.concatenate([draw("train", n=24).images, test.images])
    assert len({image.tobytes() for image in both}) == 48
    shares = test.masks.mean(axis=(1, 2, 3))
    assert low < shares.min() <= shares.max() < high
    assert draw("test", n=3).checksum() == test.subset([0, 1, 2]).checksum()
    images, masks = test.images.astype(float), test.masks.astype(bool)
    contrast = [i[m].mean() - i[~m].mean() for i, m in zip(images, masks, strict=True)]
    assert min(contrast) > 12  # nuclei are brighter than their ground, interiors than membranes
    with pytest.raises(DataError, match=r"32 to 512 pixels wide"):
        draw(size=31)
