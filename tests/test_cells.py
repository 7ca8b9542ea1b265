"""Procedural nuclei and membranes: the same every time, with exact masks, and not too easy."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from ganlib.data import DataError
from ganlib.data.cells import membranes, nuclei

BOTH = pytest.mark.parametrize("draw", [nuclei, membranes])
# Foreground of the whole set, and of each of its images.
SHARES = {nuclei: ((0.08, 0.2), (0.03, 0.3)), membranes: ((0.65, 0.85), (0.6, 0.9))}


@pytest.fixture(scope="module")
def sets():
    """(function, split) → the set, drawn once."""
    splits = ("train", "test")
    return {(draw, split): draw(split) for draw in (nuclei, membranes) for split in splits}


def pixels(masked):
    """Images and masks as arrays `(n, height, width)`."""
    return np.stack(masked.images)[..., 0].astype(float), np.stack(masked.masks).astype(bool)


def jaccard(found, mask):
    return (found & mask).sum() / (found | mask).sum()


# -- what is drawn -------------------------------------------------------------------------------


@BOTH
def test_sets(draw, sets):
    train, test = sets[draw, "train"], sets[draw, "test"]
    name = draw.__name__
    assert (len(train), len(test)) == (64, 24)
    for masked in (train, test):
        assert repr(masked).startswith(f"MaskedImages('{name}', {len(masked)} × 128×128×1, ")
        assert (masked.synthetic, masked.stack, masked.groups) == (True, False, None)
        assert "drawn by ganlib" in masked.origin
        assert {mask.dtype for mask in masked.masks} == {np.dtype("uint8")}
        assert set(np.unique(masked.masks).tolist()) == {0, 1}
    assert (train.names[0], test.names[-1]) == ("train 0", "test 23")


@BOTH
def test_no_two_images_are_alike(draw, sets):
    images = [image for split in ("train", "test") for image in sets[draw, split].images]
    assert len({image.tobytes() for image in images}) == len(images) == 88


@BOTH
def test_an_image_depends_on_its_split_and_number_alone(draw, sets):
    for split in ("train", "test"):
        whole = sets[draw, split]
        np.random.seed(3)
        assert draw(split, n=3).checksum() == whole.subset([0, 1, 2]).checksum()
    assert draw(n=2).checksum() == draw("train", n=2).checksum()


@BOTH
def test_foreground_shares(draw, sets):
    for split in ("train", "test"):
        masked = sets[draw, split]
        (low, high), (least, most) = SHARES[draw]
        assert low < masked.foreground < high
        shares = [mask.mean() for mask in masked.masks]
        assert least < min(shares) <= max(shares) < most


@BOTH
@pytest.mark.parametrize("size", [32, 50, 256])
def test_sizes(draw, size):
    masked = draw("test", size, n=4)
    assert {image.shape for image in masked.images} == {(size, size, 1)}
    (low, high), _ = SHARES[draw]
    assert low / 2 < masked.foreground < (1 + high) / 2  # things are as large in any size


# -- what the masks mean -------------------------------------------------------------------------


@BOTH
def test_foreground_is_brighter_in_every_image(draw, sets):
    """Nuclei than their ground; the interior of cells than their membranes."""
    for split in ("train", "test"):
        for image, mask in zip(*pixels(sets[draw, split]), strict=True):
            assert image[mask].mean() > image[~mask].mean() + 12


@BOTH
def test_masks_lie_where_things_are(draw, sets):
    """Moved by a few pixels, or given to another image, a mask fits worse."""
    images, masks = pixels(sets[draw, "test"])

    def contrast(masks):
        pairs = zip(images, masks, strict=True)
        return np.mean([image[mask].mean() - image[~mask].mean() for image, mask in pairs])

    for shift in (3, -3):
        for axis in (1, 2):
            assert contrast(np.roll(masks, shift, axis)) < 0.85 * contrast(masks)
    assert contrast(np.roll(masks, 1, 0)) < 0.3 * contrast(masks)


def test_membranes_part_cells(sets):
    """Membranes are lines: nearly all the interior is further than 2 pixels from some of them."""
    _, masks = pixels(sets[membranes, "test"])
    near = np.stack([binary_dilation(~mask, iterations=2) for mask in masks])
    assert 0.3 < near.mean() < 0.75
    assert not near.all(axis=(1, 2)).any()


@BOTH
def test_no_threshold_solves_it(draw, sets):
    """The best one of the whole set is better than chance, and far from good."""
    for split in ("train", "test"):
        images, masks = pixels(sets[draw, split])
        best = max(jaccard(images > level, masks) for level in range(0, 255, 5))
        trivial = masks.mean()  # the score of calling everything foreground
        assert trivial + 0.01 < best < 0.9
        if draw is nuclei:
            assert best > 0.4


# -- refusals ------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, r'splits "train" and "test"; .*Received: split=\'val\'$'),
        ({"size": 31}, r"drawn 32 to 512 pixels wide, an integer. Received: size=31$"),
        ({"size": 513}, r"Received: size=513$"),
        ({"size": 64.0}, r"Received: size=64\.0$"),
        ({"size": None}, r"Received: size=None$"),
        ({"n": 0}, r"`n` must be an integer from 1.*Received: n=0$"),
        ({"n": 2.0}, r"Received: n=2\.0$"),
        ({"n": 10**6 + 1}, r"Received: n=1000001$"),
    ],
)
def test_errors(draw, options, message):
    with pytest.raises(DataError, match=message):
        draw(**options)
