"""The values of variables in an .npz file: Keras' own writer takes as long as a short epoch."""

import zipfile

import numpy as np
from keras import ops


def save(path, variables):
    """Writes the values of a sequence of `keras.Variable` to a path with the suffix .npz."""
    np.savez(path, **{str(i): _array(variable) for i, variable in enumerate(variables)})


def load(path, variables):
    """Assigns what `save` wrote; ValueError, and nothing assigned, if it is of other variables."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = [arrays[str(i)] for i in range(len(arrays.files))]
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} can't be read as weights: {error}") from error
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise ValueError(f"{path} holds weights of another model: numbers or shapes differ")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _array(variable):
    array = ops.convert_to_numpy(variable)
    # bfloat16 and the like are no types of NumPy's own, and would come back as bytes.
    return array if array.dtype.isbuiltin == 1 else array.astype("float32")
