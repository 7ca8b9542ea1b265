"""The studies by name. Each module has `build(profile, data, seeds, **options) -> Study`."""

import importlib

STUDIES = {
    "digits": "An MNIST GAN and its six variations",
}


def build(name, **options):
    """Makes a study.

    Args:
        name: one of `STUDIES`.
        **options: as the study's own `build` takes them: `profile`, `data`, `seeds`.

    Raises:
        ValueError: there is no such study.
    """
    return module(name).build(**options)


def module(name):
    """The module of a study: `build`, and `write_report`.

    Raises:
        ValueError: there is no such study.
    """
    if name not in STUDIES:
        raise ValueError(f"There is no such study; choose from {', '.join(STUDIES)}. Received: {name}")
    return importlib.import_module(f"ganlib.studies.{name}")
