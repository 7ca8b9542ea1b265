"""The studies by name. `<name>.py` trains, `<name>_report.py` reads what came out.

A study may also live outside ganlib, as a module of one's own: its name is then its import path,
such as `my_project.rivals`, and `my_project.rivals_report`, if there is one, writes its report.
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


def get(name):
    """The `ganlib.experiment.study.Study` of that name; `get(name).at(…)` has its trials.

    Args:
        name: one of `STUDIES`, or the import path of a module of one's own with a `STUDY`.

    Raises ValueError if there is none.
    """
    if name in STUDIES:
        return importlib.import_module(f"ganlib.studies.{name}").STUDY
    study = getattr(_import(name), "STUDY", None)
    # Other processes, the run directories and the report find it by its name.
    if study is None or {study.name, study.module} != {name}:
        had = f"{name!r} with STUDY {getattr(study, 'name', None)!r}"
        wanted = "STUDY = Study(name=__name__, module=__name__, …)"
        raise ValueError(f"A module of one's own must hold {wanted}. Received: {had}")
    return study


def report_module(name):
    """The module with a study's `write_report(study, results, data, out, reports)`."""
    path = f"ganlib.studies.{name}_report" if name in STUDIES else f"{name}_report"
    found = importlib.util.find_spec(path)
    return importlib.import_module(path if found else "ganlib.studies.results")


def _import(name):
    try:
        if all(part.isidentifier() for part in name.split(".")):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # it is there, and lacks something itself
            raise
    raise ValueError(
        f"There is no such study{meant(name, STUDIES)}; choose from {', '.join(STUDIES)}, or give "
        "the import path of a module that is installed or lies in this folder, such as "
        f"my_project.rivals. Received: {name!r}"
    )
