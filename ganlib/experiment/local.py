"""Runs a study on this machine: in this process, or in worker processes."""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import psutil

from ganlib.experiment.machine import check_writable, cores, has_accelerator, spread
from ganlib.experiment.run import BUSY, OUT_OF_MEMORY, Run, give_up, run_folder, run_trial
from ganlib.experiment.status import Progress

RETRIES = 2  # of a trial whose worker died
MOST_WORKERS = 8  # by default; each needs about a gigabyte
POLL_SECONDS = 1.0  # between looks at the epochs, and at a trial that another process has
MEMORY = 0.8  # share of the machine's memory that all workers may hold between trials


def default_workers():
    """Worker processes that suit this machine: one a core, but none beside an accelerator."""
    count = min(cores(), MOST_WORKERS)
    return 0 if count == 1 or has_accelerator() else count


def run(study, out="runs", *, workers=0, devices=1, fresh=False, show=True):
    """Runs all trials of a study that are not finished, and returns all results.

    Args:
        study, out: `ganlib.experiment.study.Study`, as `at` makes it; folder of all runs.
        workers: int. 0 runs in this process; N processes share the cores, and a trial whose process
            dies is tried again, twice at most. Scripts need `if __name__ == "__main__":` for it.
        devices: int, over which each batch is spread on JAX, for `workers=0`.
        fresh, show: bool, delete what the trials left behind; a progress bar with the time left.

    Raises:
        DataError, ValueError: the data, or devices and workers, can't be used; nothing is trained.
        StudyError: a folder can't be written to, or with `fresh` another process is at work in it.
    """
    if devices > 1 and workers:
        raise ValueError(f"Several devices share one trial: no workers={workers} beside them.")
    results = prepare(study, out, fresh)
    with spread(devices), contextlib.closing(Progress(study, out, show, results)) as progress:
        queue = _Queue(study, progress, results)
        if workers:
            _run_in_workers(queue, out, workers)
        else:
            queue.serve(lambda t: run_trial(study, t, out, lambda n, _: progress.epoch(t, n)))
    return [results[trial.id] for trial in study.trials]


def prepare(study, out, fresh):
    """Loads the data, with `fresh` deletes the runs; returns the results there are, by id."""
    folder = pathlib.Path(out) / study.name
    check_writable(folder, "--out")
    # The ids need the data, whose errors so come before any long work or deletion.
    runs = {trial.id: Run(run_folder(study, trial, out)) for trial in study.trials}
    if fresh:
        for trial_run in runs.values():
            trial_run.clear()
    folder.mkdir(parents=True, exist_ok=True)
    return {key: result for key, trial_run in runs.items() if (result := trial_run.finished())}


class _Queue:
    """The trials of a study that have no result, for one thread or several to do."""

    def __init__(self, study, progress, results):
        self.study, self.progress, self.results = study, progress, results
        self.waiting = [trial for trial in study.trials if trial.id not in results]
        self.running, self.last = [], {}  # the shape that each thread has had last
        self.lock = threading.Lock()

    def serve(self, do):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                trial = self._choose(threading.get_ident())
                self.waiting.remove(trial)
                self.running.append(trial)
                self.progress.look(self.running)
            result = do(trial)
            with self.lock:
                self.running.remove(trial)
                if result["status"] == BUSY:
                    self.waiting.append(trial)
                    self.progress.busy(trial)
                else:
                    self.results[trial.id] = result
                    self.progress.end(trial, result["status"])
            if result["status"] == BUSY:
                time.sleep(POLL_SECONDS)

    def _choose(self, thread):
        """A trial of the shape that its process has compiled, or else of no other's."""
        mine = self.last.pop(thread, None)
        others = set(self.last.values())
        ready = [t for t in self.waiting if t.id not in self.progress.elsewhere] or self.waiting
        shape = self.study.shape_of
        trial = min(ready, key=lambda trial: (shape(trial) != mine, shape(trial) in others))
        self.last[thread] = shape(trial)
        return trial


def _run_in_workers(queue, out, count):
    # By all trials, not by those left: a resumed study must compute with as many threads.
    limits = thread_limits(max(1, cores() // min(count, len(queue.study.trials))))
    workers = [_Worker(queue.study, out, MEMORY / count) for _ in queue.waiting[:count]]
    # Backends look once, when their process begins, how many threads they may have.
    with _environment(limits), concurrent.futures.ThreadPoolExecutor(count) as threads:
        try:
            serving = {threads.submit(queue.serve, worker.do) for worker in workers}
            while serving:
                options = POLL_SECONDS, concurrent.futures.FIRST_EXCEPTION
                done, serving = concurrent.futures.wait(serving, *options)
                for thread in done:
                    thread.result()
                with queue.lock:
                    queue.progress.look(queue.running)
        finally:
            for worker in workers:
                worker.closed = True
            for worker in workers:
                worker.stop()


class _Worker:
    """A process that does one trial after the other; another one in its place if it dies."""

    def __init__(self, study, out, share):
        self.study, self.out, self.share = study, out, share
        self.pool, self.closed = None, False

    def do(self, trial):
        log = pathlib.Path(self.out) / self.study.name / "workers.log"
        job = _work, self.study.module, self.study.options, trial.id, self.out
        for _ in range(RETRIES + 1):
            try:
                if self.pool is None:
                    context = multiprocessing.get_context("spawn")
                    listener, self.line = context.Pipe(duplex=False)
                    options = context, _begin, (listener, log)
                    self.pool = concurrent.futures.ProcessPoolExecutor(1, *options)
                if self.closed:
                    raise BrokenProcessPool
                result, share = self.pool.submit(*job).result()
            except BrokenProcessPool:
                self.stop()
                if self.closed:
                    raise
                continue
            # What an out-of-memory error has interrupted may still hold what it had.
            if result["status"] == OUT_OF_MEMORY or share > self.share:
                self.stop()
            return result
        message = f"Its process died {RETRIES + 1} times; see {log}."
        return give_up(self.study, trial, self.out, message)

    def stop(self):
        pool, self.pool = self.pool, None
        if pool:
            self.line.close()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _environment(variables):
    before = dict(os.environ)
    os.environ.update({**variables, **before})
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            del os.environ[name]


def thread_limits(threads):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


_KEPT = {}  # in a worker


def kept_study(module, options):
    """The study that this process works at, with its data and what it has compiled."""
    key = module, repr(options)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = importlib.import_module(module).STUDY.at(**options)
    return _KEPT[key]


def _begin(listener, log):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # reaches the whole group; the parent decides
    with open(log, "ab") as file:  # the terminal is the progress bar's
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with, args=(listener,), daemon=True).start()


def _end_with(listener):  # so no orphan holds a trial's lock
    with contextlib.suppress(EOFError, OSError):
        listener.recv()
    os._exit(1)


def _work(module, options, trial_id, out):
    study = kept_study(module, options)
    return run_trial(study, study.trial(trial_id), out), psutil.Process().memory_percent() / 100
