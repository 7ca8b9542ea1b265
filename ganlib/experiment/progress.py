"""What a command shows while a study runs."""

import collections
import sys
import time

from ganlib.experiment import machine

LOOK_SECONDS = 5.0  # between two looks at the machine


class Progress:
    """One bar over the epochs of all trials, so that the time left means something.

    Beside it: how many trials are done, running, failed or out of memory, and how busy the machine
    is.

    Args:
        study: `ganlib.experiment.study.Study`.
        show: bool; without, nothing is printed.
    """

    def __init__(self, study, show):
        self.study = study
        self.show = show
        self.done = {}
        self.running = {}
        self.ended = collections.Counter()
        self.elsewhere = set()
        self._looked = -LOOK_SECONDS
        self._machine = ""

    def __enter__(self):
        if self.show:
            from tqdm.auto import tqdm

            total = sum(self.study.epochs(trial) for trial in self.study.trials)
            self.bar = tqdm(total=total, desc=self.study.name, unit="epoch")
            # Of the clock on the wall it would make a wrong time left, if that is set meanwhile.
            self.bar._time = time.monotonic
            self.bar.start_t = self.bar.last_print_t = time.monotonic()
        return self

    def __exit__(self, *exception):
        if self.show:
            self.bar.close()

    def begin(self, trial):
        self.running[trial.id] = trial
        self._describe()

    def epoch(self, trial, epoch):
        if self.show:
            self.bar.update(epoch - self.done.get(trial.id, 0))
        self.done[trial.id] = epoch
        self._describe()

    def give_back(self, trial):
        """The trial does not run any more, but has not ended."""
        self.running.pop(trial.id, None)

    def busy(self, trial):
        """Another process has the trial: whoever waits should know for what."""
        self.give_back(trial)
        if self.show and trial.id not in self.elsewhere:
            self.elsewhere.add(trial.id)
            self.bar.write(f"{trial.id}: busy, another process has it: waiting", file=sys.stderr)

    def end(self, trial, status):
        self.give_back(trial)
        self.ended["done" if status == "stopped" else status] += 1
        self.epoch(trial, self.study.epochs(trial))
        if self.show and status not in ("done", "stopped"):
            self.bar.write(f"{trial.id}: {status}", file=sys.stderr)  # where the bar is

    def _describe(self):
        if not self.show:
            return
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked, self._machine = time.monotonic(), machine.describe(machine.load())
        counts = {**self.ended, "running": len(self.running)}
        shown = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        self.bar.set_postfix_str(f"{shown}; {self._machine}", refresh=False)
