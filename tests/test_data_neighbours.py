"""Whether images that lie behind one another look alike, as slices of a stack do."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ganlib.data import load_masks
from ganlib.data.neighbours import neighbours_alike

NOISE = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), "uint8")


def smooth_stack(n, side=32, seed=0):
    """Slices of a field that changes slowly, as those of a volume."""
    field = np.random.default_rng(seed).standard_normal((n + 12, side, side))
    field = gaussian_filter(field, (1.2, 3.0, 3.0))[6:-6]
    return (255 * (field - field.min()) / np.ptp(field)).astype("uint8")[..., np.newaxis]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [6, 7, 10, 40])
def test_slices_look_alike_in_their_order_alone(seed, n):
    images = smooth_stack(n, seed=seed)
    found = neighbours_alike(images)
    assert found["alike"]
    assert found["correlation"] > found["elsewhere"] + 0.1
    assert neighbours_alike(images[::-1])["alike"]
    assert neighbours_alike(images.repeat(3, axis=3))["alike"]
    if n >= 10:  # a few may be shuffled into nearly their order
        assert not neighbours_alike(np.random.default_rng(seed).permutation(images))["alike"]


def test_slices_of_several_sizes():
    found = neighbours_alike([image[: 32 - i % 2] for i, image in enumerate(smooth_stack(20))])
    assert found["alike"]


@pytest.mark.parametrize(
    "images",
    [
        NOISE,
        NOISE[:1].repeat(20, axis=0),  # all equal: no order is better than another
        np.full((20, 16, 16, 1), 7, "uint8"),
        load_masks("nuclei", "test").images,
    ],
    ids=["noise", "equal", "flat", "nuclei"],
)
def test_independent_images_are_not_alike(images):
    assert not neighbours_alike(images)["alike"]


@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_few_images_are_never_alike(n):
    expected = {"alike": False, "correlation": None, "elsewhere": None}
    assert neighbours_alike(smooth_stack(n + 1)[:n]) == expected
