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

from ganlib.study import BUSY, FAILED, Run, check_data, run_folder, run_trial

RETRIES = 1  # of a trial whose worker died
POLL_SECONDS = 1.0  # between looks at a trial that another process has


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
    if fresh:
        for trial in study.trials:
            _remove(run_folder(study, trial, out))
    data = study.load_data()  # errors in the data come before any long work
    check_data(study, data, out)
    with _Progress(study, show) as progress:
        if workers:
            return _Pool(study, out, workers, memory_limit, progress).run()
        return _run_here(study, data, out, progress)


def _remove(folder):
    with Run(folder).lock():  # raises if another process is at work there
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


def _run_here(study, data, out, progress):
    results = {}
    pending = collections.deque(study.trials)
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
    return [results[trial.id] for trial in study.trials]


@dataclasses.dataclass
class _Worker:
    process: subprocess.Popen
    trial: object = None


class _Pool:
    def __init__(self, study, out, workers, memory_limit, progress):
        import psutil

        self.study = study
        self.out = out
        self.size = min(workers, len(study.trials))
        self.memory_limit = memory_limit or 0.8 * psutil.virtual_memory().total / workers
        self.progress = progress
        self.events = queue.SimpleQueue()
        self.workers = []
        self.deaths = collections.Counter()
        self.log = pathlib.Path(out) / study.name / "workers.log"

    def run(self):
        # (not before, trial): one that another process has is looked at again a little later.
        self.pending = collections.deque((0.0, trial) for trial in self.study.trials)
        results = {}
        try:
            self.workers = [self._start() for _ in range(self.size)]
            while len(results) < len(self.study.trials):
                self._hand_out()
                try:
                    worker, event = self.events.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if trial := self._handle(worker, event):
                    results[trial.id] = self._result(trial)
                    self.progress.end(trial, results[trial.id]["status"])
        finally:
            for worker in self.workers:
                _stop(worker.process)
        return [results[trial.id] for trial in self.study.trials]

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
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker):
        for line in worker.process.stdout:
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
        """Returns the trial that this event finishes, if any."""
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
            return trial
        worker.trial = None
        if event["status"] == BUSY:
            self.pending.append((time.monotonic() + POLL_SECONDS, trial))
            return None
        if event["memory"] > self.memory_limit:
            self._replace(worker)
        return trial

    def _replace(self, worker):
        self.workers[self.workers.index(worker)] = self._start()
        _stop(worker.process)

    def _result(self, trial):
        result = Run(run_folder(self.study, trial, self.out)).result()
        return result or {
            "id": trial.id,
            "name": trial.name,
            "seed": trial.seed,
            "status": FAILED,
            "error": f"The worker process died {self.deaths[trial.id]} times; see {self.log}.",
        }


def _stop(process):
    process.kill()  # at any moment: a run directory survives it
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


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
