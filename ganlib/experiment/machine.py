"""The machine that a run is on: what it consists of, and how busy it is."""

import importlib
import platform
import shutil
import subprocess

SMI_SECONDS = 5  # the most that nvidia-smi may take to answer


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
    """Processor cores that this process may use, at least 1.

    Of a machine with more, a container or a batch system may have given it fewer, and so may
    `$LOKY_MAX_CPU_COUNT`.
    """
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


def device_memory():
    """The most bytes of the first accelerator's memory that this process has held; None on a CPU.

    JAX counts from the beginning of the process, TensorFlow and torch from
    `forget_device_memory`.
    """
    import keras

    if not has_accelerator():
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if keras.backend.backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import torch

    return torch.cuda.max_memory_allocated()


def forget_device_memory():
    """Begins a new count for `device_memory`, where the backend can."""
    import keras

    if not has_accelerator():
        return
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")
    elif keras.backend.backend() == "torch":
        import torch

        torch.cuda.reset_peak_memory_stats()


def load(seconds=None):
    """How busy the machine is.

    Args:
        seconds: float, over which the processors are watched; None: since the call before.

    Returns:
        dict with `processors` (0 to 1), `memory_used` and `memory_total` (bytes), and
        `accelerators`, a list of dicts with `name`, `load` (0 to 1), `memory_used` and
        `memory_total`, as nvidia-smi tells them: empty without it.
    """
    import psutil

    memory = psutil.virtual_memory()
    return {
        "processors": psutil.cpu_percent(seconds) / 100,
        "memory_used": memory.total - memory.available,
        "memory_total": memory.total,
        "accelerators": _accelerators(),
    }


def _accelerators():
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    asked = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
    command = [program, asked, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=SMI_SECONDS
        )
        return [_accelerator(line) for line in answer.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):  # no driver, or fields "[N/A]"
        return []


def _accelerator(line):
    name, busy, used, total = (field.strip() for field in line.rsplit(",", 3))
    memory = {"memory_used": int(used) * 2**20, "memory_total": int(total) * 2**20}
    return {"name": name, "load": int(busy) / 100, **memory}


def describe(busy):
    """What `load` found, as text for a person."""
    parts = [
        f"processors {busy['processors']:.0%}",
        f"memory {_gib(busy['memory_used'])} of {_gib(busy['memory_total'])} GiB",
    ]
    parts += [
        f"{each['name']} {each['load']:.0%}, "
        f"{_gib(each['memory_used'])} of {_gib(each['memory_total'])} GiB"
        for each in busy["accelerators"]
    ]
    return "; ".join(parts)


def _gib(count):
    return f"{count / 2**30:.1f}"
