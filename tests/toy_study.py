"""A study whose trials take milliseconds, for the tests of engines, resuming and command line.

What it does is written in a plan, a JSON file: `{"trials": {name: {setting: value}}, "seeds": 1,
"checksum": "…"}`. Each trial that begins adds a line to the plan's log, so that tests see who did
what, and how often. Trials named by one letter and a number have the shape of that letter.

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

from ganlib.experiment import study as ganlib_study
from ganlib.experiment.changes import changed
from ganlib.experiment.study import Study, Trial, write_atomically

PATIENCE_SECONDS = 180  # of a trial that waits for something; it would fail then
HELD = []


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a trial does; see `train`."""

    action: str = "work"
    epochs: int = 2
    seconds: float = 0.0  # an epoch, at least
    hold: bool = False  # a GAN's last epoch waits for `go_file`: it can't end before it is killed
    batch_size: int = 10  # of ten images
    g_learning_rate: float = 1e-2
    d_learning_rate: float = 1e-2
    eager: bool = True  # no compiling, which takes longest


@dataclasses.dataclass
class Data:
    checksum: str
    log: pathlib.Path
    name: str = "toys"
    origin: str = "a plan"
    synthetic: bool = True

    def begin(self, trial):
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {trial.id}\n")


def write_plan(path, seeds=1, checksum="c" * 64, **trials):
    """Writes a plan and returns its path; `trials` maps names to an action or to settings."""
    trials = {k: {"action": v} if isinstance(v, str) else v for k, v in trials.items()}
    plan = {"trials": trials, "seeds": seeds, "checksum": checksum}
    path = pathlib.Path(path)
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def read_log(plan):
    """`(process id, trial id)` of each trial that began, in that order."""
    try:
        lines = pathlib.Path(plan).with_suffix(".log").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [(int(pid), trial) for pid, trial in map(str.split, lines)]


def go_file(plan):
    """What the action "hang" and a GAN's `hold` wait for."""
    return pathlib.Path(plan).with_suffix(".go")


def full_file(plan):
    """While it is there, the disk is full for the processes that are at work."""
    return pathlib.Path(plan).with_suffix(".full")


def write_unless_full(plan, path, text):
    """Stands in for `ganlib.experiment.study.write_atomically`."""
    if full_file(plan).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write_atomically(path, text)


def build(profile="quick", data=None, seeds=None, changes=None):
    """Makes the study of the plan in the file `data`."""
    if "keras" not in sys.modules:  # a process without it: importing a backend takes seconds
        ganlib_study.environment = dict
        ganlib_study.write_atomically = functools.partial(write_unless_full, data)
    path = pathlib.Path(data)
    plan = json.loads(path.read_text(encoding="utf-8"))
    return Study(
        name="toy",
        title="A toy",
        trials=tuple(
            Trial(name, changed(Recipe(**settings), changes or {}), seed)
            for seed in range(seeds or plan["seeds"])
            for name, settings in plan["trials"].items()
        ),
        load_data=lambda: Data(plan["checksum"], path.with_suffix(".log")),
        train=train,
        module="toy_study",
        options={"profile": profile, "data": str(path), "seeds": seeds, "changes": changes or {}},
        epochs=lambda trial: trial.recipe.epochs,
        shape=lambda trial: trial.name[:1] if trial.name[1:].isdigit() else trial.id,
    )


def train(trial, data, run):
    """Does what the recipe's action says, then returns a number drawn by the seed."""
    data.begin(trial)
    plan, action, epochs = data.log, trial.recipe.action, trial.recipe.epochs
    attempts = sum(1 for _, name in read_log(plan) if name == trial.id)
    if action == "die" or (action == "die once" and attempts == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "fail" or (action == "fail once" and attempts == 1):
        raise ValueError("told to fail")
    elif action == "out of memory":
        raise MemoryError("told to run out of memory")
    elif action == "grow":
        HELD.append(b"x" * 2**28)
    elif action == "hang":
        wait_for(go_file(plan).exists)
    elif action == "meet":  # until two processes are at work
        wait_for(lambda: len({pid for pid, _ in read_log(plan)}) > 1)
    elif action in ("gan", "stop"):
        return train_gan(trial, run, go_file(plan))
    for epoch in range(epochs):
        time.sleep(trial.recipe.seconds)
        if action == "history":
            history = "".join(f"{epoch}\n" for epoch in ("epoch", *range(epoch + 1)))
            write_atomically(run.path / "history.csv", history)
        run.progress(epoch + 1, epochs)
    return {"value": random.Random(f"{trial.name} {trial.seed}").random(), "epochs": epochs}


def wait_for(condition):
    """Returns once the condition holds.

    Raises:
        TimeoutError: it does not, for a minute.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)


def train_gan(trial, run, go):
    """A small GAN with everything that a resumed run must bring back.

    The action "stop" has a generator that does not learn, which stops the run after some epochs.
    """
    import keras
    from helpers import images, make_gan

    from ganlib.callbacks.health import HealthMonitor
    from ganlib.experiment import fit as training

    class Extra(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(recipe.seconds)
            if recipe.hold and epoch + 1 == recipe.epochs:
                wait_for(go.exists)
            logs["infinite"] = float("inf") if epoch % 2 else -float("inf")
            logs["missing"] = float("nan")

    recipe = trial.recipe
    gan = make_gan(
        batch_norm=True,
        dropout=0.3,
        ema=0.9,
        instance_noise=0.1,
        instance_noise_steps=20,
        seed=trial.seed,
        d_optimizer=keras.optimizers.Adam(recipe.d_learning_rate, beta_1=0.5),
        g_optimizer=keras.optimizers.Adam(
            0.0 if recipe.action == "stop" else recipe.g_learning_rate, beta_1=0.5
        ),
        compile_options={"run_eagerly": recipe.eager},
    )
    real = images(10)
    monitor = HealthMonitor(real, patience=1, stop_on=("generator_frozen",))
    history = training.fit(
        gan,
        real,
        run,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        expected={"batch_size": recipe.batch_size, "d_learning_rate": recipe.d_learning_rate},
        callbacks=[Extra(), monitor],
    )
    gan.save(run.model)
    return {
        **training.outcome(gan, history, monitor),
        "d_loss": float(history["d_loss"].iloc[-1]),
    }


def write_report(study, results, data, out, reports):
    """Stands in for a report module's."""
    return types.SimpleNamespace(path=pathlib.Path(reports) / study.name)


def main(task, *arguments):
    from ganlib.experiment import local
    from ganlib.experiment import ray as cluster

    local.POLL_SECONDS = cluster.POLL_SECONDS = 0.05
    if task == "run":
        plan, out, workers = arguments
        results = local.run(build(data=plan), out, workers=int(workers), show=False)
        print(json.dumps(ganlib_study.plain(results)))
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
