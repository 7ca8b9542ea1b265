"""Procedural rooms: the same every time, and what is in them can be read back."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganlib.data import DataError, check, load
from ganlib.data.room_styles import style_coverage, styles
from ganlib.data.rooms import (
    FACTORS,
    STYLES,
    factors,
    from_number,
    jitter,
    number,
    room_indices,
    rooms,
)

N = 1152  # each style once


@pytest.fixture(scope="module")
def every_style():
    return rooms("train", train=N)


def right(images, indices):
    """Factor → share of pictures whose factor is read right."""
    found, true = styles(images), factors(indices)
    return {name: float(np.mean(found[name] == true[name])) for name in FACTORS}


# -- drawing -------------------------------------------------------------------------------------


def test_load():
    both = load("rooms")
    assert repr(both) == "ImageSet('rooms', 2500 × 64×64×3, byte, synthetic)"
    assert "drawn by ganlib" in both.origin
    train, test = load("rooms", split="train"), load("rooms", split="test")
    assert (len(train), len(test)) == (2000, 500)
    np.testing.assert_array_equal(both.images, np.concatenate([train.images, test.images]))
    assert len({image.tobytes() for image in both.images}) == 2500  # no two alike
    check(train, channels=3)


@pytest.mark.parametrize("size", [32, 50, 128])
def test_sizes(size):
    small = rooms("train", size, train=3)
    assert small.shape == (3, size, size, 3)
    usual = Image.fromarray(rooms("train", train=1).images[0]).resize((size, size))
    assert np.abs(np.asarray(usual).astype(float) - small.images[0]).mean() < 6.0


def test_load_resizes_the_rest():
    assert load("rooms", "test", size=16, channels=1).shape == (500, 16, 16, 1)


def test_a_picture_depends_on_its_index_alone():
    few, many = rooms("train", train=5), rooms("train", train=40)
    np.testing.assert_array_equal(few.images, many.images[:5])
    some = factors(room_indices("train")[[7, 3, 1900]])
    for name, values in factors(room_indices("train")).items():
        np.testing.assert_array_equal(some[name], values[[7, 3, 1900]])


def test_known_pictures():
    """Fixed for good: other numbers would make other data of the same name."""
    expected = [[1, 0, 0, 1, 1, 1, 0], [1, 2, 0, 2, 0, 1, 0], [1, 1, 1, 3, 1, 0, 0]]
    values = np.stack(list(factors([0, 1, 1_152_000]).values()), 1)
    assert values.tolist() == expected
    np.testing.assert_allclose(jitter([5])[0, :2], [0.37144293, 0.79112481], atol=1e-8)


def test_splits_share_nothing():
    train, test = room_indices("train"), room_indices("test")
    assert not set(train.tolist()) & set(test.tolist())
    assert len(room_indices("train", train=10**6)) == 10**6
    assert room_indices("train", train=10**6)[-1] < test[0]


def test_styles_are_balanced():
    numbers = number(factors(room_indices("train", train=2 * STYLES)))
    np.testing.assert_array_equal(np.bincount(numbers[:STYLES]), np.ones(STYLES))
    np.testing.assert_array_equal(np.bincount(numbers[STYLES:]), np.ones(STYLES))
    assert np.any(numbers[:STYLES] != numbers[STYLES:])
    np.testing.assert_array_equal(number(from_number(np.arange(STYLES))), np.arange(STYLES))
    for split in ("train", "test"):
        for name, values in factors(room_indices(split)).items():
            even = 1 / len(FACTORS[name])
            share = np.bincount(values) / len(values)
            assert np.abs(share - even).max() < 0.05, (split, name)


def test_refusals():
    with pytest.raises(DataError, match=r"\"train\" and \"test\".*Received: split='val'"):
        load("rooms", split="val")
    with pytest.raises(DataError, match=r"32 to 128 pixels wide.*Received: size=16"):
        rooms(size=16)


# -- measuring -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 128])
def test_measuring_is_exact(size, every_style):
    images = every_style if size == 64 else rooms("train", size, train=N)
    assert right(images, room_indices("train", train=N)) == dict.fromkeys(FACTORS, 1.0)


def test_measuring_other_pictures_is_exact():
    assert right(rooms("test"), room_indices("test")) == dict.fromkeys(FACTORS, 1.0)


def test_measuring_through_noise_and_blur(every_style):
    indices, images = room_indices("train", train=N), every_style.images
    noise = np.random.default_rng(0).normal(0.0, 10.0, images.shape)
    noisy = np.clip(images + noise, 0.0, 255.0).astype("uint8")
    assert min(right(noisy, indices).values()) >= 0.995
    blur = ImageFilter.GaussianBlur(1.0)
    blurred = np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])
    assert min(right(blurred, indices).values()) >= 0.995
    signed = every_style.as_range("signed")[:50]  # as a generator makes them
    assert min(right(signed, indices[:50]).values()) == 1.0


def test_coverage(every_style):
    whole = style_coverage(every_style)
    assert (whole.n, whole.clear, whole.values, whole.styles) == (N, N, 1.0, 1.0)
    assert whole.missing_values == whole.missing_styles == ()
    assert whole.styles_expected == pytest.approx(1 - np.exp(-1), abs=1e-3)
    assert whole.counts["floor"].tolist() == [N // 3] * 3

    values = factors(room_indices("train", train=N))
    chosen = (values["cover"] == 1) & (values["bed"] == 0)
    part = style_coverage(every_style.subset(chosen))
    missing = [("bed", "right"), ("cover", "white"), ("cover", "blue"), ("cover", "mustard")]
    assert part.missing_values == tuple(missing)
    assert part.values == pytest.approx(16 / 20)
    assert part.styles == pytest.approx(1 / 8)
    assert len(part.missing_styles) == STYLES * 7 // 8
    assert ("beige", "carpet", "left", "red", "none", "on", "low") not in part.missing_styles
    assert ("beige", "carpet", "left", "blue", "none", "on", "low") in part.missing_styles


def test_pictures_of_nothing_cover_nothing():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 64, 64, 3), "uint8")
    blocks = rng.integers(0, 256, (200, 8, 8, 3), "uint8").repeat(8, 1).repeat(8, 2)
    grey = np.full((200, 64, 64, 3), 128, "uint8")
    for images in (noise, blocks, grey):
        assert style_coverage(images).clear <= 4


def test_measuring_refuses_other_pictures():
    with pytest.raises(ValueError, match=r"32 to 128 pixels wide.*Received: 28×28, 1 channels"):
        styles(np.zeros((2, 28, 28, 1), "uint8"))
