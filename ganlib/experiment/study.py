"""A study is a list of trials over one recipe; a run directory holds what a trial left behind.

    runs/<study>/<trial id>/
      trial.json     what is asked for: recipe, seed, data
      history.csv    a row an epoch
      checkpoints/   the last two epochs, enough to go on exactly
      samples/       pictures
      model.keras    the trained model
      result.json    what came out; written last, atomically: its presence means "finished"
      <phase>/       history, checkpoints and samples of a phase, where training has several

Nothing about a trial is kept anywhere else, so killing a study at any moment loses at most the
epochs since the last checkpoint of the trials under way.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import shutil
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import filelock

from ganlib.experiment.devices import data_parallel
from ganlib.experiment.faults import (
    StudyError,
    describe,
    free_space,
    is_full,
    is_out_of_memory,
    naming,
)
from ganlib.experiment.machine import environment
from ganlib.experiment.records import (
    DONE,
    FAILED,
    FINAL,
    OUT_OF_MEMORY,
    STOPPED,
    plain,
    read_json,
    read_result,
    trial_id,
)

BUSY = "busy"  # another process has it


@dataclasses.dataclass(frozen=True)
class Trial:
    """One recipe with one seed.

    Attributes:
        name: of the variation, for people; it takes part in the id only to be readable.
        recipe: frozen dataclass of JSON values.
        seed: int, of everything random.
    """

    name: str
    recipe: Any
    seed: int

    @property
    def id(self):
        """Of recipe and seed; see `ganlib.experiment.records.trial_id`."""
        return trial_id(self.name, dataclasses.asdict(self.recipe), self.seed)


@dataclasses.dataclass(frozen=True)
class Study:
    """Trials, their data, and the one function that trains them.

    Attributes:
        name: of the study and its folder.
        title: one line for people.
        trials: sequence of `Trial`.
        load_data: `() -> data`; `data.checksum` identifies it.
        train: `(trial, data, run) -> dict`, the metrics; may put `"status": "stopped"` in it.
        module: import path of the module whose `build(**options)` makes this study again in
            another process.
        options: JSON values, the arguments of that `build`.
        epochs: `(trial) -> int`, for the time left.
        shape: `(trial) -> hashable`: trials of one shape run the same compiled programs and need
            the same memory. None: no two are alike.
        phases: `(trial) -> list of (trial, epochs)`: trials whose training is one phase of this
            one's. By default it has one phase.
        spreads: bool, whether its models can train on several devices.
        following: `(results) -> Study`, the trials that depend on what came out of these, once all
            have ended; they live in the same folder. It may return None.
    """

    name: str
    title: str
    trials: Sequence[Trial]
    load_data: Callable[[], Any]
    train: Callable[[Trial, Any, "Run"], dict]
    module: str
    options: dict
    epochs: Callable[[Trial], int]
    shape: Callable[[Trial], Hashable] | None = None
    phases: Callable[[Trial], Sequence[tuple]] | None = None
    spreads: bool = False
    following: Callable[[Sequence[dict]], "Study | None"] = lambda results: None

    def __post_init__(self):
        ids = [trial.id for trial in self.trials]
        if twice := {trial_id for trial_id in ids if ids.count(trial_id) > 1}:
            raise ValueError(f"A study must not hold a trial twice. Received: {sorted(twice)}")

    def trial(self, trial_id):
        return next(trial for trial in self.trials if trial.id == trial_id)

    def phases_of(self, trial):
        """List of (trial, epochs): the parts of its training, each by a trial that has no other."""
        return self.phases(trial) if self.phases else [(trial, self.epochs(trial))]

    def alike(self, trial):
        """The other trials of the same shape."""
        if self.shape is None:
            return []
        shape = self.shape(trial)
        return [t for t in self.trials if t is not trial and self.shape(t) == shape]

    def select(self, pattern):
        """The same study with only the trials whose id or name matches a shell pattern.

        Raises:
            ValueError: no trial matches.
        """
        from fnmatch import fnmatchcase

        chosen = [t for t in self.trials if fnmatchcase(t.id, pattern) or t.name == pattern]
        if not chosen:
            names = sorted({trial.name for trial in self.trials})
            raise ValueError(
                f"No trial of {self.name!r} matches. Give a name, or a pattern of ids such as "
                f"'*-seed0-*'; the names are {', '.join(names)}. Received: {pattern!r}"
            )
        return dataclasses.replace(self, trials=tuple(chosen), following=lambda results: None)


def build(module, options):
    """Makes a study from its module and options, as `Study.module` and `Study.options` name it."""
    return importlib.import_module(module).build(**options)


class Run:
    """A trial's run directory.

    Args:
        path: folder; made when it is missing.
        progress: callable `(epoch, epochs)`, called after each epoch.
        callbacks: Keras callbacks of whoever runs the trial, beside the study's own.
    """

    def __init__(self, path, progress=None, callbacks=()):
        self.path = pathlib.Path(path)
        self.callbacks = tuple(callbacks)
        self.progress = progress or (lambda epoch, epochs: None)

    @property
    def samples(self):
        folder = self.path / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def checkpoints(self):
        folder = self.path / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def model(self):
        return self.path / "model.keras"

    def phase(self, name, before, epochs):
        """A part of this run with its own history, checkpoints and samples, such as pretraining.

        Args:
            name: of its folder; "" for the last phase, which has the run's own.
            before: int, epochs of the phases before it.
            epochs: int, epochs of the whole run, for the time left.
        """
        return Run(
            self.path / name,
            lambda epoch, _: self.progress(before + epoch, epochs),
            self.callbacks,
        )

    def result(self):
        """The parsed result.json, or None where there is none that can be believed."""
        return read_result(self.path / "result.json")

    def finished(self):
        """The result if there is nothing left to do, else None."""
        result = self.result()
        if result is None or result["status"] not in FINAL:
            return None
        if result["status"] in (DONE, STOPPED):  # a kill may have come before this
            for folder in self._found("checkpoints"):
                shutil.rmtree(folder, ignore_errors=True)
        return result

    def epochs_done(self):
        """Epochs in the history, of all phases together."""
        return sum(map(_count_rows, self._found("history.csv")))

    def _found(self, name):
        return [path for path in (self.path / name, *self.path.glob(f"*/{name}")) if path.exists()]

    def discard_attempt(self):
        """Removes what a failed or killed attempt left, except the checkpoints to go on from."""
        half_written = [*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")]
        for path in (self.path / "result.json", self.path / "error.txt", *half_written):
            path.unlink(missing_ok=True)

    def lock(self):
        """An operating-system lock on the run directory: it ends with the process that holds it.

        Raises:
            StudyError: nothing can be written there; it may be another user's.
        """
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise StudyError(
                f"{path} can't be opened: {error.strerror}. If another user made it, ask for the "
                "right to write to the folder of all runs; or give another one with --out."
            ) from error
        return filelock.FileLock(path, timeout=0)

    def checksum(self):
        """Of the data that it was made from; None where that isn't known."""
        asked = read_json(self.path / "trial.json") or {}
        return asked.get("data_checksum") or (self.result() or {}).get("data_checksum")


def _count_rows(path):
    """Rows of a history that begin with an epoch; what is damaged has none."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    return sum(line.partition(",")[0].isdigit() for line in lines)


def run_folder(study, trial, out):
    return pathlib.Path(out) / study.name / trial.id


def run_trial(study, trial, data, out, progress=None, devices=1):
    """Runs a trial unless it is finished, or under way elsewhere.

    Args:
        study: `Study`.
        trial: `Trial`, one of the study's.
        data: what `study.load_data` returned.
        out: folder of all runs.
        progress: callable `(epoch, epochs)`.
        devices: int, over which each batch is spread; see `ganlib.experiment.devices`.

    Returns:
        The result as a dict, with `"status"` one of "done", "stopped", "failed", "out-of-memory",
        or "busy" when another process holds the trial.

    Raises:
        StudyError: the run directory was made from other data.
    """
    run = Run(run_folder(study, trial, out), progress)
    try:
        with run.lock():
            _check_data(run, data)
            return run.finished() or _train(study, trial, data, run, devices)
    except filelock.Timeout:
        return _busy(trial)


def _train(study, trial, data, run, devices):
    run.discard_attempt()
    asked = _asked(study, trial, data)
    start = time.monotonic()
    outcome = {"status": DONE, "metrics": {}}
    try:
        write_json(run.path / "trial.json", asked)
        _check_memory(study, trial, run)
        with data_parallel(devices), naming(run.path):
            metrics = dict(study.train(trial, data, run))
        outcome["status"] = metrics.pop("status", DONE)
        outcome["metrics"] = metrics
    except Exception as error:  # a trial's fault must not take the others with it
        outcome["status"] = OUT_OF_MEMORY if is_out_of_memory(error) else FAILED
        outcome["error"] = describe(error, trial.id)
        with contextlib.suppress(OSError):  # the disk may be what is full
            (run.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
    return _conclude(run, asked, outcome, time.monotonic() - start)


def _check_memory(study, trial, run):
    """Raises `MemoryError` if a trial of the same shape has run out of memory: so would this."""
    for other in study.alike(trial):
        result = Run(run.path.parent / other.id).result()
        if result and result["status"] == OUT_OF_MEMORY:
            raise MemoryError(f"{other.id}, which needs as much, ran out of memory")


def give_up(study, trial, data, out, error):
    """Records the failure of a trial whose process could not do so itself; returns the result."""
    run = Run(run_folder(study, trial, out))
    try:
        with run.lock():
            outcome = {"status": FAILED, "metrics": {}, "error": error}
            return _conclude(run, _asked(study, trial, data), outcome, 0.0)
    except filelock.Timeout:
        return _busy(trial)


def _asked(study, trial, data):
    return {
        "study": study.name,
        "id": trial.id,
        "name": trial.name,
        "recipe": dataclasses.asdict(trial.recipe),
        "seed": trial.seed,
        "data_checksum": data.checksum,
    }


def _conclude(run, asked, outcome, seconds):
    result = {**asked, **outcome, "seconds": round(seconds, 3), "environment": environment()}
    try:
        write_json(run.path / "result.json", result)
    except OSError as error:  # the checkpoints stand: the next command goes on from them
        help = f". {free_space()}" if is_full(error) else ""
        error = f"The result can't be written: {error}{help}"
        return {**result, "status": FAILED, "error": error}
    run.finished()
    return result


def _busy(trial):
    return {"id": trial.id, "name": trial.name, "seed": trial.seed, "status": BUSY}


def check_data(study, data, out):
    """Raises `StudyError` if a run directory of the study was made from other data."""
    for trial in study.trials:
        _check_data(Run(run_folder(study, trial, out)), data)


def _check_data(run, data):
    before = run.checksum()
    if before and before != data.checksum:
        raise StudyError(
            f"{run.path} was made from other data (checksum {before!s:.12}…, "
            f"now {data.checksum:.12}…). Use another --out, or --fresh to begin again."
        )


def results(study, out):
    """The results that exist, in the order of the study's trials.

    Args:
        study: `Study`.
        out: folder of all runs.

    Returns:
        List of result dicts, as `run_trial` returns them.
    """
    found = (Run(run_folder(study, trial, out)).result() for trial in study.trials)
    return [result for result in found if result]


def write_json(path, value):
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plain(value), indent=2, sort_keys=False) + "\n")


def write_atomically(path, text):
    """Replaces a text file in one step; on a full disk the old one stays."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
