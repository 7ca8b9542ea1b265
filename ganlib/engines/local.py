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

from ganlib.study import BUSY, Run, StudyError, check_data, give_up, run_folder, run_trial

RETRIES = 1  # of a trial whose worker died
MOST_WORKERS = 8  # by default; each needs about a gigabyte
POLL_SECONDS = 1.0  # between looks at a trial that another process has


def default_workers():
    """Worker processes that suit this machine: one a core, but none beside an accelerator.

    Small networks keep one core busy and no more, so several trials at once use the cores best. An
    accelerator is one device, and its backend would claim all of its memory for each process.
    """
    import keras

    from ganlib.study import device_name

    on_cpu = device_name(keras.backend.backend()).startswith("CPU")
    return min(os.cpu_count() or 1, MOST_WORKERS) if on_cpu else 0


def run(study, out="runs", *, workers=0, fresh=False, memory_limit=None, show=True):
    """Runs all trials of a study that are not finished, and returns all results.

    Args:
        study: `ganlib.study.Study`.
        out: folder of all runs.
        workers: int. 0 runs in this process, which saves start-up time; N worker processes share
            the cores, and one that dies loses only its trial (which is tried once more).
        fresh: bool, delete what the trials left behind before.
        memory_limit: int, bytes. A worker that holds more after a trial is replaced; by default an
            equal share of 80 % of the machine's memory.
        show: bool, a progress bar with the time left.

    Returns:
        List of result dicts in the order of the study's trials.

    Raises:
        DataError: the data can't be used; nothing has been trained.
        StudyError: a run directory belongs to other data.
        KeyboardInterrupt: after the workers have been stopped. Run again to resume.
    """
    data = study.load_data()  # errors in the data come before any long work, and any deletion
    if fresh:
        for trial in study.trials:
            _remove(run_folder(study, trial, out))
    check_data(study, data, out)
    with _Progress(study, show) as progress:
        results = {}
        for trial in study.trials:
            if result := Run(run_folder(study, trial, out)).finished():
                results[trial.id] = result
                progress.end(trial, result["status"])
        if workers:
            _Pool(study, data, out, workers, memory_limit, progress).run(results)
        else:
            _run_here(study, data, out, progress, results)
    return [results[trial.id] for trial in study.trials]


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


def _run_here(study, data, out, progress, results):
    pending = collections.deque(trial for trial in study.trials if trial.id not in results)
    while pending:
        trial = pending.popleft()
        progress.begin(trial)
        result = run_trial(
            study, trial, data, out, lambda epoch, _, trial=trial: progress.epoch(trial, epoch)
        )
        if result["status"] == BUSY:
            pending.append(trial)
            time.sleep(POLL_SECONDS)
            continue
        results[trial.id] = result
        progress.end(trial, result["status"])


@dataclasses.dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    listener: threading.Thread = None
    trial: object = None


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
        # (not before, trial): one that another process has is looked at again a little later.
        left = [trial for trial in self.study.trials if trial.id not in results]
        self.pending = collections.deque((0.0, trial) for trial in left)
        try:
            for _ in range(min(self.size, len(left))):
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
        threads = str(max(1, (os.cpu_count() or 1) // self.size))
        variables = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        with open(self.log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ganlib.engines.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**dict.fromkeys(variables, threads), **os.environ},
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
            if worker.trial or not self.pending or self.pending[0][0] > time.monotonic():
                continue
            _, worker.trial = self.pending.popleft()
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
            if self.deaths[trial.id] <= RETRIES:
                self.pending.appendleft((0.0, trial))
                return None
            message = f"The worker process died {self.deaths[trial.id]} times; see {self.log}."
            return self._unless_busy(
                trial, give_up(self.study, trial, self.data, self.out, message)
            )
        worker.trial = None
        if event["memory"] > self.memory_limit:
            self._replace(worker)
        return self._unless_busy(trial, event["result"])

    def _unless_busy(self, trial, result):
        if result["status"] != BUSY:
            return result
        self.pending.append((time.monotonic() + POLL_SECONDS, trial))
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


class _Progress:
    """One bar over the epochs of all trials, so that the time left means something."""

    def __init__(self, study, show):
        self.study = study
        self.show = show
        self.done = {}

    def __enter__(self):
        if self.show:
            from tqdm.auto import tqdm

            total = sum(self.study.epochs(trial) for trial in self.study.trials)
            self.bar = tqdm(total=total, desc=self.study.name, unit="epoch")
        return self

    def __exit__(self, *exception):
        if self.show:
            self.bar.close()

    def begin(self, trial):
        if self.show:
            self.bar.set_postfix_str(trial.id)

    def epoch(self, trial, epoch):
        if self.show:
            self.bar.update(epoch - self.done.get(trial.id, 0))
        self.done[trial.id] = epoch

    def end(self, trial, status):
        self.epoch(trial, self.study.epochs(trial))
        if self.show and status not in ("done", "stopped"):
            self.bar.write(f"{trial.id}: {status}")
