"""What is done, running and still to do, read from the run directories alone."""

import filelock

from ganlib.study import Run, run_folder


def study_status(study, out="runs"):
    """A dict for each trial of a study: id, status, epochs done and asked for, seconds.

    The status is a result's own ("done", "stopped", "failed", "out-of-memory"), "running" while a
    process holds the trial's lock, "interrupted" with a checkpoint to resume from, else "to do".
    """
    return [_trial_status(study, trial, out) for trial in study.trials]


def _trial_status(study, trial, out):
    folder = run_folder(study, trial, out)
    result, done = Run(folder).result(), Run(folder).epochs_done()
    row = {"id": trial.id, "status": "to do", "epoch": done, "epochs": study.epochs(trial)}
    if result:
        return {**row, "status": result["status"], "seconds": result.get("seconds")}
    if _is_locked(folder / ".lock"):
        row["status"] = "running"
    elif done:
        row["status"] = "interrupted"
    return {**row, "seconds": None}


def _is_locked(path):
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
