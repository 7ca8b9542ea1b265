"""Image folders and TensorFlow Datasets."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from ganlib.data import DataError, load, load_photos
from ganlib.data.assemble import assemble
from ganlib.data.folder import EXTENSIONS


def save_images(folder, names, size=(8, 6), mode="RGB"):
    """Writes one distinct image per name; `size` is (width, height)."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, 2 * i, 3 * i)).convert(mode).save(path)
    return folder


# -- load: folders -----------------------------------------------------------------------------


def test_folder_is_sorted_and_takes_every_extension(tmp_path):
    names = [f"{letter}{end}" for letter, end in zip("gfedcba", EXTENSIONS, strict=True)]
    save_images(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image either")
    image_set = load(tmp_path)
    assert image_set.shape == (7, 6, 8, 3)
    reds = image_set.images[:, 0, 0, 0].astype(int)
    np.testing.assert_allclose(reds, range(6, -1, -1), atol=3)  # JPEG and WebP are lossy
    assert image_set.labels is None
    assert image_set.name == tmp_path.name


def test_subfolders_are_classes(tmp_path):
    save_images(tmp_path, ["dog/1.png", "cat/2.png", "cat/old/3.png"])
    image_set = load(tmp_path)
    assert image_set.class_names == ("cat", "dog")
    assert list(image_set.labels) == [0, 0, 1]
    assert list(image_set.images[:, 0, 0, 0]) == [1, 2, 0]
    save_images(tmp_path, ["stray.png"])
    assert load(tmp_path).labels is None


def test_folder_splits(tmp_path):
    save_images(tmp_path, ["train/a/1.png", "train/b/2.png", "test/a/3.png"])
    assert len(load(tmp_path, split="test")) == 1
    assert load(tmp_path).class_names == load(tmp_path, split="train").class_names == ("a", "b")
    with pytest.raises(DataError, match=r"no subfolder 'val'.*\.split.*\['test', 'train'\]"):
        load(tmp_path, split="val")


def test_folder_with_mixed_shapes(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    save_images(tmp_path, ["c.png"], size=(10, 4))
    message = r"size=….*4×10 with 3 channels, as c\.png; 6×8 with 3 channels, as a\.png"
    with pytest.raises(DataError, match=message):
        load(tmp_path)
    assert load(tmp_path, size=4).shape == (3, 4, 4, 3)
    save_images(tmp_path, ["c.png"], mode="L")
    with pytest.raises(DataError, match=r"channels=….*6×8 with 1 channel, as c\.png"):
        load(tmp_path)
    assert load(tmp_path, channels=1).shape == (3, 6, 8, 1)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_pillow_modes(tmp_path, mode, channels):
    assert load(save_images(tmp_path, ["a.png"], mode=mode)).shape == (1, 6, 8, channels)


def test_palette_with_transparency(tmp_path):
    palette = Image.new("P", (8, 6), 1)
    palette.putpalette([9, 9, 9, 200, 100, 50, 7, 7, 7])
    palette.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert list(load(tmp_path).images[0, 0, 0]) == [200, 100, 50]


def test_sixteen_bit_image_is_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40000, "uint16")).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match=r"deep\.tif has more than 8 bits.*\.npz of floats"):
        load(tmp_path)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to view
    Image.new("L", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert load(tmp_path).shape == (1, 8, 4, 1)


def test_corrupt_image_is_named(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"], size=(64, 64))
    whole = (tmp_path / "b.png").read_bytes()
    for content in (b"no image", whole[: len(whole) // 2]):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.png cannot be read: replace or delete"):
            load(tmp_path)


def test_empty_folder_is_named_with_the_extensions(tmp_path):
    folder = tmp_path / "nothing"
    folder.mkdir()
    with pytest.raises(DataError, match=r"nothing: files ending in \.png, \.jpg.*\.webp"):
        load(folder)


@pytest.mark.parametrize("pixels", [100, 30])  # Pillow only warns up to twice its limit
def test_decompression_bomb_is_an_error(tmp_path, monkeypatch, pixels):
    save_images(tmp_path, ["bomb.png"], size=(10, 11))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(DataError, match=r"bomb\.png is larger than .*MAX_IMAGE_PIXELS if you"):
        load(tmp_path)


@pytest.mark.parametrize("target", ["secret.png", "."])
def test_symbolic_link_out_of_the_folder_is_refused(tmp_path, target):
    save_images(tmp_path / "outside", ["secret.png"])
    save_images(tmp_path / "set", ["a.png"])
    link = tmp_path / "set" / "link.png"
    os.symlink(tmp_path / "outside" / target, link)
    with pytest.raises(DataError, match=r"link\.png leads out of.*copy what it points to"):
        load(tmp_path / "set")
    link.unlink()
    os.symlink(tmp_path / "set" / "a.png", link)
    assert len(load(tmp_path / "set")) == 2


# -- load: TensorFlow Datasets -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tfds(tmp_path_factory):
    """TFDS with a real data set of its own, built by TFDS itself."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class GanlibTiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [  # noqa: RUF012
            tfds.core.BuilderConfig(name="labelled"),
            tfds.core.BuilderConfig(name="pairs"),
            tfds.core.BuilderConfig(name="photos"),
            tfds.core.BuilderConfig(name="text"),
            tfds.core.BuilderConfig(name="deep"),
            tfds.core.BuilderConfig(name="offline"),
        ]

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3))
            features = {
                "labelled": {
                    "image": image,
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                },
                "pairs": {"lr": image, "hr": image},
                "photos": {"lr": image, "hr": image},
                "deep": {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16)},
                "text": {"words": tfds.features.Text()},
                "offline": {"image": image},
            }[self.builder_config.name]
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            if self.builder_config.name == "offline":
                raise ConnectionError("no route to host")
            held_out = "validation" if self.builder_config.name == "photos" else "test"
            return {"train": self._generate_examples(6), held_out: self._generate_examples(2)}

        def _generate_examples(self, n=0):
            for i in range(n):
                image = np.full((8, 6, 3), 10 * i, "uint8")
                values = {"image": image, "label": i % 2, "lr": image[::2], "hr": image}
                values["words"] = str(i)
                if self.builder_config.name == "deep":
                    values["image"] = np.full((4, 4, 1), 1000, "uint16")
                yield i, {key: values[key] for key in self.info.features}

    folder = str(tmp_path_factory.mktemp("tfds"))
    with pytest.MonkeyPatch.context() as patch:
        builder = tfds.builder
        patch.setattr(tfds, "builder", lambda name: builder(name, data_dir=folder, try_gcs=False))
        yield tfds


def test_tfds_set_is_built_and_loaded(tfds):
    train = load("tfds:ganlib_tiny/labelled")
    assert train.shape == (6, 8, 6, 3)
    assert train.class_names == ("even", "odd")
    greys = train.images[:, 0, 0, 0]
    assert sorted(greys) == [0, 10, 20, 30, 40, 50]
    np.testing.assert_array_equal(train.labels, greys // 10 % 2)
    assert train.checksum() == load("tfds:ganlib_tiny/labelled", split="train").checksum()
    assert train.name == "ganlib_tiny/labelled/1.0.0"
    test = load("tfds:ganlib_tiny/labelled", split="test", size=4, channels=1)
    assert test.shape == (2, 4, 4, 1)
    assert len(load("tfds:ganlib_tiny/labelled", split="train[:50%]")) == 3


def test_tfds_takes_the_high_resolution_image_of_a_pair(tfds):
    pairs = load("tfds:ganlib_tiny/pairs")
    assert pairs.shape == (6, 8, 6, 3)
    assert pairs.labels is None


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("tfds:ganlib_tinny", None, r"no such set.*catalog. Received: 'ganlib_tinny'"),
        ("tfds:ganlib_tiny/none", None, r"'ganlib_tiny/none' cannot be set up"),
        ("tfds:ganlib_tiny/labelled", "dev", r"\['test', 'train'\]. Received: split='dev'"),
        ("tfds:ganlib_tiny/labelled", "train[:0%]", r"cannot be read.*no data"),
        ("tfds:ganlib_tiny/deep", None, r"number 0 must have 8 bits.*Received: dtype=uint16"),
        ("tfds:ganlib_tiny/text", None, r"export the images.*features \['words'\]"),
        (
            "tfds:ganlib_tiny/offline",
            None,
            r"'ganlib_tiny/offline' cannot be downloaded.*internet.*\.npz.*no route to host",
        ),
    ],
)
def test_tfds_errors(tfds, spec, split, message):
    with pytest.raises(DataError, match=message):
        load(spec, split=split)


def reds(photos):
    return sorted(int(image[0, 0, 0]) for image in photos.images)


def test_tfds_photographs(tfds):
    photos = load_photos("tfds:ganlib_tiny/pairs")
    assert [image.shape for image in photos.images] == [(8, 6, 3)] * 8
    assert (photos.name, photos.names[0]) == ("ganlib_tiny/pairs/1.0.0", "test+train 0")
    assert reds(photos) == [0, 0, 10, 10, 20, 30, 40, 50]
    assert len(load_photos("tfds:ganlib_tiny/labelled", "train[:50%]")) == 3


@pytest.mark.parametrize("config", ["pairs", "photos"])  # train and test; train and validation
def test_tfds_photographs_have_three_splits(tfds, config):
    train, validation, test = (
        load_photos(f"tfds:ganlib_tiny/{config}", split)
        for split in ("train", "validation", "test")
    )
    assert reds(test) == [0, 10]
    assert (len(train), len(validation)) == (5, 1)
    assert sorted(reds(train) + reds(validation)) == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("tfds:ganlib_tinny", None, r"no such set.*catalog. Received: 'ganlib_tinny'"),
        ("tfds:ganlib_tiny/pairs", "dev", r"\['test', 'train'\]. Received: split='dev'"),
        ("tfds:ganlib_tiny/deep", "train", r"must have 8 bits.*dtype=uint16"),
        ("tfds:ganlib_tiny/text", "train", r"export the images.*features \['words'\]"),
    ],
)
def test_tfds_photograph_errors(tfds, spec, split, message):
    with pytest.raises(DataError, match=message):
        load_photos(spec, split)


def test_tfds_set_that_cannot_be_read(tfds, monkeypatch):
    def as_numpy(examples):
        raise OSError("disk gone")

    monkeypatch.setattr(tfds, "as_numpy", as_numpy)
    with pytest.raises(DataError, match=r"'ganlib_tiny/pairs' cannot be read.*OSError: disk gone"):
        load("tfds:ganlib_tiny/pairs")


def test_assembling_counts_the_images():
    for pairs in ([], [("a", np.zeros((4, 4, 3), "uint8"))] * 3):
        with pytest.raises(DataError, match=rf"2 images.*another split.*Received: {len(pairs)} im"):
            assemble(pairs, 2)


def test_tfds_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"pip install .*tensorflow-datasets, or give an \.npz"):
        load("tfds:mnist")


def test_tfds_that_lacks_a_package(tfds, monkeypatch):
    def builder(name):
        raise ModuleNotFoundError("No module named 'apache_beam'", name="apache_beam")

    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(DataError, match=r"a package is missing: pip install apache_beam"):
        load("tfds:mnist")
