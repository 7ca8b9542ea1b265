import subprocess
import sys
import zipfile

import numpy as np
import pytest
from draws import RNG
from skimage.data import immunohistochemistry

from ganlib.data import DataError, ImageSet, check, load
from ganlib.data.npz import load_npz

BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


# -- importing ---------------------------------------------------------------------------------


def test_import_is_light():
    heavy = ("keras", "tensorflow", "tensorflow_datasets", "mlxtend", "pandas", "torch", "jax")
    code = (
        "import sys, ganlib.data\n"
        "from ganlib.data import DataError, ImageSet, check, load\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"


def test_unknown_name_is_an_attribute_error():
    import ganlib.data

    assert {"Batches", "load"} <= set(dir(ganlib.data))
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = ganlib.data.laod


# -- ImageSet ----------------------------------------------------------------------------------


def test_bytes_stay_bytes_and_floats_become_float32():
    assert ImageSet(BYTES.astype("int64")).images.dtype == np.uint8
    assert ImageSet(BYTES.astype("float64")).value_range == "byte"
    unit = ImageSet(BYTES / 255)
    assert (unit.images.dtype, unit.value_range) == (np.float32, "unit")
    assert ImageSet(np.zeros((2, 4, 5)), value_range="signed").shape == (2, 4, 5, 1)


def test_as_range_is_float32_and_exact():
    image_set = ImageSet(BYTES)
    for value_range in ("byte", "unit", "signed"):
        assert image_set.as_range(value_range).dtype == np.float32
    signed = ImageSet(image_set.as_range("signed"), value_range="signed")
    np.testing.assert_array_equal(signed.as_range("byte"), BYTES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": np.zeros((4, 4))}, r"image\[np.newaxis\].*Received: shape=\(4, 4\)"),
        ({"images": np.zeros((2, 4, 4), bool)}, r"masks.*Received: dtype=bool"),
        ({"images": np.full((2, 4, 4), 999.0)}, r"Rescale.*maximum=999"),
        ({"images": np.full((2, 4, 4), 0.5), "value_range": "byte"}, r"whole numbers.*minimum=0.5"),
        ({"images": np.full((2, 4, 4), 300), "value_range": "byte"}, r"maximum=300"),
        ({"images": BYTES, "value_range": "percent"}, r"Received: value_range='percent'"),
        ({"images": BYTES, "labels": [0, 1]}, r"one integer per image.*Received: shape=\(2,\)"),
        ({"images": BYTES, "labels": np.eye(6)}, r"argmax.*Received: shape=\(6, 6\)"),
        ({"images": BYTES, "labels": np.zeros(6)}, r"dtype=float64"),
        ({"images": BYTES, "groups": np.zeros(6)}, r"integer or string.*dtype=float64"),
    ],
)
def test_image_set_refuses_what_does_not_fit(fields, message):
    with pytest.raises(DataError, match=message):
        ImageSet(**fields)


def test_checksum_is_pinned():
    image_set = ImageSet(np.arange(8, dtype="uint8").reshape(2, 2, 2), labels=[0, 1])
    expected = "e6d8e41eeeceafe5c83dde9e6a9d3a31b246a0d883539630c6a0c28d6769298e"
    assert image_set.checksum() == expected


def test_checksum_feels_every_part_and_no_layout():
    base = ImageSet(BYTES, labels=range(6), groups=list("aabbcc"))
    swapped = BYTES.copy()
    swapped[0, 0, 0, 0] ^= 1
    others = [
        ImageSet(swapped, base.labels, base.groups),
        ImageSet(BYTES, base.labels[::-1], base.groups),
        ImageSet(BYTES, base.labels, base.groups[::-1]),
        ImageSet(BYTES, base.labels),
        ImageSet(BYTES.reshape(6, 4, 16, 3), base.labels, base.groups),
        ImageSet(BYTES.astype("float32") / 255, base.labels, base.groups),
    ]
    assert len({base.checksum(), *(other.checksum() for other in others)}) == 7
    same = ImageSet(np.asfortranarray(BYTES), np.arange(6, dtype=">i4"), np.array(list("aabbcc")))
    assert same.checksum() == base.checksum()


def test_subset_keeps_what_belongs_together():
    part = ImageSet(BYTES, labels=range(6), groups=list("aabbcc"), name="set").subset([5, 0])
    np.testing.assert_array_equal(part.images, BYTES[[5, 0]])
    assert (list(part.labels), list(part.groups), part.name) == ([5, 0], ["c", "a"], "set")


def test_split_is_stratified_complete_and_repeatable():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    ids = np.arange(100).reshape(100, 1, 1, 1)
    image_set = ImageSet(ids, labels)
    train, test = image_set.split(0.8, seed=3)
    assert list(np.bincount(train.labels)) == [40, 24, 16]
    assert list(np.bincount(test.labels)) == [10, 6, 4]
    both = np.concatenate([train.images.ravel(), test.images.ravel()])
    assert sorted(both) == list(range(100))
    assert (np.diff(train.images.ravel().astype(int)) > 0).all()
    assert train.checksum() == image_set.split(0.8, seed=3)[0].checksum()
    assert train.checksum() != image_set.split(0.8, seed=4)[0].checksum()


@pytest.mark.parametrize("labelled", [False, True])
def test_split_leaks_no_group(labelled):
    groups = np.repeat(np.arange(40), RNG.integers(1, 6, 40))
    labels = groups % 2 if labelled else None
    order = RNG.permutation(len(groups))
    labels = labels[order] if labelled else None
    image_set = ImageSet(np.zeros((len(groups), 2, 2), "uint8"), labels, groups[order])
    train, test = image_set.split(0.7, seed=0)
    assert not set(train.groups) & set(test.groups)
    assert set(train.groups) | set(test.groups) == set(range(40))
    assert len(train) / len(image_set) == pytest.approx(0.7, abs=0.06)
    if labelled:
        assert train.labels.mean() == pytest.approx(image_set.labels.mean(), abs=0.06)


def test_split_errors():
    with pytest.raises(ValueError, match=r"\(0, 1\).*Received: fraction=1.0"):
        ImageSet(BYTES).split(1.0, seed=0)
    one_group = ImageSet(BYTES, groups=[1] * 6, name="scans")
    with pytest.raises(DataError, match=r"'scans'.*more groups.*fraction=0.5, 6 images, 1 groups"):
        one_group.split(0.5, seed=0)
    with pytest.raises(DataError, match=r"one side empty.*0 images"):
        ImageSet(BYTES[:0]).split(0.5, seed=0)


def test_representations():
    image_set = ImageSet(BYTES, labels=[0, 0, 0, 1, 1, 1], name="a<b", synthetic=True)
    assert repr(image_set) == "ImageSet('a<b', 6 × 8×8×3, byte, 2 classes, synthetic)"
    table = image_set._repr_html_()
    assert "a&lt;b" in table
    assert image_set.checksum()[:12] in table


# -- check -------------------------------------------------------------------------------------


def test_check_returns_what_is_good():
    image_set = ImageSet(BYTES, labels=range(6))
    assert check(image_set, channels=3, size=8, labels=True, minimum=6) is image_set


def test_check_reports_nan_and_infinities():
    images = (BYTES / 255).astype("float32")
    images[2, 3, 4, 1] = np.nan
    images[5, 0, 0, 0] = np.inf
    message = r"'faces'.*nan_to_num.*Received: 2 of 1152 values.*images\[2, 3, 4, 1\] = nan"
    with pytest.raises(DataError, match=message):
        check(ImageSet(images, name="faces"))


@pytest.mark.parametrize(
    ("fields", "needs", "message"),
    [
        ({}, {"channels": 1}, r"must have 1 channel: .*channels=1.*shape=\(6, 8, 8, 3\)"),
        ({}, {"size": 28}, r"28×28 pixels: load them with size=28. Received: 8×8"),
        ({}, {"labels": True}, r"no labels.*subfolder per class.*Received: labels=None"),
        ({}, {"minimum": 7}, r"too few images.*Received: 6 images, at least 7"),
        ({"images": BYTES[:0]}, {}, r"is empty: add images"),
        ({"images": np.full((3, 4, 4), 7)}, {}, r"are equal.*3 images, every value 7"),
        ({"images": np.zeros((2, 3, 64, 64))}, {"channels": 3}, r"np.moveaxis\(images, 1, -1\)"),
        (
            {"images": BYTES.astype("float32"), "value_range": "unit"},
            {},
            r'look like "byte".*maximum=255',
        ),
    ],
)
def test_check_names_problem_and_remedy(fields, needs, message):
    with pytest.raises(DataError, match=message) as raised:
        check(ImageSet(**{"images": BYTES, "name": "faces", **fields}), **needs)
    assert "'faces'" in str(raised.value)


# -- load: arrays and the embedded sets --------------------------------------------------------


def test_load_returns_an_image_set_as_it_is():
    image_set = ImageSet(BYTES)
    assert load(image_set) is image_set
    assert load(image_set, size=8, channels=3) is image_set
    assert load(BYTES / 255, value_range="signed").value_range == "signed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": BYTES, "split": "test"}, r"\.split\(0\.8, seed=0\).*split='test'"),
        ({"spec": 3}, r"ImageSet, an array, \"digits\".*Received: int"),
        ({"spec": "no/such/place"}, r"tfds:NAME.*Received: 'no/such/place' \(nothing there\)"),
        ({"spec": __file__}, r"test_data\.py' \(a file of another kind\)"),
        ({"spec": BYTES, "size": 0}, r"`size` must be.*Received: size=0"),
        ({"spec": BYTES, "channels": 2}, r"must be 1 or 3. Received: channels=2"),
        ({"spec": BYTES[..., :2], "channels": 3}, r"moveaxis.*Received: images of 2 channels"),
        (
            {"spec": "digits", "split": "validation"},
            r"digits.*\"train\" and \"test\".*'validation'",
        ),
        ({"spec": "tissue", "split": "dev"}, r"tissue.*\"train\" and \"test\".*split='dev'"),
    ],
)
def test_load_errors(arguments, message):
    with pytest.raises(DataError, match=message):
        load(**arguments)


def test_channels_are_bt601_luma_or_repeats():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], "uint8")
    grey = load(colours.reshape(4, 1, 1, 3), channels=1)
    assert list(grey.images.ravel()) == [76, 150, 29, 255]
    assert load(BYTES[..., :1], channels=3).shape == (6, 8, 8, 3)
    alpha = np.concatenate([BYTES, BYTES[..., :1]], axis=-1)
    np.testing.assert_array_equal(load(alpha, channels=3).images, BYTES)


def test_size_crops_the_centre_and_resizes():
    images = np.zeros((1, 4, 8, 1), "uint8")
    images[:, :, 2:6] = 200
    assert (load(images, size=4).images == 200).all()
    assert (load(images, size=2).images == 200).all()


def test_resized_floats_stay_in_their_range():
    edge = np.zeros((1, 16, 16, 2), "float32")
    edge[:, :, 8:] = 1.0
    resized = load(edge, size=24).images
    assert resized.dtype == np.float32
    assert (resized.min(), resized.max()) == (0.0, 1.0)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_are_real_and_balanced(digits):
    check(digits, channels=1, size=28, labels=True, minimum=5000)
    assert list(np.bincount(digits.labels)) == [500] * 10
    assert not digits.synthetic
    assert "MNIST" in digits.origin
    assert repr(digits) == "ImageSet('digits', 5000 × 28×28×1, byte, 10 classes, real)"


def test_digits_have_a_fixed_split(digits):
    train, test = load("digits", split="train"), load("digits", split="test")
    assert list(np.bincount(train.labels)) == [400] * 10
    assert list(np.bincount(test.labels)) == [100] * 10
    assert train.checksum() == digits.split(0.8, seed=0)[0].checksum()
    assert test.checksum() == digits.split(0.8, seed=0)[1].checksum()


def test_tissue_is_crops_of_the_picture_and_tiles_share_no_pixel():
    tissue = check(load("tissue"), channels=3, size=32, minimum=1600)
    assert repr(tissue) == "ImageSet('tissue', 1600 × 32×32×3, byte, 64 groups, real)"
    assert "not lung tissue" in tissue.origin
    assert tissue.checksum() == load("tissue").checksum()
    picture = immunohistochemistry()
    owner = np.full(picture.shape[:2], -1)
    places = np.stack(np.unravel_index(np.arange(1600), (8, 8, 5, 5)), axis=1)
    for (row, column, down, right), crop, group in zip(
        places, tissue.images, tissue.groups, strict=True
    ):
        top, left = 64 * row + 8 * down, 64 * column + 8 * right
        window = slice(top, top + 32), slice(left, left + 32)
        np.testing.assert_array_equal(crop, picture[window])
        assert set(np.unique(owner[window])) <= {-1, group}
        owner[window] = group
    assert list(np.bincount(owner.ravel())) == [64 * 64] * 64  # every pixel is used


def test_tissue_has_a_fixed_split_by_tile():
    tissue, train, test = (load("tissue", split=split) for split in (None, "train", "test"))
    tiles = [set(part.groups) for part in (train, test)]
    assert [len(part) for part in (train, test)] == [51 * 25, 13 * 25]
    assert tiles[0].isdisjoint(tiles[1])
    assert tiles[0] | tiles[1] == set(range(64))
    for part in (train, test):
        rows = np.isin(tissue.groups, part.groups)
        assert part.checksum() == tissue.subset(rows).checksum()
    small = load("tissue", "test", size=16, channels=1)
    assert small.shape == (325, 16, 16, 1)
    assert list(small.groups) == list(test.groups)


# -- load: .npz --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [("x", "y", "group"), ("images", "labels", "groups"), ("X", "Y", "GROUP"), ("data",)],
)
def test_npz_without_splits(tmp_path, keys):
    parts = (BYTES, np.arange(6).reshape(6, 1), np.array(list("aabbcc")))
    np.savez_compressed(tmp_path / "cells.npz", **dict(zip(keys, parts, strict=False)))
    image_set = load(tmp_path / "cells.npz")
    np.testing.assert_array_equal(image_set.images, BYTES)
    assert (image_set.name, str(tmp_path) in image_set.origin) == ("cells", False)
    if len(keys) == 3:
        assert list(image_set.labels) == list(range(6))
        assert list(image_set.groups) == list("aabbcc")


@pytest.mark.parametrize("pattern", ["{part}_{split}", "{split}_{part}"])
def test_npz_with_splits(tmp_path, pattern):
    slices = {"train": slice(0, 4), "test": slice(4, 6)}
    arrays = {}
    for split, rows in slices.items():
        arrays[pattern.format(part="x", split=split)] = BYTES[rows]
        arrays[pattern.format(part="y", split=split)] = np.arange(6)[rows]
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    assert list(load(str(path), split="test").labels) == [4, 5]
    assert list(load(path, split="train").labels) == [0, 1, 2, 3]
    assert load(path).checksum() == load(path, split="train").checksum()
    assert load(path, size=4, channels=1).shape == (4, 4, 4, 1)


def test_npz_errors_name_file_and_keys(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(DataError, match=r"There is no file .*set\.npz"):
        load(path)
    np.savez(path, x=BYTES, y=np.arange(6))
    message = r"set\.npz.*\.split\(0\.8, seed=0\), or save them as x_test.*keys \['x', 'y'\]"
    with pytest.raises(DataError, match=message):
        load(path, split="test")
    np.savez(path, pictures=BYTES)
    with pytest.raises(DataError, match=r"as x or images.*keys \['pictures'\]"):
        load(path)
    np.savez(path, x=BYTES, y=np.arange(5))
    with pytest.raises(DataError, match=r"In the file .*set\.npz: .*Received: shape=\(5,\)"):
        load(path)


def test_npz_with_objects_is_refused_unread(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([BYTES[0], None], dtype=object))
    with pytest.raises(DataError, match=r"objects\.npz holds Python objects.*plain arrays.*x"):
        load(path)


def test_broken_npz(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, x=BYTES)
    data = whole.read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    broken = {
        "short": data[: len(data) // 2],
        "damaged": bytes(damaged),
        "text": b"x",
        "empty": b"",
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.npz is not a whole .npz.*savez_compressed"):
            load(path)
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("x.npy", b"no array at all")
    with pytest.raises(DataError, match=r"liar\.npz is not a whole"):
        load(tmp_path / "liar.npz")


def test_npz_beyond_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "big.npz"
    np.savez_compressed(path, x=np.zeros((64, 64, 64), "uint8"))
    assert load_npz(path, limit=2**18)["images"].shape == (64, 64, 64)
    with pytest.raises(DataError, match=r"big\.npz would expand to 0\.0 GiB, beyond the limit"):
        load_npz(path, limit=2**18 - 1)
    # A bomb: the header announces 64 TiB, and the file has a hundred bytes.
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**30, 256, 256)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(DataError, match=r"65,536\.0 GiB, beyond the limit of 16\.0 GiB.*folder"):
        load(path)
