"""How long a study will take and how much memory it needs, from steps that were measured."""

import collections
import dataclasses
import shutil
import time

import keras

from ganlib.experiment import machine
from ganlib.experiment.local import default_workers
from ganlib.experiment.status import duration, study_status
from ganlib.experiment.study import FINAL, Run, run_folder

WARM_UP = 2  # calls of the training step: the first compiles, the second may still wait for it
LEAST_CALLS = 3
ENOUGH_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Part:
    """What is left to do of trials that are alike, in one phase of their training.

    Attributes:
        name: of one of them, and how many epochs the phase has where it is one of several.
        trials: int.
        epochs: int, of all these trials together.
        steps: int, of an epoch.
        seconds_per_step: float.
        memory: int, bytes of main memory that the process held.
        device_memory: int, the most bytes held on the accelerator; None without one.
    """

    name: str
    trials: int
    epochs: int
    steps: int
    seconds_per_step: float
    memory: int
    device_memory: int | None

    @property
    def seconds(self):
        return self.epochs * self.steps * self.seconds_per_step


class Measured(Exception):
    """Ends a training whose step has been measured."""


class Stopwatch(keras.callbacks.Callback):
    """Measures training steps after the first ones, then ends the training by `Measured`.

    Of a training that is over by then, all steps count.

    Attributes:
        steps: int, of an epoch.
        seconds_per_step: float.
    """

    def __init__(self):
        super().__init__()
        self._calls = 0  # of the compiled step, which may hold several steps
        self._start = None

    def on_train_begin(self, logs=None):
        self.steps = self.params["steps"]
        self._began = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        if self._calls >= WARM_UP and self._start is None:
            self._start, self._first = time.monotonic(), batch

    def on_train_batch_end(self, batch, logs=None):
        self._calls += 1
        if self._start is None:
            if self._calls >= WARM_UP:
                _wait(logs)
            return
        enough = time.monotonic() - self._start > ENOUGH_SECONDS
        if batch + 1 >= self.steps or (enough and self._calls >= WARM_UP + LEAST_CALLS):
            _wait(logs)
            elapsed = time.monotonic() - self._start
            self.seconds_per_step = elapsed / (batch + 1 - self._first)
            raise Measured

    def on_train_end(self, logs=None):
        elapsed = time.monotonic() - self._began
        self.seconds_per_step = elapsed / (self.params["epochs"] * self.steps)
        raise Measured


def _wait(logs):
    """Until the step is done: an accelerator may still be at work when the call has returned."""
    for value in (logs or {}).values():
        keras.ops.convert_to_numpy(value)


def estimate(study, out="runs"):
    """Measures a few training steps of each kind of trial that is not finished.

    Trials are taken to be alike if they have one `Study.shape`, or else if their recipes differ in
    numbers with a decimal point alone: rates and weights change what a step does, not its cost.

    Nothing of it is kept but what all trials share, such as the features of the real pictures.
    What follows from the results (`Study.following`) is not known yet, and not in it.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.

    Returns:
        List of `Part`; empty where nothing is left to do.

    Raises:
        DataError: the data can't be used.
    """
    left = _epochs_left(study, out)
    if not left:
        return []
    data = study.load_data()
    parts = []
    for trials in left:
        first, whole = trials[0][0], study.epochs(trials[0][0])
        for phase, epochs in study.phases_of(first):
            share = sum(count for _, count in trials) * epochs / whole
            watch, memory, device_memory = _measure(study, phase, data, out)
            of = "" if epochs == whole else f" ({epochs} of {whole} epochs)"
            parts.append(
                Part(
                    first.name + of,
                    len(trials),
                    round(share),
                    watch.steps,
                    watch.seconds_per_step,
                    memory,
                    device_memory,
                )
            )
    return parts


def _epochs_left(study, out):
    """Lists of (trial, epochs left), those that are alike together."""
    left = collections.defaultdict(list)
    for trial, row in zip(study.trials, study_status(study, out), strict=True):
        if row["status"] not in FINAL:
            kind = study.shape(trial) if study.shape else _kind(trial.recipe)
            left[kind].append((trial, row["epochs"] - row["epoch"]))
    return list(left.values())


def _kind(recipe):
    fields = dataclasses.asdict(recipe) | {"epochs": None}
    return tuple(value for value in fields.values() if not isinstance(value, float))


def _measure(study, trial, data, out):
    folder = run_folder(study, dataclasses.replace(trial, name=".measured"), out)
    watch = Stopwatch()
    machine.forget_device_memory()
    try:
        study.train(trial, data, Run(folder, callbacks=(watch,)))
    except Measured:
        return watch, machine.process_memory(), machine.device_memory()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        keras.backend.clear_session()
    raise RuntimeError(f"The trial {trial.name!r} ended before a step of it had been measured.")


def table(parts):
    """A `pandas.DataFrame` for people, a row a `Part`."""
    import pandas

    return pandas.DataFrame(
        {
            "trials like": part.name,
            "n": part.trials,
            "epochs left": part.epochs,
            "steps an epoch": part.steps,
            "ms a step": round(1e3 * part.seconds_per_step, 1),
            "time": duration(part.seconds),
            "GiB": round((part.device_memory or part.memory) / 2**30, 1),
        }
        for part in parts
    )


def describe(parts):
    """One line for people: how long, how much memory, on what."""
    if not parts:
        return "Nothing is left to do."
    workers = max(1, default_workers())
    time_left = duration(sum(part.seconds for part in parts) / workers)
    memory = max(part.device_memory or part.memory for part in parts) / 2**30
    where = "of the accelerator" if parts[0].device_memory else "of main memory each"
    side = "one after the other" if workers == 1 else f"{workers} at once"
    return (
        f"About {time_left} of training steps on {machine.device_name(keras.backend.backend())}, "
        f"trials {side}, and up to {memory:.1f} GiB {where}. Scores and pictures come on top."
    )
