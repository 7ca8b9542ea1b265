"""Data: `load` anything, `check` it before training, divide it, feed it in `Batches`.

    digits = ganlib.data.load("digits", split="train")
    check(digits, channels=1, labels=True)
    batches = Batches(digits.as_range("signed"), batch_size=64, seed=0)

`load_parts` loads what is to be divided into training, validation and test parts, whole or in
tiles. `Patches` cuts pairs of low and high resolution from photographs, and `Augment` changes
images and masks alike.

The names below are loaded on first use, so that importing `ganlib.data` needs no Keras backend.
"""

import importlib

_EXPORTS = {
    "Augment": "batches",
    "Batches": "batches",
    "DataError": "errors",
    "EpochOrder": "batches",
    "Images": "container",
    "NoSplitError": "errors",
    "Parts": "parts",
    "Patches": "batches",
    "check": "checks",
    "load": "loading",
    "load_parts": "parts",
    "load_train_test": "parts",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ganlib.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ganlib.data.{_EXPORTS[name]}"), name)


def __dir__():
    return sorted([*globals(), *_EXPORTS])
