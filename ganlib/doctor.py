"""What `ganlib doctor` looks at: versions, backends, devices, folders, data.

Here the facts are gathered; `ganlib.doctor_checks` says which of them are faults.
"""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import tempfile
import threading
import urllib.error
import urllib.request

from ganlib.doctor_checks import BACKENDS, FAULTS, HIDING, NOTES, THREAD_LIMITS, diagnose
from ganlib.experiment.machine import cores

PACKAGES = ("keras", "numpy", "scikit-image", "matplotlib", "pandas", "scipy", "statsmodels")
VARIABLES = (
    "KERAS_BACKEND",
    "TF_USE_LEGACY_KERAS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    *HIDING,
    *THREAD_LIMITS,
)
PROBE = "https://storage.googleapis.com"  # where TensorFlow Datasets come from
PROBE_SECONDS = 3
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def examine(data=None, runs="runs", import_error=None):
    """Looks at the environment, and at a data set if one is named.

    Args:
        data: what `ganlib.data.load` takes, or None.
        runs: path, the folder of all runs.
        import_error: exception, what an import of Keras that was tried before has raised.

    Returns:
        dict of facts, such as `python`, `platform`, `cores`, `memory_gib`, `packages`, `backends`
        (name to version or None), `backend` (the one in use), `device`, `data`, with `notes`, a
        list of remarks, and `problems`, a list of messages that is empty when all is well.
    """
    floors = _floors()
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": cores(),
        "memory_gib": round(_memory() / 2**30, 1),
        "packages": {name: _version(name) for name in (*PACKAGES, *floors.keys() - {*PACKAGES})},
        "floors": floors,
        "backends": {name: _backend_version(name) for name in BACKENDS},
        "backend": None,
        "device": None,
        "import_error": None,
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "internet": _has_internet(),
        "colab": "COLAB_RELEASE_TAG" in os.environ,
        "data": None,
        **_keras_config(),
        **_folder(runs),
    }
    facts |= _asked(facts)
    facts["gpus"] = _gpus()
    facts |= _loaded_backend(facts, import_error)
    problems = diagnose(facts, FAULTS)
    if data is not None:
        problems += _examine_data(facts, data)
    return {**facts, "notes": diagnose(facts, NOTES), "problems": problems}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _backend_version(name):
    """Its version; of one under another package's name, such as tensorflow-cpu, "installed"."""
    return _version(name) or ("installed" if importlib.util.find_spec(name) else None)


def _floors():
    """Package to the oldest admitted version, as ganlib was installed; {} from a bare checkout."""
    try:
        lines = importlib.metadata.requires("ganlib") or ()
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in lines)  # no extras
    return {match[1]: match[2] for match in found if match}


def _memory():
    """Bytes that this process may use: the machine's, or its container's."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(pathlib.Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(limits)


def _gpus():
    """Names of what nvidia-smi lists, whether or not the backend sees it."""
    from ganlib.experiment import machine

    return [gpu["name"] for gpu in machine.load()["accelerators"]]


def _has_internet():
    """Whether an address answers, through a proxy if there is one."""
    answers = []

    def ask():
        try:
            urllib.request.urlopen(PROBE, timeout=PROBE_SECONDS).close()
            answers.append(True)
        except urllib.error.HTTPError:  # it answers
            answers.append(True)
        except (OSError, ValueError):
            pass

    # A thread of its own: looking up a name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 1)
    return bool(answers)


def _keras_config():
    """Keras' configuration file: its path, its values, and why they can't be read."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    path = pathlib.Path(home).expanduser() / "keras.json"
    facts = {"config_path": str(path), "config": {}, "config_error": None}
    if not path.is_file():
        return facts
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no object {…}")
    except (OSError, ValueError) as error:
        return {**facts, "config_error": str(error)}
    return {**facts, "config": config}


def _asked(facts):
    """The backend that Keras will load, and who says so."""
    if "KERAS_BACKEND" in facts["environment"]:
        return {"asked": facts["environment"]["KERAS_BACKEND"], "asked_by": "KERAS_BACKEND"}
    if "backend" in facts["config"]:
        return {"asked": facts["config"]["backend"], "asked_by": facts["config_path"]}
    return {"asked": "tensorflow", "asked_by": "Keras, where KERAS_BACKEND is not set,"}


def _folder(runs):
    """Whether the folder of all runs can be written to, and what is free there; makes nothing."""
    wanted = pathlib.Path(runs).absolute()
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    facts = {"runs": str(wanted), "runs_error": None, "disk_gib": None}
    try:
        facts["disk_gib"] = round(shutil.disk_usage(there).free / 2**30, 1)
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        facts["runs_error"] = f"{there}: {error.strerror}"
    return facts


def _loaded_backend(facts, import_error):
    """The backend in use and its device, or why there is none."""
    if not any(facts["backends"].values()):
        return {}
    if import_error is None:
        try:
            import keras

            from ganlib.experiment.machine import device_name

            backend = keras.backend.backend()
            return {"backend": backend, "device": device_name(backend)}
        except Exception as error:  # a broken installation raises whatever it likes
            import_error = error
    reason = next(iter(str(import_error).strip().splitlines()), "")
    return {"import_error": f"{type(import_error).__name__}: {reason}".rstrip(": .")}


def _examine_data(facts, data):
    """Puts what a data set holds into the facts; returns what is wrong with it, as a list."""
    if facts["backend"] is None:
        return []  # it could not be trained on
    from ganlib.data import DataError, check, load, load_masks, load_photos
    from ganlib.data.aliases import has_masks

    if data == "photos":  # of several sizes, which `load` does not take
        facts["data"] = _photo_facts(load_photos(data))
        return []
    try:
        if has_masks(data):
            facts["data"] = _mask_facts(load_masks(data, channels=None))
            return []
        images = check(load(data))
    except DataError as error:
        return [str(error)]
    facts["data"] = {
        "name": images.name,
        "images": len(images),
        "shape": list(images.shape[1:]),
        "value_range": str(images.value_range),
        "minimum": float(images.images.min()),
        "maximum": float(images.images.max()),
        "classes": None if images.labels is None else len(set(images.labels.tolist())),
        "synthetic": images.synthetic,
        "origin": images.origin,
        "checksum": images.checksum(),
    }
    return []


def _photo_facts(photos):
    sides = [side for image in photos.images for side in image.shape[:2]]
    return {
        "name": photos.name,
        "images": len(photos),
        "sides": [min(sides), max(sides)],
        "synthetic": photos.synthetic,
        "origin": photos.origin,
        "checksum": photos.checksum(),
    }


def _mask_facts(masked):
    sides = [side for mask in masked.masks for side in mask.shape[:2]]
    return {
        "name": masked.name,
        "images with masks": len(masked),
        "sides": [min(sides), max(sides)],
        "channels": masked.channels,
        "foreground": round(masked.foreground, 4),
        "stack": masked.stack,
        "synthetic": masked.synthetic,
        "origin": masked.origin,
        "checksum": masked.checksum(),
    }


def describe(facts):
    """The facts as text for a person.

    Args:
        facts: what `examine` returned.

    Returns:
        str of several lines; a line a problem, with its remedy.
    """
    lines = [
        f"Python {facts['python']} on {facts['platform']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB",
        "packages: " + _listed({name: facts["packages"][name] for name in PACKAGES}),
        "backends: " + _listed(facts["backends"]),
        f"in use:   {facts['backend']} on {facts['device']}",
    ]
    if facts["data"]:
        lines.append("data:     " + ", ".join(f"{k} {v}" for k, v in facts["data"].items()))
    lines.append(f"runs:     {facts['runs']}, {facts['disk_gib']} GiB free")
    lines += [f"note:     {note}" for note in facts["notes"]]
    lines += [f"PROBLEM:  {problem}" for problem in facts["problems"]]
    return "\n".join(lines if facts["problems"] else [*lines, "All is well."])


def _listed(versions):
    return ", ".join(f"{name} {version or '(not installed)'}" for name, version in versions.items())
