"""The machine that a run is on: its parts, how busy it is, and its faults in words."""

import contextlib
import errno
import importlib
import pathlib
import platform
import re
import subprocess
import tempfile

FULL = (errno.ENOSPC, errno.EDQUOT)
FREE_SPACE = (
    "Free some space, or move the folder of all runs and name it with --out: the same command "
    "goes on from the last checkpoint."
)
# What each backend and the system say, whatever the class: only one backend is installed.
NO_MEMORY = re.compile(
    "resource_?exhausted|out ?of ?memory|can(no|')t allocate memory|failed to allocate|alloc_failed"
)


class StudyError(RuntimeError):
    """A study can't go on as asked; the message says what to do."""


# -- its parts -----------------------------------------------------------------------------------


def environment():
    """Versions, backend and device: what a figure's provenance needs."""
    import keras
    import numpy

    from ganlib import __version__

    backend = keras.backend.backend()
    return {
        "ganlib": __version__,
        "keras": keras.__version__,
        "numpy": numpy.__version__,
        "backend": backend,
        backend: importlib.import_module(backend).__version__,
        "device": device_name(backend),
        "python": platform.python_version(),
    }


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
    """Whether Keras computes on something else than the processor."""
    import keras

    return not device_name(keras.backend.backend()).startswith("CPU")


def process_memory():
    """Bytes of main memory that this process holds."""
    import psutil

    return psutil.Process().memory_info().rss


def spread(devices):
    """A context in which each batch is spread over several devices; models are made in it, too.

    Args:
        devices: int; with 1 it changes nothing.

    Raises:
        ValueError: there are fewer devices, or the backend is not JAX.
    """
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


def load(seconds=None):
    """How busy the machine is.

    Args:
        seconds: float, over which the processors are watched; None: since the call before.

    Returns:
        dict with `processors` (0 to 1), `memory_used` and `memory_total` (bytes), and
        `accelerators`, a list of lines of nvidia-smi: empty without it.
    """
    import psutil

    memory, accelerators = psutil.virtual_memory(), ""
    asked = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # no such program, or no driver
        accelerators = subprocess.check_output(
            ["nvidia-smi", asked, "--format=csv,noheader"],
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=5,
        )
    return {
        "processors": psutil.cpu_percent(seconds) / 100,
        "memory_used": memory.total - memory.available,
        "memory_total": memory.total,
        "accelerators": accelerators.splitlines(),
    }


def describe(busy):
    """What `load` found, as text for a person."""
    used, total = (busy[key] / 2**30 for key in ("memory_used", "memory_total"))
    parts = [f"processors {busy['processors']:.0%}", f"memory {used:.1f} of {total:.1f} GiB"]
    return "; ".join([*parts, *busy["accelerators"]])


# -- its faults ----------------------------------------------------------------------------------


def is_full(error):
    """Whether the disk is full; TensorFlow calls that an exhausted resource, as it does memory."""
    return getattr(error, "errno", None) in FULL or "no space left on device" in str(error).lower()


def is_out_of_memory(error):
    """Whether the memory did not suffice, of the machine or of an accelerator."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = f"{type(error).__name__} {error}".lower()
    return not is_full(error) and NO_MEMORY.search(text) is not None


def in_words(error, trial_id):
    """An error that a trial has met, with what helps against it."""
    text = f"{type(error).__name__}: {error}".rstrip(".")
    if is_full(error):
        return f"{text}. {FREE_SPACE}"
    if is_out_of_memory(error):
        return (
            f"{text}. Ask for less, with --set batch_size=… or fewer --workers; or, with more "
            f"memory, begin this trial again with --trials {trial_id} --fresh."
        )
    return text


def of_a_file(error):
    """What an `OSError` says of a file, as a message; None where it says nothing of one."""
    if is_full(error):
        return f"{error}. {FREE_SPACE}"
    if error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}. Check the name and who may use it."


@contextlib.contextmanager
def naming(path):
    """Gives an `OSError` from within the file's name, which a full disk leaves out."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def check_writable(folder, option):
    """Raises a `StudyError` if a folder can't be written to, or made; `option` names another."""
    wanted = pathlib.Path(folder).absolute()
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        raise StudyError(
            f"{folder} can't be written to ({error.strerror}). Give another one with {option}."
        ) from error
