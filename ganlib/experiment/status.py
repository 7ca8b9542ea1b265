"""What is done, running and still to do, read from the run directories; and a progress bar."""

import collections
import contextlib
import statistics
import sys
import time

import filelock

from ganlib.experiment import machine
from ganlib.experiment.run import DONE, FINAL, STOPPED, Run, run_folder

LOOK_SECONDS = 5.0  # between two looks at the machine


class Progress:
    """One bar over the epochs of all trials, so that the time left means something.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.
        show: bool; without, nothing is printed.
        results: dict of id → result of the trials that are finished already.
    """

    def __init__(self, study, out, show, results):
        self.study, self.out, self.show, self.results = study, out, show, dict(results)
        self.done = {}  # id → epochs
        self.running, self.elsewhere, self.ended = set(), set(), collections.Counter()
        self._looked, self._machine = -LOOK_SECONDS, ""

    def __enter__(self):
        if self.show:
            from tqdm.auto import tqdm

            total = sum(self.study.epochs(trial.recipe) for trial in self.study.trials)
            self.bar = tqdm(total=total, desc=self.study.name, unit="epoch")
            # Of the clock on the wall it would make a wrong time left, if that is set meanwhile.
            self.bar._time = time.monotonic
            self.bar.start_t = self.bar.last_print_t = time.monotonic()
        for trial_id, result in self.results.items():
            self.end(self.study.trial(trial_id), result["status"])
        return self

    def __exit__(self, *exception):
        if self.show:
            self.bar.close()

    def begin(self, trial):
        self.running.add(trial.id)
        self.epoch(trial, self.done.get(trial.id, 0))

    def look(self, trials):
        """Counts the epochs of trials that other processes train."""
        for trial in trials:
            self.epoch(trial, Run(run_folder(self.study, trial, self.out)).epochs_done())

    def epoch(self, trial, epoch):
        """The trial has come so far."""
        if not self.show:
            return
        self.bar.update(epoch - self.done.get(trial.id, 0))
        self.done[trial.id] = epoch
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._machine = time.monotonic(), machine.describe(machine.load())
        counts = {**self.ended, "running": len(self.running)}
        shown = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        self.bar.set_postfix_str(f"{shown}; {self._machine}", refresh=False)

    def give_back(self, trial):
        """The trial does not run any more, but has not ended."""
        self.running.discard(trial.id)

    def busy(self, trial):
        """Another process has the trial: whoever waits should know for what."""
        self.give_back(trial)
        if self.show and trial.id not in self.elsewhere:
            self.elsewhere.add(trial.id)
            self.bar.write(f"{trial.id}: busy, another process has it: waiting", file=sys.stderr)

    def end(self, trial, status):
        self.give_back(trial)
        self.ended[DONE if status == STOPPED else status] += 1
        self.epoch(trial, self.study.epochs(trial.recipe))
        if self.show and status not in (DONE, STOPPED):
            self.bar.write(f"{trial.id}: {status}", file=sys.stderr)


def study_status(study, out="runs"):
    """A dict for each trial of a study: id, status, epochs done and asked for.

    The status is a result's own ("done", "stopped", "failed", "out-of-memory"), "running" while a
    process holds the trial's lock, "interrupted" with a checkpoint to resume from, else "to do".

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.

    Returns:
        List of dicts, in the order of the study's trials.
    """
    return [_trial_status(study, trial, out) for trial in study.trials]


def _trial_status(study, trial, out):
    run = Run(run_folder(study, trial, out))
    result, done = run.result(), run.epochs_done()
    status = result["status"] if result else "interrupted" if done else "to do"
    if run.path.exists():
        try:
            with run.lock():
                pass
        except filelock.Timeout:
            status = "running"
    epochs = study.epochs(trial.recipe)
    return {"id": trial.id, "status": status, "epoch": done, "epochs": epochs}


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
    import pandas  # `ganlib --help` comes this way, too

    timed, trials = collections.defaultdict(list), {trial.id: trial for trial in study.trials}
    for row in rows:
        path = run_folder(study, trials[row["id"]], out) / "history.csv"
        # Not read where another process is just replacing it, or before its first row.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            seconds = float(pandas.read_csv(path)["seconds"].mean())
            timed[study.shape_of(trials[row["id"]])].append(seconds)
    if not timed:
        return None
    every = statistics.mean(map(statistics.mean, timed.values()))
    means = {shape: statistics.mean(seconds) for shape, seconds in timed.items()}
    left = sum(
        (row["epochs"] - row["epoch"]) * means.get(study.shape_of(trials[row["id"]]), every)
        for row in rows
        if row["status"] not in FINAL
    )
    return left / max(1, sum(row["status"] == "running" for row in rows))


def describe(found):
    """What `summary` found, as text for a person."""
    counts = ", ".join(f"{n} {status}" for status, n in found["counts"].items())
    left = found["seconds_left"]
    time_left = "unknown" if left is None else f"about {duration(left)}"
    return f"{counts}; time left {time_left}.\n{machine.describe(found['machine'])}"


def duration(seconds):
    """Seconds as text for a person."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
