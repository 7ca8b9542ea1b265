"""Names of the first edition, until no caller is left; then this file goes."""

from ganlib.data.batches import Augment, Batches
from ganlib.data.checks import check
from ganlib.data.container import Images
from ganlib.data.loading import load
from ganlib.data.parts import load_parts

MaskedImages = Images
EpochAdapter = Batches


def ImageSet(images, labels=None, groups=None, **facts):
    return Images(images, labels=labels, groups=groups, **facts)


def Photos(images, names=None, groups=None, **facts):
    images = load(list(images), channels=3).images if len(images) else ()
    return Images(images, names=names, groups=groups, **facts)


def Tiles(images, masks, sources, **facts):
    return Images(images, masks, groups=sources, **facts)


def load_masks(spec, split=None, channels=1):
    return load(spec, split, channels=channels, masks=True)


def load_photos(spec, split=None):
    return load(spec, split, channels=3, any_size=True)


def load_tiles(spec, size, *, channels=1, most=None, seed=0):
    parts = load_parts(spec, channels=channels, tile=size, most=most, seed=seed)
    return {name: getattr(parts, name) for name in ("train", "validation", "test")}


def check_photos(photos, minimum_size):
    return check(photos, at_least=minimum_size)


class TileBatches(Batches):
    def __init__(self, tiles, batch_size, seed, augment=()):
        arrays = tiles.arrays() if isinstance(tiles, Images) else tiles
        super().__init__(arrays, batch_size, seed, change=Augment(tuple(augment)))


def has_masks(spec):
    try:
        return load(spec, any_size=True).masks is not None
    except ValueError:
        return False
