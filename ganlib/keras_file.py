"""Models in .keras files, which may come from anyone."""

import concurrent.futures
import json
import math
import pathlib
import random
import zipfile

import h5py
import keras

from ganlib.data.errors import DataError
from ganlib.data.npz import check_members

CONFIG, MOST_CONFIG = "config.json", 64 * 2**20  # bytes; that of a hundred layers has 100 kB
WEIGHTS = "model.weights.h5"
SMALL = 256 * 2**20  # bytes that a model may need, whatever its file holds


def read_model(path, compile=True):
    """Loads a model from a .keras file, in Keras' safe mode.

    Args:
        path: path.
        compile: bool, bring the optimizers back, too; needed only to train on.

    Returns:
        `keras.Model`.

    Raises:
        DataError: there is no such file; it can't be read; it holds code, as a Lambda layer does;
            or it would expand to far more than it holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(
            "There is no model file there; a finished trial keeps one as model.keras. "
            f"Received: {str(path)!r}"
        )
    try:
        _check(path)
        return keras.models.load_model(path, compile=compile, safe_mode=True)
    except DataError:
        raise
    except Exception as error:  # zip, HDF5, JSON and Keras errors all mean the same to the caller
        raise DataError(
            f"{path} can't be loaded as a Keras model: it must be a whole file from model.save(…), "
            f"and hold no code such as a Lambda layer. Received: {_cause(error)}"
        ) from error


def _cause(error):
    """The one sentence that matters: Keras adds the configuration, and how to run code anyway."""
    text = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return told.partition(". ")[0][:300]


def _check(path):
    """Refuses a file that would take far more memory than its own, or reads another file."""
    with zipfile.ZipFile(path) as archive:
        held = check_members(path, archive, packed=100)
        most = max(SMALL, 4 * held)  # bytes of all variables
        if archive.getinfo(CONFIG).file_size > MOST_CONFIG:
            raise DataError(
                f"{path} describes no model that can be: get the file again. Received: {CONFIG} of "
                f"{archive.getinfo(CONFIG).file_size:,} bytes"
            )
        config = json.loads(archive.read(CONFIG))
        if WEIGHTS in archive.namelist():
            with archive.open(WEIGHTS) as file, h5py.File(file) as variables:
                _check_variables(variables, most)
    config["compile_config"] = None
    # Keras' notes of unfinished variables are the thread's own: here they end with it.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        needed = pool.submit(_needed, config).result()
    if needed > most:
        raise DataError(
            f"{path} describes a model of {needed / 2**30:,.1f} GiB and holds {held:,} bytes: it "
            "is cut off or made to fill the memory. Get the file again from where you trust it"
        )


def _check_variables(file, most):
    """Raises ValueError for variables of another file, or of more than `most` bytes.

    Newer releases of Keras refuse them, too; those up to 3.13.2 not all.
    """
    elsewhere = file.visititems_links(
        lambda name, link: None if isinstance(link, h5py.HardLink) else name
    )
    if elsewhere:
        raise ValueError(f"the variable {elsewhere} is a link")
    items = []
    file.visititems(lambda name, item: items.append(item))
    variables = [item for item in items if isinstance(item, h5py.Dataset)]
    for variable in variables:
        if variable.external or variable.is_virtual:
            raise ValueError(f"the variable {variable.name} lies outside of the file")
    if (stated := sum(variable.nbytes for variable in variables)) > most:
        raise ValueError(f"variables of {stated:,} bytes, far more than the file holds")


def _needed(config):
    """The bytes of a model's variables, found without making any of them; 0 where it can't be."""
    state = random.getstate()  # initializers draw their seeds from it
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(4 * math.prod(variable.shape) for variable in model.variables)
    except Exception:  # loading it will say what is wrong, if something is
        return 0
    finally:
        random.setstate(state)
