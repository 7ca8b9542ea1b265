"""What is done, running and still to do, read from the run directories alone."""

import collections
import math
import statistics

import filelock

from ganlib.experiment import machine
from ganlib.experiment.study import FAILED, FINAL, Run, run_folder


def study_status(study, out="runs"):
    """A dict for each trial of a study: id, status, epochs done and asked for, seconds.

    The status is a result's own ("done", "stopped", "failed", "out-of-memory"), "running" while a
    process holds the trial's lock, "interrupted" with a checkpoint to resume from, "unknown" where
    the lock is another user's and can't be opened, else "to do".

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.

    Returns:
        List of dicts, in the order of the study's trials.
    """
    return [_trial_status(study, trial, out) for trial in study.trials]


def _trial_status(study, trial, out):
    folder = run_folder(study, trial, out)
    result, done = Run(folder).result(), Run(folder).epochs_done()
    row = {"id": trial.id, "status": "to do", "epoch": done, "epochs": study.epochs(trial)}
    if result:
        return {**row, "status": result["status"], "seconds": result.get("seconds")}
    try:
        if _is_locked(folder / ".lock"):
            row["status"] = "running"
        elif done:
            row["status"] = "interrupted"
    except PermissionError:
        row["status"] = "unknown"
    return {**row, "seconds": None}


def summary(study, rows, out="runs"):
    """How a whole study stands.

    Args:
        study: `ganlib.experiment.study.Study`.
        rows: what `study_status` returned.
        out: folder of all runs.

    Returns:
        dict with `counts` (status to number of trials), `seconds_left` (None until an epoch has
        been timed) and `machine`, as `ganlib.experiment.machine.load`.
    """
    return {
        "counts": dict(collections.Counter(row["status"] for row in rows)),
        "seconds_left": _seconds_left(study, rows, out),
        "machine": machine.load(seconds=0.2),
    }


def _seconds_left(study, rows, out):
    """By the seconds an epoch of trials of the same shape, or else of all."""
    shape = study.shape or (lambda trial: trial.id)
    timed = collections.defaultdict(list)
    for row in rows:
        if (seconds := _seconds_an_epoch(study, row, out)) is not None:
            timed[shape(study.trial(row["id"]))].append(seconds)
    every = [seconds for some in timed.values() for seconds in some]
    if not every:
        return None
    left = sum(
        (row["epochs"] - row["epoch"])
        * statistics.mean(timed.get(shape(study.trial(row["id"])), every))
        for row in rows
        if row["status"] not in FINAL
    )
    return left / max(1, sum(row["status"] == "running" for row in rows))


def _seconds_an_epoch(study, row, out):
    if row["status"] in ("done", "stopped") and row["seconds"] and row["epoch"]:
        return row["seconds"] / row["epoch"]  # with what comes after the training
    if row["status"] in ("to do", FAILED):
        return None
    import pandas  # `ganlib --help` comes this way, too

    try:
        folder = run_folder(study, study.trial(row["id"]), out)
        seconds = float(pandas.read_csv(folder / "history.csv")["seconds"].mean())
    except (OSError, ValueError, KeyError, TypeError):  # none yet, of another phase, or damaged
        return None
    return seconds if math.isfinite(seconds) else None


def describe(found):
    """What `summary` found, as text for a person."""
    counts = ", ".join(f"{n} {status}" for status, n in found["counts"].items())
    left = found["seconds_left"]
    time = "unknown" if left is None else f"about {duration(left)}"
    return f"{counts}; time left {time}.\n{machine.describe(found['machine'])}"


def duration(seconds):
    """Seconds as text for a person."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _is_locked(path):
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
