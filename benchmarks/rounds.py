"""Contenders in live processes that take turns in rounds, so that a drifting machine cancels."""

import contextlib
import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


class Worker:
    """A live `worker.py` of one framework.

    Raises:
        RuntimeError: from any request that failed there; a framework that is not installed fails
            the first one.
    """

    def __init__(self, framework):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self.ask("hello")

    def ask(self, action, **request):
        with contextlib.suppress(BrokenPipeError):  # it is gone, and gives no answer
            print(json.dumps({"action": action, **request}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with code {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["answer"]

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class Contender:
    """A row of a table: what is built where, and the seconds a step that each round took."""

    def __init__(self, name, framework, builder, *, peer=False, **options):
        self.name, self.framework, self.builder = name, framework, builder
        self.peer, self.options = peer, options
        self.times = []

    def build(self, workers, workload, turn):
        """Builds and warms up; decides how many steps make a turn of `turn` seconds."""
        self.worker = workers[self.framework]
        self.worker.ask("build", name=self.name, builder=self.builder, workload=workload,
                        options=self.options)  # fmt: skip
        call = self.options.get("steps_per_execution", 1)
        self._run(2 * call)
        seconds = self._run(2 * call) / (2 * call)
        self.steps = call * int(np.ceil(np.clip(turn / seconds, 1, 500) / call))

    def _run(self, steps):
        return self.worker.ask("run", name=self.name, steps=steps)

    def turn(self):
        self.times.append(self._run(self.steps) / self.steps)


def race(contenders, workers, workload, *, rounds, turn):
    """Builds all contenders, then lets each take its turn in every round, to and fro.

    Returns:
        `(ran, skipped)`: contenders with their `times`, and dict of name → why it did not run.
    """
    ran, skipped = [], {}
    for contender in contenders:
        try:
            contender.build(workers, workload, turn)
            ran.append(contender)
        except (KeyError, RuntimeError) as error:
            skipped[contender.name] = f"{type(error).__name__}: {error}"[:200]
    for i in range(rounds):
        for contender in ran[:: -1 if i % 2 else 1]:
            contender.turn()
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
