"""`load_masks`: folders, TIFF stacks, .npz files and TensorFlow Datasets."""

import os
import random

import numpy as np
import pytest
from draws import RNG
from PIL import Image
from test_data_neighbours import smooth_stack

from ganlib.data import DataError, MaskedImages, NoSplitError, load_masks, load_tiles


def noise(n, height=6, width=8, *channels):
    return RNG.integers(0, 256, (n, height, width, *channels), "uint8")


def masks_of(images):
    """Masks that the images tell, so that pairs can be checked."""
    return (images > 127).astype("uint8")


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)


def save_folder(root, names, image_end=".png", mask_end=".png", places=("images", "masks"), **size):
    """A pair a name, written in a shuffled order; returns the images by name."""
    images = dict(zip(names, noise(len(names), **size), strict=True))
    files = [(places[0], image_end, name, image) for name, image in images.items()]
    files += [(places[1], mask_end, name, masks_of(image)) for name, image in images.items()]
    random.Random(0).shuffle(files)
    for place, end, name, array in files:
        save(root / place / f"{name}{end}", array)
    return images


def save_stack(path, arrays, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(array) for array in arrays)
    first.save(path, save_all=True, append_images=rest, **options)


# -- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_end", "mask_end", "places"),
    [
        (".png", ".png", ("images", "masks")),
        (".tif", ".png", ("image", "mask")),
        (".bmp", "_mask.png", ("imgs", "labels")),
        (".png", "_seg.tiff", ("img", "annotations")),
        (".webp", "_labels.bmp", ("images", "label")),
    ],
)
def test_pairs_are_made_by_name(tmp_path, image_end, mask_end, places):
    names = ["b", "sub/a", "a.1", "c_x", "sub/b"]
    images = save_folder(tmp_path, names, image_end, mask_end, places)
    (tmp_path / places[0] / "notes.txt").write_text("no image")
    masked = load_masks(str(tmp_path))
    assert masked.names == tuple(sorted(names))
    assert (masked.name, masked.synthetic, masked.stack) == (tmp_path.name, False, False)
    assert str(tmp_path.parent) not in masked.origin
    for name, image, mask in zip(masked.names, masked.images, masked.masks, strict=True):
        np.testing.assert_array_equal(mask, masks_of(images[name]))
        if image_end != ".webp":  # lossy
            np.testing.assert_array_equal(image[..., 0], images[name])


def test_images_whose_own_names_end_like_a_masks(tmp_path):
    images = save_folder(tmp_path, ["a_seg", "b_mask", "c_label"])
    for end, array in (("", 0), ("_mask", 1)):
        path = tmp_path / "masks" / f"b_mask{end}.png"
        path.unlink(missing_ok=True)
        if array:
            save(path, masks_of(images["b_mask"]))
    masked = load_masks(tmp_path)
    assert masked.names == ("a_seg", "b_mask", "c_label")
    np.testing.assert_array_equal(masked.masks[1], masks_of(images["b_mask"]))


def test_slices_are_sorted_by_number(tmp_path):
    volume = smooth_stack(24)[..., 0]
    for i, image in enumerate(volume):
        save(tmp_path / "images" / f"slice{i}.png", image)
        save(tmp_path / "masks" / f"slice{i}.png", masks_of(image))
    masked = load_masks(tmp_path)
    assert masked.stack
    assert masked.names == tuple(f"slice{i}" for i in range(24))
    ends = [
        (tiles.sources.min(), tiles.sources.max()) for tiles in load_tiles(tmp_path, 16).values()
    ]
    assert all(b[0] - a[1] == 2 for a, b in zip(sorted(ends), sorted(ends)[1:], strict=False))


def test_partners_that_are_missing(tmp_path):
    save_folder(tmp_path, "abcdefg")
    for name in "bcdef":
        (tmp_path / "masks" / f"{name}.png").unlink()
    message = r"images have no mask of the same.*b\.png, .*c\.png, .*d\.png and 2 more \(5 of 7 im"
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path)
    for name in "bcdef":
        (tmp_path / "images" / f"{name}.png").unlink()
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"masks have no image.*masks.a\.png \(1 of 2 masks\)$"):
        load_masks(tmp_path)


def test_partners_that_are_doubled(tmp_path):
    save_folder(tmp_path, "abc")
    save(tmp_path / "masks" / "b_mask.png", noise(1)[0])
    with pytest.raises(DataError, match=r"Some masks have the same.*masks.b\.png, .*b_mask\.png$"):
        load_masks(tmp_path)
    for name in "abc":
        save(tmp_path / "images" / f"{name}.bmp", noise(1)[0])
    message = r"Some images have the same.*a\.bmp, .*a\.png and 2 more such names$"
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path)


def test_places_that_are_missing_or_doubled(tmp_path):
    save_folder(tmp_path, "ab")
    (tmp_path / "masks").rename(tmp_path / "mascs")
    with pytest.raises(DataError, match=r"one place of the names masks,.*Received: none of them$"):
        load_masks(tmp_path)
    (tmp_path / "mascs").rename(tmp_path / "masks")
    save_stack(tmp_path / "img.tif", noise(2))
    with pytest.raises(DataError, match=r"one place of the names images,.*: images, img\.tif$"):
        load_masks(tmp_path)
    (tmp_path / "img.tif").rename(tmp_path / "mask.tif")
    (tmp_path / "masks").rename(tmp_path / "other")
    with pytest.raises(DataError, match=r"both be folders or both.*images and .*mask\.tif$"):
        load_masks(tmp_path)


def test_folder_with_splits(tmp_path):
    save_folder(tmp_path / "train", "abc")
    save_folder(tmp_path / "test", "de")
    assert load_masks(tmp_path, "train").names == load_masks(tmp_path).names == ("a", "b", "c")
    assert load_masks(tmp_path, "test").names == ("d", "e")
    with pytest.raises(NoSplitError, match=r"no subfolder 'val'.*Received: split='val'$"):
        load_masks(tmp_path, "val")
    save_folder(tmp_path / "plain", "fg")
    with pytest.raises(NoSplitError, match=r"no subfolder 'test'"):
        load_masks(tmp_path / "plain", "test")
    save_folder(tmp_path, "xyz")
    assert load_masks(tmp_path).names == ("x", "y", "z")


def test_folder_that_lacks_a_test_part_is_divided(tmp_path):
    save_folder(tmp_path / "train", [f"{i}" for i in range(10)], height=16, width=16)
    parts = load_tiles(tmp_path, 8)
    assert [len(part) for part in parts.values()] == [24, 8, 8]


def test_masks_of_all_modes(tmp_path):
    image = noise(1)[0]
    mask = masks_of(image)
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.ravel().tolist())
    palette.putpalette([200, 0, 0, 0, 0, 100])  # the foreground is the darker colour
    for name, saved in {
        "palette": palette,
        "bits": Image.fromarray(255 * mask).convert("1"),
        "grey": Image.fromarray(255 * mask),
        "rgb": Image.fromarray(255 * mask).convert("RGB"),
        "rgba": Image.fromarray(255 * mask).convert("RGBA"),
        "alpha": Image.fromarray(255 * mask).convert("LA"),
    }.items():
        save(tmp_path / "images" / f"{name}.png", image)
        (tmp_path / "masks").mkdir(exist_ok=True)
        saved.save(tmp_path / "masks" / f"{name}.png")
    masked = load_masks(tmp_path)
    assert len(masked) == 6
    for name, found in zip(masked.names, masked.masks, strict=True):
        np.testing.assert_array_equal(found, mask, err_msg=name)


def test_grey_and_colour_images_in_one_folder(tmp_path):
    save_folder(tmp_path, "abc")
    save(tmp_path / "images" / "b.png", noise(1, 6, 8, 3)[0])
    assert load_masks(tmp_path).channels == 1
    assert load_masks(tmp_path, channels=3).channels == 3
    with pytest.raises(DataError, match=r"In the folder .*channels=1.*1 channels in a, 3 in b$"):
        load_masks(tmp_path, channels=None)


def break_mask(folder):
    save(folder / "masks" / "b.png", noise(1, 6, 8, 3)[0])


def shrink_mask(folder):
    save(folder / "masks" / "b.png", masks_of(noise(1, 6, 4)[0]))


def deepen_image(folder):
    save(folder / "images" / "b.png", np.full((6, 8), 40000, "uint16"))


def deepen_mask(folder):
    save(folder / "masks" / "b.png", np.full((6, 8), 65535, "uint16"))


def cut_image(folder):
    path = folder / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:60])


def add_class(folder):
    save(folder / "masks" / "b.png", np.arange(48, dtype="uint8").reshape(6, 8) % 3)


def link_image(folder):
    save(folder.parent / "outside.png", noise(1)[0])
    (folder / "images" / "b.png").unlink()
    os.symlink(folder.parent / "outside.png", folder / "images" / "b.png")


def link_place(folder):
    (folder / "masks").rename(folder.parent / "elsewhere")
    os.symlink(folder.parent / "elsewhere", folder / "masks")


def add_page(folder):
    (folder / "images" / "b.png").unlink()
    save_stack(folder / "images" / "b.tif", noise(3))


def empty(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_mask, r"mask .*masks.b\.png must be black and white.*3 channels that differ$"),
        (shrink_mask, r"In the folder .*set: The mask of b must.*image 6×8, mask 6×4$"),
        (deepen_image, r"images.b\.png has more than 8 bits.*Received: Pillow mode 'I;16'$"),
        (deepen_mask, r"masks.b\.png has more than 8 bits"),
        (cut_image, r"images.b\.png cannot be read: replace or delete"),
        (add_class, r"In the folder .*set: The mask of b must be binary.*values 0, 1, 2$"),
        (link_image, r"link .*b\.png leads out of.*copy what it points to.*outside\.png$"),
        (link_place, r"link .*masks leads out of.*copy what it points to.*elsewhere$"),
        (add_page, r"images.b\.tif has several pages: .*images\.tif.*Received: 3 pages$"),
        (empty, r"no images in the folder .*masks"),
    ],
)
def test_folder_errors_name_the_file(tmp_path, spoil, message):
    save_folder(tmp_path / "set", "abc")
    spoil(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path / "set")


@pytest.mark.parametrize("split", ["train", None])
def test_split_that_is_a_link_out_of_the_folder(tmp_path, split):
    save_folder(tmp_path / "outside", "abc")
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "set" / "train")
    with pytest.raises(DataError, match=r"link .*train leads out of the folder .*set: copy"):
        load_masks(tmp_path / "set", split)
    os.symlink(tmp_path / "outside", tmp_path / "link")  # what the user names may be one
    assert len(load_masks(tmp_path / "link")) == 3


# -- TIFF stacks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [None, "test"])
def test_stack(tmp_path, split):
    images = noise(5)  # that slices are neighbours is known, though these don't look alike
    root = tmp_path / split if split else tmp_path
    save_stack(root / "images.tif", images)
    save_stack(root / "masks.tiff", 255 * masks_of(images), compression="tiff_deflate")
    masked = load_masks(tmp_path, split)
    assert masked.stack
    assert masked.names == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(np.stack(masked.images)[..., 0], images)
    np.testing.assert_array_equal(np.stack(masked.masks), masks_of(images))


def test_stack_of_colour_with_masks_of_bits_or_a_palette(tmp_path):
    images = noise(3, 6, 8, 3)
    masks = masks_of(images[..., 0])
    save_stack(tmp_path / "images.tif", images)
    bits = [Image.fromarray(255 * mask).convert("1") for mask in masks]
    bits[0].save(tmp_path / "masks.tif", save_all=True, append_images=bits[1:])
    masked = load_masks(tmp_path, channels=None)
    np.testing.assert_array_equal(np.stack(masked.images), images)
    np.testing.assert_array_equal(np.stack(masked.masks), masks)
    pages = [Image.fromarray(mask).convert("P") for mask in masks]
    for page, mask in zip(pages, masks, strict=True):
        page.putdata(mask.ravel().tolist())
        page.putpalette([200, 0, 0, 0, 0, 100])
    pages[0].save(tmp_path / "masks.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(np.stack(load_masks(tmp_path).masks), masks)


def test_stack_errors_name_file_and_page(tmp_path, monkeypatch):
    images = noise(3)
    save_stack(tmp_path / "images.tif", images)
    save_stack(tmp_path / "masks.tif", masks_of(images)[:2])
    message = r"images\.tif and .*masks\.tif must have as many pages\. Received: 3 and 2$"
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path)
    save_stack(tmp_path / "masks.tif", noise(3, 6, 8, 3))
    with pytest.raises(DataError, match=r"mask page 0 of .*masks\.tif must be black and white"):
        load_masks(tmp_path)
    save_stack(tmp_path / "masks.tif", masks_of(noise(3, 5)))
    with pytest.raises(DataError, match=r"The mask of 0 must.*image 6×8, mask 5×8$"):
        load_masks(tmp_path)
    for deep in (noise(3).astype("uint16") * 200, noise(3) / np.float32(255)):
        save_stack(tmp_path / "images.tif", deep)
        with pytest.raises(DataError, match=r"images\.tif has more than 8 bits"):
            load_masks(tmp_path)
    save_stack(tmp_path / "images.tif", [images[0], images[1].astype("uint16") * 200])
    with pytest.raises(DataError, match=r"images\.tif has more than 8 bits.*'I;16' on page 1$"):
        load_masks(tmp_path)
    save_stack(tmp_path / "images.tif", images)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with pytest.raises(DataError, match=r"images\.tif is larger than 8 pixels.*MAX_IMAGE_PIXELS"):
        load_masks(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    save_stack(tmp_path / "images.tif", noise(18))
    with pytest.raises(DataError, match=r"more than 800 pixels.*divide it.*Received: 864 pixels$"):
        load_masks(tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.78, 0.84, 0.9])
def test_stack_that_is_cut_short(tmp_path, share):
    images = noise(5, 20, 30)
    save_stack(tmp_path / "images.tif", images)
    save_stack(tmp_path / "masks.tif", masks_of(images))
    for name in ("images.tif", "masks.tif"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"images\.tif cannot be read: replace or delete"):
        load_masks(tmp_path)


# -- .npz ----------------------------------------------------------------------------------------


def test_npz(tmp_path):
    images = noise(6, 6, 8, 3)
    masks = masks_of(images[..., 0])
    path = tmp_path / "cells.npz"
    for saved in (masks, 255 * masks, masks.astype(bool), masks[..., np.newaxis]):
        np.savez(path, x=images, y=saved)
        masked = load_masks(path, channels=None)
        np.testing.assert_array_equal(np.stack(masked.images), images)
        np.testing.assert_array_equal(np.stack(masked.masks), masks)
    assert repr(masked).startswith("MaskedImages('cells', 6 × 6×8×3, ")
    assert (masked.origin, masked.groups, masked.stack) == ("File 'cells.npz'.", None, False)
    assert load_masks(str(path)).channels == 1


def test_npz_of_floats(tmp_path):
    images = noise(4)
    for low, floats in ((0, images / 255), (-1, images / 127.5 - 1)):
        np.savez(tmp_path / "a.npz", x=floats.astype("float32"), y=masks_of(images))
        masked = load_masks(tmp_path / "a.npz")
        np.testing.assert_array_equal(np.stack(masked.images)[..., 0], images, err_msg=f"{low}")


def test_npz_with_splits_and_groups(tmp_path):
    images = noise(6)
    arrays = {"x_train": images[:4], "y_train": masks_of(images[:4]), "group_train": list("aabb")}
    path = tmp_path / "a.npz"
    np.savez(path, **arrays, x_test=images[4:], y_test=masks_of(images[4:]), group_test=[1, 2])
    assert load_masks(path).groups == load_masks(path, "train").groups == ("a", "a", "b", "b")
    assert load_masks(path, "test").groups == (1, 2)
    np.savez(path, x=images, y=masks_of(images))
    with pytest.raises(NoSplitError, match=r"a\.npz has no key for the images.*split='test'"):
        load_masks(path, "test")


@pytest.mark.parametrize("says", [True, False, np.array([1]), np.uint8(0), None])
def test_npz_stack_is_said_or_seen(tmp_path, says):
    for images, looks in ((smooth_stack(12), True), (noise(12, 16, 16), False)):
        more = {} if says is None else {"stack": says}
        np.savez(tmp_path / "a.npz", x=images, y=masks_of(images), **more)
        assert load_masks(tmp_path / "a.npz").stack == (looks if says is None else bool(says))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"y": None}, r"a\.npz has no masks: save them as y.*Received: images alone$"),
        ({"y": np.arange(4)}, r"masks in .*a\.npz must be \(n, height, width\).*shape=\(4,\)$"),
        ({"y": np.zeros((4, 6, 8, 2))}, r"a\.npz must be.*shape=\(4, 6, 8, 2\)$"),
        ({"y": np.zeros((3, 6, 8))}, r"In the file .*a\.npz: .*Received: 3 masks, 4 images$"),
        ({"y": np.zeros((4, 6, 9))}, r"In the file .*a\.npz: The mask of 0.*6×8, mask 6×9$"),
        ({"x": np.zeros((4, 6, 8, 4), "uint8")}, r"In the file .*a\.npz: .*shape=\(6, 8, 4\)$"),
        ({"x": np.full((4, 6, 8), 999.0)}, r"In the file .*a\.npz: .*maximum=999"),
        ({"x": np.full((4, 6, 8), np.nan)}, r"In the file .*a\.npz: .*NaN among 192"),
        ({"group": np.zeros((4, 1), int)}, r"a\.npz: Groups must be one.*shape=\(4, 1\)"),
        ({"stack": [True] * 4}, r"a\.npz: `stack` must be one truth value.*shape=\(4,\)"),
        ({"stack": "no"}, r"`stack` must be one truth value.*dtype=<U2$"),
        ({"y": np.array([None] * 4)}, r"a\.npz holds Python objects.*object arrays y$"),
        ({"stack": np.array(None)}, r"a\.npz holds Python objects.*object arrays stack$"),
    ],
)
def test_npz_errors_name_the_file(tmp_path, fields, message):
    images = noise(4)
    arrays = {"x": images, "y": masks_of(images), **fields}
    arrays = {key: value for key, value in arrays.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path / "a.npz")


# -- other sources -------------------------------------------------------------------------------


def test_embedded_and_in_memory():
    assert load_masks("nuclei", "test").name == "nuclei"
    masked = MaskedImages(noise(3), masks_of(noise(3)))
    assert load_masks(masked) is masked
    three = load_masks(masked, channels=3)
    np.testing.assert_array_equal(three.images[0], masked.images[0].repeat(3, axis=2))
    red = MaskedImages([np.full((2, 2, 3), (255, 0, 0), "uint8")], [np.zeros((2, 2))])
    assert load_masks(red).images[0].tolist() == [[[76]] * 2] * 2  # BT.601
    assert load_masks(red, channels=None) is red


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (3, {}, r'`spec` must be MaskedImages, "nuclei".*Received: int$'),
        ("no/such", {}, r"a folder with images and masks. Received: 'no/such' \(nothing there\)$"),
        (__file__, {}, r"\(a file of another kind\)$"),
        ("no.npz", {}, r"There is no file no\.npz"),
        ("nuclei", {"channels": 2}, r"must be 1 or 3. Received: channels=2"),
        ("membranes", {"split": "val"}, r"membranes have the splits.*split='val'$"),
    ],
)
def test_errors_of_other_sources(spec, options, message):
    with pytest.raises(DataError, match=message):
        load_masks(spec, **options)


def test_images_in_memory_have_no_splits():
    masked = MaskedImages(noise(3), masks_of(noise(3)))
    with pytest.raises(NoSplitError, match=r"leave `split` out. Received: split='test'$"):
        load_masks(masked, "test")


# -- TensorFlow Datasets -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tfds(tmp_path_factory):
    """TFDS with real sets of their own, built by TFDS itself."""
    tfds = pytest.importorskip("tensorflow_datasets")
    modes = ("pets", "binary", "classes", "plain")

    class GanlibMasks(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=mode) for mode in modes]  # noqa: RUF012

        def _info(self):
            features = {"image": tfds.features.Image(shape=(None, None, 3))}
            if self.builder_config.name != "plain":
                mask = tfds.features.Image(shape=(None, None, 1), use_colormap=True)
                features["segmentation_mask"] = mask
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(12), "test": self._generate_examples(4, 12)}

        def _generate_examples(self, n=0, start=0):
            for i in range(start, start + n):
                image = np.random.default_rng(i).integers(0, 256, (16, 24, 3), "uint8")
                image[..., 1:] = i  # the red channel tells the mask, the others which image it is
                mask = {
                    "pets": 1 + image[..., :1] // 86,  # 1, 2 and 3
                    "binary": 255 * (image[..., :1] // 128),
                    "classes": image[..., :1] // 64,
                    "plain": None,
                }[self.builder_config.name]
                values = {"image": image, "segmentation_mask": mask}
                yield i, {key: values[key] for key in self.info.features}

    folder = str(tmp_path_factory.mktemp("tfds"))
    with pytest.MonkeyPatch.context() as patch:
        builder = tfds.builder
        patch.setattr(tfds, "builder", lambda name: builder(name, data_dir=folder, try_gcs=False))
        yield tfds


def test_trimaps_are_pets_with_their_borders(tfds):
    masked = load_masks("tfds:ganlib_masks/pets", "test", channels=None)
    assert repr(masked).startswith("MaskedImages('ganlib_masks/pets/1.0.0', 4 × 16×24×3, ")
    assert masked.origin == "TensorFlow Datasets, ganlib_masks/pets/1.0.0."
    for image, mask in zip(masked.images, masked.masks, strict=True):
        np.testing.assert_array_equal(mask, image[..., 0] // 86 != 1)
    assert len(load_masks("tfds:ganlib_masks/pets")) == 12
    assert len(load_masks("tfds:ganlib_masks/pets", "train[:50%]")) == 6


def test_binary_masks_of_tfds(tfds):
    masked = load_masks("tfds:ganlib_masks/binary", channels=None)
    for image, mask in zip(masked.images, masked.masks, strict=True):
        np.testing.assert_array_equal(mask, image[..., 0] > 127)


def test_tiles_of_tfds_load_no_more_images_than_tiles(tfds):
    parts = load_tiles("tfds:ganlib_masks/pets", 8, channels=3)
    assert [len(part) for part in parts.values()] == [60, 12, 24]
    assert set(np.unique(parts["test"].images[..., 1])) == set(range(12, 16))
    few = load_tiles("tfds:ganlib_masks/pets", 8, most={"train": 4, "validation": 2, "test": 2})
    assert [len(part) for part in few.values()] == [4, 2, 2]
    assert max(few["train"].sources.max(), few["validation"].sources.max()) < 8


@pytest.mark.parametrize(
    ("name", "split", "error", "message"),
    [
        ("ganlib_masks/plain", None, DataError, r"has no masks.*Received: features \['image'\]$"),
        ("ganlib_masks/classes", None, DataError, r"must be binary.*Received: values 0, 1, 2, 3$"),
        ("ganlib_masks/pets", "dev", NoSplitError, r"\['test', 'train'\]. Received: split='dev'"),
        ("ganlib_musks", None, DataError, r"no such set.*'ganlib_musks'$"),
    ],
)
def test_tfds_errors(tfds, name, split, error, message):
    with pytest.raises(error, match=message):
        load_masks(f"tfds:{name}", split)
