"""The set-up faults that `ganlib doctor` knows, each with its remedy.

Every check is a function of the facts that `ganlib.doctor` gathers, and returns a sentence or None;
so each can be tested where its fault is not present. `FAULTS` end with exit code 1, `NOTES` do not.
"""

import difflib
import re

BACKENDS = ("tensorflow", "jax", "torch")
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
LEAST_MEMORY_GIB = 3.0  # the quick profile and a backend
LEAST_DISK_GIB = 2.0
GPU_WHEELS = {
    "tensorflow": 'pip install "tensorflow[and-cuda]" (Linux; on Windows inside WSL 2)',
    "jax": 'pip install -U "jax[cuda13]", or cuda12 for an older driver',
    "torch": "pip install torch with the CUDA version that pytorch.org names",
}
HIDING = {"CUDA_VISIBLE_DEVICES": ("", "-1"), "JAX_PLATFORMS": ("cpu",)}
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
TRUE = ("1", "true", "yes")


def _numbers(version, most=3):
    """`"3.13.0rc1"` → `(3, 13, 0)`: a suffix does not count."""
    parts = (re.match(r"\d+", part) for part in version.split(".")[:most])
    return tuple(int(part[0]) for part in parts if part)


def _installed(facts):
    return [name for name, version in facts["backends"].items() if version]


# -- faults ----------------------------------------------------------------------------------------


def python_too_old(facts):
    if _numbers(facts["python"]) >= OLDEST_PYTHON:
        return None
    return (
        f"Python 3.11 or newer is needed; this is {facts['python']}. Make a new environment: "
        "python3.12 -m venv .venv"
    )


def packages_missing_or_old(facts):
    """What `ganlib` asks for and the environment lacks; Keras 2 has a check of its own."""
    wrong = []
    for name, floor in facts["floors"].items():
        version = facts["packages"].get(name)
        if version is None:
            wrong.append(f"{name} (not installed)")
        elif _numbers(version) < _numbers(floor) and not _is_keras_2(name, version):
            wrong.append(f"{name} ({version}, needed: {floor})")
    if not wrong:
        return None
    names = " ".join(f'"{each.split()[0]}>={facts["floors"][each.split()[0]]}"' for each in wrong)
    return f"Packages are missing or too old: {', '.join(wrong)}. pip install -U {names}"


def _is_keras_2(name, version):
    return name == "keras" and version.startswith("2.")


def keras_2(facts):
    version = facts["packages"].get("keras") or ""
    if not _is_keras_2("keras", version):
        return None
    return (
        f"Keras {version} is Keras 2, whose models and backends are others: pip install -U "
        '"keras>=3.13"'
    )


def legacy_keras(facts):
    value = facts["environment"].get("TF_USE_LEGACY_KERAS", "")
    if value.lower() not in TRUE:
        return None
    return (
        f"TF_USE_LEGACY_KERAS={value} makes tf.keras Keras 2 (tf_keras), whose models ganlib can't "
        "train: unset TF_USE_LEGACY_KERAS."
    )


def no_backend(facts):
    if _installed(facts):
        return None
    return "No backend is installed: pip install tensorflow, jax or torch."


def wrong_backend(facts):
    """A backend that is misspelt, not one to train on, or not installed."""
    asked, source, installed = facts["asked"], facts["asked_by"], _installed(facts)
    if not installed or asked in installed:
        return None
    if asked in BACKENDS:
        reason = f"which is not installed: pip install {asked}, or "
    else:
        close = difflib.get_close_matches(str(asked), BACKENDS, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        reason = f"which is no backend that can train{meant}: "
    best = (difflib.get_close_matches(str(asked), installed, 1) or installed)[0]
    return (
        f"Keras can't load its backend. {source} asks for {asked!r}, {reason}set "
        f"KERAS_BACKEND={best}. Installed: {', '.join(installed)}."
    )


def backend_fails(facts):
    """Keras or its backend raised when it was imported, and no other check says why."""
    error = facts["import_error"]
    if error is None or no_backend(facts) or wrong_backend(facts) or config_invalid(facts):
        return None
    others = [name for name in _installed(facts) if name != facts["asked"]]
    instead = f", or set KERAS_BACKEND={others[0]}" if others else ""
    return (
        f"Keras can't load its backend {facts['asked']}: {error}. Install it anew (pip install "
        f"--force-reinstall {facts['asked']}){instead}."
    )


def gpu_unused(facts):
    """A GPU answers nvidia-smi, nothing hides it, and the backend computes on the processor."""
    on_cpu = facts["backend"] in GPU_WHEELS and str(facts["device"]).startswith("CPU")
    if not (facts["gpus"] and on_cpu) or _hidden_by(facts):
        return None
    return (
        f"{', '.join(facts['gpus'])} is there, but {facts['backend']} computes on the processor: "
        f"its package is for processors alone. {GPU_WHEELS[facts['backend']]}."
    )


def _hidden_by(facts):
    values = facts["environment"]
    return next((k for k, hiding in HIDING.items() if values.get(k) in hiding), None)


def config_invalid(facts):
    """Values in keras.json that Keras refuses, or that ganlib's models can't train with."""
    config, remedies = facts["config"], []
    if config.get("floatx", "float32") != "float32":
        remedies.append(f'"floatx": "float32" (it is {config["floatx"]!r})')
    if config.get("image_data_format", "channels_last") != "channels_last":
        found = config["image_data_format"]
        remedies.append(f'"image_data_format": "channels_last" (it is {found!r})')
    if not isinstance(config.get("epsilon", 1e-7), float):
        remedies.append(f'"epsilon": 1e-07 (it is {config["epsilon"]!r})')
    if not remedies:
        return None
    return f"ganlib needs other values in {facts['config_path']}: set {', '.join(remedies)}."


def runs_not_writable(facts):
    if facts["runs_error"] is None:
        return None
    return (
        f"The folder of all runs, {facts['runs']}, can't be written to ({facts['runs_error']}): "
        "name another one with --out."
    )


def disk_full(facts):
    if facts["disk_gib"] is None or facts["disk_gib"] >= LEAST_DISK_GIB:
        return None
    return (
        f"{facts['disk_gib']:.1f} GiB are free where {facts['runs']} lies; checkpoints want "
        f"{LEAST_DISK_GIB:g} GiB: free some space, or name a folder elsewhere with --out."
    )


def memory_too_small(facts):
    if facts["memory_gib"] >= LEAST_MEMORY_GIB:
        return None
    return (
        f"{facts['memory_gib']:.1f} GiB of memory are few for training; {LEAST_MEMORY_GIB:g} GiB "
        "are enough for the quick profile: run with --workers 1 and a smaller --set batch_size=…"
    )


# -- notes -----------------------------------------------------------------------------------------


def python_too_new(facts):
    if _numbers(facts["python"], 2) <= NEWEST_PYTHON:
        return None
    return (
        f"ganlib is tested on Python 3.11 to 3.13; this is {facts['python']}. If a package can't "
        "be installed, take Python 3.13."
    )


def gpu_hidden(facts):
    name = _hidden_by(facts)
    if not (facts["gpus"] and name):
        return None
    value = facts["environment"][name]
    return f"{name}={value} hides {', '.join(facts['gpus'])}: unset {name} to train on it."


def jax_takes_the_memory(facts):
    on_gpu = facts["device"] and not facts["device"].startswith("CPU")
    told = {"XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"}
    if facts["backend"] != "jax" or not on_gpu or told & facts["environment"].keys():
        return None
    return (
        "JAX takes 75 % of the GPU's memory when it starts: for other programs or several workers "
        "on it, set XLA_PYTHON_CLIENT_PREALLOCATE=false."
    )


def backend_from_config(facts):
    chosen = facts["config"].get("backend", "tensorflow")
    if chosen == "tensorflow":  # what Keras writes there by itself
        return None
    if facts["asked_by"] != "KERAS_BACKEND":
        return f"{facts['config_path']} chooses {chosen}; KERAS_BACKEND=… comes before it."
    return (
        f"{facts['config_path']} chooses {chosen}, KERAS_BACKEND {facts['asked']}, which counts: "
        f"set it for notebooks, too, or change the file."
    )


def config_unreadable(facts):
    if facts["config_error"] is None:
        return None
    return f"Keras ignores {facts['config_path']} ({facts['config_error']}): mend or delete it."


def offline(facts):
    if facts["internet"]:
        return None
    return (
        "No internet: nothing is wrong with that. The embedded data and your own files work; only "
        "tfds:… data and pip need it."
    )


def threads_limited(facts):
    limits = [name for name in THREAD_LIMITS if facts["environment"].get(name) == "1"]
    if not limits or (facts["cores"] or 1) < 2:
        return None
    return (
        f"{', '.join(limits)} = 1: a process computes on one of {facts['cores']} cores. Unset "
        f"{'it' if len(limits) == 1 else 'them'}, unless several trials run at once."
    )


def colab(facts):
    if not facts["colab"]:
        return None
    hints = []
    if not facts["gpus"]:
        hints.append("Runtime → Change runtime type gives a GPU")
    if not facts["runs"].startswith("/content/drive"):
        hints.append("runs end with the runtime, unless Drive is mounted and --out lies in it")
    hints.append("after pip install, restart the runtime")
    return f"Colab: {'; '.join(hints)}."


FAULTS = (
    python_too_old,
    keras_2,
    packages_missing_or_old,
    legacy_keras,
    no_backend,
    wrong_backend,
    config_invalid,
    backend_fails,
    gpu_unused,
    runs_not_writable,
    disk_full,
    memory_too_small,
)
NOTES = (
    python_too_new,
    gpu_hidden,
    jax_takes_the_memory,
    backend_from_config,
    config_unreadable,
    threads_limited,
    offline,
    colab,
)


def diagnose(facts, checks):
    """The sentences of those checks that have something to say."""
    return [sentence for check in checks if (sentence := check(facts))]
