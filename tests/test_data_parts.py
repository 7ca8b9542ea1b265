"""Division: no part sees what another one sees. And TensorFlow Datasets, which come divided."""

import itertools

import numpy as np
import pytest
from draws import RNG

from ganlib.data import DataError, Images, load, load_parts, load_train_test
from ganlib.data.container import pixels


def noise(*shape):
    return RNG.integers(0, 256, shape, "uint8")


def numbered(n, **facts):
    """Images that say which one they are."""
    images = np.broadcast_to(np.arange(n, dtype="uint8")[:, None, None, None], (n, 2, 2, 1))
    return Images(images, value_range="byte", **facts)


def ids(images):
    return [int(image.flat[0]) for image in images.images]


def contents(part):
    return {pixels(image) for image in part.images}


def test_split_is_stratified_complete_and_repeatable():
    images = numbered(100, labels=np.repeat([0, 1, 2], [50, 30, 20]))
    train, test = images.split(0.8, seed=3)
    assert list(np.bincount(train.labels)) == [40, 24, 16]
    assert sorted(ids(train) + ids(test)) == list(range(100))
    assert ids(train) == sorted(ids(train)) == ids(images.split(0.8, seed=3)[0])
    assert ids(train) != ids(images.split(0.8, seed=4)[0])


def test_split_leaks_no_group():
    groups = RNG.permutation(np.repeat(np.arange(40), RNG.integers(1, 6, 40)))
    images = numbered(len(groups), labels=groups % 2, groups=groups)
    train, test = images.split(0.7, seed=0)
    assert not set(train.groups) & set(test.groups)
    assert train.labels.mean() == pytest.approx(images.labels.mean(), abs=0.06)


@pytest.mark.parametrize("grouped", [False, True])
def test_split_keeps_equal_images_on_one_side(grouped):
    """Also where they join groups: a copy of an image in another group joins the two."""
    first = noise(30, 4, 4)
    images = np.concatenate([first, first[:10]])
    groups = np.arange(40) // 2 if grouped else None
    for seed in range(5):
        a, b = Images(images, groups=groups).split(0.6, seed)
        assert not contents(a) & contents(b)
        if grouped:
            assert not set(a.groups) & set(b.groups)


def test_a_stack_is_cut_once_and_a_slice_left_out():
    starts = set()
    for seed in range(6):
        first, second = map(ids, numbered(21, stack=True).split(0.7, seed))
        assert (len(first), len(second)) == (14, 6)
        low, high = sorted((first, second))
        assert [*low, len(low), *high] == list(range(21))
        starts.add(first[0])
    assert starts == {0, 7}


def check_parts(parts, sizes):
    for a, b in itertools.combinations(parts, 2):
        assert not contents(a) & contents(b)
    assert [len(part) for part in parts] == sizes


def test_what_has_no_parts_is_divided_at_random(tmp_path):
    images, labels = noise(420, 8, 8), np.arange(420) % 3
    np.savez(tmp_path / "all.npz", x=images, y=labels)
    parts = load_parts(tmp_path / "all.npz", channels=1)
    check_parts(parts, [303, 54, 63])
    assert np.ptp(np.bincount(parts.test.labels)) <= 1
    test = contents(parts.test)
    places = [i for i, image in enumerate(images) if pixels(image[..., None]) in test]
    assert 0.3 < np.mean(places) / 420 < 0.7  # no block of the file
    assert load_parts(load(tmp_path / "all.npz")).checksum == parts.checksum
    fewer = load_parts(tmp_path / "all.npz", most={"train": 200, "test": 50})
    check_parts(fewer, [200, 54, 50])
    assert contents(fewer.test) <= contents(parts.test)
    train, test = load_train_test(tmp_path / "all.npz")
    assert len(train) == 357
    assert test.checksum() == parts.test.checksum()


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val")])
def test_parts_of_the_source_stay_what_they_are(tmp_path, names):
    train, test = noise(400, 12, 12), noise(60, 12, 12)
    np.savez(tmp_path / "two.npz", **{f"x_{names[0]}": train, f"x_{names[1]}": test})
    parts = load_parts(tmp_path / "two.npz")  # as of DIV2K, its validation part is for testing
    check_parts(parts, [340, 60, 60])
    np.testing.assert_array_equal(parts.test.images[..., 0], test)
    most = {"train": 500, "validation": 100, "test": 70}
    sizes = [340, 60, 60] if names[1] == "test" else [289, 51, 60]
    check_parts(load_parts(tmp_path / "two.npz", most=most), sizes)


def test_training_images_that_are_held_out_are_dropped(tmp_path):
    train, test = noise(400, 12, 12), noise(60, 12, 12)
    train[7] = test[3]
    np.savez(tmp_path / "two.npz", x_train=train, x_test=test)
    parts = load_parts(tmp_path / "two.npz")
    check_parts(parts, [339, 60, 60])
    assert "1 training images were dropped that are in the test part" in parts.origin
    np.savez(tmp_path / "two.npz", x_train=test, x_test=test)
    with pytest.raises(DataError, match=r"60 images in both"):
        load_parts(tmp_path / "two.npz")
    groups = {"group_train": np.arange(400), "group_test": np.arange(399, 459)}
    np.savez(tmp_path / "two.npz", x_train=train, x_test=test, **groups)
    with pytest.raises(DataError, match=r"number the groups apart.*groups \[399\]"):
        load_parts(tmp_path / "two.npz")


def placed(n, height=64, width=64, **facts):
    """Masked images each of whose pixels says where it is, across all images."""
    place = np.arange(n * height * width, dtype="uint32").reshape(n, height, width)
    images = np.stack([place >> 16, place >> 8, place], axis=-1).astype("uint8")
    return Images(images, place % 2, **facts)


def seen(part):
    """The places of all pixels of a part."""
    images = part.images.astype("uint32")
    return (images[..., 0] << 16) + (images[..., 1] << 8) + images[..., 2]


def check_tiles(parts):
    for part in parts:
        np.testing.assert_array_equal(part.masks[..., 0], seen(part) % 2)
    for a, b in itertools.combinations(parts, 2):
        assert not set(seen(a).ravel().tolist()) & set(seen(b).ravel().tolist())


def test_tiles_of_whole_images():
    parts = load_parts(placed(20, 50, 64), tile=16)
    check_tiles(parts)
    # 50 rows give three tiles, and two pixels that are dropped.
    assert [len(part) for part in parts] == [14 * 12, 3 * 12, 3 * 12]
    assert len(load_parts(placed(20, 57, 64), tile=16).train) == 14 * 16  # the last ones overlap
    most = load_parts(placed(20, 50, 64), tile=16, most={"train": 30})
    assert [len(part) for part in most] == [30, 36, 36]
    assert contents(most.train) <= contents(parts.train)


def test_tiles_know_their_images_or_groups():
    parts = load_parts(placed(20), tile=32)
    for part in parts:
        np.testing.assert_array_equal(part.groups.astype(int), seen(part)[:, 0, 0] // 64**2)
        assert part.names[1] == f"{part.groups[1]} at 0, 32"
    for seed in range(3):
        grouped = load_parts(placed(20, groups=np.arange(20) // 2), tile=32, seed=seed)
        found = sorted(group for part in grouped for group in set(part.groups.tolist()))
        assert found == list(range(10))


def test_tiles_of_a_stack_have_a_slice_between_the_parts():
    for seed in range(4):
        parts = load_parts(placed(30, stack=True), tile=32, seed=seed)
        slices = sorted(sorted(set(part.groups.astype(int).tolist())) for part in parts)
        for block in slices:
            assert block == list(range(block[0], block[-1] + 1))
        assert [b[0] - a[-1] for a, b in itertools.pairwise(slices)] == [2, 2]


@pytest.mark.parametrize("height", [64, 300])
def test_few_images_are_divided_in_bands(height):
    for seed in range(4):
        parts = load_parts(placed(2, height, 200), tile=16, seed=seed)
        check_tiles(parts)
        axis = int(height < 200)
        spans = []
        for part in parts:
            places = seen(part) % (height * 200)
            places = places % 200 if axis else places // 200
            spans.append((int(places.min()), int(places.max())))
            assert set(part.groups.tolist()) == {"0", "1"}
        gaps = [b[0] - a[1] for a, b in itertools.pairwise(sorted(spans))]
        assert min(gaps) > 16
    with pytest.raises(DataError, match=r"3 parts.*4 columns of tiles, 5 needed"):
        load_parts(placed(2, 64, 64), tile=16)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (placed(20), {"tile": 65}, r"smaller than a patch of 65×65.*0 \(64×64\)"),
        (placed(6), {"tile": 64}, r"too few images.*1 images, at least 4"),
        (placed(2, groups=[1, 2]), {"tile": 16}, r"one side empty"),
    ],
)
def test_tiles_that_cannot_be(images, options, message):
    with pytest.raises(DataError, match=message):
        load_parts(images, **options)


CONFIGS = ("labelled", "pets", "offline")


@pytest.fixture(scope="module")
def tfds(tmp_path_factory):
    """TFDS with a real data set of its own, built by TFDS itself."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class GanlibTiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]  # noqa: RUF012

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3))
            mask = tfds.features.Image(shape=(None, None, 1), use_colormap=True)
            features = {
                "labelled": {"image": image, "label": tfds.features.ClassLabel(num_classes=2)},
                "pets": {"image": image, "segmentation_mask": mask},
                "offline": {"image": image},
            }[self.builder_config.name]
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            if self.builder_config.name == "offline":
                raise ConnectionError("no route to host")
            return {"train": self._examples(12), "validation": self._examples(4, 12)}

        def _generate_examples(self):
            raise NotImplementedError

        def _examples(self, n, start=0):
            for i in range(start, start + n):
                image = np.random.default_rng(i).integers(0, 256, (16, 24, 3), "uint8")
                image[..., 1:] = 10 * i  # the red channel tells the mask
                mask = 1 + image[..., :1] // 86  # 1, 2 and 3
                values = {"image": image, "label": i % 2, "segmentation_mask": mask}
                yield i, {key: values[key] for key in self.info.features}

    folder = str(tmp_path_factory.mktemp("tfds"))
    with pytest.MonkeyPatch.context() as patch:
        builder = tfds.builder
        patch.setattr(tfds, "builder", lambda name: builder(name, data_dir=folder, try_gcs=False))
        yield tfds


def test_tfds(tfds):
    train = load("tfds:ganlib_tiny/labelled")
    assert (train.shape, train.name) == ((12, 16, 24, 3), "ganlib_tiny/labelled/1.0.0")
    numbers = train.images[:, 0, 0, 1] // 10
    np.testing.assert_array_equal(train.labels, numbers % 2)
    assert len(load("tfds:ganlib_tiny/labelled", split="train[:50%]")) == 6


def test_masks_of_tfds_and_no_more_than_needed(tfds):
    pets = load("tfds:ganlib_tiny/pets", "validation", masks=True)  # pets with their borders
    np.testing.assert_array_equal(pets.masks[..., 0], pets.images[..., 0] // 86 != 1)
    parts = load_parts("tfds:ganlib_tiny/pets", tile=8, channels=3)
    assert [len(part) for part in parts] == [60, 12, 24]  # validation is for testing
    most = {"train": 4, "validation": 2, "test": 2}
    few = load_parts("tfds:ganlib_tiny/pets", tile=8, most=most)
    assert {name.split()[1] for name in few.train.names} <= set("01234567")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("ganlib_tinny", {}, r"'ganlib_tinny' is unknown or cannot be set up"),
        ("ganlib_tiny/labelled", {"split": "dev"}, r"'validation'\]. Received: split='dev'"),
        ("ganlib_tiny/labelled", {"masks": True}, r"has no masks.*\['image', 'label'\]"),
        ("ganlib_tiny/offline", {}, r"cannot be downloaded.*internet.*\.npz.*no route to host"),
    ],
)
def test_tfds_errors(tfds, spec, options, message):
    with pytest.raises(DataError, match=message):
        load(f"tfds:{spec}", **options)
