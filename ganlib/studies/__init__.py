"""The studies by name. `<name>.py` trains, `<name>_report.py` reads what came out.

A study may also live outside ganlib, as two such modules of one's own: its name is then its import
path, such as `my_project.rivals`, and `my_project.rivals_report` writes its report.
"""

import importlib
import importlib.util

from ganlib.experiment.changes import meant

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
        name: one of `STUDIES`, or the import path of a module of one's own with a `STUDY`.
        **options: `profile`, `data`, `seeds` and `changes`, as `Study.at` takes them.

    Returns:
        A `ganlib.experiment.study.Study`.

    Raises:
        ValueError: there is no such study, or an option is wrong; or a module of one's own makes
            no study that has its name.
    """
    if name in STUDIES:
        return importlib.import_module(f"ganlib.studies.{name}").STUDY.at(**options)
    module = _import(name)
    study = getattr(module, "STUDY", None)
    if study is None:
        raise ValueError(f"The module of a study must have a STUDY. Received: {name!r} without")
    if importlib.util.find_spec(f"{name}_report") is None:  # told now, not after the training
        raise ValueError(
            "A study needs a second module with write_report(study, results, data, out, reports). "
            f"Received: {name!r} without {name}_report"
        )
    # Other processes, the run directories and the report find it by these.
    if (study.name, study.module) != (name, name):
        raise ValueError(
            "A study outside ganlib is named by its import path: write Study(name=__name__, "
            f"module=__name__, …) in it. Received: name={study.name!r} and "
            f"module={study.module!r} in {name!r}"
        )
    return study.at(**options)


def report_module(name):
    """The module with a study's `write_report(study, results, data, out, reports)`.

    Args:
        name: of the study, as for `build`.

    Returns:
        The module.
    """
    folder = "ganlib.studies." if name in STUDIES else ""
    return importlib.import_module(f"{folder}{name}_report")


def _import(name):
    try:
        if all(part.isidentifier() for part in name.split(".")):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # it is there, and lacks something itself
            raise
    raise ValueError(
        f"There is no such study{meant(name, STUDIES)}; choose from {', '.join(STUDIES)}, or give the import path of a "
        "module of your own, such as my_project.rivals, that is installed or lies in this folder. "
        f"Received: {name!r}"
    )
