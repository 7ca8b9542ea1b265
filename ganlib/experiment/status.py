"""What is done, running and still to do, read from the run directories; and a progress bar."""

import collections
import contextlib
import datetime
import statistics
import sys
import time

import filelock

from ganlib.experiment.machine import load
from ganlib.experiment.run import DONE, FINAL, STOPPED, Run, run_folder

LOOK_SECONDS = 5.0  # between two looks at the machine


class Progress:
    """One bar over the epochs of all trials; `results`, by id, are those there are already."""

    def __init__(self, study, out, show, results):
        from tqdm import tqdm

        self.study, self.out, self.running, self.elsewhere = study, out, 0, set()
        self.ended = collections.Counter(result["status"] for result in results.values())
        self.done = {t.id: study.epochs(t.recipe) if t.id in results else 0 for t in study.trials}
        total = sum(study.epochs(trial.recipe) for trial in study.trials)
        options = {"initial": sum(self.done.values()), "desc": study.name, "unit": "epoch"}
        self.bar = tqdm(total=total, disable=not show, **options)
        self.close, self._looked, self._machine = self.bar.close, -LOOK_SECONDS, ""

    def look(self, trials):
        self.running = len(trials)
        for trial in trials:
            self.epoch(trial, Run(run_folder(self.study, trial, self.out)).epochs_done())

    def epoch(self, trial, epoch):
        if self.bar.disable:
            return
        self.bar.update(epoch - self.done[trial.id])
        self.done[trial.id] = epoch
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._machine = time.monotonic(), load()
        counts = {**self.ended, "running": self.running}
        shown = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        self.bar.set_postfix_str(f"{shown}; {self._machine}", refresh=False)

    def busy(self, trial):
        if trial.id not in self.elsewhere:
            self.elsewhere.add(trial.id)
            self._say(f"{trial.id}: busy, another process has it: waiting")

    def end(self, trial, status):
        self.ended[status] += 1
        self.epoch(trial, self.study.epochs(trial.recipe))
        if status not in (DONE, STOPPED):
            self._say(f"{trial.id}: {status}")

    def _say(self, text):
        if not self.bar.disable:
            self.bar.write(text, file=sys.stderr)


def study_status(study, out="runs"):
    """A list of dicts, one a trial of a study: id, status, epochs done and asked for.

    The status is a result's own, "running" while a process holds the trial's lock, "interrupted"
    with a checkpoint to resume from, else "to do".
    """
    rows = []
    for trial in study.trials:
        run = Run(run_folder(study, trial, out))
        result, done = run.result(), run.epochs_done()
        status = result["status"] if result else "interrupted" if done else "to do"
        try:
            with run.lock() if run.path.exists() else contextlib.nullcontext():
                pass
        except filelock.Timeout:
            status = "running"
        epochs = study.epochs(trial.recipe)
        rows.append({"id": trial.id, "status": status, "epoch": done, "epochs": epochs})
    return rows


def describe(study, rows, out="runs"):
    """How a whole study stands, as text for a person; `rows` are of `study_status`."""
    counts = collections.Counter(row["status"] for row in rows)
    shown = ", ".join(f"{n} {status}" for status, n in counts.items())
    left = _seconds_left(study, rows, out)
    time_left = "unknown" if left is None else f"about {datetime.timedelta(seconds=round(left))}"
    return f"{shown}; time left {time_left}.\n{load(seconds=0.2)}"


def _seconds_left(study, rows, out):
    import pandas  # `ganlib --help` comes this way, too

    timed = []
    for trial in study.trials:
        # Not read where another process is just replacing it, or before its first row.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            history = pandas.read_csv(run_folder(study, trial, out) / "history.csv")
            timed.append(float(history["seconds"].mean()))
    if not timed:
        return None
    left = sum(row["epochs"] - row["epoch"] for row in rows if row["status"] not in FINAL)
    running = sum(row["status"] == "running" for row in rows)
    return left * statistics.mean(timed) / max(1, running)
