"""The bedroom study's data: its parts share no picture, and what can't be divided is refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny_bedrooms import (
    NETWORK,
    SIZES,
    cheap,
    check_parts,
    contents,
    make_data,
    noise,
    parts_of,
    tiny,
)

from ganlib.data import DataError, ImageSet, NoSplitError, parts
from ganlib.data.rooms import rooms
from ganlib.studies import bedrooms

MUCH = {"train": 1000, "validation": 1000, "test": 1000}


def test_rooms():
    most = {"train": 70, "validation": 60, "test": 50}
    data = bedrooms.load_data("rooms", 32, most)
    check_parts(data, most, size=32)
    assert (data.name, data.synthetic) == ("rooms", True)
    assert data.origin
    assert len(data.checksum) == 48
    other = dataclasses.replace(data, test=data.test.subset(slice(1, None)))
    assert other.checksum != data.checksum
    every = contents(rooms("test", 32))
    assert contents(data.test) <= every
    assert not every & (contents(data.train) | contents(data.validation))


def test_an_archive_without_splits_is_divided_at_random(tmp_path):
    pictures = noise(420, 8, 8, 3)
    np.savez(tmp_path / "all.npz", x=pictures)
    data = bedrooms.load_data(tmp_path / "all.npz", 8, MUCH)
    check_parts(data)
    parts = parts_of(data).values()
    assert set.union(*map(contents, parts)) == {picture.tobytes() for picture in pictures}
    for part in (data.validation, data.test):
        assert len(part) == pytest.approx(0.15 * 420, abs=10)
        first = [pictures[i].tobytes() in contents(part) for i in range(420)]
        assert 0.3 < np.mean(np.flatnonzero(first)) / 420 < 0.7  # no block of the file
    assert bedrooms.load_data(tmp_path / "all.npz", 8, MUCH).checksum == data.checksum
    assert not data.synthetic
    most = {"train": 200, "validation": 51, "test": 50}
    fewer = bedrooms.load_data(tmp_path / "all.npz", 8, most)
    check_parts(fewer, most)
    for name, part in parts_of(fewer).items():
        assert contents(part) <= contents(getattr(data, name))


def test_an_archive_with_a_test_part(tmp_path):
    train, test = noise(400), noise(60)
    np.savez(tmp_path / "two.npz", x_train=train, x_test=test)
    data = bedrooms.load_data(tmp_path / "two.npz", 12, MUCH)
    check_parts(data, {"train": 340, "validation": 60, "test": 60}, size=12)
    np.testing.assert_array_equal(data.test.images, test)
    smaller = bedrooms.load_data(tmp_path / "two.npz", 8, {**MUCH, "test": 50})
    check_parts(smaller, {"train": 340, "validation": 60, "test": 50})


def test_a_folder_with_pictures_of_different_sizes(tmp_path):
    for i in range(420):
        height, width = 8 + i % 5, 8 + i % 3
        picture = noise(height, width) if i % 4 else noise(height, width, 3)  # some are grey
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    data = bedrooms.load_data(tmp_path, 8, MUCH)
    check_parts(data)
    assert sum(map(len, parts_of(data).values())) == 420


@pytest.mark.parametrize("n", [10, 299])
def test_too_few_pictures(tmp_path, n):
    np.savez(tmp_path / "few.npz", x=noise(n))
    with pytest.raises(DataError, match=rf"has too few images.*Received: {n} images, at least"):
        bedrooms.load_data(tmp_path / "few.npz", 12, MUCH)


@pytest.mark.parametrize(("train", "test"), [(400, 49), (100, 100)])
def test_a_part_with_too_few_pictures(tmp_path, train, test):
    np.savez(tmp_path / "few.npz", x_train=noise(train), x_test=noise(test))
    with pytest.raises(DataError, match=r"has too few images.*at least 50 needed"):
        bedrooms.load_data(tmp_path / "few.npz", 12, MUCH)


def test_no_pictures(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        bedrooms.load_data(tmp_path / "missing", 8, MUCH)


@pytest.mark.parametrize(
    ("splits", "asked"),
    [
        ({"train": 90_000, "validation": 300}, ["train[:3000]"]),
        ({"train": 2000}, ["train[:2000]"]),
        ({"train": 90_000, "test": 80}, ["test[:80]", "train[:3000]"]),
    ],
)
def test_no_more_of_a_large_set_is_loaded_than_needed(monkeypatch, splits, asked):
    def count(builder, split):
        assert builder == "lsun/bedroom's"
        if split not in splits:
            raise NoSplitError(split)
        return splits[split]

    loaded = []

    def load(spec, split, **options):
        assert spec == "tfds:lsun/bedroom"
        assert options == {"size": 8, "channels": 3}
        loaded.append(split)
        return ImageSet(noise(80 if split.startswith("test") else 420, 8, 8, 3))

    monkeypatch.setattr(parts, "prepared", lambda name: f"{name}'s")
    monkeypatch.setattr(parts, "count", count)
    monkeypatch.setattr(parts, "load", load)
    data = bedrooms.load_data("tfds:lsun/bedroom", 8, MUCH)
    assert loaded == asked
    check_parts(data)


def test_baselines(tmp_path):
    data = make_data()
    with cheap():
        baselines = data.baselines(tiny(), tmp_path)
        seen = data.seen("train", "any", tmp_path)
        again = data.seen("train", "any", tmp_path)
    assert list(baselines) == ["real", "noise"]
    assert baselines["real"]["kid"] < baselines["noise"]["kid"]
    assert baselines["real"]["frechet"] < baselines["noise"]["frechet"]
    for scores in baselines.values():
        assert (scores["n_real"], scores["n_fake"]) == (SIZES["test"], SIZES["validation"])
    np.testing.assert_array_equal(seen.features, NETWORK(data.train).features)
    np.testing.assert_array_equal(seen.features, again.features)
    kept = list((tmp_path / "features").glob("*.npz"))
    assert len(kept) == 4  # three parts and noise, once each
