"""The studies by name: `<name>.py` trains; a notebook or `<name>_report.py` shows what came out.

A study may also live outside ganlib, as a module of one's own: its name is then its import path,
such as `my_project.rivals`, and `my_project.rivals_report`, if there is one, writes its report.
"""

import importlib
import importlib.util
import json
import pathlib

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


def chapter(name):
    """The path of the notebook that makes a study's report, or None: a module does."""
    if _report(name):
        return None
    for path in (pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"):
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        if about.get("ganlib", {}).get("study") == name:
            return path
    return None


def report_module(name):
    """The module with a study's `write_report(study, results, data, out, reports)`."""
    return importlib.import_module(_report(name) or "ganlib.studies.results")


def _report(name):
    path = f"ganlib.studies.{name}_report" if name in STUDIES else f"{name}_report"
    return path if importlib.util.find_spec(path) else None


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
