"""Running a trial; its run directory holds all that it leaves behind.

runs/<study>/<trial id>/
  trial.json     what is asked for: recipe, seed, data
  history.csv    a row an epoch
  checkpoints/   the last two epochs, enough to go on exactly
  samples/       pictures
  model.keras    the trained model
  result.json    what came out; written last, atomically: its presence means "finished"
  <phase>/       history, checkpoints and samples of a phase, where training has several
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
import time
import traceback

import filelock

from ganlib.data.writing import replacing
from ganlib.experiment.machine import MEMORY, StudyError, environment, in_words, lacks

DONE, STOPPED, FAILED, OUT_OF_MEMORY = "done", "stopped", "failed", "out-of-memory"
BUSY = "busy"  # another process has it
# A failed trial runs again with the next command: the fault may have been the machine's.
FINAL = (DONE, STOPPED, OUT_OF_MEMORY)


class Run:
    """A trial's run directory.

    `progress(epoch, epochs)` is called after each epoch; `callbacks` come beside the study's own.
    """

    def __init__(self, path, progress=None, callbacks=()):
        self.path = pathlib.Path(path)
        self.model = self.path / "model.keras"
        self.callbacks = tuple(callbacks)
        self.progress = progress or (lambda epoch, epochs: None)

    def _folder(self, name):
        (self.path / name).mkdir(parents=True, exist_ok=True)
        return self.path / name

    samples = property(lambda self: self._folder("samples"))
    checkpoints = property(lambda self: self._folder("checkpoints"))

    def phase(self, name, before, epochs):
        """A part of this run, in a folder of its own unless `name` is ""; `epochs` of the whole."""
        progress = self.progress
        return Run(self.path / name, lambda n, _: progress(before + n, epochs), self.callbacks)

    def result(self):
        """The parsed result.json, or None where there is none that can be believed."""
        result = read_json(self.path / "result.json") or {}
        ours = result.get("id") == self.path.name and result.get("status") in (*FINAL, FAILED)
        return result if ours and isinstance(result.get("metrics"), dict) else None

    def finished(self):
        """The result if there is nothing left to do, else None."""
        result = self.result()
        if result is None or result["status"] not in FINAL:
            return None
        if result["status"] != OUT_OF_MEMORY:  # a kill may have come before this
            for folder in self.found("checkpoints"):
                shutil.rmtree(folder, ignore_errors=True)
        return result

    def epochs_done(self):
        """Epochs in the history, of all phases together."""
        done = 0
        for path in self.found("history.csv"):
            with contextlib.suppress(OSError):  # it is just being replaced
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                done += sum(line.partition(",")[0].isdigit() for line in lines)
        return done

    def found(self, pattern):
        return [*self.path.glob(pattern), *self.path.glob(f"*/{pattern}")]

    def lock(self):
        """An operating-system lock on the run directory: it ends with the process that holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self.path / ".lock", timeout=0)

    def clear(self):
        """Deletes all, or raises a `StudyError` if another process is at work in it."""
        try:
            with self.lock():
                for path in self.path.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != ".lock":
                        path.unlink()
        except filelock.Timeout:
            raise StudyError(f"Another process is at work in {self.path}: wait for it.") from None


def run_folder(study, trial, out):
    """Where a trial's run directory lies in the folder of all runs."""
    return pathlib.Path(out) / study.name / trial.id


def run_trial(study, trial, out="runs", progress=None):
    """Runs a trial of a study unless it is finished, or under way elsewhere.

    Returns the result, a dict with `"status"` "done", "stopped", "failed", "out-of-memory", or
    "busy" when another process holds the trial; `progress` is as of `Run`.
    """
    return _settle(study, trial, Run(run_folder(study, trial, out), progress), _train)


def give_up(study, trial, out, error, status=FAILED):
    """Records what became of a trial whose process could not do so itself; returns the result."""
    outcome = {"status": status, "metrics": {}, "error": error}
    return _settle(study, trial, Run(run_folder(study, trial, out)), lambda *_: outcome)


def _settle(study, trial, run, work):
    asked = {"study": study.name, "id": trial.id, "name": trial.name, "data_checksum": trial.data}
    asked |= {"recipe": dataclasses.asdict(trial.recipe), "seed": trial.seed}
    try:
        with run.lock():
            if result := run.finished():
                return result
            start = time.monotonic()
            result = {**asked, **work(study, trial, run, asked)}
            result["seconds"] = round(time.monotonic() - start, 3)
            result = plain({**result, "environment": environment()})
            try:
                write_json(run.path / "result.json", result)
            except OSError as error:  # the checkpoints stand: the next command goes on from them
                return {**result, "status": FAILED, "error": in_words(error, trial.id)}
            return run.finished() or result
    except filelock.Timeout:
        return {**asked, "status": BUSY}


def _train(study, trial, run, asked):
    try:
        # What a failed or killed attempt left, except the checkpoints to go on from.
        for path in (run.path / "result.json", run.path / "error.txt", *run.found(".writing-*")):
            path.unlink(missing_ok=True)
        write_json(run.path / "trial.json", asked)
        for other in study.trials:  # one of the same shape needs as much memory
            alike = other != trial and study.shape_of(other) == study.shape_of(trial)
            result = Run(run.path.parent / other.id).result() if alike else None
            if result and result["status"] == OUT_OF_MEMORY:
                raise MemoryError(f"{other.id}, which needs as much, ran out of memory")
        metrics = dict(study.train(trial, study.data, run))
        return {"status": metrics.pop("status", DONE), "metrics": metrics}
    except Exception as error:  # a trial's fault must not take the others with it
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(run.path)  # which a full disk leaves out
        with contextlib.suppress(OSError):  # the disk may be what is full
            (run.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        status = OUT_OF_MEMORY if lacks(error) == MEMORY else FAILED
        return {"status": status, "metrics": {}, "error": in_words(error, trial.id)}


def results(study, out="runs"):
    """The results that exist, as `run_trial` returns them, in the order of the study's trials."""
    found = (Run(run_folder(study, trial, out)).result() for trial in study.trials)
    return [result for result in found if result]


def run_stages(study, run):
    """Runs a study and then, unless a trial failed, what follows it; returns all results."""
    every = []
    while study is not None:
        some = run(study)
        every += some
        if any(result["status"] == FAILED for result in some):
            break
        study = study.next(some)
    return every


def read_json(path):
    """The parsed file, or None where it is missing or no JSON object."""
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path, value):
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plain(value), indent=2) + "\n")


def write_atomically(path, text):
    """Replaces a text file in one step; on a full disk the old one stays."""
    with replacing(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def plain(value):
    """NumPy scalars and arrays as Python values; a number that is not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
