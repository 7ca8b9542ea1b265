"""What the process of one framework does; `rounds.Worker` calls these functions in it."""

import dataclasses
import functools
import gc
import importlib
import os

from workloads import WORKLOADS

_built = {}  # the contenders' `run(steps) -> seconds`, by name


def begin(framework):
    """Silences the process: what frameworks print belongs in no table."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    _contenders.framework = framework


def _contenders():
    plain = _contenders.framework == "torch"
    return importlib.import_module(f"{'torch' if plain else 'keras'}_contenders")


def answering(function):
    """Its exceptions as RuntimeErrors of one line: not every framework's can be sent."""

    @functools.wraps(function)
    def answer(*arguments):
        try:
            return function(*arguments)
        except Exception as error:
            raise RuntimeError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None

    return answer


@answering
def hello():
    """Imports the framework: fails here where it is not installed, and says what it runs on."""
    name = os.environ["KERAS_BACKEND"]
    version = f"{name} {importlib.import_module(name).__version__}"
    if _contenders.framework == "torch":
        return f"{version}, {_contenders().DEVICE}"
    import keras

    from ganlib.experiment.machine import device_name

    return f"{version}, keras {keras.__version__}, {device_name(name)}"


@answering
def build(name, builder, workload, changes, options):
    changed = dataclasses.replace(WORKLOADS[workload], **changes)
    _built[name] = getattr(_contenders(), builder)(changed, **options)


@answering
def run(name, steps):
    return _built[name](steps)


@answering
def flops(name):
    return _contenders().count_flops(_built[name])


def drop():
    _built.clear()
    gc.collect()
