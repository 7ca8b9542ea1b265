"""`MaskedImages`: what it accepts, what it keeps and what it says about itself."""

import re

import numpy as np
import pytest
from draws import RNG

from ganlib.data import DataError, MaskedImages


def noise(height, width, *channels):
    return RNG.integers(0, 256, (height, width, *channels), "uint8")


def half(height, width, low=0, high=1, dtype="uint8"):
    """A mask whose lower half is foreground."""
    mask = np.full((height, width), low, dtype)
    mask[height // 2 :] = high
    return mask


def make_masked(n=4, height=4, width=6, **fields):
    images = [noise(height, width) for _ in range(n)]
    return MaskedImages(images, [half(height, width)] * n, **fields)


# -- what it keeps -------------------------------------------------------------------------------


def test_images_and_masks_of_all_accepted_shapes():
    images = [noise(4, 5), noise(6, 3, 1)]
    masked = MaskedImages(images, [half(4, 5), half(6, 3)[..., np.newaxis]])
    assert [image.shape for image in masked.images] == [(4, 5, 1), (6, 3, 1)]
    assert [mask.shape for mask in masked.masks] == [(4, 5), (6, 3)]
    np.testing.assert_array_equal(masked.images[0][..., 0], images[0])
    assert {mask.dtype for mask in masked.masks} == {np.dtype("uint8")}
    assert (len(masked), masked.channels, masked.names) == (2, 1, ("0", "1"))
    assert (masked.stack, masked.groups, masked.foreground) == (False, None, (10 + 9) / (20 + 18))
    assert MaskedImages(noise(3, 4, 4, 3), np.zeros((3, 4, 4))).channels == 3


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, "uint8"), (0, 255, "uint8"), (False, True, "bool"), (0, 1, "float64"), (-1, 3, "int8")],
)
def test_the_higher_of_two_values_is_the_foreground(low, high, dtype):
    masks = [half(4, 4, low, high, dtype), np.full((4, 4), low, dtype)]
    masks.append(np.full((4, 4), high, dtype))
    masked = MaskedImages([noise(4, 4)] * 3, masks)
    np.testing.assert_array_equal(masked.masks[0], half(4, 4))
    assert [int(mask.sum()) for mask in masked.masks] == [8, 0, 16]


def test_one_value_throughout():
    for value, share in ((0, 0), (1, 1), (255, 1)):
        masked = MaskedImages([noise(4, 4)] * 2, [np.full((4, 4), value)] * 2)
        assert masked.foreground == share


def test_masks_saved_in_both_ways():
    masks = [half(4, 4), half(4, 4, 0, 255), np.full((4, 4), 255)]
    masked = MaskedImages([noise(4, 4)] * 3, masks)
    assert [int(mask.sum()) for mask in masked.masks] == [8, 8, 16]


def test_masks_stay_as_they_are_in_a_subset():
    masks = [half(4, 4), np.zeros((4, 4)), np.ones((4, 4))]
    masked = MaskedImages([noise(4, 4)] * 3, masks, list("abc"), True, [1, 1, 2], name="three")
    for i, mask in enumerate(masks):
        part = masked.subset([i])
        np.testing.assert_array_equal(part.masks[0], mask)
    for indices in ([2, 0], np.array([2, 0]), slice(2, None, -2)):
        part = masked.subset(indices)
        assert (part.names, part.groups, part.name, part.stack) == (("c", "a"), (2, 1), "three", 1)
        np.testing.assert_array_equal(part.images[0], masked.images[2])
    assert masked.subset(np.array([True, False, True])).names == ("a", "c")
    with pytest.raises(DataError, match=r"'three' is empty"):
        masked.subset([])


def test_groups_are_integers_or_strings():
    assert make_masked(2, groups=np.array([7, 8])).groups == (7, 8)
    assert make_masked(2, groups=["a", "b"]).groups == ("a", "b")


# -- checksum and representations ----------------------------------------------------------------


def test_checksum_is_of_shapes_pixels_and_masks():
    image, mask = noise(4, 6), half(4, 6)
    checksum = MaskedImages([image], [mask]).checksum()
    assert re.fullmatch("[0-9a-f]{64}", checksum)
    assert checksum == MaskedImages([image], [255 * mask], names=["b"], name="other").checksum()
    others = [
        MaskedImages([image ^ 1], [mask]),
        MaskedImages([image], [1 - mask]),
        MaskedImages([image.reshape(6, 4)], [mask.reshape(6, 4)]),
        MaskedImages([image, image], [mask, mask]),
    ]
    assert len({checksum, *(other.checksum() for other in others)}) == 5


def test_checksum_does_not_feel_how_arrays_lie_in_memory():
    image, mask = noise(6, 4), half(6, 4)
    turned = MaskedImages([image.T.copy().T], [mask.T.copy().T])
    assert turned.checksum() == MaskedImages([image], [mask]).checksum()
    assert all(array.flags.c_contiguous for array in turned.images + turned.masks)


def test_representations():
    masked = MaskedImages(
        [noise(9, 8, 3), noise(4, 6, 3)],
        [np.zeros((9, 8)), np.ones((4, 6))],
        stack=True,
        groups=["x", "x"],
        name="<b>",
    )
    assert repr(masked) == (
        "MaskedImages('<b>', 2 × 4×6 to 9×8×3, stack, 1 groups, 25.0% foreground, real)"
    )
    plain = make_masked(1, synthetic=True)
    assert repr(plain) == "MaskedImages('masked images', 1 × 4×6×1, 50.0% foreground, synthetic)"
    table = masked._repr_html_()
    assert "&lt;b&gt;" in table
    assert masked.checksum()[:12] in table
    assert plain.checksum()[:12] in plain._repr_html_()


# -- refusals ------------------------------------------------------------------------------------

IMAGE, MASK = noise(4, 4), half(4, 4)
THREE = np.arange(16).reshape(4, 4) % 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [], "masks": []}, r"'masked images' is empty: add images"),
        ({"masks": [MASK]}, r"`masks` must have one entry.*Received: 1 masks, 2 images$"),
        ({"names": ["a"]}, r"Received: 1 names, 2 images$"),
        ({"groups": [1, 2, 3]}, r"Received: 3 groups, 2 images$"),
        ({"groups": [[1], [2]]}, r"Groups must be one integer or string.*shape=\(2, 1\)"),
        ({"groups": [0.5, np.nan]}, r"one integer or string.*dtype=float64"),
        ({"images": [IMAGE, IMAGE / 255]}, r"image b must have 8 bits.*dtype=float64$"),
        ({"images": [IMAGE, noise(4, 4, 4)]}, r"image b must have the shape.*\(4, 4, 4\)$"),
        ({"images": [IMAGE, noise(0, 4)]}, r"image b must.*shape=\(0, 4, 1\)$"),
        ({"images": [IMAGE, noise(4, 4, 3)]}, r"channels=1.*1 channels in a, 3 in b$"),
        ({"masks": [MASK, half(4, 5)]}, r"mask of b must.*image 4×4, mask 4×5$"),
        ({"masks": [MASK, half(4, 8).reshape(4, 4, 2)]}, r"masks\[\.\.\., k\].*\(4, 4, 2\)"),
        ({"masks": [MASK, np.full((4, 4), "x")]}, r"mask of b must be numbers.*dtype=<U1$"),
        ({"masks": [MASK, THREE]}, r"mask of b must be binary: .*Received: values 0, 1, 2$"),
        ({"masks": [MASK, np.arange(16).reshape(4, 4)]}, r"values 0, 1, .*, 7 and 8 more$"),
        ({"masks": [MASK, MASK + 2]}, r"of b must be binary with those before it: .*0, 1, 2, 3$"),
        ({"masks": [half(4, 4, 1, 255), MASK]}, r"mask of a must.*with the other masks: .*255$"),
        ({"masks": [MASK, np.full((4, 4), np.nan)]}, r"mask of b must be binary: .*values nan$"),
    ],
)
def test_errors_name_the_image_and_the_value(fields, message):
    fields = {"images": [IMAGE, IMAGE], "masks": [MASK, MASK], "names": ["a", "b"], **fields}
    if not fields["images"]:
        fields.pop("names")
    with pytest.raises(DataError, match=message):
        MaskedImages(**fields)
