"""The values of variables in a file, quickly.

Keras' own writer walks through every layer and takes a tenth of a second for a small network, as
long as a short epoch. Here they lie one after the other in an .npz, which is read without pickle.
"""

import numpy as np
from keras import ops

from ganlib.data.errors import DataError
from ganlib.data.npz import read_arrays, read_headers


def save(path, variables):
    """Writes the values of variables.

    Args:
        path: `pathlib.Path` with the suffix .npz.
        variables: sequence of `keras.Variable`.
    """
    with open(path, "wb") as file:  # np.savez would add a suffix to other names
        np.savez(file, **{str(i): _array(variable) for i, variable in enumerate(variables)})


def load(path, variables):
    """Assigns the values that `save` wrote, to as many variables of the same shapes, in order.

    Nothing is assigned unless all of them fit.

    Raises:
        ValueError: the file is of other variables, or can't be read.
    """
    try:
        headers = read_headers(path)
        found = [headers[str(i)] for i in range(len(headers))]
    except (DataError, KeyError) as error:
        raise ValueError(f"{path} can't be read as weights: {error}") from error
    shapes = [tuple(variable.shape) for variable in variables]
    if [shape for shape, _ in found] != shapes or any(
        dtype.kind not in "biuf" for _, dtype in found
    ):
        raise ValueError(
            f"{path} holds weights of another model. Received: {len(found)} arrays for "
            f"{len(shapes)} variables, or other shapes"
        )
    try:
        values = read_arrays(path)
    except DataError as error:
        raise ValueError(f"{path} can't be read as weights: {error}") from error
    for i, variable in enumerate(variables):
        variable.assign(values[str(i)])


def _array(variable):
    array = ops.convert_to_numpy(variable)
    # bfloat16 and the like are no types of NumPy's own, and would come back as bytes.
    return array if array.dtype.isbuiltin == 1 else array.astype("float32")
