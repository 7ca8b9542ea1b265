"""The studies by name. `<name>.py` trains, `<name>_report.py` reads what came out."""

import importlib

STUDIES = {
    "digits": "An MNIST GAN and its six variations",
    "bedrooms": "A bedroom DCGAN, and whether its pictures are any good",
    "boundary": "A boundary GAN on cells: s1, s2, s3",
    "srgan": "A super-resolution GAN in seven attempts",
    "unet": "A U-Net grid of 36 cells, and what it can tell",
}


def build(name, **options):
    """Makes a study.

    Args:
        name: one of `STUDIES`.
        **options: as the study's own `build` takes them: `profile`, `data`, `seeds`, `changes`.

    Returns:
        A `ganlib.study.Study`.

    Raises:
        ValueError: there is no such study, or an option is wrong.
    """
    if name not in STUDIES:
        raise ValueError(
            f"There is no such study; choose from {', '.join(STUDIES)}. Received: {name!r}"
        )
    return importlib.import_module(f"ganlib.studies.{name}").build(**options)


def report_module(name):
    """The module with a study's `write_report(study, results, data, out, reports)`."""
    return importlib.import_module(f"ganlib.studies.{name}_report")
