"""Reproduce, diagnose and repair the GAN experiments people learn with.

The names below are loaded on first use, so that `import ganlib` (and `ganlib --help`) needs no
Keras backend. docs/api.md lists all that is public, here and in the modules.
"""

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "Adversarial": "ganlib.adversarial",
    "AdversarialLoss": "ganlib.losses",
    "HealthMonitor": "ganlib.callbacks.health",
    "Report": "ganlib.report.export",
    "Study": "ganlib.experiment.study",
    "Trial": "ganlib.experiment.study",
}
_MODULES = ("data", "images", "losses", "stats", "studies")
__all__ = sorted([*_EXPORTS, *_MODULES])


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"ganlib.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ganlib' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__():
    return sorted([*globals(), *_EXPORTS])
