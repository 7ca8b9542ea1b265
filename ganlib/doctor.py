"""What `ganlib doctor` looks at: versions, backends, devices, data."""

import importlib.metadata
import os
import platform
import sys

PACKAGES = ("keras", "numpy", "scikit-image", "matplotlib", "pandas", "scipy", "statsmodels")
BACKENDS = ("tensorflow", "jax", "torch")
OLDEST_PYTHON = (3, 11)


def examine(data=None):
    """Looks at the environment, and at a data set if one is named.

    Args:
        data: what `ganlib.data.load` takes, or None.

    Returns:
        dict with `python`, `platform`, `cores`, `memory_gib`, `packages`, `backends` (name to
        version or None), `backend` (the one in use), `device`, `data` and `problems`, a list of
        messages that is empty when all is well.
    """
    import psutil

    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": {name: _version(name) for name in BACKENDS},
        "backend": None,
        "device": None,
        "data": None,
        "problems": [],
    }
    if sys.version_info < OLDEST_PYTHON:
        facts["problems"].append(f"Python 3.11 or newer is needed; this is {facts['python']}.")
    _examine_backend(facts)
    if data is not None:
        _examine_data(facts, data)
    return facts


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _examine_backend(facts):
    installed = [name for name, version in facts["backends"].items() if version]
    if not installed:
        facts["problems"].append("No backend is installed: pip install tensorflow, jax or torch.")
        return
    try:
        import keras

        from ganlib.machine import device_name

        facts["backend"] = keras.backend.backend()
        facts["device"] = device_name(facts["backend"])
    except (ImportError, ValueError) as error:  # Keras raises a ValueError for a name unknown to it
        facts["problems"].append(
            f"Keras can't load its backend: {error}. Installed: {', '.join(installed)}; set "
            f"KERAS_BACKEND to one of them, such as KERAS_BACKEND={installed[0]}."
        )


def _examine_data(facts, data):
    from ganlib.data import DataError, check, load, load_masks, load_photos
    from ganlib.data.mask_sources import has_masks

    if data == "photos":  # of several sizes, which `load` does not take
        facts["data"] = _photo_facts(load_photos(data))
        return
    try:
        if has_masks(data):
            facts["data"] = _mask_facts(load_masks(data, channels=None))
            return
        images = check(load(data))
    except DataError as error:
        facts["problems"].append(str(error))
        return
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
    sides = [side for mask in masked.masks for side in mask.shape]
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
    """The facts as text for a person."""
    lines = [
        f"Python {facts['python']} on {facts['platform']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB",
        "packages: " + _listed(facts["packages"]),
        "backends: " + _listed(facts["backends"]),
        f"in use:   {facts['backend']} on {facts['device']}",
    ]
    if facts["data"]:
        lines.append("data:     " + ", ".join(f"{k} {v}" for k, v in facts["data"].items()))
    lines += [f"PROBLEM:  {problem}" for problem in facts["problems"]]
    return "\n".join(lines if facts["problems"] else [*lines, "All is well."])


def _listed(versions):
    return ", ".join(f"{name} {version or '(not installed)'}" for name, version in versions.items())
