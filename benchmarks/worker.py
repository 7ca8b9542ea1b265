"""What the process of one framework does; `rounds.Worker` calls `answer` in it."""

import dataclasses
import gc
import importlib
import os

from workloads import WORKLOADS

_here = {}  # the "framework", and by name the contenders' `run(steps) -> seconds`


def begin(framework):
    """Silences the process: what frameworks print belongs in no table."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    _here["framework"] = framework


def answer(action, *arguments):
    """Exceptions come as RuntimeErrors of one line: not every framework's can be sent."""
    try:
        return globals()[f"_{action}"](*arguments)
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None


def _contenders():
    plain = _here["framework"] == "torch"
    return importlib.import_module(f"{'torch' if plain else 'keras'}_contenders")


def _hello():
    """Imports the framework: fails here where it is not installed, and says what it runs on."""
    name = os.environ["KERAS_BACKEND"]
    version = f"{name} {importlib.import_module(name).__version__}"
    if _here["framework"] == "torch":
        return f"{version}, {_contenders().DEVICE}"
    import keras

    from ganlib.experiment.machine import device_name

    return f"{version}, keras {keras.__version__}, {device_name(name)}"


def _build(name, builder, workload, changes, options):
    changed = dataclasses.replace(WORKLOADS[workload], **changes)
    _here[name] = getattr(_contenders(), builder)(changed, **options)


def _run(name, steps):
    return _here[name](steps)


def _flops(name):
    return _contenders().count_flops(_here[name])


def _drop():
    for name in _here.keys() - {"framework"}:
        del _here[name]
    gc.collect()
