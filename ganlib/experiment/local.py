"""Runs a study on this machine: in this process, or in worker processes."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

from ganlib.experiment.machine import check_writable, cores, has_accelerator, process_memory, spread
from ganlib.experiment.run import BUSY, OUT_OF_MEMORY, Run, give_up, run_folder, run_trial
from ganlib.experiment.status import Progress
from ganlib.experiment.study import build

RETRIES = 2  # of a trial whose worker died
MOST_WORKERS = 8  # by default; each needs about a gigabyte
POLL_SECONDS = 1.0  # between looks at the epochs, and at a trial that another process has
MEMORY = 0.8  # share of the machine's memory that all workers may hold between trials


def default_workers():
    """Worker processes that suit this machine: one a core, but none beside an accelerator.

    Small networks keep one core busy and no more, so several trials at once use the cores best. An
    accelerator is one device, and its backend would claim all of its memory for each process. On a
    single core a second process gains nothing.
    """
    count = min(cores(), MOST_WORKERS)
    return 0 if count == 1 or has_accelerator() else count


def run(study, out="runs", *, workers=0, devices=1, fresh=False, show=True):
    """Runs all trials of a study that are not finished, and returns all results.

    Args:
        study: `ganlib.experiment.study.Study`, as `at` makes it.
        out: folder of all runs.
        workers: int. 0 runs in this process, which saves start-up time; N worker processes share
            the cores. A trial whose process dies is tried again, twice at most. A script that asks
            for workers needs the usual `if __name__ == "__main__":`.
        devices: int, over which each batch is spread on JAX, for `workers=0`.
        fresh: bool, delete what the trials left behind before.
        show: bool, a progress bar with the time left.

    Returns:
        List of result dicts in the order of the study's trials.

    Raises:
        DataError: the data can't be used; nothing has been trained.
        ValueError: there are fewer devices, or they are to be shared by worker processes.
        StudyError: a folder can't be written to, or with `fresh` another process is at work in it.
        KeyboardInterrupt: after the workers have been stopped. Run again to resume.
    """
    if devices > 1 and workers:
        raise ValueError(
            f"Several devices share one trial. Received: workers={workers}, devices={devices}"
        )
    results = prepare(study, out, fresh)
    with spread(devices), Progress(study, out, show, results) as progress:
        if workers:
            _Pool(study, out, workers, progress).run(results)
        else:
            _run_here(study, out, progress, results)
    return [results[trial.id] for trial in study.trials]


def prepare(study, out, fresh):
    """Loads the data, with `fresh` deletes the runs; returns the results there are, by id."""
    folder = pathlib.Path(out) / study.name
    check_writable(folder, "--out")
    # Errors in the data, which the trials' ids hold, come before any long work or deletion.
    runs = {trial.id: Run(run_folder(study, trial, out)) for trial in study.trials}
    if fresh:
        for trial_run in runs.values():
            trial_run.clear()
    folder.mkdir(parents=True, exist_ok=True)
    return {key: result for key, trial_run in runs.items() if (result := trial_run.finished())}


def choose(study, waiting, last=None, others=()):
    """The trial that a process does next: of the shape that it has compiled, or of nobody's.

    Args:
        study: `ganlib.experiment.study.Study`.
        waiting: list of trials, not empty.
        last: trial that the process did before, or None.
        others: trials that other processes have or had last.
    """
    mine = last and study.shape_of(last)
    taken = {study.shape_of(trial) for trial in others}

    def rank(trial):
        shape = study.shape_of(trial)
        return 0 if shape == mine else 1 if shape not in taken else 2

    return min(waiting, key=rank)


def _run_here(study, out, progress, results):
    waiting, last = [t for t in study.trials if t.id not in results], None
    while waiting:
        last = choose(study, waiting, last)
        waiting.remove(last)
        progress.begin(last)
        result = run_trial(study, last, out, lambda epoch, _: progress.epoch(last, epoch))  # noqa: B023
        if result["status"] == BUSY:
            waiting.append(last)
            progress.busy(last)
            time.sleep(POLL_SECONDS)
            continue
        results[last.id] = result
        progress.end(last, result["status"])


@dataclasses.dataclass(eq=False)
class _Worker:
    """A pool of one process. One for all could not give a process its last shape again."""

    pool: concurrent.futures.ProcessPoolExecutor
    line: object  # the process ends when this is closed, or when we end
    future: concurrent.futures.Future = None
    trial: object = None
    last: object = None  # the trial before, whose compiled programs it still has


class _Pool:
    def __init__(self, study, out, workers, progress):
        import psutil

        self.study, self.out, self.progress = study, out, progress
        # By all trials, not by those left: a resumed study must compute with as many threads.
        self.size = min(workers, len(study.trials))
        self.memory = MEMORY * psutil.virtual_memory().total / workers
        self.deaths = collections.Counter()
        self.log = pathlib.Path(out) / study.name / "workers.log"

    def run(self, results):
        """Adds a result to `results` for each trial that has none."""
        self.waiting = [trial for trial in self.study.trials if trial.id not in results]
        self.workers = [self._start() for _ in range(min(self.size, len(self.waiting)))]
        self.later = {}  # trial → when to look again at what another process has
        try:
            while len(results) < len(self.study.trials):
                self._hand_out()
                futures = [w.future for w in self.workers if w.future]
                if not futures:
                    time.sleep(POLL_SECONDS)
                concurrent.futures.wait(futures, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
                for worker in self.workers:
                    if worker.future and worker.future.done():
                        self._settle(worker, results)
                self.progress.look(w.trial for w in self.workers if w.future)
        finally:
            for worker in self.workers:
                _stop(worker)

    def _start(self):
        context = multiprocessing.get_context("spawn")
        listener, line = context.Pipe(duplex=False)
        pool = concurrent.futures.ProcessPoolExecutor(1, context, _begin, (listener, self.log))
        return _Worker(pool, line)

    def _hand_out(self):
        now = time.monotonic()
        for worker in self.workers:
            ready = [t for t in self.waiting if self.later.get(t.id, now) <= now]
            if worker.future or not ready:
                continue
            others = [w.trial or w.last for w in self.workers if w is not worker]
            trial = choose(self.study, ready, worker.last, filter(None, others))
            self.waiting.remove(trial)
            # Backends look once, when the process begins, how many threads they may have.
            with _environment(thread_limits(max(1, cores() // self.size))):
                job = self.study.module, self.study.options, trial.id, self.out
                try:
                    worker.future = worker.pool.submit(_work, *job)
                except BrokenProcessPool:  # it has died since its last trial
                    self.waiting.insert(0, trial)
                    self._replace(worker)
                    continue
            worker.trial = trial
            self.progress.begin(trial)

    def _settle(self, worker, results):
        trial, future = worker.trial, worker.future
        worker.future, worker.trial, worker.last = None, None, trial
        try:
            result, memory = future.result()
        except BrokenProcessPool:
            self._replace(worker)
            self.deaths[trial.id] += 1
            if self.deaths[trial.id] <= RETRIES:
                self.waiting.insert(0, trial)
                self.progress.give_back(trial)
                return
            message = f"Its process died {self.deaths[trial.id]} times; see {self.log}."
            result = give_up(self.study, trial, self.out, message)
        else:
            # What an out-of-memory error has interrupted may still hold what it had.
            if result["status"] == OUT_OF_MEMORY or memory > self.memory:
                self._replace(worker)
        if result["status"] == BUSY:
            self.waiting.append(trial)
            self.later[trial.id] = time.monotonic() + POLL_SECONDS
            self.progress.busy(trial)
            return
        results[trial.id] = result
        self.progress.end(trial, result["status"])

    def _replace(self, worker):
        self.workers[self.workers.index(worker)] = self._start()
        _stop(worker)


@contextlib.contextmanager
def _environment(variables):
    """Sets variables that nobody has set, for the processes that are started meanwhile."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def thread_limits(threads):
    """Variables of the environment that hold a process to so many threads."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _stop(worker):
    worker.line.close()  # at any moment: a run directory survives it
    worker.pool.shutdown(cancel_futures=True)


# -- in the worker -------------------------------------------------------------------------------

_KEPT = {}


def kept_study(module, options):
    """The study that this process works at, with its data and what it has compiled."""
    key = module, repr(options)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = build(module, options)
    return _KEPT[key]


def _begin(listener, log):
    # Ctrl-C reaches the whole process group; the parent decides what happens to us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(log, "ab") as file:  # the terminal is the progress bar's
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with, args=(listener,), daemon=True).start()


def _end_with(listener):
    """So no orphan holds a trial's lock."""
    with contextlib.suppress(EOFError, OSError):
        listener.recv()
    os._exit(1)


def _work(module, options, trial_id, out):
    study = kept_study(module, options)
    return run_trial(study, study.trial(trial_id), out), process_memory()
