"""Photographs: what `Photos` keeps and how it splits, and where `load_photos` finds them."""

import re

import numpy as np
import pytest
from draws import RNG
from PIL import Image
from test_sources import save_images

from ganlib.data import DataError, Photos, check_photos, load_photos


def noise(height, width, *channels):
    return RNG.integers(0, 256, (height, width, *channels), "uint8")


def reds(photos):
    """The red value of each picture's first pixel, which tells the test pictures apart."""
    return [int(image[0, 0, 0]) for image in photos.images]


# -- Photos --------------------------------------------------------------------------------------


def test_every_picture_becomes_rgb():
    grey, flat, colour, alpha = noise(4, 5, 1), noise(5, 4), noise(6, 3, 3), noise(7, 2, 4)
    photos = Photos([grey, flat, colour, alpha])
    assert [image.shape for image in photos.images] == [(4, 5, 3), (5, 4, 3), (6, 3, 3), (7, 2, 3)]
    assert photos.names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(photos.images[0], grey.repeat(3, axis=2))
    np.testing.assert_array_equal(photos.images[1][..., 2], flat)
    np.testing.assert_array_equal(photos.images[2], colour)
    np.testing.assert_array_equal(photos.images[3], alpha[..., :3])


def test_checksum_is_of_shapes_and_pixels():
    image = noise(4, 6, 3)
    checksum = Photos([image], names=["a"]).checksum()
    assert re.fullmatch("[0-9a-f]{64}", checksum)
    assert checksum == Photos([image[::-1][::-1]], names=["b"]).checksum()
    assert checksum != Photos([image.reshape(6, 4, 3)]).checksum()
    assert checksum != Photos([image + 1]).checksum()


def test_subset_keeps_names_and_groups():
    photos = Photos([noise(i + 1, 2, 3) for i in range(4)], "abcd", [1, 1, 2, 3], name="four")
    for indices in ([3, 1], np.array([3, 1]), slice(3, 0, -2)):
        part = photos.subset(indices)
        assert (part.names, part.groups, part.name) == (("d", "b"), (3, 1), "four")
        assert [len(image) for image in part.images] == [4, 2]
    assert photos.subset(np.array([True, False, True, False])).names == ("a", "c")


def test_split_leaves_groups_whole():
    groups = [i // 2 for i in range(20)]
    photos = Photos([np.full((2, 2, 3), i, "uint8") for i in range(20)], groups=groups)
    first, second = photos.split(0.8, seed=1)
    assert (len(first), len(second)) == (16, 4)
    assert not set(first.groups) & set(second.groups)
    assert sorted(reds(first) + reds(second)) == list(range(20))
    assert reds(first) == sorted(reds(first)) == reds(photos.split(0.8, seed=1)[0])
    assert reds(first) != reds(photos.split(0.8, seed=2)[0])


def test_representations():
    photos = Photos([noise(9, 8, 3), noise(4, 6, 3)], groups=["x", "x"], name="<b>")
    assert repr(photos) == "Photos('<b>', 2 × 4×6 to 9×8, 1 groups, real)"
    assert repr(photos.subset([0])) == "Photos('<b>', 1 × 9×8, 1 groups, real)"
    assert repr(Photos([], synthetic=True)) == "Photos('photos', empty, synthetic)"
    html = photos._repr_html_()
    assert "&lt;b&gt;" in html
    assert photos.checksum()[:12] in html
    assert "none" in Photos([])._repr_html_()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Photos([np.zeros((2, 2, 3))]), DataError, r"0 must have 8 bits.*float64"),
        (
            lambda: Photos([noise(2, 2)[0]], ["x"]),
            DataError,
            r"picture x must have the shape.*\(2,\)",
        ),
        (lambda: Photos([noise(0, 2, 3)]), DataError, r"shape=\(0, 2, 3\)"),
        (lambda: Photos([noise(2, 2, 2)]), DataError, r"images of 2 channels"),
        (lambda: Photos([noise(2, 2)], "ab"), DataError, r"Received: 2 names, 1 pictures"),
        (lambda: Photos([noise(2, 2)], groups=[]), DataError, r"Received: 0 groups, 1 pictures"),
        (lambda: Photos([noise(2, 2)]).split(1, 0), ValueError, r"Received: fraction=1"),
        (lambda: Photos([noise(2, 2)]).split(0.5, 0), DataError, r"one side empty.*1 pictures"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_check_names_the_small_pictures():
    photos = Photos([noise(8, 9, 3), noise(7, 20, 3), noise(20, 5, 3)], ["a", "b.png", "c"])
    assert check_photos(photos, 5) is photos
    message = r"'photos' are smaller than a patch of 8×8.*Received: b\.png \(7×20\), c \(20×5\)$"
    with pytest.raises(DataError, match=message):
        check_photos(photos, 8)
    many = Photos([noise(1, 1, 3)] * 12)
    with pytest.raises(DataError, match=r"7 \(1×1\) and 4 more$"):
        check_photos(many, 2)
    with pytest.raises(DataError, match=r"'photos' is empty"):
        check_photos(Photos([]), 2)


# -- load_photos: embedded -----------------------------------------------------------------------


def test_embedded_photographs():
    photos = load_photos("photos")
    sizes = dict(zip(photos.names, (image.shape for image in photos.images), strict=True))
    assert sizes["retina"] == (1411, 1411, 3)
    assert sizes["motorcycle_left"] == sizes["motorcycle_right"] == (500, 741, 3)
    assert sizes["china"] == sizes["flower"] == (427, 640, 3)
    assert repr(photos) == "Photos('photos', 10 × 300×451 to 1411×1411, 9 groups, real)"
    assert "scikit-image" in photos.origin
    assert "scikit-learn" in photos.origin
    parts = {split: load_photos("photos", split) for split in ("train", "validation", "test")}
    assert parts["test"].names == ("chelsea", "coffee", "flower")
    assert parts["validation"].names == ("rocket",)
    assert len(parts["train"]) == 6
    assert sorted(name for part in parts.values() for name in part.names) == list(photos.names)
    groups = [set(part.groups) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 9


def test_pictures_in_memory_pass_through():
    images = [noise(4, 5, 3), noise(6, 2)]
    photos = load_photos(images)
    assert [image.shape for image in photos.images] == [(4, 5, 3), (6, 2, 3)]
    assert load_photos(photos) is photos
    assert len(load_photos(tuple(images))) == 2


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ([], "train", r"\.split\(0\.8, seed=0\)\. Received: split='train'"),
        (3, None, r'`spec` must be Photos, a list.*"photos".*Received: int'),
        ("no/such", None, r"image folder\. Received: 'no/such' \(nothing there\)"),
        (__file__, None, r"\(a file\)"),
        ("photos", "dev", r"train, validation, test; .*Received: split='dev'"),
        (".", "dev", r"Received: split='dev'"),
    ],
)
def test_load_errors(spec, split, message):
    with pytest.raises(DataError, match=message):
        load_photos(spec, split)


# -- load_photos: folders ------------------------------------------------------------------------


def test_folder_of_all_sizes_and_modes(tmp_path):
    save_images(tmp_path, ["b/2.png", "a.png"], size=(8, 6))
    save_images(tmp_path, ["c.png"], size=(3, 9), mode="P")
    save_images(tmp_path, ["d.png"], size=(3, 4), mode="LA")
    photos = load_photos(tmp_path)
    assert photos.names == ("a.png", "b/2.png", "c.png", "d.png")
    assert [image.shape[:2] for image in photos.images] == [(6, 8), (6, 8), (9, 3), (4, 3)]
    assert (photos.name, photos.groups) == (tmp_path.name, None)
    assert str(tmp_path.parent) not in photos.origin


def test_folder_without_splits_sets_some_aside(tmp_path):
    save_images(tmp_path, [f"{i:02}.png" for i in range(20)])
    parts = [load_photos(str(tmp_path), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert sorted(red for part in parts for red in reds(part)) == list(range(20))
    assert reds(parts[0]) == sorted(reds(parts[0]))
    assert parts[1].checksum() == load_photos(tmp_path, "validation").checksum()
    for path in sorted(tmp_path.iterdir())[3:]:
        path.unlink()
    parts = [load_photos(tmp_path, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1, 1, 1]
    (tmp_path / "00.png").unlink()
    with pytest.raises(DataError, match=r"validation and test: at least 3 are needed. Received: 2"):
        load_photos(tmp_path, "train")


def test_folder_with_splits(tmp_path):
    save_images(tmp_path, ["train/a.png", "train/b.png", "validation/c.png", "test/d.png"])
    assert load_photos(tmp_path, "train").names == ("train/a.png", "train/b.png")
    assert reds(load_photos(tmp_path, "validation")) == [2]
    assert reds(load_photos(tmp_path, "test")) == [3]
    assert len(load_photos(tmp_path)) == 4


@pytest.mark.parametrize("other", ["test", "validation"])
def test_folder_with_two_splits(tmp_path, other):
    save_images(tmp_path, [f"train/{i}.png" for i in range(10)] + [f"{other}/x.png"])
    assert reds(load_photos(tmp_path, "test")) == [10]
    train, validation = load_photos(tmp_path, "train"), load_photos(tmp_path, "validation")
    assert (len(train), len(validation)) == (9, 1)
    assert sorted(reds(train) + reds(validation)) == list(range(10))


def test_folder_that_lacks_a_training_split(tmp_path):
    save_images(tmp_path, ["test/a.png", "validation/b.png"])
    with pytest.raises(DataError, match=r"named train .*Received: \['test', 'validation'\]"):
        load_photos(tmp_path, "test")
    assert len(load_photos(tmp_path)) == 2


def test_folder_errors_name_the_file(tmp_path):
    with pytest.raises(DataError, match=r"no images in the folder"):
        load_photos(tmp_path)
    Image.fromarray(np.full((4, 4), 40000, "uint16")).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits"):
        load_photos(tmp_path)
    save_images(tmp_path / "set", ["a.png"])
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"link\.png leads out of"):
        load_photos(tmp_path / "set")
