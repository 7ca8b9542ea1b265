"""Worker processes, and turns taken in rounds so that a drifting machine cancels out."""

import contextlib
import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


class Worker:
    """A live `worker.py`.

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
        self.facts = self.ask(action="hello")

    def ask(self, **request):
        with contextlib.suppress(BrokenPipeError):  # it is gone, and gives no answer
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with code {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class Contender:
    """A row of a table: what is built where, and the seconds a step that each round took."""

    def __init__(self, name, framework, kind, peer=False, **options):
        self.name, self.framework, self.kind = name, framework, kind
        self.peer, self.options = peer, options
        self.times = []

    def build(self, workers, workload, warm_up, turn):
        """Builds and warms up; decides how many steps make a turn of `turn` seconds."""
        self.worker = workers[self.framework]
        self.key = f"{workload}/{self.name}"
        self.first = self.worker.ask(
            action="build",
            name=self.key,
            kind=self.kind,
            workload=workload,
            options=self.options,
            warm_up=warm_up,
        )["seconds"]
        seconds = self.run(warm_up) / warm_up
        # Whole calls: a shorter last one would be compiled for itself.
        call = self.options.get("steps_per_execution", 1)
        self.steps = call * int(np.ceil(np.clip(turn / seconds, 1, 500) / call))

    def run(self, steps):
        return self.worker.ask(action="run", name=self.key, steps=steps)["seconds"]

    def turn(self):
        self.times.append(self.run(self.steps) / self.steps)


def race(contenders, workers, workload=None, *, rounds, turn, warm_up=2, say=print):
    """Builds all contenders, then lets each take its turn in every round.

    Args:
        contenders: list of `Contender`; each gets its `times`, one a round.
        workers: dict of `Worker`, by framework.
        workload: str, name of a workload.
        rounds: int; the order is reversed every other round.
        turn: float, seconds that a turn should last; at least one step is taken.
        warm_up: int, steps before anything is timed, taken twice.

    Returns:
        `(ran, skipped)`: contenders, and dict of name to the reason why it did not run.
    """
    ran, skipped = [], {}
    for contender in contenders:
        if contender.framework not in workers:
            skipped[contender.name] = f"no {contender.framework} here"
            continue
        try:
            contender.build(workers, workload, warm_up, turn)
            ran.append(contender)
            say(f"  {contender.name}: ready after {contender.first:.1f} s")
        except RuntimeError as error:
            skipped[contender.name] = str(error)[:200]
            say(f"  {contender.name}: {skipped[contender.name]}")
    for i in range(rounds):
        for contender in ran[:: -1 if i % 2 else 1]:
            try:
                contender.turn()
            except RuntimeError as error:  # most likely out of memory
                ran.remove(contender)
                skipped[contender.name] = str(error)[:200]
                say(f"  {contender.name}: {skipped[contender.name]}")
    for framework in {contender.framework for contender in contenders} & workers.keys():
        try:
            workers[framework].ask(action="drop")
        except RuntimeError as error:
            say(f"  {framework}: {error}")
            del workers[framework]  # its process is gone
    return ran, skipped


def race_apart(contenders, peaks, frameworks, workload, **options):
    """As `race`, but one framework after the other, each with the accelerator's whole memory.

    Args:
        contenders: list of `Contender`.
        peaks: function that makes the list of contenders of other frameworks that take their
            turns with each framework's; a contender's are in its `peaks` then.
        frameworks: those that are here.
        workload: str.
        **options: as of `race`.
    """
    ran, skipped = [], {}
    for framework in dict.fromkeys(contender.framework for contender in contenders):
        group = [c for c in contenders if c.framework == framework]
        if framework not in frameworks:
            skipped |= {contender.name: f"no {framework} here" for contender in group}
            continue
        beside = peaks()
        wanted = {framework, *(peak.framework for peak in beside)} & set(frameworks)
        workers = {name: Worker(name) for name in wanted}
        some, reasons = race([*group, *beside], workers, workload, **options)
        for contender in group:
            contender.peaks = [peak for peak in beside if peak in some]
        ran += [contender for contender in some if contender in group]
        skipped |= {name: why for name, why in reasons.items() if name in {c.name for c in group}}
        for worker in workers.values():
            worker.close()
    return ran, skipped


def spread(values):
    """Median and interquartile range."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)


def ratio(contender, reference):
    """How many times as long as `reference` a contender takes: median and quartiles by rounds."""
    return spread(np.array(contender.times) / np.array(reference.times))
