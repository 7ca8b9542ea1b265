"""What `ganlib doctor` looks at: versions, backend, device and data."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform

BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "numpy", "scikit-image", "matplotlib", "pandas", "scipy")


def examine(data=None, import_error=None):
    """Facts of the environment and data, and `problems`; `import_error`: of Keras, if it failed."""
    facts = {
        "python": f"{platform.python_version()} on {platform.platform(terse=True)}",
        "packages": {name: _version(name) for name in (*BACKENDS, *PACKAGES)},
        **dict.fromkeys(("backend", "device", "data")),
        **{name: [] for name in ("gpus", "notes", "problems")},
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
        installed = ", ".join(name for name in BACKENDS if facts["packages"][name])
        facts["problems"].append(
            f"Keras can't load its backend {os.environ.get('KERAS_BACKEND', 'tensorflow')!r}: set "
            f"KERAS_BACKEND to one that is installed ({installed or 'none is'}), or pip install "
            f"tensorflow, jax or torch. Received: {type(error).__name__}: {error}"
        )
    if data is not None and facts["backend"]:
        _look_at_data(data, facts)
    return facts


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "installed" if importlib.util.find_spec(name) else None  # such as tensorflow-cpu


def _faults(keras, facts):
    if keras.config.image_data_format() != "channels_last" or keras.config.floatx() != "float32":
        yield 'Set "image_data_format": "channels_last", "floatx": "float32" in ~/.keras/keras.json'
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if facts["gpus"] and facts["device"].startswith("CPU") and not hidden:
        found = f"There is a GPU ({'; '.join(facts['gpus'])}), but {facts['backend']} computes on"
        yield f'{found} the CPU: install its package for GPUs, e.g. "tensorflow[and-cuda]".'


def _look_at_data(data, facts):
    """Adds what a data set holds, and which studies can take it."""
    from ganlib import studies
    from ganlib.data import DataError, check, load
    from ganlib.data.files import image_paths

    notes, problems = facts["notes"], facts["problems"]
    try:
        images = check(load(data, any_size=True))
    except DataError as error:
        problems.append(str(error))
        return
    sides = [side for image in images.images for side in image.shape[:2]]
    about = {name: getattr(images, name) for name in ("name", "channels", "synthetic", "origin")}
    facts["data"] = about | {
        "images": len(images),
        "sides": [min(sides), max(sides)],
        "value_range": str(images.value_range),
        "classes": None if images.labels is None else len(set(images.labels.tolist())),
        "checksum": images.checksum(),
        "for_studies": (usable := []),
    }
    if images.masks is not None:
        facts["data"]["foreground"] = round(images.foreground, 4)
        shares = [mask.mean() for mask in images.masks]
        if (empty := shares.count(0)) + (full := shares.count(1)):
            notes.append(f"Of {len(images)} masks {empty} are empty and {full} full.")
    if others := image_paths(data)[1] if pathlib.Path(data).is_dir() else ():
        notes.append(f"Files of other kinds are passed over: {', '.join(others)}.")
    for name in studies.STUDIES:
        try:
            studies.get(name).at(data=data).data  # noqa: B018  the study's own check
            usable.append(name)
        except ValueError as error:
            notes.append(f"Not for the study {name}: {error}")
    if not usable:
        problems.append(f"No study can take {images.name!r}; the notes say why.")


def describe(facts):
    """The facts as text for a person, a line a problem."""
    listed = ", ".join(f"{name} {v or '(not installed)'}" for name, v in facts["packages"].items())
    used = f"in use:   {facts['backend']} on {facts['device']}"
    lines = [f"Python {facts['python']}", f"packages: {listed}", used]
    if facts["data"]:
        lines.append("data:     " + ", ".join(f"{k} {v}" for k, v in facts["data"].items()))
    lines += [f"note:     {note}" for note in facts["notes"]]
    lines += [f"PROBLEM:  {problem}" for problem in facts["problems"]] or ["All is well."]
    return "\n".join(lines)
