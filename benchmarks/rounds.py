"""Contenders in live processes that take turns in rounds, so that a drifting machine cancels."""

import concurrent.futures
import multiprocessing
import os

import numpy as np
import worker


class Worker:
    """A live process of one framework; RuntimeError from any request that failed there."""

    def __init__(self, framework):
        # Its process starts with the first request, and takes the environment as it is then. The
        # processes share one accelerator: none may take all of its memory.
        os.environ["KERAS_BACKEND"] = framework.removeprefix("keras-")
        os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        context = multiprocessing.get_context("spawn")
        options = {"initializer": worker.begin, "initargs": (framework,)}
        self.pool = concurrent.futures.ProcessPoolExecutor(1, context, **options)
        self.version = self.ask("hello")

    def ask(self, action, *arguments):
        return self.pool.submit(worker.answer, action, *arguments).result()


class Contender:
    """A row of a table: what is built where, and the seconds a step that each round took."""

    def __init__(self, name, framework, builder, *, peer=False, changes=None, **options):
        self.name, self.framework, self.builder = name, framework, builder
        self.peer, self.changes, self.options = peer, changes or {}, options
        self.times = []

    def build(self, workers, workload, turn):
        """Builds and warms up; decides how many steps make a turn of `turn` seconds."""
        if self.framework not in workers:
            raise RuntimeError(f"{self.framework} is not installed")
        self.worker = workers[self.framework]
        self.worker.ask("build", self.name, self.builder, workload, self.changes, self.options)
        self.run(2)
        self.steps = int(np.ceil(np.clip(2 * turn / self.run(2), 1, 500)))

    def run(self, steps):
        return self.worker.ask("run", self.name, steps)


def race(contenders, workers, workload, *, rounds, turn):
    """Contenders with their `times`, and dict of name → why it did not run."""
    ran, skipped = [], {}
    for contender in contenders:
        try:
            contender.build(workers, workload, turn)
            ran.append(contender)
        except RuntimeError as error:
            skipped[contender.name] = str(error)
    for i in range(rounds):
        for contender in ran[:: -1 if i % 2 else 1]:
            contender.times.append(contender.run(contender.steps) / contender.steps)
    for framework in {contender.framework for contender in ran}:
        workers[framework].ask("drop")
    return ran, skipped


def spread(values):
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)


def ratio(contender, reference):
    """How many times as long as `reference` a contender takes: median and quartiles by rounds."""
    return spread(np.array(contender.times) / np.array(reference.times))
