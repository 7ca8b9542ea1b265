"""What `ganlib doctor` looks at: versions, backend, device and data."""

import difflib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform

BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "numpy", "scikit-image", "matplotlib", "pandas", "scipy", "statsmodels")
LEAST_KERAS = (3, 13)


def examine(data=None, import_error=None):
    """Looks at the environment, and at a data set if one is named.

    Args:
        data: what `ganlib.data.load` takes, or None.
        import_error: exception, what an import of Keras that was tried before has raised.

    Returns:
        dict of facts. `problems` is a list of messages with their remedies, empty when all is well.
    """
    facts = {
        "python": f"{platform.python_version()} on {platform.platform(terse=True)}",
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": {name: _version(name) for name in BACKENDS},
        **dict.fromkeys(("backend", "device", "data")),
        "gpus": [],
        "notes": [],
        "problems": [],
    }
    try:
        if import_error:
            raise import_error
        import keras

        from ganlib.experiment.machine import accelerators, device_name

        facts["backend"] = keras.backend.backend()
        facts["device"] = device_name(facts["backend"])
        facts["gpus"] = accelerators()
        facts["problems"] += _faults(keras, facts)
    except Exception as error:  # a broken installation raises whatever it likes
        facts["problems"].append(_no_backend(facts["backends"], error))
    if data is not None and facts["backend"]:
        _look_at_data(data, facts)
    return facts


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "installed" if importlib.util.find_spec(name) else None  # such as tensorflow-cpu


def _no_backend(backends, error):
    installed = [name for name, version in backends.items() if version]
    if not installed:
        return "No backend is installed: pip install tensorflow, jax or torch."
    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    best = (difflib.get_close_matches(asked, installed, 1) or installed)[0]
    return (
        f"Keras can't load its backend {asked!r}: set KERAS_BACKEND={best}, or install it. "
        f"Installed: {', '.join(installed)}. Received: {type(error).__name__}: {error}"
    )


def _faults(keras, facts):
    if tuple(map(int, keras.__version__.split(".")[:2])) < LEAST_KERAS:
        yield f'Keras {keras.__version__} is too old: pip install -U "keras>=3.13".'
    if keras.config.image_data_format() != "channels_last" or keras.config.floatx() != "float32":
        yield (
            "ganlib needs other values in ~/.keras/keras.json: set "
            '"image_data_format": "channels_last" and "floatx": "float32".'
        )
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if facts["gpus"] and facts["device"].startswith("CPU") and not hidden:
        yield (
            f"There is a GPU, but {facts['backend']} computes on the CPU: install its package "
            'for GPUs, such as "tensorflow[and-cuda]" or "jax[cuda13]". Received: '
            f"{'; '.join(facts['gpus'])}"
        )


def _look_at_data(data, facts):
    """Adds what a data set holds, and which studies can take it."""
    from ganlib import studies
    from ganlib.data import DataError, check, load
    from ganlib.data.files import image_paths

    try:
        images = check(load(data, any_size=True))
    except DataError as error:
        facts["problems"].append(str(error))
        return
    others = image_paths(data)[1] if pathlib.Path(data).is_dir() else ()
    sides = [side for image in images.images for side in image.shape[:2]]
    facts["data"] = {
        "name": images.name,
        "images": len(images),
        "sides": [min(sides), max(sides)],
        "channels": images.channels,
        "value_range": str(images.value_range),
        "minimum": float(min(image.min() for image in images.images)),
        "maximum": float(max(image.max() for image in images.images)),
        "classes": None if images.labels is None else len(set(images.labels.tolist())),
        "synthetic": images.synthetic,
        "origin": images.origin,
        "checksum": images.checksum(),
        "for_studies": [],
    }
    if images.masks is not None:
        facts["data"]["foreground"] = round(images.foreground, 4)
        empty = sum(not mask.any() for mask in images.masks)
        full = sum(bool(mask.all()) for mask in images.masks)
        if empty or full:
            facts["notes"].append(f"Of {len(images)} masks {empty} are empty and {full} full.")
    if others:
        facts["notes"].append(f"Files of other kinds are passed over: {', '.join(others)}.")
    for name in studies.STUDIES:
        try:
            studies.build(name, data=data).data  # noqa: B018  the study's own check
            facts["data"]["for_studies"].append(name)
        except ValueError as error:
            facts["notes"].append(f"Not for the study {name}: {error}")
    if not facts["data"]["for_studies"]:
        facts["problems"].append(f"No study can take {images.name!r}; the notes say why.")


def describe(facts):
    """The facts as text for a person, a line a problem."""
    lines = [f"Python {facts['python']}"]
    for name in ("packages", "backends"):
        listed = (f"{key} {version or '(not installed)'}" for key, version in facts[name].items())
        lines.append(f"{name}: {', '.join(listed)}")
    lines.append(f"in use:   {facts['backend']} on {facts['device']}")
    if facts["data"]:
        lines.append("data:     " + ", ".join(f"{k} {v}" for k, v in facts["data"].items()))
    lines += [f"note:     {note}" for note in facts["notes"]]
    lines += [f"PROBLEM:  {problem}" for problem in facts["problems"]]
    return "\n".join(lines if facts["problems"] else [*lines, "All is well."])
