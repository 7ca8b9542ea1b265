"""A study whose trials take milliseconds, for the tests of engines, resuming and command line.

A plan, a JSON file, says what they do. Each trial that begins adds a line to the plan's log, and so
does each loading of the data. Trials named by a letter and a number have the shape of that letter.

    python tests/toy_study.py run PLAN OUT WORKERS     runs it; prints the results as JSON
    python tests/toy_study.py cli ARGUMENTS…           `ganlib ARGUMENTS…` with one more study, toy
"""

import dataclasses
import errno
import functools
import json
import os
import pathlib
import random
import signal
import sys
import time
import types

from ganlib.experiment import run as ganlib_run
from ganlib.experiment.run import read_json, write_atomically
from ganlib.experiment.study import Source, Study

PATIENCE_SECONDS = 180  # of a trial that waits for something; it would fail then


@dataclasses.dataclass(frozen=True)
class Recipe:
    action: str = "work"
    shape: str = ""
    epochs: int = 2
    seconds: float = 0.0  # an epoch, at least
    hold: bool = False  # a GAN's last epoch waits for `go_file`: it can't end before it is killed
    batch_size: int = 10  # of ten images
    g_learning_rate: float = 1e-2
    d_learning_rate: float = 1e-2
    beta_1: float = 0.5
    eager: bool = True  # no compiling, which takes longest


@dataclasses.dataclass
class Data:
    checksum: str
    plan: pathlib.Path
    name: str = "toys"
    origin: str = "a plan"
    synthetic: bool = True

    def note(self, word):
        with open(self.plan.with_suffix(".log"), "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {word}\n")


def write_plan(path, seeds=1, checksum="c" * 64, **trials):
    """Writes a plan and returns its path; `trials` maps names to an action or to settings."""
    trials = {k: {"action": v} if isinstance(v, str) else v for k, v in trials.items()}
    path.write_text(json.dumps({"trials": trials, "seeds": seeds, "checksum": checksum}))
    return path


def read_log(plan, loaded=False):
    """`(process id, trial id)` of each trial that began, or of each loading of the data."""
    log = pathlib.Path(plan).with_suffix(".log")
    lines = log.read_text().splitlines() if log.exists() else []
    pairs = [(int(pid), word) for pid, word in map(str.split, lines)]
    return [pair for pair in pairs if (pair[1] == "loads") == loaded]


def go_file(plan):
    return pathlib.Path(plan).with_suffix(".go")


def full_file(plan):
    return pathlib.Path(plan).with_suffix(".full")


def variations(study):
    if "keras" not in sys.modules:  # a process without it: importing a backend takes seconds
        ganlib_run.environment = dict

        def write_unless_full(path, text):
            if full_file(study.spec).exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_atomically(path, text)

        ganlib_run.write_atomically = write_unless_full
    found = {}
    for name, settings in read_json(study.spec)["trials"].items():
        shape = name[0] if name[1:].isdigit() else name
        found[name] = dataclasses.replace(study.base, shape=shape, **settings)
    return found


def load(spec, study):
    data = Data(read_json(spec)["checksum"], pathlib.Path(spec))
    data.note("loads")
    return data


def train(trial, data, run):
    data.note(trial.id)
    plan, action, epochs = data.plan, trial.recipe.action, trial.recipe.epochs
    attempts = sum(1 for _, name in read_log(plan) if name == trial.id)
    if action == "die" or (action == "die once" and attempts == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "fail" or (action == "fail once" and attempts == 1):
        raise ValueError("told to fail")
    elif action == "out of memory":
        raise MemoryError("told to run out of memory")
    elif action == "hang":
        wait_for(go_file(plan).exists)
    elif action == "meet":  # until two processes are at work
        wait_for(lambda: len({pid for pid, _ in read_log(plan)}) > 1)
    elif action == "gan":
        return train_gan(trial, data, run)
    for epoch in range(epochs):
        time.sleep(trial.recipe.seconds)
        rows = ["epoch,seconds", *(f"{row},0.5" for row in range(1, epoch + 2))]
        write_atomically(run.path / "history.csv", "\n".join(rows) + "\n")
        run.progress(epoch + 1, epochs)
    return {"value": random.Random(f"{trial.name} {trial.seed}").random(), "epochs": epochs}


def wait_for(condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)


def train_gan(trial, data, run):
    import keras
    from helpers import build_discriminator, build_generator, images

    from ganlib.adversarial import Adversarial
    from ganlib.experiment.fit import fit_gan

    class Extra(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(trial.recipe.seconds)
            if trial.recipe.hold and epoch + 1 == trial.recipe.epochs:
                wait_for(go_file(data.plan).exists)
            logs["infinite"] = float("inf") if epoch % 2 else -float("inf")
            logs["missing"] = float("nan")

    parts = build_generator(batch_norm=True), build_discriminator(batch_norm=True, dropout=0.3)
    noise = {"instance_noise": 0.1, "instance_noise_steps": 20}
    gan = Adversarial(*parts, ema=0.9, seed=trial.seed, **noise)
    gan.compile = functools.partial(gan.compile, run_eagerly=trial.recipe.eager)
    history, outcome = fit_gan(gan, data, trial, run, images=images(10), callbacks=[Extra()])
    gan.save(run.model)
    return {**outcome, "d_loss": float(history["d_loss"].iloc[-1])}


def write_report(study, results, data, out, reports):
    return types.SimpleNamespace(path=pathlib.Path(reports) / study.name)


places = {"module": "toy_study", "source": Source("none"), "shape": lambda recipe: recipe.shape}
profiles = {"quick": {}, "cpu": {"epochs": 3}}
STUDY = Study("toy", "A toy", Recipe, profiles, variations, load, train, **places)


def build(plan, **options):
    return STUDY.at(data=str(plan), **{"seeds": read_json(plan)["seeds"], **options})


def main(task, *arguments):
    from ganlib.experiment import local

    local.POLL_SECONDS = 0.05
    if task == "run":
        plan, out, workers = arguments
        results = local.run(build(plan), out, workers=int(workers), show=False)
        print(json.dumps(results))
        return
    from ganlib import __main__, studies

    # A shell that starts the tests in the background has told them to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    __main__.load_keras = lambda: None
    studies.STUDIES["toy"] = "A toy"
    for name in ("toy", "toy_report"):
        sys.modules[f"ganlib.studies.{name}"] = sys.modules[__name__]
    sys.argv = ["ganlib", *arguments]
    __main__.main()


if __name__ == "__main__":
    import toy_study  # under the name by which the workers know it

    toy_study.main(*sys.argv[1:])
