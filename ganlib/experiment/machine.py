"""The machine that a run is on: its parts, how busy it is, and its faults in words."""

import contextlib
import errno
import importlib
import pathlib
import platform
import re
import subprocess
import tempfile

DISK, MEMORY = "disk", "memory"
# → error numbers, what is said, what helps. TensorFlow calls either an exhausted resource.
FAULTS = {
    DISK: (  # looked for first
        (errno.ENOSPC, errno.EDQUOT),
        "no space left on device",
        "Free some space, or move all runs and name their folder with --out; then run it again.",
    ),
    MEMORY: (
        (errno.ENOMEM,),
        "memoryerror|resource_?exhausted|out ?of ?memory|can(no|')t allocate memory|"
        "failed to allocate|alloc_failed",
        "Ask for less, with --set batch_size=… or fewer --workers; or, with more memory, begin "
        "this trial again with --trials {trial} --fresh.",
    ),
}


class StudyError(RuntimeError):
    """A study can't go on as asked; the message says what to do."""


def environment():
    """Versions, backend and device: what a figure's provenance needs."""
    import keras
    import numpy

    from ganlib import __version__
    from ganlib.backends.precision import has_bfloat16

    backend = keras.backend.backend()
    versions = {"ganlib": __version__, "keras": keras.__version__, "numpy": numpy.__version__}
    versions |= {"backend": backend, backend: importlib.import_module(backend).__version__}
    versions["bfloat16"] = has_bfloat16()  # what a recipe's `half_precision` needs
    return versions | {"device": device_name(backend), "python": platform.python_version()}


def cores():
    """Processor cores that this process may use: a container may have fewer than its machine."""
    import joblib

    return joblib.cpu_count()


def device_name(backend):
    """The accelerator's name, or the number of processor cores."""
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        names = [tf.config.experimental.get_device_details(g).get("device_name") for g in gpus]
    elif backend == "jax":
        import jax

        names = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    else:
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(map(str, names)) or f"CPU, {cores()} cores"


def has_accelerator():
    import keras

    return not device_name(keras.backend.backend()).startswith("CPU")


def spread(devices):
    """A context in which each batch is spread over several devices; models are made in it, too."""
    if devices == 1:
        return contextlib.nullcontext()
    import keras

    found = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    if not 1 < devices <= len(found):
        raise ValueError(
            "Several devices need KERAS_BACKEND=jax and as many accelerators: or leave --devices "
            f"out. Received: devices={devices}, {keras.backend.backend()} has {len(found) or 1}"
        )
    parallel = keras.distribution.DataParallel(devices=found[:devices], auto_shard_dataset=False)
    return parallel.scope()


def accelerators():
    """How busy they are: a list of lines of nvidia-smi, empty without it."""
    fields = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
    command = ["nvidia-smi", fields, "--format=csv,noheader"]
    options = {"stderr": subprocess.DEVNULL, "text": True, "timeout": 5}
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # no program, or no driver
        return subprocess.check_output(command, **options).splitlines()
    return []


def load(seconds=None):
    """How busy the machine is, over so many seconds or since the call before, in words."""
    import psutil

    processors, memory = psutil.cpu_percent(seconds), psutil.virtual_memory()
    used, total = (memory.total - memory.available) / 2**30, memory.total / 2**30
    words = f"processors {processors:.0f}%", f"memory {used:.1f} of {total:.1f} GiB"
    return "; ".join([*words, *accelerators()])


def lacks(error):
    """Of what there was too little, "disk" or "memory", of the machine or of an accelerator."""
    text = " ".join([*(kind.__name__ for kind in type(error).__mro__), str(error)]).lower()
    for what, (codes, words, _) in FAULTS.items():
        if getattr(error, "errno", None) in codes or re.search(words, text):
            return what
    return None


def in_words(error, trial):
    """An error that a trial, of that id, has met, with what helps against it."""
    text = f"{type(error).__name__}: {error}".rstrip(".")
    lack = lacks(error)
    return f"{text}. {FAULTS[lack][-1].format(trial=trial)}" if lack else text


def of_a_file(error):
    """What an `OSError` says of a file, as a message; None where it says nothing of one."""
    if lacks(error) == DISK:
        return f"{error}. {FAULTS[DISK][-1]}"
    if error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}. Check the name and who may use it."


def check_writable(folder, option):
    """Raises a `StudyError` if a folder can't be written to, or made; `option` names another."""
    wanted = pathlib.Path(folder).absolute()
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there, buffering=0) as file:
            file.write(b"0")
    except OSError as error:
        message = f"{folder} can't be written to ({error.strerror}). Give another with {option}."
        raise StudyError(message) from error
