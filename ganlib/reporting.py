"""A report from the command line: of what has finished, if it can be read."""

import traceback

from ganlib import studies
from ganlib.experiment.run import DONE, STOPPED, StudyError, results, run_folder, write_atomically

# What reading numbers that are not there, or are none, ends in.
SPOILT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError)


def make_report(study, out, reports):
    """Writes the report of a study; returns its folder.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: path, folder of all runs.
        reports: path, folder of all reports.

    Raises:
        DataError: the data can't be used.
        StudyError: no trial has finished, or what a trial left behind is damaged.
    """
    finished = [r for r in results(study, out) if r["status"] in (DONE, STOPPED)]
    if not finished:
        raise StudyError(f"No trial in {out / study.name} has finished: ganlib run {study.name}")
    for result in finished:
        _check_histories(study, study.trial(result["id"]), out)
    import matplotlib

    matplotlib.use("Agg")
    data = study.load_data()
    module = studies.report_module(study.name)
    try:
        written = module.write_report(study, finished, data, out, reports)
    except StudyError:
        raise
    except SPOILT as error:
        raise _spoilt(study, finished, out, error) from error
    return written.path


def _check_histories(study, trial, out):
    import pandas

    folder = run_folder(study, trial, out)
    for path in (folder / "history.csv", *folder.glob("*/history.csv")):
        try:
            epochs = pandas.read_csv(path)["epoch"]
            whole = epochs.tolist() == list(range(1, len(epochs) + 1)) != []
        except FileNotFoundError:
            continue
        except (KeyError, ValueError):
            whole = False
        if not whole:
            raise StudyError(f"{path} is damaged. {_begin_again(trial.id)}")


def _begin_again(trial_id):
    return f"Make this trial again: the same command as `run`, with --trials {trial_id} --fresh."


def _spoilt(study, finished, out, error):
    """The `StudyError` for a report that failed; names the trials whose results may be why."""
    path = out / study.name / "report-error.txt"
    try:
        write_atomically(path, traceback.format_exc())
        where = f" Where it happened is in {path}."
    except OSError:
        where = ""
    every = [key for result in finished for key in result["metrics"]]
    usual = {key for key in every if 2 * every.count(key) > len(finished)}
    lacking = [r["id"] for r in finished if not usual or usual - r["metrics"].keys()]
    hint = f" {', '.join(lacking)} lacks numbers. {_begin_again(lacking[0])}" if lacking else ""
    what = f"{type(error).__name__}: {error}"
    return StudyError(f"The report can't be made of {out / study.name}: {what}.{hint}{where}")
