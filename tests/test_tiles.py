"""Tiles: no part sees what another one sees, and masks stay with their images."""

import numpy as np
import pytest

from ganlib.data import DataError, MaskedImages, Tiles, load_tiles, split_tiles
from ganlib.data.tiles import PARTS

SEEDS = range(6)


def odd(image):
    """A mask that the image tells: its odd pixels."""
    return image[..., 0] % 2


def make_masked(n=12, height=32, width=32, distinct=True, **fields):
    """Images of noise, whose pixels tell their image if there are few enough to be `distinct`.

    An image's pixels are 2i or 2i + 1: the pixel tells the image, and the mask.
    """
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2, (n, height, width, 1), "uint8")
    numbers = 2 * np.arange(n, dtype="uint8")[:, None, None, None] if distinct else 0
    images = bits + np.uint8(numbers)
    return MaskedImages(images, [odd(image) for image in images], **fields)


def seen(tiles):
    """Numbers of the images that the tiles were cut from, by their pixels."""
    return set(np.unique(tiles.images // 2).tolist())


# -- no part sees what another one sees ----------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_share_no_image(seed):
    parts = split_tiles(make_masked(20), 16, seed=seed)
    assert tuple(parts) == PARTS
    images = [seen(parts[name]) for name in PARTS]
    assert [len(part) for part in images] == [14, 3, 3]
    assert set().union(*images) == set(range(20))
    for name in PARTS:
        tiles = parts[name]
        assert len(tiles) == 4 * len(seen(tiles))
        np.testing.assert_array_equal(tiles.images[:, 0, 0, 0] // 2, tiles.sources)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_parts_of_a_stack_hold_neighbours(seed):
    for n in (6, 20, 31):
        parts = split_tiles(make_masked(n, stack=True), 16, seed=seed)
        slices = [seen(part) for part in parts.values()]
        for i, one in enumerate(slices):
            assert max(one) - min(one) == len(one) - 1  # a block without a gap
            for other in slices[:i]:
                assert min(abs(a - b) for a in one for b in other) >= 2
        assert sum(map(len, slices)) == n - 2


def test_blocks_of_a_stack_lie_in_all_orders():
    masked = make_masked(12, stack=True)
    orders = {
        tuple(sorted(PARTS, key=lambda name: min(seen(parts[name]))))
        for parts in (split_tiles(masked, 16, seed=seed) for seed in range(20))
    }
    assert len(orders) >= 4  # of 6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n", "shape"), [(1, (40, 251)), (3, (250, 33)), (5, (160, 160))])
@pytest.mark.parametrize("stride", [None, 5])
def test_bands_of_few_images_are_a_tile_apart(seed, n, shape, stride):
    """The pixel of each place tells its column (or row), from 0 to 250."""
    axis = int(shape[1] >= shape[0])
    rng = np.random.default_rng(seed)
    place = np.broadcast_to(np.expand_dims(np.arange(shape[axis]), 1 - axis), shape)
    images = [place.astype("uint8")] * n
    masks = [rng.integers(0, 2, shape) for _ in range(n)]
    parts = split_tiles(MaskedImages(images, masks, stack=n == 3), 16, seed=seed, stride=stride)
    places = [set(np.unique(tiles.images).tolist()) for tiles in parts.values()]
    for i, one in enumerate(places):
        assert max(one) - min(one) == len(one) - 1
        for other in places[:i]:
            assert min(abs(a - b) for a in one for b in other) > 16
    assert {len(np.unique(tiles.sources)) for tiles in parts.values()} == {n}
    assert len(places[0]) > 2 * len(places[2])
    assert min(set().union(*places)) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_stay_whole(seed):
    groups = [i // 3 for i in range(21)]
    for masked in (make_masked(21, groups=groups), make_masked(21, groups=groups, stack=True)):
        parts = split_tiles(masked, 16, seed=seed)
        found = [{groups[i] for i in seen(part)} for part in parts.values()]
        assert [len(part) for part in found] == [5, 1, 1]
        assert len(set().union(*found)) == 7
    few = make_masked(4, groups=["a", "b", "b", "c"])  # groups count, however few images
    assert sorted(len(seen(part)) for part in split_tiles(few, 16, seed=seed).values()) == [1, 1, 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_duplicates_of_an_image_stay_together(seed):
    masked = make_masked(8).subset([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 0])
    parts = split_tiles(masked, 16, seed=seed)
    found = [seen(part) for part in parts.values()]
    assert sum(map(len, found)) == 8
    assert sum(len(np.unique(part.sources)) for part in parts.values()) == 12


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_with_an_image_in_common_stay_together(seed):
    groups = list("aabbccddeeff")
    masked = make_masked(12, groups=groups)
    images = list(masked.images)
    images[2], images[4] = images[0], images[3]  # a and b share one, and so do b and c
    masks = [odd(image) for image in images]
    parts = split_tiles(MaskedImages(images, masks, groups=groups), 16, seed=seed)
    found = [{groups[i] for i in part.sources} for part in parts.values()]
    assert sum(map(len, found)) == 6
    assert any(part >= {"a", "b", "c"} for part in found)
    shown = [seen(part) for part in parts.values()]
    assert sum(map(len, shown)) == len(set().union(*shown))


# -- tiles ---------------------------------------------------------------------------------------


def test_masks_stay_with_their_images():
    for masked in (make_masked(12), make_masked(3, 40, 130), make_masked(8, 32, 40, stack=True)):
        for tiles in split_tiles(masked, 16, stride=7).values():
            np.testing.assert_array_equal(tiles.masks, tiles.images % 2)
            for image, source in zip(tiles.images, tiles.sources, strict=True):
                windows = np.lib.stride_tricks.sliding_window_view(
                    masked.images[source][..., 0], (16, 16)
                )
                assert (windows == image[..., 0]).all((2, 3)).any()


@pytest.mark.parametrize(
    ("side", "stride", "starts"),
    [
        (32, None, [0, 16]),
        (39, None, [0, 16]),  # less than half a tile is left: dropped
        (40, None, [0, 16, 24]),
        (16, None, [0]),
        (32, 8, [0, 8, 16]),
        (35, 8, [0, 8, 16]),
        (36, 8, [0, 8, 16, 20]),
    ],
)
def test_grid(side, stride, starts):
    """Every pixel tells its column: one row of tiles in each image."""
    place = np.broadcast_to(np.arange(side, dtype="uint8"), (16, side))
    images = [np.vstack([place[:15], np.full((1, side), i, "uint8")]) for i in range(40)]
    masked = MaskedImages(images, [np.eye(16, side)] * 40)
    tiles = split_tiles(masked, 16, stride=stride)["train"]
    assert tiles.images[:, 0, 0, 0].tolist() == starts * 28


def test_seed_alone_decides():
    masked = make_masked(20)
    for seed in (0, 1):
        first, again = (split_tiles(masked, 16, seed=seed) for _ in range(2))
        assert [t.checksum() for t in first.values()] == [t.checksum() for t in again.values()]
    assert first["test"].checksum() != split_tiles(masked, 16, seed=2)["test"].checksum()


def test_fractions():
    parts = split_tiles(make_masked(20), 16, (0.5, 0.25, 0.25))
    assert [len(seen(part)) for part in parts.values()] == [10, 5, 5]
    parts = split_tiles(make_masked(20), 16, (0.9, 0.1))
    assert {name: len(seen(part)) for name, part in parts.items()} == {"train": 18, "validation": 2}
    parts = split_tiles(make_masked(6), 16, (0.02, 0.49, 0.49))  # each gets one at least
    assert sorted(len(seen(part)) for part in parts.values()) == [1, 2, 3]


def test_most_draws_some_tiles_of_all_images():
    masked = make_masked(20, 64, 64)
    every, some = (
        split_tiles(masked, 16),
        split_tiles(masked, 16, most={"train": 50, "test": 10**6}),
    )
    assert len(some["train"]) == 50
    assert len(np.unique(some["train"].sources)) > 8
    assert (np.diff(some["train"].sources) >= 0).all()
    for part in ("validation", "test"):
        assert some[part].checksum() == every[part].checksum()
    chosen = {tile.tobytes() for tile in some["train"].images}
    assert len(chosen) == 50
    assert chosen < {tile.tobytes() for tile in every["train"].images}


def test_tiles_keep_what_is_known():
    masked = make_masked(20, name="cells", origin="From afar.", synthetic=True)
    tiles = split_tiles(masked, 16)["train"]
    assert repr(tiles) == "Tiles('cells', 56 × 16×16×1, 14 images, synthetic)"
    assert (tiles.origin, tiles.shape, len(tiles)) == ("From afar.", (56, 16, 16, 1), 56)
    assert tiles.foreground == pytest.approx(0.5, abs=0.02)
    assert tiles.checksum()[:12] in tiles._repr_html_()
    images, masks = tiles.as_arrays()
    assert (images.dtype, masks.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(images * 255, tiles.images, atol=1e-4)
    np.testing.assert_array_equal(masks, tiles.masks)
    part = tiles.subset([3, 0])
    np.testing.assert_array_equal(part.images, tiles.images[[3, 0]])
    assert part.checksum() != tiles.subset([0, 3]).checksum()
    assert "none" in tiles.subset([])._repr_html_()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": np.zeros((2, 8, 9, 1), "uint8")}, r"shapes \(2, 8, 9, 1\)"),
        ({"images": np.zeros((2, 8, 8), "uint8")}, r"shapes \(2, 8, 8\)"),
        ({"images": np.zeros((2, 8, 8, 1))}, r"dtypes float64, uint8"),
        ({"masks": np.zeros((2, 8, 8), "uint8")}, r"\(2, 8, 8\), \(2,\)"),
        ({"masks": np.full((2, 8, 8, 1), 255, "uint8")}, r"0 and 1. Received: maximum 255"),
        ({"sources": np.zeros(3, int)}, r"\(3,\)"),
    ],
)
def test_tiles_refuse_other_arrays(fields, message):
    images = np.zeros((2, 8, 8, 1), "uint8")
    with pytest.raises(DataError, match=message):
        Tiles(**{"images": images, "masks": images, "sources": np.zeros(2, int), **fields})


# -- load_tiles ----------------------------------------------------------------------------------


def test_source_with_its_own_test_part():
    parts = load_tiles("nuclei", 64, most={"train": 30})
    assert tuple(parts) == PARTS
    assert [len(part) for part in parts.values()] == [30, 40, 96]
    assert repr(parts["test"]) == "Tiles('nuclei', 96 × 64×64×1, 24 images, synthetic)"
    other = load_tiles("nuclei", 64, channels=3, seed=1)
    assert other["test"].images.shape == (96, 64, 64, 3)
    np.testing.assert_array_equal(other["test"].images[..., :1], parts["test"].images)
    assert other["validation"].masks.tobytes() != parts["validation"].masks.tobytes()


def test_source_without_a_test_part_is_divided():
    masked = make_masked(20)
    parts, same = load_tiles(masked, 16, seed=3), split_tiles(masked, 16, seed=3)
    assert [t.checksum() for t in parts.values()] == [t.checksum() for t in same.values()]


def save(path, train, test, **more):
    arrays = {}
    for name, part in (("train", train), ("test", test)):
        arrays |= {f"x_{name}": np.stack(part.images), f"y_{name}": np.stack(part.masks)}
    np.savez(path, **arrays, stack=False, **more)
    return path


def test_test_part_that_is_not_held_out(tmp_path):
    masked = make_masked(20)
    train, test = masked.subset(slice(0, 14)), masked.subset(slice(14, 20))
    parts = load_tiles(save(tmp_path / "good.npz", train, test), 16)
    assert [seen(parts[name]) & set(range(14, 20)) for name in PARTS[:2]] == [set(), set()]
    assert seen(parts["test"]) == set(range(14, 20))

    leaky = save(tmp_path / "leaky.npz", train, masked.subset([15, 3, 4]))
    message = r"test part must have no image.*Received: 1 \(in the training part 3\) and 1 more$"
    with pytest.raises(DataError, match=message):
        load_tiles(leaky, 16)
    groups = {"group_train": np.arange(14) // 2, "group_test": np.arange(6) // 2 + 6}
    with pytest.raises(DataError, match=r"no group of the training part.*Received: group 6$"):
        load_tiles(save(tmp_path / "groups.npz", train, test, **groups), 16)
    groups["group_test"] = groups["group_test"] + 10
    assert len(load_tiles(save(tmp_path / "groups.npz", train, test, **groups), 16)) == 3


def test_small_test_part(tmp_path):
    masked, small = make_masked(14), make_masked(4, 15, 40)
    path = save(tmp_path / "small.npz", masked, small)
    with pytest.raises(DataError, match=r"smaller than a tile of 16×16.*0 \(15×40\) and 3 more$"):
        load_tiles(path, 16)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 7}, r"`size` must be an integer from 8 up\. Received: size=7$"),
        ({"size": 16.0}, r"Received: size=16\.0"),
        ({"stride": 0}, r"`stride` must be an integer from 1 to 16\. Received: stride=0$"),
        ({"stride": 17}, r"Received: stride=17"),
        ({"fractions": (1.0,)}, r"two or three positive numbers.*fractions=\(1\.0,\)"),
        ({"fractions": (0.7, 0.2, 0.2)}, r"whose sum is 1"),
        ({"fractions": (1.2, -0.2)}, r"positive"),
        ({"seed": -1}, r"not negative. Received: seed=-1"),
        ({"seed": 0.5}, r"Received: seed=0\.5"),
        ({"most": {"train": 0}}, r"`most` must give integers of at least 1.*\{'train': 0\}$"),
        ({"most": {"tests": 9}}, r"any of train, validation, test.*\{'tests': 9\}$"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message) as raised:
        split_tiles(make_masked(), **{"size": 16, **options})
    assert not isinstance(raised.value, DataError)


def test_most_is_checked_before_loading():
    with pytest.raises(ValueError, match=r"`most` must.*\{'train': None\}$"):
        load_tiles("no/such", 16, most={"train": None})


@pytest.mark.parametrize(
    ("masked", "message"),
    [
        (make_masked(7, 32, 15), r"smaller than a tile of 16×16.*Received: 0 \(32×15\) and 6 more"),
        (make_masked(7).subset([0, 1] * 4), r"3 parts that share nothing.*2 different images, at"),
        (make_masked(7, groups=list("aabbaab")), r"Received: 2 groups .*, at least 3 needed$"),
        (
            make_masked(2, 79, 40),
            r"Received: 4 columns of tiles of 16×16 pixels in 0, at least 5 needed \(2 of them",
        ),
        (make_masked(1, 16, 80), r"too few tiles.*`stride`. Received: 1 tiles, at least 4 needed$"),
    ],
)
def test_too_little(masked, message):
    with pytest.raises(DataError, match=message):
        split_tiles(masked, 16)


def test_parts_without_foreground_or_background():
    masked = make_masked(12)
    for value, what in ((0, "foreground"), (1, "background")):
        masks = [np.full((32, 32), value)] * 12
        with pytest.raises(DataError, match=rf"train part of .* has no {what}.*of {value} through"):
            split_tiles(MaskedImages(masked.images, masks), 16)
    test = split_tiles(masked, 16, seed=4)["test"]
    masks = [mask * (i not in test.sources) for i, mask in enumerate(masked.masks)]
    with pytest.raises(DataError, match=r"The test part of 'masked images' has no foreground"):
        split_tiles(MaskedImages(masked.images, masks), 16, seed=4)
    validation = split_tiles(masked, 16, seed=4)["validation"]
    masks = [mask * (i not in validation.sources) for i, mask in enumerate(masked.masks)]
    assert len(split_tiles(MaskedImages(masked.images, masks), 16, seed=4)["validation"]) == 8
