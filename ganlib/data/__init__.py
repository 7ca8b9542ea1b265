"""Data sets: `load` anything, `check` it before training, feed it in `Batches`.

    digits = ganlib.data.load("digits", split="train")
    check(digits, channels=1, labels=True)
    batches = Batches(digits.as_range("signed"), batch_size=64, seed=0)

Photographs of different sizes have their own: `load_photos`, `check_photos` and `Patches`, which
cuts pairs of low and high resolution from them.

The names below are loaded on first use, so that importing `ganlib.data` needs no Keras backend.
"""

import importlib

_EXPORTS = {
    "Batches": "ganlib.data.batches",
    "DataError": "ganlib.data.errors",
    "EpochAdapter": "ganlib.data.batches",
    "EpochOrder": "ganlib.data.batches",
    "ImageSet": "ganlib.data.imageset",
    "MaskedImages": "ganlib.data.masked",
    "NoSplitError": "ganlib.data.errors",
    "Patches": "ganlib.data.patches",
    "Photos": "ganlib.data.photos",
    "TileBatches": "ganlib.data.tile_batches",
    "Tiles": "ganlib.data.tiles",
    "check": "ganlib.data.checks",
    "check_photos": "ganlib.data.photos",
    "load": "ganlib.data.sources",
    "load_masks": "ganlib.data.mask_sources",
    "load_photos": "ganlib.data.photo_sources",
    "load_tiles": "ganlib.data.tiles",
    "split_tiles": "ganlib.data.tiles",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ganlib.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__():
    return sorted([*globals(), *_EXPORTS])
