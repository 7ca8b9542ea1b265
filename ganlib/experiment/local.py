"""Runs a study on this machine: in this process, or in worker processes."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

import filelock

from ganlib.experiment.devices import check_devices
from ganlib.experiment.faults import check_writable
from ganlib.experiment.machine import cores, has_accelerator
from ganlib.experiment.order import Queue
from ganlib.experiment.progress import Progress
from ganlib.experiment.study import (
    BUSY,
    OUT_OF_MEMORY,
    Run,
    StudyError,
    check_data,
    give_up,
    run_folder,
    run_trial,
)

RETRIES = 1  # of a trial whose worker died
MOST_WORKERS = 8  # by default; each needs about a gigabyte
POLL_SECONDS = 1.0  # between looks at a trial that another process has


def default_workers():
    """Worker processes that suit this machine: one a core, but none beside an accelerator.

    Small networks keep one core busy and no more, so several trials at once use the cores best. An
    accelerator is one device, and its backend would claim all of its memory for each process. On a
    single core a second process gains nothing.
    """
    count = min(cores(), MOST_WORKERS)
    return 0 if count == 1 or has_accelerator() else count


def run(study, out="runs", *, workers=0, devices=1, fresh=False, memory_limit=None, show=True):
    """Runs all trials of a study that are not finished, and returns all results.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.
        workers: int. 0 runs in this process, which saves start-up time; N worker processes share
            the cores, and one that dies loses only its trial (which is tried once more).
        devices: int, over which each batch is spread, for `workers=0`.
        fresh: bool, delete what the trials left behind before.
        memory_limit: int, bytes. A worker that holds more after a trial is replaced; by default an
            equal share of 80 % of the machine's memory.
        show: bool, a progress bar with the time left.

    Returns:
        List of result dicts in the order of the study's trials.

    Raises:
        DataError: the data can't be used; nothing has been trained.
        ValueError: there are fewer devices, or they are to be shared by worker processes.
        StudyError: a run directory belongs to other data; or the models train on one device each.
        KeyboardInterrupt: after the workers have been stopped. Run again to resume.
    """
    if devices > 1 and workers:
        raise ValueError(
            "Several devices take one trial after the other, without worker processes. Received: "
            f"workers={workers}, devices={devices}"
        )
    check_devices(devices)
    data = prepare(study, out, fresh, devices)
    with Progress(study, show) as progress:
        results = finished(study, out, progress)
        if workers:
            _Pool(study, data, out, workers, memory_limit, progress).run(results)
        else:
            _run_here(study, data, out, devices, progress, results)
    return [results[trial.id] for trial in study.trials]


def prepare(study, out, fresh=False, devices=1):
    """Loads the data, and checks or removes what earlier runs left; errors as of `run`.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs.
        fresh: bool, delete what the trials left behind before.
        devices: int, over which each batch is to be spread.

    Returns:
        The study's data.
    """
    if devices > 1 and not study.spreads:
        raise StudyError(
            f"The models of {study.name!r} train on one device each: leave --devices out. Received:"
            f" devices={devices}"
        )
    check_writable(pathlib.Path(out) / study.name, "--out")
    data = study.load_data()  # errors in the data come before any long work, and any deletion
    if fresh:
        for trial in study.trials:
            _remove(run_folder(study, trial, out))
    check_data(study, data, out)
    for trial in study.trials:
        run = Run(run_folder(study, trial, out))
        if run.path.exists():
            run.lock()  # that can't be opened is told now, and not by a worker
    return data


def finished(study, out, progress):
    """The results that need no work any more, by id; `progress` hears of them."""
    results = {}
    for trial in study.trials:
        if result := Run(run_folder(study, trial, out)).finished():
            results[trial.id] = result
            progress.end(trial, result["status"])
    return results


def thread_limits(threads):
    """Variables of the environment that hold a process to so many threads."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _remove(folder):
    try:
        with Run(folder).lock():
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
    except filelock.Timeout:
        raise StudyError(
            f"Another process is at work in {folder}. Wait for it or stop it; nothing of this "
            "trial has been deleted."
        ) from None


def _run_here(study, data, out, devices, progress, results):
    pending, trial = Queue(study, results), None
    while pending:
        trial = pending.next(trial)
        if trial is None:  # another process has what is left
            time.sleep(POLL_SECONDS)
            continue
        progress.begin(trial)
        result = run_trial(
            study,
            trial,
            data,
            out,
            lambda epoch, _, trial=trial: progress.epoch(trial, epoch),
            devices,
        )
        if result["status"] == BUSY:
            pending.later(trial, POLL_SECONDS)
            progress.busy(trial)
            continue
        results[trial.id] = result
        progress.end(trial, result["status"])


@dataclasses.dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    listener: threading.Thread = None
    trial: object = None
    last: object = None  # the trial before, whose compiled programs it still has


class _Pool:
    def __init__(self, study, data, out, workers, memory_limit, progress):
        import psutil

        self.study = study
        self.data = data
        self.out = out
        # By all trials, not by those left: a resumed study must compute with as many threads.
        self.size = min(workers, len(study.trials))
        self.memory_limit = memory_limit or 0.8 * psutil.virtual_memory().total / workers
        self.progress = progress
        self.events = queue.SimpleQueue()
        self.workers = []
        self.deaths = collections.Counter()
        self.log = pathlib.Path(out) / study.name / "workers.log"

    def run(self, results):
        """Adds a result to `results` for each trial that has none."""
        self.pending = Queue(self.study, results)
        try:
            for _ in range(min(self.size, len(self.pending))):
                self.workers.append(self._start())
            while len(results) < len(self.study.trials):
                self._hand_out()
                try:
                    worker, event = self.events.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if result := self._handle(worker, event):
                    results[result["id"]] = result
                    self.progress.end(self.study.trial(result["id"]), result["status"])
        finally:
            for worker in self.workers:
                _stop(worker)

    def _start(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        threads = max(1, cores() // self.size)
        with open(self.log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ganlib.experiment.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**thread_limits(threads), **os.environ},
            )
        worker = _Worker(process)
        worker.listener = threading.Thread(target=self._listen, args=(worker,), daemon=True)
        worker.listener.start()
        return worker

    def _listen(self, worker):
        with worker.process.stdout as lines, contextlib.suppress(ValueError):  # killed mid-line
            for line in lines:
                self.events.put((worker, json.loads(line)))
        self.events.put((worker, {"event": "died"}))

    def _hand_out(self):
        for worker in self.workers:
            if worker.trial:
                continue
            others = [w.trial or w.last for w in self.workers if w is not worker]
            worker.trial = self.pending.next(worker.last, others)
            if worker.trial is None:
                continue
            self.progress.begin(worker.trial)
            job = {
                "module": self.study.module,
                "options": self.study.options,
                "trial": worker.trial.id,
                "out": str(self.out),
            }
            # A worker that died idle: its "died" event will give the trial back.
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.write(json.dumps(job) + "\n")
                worker.process.stdin.flush()

    def _handle(self, worker, event):
        """Returns the result that this event brings, if any."""
        trial = worker.trial
        if event["event"] == "epoch":
            self.progress.epoch(trial, event["epoch"])
            return None
        if event["event"] == "died":
            if worker not in self.workers:  # replaced on purpose
                return None
            self._replace(worker)
            if trial is None:
                return None
            self.deaths[trial.id] += 1
            self.progress.give_back(trial)
            if self.deaths[trial.id] <= RETRIES:
                self.pending.first(trial)
                return None
            message = f"The worker process died {self.deaths[trial.id]} times; see {self.log}."
            return self._unless_busy(
                trial, give_up(self.study, trial, self.data, self.out, message)
            )
        worker.trial, worker.last = None, trial
        # What an out-of-memory error has interrupted may still hold what it had.
        exhausted = event["result"]["status"] == OUT_OF_MEMORY
        if exhausted or event["memory"] > self.memory_limit:
            self._replace(worker)
        return self._unless_busy(trial, event["result"])

    def _unless_busy(self, trial, result):
        if result["status"] != BUSY:
            return result
        self.pending.later(trial, POLL_SECONDS)
        self.progress.busy(trial)
        return None

    def _replace(self, worker):
        self.workers[self.workers.index(worker)] = self._start()
        _stop(worker)


def _stop(worker):
    worker.process.kill()  # at any moment: a run directory survives it
    worker.process.wait()
    with contextlib.suppress(BrokenPipeError):
        worker.process.stdin.close()
    worker.listener.join(POLL_SECONDS)  # it reads to the end, and closes its pipe
