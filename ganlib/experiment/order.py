"""Which trial a worker does next."""

import time


class Queue:
    """Trials that wait, in the study's order, but those of one shape behind one another.

    A worker that has compiled a shape's programs gets the other trials of that shape first, and no
    two workers begin a shape while there is one for each.

    Args:
        study: `ganlib.experiment.study.Study`.
        results: ids of trials that are finished.
    """

    def __init__(self, study, results=()):
        self.shape = study.shape or (lambda trial: trial.id)
        # (not before, trial): one that another process has is looked at again a little later.
        self._waiting = [(0.0, trial) for trial in study.trials if trial.id not in results]

    def __len__(self):
        return len(self._waiting)

    def next(self, last=None, others=()):
        """Takes a trial out of the queue.

        Args:
            last: trial that the worker did before, or None.
            others: trials, some of them None, that other workers have or had last.

        Returns:
            A trial, or None where none is ready.
        """
        now = time.monotonic()
        ready = [entry for entry in self._waiting if entry[0] <= now]
        if not ready:
            return None
        mine = last and self.shape(last)
        taken = {self.shape(trial) for trial in others if trial}
        # The first of the lowest rank: my shape, then one that is nobody's.
        entry = min(ready, key=lambda entry: self._rank(self.shape(entry[1]), mine, taken))
        self._waiting.remove(entry)
        return entry[1]

    @staticmethod
    def _rank(shape, mine, taken):
        return 0 if shape == mine else 1 if shape not in taken else 2

    def first(self, trial):
        """Puts a trial back, to be the next."""
        self._waiting.insert(0, (0.0, trial))

    def later(self, trial, seconds):
        """Puts a trial back, to be looked at again after so many seconds."""
        self._waiting.append((time.monotonic() + seconds, trial))
