"""`Images`, `check`, and `load` of arrays, embedded sets and .npz files."""

import numpy as np
import pytest
from skimage.data import immunohistochemistry

from ganlib.data import DataError, Images, NoSplitError, check, load

BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
MASKS = BYTES[..., 0] // 128


def test_bytes_stay_bytes_and_floats_become_float32():
    assert Images(BYTES.astype("int64")).images.dtype == np.uint8
    assert Images(BYTES.astype("float64")).value_range == "byte"
    unit = Images(BYTES / 255)
    assert (unit.images.dtype, unit.value_range) == (np.float32, "unit")
    assert Images(np.zeros((2, 4, 5)), value_range="signed").shape == (2, 4, 5, 1)
    with pytest.raises(DataError, match=r"nothing but 0 and 1"):
        Images(MASKS)


def test_lists_of_one_size_become_an_array_and_others_a_tuple():
    assert Images(list(BYTES)).shape == BYTES.shape
    mixed = Images([BYTES[0], BYTES[1, :5]], [MASKS[0], MASKS[1, :5]], names="ab")
    assert [image.shape for image in mixed.images] == [(8, 8, 3), (5, 8, 3)]
    assert [mask.shape for mask in mixed.masks] == [(8, 8, 1), (5, 8, 1)]
    assert repr(mixed).startswith("Images('array', 2 × 5×8 to 8×8×3, ")
    last = mixed.subset([1])
    assert (last.names, last.shape, last.masks.shape) == (("b",), (1, 5, 8, 3), (1, 5, 8, 1))
    with pytest.raises(DataError, match=r"differ in size.*Received: 5×8 to 8×8"):
        mixed.as_range("unit")
    with pytest.raises(DataError, match=r"same number of channels"):
        Images([BYTES[0], BYTES[1, :5, :, :1]])


@pytest.mark.parametrize("high", [255, True, 7.5])
def test_masks_are_0_and_1_of_any_two_values(high):
    images = Images(BYTES, MASKS * high)
    np.testing.assert_array_equal(images.masks[..., 0], MASKS)
    assert images.foreground == pytest.approx(MASKS.mean())
    pixels, masks = images.arrays()
    assert (pixels.max(), masks.dtype, masks.shape) == (1, "float32", (6, 8, 8, 1))
    full = Images(BYTES, [np.full((8, 8), 255), *MASKS[1:] * 255]).masks
    assert full[0].all()  # what it is in the set


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": np.zeros((9, 784))}, r"reshape\(-1, 28, 28, 1\).*shape=\(9, 784\)"),
        ({"images": np.full((2, 4, 4), 999.0)}, r"maximum=999"),
        ({"images": np.full((2, 4, 4), 0.5), "value_range": "byte"}, r"whole numbers.*minimum=0.5"),
        ({"images": [BYTES[0], BYTES[0] / 255]}, r"image 1 must be uint8.*dtype=float64"),
        ({"images": BYTES, "labels": [0, 1]}, r"one integer per image.*shape=\(2,\)"),
        ({"images": BYTES, "labels": np.eye(6)}, r"argmax.*shape=\(6, 6\)"),
        ({"images": BYTES, "names": "ab"}, r"2 for 6 images"),
        ({"images": BYTES, "masks": MASKS[:2]}, r"2 for 6 images"),
        ({"images": BYTES, "masks": MASKS[:, :4]}, r"mask of 0 .*size.*mask \(4, 8, 1\)"),
        ({"images": BYTES, "masks": BYTES[..., 0]}, r"mask of 0 must be binary"),
        ({"images": BYTES, "masks": [*MASKS[:5], MASKS[5] * 3]}, r"mask of 5 .*values \[0, 1, 3\]"),
    ],
)
def test_images_refuse_what_does_not_fit(fields, message):
    with pytest.raises(DataError, match=message):
        Images(**fields)


def test_checksum_feels_every_part_and_no_layout():
    facts = {"labels": range(6), "groups": list("aabbcc")}
    base = Images(BYTES, **facts)
    swapped = BYTES.copy()
    swapped[0, 0, 0, 0] ^= 1
    others = [
        Images(swapped, **facts),
        Images(BYTES, MASKS, **facts),
        Images(BYTES, 1 - MASKS, **facts),
        Images(BYTES, labels=range(6), groups=list("aabbca")),
        Images(BYTES, labels=range(6)),
        Images(BYTES.reshape(6, 4, 16, 3), **facts),
        Images(BYTES.astype("float32") / 255, **facts),
        Images(BYTES, stack=True, **facts),
        Images([*BYTES[:5], BYTES[5, :4]], **facts),
    ]
    pinned = Images(np.arange(8, dtype="uint8").reshape(2, 2, 2), labels=[0, 1]).checksum()
    assert pinned == "e6d8e41eeeceafe5c83dde9e6a9d3a31b246a0d883539630c6a0c28d6769298e"
    assert len({base.checksum(), *(other.checksum() for other in others)}) == 10
    labels, groups = np.arange(6, dtype=">i4"), np.array(list("aabbcc"))
    same = Images(np.asfortranarray(BYTES), labels=labels, groups=groups, names="fedcba")
    assert same.checksum() == base.checksum()
    assert repr(base) == "Images('array', 6 × 8×8×3, byte, 6 classes, 3 groups, real)"
    assert base.checksum()[:12] in base._repr_html_()


@pytest.mark.parametrize(
    ("fields", "needs", "message"),
    [
        ({}, {"channels": 1}, r"channels=1. Received: 8×8, 3 channels"),
        ({}, {"size": 28}, r"wrong shape: load them with size=28"),
        ({}, {"classes": 2}, r"classes 0 to 1.*0 labels"),
        ({"labels": [0, -1] * 3}, {"classes": 2}, r"2 labels, -1, 0"),
        ({}, {"minimum": 7}, r"too few images.*6 images, at least 7"),
        ({}, {"at_least": 9}, r"smaller than a patch of 9×9.*0 \(8×8\), 1 "),
        ({"images": np.full((6, 4, 4), 7)}, {}, r"one value.*7"),
        ({"images": np.zeros((2, 3, 64, 64))}, {}, r"np.moveaxis\(images, 1, -1\)"),
        ({"images": np.full((2, 4, 4), np.nan, "float32")}, {}, r"Look for NaN"),
        ({"masks": 0 * MASKS}, {}, r"have no foreground"),
    ],
)
def test_check_names_problem_and_remedy(fields, needs, message):
    with pytest.raises(DataError, match=message) as raised:
        check(Images(**{"images": BYTES, "name": "faces", **fields}), **needs)
    assert "'faces'" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "no/such/place"}, r"tfds:NAME.*Received: 'no/such/place' \(nothing there\)"),
        ({"spec": "a.h5"}, r"h5py\.File\(path\)\[key\]\[:\]"),
        ({"spec": BYTES[..., :2], "channels": 3}, r"moveaxis.*images of 2"),
        ({"spec": BYTES, "masks": True}, r"has no masks.*masks as y"),
        *(({"spec": spec, "split": "dev"}, "split='dev'") for spec in (BYTES, "photos", "nuclei")),
    ],
)
def test_load_errors(arguments, message):
    with pytest.raises(DataError, match=message) as raised:
        load(**arguments)
    assert isinstance(raised.value, NoSplitError) == ("split" in arguments)


def test_channels_are_bt601_luma_or_repeats():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], "uint8")
    grey = load(colours.reshape(4, 1, 1, 3), channels=1)
    assert list(grey.images.ravel()) == [76, 150, 29, 255]
    assert load(BYTES[..., :1], channels=3).shape == (6, 8, 8, 3)
    mixed = load([BYTES[0], BYTES[1, :5, :, 0]], channels=3)
    assert [image.shape for image in mixed.images] == [(8, 8, 3), (5, 8, 3)]
    alpha = np.concatenate([BYTES, BYTES[..., :1]], axis=-1)
    np.testing.assert_array_equal(load(alpha, channels=3).images, BYTES)


def test_size_crops_the_centre_and_resizes():
    images = np.zeros((1, 4, 8, 1), "uint8")
    images[:, :, 2:6] = 200
    assert (load(images, size=4).images == 200).all()
    assert (load(images, size=2).images == 200).all()
    masked = load(Images(images, images > 0, name="m").subset([0]), size=8)
    assert masked.masks.shape == (1, 8, 8, 1)
    assert masked.masks.all()
    edge = np.zeros((1, 16, 16, 2), "float32")
    edge[:, :, 8:] = 1.0
    assert load(edge, size=24).images.max() == 1.0  # Lanczos overshoots


def test_digits():
    whole, test = load("digits"), load("digits", "test")
    check(whole, channels=1, size=28, classes=10, minimum=5000)
    assert list(np.bincount(test.labels)) == [100] * 10
    assert test.checksum() == whole.split(0.8, seed=0)[1].checksum()


def test_tissue_is_crops_of_the_picture_and_tiles_share_no_pixel():
    tissue = check(load("tissue"), channels=3, size=32, minimum=1600)
    assert repr(tissue) == "Images('tissue', 1600 × 32×32×3, byte, 64 groups, real)"
    picture = immunohistochemistry()
    places = np.stack(np.unravel_index(np.arange(1600), (8, 8, 5, 5)), axis=1)
    for place, crop, group in zip(places, tissue.images, tissue.groups, strict=True):
        top, left = 64 * place[:2] + 8 * place[2:]
        np.testing.assert_array_equal(crop, picture[top : top + 32, left : left + 32])
        assert group == 8 * place[0] + place[1]
    assert len(load("tissue", "test")) == 13 * 25


def test_a_place_of_the_name_of_a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.raises(DataError, match=r'"\./digits" for yours, or "embedded:digits"'):
        load("digits")
    assert load("embedded:digits", "test").name == "digits"
    for mine in (tmp_path / "digits", "./digits"):
        with pytest.raises(DataError, match=r"no images in the folder .*digits"):
            load(mine)


@pytest.mark.parametrize("keys", [("x", "y", "group"), ("IMAGES", "labels", "GROUPS"), ("data",)])
def test_npz_without_splits(tmp_path, keys):
    parts = (BYTES, np.arange(6).reshape(6, 1), np.array(list("aabbcc")))
    np.savez_compressed(tmp_path / "cells.npz", **dict(zip(keys, parts, strict=False)))
    images = load(tmp_path / "cells.npz")
    np.testing.assert_array_equal(images.images, BYTES)
    assert images.name == "cells"
    if len(keys) == 3:
        assert list(images.labels) == list(range(6))
        assert list(images.groups) == list("aabbcc")


@pytest.mark.parametrize("pattern", ["{part}_{split}", "{split}_{part}"])
def test_npz_with_splits(tmp_path, pattern):
    arrays = {}
    for split, rows in {"train": [0, 1, 2], "test": [3, 4], "val": [5]}.items():
        arrays[pattern.format(part="x", split=split)] = BYTES[rows]
        arrays[pattern.format(part="y", split=split)] = np.arange(6)[rows]
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    assert list(load(str(path), split="test").labels) == [3, 4]
    assert list(load(path, split="validation").labels) == [5]
    assert load(path).checksum() == load(path, split="train").checksum()
    assert load(path, size=4, channels=1).shape == (3, 4, 4, 1)


def test_npz_with_masks(tmp_path):
    path = tmp_path / "cells.npz"
    for key, saved in {"y": 255 * MASKS, "masks": MASKS[..., np.newaxis].astype(bool)}.items():
        np.savez(path, x=BYTES / 255, stack=True, **{key: saved})
        masked = load(path, masks=True, channels=1)
        np.testing.assert_array_equal(masked.masks[..., 0], MASKS)
        assert (masked.value_range, masked.channels, masked.stack) == ("byte", 1, True)
    np.savez(path, x=BYTES, y=MASKS)
    assert not load(path).stack  # nobody guesses


def test_npz_errors_name_file_and_keys(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=BYTES, y=np.arange(6))
    with pytest.raises(NoSplitError, match=r"set\.npz.*as x_test.*keys \['x', 'y'\]"):
        load(path, split="test")
    np.savez(path, pictures=BYTES)
    with pytest.raises(DataError, match=r"as x or images.*keys \['pictures'\]"):
        load(path)
    np.savez(path, x=BYTES, y=np.arange(5))
    with pytest.raises(DataError, match=r"In the file .*set\.npz: .*shape=\(5,\)"):
        load(path)
