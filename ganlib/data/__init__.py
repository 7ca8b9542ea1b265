"""Data: `load` anything, `check` it before training, divide it, feed it in `Batches`.

The names below are loaded on first use, so that importing `ganlib.data` needs no Keras backend.
"""

import importlib

_MODULES = {
    "batches": ("Augment", "Batches", "EpochOrder", "Patches"),
    "checks": ("check",),
    "container": ("Images",),
    "errors": ("DataError", "NoSplitError"),
    "loading": ("load",),
    "parts": ("Parts", "load_parts", "load_train_test"),
}
_EXPORTS = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ganlib.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ganlib.data.{_EXPORTS[name]}"), name)


def __dir__():
    return sorted([*globals(), *_EXPORTS])
