"""How cost grows, and how long a start takes: small tables for `speed.py`."""

import concurrent.futures
import multiprocessing
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import types

import numpy as np
from rounds import Contender, race, spread
from workloads import WORKLOADS

BATCHES, WIDTHS = (8, 16, 32, 64, 128, 256), (8, 16, 32, 64, 128)
SCORED, LOADED = (1000, 5000, 20_000, 50_000), (100, 1000, 10_000)
TRIALS = 6
ENGINES = {"one process": "--workers 1", "two processes": "--workers 2", "Ray": "--engine ray"}


def steps(workers):
    """A step of the small digits GAN, over the batch and over the width."""
    small = WORKLOADS["small"]
    changes = {("batch", n): {"batch": n, "g_batch": n} for n in BATCHES}
    changes |= {("width", w): {"sizes": small.sizes | {"g": w, "d": w}} for w in WIDTHS}
    rows = [Contender(k, "tensorflow", "ganlib", changes=v) for k, v in changes.items()]
    race(rows, workers, "small", rounds=5, turn=0.2)
    times = {"batch": {}, "width": {}}
    for row in rows:
        what, value = row.name
        times[what][value] = 1e3 * spread(row.times)[0]
    return "\n\n".join(
        grown(f"A step over the {what} (digits GAN)", what, "ms", found)
        for what, found in times.items()
    )


def scores(_):
    """All fidelity scores, over pictures of each kind."""
    found = {n: _alone(_score, n) for n in SCORED}
    memory = [f"{gigabytes:.2f}" for _, gigabytes in found.values()]
    title = "Fidelity scores, 1,280 features; those over pairs take at most 20,000 pictures"
    return grown(title, "pictures", "s", {n: s for n, (s, _) in found.items()}, GiB=memory)


def _score(n):
    from ganlib.metrics import fidelity

    network = types.SimpleNamespace(title="", name="", resize="", size=0)
    real, fake = np.random.default_rng(0).normal(size=(2, n, 1280)).astype("float32")
    begin = time.perf_counter()
    fidelity.evaluate(real, fake, network)
    return time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def loading(_):
    """A folder of PNG pictures."""
    from PIL import Image

    times, rng = {}, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(max(LOADED)):
            pixels = rng.integers(0, 256, (8, 8, 3), "uint8").repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(f"{folder}/{i:05}.png")
            if i + 1 in LOADED:
                times[i + 1] = _alone(_load, pathlib.Path(folder))
    return grown("Loading PNG pictures of 64×64", "pictures", "s", times)


def _load(folder):
    from ganlib.data import load

    begin = time.perf_counter()
    load(folder)
    return time.perf_counter() - begin


def trials(_):
    """Trials an hour, with the start of their processes."""
    short = f"run digits --trials base --set epochs=1 --set samples=100 --seeds {TRIALS}"
    seconds = {name: _command(f"{short} {engine}") for name, engine in ENGINES.items()}
    rows = [(name, f"{3600 * TRIALS / s:.0f}") for name, s in seconds.items()]
    return table(f"{TRIALS} trials of an epoch (digits, quick)", ("on", "trials an hour"), rows)


def starts(_):
    """Whole commands."""
    # An epoch of one step, with few pictures to score, is as near as a command comes to a step.
    one = "--trials base --set epochs=1 --set batch_size=4000 --set samples=64"
    commands = {
        "`import ganlib`": lambda: _python("-c", "import ganlib"),
        "`ganlib --help`": lambda: _command("--help"),
        "`ganlib run digits` of one step": lambda: _command(f"run digits {one}"),
        "`ganlib run unet`, quick profile": lambda: _command("run unet"),
    }
    return table("Starts", ("command", "s"), [(k, f"{f():.1f}") for k, f in commands.items()])


MEASURES = (steps, scores, loading, trials, starts)


def _command(words):
    return _python("-m", "ganlib", *words.split())


def _python(*words):
    """Seconds of a program, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        options = {"cwd": folder, "capture_output": True, "text": True, "check": False}
        done = subprocess.run([sys.executable, *words], **options)
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-300:]}")
    return seconds


def _alone(function, argument):
    """Calls it in a process of its own: for the memory that it needs at most."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, argument).result()


def grown(title, what, unit, values, **more):
    """A table of a cost over sizes, with the exponent of its growth over the largest."""
    columns = [f"{n:,}" for n in values], [f"{v:.3g}" for v in values.values()], *more.values()
    rows = list(zip(*columns, strict=True))
    largest = np.log(np.array(list(values.items())[-3:], "float64"))
    exponent = np.polyfit(*largest.T, 1)[0]
    text = table(title, (what, unit, *more), rows)
    return f"{text}\n\nOver the three largest it grows with the power {exponent:.2f}."


def table(title, header, rows):
    """A Markdown table under a heading."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"## {title}", "", *lines])
