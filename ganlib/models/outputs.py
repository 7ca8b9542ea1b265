"""What bounds a model's output: the one place that reads its last activation."""

import functools
import math
import operator
import re

import keras
import numpy as np

PIXELS = 2**20  # that `infer` makes at once: 256 images of 64×64, 16 of 256×256
SIDE = 256  # taken for one that is not known
# By the name of an activation, a Keras layer or an operation of `keras.ops`; see `_name`.
BOUNDS = {
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "hardtanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "softplus", "exponential", "exp"), (0.0, math.inf)),
    "relu6": (0.0, 6.0),
    "logsigmoid": (-math.inf, 0.0),
}
# What only moves, selects, averages or joins values, in inference mode.
BETWEEN = re.compile(
    "linear|identity|cast|stopgradient|reshape|flatten|permute|transpose|squeeze|expanddims"
    "|getitem|repeatvector|cropping|depthtospace|mean|max|min|average|concatenate"
    "|(global)?(max|average)pool(ing)?|(spatial)?dropout|gaussian(noise|dropout)"
)
# Layers whose argument `activation` makes their output.
ACTIVATED = re.compile("(einsum)?dense|conv(transpose)?|(depthwise|separable)conv|activation")
ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "truedivide": operator.truediv,
}


def output_bounds(model):
    """Between which values a model's outputs lie, whatever its weights and inputs.

    Reads the activation that the graph of layers and `keras.ops` ends in: an argument, a layer or
    an operation, also in a nested model and before what only moves, selects, averages or scales.

    Args:
        model: `keras.Model`.

    Returns:
        `(low, high)`, floats: (0, 1) for a sigmoid or softmax, (-1, 1) for tanh, (0, inf) for relu.
        `None` if the output is unbounded, if there are several, or if the model does not show what
        makes it, as a subclassed one.
    """
    outputs = getattr(model, "outputs", None) or ()
    return _of_tensor(outputs[0], {}) if len(outputs) == 1 else None


def _of_tensor(x, given):
    """Bounds of a symbolic tensor; `given`: what tells those of a nested model's inputs, by id."""
    if id(x) in given:
        return given[id(x)]()
    operation, node, _ = x._keras_history
    arguments = operation._inbound_nodes[node].arguments
    leaves = keras.tree.flatten((arguments.args, arguments.kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
    # Asked only where it matters: a residual network has more paths than could be walked.
    below = [functools.partial(_of_tensor, tensor, given) for tensor in tensors]
    outputs = getattr(operation, "outputs", None) or ()
    if isinstance(operation, keras.Model) and len(outputs) == 1:
        return _of_tensor(outputs[0], dict(zip(map(id, operation.inputs), below, strict=True)))
    while isinstance(operation, keras.layers.Wrapper):  # such as SpectralNormalization
        operation = operation.layer
    name = _name(operation)
    if name == "rescaling":
        return _scaled(below[0](), lambda y: y * operation.scale + operation.offset)
    if name in ARITHMETIC and len(tensors) == 1 and len(leaves) == 2:  # with a constant
        if leaves[0] is tensors[0]:
            return _scaled(below[0](), lambda y: ARITHMETIC[name](y, leaves[1]))
        if name != "truedivide":
            return _scaled(below[0](), lambda y: ARITHMETIC[name](leaves[0], y))
    if ACTIVATED.fullmatch(name):
        linear = None if name == "activation" else "linear"
        operation = operation.activation
        name = _name(operation)
        if name == linear:
            return None
    if BETWEEN.fullmatch(name) and tensors:
        bounds = [bound() for bound in below]
        return None if None in bounds else (min(b[0] for b in bounds), max(b[1] for b in bounds))
    if name == "clip":
        return float(operation.x_min), float(operation.x_max)
    if name not in BOUNDS or getattr(operation, "negative_slope", 0):  # of the layer ReLU
        return None
    low, high = BOUNDS[name]
    most = getattr(operation, "max_value", None)
    return low, high if most is None else float(most)


def _name(thing):
    """Of a function its own, else that of its first class of Keras', such as "conv" for Conv2D."""
    if thing is None or hasattr(thing, "__name__"):
        name = getattr(thing, "__name__", "linear")
    else:
        classes = (c for c in type(thing).__mro__ if c.__module__.startswith("keras."))
        name = next((c.__name__ for c in classes), "")
    return re.sub(r"[123]d(?=transpose$|$)", "", name.lower().replace("_", ""))


def _scaled(bounds, function):
    """Bounds after a linear map, whose ends are where the ends go."""
    if bounds is None:
        return None
    ends = np.concatenate([np.ravel(function(np.float64(end))) for end in bounds])
    return None if np.isnan(ends).any() else (float(ends.min()), float(ends.max()))


def infer(model, inputs, image_shape):
    """What a model makes of all its inputs, in inference mode, as many at once as memory takes.

    Args:
        model: `keras.Model`, or whatever is called like one.
        inputs: array `(n, …)`, or a structure of such, n > 0.
        image_shape: `(height, width, …)` of the images that it makes or judges.

    Returns:
        float32 array with a row an input, or a structure of such where the model returns one. A
        scalar a call becomes a row a call.
    """
    n = len(keras.tree.flatten(inputs)[0])
    height, width = (side or SIDE for side in image_shape[:2])
    size = max(1, PIXELS // (height * width))
    parts = []
    for i in range(0, n, size):
        part = keras.tree.map_structure(lambda x, i=i: x[i : i + size], inputs)
        parts.append(keras.tree.map_structure(_to_array, model(part, training=False)))
    return keras.tree.map_structure(_join, *parts)


def _to_array(output):
    return keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))


def _join(*parts):
    return np.concatenate(parts) if all(part.ndim for part in parts) else np.array(parts)
